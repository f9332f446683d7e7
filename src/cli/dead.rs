//! `outboxd dead`: tasks that cannot be published, or whose worker gave up; what they died of, and what becomes of them.

mod detail;

use std::collections::BTreeSet;

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::config::SourceArgs;
use super::exit::Exit;
use super::names::task_id;
use super::replay::moment;
use super::table::{columns, or_dash};
use super::{connect, names, print, say};
use crate::fault::Fault;
use crate::pg::{DeadChoice, DeadFilter, DeadGroup, DeadRow, Outbox};

/// So many rows are retried or discarded by one call: a queue is locked for about a second meanwhile.
const MOST: i64 = 10_000;

/// How much of an error a table shows, in characters.
const SHOWN: usize = 80;

/// The arguments of `outboxd dead`.
#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// Show dead tasks, the one that failed last first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Count them by queue, task and class of error instead
        #[arg(long)]
        count: bool,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show everything that is known of one, its payload included
    Show {
        /// The task's id
        #[arg(value_parser = task_id)]
        task_id: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send dead tasks again under their ids, at most 10,000 at a time; `replay status` tells how far that is
    Retry(Chosen),
    /// Give dead tasks up for good, at most 10,000 at a time
    Discard(Chosen),
}

/// Which dead tasks. Bounds add up.
#[derive(Debug, Args)]
struct Filter {
    /// Of this queue
    #[arg(long)]
    queue: Option<String>,
    /// With this task name
    #[arg(long)]
    task: Option<String>,
    /// With this class of error
    #[arg(long)]
    class: Option<String>,
    /// That failed last at this time or later: `2026-11-22T17:00:00Z`, or an age such as `30m`
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// That failed last at this time or earlier
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
}

/// What to retry or discard: task ids, or a filter, or all.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true)
    .args(["task_ids", "queue", "task", "class", "since", "until", "all"]))]
struct Chosen {
    /// These tasks
    #[arg(value_name = "TASK_ID", value_parser = task_id, conflicts_with_all = ["queue", "task", "class", "since", "until", "all"])]
    task_ids: Vec<Uuid>,
    #[command(flatten)]
    filter: Filter,
    /// All of them; needed if neither a task nor a bound is given
    #[arg(long, conflicts_with_all = ["queue", "task", "class", "since", "until"])]
    all: bool,
    /// Count, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Filter {
    fn to_filter(&self) -> DeadFilter<'_> {
        DeadFilter {
            task_ids: None,
            queue: self.queue.as_deref(),
            task: self.task.as_deref(),
            class: self.class.as_deref(),
            since: self.since,
            until: self.until,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Retry,
    Discard,
}

/// What a retry or a discard did, or would do.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    dry_run: bool,
    /// How many rows were retried or discarded.
    rows: i64,
    /// How many were not retried, because `outbox_once` proves that their effect is there,
    done: i64,
    /// or because they were cancelled.
    cancelled: i64,
    /// How many more were meant.
    remaining: i64,
    /// Task ids that are not dead.
    unknown: BTreeSet<Uuid>,
    queues: Vec<OfQueue>,
}

#[derive(Debug, Serialize)]
struct OfQueue {
    queue: String,
    rows: i64,
    /// The replay that a retry is.
    replay: Option<i64>,
}

/// Asks or tells Postgres; running relays follow at once.
pub(super) async fn run(args: DeadArgs) -> Exit {
    let outbox = match connect::outbox(&args.sources.sources()) {
        Ok(outbox) => outbox,
        Err(exit) => return exit,
    };
    let done = match args.command {
        DeadCommand::List { filter, count: false, limit, json } => list(&outbox, &filter, limit, json).await,
        DeadCommand::List { filter, count: true, limit, json } => count(&outbox, &filter, limit, json).await,
        DeadCommand::Show { task_id, json } => show(&outbox, task_id, json).await,
        DeadCommand::Retry(chosen) => act(&outbox, &chosen, Act::Retry).await,
        DeadCommand::Discard(chosen) => act(&outbox, &chosen, Act::Discard).await,
    };
    done.unwrap_or_else(|fault| connect::failed(&fault))
}

async fn list(outbox: &Outbox, filter: &Filter, limit: u32, json: bool) -> Result<Exit, Fault> {
    if let Some(exit) = names::check_queue(outbox, filter.queue.as_deref()).await? {
        return Ok(exit);
    }
    let mut dead = outbox.dead(&filter.to_filter(), i64::from(limit) + 1).await?;
    let more = cut(&mut dead, limit);
    let line = |row: &DeadRow| {
        [
            row.task_id.to_string(),
            row.queue.clone(),
            or_dash(Some(&row.task)),
            row.error_class.clone(),
            row.attempts.to_string(),
            format!("{:.0}", row.last_failed_at),
            one_line(&row.error),
        ]
    };
    if json {
        print(&serde_json::json!({ "dead": dead, "more": more }).to_string());
    } else {
        let head = ["TASK ID", "QUEUE", "TASK", "CLASS", "ATTEMPTS", "LAST FAILED", "ERROR"];
        tell(head.map(str::to_owned), dead.iter().map(line), more);
    }
    Ok(Exit::Ok)
}

async fn count(outbox: &Outbox, filter: &Filter, limit: u32, json: bool) -> Result<Exit, Fault> {
    let mut groups = outbox.dead_groups(&filter.to_filter(), i64::from(limit) + 1).await?;
    let more = cut(&mut groups, limit);
    let line = |group: &DeadGroup| {
        [
            group.rows.to_string(),
            group.queue.clone(),
            or_dash(Some(&group.task)),
            group.error_class.clone(),
            format!("{:.0}", group.first_failed_at),
            format!("{:.0}", group.last_failed_at),
            one_line(&group.error),
        ]
    };
    if json {
        print(&serde_json::json!({ "groups": groups, "more": more }).to_string());
    } else {
        let head = ["ROWS", "QUEUE", "TASK", "CLASS", "FIRST FAILED", "LAST FAILED", "LAST ERROR"];
        tell(head.map(str::to_owned), groups.iter().map(line), more);
    }
    Ok(Exit::Ok)
}

/// Leaves as many as were asked for; whether there were more.
fn cut<T>(found: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    more
}

/// A table, or that there is none.
fn tell<const N: usize>(head: [String; N], lines: impl Iterator<Item = [String; N]>, more: bool) {
    let rows: Vec<_> = std::iter::once(head).chain(lines).collect();
    print(&if rows.len() == 1 { "no dead task is known".to_owned() } else { columns(&rows) });
    if more {
        say("outboxd: there are more; raise --limit, or narrow by --queue, --task, --class, --since, --until");
    }
}

async fn show(outbox: &Outbox, task_id: Uuid, json: bool) -> Result<Exit, Fault> {
    let dead = outbox.dead_detail(task_id).await?;
    if dead.is_empty() {
        say(&format!("outboxd: no dead task has the id {task_id}; see `outboxd dead list`"));
        return Ok(Exit::Failure);
    }
    if json {
        #[derive(Serialize)]
        struct Listed {
            dead: Vec<detail::Told>,
        }
        // Not by way of a Value, which would round the numbers of the payload.
        let text = serde_json::to_string(&Listed { dead: dead.into_iter().map(detail::Told::new).collect() })
            .map_err(|error| Fault::halt("internal", format!("cannot write JSON: {error}")))?;
        print(&text);
    } else {
        print(&dead.iter().map(detail::text).collect::<Vec<_>>().join("\n"));
    }
    Ok(Exit::Ok)
}

/// The beginning of an error, for a table.
fn one_line(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let mut text: String = line.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() < error.trim().chars().count() {
        text.push('…');
    }
    text
}

/// Chooses, then goes from queue to queue: what dies after the choice is not touched.
async fn act(outbox: &Outbox, chosen: &Chosen, act: Act) -> Result<Exit, Fault> {
    let named = (!chosen.task_ids.is_empty()).then_some(chosen.task_ids.as_slice());
    let filter = DeadFilter { task_ids: named, ..chosen.filter.to_filter() };
    let choices = outbox.choose_dead(&filter, MOST, act == Act::Retry).await?;
    let known: BTreeSet<Uuid> = choices.iter().flat_map(|choice| &choice.task_ids).copied().collect();
    let mut outcome = Outcome {
        dry_run: chosen.dry_run,
        unknown: chosen.task_ids.iter().filter(|id| !known.contains(id)).copied().collect(),
        done: choices.iter().map(|choice| choice.done).sum(),
        cancelled: choices.iter().map(|choice| choice.cancelled).sum(),
        remaining: choices.iter().map(|choice| choice.remaining).sum(),
        ..Outcome::default()
    };
    let by = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    let asked = serde_json::json!({
        "task_ids": named.map(<[Uuid]>::len), "queue": filter.queue, "task": filter.task, "class": filter.class,
        "since": filter.since, "until": filter.until,
    });
    let mut failed = None;
    for choice in choices.iter().filter(|choice| !choice.ids.is_empty()) {
        let chosen = i64::try_from(choice.ids.len()).unwrap_or(i64::MAX);
        if failed.is_some() {
            outcome.remaining += chosen;
        } else if outcome.dry_run {
            outcome.add(choice, chosen, None);
        } else if let Err(fault) = one_queue(outbox, choice, act, (&by, &asked.to_string()), &mut outcome).await {
            outcome.remaining += chosen;
            failed = Some(fault);
        }
    }
    let text = if chosen.json { serde_json::json!(outcome).to_string() } else { outcome.sentences(act) };
    // What was done in other queues before one failed was done.
    if failed.is_none() || !outcome.queues.is_empty() {
        print(&text);
    }
    if let Some(fault) = failed {
        return Err(fault);
    }
    for id in &outcome.unknown {
        say(&format!("outboxd: no dead task has the id {id}; see `outboxd dead list`"));
    }
    Ok(if outcome.unknown.is_empty() { Exit::Ok } else { Exit::Failure })
}

async fn one_queue(
    outbox: &Outbox,
    choice: &DeadChoice,
    act: Act,
    (by, asked): (&str, &str),
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    match act {
        Act::Retry => {
            let retried = outbox.retry_dead(choice, by, asked).await?;
            outcome.done += retried.done;
            outcome.cancelled += retried.cancelled;
            outcome.add(choice, retried.rows, retried.incident);
        }
        Act::Discard => {
            let rows = outbox.discard_dead(choice).await?;
            outcome.add(choice, rows, None);
        }
    }
    Ok(())
}

impl Outcome {
    fn add(&mut self, choice: &DeadChoice, rows: i64, replay: Option<i64>) {
        self.rows += rows;
        self.queues.push(OfQueue { queue: choice.queue.clone(), rows, replay });
    }

    fn sentences(&self, act: Act) -> String {
        let mut lines = Vec::new();
        for OfQueue { queue, rows, replay } in &self.queues {
            lines.push(match (act, self.dry_run, replay) {
                (Act::Retry, true, _) => format!("queue {queue:?}: {rows} dead tasks would be sent again"),
                (Act::Discard, true, _) => format!("queue {queue:?}: {rows} dead tasks would be discarded"),
                (Act::Retry, false, Some(replay)) => format!(
                    "queue {queue:?}: {rows} dead tasks are sent again as replay {replay}; see `outboxd replay status {replay}`"
                ),
                (Act::Retry, false, None) => format!("queue {queue:?}: nothing to retry"),
                (Act::Discard, false, _) => format!("queue {queue:?}: {rows} dead tasks were discarded"),
            });
        }
        if self.queues.is_empty() {
            lines.push("no dead task was chosen".to_owned());
        }
        if self.done > 0 {
            lines.push(format!(
                "{} are not retried: outbox_once says that their effect is done; discard them",
                self.done
            ));
        }
        if self.cancelled > 0 {
            lines.push(format!("{} are not retried: they were cancelled; discard them", self.cancelled));
        }
        if self.remaining > 0 {
            lines.push(format!("{} more remain, one call takes {MOST} at most: run it again", self.remaining));
        }
        if self.dry_run {
            lines.push("nothing was changed".to_owned());
        }
        lines.join("\n")
    }
}
