//! `outboxd repair`: makes a restored or copied database relay again.

use clap::Args;

use super::config::SourceArgs;
use super::exit::Exit;
use super::{connect, print, say};

/// The arguments of `outboxd repair`.
#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    /// Do it; without this, the command only says whether there is a need
    #[arg(long)]
    yes: bool,
    /// Also when nothing is wrong with the database's identity
    #[arg(long, requires = "yes")]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Asks Postgres; with `--yes`, moves what is not proven consumed and starts every queue anew.
pub(super) async fn run(args: RepairArgs) -> Exit {
    let (outbox, config) = match connect::outbox_and_config(&args.sources.sources()) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let identity = match outbox.identity().await {
        Ok(identity) => identity,
        Err(fault) => return connect::failed(&fault),
    };
    match (&identity.wrong, args.yes) {
        (None, _) if !args.force => {
            say("outboxd: this database's ids are its own; nothing to repair");
            return Exit::Ok;
        }
        (wrong, false) => {
            let wrong = wrong.as_deref().unwrap_or_default();
            say(&format!(
                "outboxd: {wrong}. Stop every relay and, if the old database still runs, its relays for good; then run \
                 `outboxd repair --yes`: every task that is not proven consumed goes out again"
            ));
            return Exit::Findings;
        }
        _ => {}
    }
    match outbox.repair(config.relay.replay_horizon.get()).await {
        Ok(queues) => {
            let rows: i64 = queues.iter().map(|(_, rows)| rows).sum();
            if args.json {
                let queues: serde_json::Map<_, _> = queues.into_iter().map(|(q, n)| (q, n.into())).collect();
                print(&serde_json::json!({ "rows": rows, "queues": queues }).to_string());
            } else {
                for (queue, rows) in &queues {
                    print(&format!("queue {queue:?}: {rows} rows go out again"));
                }
            }
            say(&format!("outboxd: repaired; {rows} rows go out as soon as a relay runs"));
            Exit::Ok
        }
        Err(fault) => connect::failed(&fault),
    }
}
