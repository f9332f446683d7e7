//! `outboxd status`: every queue in a line.

use std::fmt::Write as _;

use clap::Args;

use super::config::SourceArgs;
use super::exit::Exit;
use super::table::{columns, or_dash};
use super::{connect, print};
use crate::pg::QueueGauge;

/// The arguments of `outboxd status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Asks Postgres, prints, ends.
pub(super) async fn run(args: StatusArgs) -> Exit {
    let outbox = match connect::outbox(&args.sources.sources()) {
        Ok(outbox) => outbox,
        Err(exit) => return exit,
    };
    // No queue is seen where the log is hidden.
    let queues = match outbox.all_is_seen().await {
        Ok(()) => outbox.gauge().await,
        Err(fault) => Err(fault),
    };
    let queues = match queues {
        Ok(queues) => queues,
        Err(fault) => return connect::failed(&fault),
    };
    if args.json {
        print(&serde_json::json!({ "queues": queues }).to_string());
    } else if queues.is_empty() {
        print("no queue has been seen yet");
    } else {
        print(&table(&queues));
    }
    Exit::Ok
}

/// Columns as wide as they must be.
pub(super) fn table(queues: &[QueueGauge]) -> String {
    let head = ["QUEUE", "STATE", "PENDING", "OLDEST", "HELD", "DEAD", "BATCH", "REACHED", "CONSUMED", "RELAY"]
        .map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(queues.iter().map(line)).collect();
    let mut text = columns(&rows);
    for queue in queues {
        if let Some(why) = queue.stopped_reason.as_ref().or(queue.reason.as_ref()) {
            // Writing to a string cannot fail.
            let _written: std::fmt::Result = write!(text, "\n{}: {why}", queue.queue);
        }
    }
    text
}

fn line(queue: &QueueGauge) -> [String; 10] {
    let state = match (queue.paused, &queue.stopped_reason) {
        (true, _) => "paused",
        (false, Some(_)) => "stopped",
        (false, None) => "running",
    };
    let about = if queue.estimated { "~" } else { "" };
    let oldest = queue.oldest_ms.map(|ms| std::time::Duration::from_millis(ms.max(0).unsigned_abs()));
    [
        queue.queue.clone(),
        state.to_owned(),
        format!("{about}{}", queue.pending),
        or_dash(oldest.map(|age| humantime::format_duration(round(age)))),
        queue.held.to_string(),
        queue.dead.to_string(),
        or_dash(queue.newest),
        or_dash(queue.reached),
        or_dash(queue.consumed),
        or_dash(queue.relay.as_ref()),
    ]
}

/// Whole seconds, once there are any.
fn round(age: std::time::Duration) -> std::time::Duration {
    if age.as_secs() > 0 { std::time::Duration::from_secs(age.as_secs()) } else { age }
}
