//! Segments and what is old: lets producers move on, empties what is done, deletes what nobody needs.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::fault::Fault;

/// How often.
const EVERY: Duration = Duration::from_secs(10);
/// At most so many rows of each kind per deletion, so that no lock is held for long.
const SLICE: i32 = 5000;

/// Runs until the relay stops. Any number of relays may do this at once.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut full = false;
    loop {
        // At least six times per segment's life, however short that is configured.
        let pause = EVERY.min(shared.config().retention.min.get() / 6).max(Duration::from_millis(100));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.stop.cancelled() => return,
        }
        // Whatever was not done now is done later.
        let turned = turn(&shared, &mut full).await;
        shared.chores.ended("retention", "", turned);
    }
}

async fn turn(shared: &Shared, full: &mut bool) -> Result<(), Fault> {
    let retention = shared.config().retention.clone();
    let (min, max) = (retention.min.get(), retention.max.get());
    let size = i64::try_from(retention.segment_size.bytes()).unwrap_or(i64::MAX);
    let sealed = shared.outbox.truncatable().await?;
    // The current and the previous one are never emptied.
    shared.metrics.segments_in_use(sealed.len() + 2);
    shared.metrics.log_bytes(shared.outbox.log_bytes().await?);
    for segment in sealed {
        match shared.outbox.truncate(segment, min, max).await {
            Ok(outcome) if outcome == "needed" => {}
            Ok(outcome) => {
                shared.metrics.segment_emptied();
                tracing::info!(event = "segment.emptied", segment, outcome);
            }
            // Somebody has the segment open: a producer that chose it long ago, or a dump.
            Err(fault) if fault.reason().class == "lock_timeout" => {
                tracing::debug!(event = "segment.locked", segment);
            }
            Err(fault) => return Err(fault),
        }
    }
    let moved = shared.outbox.rotate(min, size).await?;
    let now_full = moved.as_deref() == Some("full");
    if now_full && !*full {
        tracing::warn!(
            event = "segment.ring_full",
            "all segments hold rows that are not done, so the current one grows; is a queue paused or a Redis down for long? \
             see `outboxd status`"
        );
    }
    *full = now_full;
    if moved.as_deref() == Some("moved") {
        tracing::info!(event = "segment.moved");
    }
    shared.metrics.trimmed(shared.outbox.trim(min, max, SLICE).await?);
    Ok(())
}
