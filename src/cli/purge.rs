//! `outboxd queue purge`, `move-rows` and `forget`: tasks that nobody wants, tasks in the wrong queue, queues without tasks.

use std::time::{Duration, Instant};

use clap::Args;

use super::exit::Exit;
use super::{names, print, say};
use crate::broker;
use crate::config::Config;
use crate::fault::Fault;
use crate::pg::{Outbox, Purge, Purged};
use crate::relay::target;
use crate::wire::Format;

/// How long relays may take to leave a queue that is being forgotten: they look every second at the latest, but for one
/// that cannot listen.
const LEAVE: Duration = Duration::from_secs(15);

/// The arguments of `outboxd queue purge`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct PurgeArgs {
    /// Which one
    queue: String,
    /// Tasks that wait for a time, too
    #[arg(long)]
    held: bool,
    /// Tasks that were published and are not known to be consumed, too: no loss brings them back. Their messages stay in
    /// Redis: remove them afterwards, or flush it
    #[arg(long)]
    published: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Why, for whoever looks at the incident
    #[arg(long)]
    reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `outboxd queue move-rows`.
#[derive(Debug, Args)]
pub(super) struct MoveRowsArgs {
    /// The queue that they are in
    from: String,
    /// The queue that publishes them
    to: String,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Why, for whoever looks at the incident
    #[arg(long)]
    reason: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Discards what was never published.
pub(super) async fn purge(outbox: &Outbox, args: &PurgeArgs) -> Result<Exit, Fault> {
    let by = operator();
    let reason = args.reason.as_deref();
    let ask = Purge {
        queue: &args.queue,
        to: None,
        held: args.held,
        published: args.published,
        reason,
        by: &by,
        start: args.yes,
    };
    let Some(purged) = outbox.purge(ask).await? else { return names::unknown_queue(outbox, &args.queue).await };
    if args.json {
        print(&serde_json::json!(purged).to_string());
        return Ok(Exit::Ok);
    }
    let counts = [
        (purged.pending + purged.again, "pending", true),
        (purged.held, "waiting for a time", args.held),
        (purged.published, "published and not known to be consumed", args.published),
    ];
    let meant: Vec<String> =
        counts.iter().filter(|(.., meant)| *meant).map(|(rows, what, _)| format!("{rows} {what}")).collect();
    let meant = meant.join(", ");
    print(&if args.yes {
        done(&args.queue, &format!("discarded: {meant}"), &purged)
    } else {
        format!("queue {:?}: rows that would be discarded: {meant}; --yes does it", args.queue)
    });
    if !args.yes && !args.held && purged.held > 0 {
        say(&format!("outboxd: {} more rows wait for a time; --held discards them, too", purged.held));
    }
    if !args.yes && !args.published && purged.published > 0 {
        say(&format!(
            "outboxd: {} more rows are published and not known to be consumed; --published discards them, too",
            purged.published
        ));
    }
    if args.yes && args.published && purged.published > 0 {
        say(
            "outboxd: messages that stand in Redis stay there until a worker or you remove them; no loss brings them back",
        );
    }
    Ok(Exit::Ok)
}

/// Publishes what was never published in another queue.
pub(super) async fn move_rows(outbox: &Outbox, args: &MoveRowsArgs) -> Result<Exit, Fault> {
    let (by, reason) = (operator(), args.reason.as_deref());
    if args.from == args.to {
        say("outboxd: name two different queues: the one that the rows are in, then the one that publishes them");
        return Ok(Exit::Usage);
    }
    let ask =
        Purge { queue: &args.from, to: Some(&args.to), held: true, published: false, reason, by: &by, start: args.yes };
    let Some(moved) = outbox.purge(ask).await? else { return names::unknown_queue(outbox, &args.from).await };
    if args.json {
        print(&serde_json::json!(moved).to_string());
        return Ok(Exit::Ok);
    }
    let rows = moved.pending + moved.held;
    print(&if args.yes {
        done(&args.from, &format!("{rows} rows are published in {:?} instead", args.to), &moved)
    } else {
        format!("queue {:?}: {rows} rows would be published in {:?} instead; --yes does it", args.from, args.to)
    });
    if moved.again > 0 {
        say(&format!(
            "outboxd: {} rows that were published before and go out again after a loss stay where they are",
            moved.again
        ));
    }
    Ok(Exit::Ok)
}

fn operator() -> String {
    std::env::var("USER").unwrap_or_else(|_| "operator".to_owned())
}

fn done(queue: &str, what: &str, purged: &Purged) -> String {
    match purged.incident {
        Some(incident) => format!("queue {queue:?}: {what}; see `outboxd incident show {incident}`"),
        None => format!("queue {queue:?}: there is nothing to do"),
    }
}

/// Takes a queue without rows out of Postgres, then its marker out of Redis.
pub(super) async fn forget(outbox: &Outbox, config: &Config, queue: &str) -> Result<Exit, Fault> {
    let deadline = Instant::now() + LEAVE;
    let mut finish = false;
    loop {
        let (status, why) = outbox.forget(queue, finish).await?;
        let why = why.unwrap_or_default();
        match status.as_str() {
            "unknown" => return names::unknown_queue(outbox, queue).await,
            "refused" => {
                if finish {
                    // It was paused for this; what came meanwhile is to be published.
                    outbox.resume(queue).await?;
                }
                say(&format!("outboxd: queue {queue:?} cannot be forgotten: {why}"));
                return Ok(Exit::Failure);
            }
            "busy" if Instant::now() >= deadline => {
                say(&format!(
                    "outboxd: the relay {why:?} has not left queue {queue:?} yet; it is paused, so run the command again"
                ));
                return Ok(Exit::Failure);
            }
            "forgotten" => break,
            _ => {}
        }
        if finish {
            // The interval of asking.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        finish = true;
    }
    say(&format!("outboxd: queue {queue:?} is forgotten; a row that is enqueued to it makes it anew"));
    if let Err(fault) = unmark(outbox, config, queue).await {
        say(&format!("outboxd: its marker is still in Redis, which does no harm: {}", fault.reason().message));
    }
    Ok(Exit::Ok)
}

/// Removes its marker.
async fn unmark(outbox: &Outbox, config: &Config, queue: &str) -> Result<(), Fault> {
    let settings = config.queue(queue);
    let format = Format::new(&settings.spec(), queue).map_err(|message| Fault::halt("config", message))?;
    let Some(redis) = config.redis.get(&settings.redis) else {
        return Err(Fault::halt("config", format!("no Redis target {:?} is configured here", settings.redis)));
    };
    let key = broker::marker_key(&format.keys()[0].name)?;
    let field = broker::field(outbox.identity().await?.installation, queue);
    let link = target(&settings.redis, redis)?.connect().await?;
    broker::remove_marker(&link, &key, &field).await
}
