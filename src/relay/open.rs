//! The one way back in after anything uncertain: observe, begin a tenure, set the marker, send again what is above it.

use std::time::Duration;

use uuid::Uuid;

use super::backoff::Backoff;
use super::route::Route;
use super::shared::{Shared, of_redis};
use crate::batch::Marker;
use crate::broker::{self, Link, Opened};
use crate::failpoint;
use crate::fault::Fault;
use crate::pg::{self, Cause, OpenRequest, Opening};

/// A queue that this relay has opened.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The tenure, and the position from which batches are sent again.
    pub(crate) marker: Marker,
    /// What Postgres said when the tenure began.
    pub(crate) ledger: pg::Opened,
    /// The life of the dataset in which it began.
    pub(crate) incarnation: String,
    /// How many rows may be planned for one batch on this server.
    pub(crate) most_rows: u32,
}

/// Opens a queue; `None` if it is paused.
///
/// The tenure is durable in Postgres before Redis sees it, and Redis takes it only if its marker is still what was
/// observed, in the same life of the same dataset. Whatever fails in between is harmless: the next opening closes the
/// tenure, and a command that comes late finds another marker.
pub(crate) async fn open(shared: &Shared, route: &Route, link: &Link) -> Result<Option<Standing>, Fault> {
    let queue = route.settings.queue.as_str();
    let spot = route.spot();
    let mut pace = Backoff::new(Duration::from_millis(5), Duration::from_millis(500));
    let mut looked = None;
    for _ in 0..8 {
        let observed = of_redis(broker::observe(link, spot.marker, spot.field).await)?;
        failpoint::hit("open.observed");
        let token = Uuid::new_v4();
        let incarnation = observed.server.incarnation.to_string();
        let ask = OpenRequest {
            queue,
            token,
            destination: &route.destination,
            incarnation: &incarnation,
            seen: observed.found.marker,
            relay: &shared.id,
            horizon: shared.config().relay.replay_horizon.get(),
            confirm: route.settings.confirm.name(),
            looked,
        };
        let ledger = match shared.outbox.open(ask).await? {
            Opening::Opened(ledger) => ledger,
            Opening::Again(checkpoint) => {
                looked = checkpoint;
                continue;
            }
            Opening::Paused => return Ok(None),
            Opening::Suspended => {
                suspended(shared, route);
                return Ok(None);
            }
            Opening::Moved => return Err(moved(route)),
            Opening::Foreign(wrong) => return Err(super::foreign(&wrong)),
        };
        failpoint::hit("open.committed");
        let marker = Marker { tenure: token, position: ledger.trusted };
        let opened = broker::open(link, spot.marker, spot.field, observed.found.value.as_deref(), &marker).await;
        match of_redis(opened)? {
            Opened::Ok(now) if now == observed.server.incarnation => {
                failpoint::hit("open.done");
                report(shared, queue, observed.found.marker, &ledger);
                let most_rows = broker::most_rows(&observed.server);
                return Ok(Some(Standing { marker, ledger, incarnation, most_rows }));
            }
            Opened::Ok(_) | Opened::Stale(_) => tokio::time::sleep(pace.step()).await,
        }
    }
    Err(Fault::retry(
        "contended",
        format!(
            "queue {queue:?}: its marker on {} changes faster than it can be opened; does another relay with the same \
                 database write there?",
            route.destination
        ),
    ))
}

/// Waits for what live workers still hold in memory, if a dataset was lost.
pub(crate) async fn settle(shared: &Shared, standing: &Standing) {
    let ledger = &standing.ledger;
    let again = ledger.newest > ledger.done || ledger.scheduled > 0;
    if again && matches!(ledger.cause, Cause::Missing | Cause::Unknown) {
        tokio::select! {
            () = tokio::time::sleep(shared.config().relay.replay_settle.get()) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

fn report(shared: &Shared, queue: &str, seen: Option<Marker>, ledger: &pg::Opened) {
    shared.metrics.tenure_opened(queue, ledger.cause.name());
    let seen = seen.map(|marker| marker.position);
    let cause = ledger.cause.name();
    if ledger.cause.is_loss() {
        shared.metrics.incident(queue, cause);
        shared.metrics.scheduled_again(queue, cause, ledger.scheduled.max(0).unsigned_abs());
        shared.metrics.duplicates_possible(queue, ledger.duplicates.max(0).unsigned_abs());
        tracing::warn!(
            event = "queue.loss",
            queue,
            cause,
            seen,
            trusted = ledger.trusted,
            done = ledger.done,
            newest = ledger.newest,
            scheduled = ledger.scheduled,
            "Redis has lost tasks of this queue; they are sent again"
        );
    }
    if ledger.cause == Cause::Adopted && ledger.trusted > 0 {
        tracing::warn!(
            event = "queue.adopted",
            queue,
            after = ledger.trusted,
            "the queue goes on at another destination after that batch; if the one before has lost tasks, move it back or \
             run `outboxd replay start`"
        );
    }
    tracing::info!(
        event = "queue.opened",
        queue,
        cause,
        seen,
        trusted = ledger.trusted,
        done = ledger.done,
        newest = ledger.newest,
        certified = ledger.certified
    );
}

fn suspended(shared: &Shared, route: &Route) {
    let queue = route.settings.queue.as_str();
    shared.metrics.incident(queue, "suspended");
    tracing::error!(
        event = "queue.suspended",
        queue,
        destination = route.destination,
        "again and again the queue's marker was one that this database never wrote; its tasks wait",
    );
    tracing::error!(
        event = "queue.suspended",
        queue,
        next = format!(
            "find out whether a copy of this database relays to the same Redis, stop it, then run `outboxd queue resume {queue}`"
        )
    );
}

fn moved(route: &Route) -> Fault {
    let queue = &route.settings.queue;
    Fault::halt(
        "moved",
        format!(
            "queue {queue:?} now goes to {}, but its last destination had not taken every batch; decide with \
             `outboxd queue move {queue} --resend` (send what it may not have got to the new one) or \
             `outboxd queue move {queue} --skip` (what was planned for the old one stays there)",
            route.destination
        ),
    )
}
