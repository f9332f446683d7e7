//! `outboxd config`: validate, show, schema, example.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::exit::Exit;
use crate::config::{Config, ConfigErrors, Problem, Sources, json_schema, render};
use crate::pg::Connector;
use crate::relay::target;

/// Where the configuration comes from; every command that reads it takes these.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Read this file [default: `OUTBOXD_CONFIG`, or /etc/outboxd/outboxd.toml if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Set one key, over file and environment; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", global = true)]
    pub sets: Vec<String>,
}

impl SourceArgs {
    /// These arguments over the environment of this process.
    pub fn sources(self) -> Sources {
        self.over(Sources::process())
    }

    fn over(self, sources: Sources) -> Sources {
        Sources { file: self.config, sets: self.sets, ..sources }
    }
}

/// Check, show and explain the configuration
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
    /// Where from.
    #[command(flatten)]
    pub sources: SourceArgs,
}

/// What to do with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Check everything and list all errors; contacts no server
    Validate {
        /// Look at the file and --set alone: no environment variables, no secret files, URLs may be missing
        #[arg(long)]
        no_environment: bool,
        /// Treat warnings as errors
        #[arg(long)]
        deny_warnings: bool,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration in force, without secrets
    Show {
        /// Tell where each value came from
        #[arg(long)]
        origin: bool,
        /// How to print it
        #[arg(long, value_enum, default_value = "toml")]
        format: ShowFormat,
        /// The same as --format json
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Print the JSON Schema of the configuration file
    Schema,
    /// Print a commented configuration file with every key and its default
    Example,
}

/// How `config show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShowFormat {
    /// A TOML file
    Toml,
    /// A JSON object
    Json,
}

/// Runs the command over the environment of this process. Data goes to `out`, talk to `err`.
pub fn run(args: ConfigArgs, out: &mut impl Write, err: &mut impl Write) -> Exit {
    run_over(args, Sources::process(), out, err)
}

/// Runs the command over the given environment.
pub fn run_over(args: ConfigArgs, environment: Sources, out: &mut impl Write, err: &mut impl Write) -> Exit {
    let ConfigArgs { command, sources } = args;
    let sources = sources.over(environment);
    let ended = match command {
        ConfigCommand::Validate { no_environment, deny_warnings, json } => {
            validate(&Sources { file_only: no_environment, ..sources }, deny_warnings, json, out, err)
        }
        ConfigCommand::Show { origin, format, json } => {
            let format = if json { ShowFormat::Json } else { format };
            show(&sources, origin, format, out, err)
        }
        ConfigCommand::Schema => writeln!(out, "{:#}", json_schema()).map(|()| Exit::Ok),
        ConfigCommand::Example => write!(out, "{}", render::example()).map(|()| Exit::Ok),
    };
    ended.unwrap_or_else(|error| broken_output(&error))
}

/// Whoever read our output has gone: that is no failure (`outboxd config show | head`).
fn broken_output(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::BrokenPipe { Exit::Ok } else { Exit::Failure }
}

/// Reads the configuration, and its URLs by the very code that connects. Asks no server, and reads no certificate.
pub(super) fn load_usable(sources: &Sources) -> Result<Config, ConfigErrors> {
    let config = Config::load(sources)?;
    let problems = unusable(&config);
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
}

fn unusable(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let database = &config.database;
    for (key, url) in [("url", Some(&database.url)), ("listen_url", database.listen_url.as_ref())] {
        let url = url.filter(|url| !url.is_empty());
        if let Some(Err(why)) = url.map(|url| Connector::check(url.expose())) {
            problems.push(config.problem(&["database", key], why));
        }
    }
    for (name, settings) in config.redis.iter().filter(|(_, settings)| !settings.url.is_empty()) {
        if let Err(fault) = target(name, settings) {
            problems.push(config.problem(&["redis", name, "url"], fault.reason().message.clone()));
        }
    }
    problems
}

fn validate(
    sources: &Sources,
    deny_warnings: bool,
    as_json: bool,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let result = load_usable(sources);
    let (errors, warnings) = match &result {
        Ok(config) => (&[][..], config.warnings()),
        Err(ConfigErrors(problems)) => (problems.as_slice(), &[][..]),
    };
    let valid = errors.is_empty() && (warnings.is_empty() || !deny_warnings);
    if as_json {
        writeln!(out, "{:#}", json!({ "valid": valid, "errors": errors, "warnings": warnings }))?;
    } else {
        warn(warnings, err)?;
        match &result {
            Err(errors) => writeln!(err, "{errors}")?,
            Ok(_) if !valid => writeln!(err, "warnings count as errors: --deny-warnings")?,
            Ok(_) => writeln!(out, "the configuration is valid")?,
        }
    }
    Ok(if valid { Exit::Ok } else { Exit::Config })
}

fn show(
    sources: &Sources,
    origin: bool,
    format: ShowFormat,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<Exit> {
    let config = match Config::load(sources) {
        Ok(config) => config,
        Err(errors) => {
            writeln!(err, "{errors}")?;
            return Ok(Exit::Config);
        }
    };
    warn(config.warnings(), err)?;
    match format {
        ShowFormat::Toml => write!(out, "{}", render::toml(&config, origin))?,
        ShowFormat::Json => writeln!(out, "{:#}", render::json(&config, origin))?,
    }
    Ok(Exit::Ok)
}

fn warn(warnings: &[Problem], err: &mut impl Write) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(err, "warning: {warning}"))
}
