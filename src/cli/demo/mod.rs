//! `outboxd demo`: the main job in a minute, with private servers, through everything that usually loses tasks.
//!
//! [`story`] tells it step by step ([`watch`] waits) on a [`stage`] of real processes: a [`shop`] places orders, a [`relay`] publishes
//! their tasks, a [`worker`] executes them and writes a [`ledger`], and the [`report`] compares the two ends. Nothing
//! of it touches any server or file outside its own temporary folder.

mod ledger;
mod progress;
mod relay;
mod report;
mod shop;
mod stage;
mod story;
mod tail;
mod trouble;
mod watch;
mod worker;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use super::{print, say};
use trouble::Trouble;

/// The arguments of `outboxd demo`.
#[derive(Debug, Clone, Args)]
pub(super) struct DemoArgs {
    /// How many orders to place
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(40..=100_000))]
    orders: u64,
    /// Leave the temporary folder with all logs and data
    #[arg(long)]
    keep: bool,
    /// Print the report as JSON; progress goes to the standard error output either way
    #[arg(long)]
    json: bool,
    /// Use the plain consumer even if Celery is installed
    #[arg(long)]
    without_celery: bool,
}

/// Exit code 0 only if every committed task was executed and none of a rolled-back order.
pub(super) async fn run(args: DemoArgs) -> Exit {
    let stop = CancellationToken::new();
    if let Err(error) = listen(&stop) {
        say(&format!("outboxd demo: cannot handle signals: {error}"));
        return Exit::Failure;
    }
    let as_json = args.json;
    let runtime = tokio::runtime::Handle::current();
    // The sandbox blocks the thread that drives it.
    let told = tokio::task::spawn_blocking(move || story::tell(&args, &runtime, &stop)).await;
    match told {
        Ok(Ok(report)) => {
            print(&if as_json { serde_json::json!(report).to_string() } else { report.text() });
            if report.ok { Exit::Ok } else { Exit::Failure }
        }
        Ok(Err(Trouble::Interrupted)) => {
            say("outboxd demo: interrupted; everything was ended");
            Exit::Failure
        }
        Ok(Err(Trouble::Failed(sentence))) => {
            say(&format!("outboxd demo: {sentence}"));
            Exit::Failure
        }
        Err(_) => {
            say("outboxd demo: stopped by a mistake in the demo itself; see above");
            Exit::Failure
        }
    }
}

/// Ends the demo in order at the first signal, at once at the second.
fn listen(stop: &CancellationToken) -> std::io::Result<()> {
    let stop = stop.clone();
    let (mut int, mut term, mut hup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
            }
            if stop.is_cancelled() {
                // The servers die with this process; the next demo removes their folder.
                std::process::exit(130);
            }
            say("\noutboxd demo: ending everything; once more to leave at once");
            stop.cancel();
        }
    });
    Ok(())
}
