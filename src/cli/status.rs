//! `outboxd status`: every queue in a line, what is done about it, and whether a relay is there at all.

use std::time::Duration;

use clap::Args;

use super::config::SourceArgs;
use super::exit::Exit;
use super::table::{columns, or_dash};
use super::{connect, print};
use crate::fault::Fault;
use crate::pg::{Outbox, QueueGauge, Relays};

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
    match show(&outbox, args.json).await {
        Ok(()) => Exit::Ok,
        Err(fault) => connect::failed(&fault),
    }
}

/// Prints every queue; `outboxd queue list` does the same.
pub(super) async fn show(outbox: &Outbox, json: bool) -> Result<(), Fault> {
    // No queue is seen where the log is hidden.
    outbox.all_is_seen().await?;
    let queues = outbox.gauge().await?;
    let relays = outbox.relays().await?;
    if json {
        print(&serde_json::json!({ "relays": relays, "queues": queues }).to_string());
    } else {
        let table = if queues.is_empty() { "no queue has been seen yet\n".to_owned() } else { table(&queues) };
        print(&format!("{table}\n{}", sentence(&relays)));
    }
    Ok(())
}

/// Whether relays are alive, as far as Postgres can tell.
pub(super) fn sentence(relays: &Relays) -> String {
    let last = relays.last_ms.map(|ms| format!("; the last sign of one is {} old", age(ms))).unwrap_or_default();
    match relays {
        Relays { alive: 0, polls: false, .. } => {
            format!("relays: none is alive, nothing is published: start `outboxd run`{last}")
        }
        Relays { alive: 0, .. } => format!(
            "relays: unknown: one behind a pooler cannot be seen (set database.listen_url, or ask it: `outboxd health`){last}"
        ),
        Relays { alive, polls, .. } => {
            format!("relays: {alive} alive{}", if *polls { ", and perhaps one behind a pooler" } else { "" })
        }
    }
}

/// Columns as wide as they must be, then the reasons.
fn table(queues: &[QueueGauge]) -> String {
    let head = ["QUEUE", "STATE", "PENDING", "OLDEST", "HELD", "UNCONSUMED", "DEAD", "RELAY"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(queues.iter().map(line)).collect();
    let reasons = queues.iter().filter_map(|queue| Some(format!("{}: {}\n", queue.queue, reason(queue)?)));
    columns(&rows) + &reasons.collect::<String>()
}

/// Why a queue is not simply open, and for how long.
pub(super) fn reason(queue: &QueueGauge) -> Option<String> {
    let why = queue.why.as_deref();
    match queue.state.as_str() {
        "paused" => Some(why.unwrap_or("paused, no reason was given").to_owned()),
        "stopped" => why.map(ToOwned::to_owned),
        "full" => Some(format!(
            "Redis holds as many messages as it may (queues.NAME.window){}: tasks wait for consumers",
            queue.since.map(|since| format!(", for {}", since_age(since))).unwrap_or_default()
        )),
        "new" => Some("committed rows, and no relay has seen the queue yet".to_owned()),
        "waiting" => Some(why.unwrap_or("its relay waits for a server").to_owned()),
        _ => None,
    }
}

fn line(queue: &QueueGauge) -> [String; 8] {
    let about = if queue.estimated { "~" } else { "" };
    let relay = queue.relay.as_ref().map(|relay| match queue.lives {
        Some(true) => relay.clone(),
        Some(false) => format!("{relay} (gone)"),
        None => format!("{relay} (?)"),
    });
    [
        queue.queue.clone(),
        queue.state.clone(),
        format!("{about}{}", queue.pending),
        or_dash(queue.oldest_ms.map(age)),
        queue.held.to_string(),
        or_dash(queue.unconsumed),
        queue.dead.to_string(),
        or_dash(relay),
    ]
}

/// How long ago, for people.
pub(super) fn since_age(since: jiff::Timestamp) -> String {
    age(i64::try_from(jiff::Timestamp::now().duration_since(since).as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds for people: whole seconds, once there are any.
fn age(ms: i64) -> String {
    let age = Duration::from_millis(ms.max(0).unsigned_abs());
    let age = if age.as_secs() > 0 { Duration::from_secs(age.as_secs()) } else { age };
    humantime::format_duration(age).to_string()
}
