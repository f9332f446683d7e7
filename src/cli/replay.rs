//! `outboxd replay`: what an operator wants to be sent again.

use clap::{Args, Subcommand};
use jiff::{Span, Timestamp};

use super::config::SourceArgs;
use super::exit::Exit;
use super::{connect, incident, names, print, say};
use crate::fault::Fault;
use crate::pg::{IncidentFilter, Outbox, Replay, ReplayRequest};

/// The arguments of `outboxd replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(subcommand)]
    command: ReplayCommand,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Debug, Subcommand)]
enum ReplayCommand {
    /// Count what a replay would send again; nothing is changed
    Plan(Range),
    /// Send it again, as fast as the queue's window allows
    Start(Range),
    /// Show replays, newest first
    Status {
        /// Only this one
        replay: Option<i64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take back what of a replay was not planned yet
    Cancel {
        /// Its number
        replay: i64,
    },
}

/// Which rows of one queue. What the retention has removed cannot be sent again.
#[derive(Debug, Args)]
struct Range {
    /// The queue
    queue: String,
    /// Published at this time or later: `2026-11-22T17:00:00Z`, or an age such as `30m` (what counts is when it was planned,
    /// just before)
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Published at this time or earlier
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// From this batch
    #[arg(long, value_name = "BATCH")]
    from_batch: Option<i64>,
    /// To this batch
    #[arg(long, value_name = "BATCH")]
    to_batch: Option<i64>,
    /// The whole of what is stored, however old
    #[arg(long, conflicts_with_all = ["since", "until", "from_batch", "to_batch"])]
    all: bool,
    /// Only what is not known to be consumed
    #[arg(long)]
    unconsumed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Range {
    /// Whether nobody has said which rows.
    const fn is_unbounded(&self) -> bool {
        self.since.is_none()
            && self.until.is_none()
            && self.from_batch.is_none()
            && self.to_batch.is_none()
            && !self.all
    }
}

/// A time, or how long ago.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong = || format!("{text:?} is neither a time such as 2026-11-22T17:00:00Z nor an age such as 30m");
    let age = humantime::parse_duration(text).map_err(|_| wrong())?;
    let span = Span::try_from(age).map_err(|_| wrong())?;
    Timestamp::now().checked_sub(span).map_err(|_| wrong())
}

/// Asks or tells Postgres; running relays follow at once.
pub(super) async fn run(args: ReplayArgs) -> Exit {
    let outbox = match connect::outbox(&args.sources.sources()) {
        Ok(outbox) => outbox,
        Err(exit) => return exit,
    };
    let done = match args.command {
        ReplayCommand::Plan(range) => replay(&outbox, &range, false).await,
        ReplayCommand::Start(range) => replay(&outbox, &range, true).await,
        ReplayCommand::Status { replay, json } => status(&outbox, replay, json).await,
        ReplayCommand::Cancel { replay } => cancel(&outbox, replay).await,
    };
    done.unwrap_or_else(|fault| connect::failed(&fault))
}

async fn replay(outbox: &Outbox, range: &Range, start: bool) -> Result<Exit, Fault> {
    if range.is_unbounded() {
        say(&format!(
            "outboxd: say which tasks of {:?}:\n  \
             --since TIME, --until TIME            published in this time: 2026-11-22T17:00:00Z, or an age such as 30m\n  \
             --from-batch BATCH, --to-batch BATCH  of these batches, as `outboxd incident show` names them\n  \
             --all                                 everything that is still stored, consumed or not\n\
             With --unconsumed, only what is not known to be consumed. `replay plan` counts and changes nothing.",
            range.queue
        ));
        return Ok(Exit::Usage);
    }
    let by = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    let ask = ReplayRequest {
        queue: &range.queue,
        since: range.since,
        until: range.until,
        first: range.from_batch,
        last: range.to_batch,
        unconsumed: range.unconsumed,
        start,
        by: &by,
    };
    let Some(replay) = outbox.replay(ask).await? else {
        return names::unknown_queue(outbox, &range.queue).await;
    };
    print(&if range.json { serde_json::json!(replay).to_string() } else { sentence(&range.queue, &replay, start) });
    Ok(Exit::Ok)
}

fn sentence(queue: &str, replay: &Replay, start: bool) -> String {
    let (Some(first), Some(last)) = (replay.first, replay.last) else {
        return format!("queue {queue:?}: nothing that is still stored was dispatched in that range");
    };
    let what = format!("{} rows of {} batches ({first} to {last})", replay.rows, replay.batches);
    match replay.incident {
        Some(incident) => {
            format!(
                "queue {queue:?}: {what} are sent again as replay {incident}; see `outboxd replay status {incident}`"
            )
        }
        None if start => format!("queue {queue:?}: nothing to send again in {} batches", replay.batches),
        None => format!("queue {queue:?}: {what} would be sent again; nothing was changed"),
    }
}

async fn status(outbox: &Outbox, replay: Option<i64>, json: bool) -> Result<Exit, Fault> {
    let filter = IncidentFilter { incident: replay, replays: true, limit: 50, ..IncidentFilter::default() };
    let replays = outbox.incidents(filter).await?;
    if json {
        print(&serde_json::json!({ "replays": replays }).to_string());
    } else if let (Some(replay), true) = (replay, replays.is_empty()) {
        say(&format!("outboxd: there is no replay {replay}; see `outboxd replay status`"));
    } else if replays.is_empty() {
        print("no replay is known");
    } else {
        print(&incident::table(&replays));
    }
    Ok(if replay.is_some() && replays.is_empty() { Exit::Failure } else { Exit::Ok })
}

async fn cancel(outbox: &Outbox, replay: i64) -> Result<Exit, Fault> {
    let Some(rows) = outbox.cancel_replay(replay).await? else {
        say(&format!("outboxd: there is no replay {replay} that is under way; see `outboxd replay status`"));
        return Ok(Exit::Failure);
    };
    say(&format!("outboxd: replay {replay} is cancelled; {rows} rows that were not planned yet stay as they were"));
    Ok(Exit::Ok)
}
