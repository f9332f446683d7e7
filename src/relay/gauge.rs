//! Numbers that must be asked for: what is pending, how old, how many are held and dead.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::shared::Shared;
use crate::fault::Fault;
use crate::pg::QueueGauge;

/// How often. A number is as old as this at the most; an idle relay asks for little.
const EVERY: Duration = Duration::from_secs(5);

/// What `/api/v1/status` shows.
pub(crate) type Status = serde_json::Value;

/// Runs until the relay stops.
pub(crate) async fn run(shared: Arc<Shared>, status: watch::Sender<Status>) {
    while !shared.stop.is_cancelled() {
        // An outage is said by the wake loop and by `outboxd_postgres_up`; until it is over, the metrics stand as they were.
        let gauged = shared.outbox.gauge().await;
        publish(&shared, gauged.as_deref(), &status);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

fn publish(shared: &Shared, gauged: Result<&[QueueGauge], &Fault>, status: &watch::Sender<Status>) {
    let queues = gauged.unwrap_or_default();
    for queue in queues {
        let oldest = queue.oldest_ms.map_or(Duration::ZERO, |ms| Duration::from_millis(ms.max(0).unsigned_abs()));
        shared.metrics.pending(&queue.queue, queue.pending, queue.estimated, oldest);
        shared.metrics.held(&queue.queue, queue.held);
        shared.metrics.dead(&queue.queue, queue.dead);
        shared.metrics.paused(&queue.queue, queue.paused);
        let outstanding = u32::try_from(queue.outstanding.unwrap_or(0)).unwrap_or(u32::MAX);
        let incidents = u32::try_from(queue.incidents).unwrap_or(u32::MAX);
        shared.metrics.consumption(&queue.queue, outstanding, incidents, confirmed_age(queue));
        // An operator's replay begins in Postgres: only here it shows to whoever writes down that it is over.
        if let Some(hold) = shared.board.post(&queue.queue).hold().filter(|_| incidents > 0) {
            hold.incidents.store(true, Ordering::Relaxed);
        }
    }
    let lanes: serde_json::Map<String, Status> = shared
        .board
        .all()
        .into_iter()
        .map(|(queue, post)| {
            (queue, serde_json::json!({ "state": post.state().name(), "position": post.marker().map(|m| m.position) }))
        })
        .collect();
    status.send_replace(serde_json::json!({
        "relay": shared.id,
        "postgres": gauged.map_or_else(ToString::to_string, |_| "up".to_owned()),
        "queues": queues,
        "lanes": lanes,
    }));
}

/// How long ago consumption was confirmed, if something waits to be.
fn confirmed_age(queue: &QueueGauge) -> Duration {
    let waits = queue.outstanding.unwrap_or(0) > 0 || queue.consumed < queue.reached;
    let age = queue.confirmed_at.filter(|_| waits).map(|at| Timestamp::now().duration_since(at));
    age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default()
}
