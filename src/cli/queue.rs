//! `outboxd queue`: list, pause, resume; and where a queue starts at a new destination.

use clap::{Args, Subcommand};

use super::config::SourceArgs;
use super::exit::Exit;
use super::{connect, names, purge, say, status};
use crate::config::Config;
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
    /// Pause a queue; its tasks wait in Postgres
    Pause {
        /// Which one
        queue: String,
        /// Why, for whoever looks
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a queue go on that was paused, or that its relay stopped because somebody must mend something
    Resume {
        /// Which one
        #[arg(required_unless_present = "all")]
        queue: Option<String>,
        /// Every queue that a relay stopped; queues that were paused stay paused
        #[arg(long, conflicts_with = "queue")]
        all: bool,
    },
    /// Discard tasks of a queue that were not published yet; without --yes, count them
    Purge(purge::PurgeArgs),
    /// Publish tasks in another queue than the one they were enqueued to, such as a mistyped one; without --yes, count them
    MoveRows(purge::MoveRowsArgs),
    /// Take a queue that has no rows out of status, metrics and Redis; it comes back with the next row
    Forget {
        /// Which one
        queue: String,
    },
    /// Decide what becomes of the tasks that were on their way to a queue's old Redis, after its URL or key has changed
    Move {
        /// Which one
        queue: String,
        /// Send what the old destination may not have got to the new one
        #[arg(long, conflicts_with = "skip")]
        resend: bool,
        /// Leave what was planned for the old destination there
        #[arg(long)]
        skip: bool,
    },
}

/// What follows a resume: whether the cause is mended, only a relay finds out.
const TRIES: &str = "a relay tries again at once, and stops it again if the cause is still there; see `outboxd status`";

/// Asks or tells Postgres; running relays follow within a second.
pub(super) async fn run(args: QueueArgs) -> Exit {
    let (outbox, config) = match connect::outbox_and_config(&args.sources.sources()) {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    match act(&outbox, &config, args.command).await {
        Ok(exit) => exit,
        Err(fault) => connect::failed(&fault),
    }
}

async fn act(outbox: &Outbox, config: &Config, command: QueueCommand) -> Result<Exit, Fault> {
    let (queue, known) = match command {
        QueueCommand::List { json } => {
            status::show(outbox, json).await?;
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
        QueueCommand::Resume { queue: Some(queue), .. } => {
            let known = outbox.resume(&queue).await?;
            if known {
                say(&format!("outboxd: queue {queue:?} is resumed: {TRIES}"));
            }
            (queue, known)
        }
        QueueCommand::Resume { queue: None, .. } => {
            let queues = outbox.resume_stopped().await?;
            say(&match queues.as_slice() {
                [] => "outboxd: no queue is stopped".to_owned(),
                queues => format!("outboxd: {} queues are resumed ({}): {TRIES}", queues.len(), queues.join(", ")),
            });
            return Ok(Exit::Ok);
        }
        QueueCommand::Purge(args) => return purge::purge(outbox, &args).await,
        QueueCommand::MoveRows(args) => return purge::move_rows(outbox, &args).await,
        QueueCommand::Forget { queue } => return purge::forget(outbox, config, &queue).await,
        QueueCommand::Move { queue, resend: false, skip: false } => {
            say(&format!(
                "outboxd: say what becomes of the tasks that were planned for the old destination of {queue:?}:\n  \
                 --skip    they stay there: for an old Redis that workers still empty, or that had them all\n  \
                 --resend  those that the old destination is not known to have got go to the new one, some perhaps twice"
            ));
            return Ok(Exit::Usage);
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
    names::unknown_queue(outbox, &queue).await
}
