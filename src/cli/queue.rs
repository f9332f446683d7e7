//! `outboxd queue`: list, pause, resume; and where a queue starts at a new destination.

use clap::{Args, Subcommand};

use super::config::SourceArgs;
use super::exit::Exit;
use super::{connect, print, say, status};
use crate::fault::Fault;
use crate::pg::Outbox;

/// The arguments of `outboxd queue`.
#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    command: QueueCommand,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    /// Show every queue
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop a queue; its tasks wait in Postgres
    Pause {
        /// Which one
        queue: String,
        /// Why, for whoever looks
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a queue go on that was paused, or that a relay stopped
    Resume {
        /// Which one
        queue: String,
    },
    /// Decide where a queue starts at a new destination
    Move {
        /// Which one
        queue: String,
        /// Send what the old destination may not have got to the new one
        #[arg(long, conflicts_with = "skip", required_unless_present = "skip")]
        resend: bool,
        /// Leave what was planned for the old destination there
        #[arg(long)]
        skip: bool,
    },
}

/// Asks or tells Postgres; running relays follow within a second.
pub(super) async fn run(args: QueueArgs) -> Exit {
    let outbox = match connect::outbox(&args.sources.sources()) {
        Ok(outbox) => outbox,
        Err(exit) => return exit,
    };
    match act(&outbox, args.command).await {
        Ok(exit) => exit,
        Err(fault) => connect::failed(&fault),
    }
}

async fn act(outbox: &Outbox, command: QueueCommand) -> Result<Exit, Fault> {
    let (queue, known) = match command {
        QueueCommand::List { json } => {
            let queues = outbox.gauge().await?;
            print(&if json { serde_json::json!({ "queues": queues }).to_string() } else { status::table(&queues) });
            return Ok(Exit::Ok);
        }
        QueueCommand::Pause { queue, reason } => {
            let known = outbox.pause(&queue, reason.as_deref()).await?;
            if known {
                say(&format!(
                    "outboxd: queue {queue:?} is paused; its tasks wait in Postgres until `outboxd queue resume {queue}`"
                ));
            }
            (queue, known)
        }
        QueueCommand::Resume { queue } => {
            let known = outbox.resume(&queue).await?;
            if known {
                say(&format!("outboxd: queue {queue:?} goes on; see `outboxd status`"));
            }
            (queue, known)
        }
        QueueCommand::Move { queue, resend, skip: _ } => {
            let position = outbox.relocate(&queue, resend).await?;
            if let Some(position) = position {
                say(&format!("outboxd: queue {queue:?} starts at its new destination after batch {position}"));
            }
            (queue, position.is_some())
        }
    };
    if known {
        return Ok(Exit::Ok);
    }
    say(&format!("outboxd: there is no queue {queue:?}; see `outboxd queue list`"));
    Ok(Exit::Failure)
}
