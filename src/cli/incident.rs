//! `outboxd incident`: what Redis lost, and what became of it.

use clap::{Args, Subcommand};

use super::config::SourceArgs;
use super::exit::Exit;
use super::table::{columns, or_dash};
use super::{connect, names, print, say};
use crate::fault::Fault;
use crate::pg::{Incident, IncidentFilter, Outbox};

/// The arguments of `outboxd incident`.
#[derive(Debug, Args)]
pub(super) struct IncidentArgs {
    #[command(subcommand)]
    command: IncidentCommand,
    #[command(flatten)]
    sources: SourceArgs,
}

#[derive(Debug, Subcommand)]
enum IncidentCommand {
    /// Show what Redis has lost, newest first
    List {
        /// Of this queue only
        queue: Option<String>,
        /// Only those of which something is still to be sent
        #[arg(long)]
        open: bool,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one of them with its evidence
    Show {
        /// Its number
        incident: i64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Asks Postgres, prints, ends.
pub(super) async fn run(args: IncidentArgs) -> Exit {
    let outbox = match connect::outbox(&args.sources.sources()) {
        Ok(outbox) => outbox,
        Err(exit) => return exit,
    };
    let shown = match args.command {
        IncidentCommand::List { queue, open, limit, json } => {
            let filter =
                IncidentFilter { queue: queue.as_deref(), open, limit: limit.into(), ..IncidentFilter::default() };
            list(&outbox, filter, json).await
        }
        IncidentCommand::Show { incident, json } => show(&outbox, incident, json).await,
    };
    shown.unwrap_or_else(|fault| connect::failed(&fault))
}

async fn list(outbox: &Outbox, filter: IncidentFilter<'_>, json: bool) -> Result<Exit, Fault> {
    if let Some(exit) = names::check_queue(outbox, filter.queue).await? {
        return Ok(exit);
    }
    let incidents = outbox.incidents(filter).await?;
    if json {
        print(&serde_json::json!({ "incidents": incidents }).to_string());
    } else if incidents.is_empty() {
        print("no incident is known");
    } else {
        print(&table(&incidents));
    }
    Ok(Exit::Ok)
}

async fn show(outbox: &Outbox, incident: i64, json: bool) -> Result<Exit, Fault> {
    let filter = IncidentFilter { incident: Some(incident), limit: 1, ..IncidentFilter::default() };
    let incidents = outbox.incidents(filter).await?;
    let Some(found) = incidents.first() else {
        say(&format!("outboxd: there is no incident {incident}; see `outboxd incident list`"));
        return Ok(Exit::Failure);
    };
    print(&if json { serde_json::json!(found).to_string() } else { detail(found) });
    Ok(Exit::Ok)
}

/// One line each.
pub(super) fn table(incidents: &[Incident]) -> String {
    let head = ["INCIDENT", "QUEUE", "CAUSE", "NOTICED", "STATE", "OUTSTANDING", "SENT AGAIN", "DUPLICATES UP TO"];
    let line = |incident: &Incident| {
        [
            incident.incident.to_string(),
            incident.queue.clone(),
            incident.cause.clone(),
            format!("{:.0}", incident.noticed_at),
            state(incident),
            or_dash(incident.outstanding),
            incident.replayed.to_string(),
            or_dash(incident.duplicates_possible),
        ]
    };
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(incidents.iter().map(line)).collect();
    columns(&rows)
}

fn state(incident: &Incident) -> String {
    match (incident.recovered_at, incident.cancelled_at) {
        (_, Some(_)) => "cancelled".to_owned(),
        (Some(at), None) => {
            let ms = at.duration_since(incident.noticed_at).as_millis().max(0).unsigned_abs();
            let took = std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX));
            format!("over after {}", humantime::format_duration(took))
        }
        (None, None) if incident.waiting > 0 => format!("{} rows wait", incident.waiting),
        (None, None) => "open".to_owned(),
    }
}

fn detail(incident: &Incident) -> String {
    let lines = [
        ("incident", incident.incident.to_string()),
        ("queue", incident.queue.clone()),
        ("destination", incident.destination.clone()),
        ("cause", format!("{}: {}", incident.cause, meaning(&incident.cause))),
        ("noticed", format!("{} by {}", incident.noticed_at, incident.relay)),
        ("state", state(incident)),
        ("batch known as reached", or_dash(incident.position_before)),
        ("batch believed", or_dash(incident.position_trusted)),
        ("newest batch then", or_dash(incident.newest)),
        ("rows outstanding", or_dash(incident.outstanding)),
        ("of them scheduled at the end", incident.scheduled.to_string()),
        ("rows sent again", incident.replayed.to_string()),
        ("duplicates possible", or_dash(incident.duplicates_possible)),
        ("evidence", incident.evidence.to_string()),
    ];
    let rows: Vec<[String; 2]> = lines.into_iter().map(|(name, value)| [name.to_owned(), value]).collect();
    columns(&rows)
}

/// What a cause says, for somebody who reads it for the first time.
fn meaning(cause: &str) -> &'static str {
    match cause {
        "missing" => "the queue's marker was gone: Redis was flushed, came back empty, or was replaced",
        "rolled_back" => "the queue's marker stood lower than before: Redis came back with older data",
        "unknown" => "the queue's marker was one that this database never wrote",
        "restart" => "Redis began another life; what was absent then and not known to be consumed was sent again",
        "no_receipt" => "no worker acknowledged these tasks in time, and they were not in Redis any more",
        "operator" => "somebody asked for it",
        "purged" => "somebody discarded rows that were not published yet; nothing was lost",
        "moved" => "somebody moved rows that were not published yet to another queue; nothing was lost",
        "repair" => "the database was restored or copied, and repaired",
        _ => "messages left Redis without a consumer",
    }
}
