//! The relays and the queues, as Postgres knows them: whether anybody publishes, and what keeps tasks waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::super::status;
use super::report::Report;
use crate::pg::{QueueGauge, Relays};

/// A server that is waited for, or a window that is full, is a finding after this long: before, it may be a moment's.
const LONG: Duration = Duration::from_secs(60);

/// So many names are told; a target with hundreds of queues stops hundreds for one cause.
const NAMES: usize = 5;

/// Says what keeps tasks from being published.
pub(super) fn examine(queues: &[QueueGauge], relays: &Relays, report: &mut Report) {
    of_relays(queues, relays, report);
    stopped(queues, relays, report);
    for queue in queues {
        let (check, why) = (format!("queue {}", queue.queue), status::reason(queue).unwrap_or_default());
        match queue.state.as_str() {
            "paused" => {
                report.note(&check, &format!("paused: {why}; `outboxd queue resume {}` ends that", queue.queue));
            }
            "waiting" if is_long(queue) => {
                report.finding(&check, &format!("waiting: {why}"), "see what is said of the server below");
            }
            "full" if is_long(queue) => report.finding(
                &check,
                &format!("full: {why}"),
                "see that its workers run and consume this queue, or raise its window",
            ),
            "waiting" | "full" | "new" => report.note(&check, &format!("{}: {why}", queue.state)),
            _ => {}
        }
    }
}

fn is_long(queue: &QueueGauge) -> bool {
    let age = queue.since.and_then(|since| Duration::try_from(Timestamp::now().duration_since(since)).ok());
    age.is_some_and(|age| age >= LONG)
}

/// Whether anybody publishes what waits.
fn of_relays(queues: &[QueueGauge], relays: &Relays, report: &mut Report) {
    let waiting: Vec<&QueueGauge> = queues.iter().filter(|queue| queue.pending > 0 && !queue.paused).collect();
    let sentence = status::sentence(relays);
    let detail = sentence.trim_start_matches("relays: ");
    if !relays.none_lives() {
        report.ok("relays", detail);
    } else if waiting.is_empty() {
        report.note("relays", detail);
    } else {
        let rows: i64 = waiting.iter().map(|queue| queue.pending).sum();
        let names = listed(waiting.iter().map(|queue| queue.queue.as_str()));
        report.finding(
            "relays",
            &format!("none is alive, and {rows} rows wait ({names})"),
            "start `outboxd run`; if it runs, see that it uses this database and schema",
        );
    }
}

/// Queues that their relay stopped: each cause once.
fn stopped(queues: &[QueueGauge], relays: &Relays, report: &mut Report) {
    let mut causes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for queue in queues.iter().filter(|queue| !queue.paused) {
        if let Some(why) = &queue.stopped_reason {
            causes.entry(why).or_default().push(&queue.queue);
        }
    }
    for (why, names) in causes {
        let check = if let [name] = names.as_slice() { format!("queue {name}") } else { "queues".to_owned() };
        let detail = if names.len() == 1 {
            format!("stopped: {why}")
        } else {
            format!("{} are stopped ({}): {why}", names.len(), listed(names.iter().copied()))
        };
        let next = match names.as_slice() {
            _ if relays.none_lives() => {
                "mend the cause, then start `outboxd run`: it tries every queue anew".to_owned()
            }
            [name] => {
                format!("mend the cause, then run `outboxd queue resume {name}`; a reload or a restart does it too")
            }
            _ => "mend the cause, then run `outboxd queue resume --all`; a reload or a restart does it too".to_owned(),
        };
        report.finding(&check, &detail, &next);
    }
}

fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMES);
    let shown = names.take(NAMES).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
