//! The command line: one file per command. Data goes to standard output, talk to standard error.

pub mod config;
mod connect;
mod dead;
mod demo;
mod doctor;
pub mod exit;
mod health;
mod incident;
pub mod migrate;
mod names;
mod purge;
mod queue;
mod repair;
mod replay;
mod rotation;
mod run;
mod status;
mod table;
mod wait;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Sources};
use config::SourceArgs;
use exit::Exit;

/// Relays committed tasks from PostgreSQL to Redis queues, and puts back whatever Redis loses
#[derive(Debug, Parser)]
#[command(name = "outboxd", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Relay until told to stop
    Run(run::RunArgs),
    /// Bring the schema up to date, or print SQL for other tools
    Migrate {
        #[command(flatten)]
        args: migrate::MigrateArgs,
        #[command(flatten)]
        sources: SourceArgs,
    },
    /// Show whether relays are alive, and every queue: its state, and how many rows are pending, held, unconsumed, dead
    Status(status::StatusArgs),
    /// Wait until what was committed before is dispatched
    Wait(wait::WaitArgs),
    /// List, pause, resume, empty and forget queues
    Queue(queue::QueueArgs),
    /// Show what Redis has lost, and what became of it
    Incident(incident::IncidentArgs),
    /// Send again what was dispatched before, by time or batch
    Replay(replay::ReplayArgs),
    /// List and show dead tasks (not publishable, or failed for good by their worker); send them again, or discard them
    Dead(dead::DeadArgs),
    /// Make a database that was restored from a backup or copied relay again
    Repair(repair::RepairArgs),
    /// Check and show the configuration
    Config(config::ConfigArgs),
    /// Ask a running relay whether it is alive and ready
    Health(health::HealthArgs),
    /// Look at everything that a relay depends on, and say what to do about what is wrong
    Doctor(doctor::DoctorArgs),
    /// Watch committed tasks reach a worker through a killed relay and an emptied Redis, all of it private
    Demo(demo::DemoArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("outboxd: cannot start: {error}"));
            return Exit::Failure.into();
        }
    };
    let code = runtime.block_on(dispatch(cli.command));
    // A lookup that hangs in a blocking thread must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn dispatch(command: Command) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match command {
        Command::Run(args) => Box::pin(run::run(args)).await.into(),
        Command::Migrate { args, sources } => {
            let settings = match connect::migrate_settings(&sources.sources()) {
                Ok(settings) => settings,
                Err(exit) => return exit.into(),
            };
            Box::pin(migrate::run(&args, &settings, &mut out, &mut err)).await
        }
        Command::Status(args) => Box::pin(status::run(args)).await.into(),
        Command::Wait(args) => Box::pin(wait::run(args)).await.into(),
        Command::Queue(args) => Box::pin(queue::run(args)).await.into(),
        Command::Incident(args) => incident::run(args).await.into(),
        Command::Replay(args) => replay::run(args).await.into(),
        Command::Dead(args) => Box::pin(dead::run(args)).await.into(),
        Command::Repair(args) => repair::run(args).await.into(),
        Command::Config(args) => config::run(args, &mut out, &mut err).into(),
        Command::Health(args) => health::run(&args).await.into(),
        Command::Doctor(args) => doctor::run(args).await.into(),
        Command::Demo(args) => demo::run(args).await.into(),
    }
}

/// Loads the configuration, or says everything that is wrong with it.
fn load(sources: &Sources) -> Result<Config, Exit> {
    Config::load(sources).map_err(|errors| {
        say(&errors.to_string());
        Exit::Config
    })
}

/// Data, for whoever reads standard output. A reader that has gone away is no error.
fn print(text: &str) {
    let _gone: std::io::Result<()> = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Talk, for people.
fn say(text: &str) {
    let _gone: std::io::Result<()> = writeln!(std::io::stderr(), "{}", text.trim_end());
}
