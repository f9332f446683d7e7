//! Numbers that must be asked for: what is pending, how old, how many are held and dead.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::shared::Shared;
use crate::fault::Fault;
use crate::pg::QueueGauge;
use crate::telemetry::health::BEAT_LIMIT;

/// How often. A number is as old as this at the most; an idle relay asks for little.
const EVERY: Duration = Duration::from_secs(5);

/// What `/api/v1/status` shows.
pub(crate) type Status = serde_json::Value;

/// Runs until the relay stops. An outage is said by the wake loop and by `outboxd_postgres_up`. Once questions have gone
/// without an answer for as long as a loop may be silent, or as the relay stays ready, the numbers are told no more.
pub(crate) async fn run(shared: Arc<Shared>, status: watch::Sender<Status>) {
    let mut unanswered = None;
    while !shared.stop.is_cancelled() {
        let limit = BEAT_LIMIT.min(shared.config().http.ready_grace.get());
        let deadline = *unanswered.get_or_insert_with(Instant::now) + limit;
        let gauged = ask(&shared, deadline).await;
        if gauged.is_ok() {
            unanswered = None;
            shared.metrics.database_read();
        }
        let (size, idle) = shared.outbox.sessions();
        shared.metrics.pool_connections(size, idle);
        publish(&shared, gauged.as_deref(), &status);
        // After a failure the numbers may be too old before the next question is due.
        let left = deadline.saturating_duration_since(Instant::now());
        let pause = if unanswered.is_none() || left.is_zero() { EVERY } else { left.min(EVERY) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.back.notified() => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// The numbers; those that were told are withdrawn if the answer is not there at the deadline.
async fn ask(shared: &Shared, deadline: Instant) -> Result<Vec<QueueGauge>, Fault> {
    let mut asking = pin!(shared.outbox.gauge());
    let Ok(answer) = tokio::time::timeout_at(deadline.into(), &mut asking).await else {
        shared.metrics.database_silent();
        return asking.await;
    };
    if answer.is_err() && Instant::now() >= deadline {
        shared.metrics.database_silent();
    }
    answer
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
        shared.metrics.last_incident(&queue.queue, queue.last_incident);
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
