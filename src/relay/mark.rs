//! Copies how far the markers have come into Postgres, every second or so when something changed.
//!
//! A row is dispatched when the marker has passed its batch. This copy is what views, retention and a replay after a
//! loss go by; being late by a second costs them nothing but that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::batch::Marker;
use crate::fault::Fault;

/// How often to look whether something changed.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until the relay stops; the lanes say themselves where they end.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut written: HashMap<String, Marker> = HashMap::new();
    while !shared.stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.stop.cancelled() => return,
        }
        // The next second tries again.
        let marked = mark(&shared, &mut written).await;
        shared.chores.ended("mark", "", marked);
    }
}

/// Writes what changed since `written`.
async fn mark(shared: &Shared, written: &mut HashMap<String, Marker>) -> Result<(), Fault> {
    let changed: Vec<(String, Marker)> = shared
        .board
        .all()
        .into_iter()
        .filter_map(|(queue, post)| Some((queue, post.marker()?)))
        .filter(|(queue, marker)| written.get(queue) != Some(marker))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let queues: Vec<&str> = changed.iter().map(|(queue, _)| queue.as_str()).collect();
    let tenures: Vec<_> = changed.iter().map(|(_, marker)| marker.tenure).collect();
    let positions: Vec<_> = changed.iter().map(|(_, marker)| marker.position).collect();
    shared.outbox.mark(&queues, &tenures, &positions).await?;
    written.extend(changed);
    Ok(())
}
