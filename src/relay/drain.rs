//! The end of a relay: what was committed before it is relayed first, if that is wanted; then what is planned arrives.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::shared::Shared;
use crate::config::Drain;
use crate::fault::Fault;
use crate::pg::Outbox;
use crate::telemetry::metrics::QueueState;

/// Between two looks: positions are copied to Postgres once a second.
const EVERY: Duration = Duration::from_millis(200);

/// Waits until everything that is committed at this moment is dispatched, dead or expired, in every queue that `counts`;
/// held rows do not count. Answers the queues that are not so far at the deadline.
pub(crate) async fn drained(
    outbox: &Outbox,
    deadline: Instant,
    counts: impl Fn(&str) -> bool,
) -> Result<Vec<String>, Fault> {
    let snapshot = outbox.snapshot().await?;
    loop {
        let mut left = outbox.undispatched(&snapshot).await?;
        left.retain(|queue| counts(queue));
        if left.is_empty() || Instant::now() >= deadline {
            return Ok(left);
        }
        tokio::time::sleep(EVERY.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

/// Stops the relay once it is told to, and has relayed what it still should. Answers when it was told.
pub(super) async fn stop(shared: &Shared, told: CancellationToken) -> Instant {
    told.cancelled().await;
    let asked = Instant::now();
    let settings = &shared.config().relay;
    if settings.drain == Drain::Committed {
        // A part of the time is left for what is in flight by then.
        let limit = settings.drain_timeout.get() * 3 / 4;
        let silence = settings.drain_timeout.get() * 7 / 8;
        let moves = |queue: &str| !matches!(shared.board.post(queue).state(), QueueState::Stopped | QueueState::Paused);
        match timeout(silence, drained(&shared.outbox, asked + limit, moves)).await {
            Ok(Ok(left)) if left.is_empty() => {}
            Ok(Ok(left)) => tracing::warn!(
                event = "relay.undrained",
                queues = left.join(", "),
                "what was committed to these queues is not all relayed within relay.drain_timeout; it waits in Postgres"
            ),
            Ok(Err(fault)) => tracing::warn!(event = "relay.undrained", class = fault.reason().class, reason = %fault,
                "it cannot be told whether all that was committed is relayed; what is not waits in Postgres"),
            Err(_) => tracing::warn!(
                event = "relay.undrained",
                "Postgres does not say in time whether all that was committed is relayed; what is not waits there"
            ),
        }
    }
    shared.stop.cancel();
    asked
}

/// Waits for what is under way, then lets others have the queues. Whether that was possible in time.
pub(super) async fn finish(shared: &Shared, asked: Instant, lanes: &TaskTracker, chores: &TaskTracker) -> bool {
    let bound = shared.config().relay.drain_timeout.get().saturating_sub(asked.elapsed());
    let all = async {
        lanes.wait().await;
        chores.wait().await;
        // Others take its queues at once; if it fails, they do after a second.
        let _tried: Result<(), Fault> = shared.outbox.release(&shared.id).await;
    };
    timeout(bound, all).await.is_ok()
}
