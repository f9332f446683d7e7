//! What the lanes are doing, for operators: `outboxd status` reads it in Postgres, where it is written when it changes.
//!
//! It decides nothing: other relays go by the tenure and by the lock of the relay that holds it. What a relay that has
//! ended said last is not believed (`outbox_gauge`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::shared::{Post, Shared};
use crate::fault::Fault;
use crate::pg::Said;
use crate::telemetry::metrics::QueueState;

/// How often to look whether something changed.
const EVERY: Duration = Duration::from_secs(1);

/// A window that is full for this long is worth a line in the log: its consumers do not keep up, or do not run.
const FULL: Duration = Duration::from_secs(10);

/// What was written of a queue, and under which tenure: another relay may have spoken of it in between.
type Written = HashMap<String, (Said, Option<Uuid>)>;

/// Since when a window is full, and whether that was told.
type Full = HashMap<String, (Instant, bool)>;

/// Runs until the relay stops; `outbox_release` takes back what it said.
pub(crate) async fn run(shared: Arc<Shared>) {
    let (mut written, mut full) = (Written::new(), Full::new());
    while !shared.stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.stop.cancelled() => return,
        }
        tell_full(&shared, &mut full);
        // A failure is said by the wake loop, which asks Postgres all the time; the next second tries again.
        let _tried: Result<(), Fault> = say(&shared, &mut written).await;
    }
}

/// Writes what changed since `written`.
async fn say(shared: &Shared, written: &mut Written) -> Result<(), Fault> {
    let mut changed = Vec::new();
    for (queue, post) in shared.board.all() {
        let now = (said(shared, &queue, &post), post.marker().map(|marker| marker.tenure));
        let known = written.get(&queue);
        let news = known.map_or(now.0.state.is_some(), |known| *known != now);
        if news {
            changed.push((queue, now));
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let said: Vec<Said> = changed.iter().map(|(_, (said, _))| said.clone()).collect();
    shared.outbox.say(&shared.id, &said).await?;
    written.extend(changed);
    Ok(())
}

/// What is done about one queue. What stopped or paused it stands with the queue in Postgres.
fn said(shared: &Shared, queue: &str, post: &Post) -> Said {
    let (state, reason) = match post.state() {
        QueueState::Idle | QueueState::Stopped | QueueState::Paused => (None, None),
        QueueState::Waiting => (Some(QueueState::Waiting.name()), post.why()),
        // A lane with nothing to publish does not notice that its server is gone; whoever looks at the server does.
        state => match shared.targets.refusals.reason(&shared.config().queue(queue).redis) {
            Some(reason) => (Some(QueueState::Waiting.name()), Some(reason)),
            None => (Some(state.name()), None),
        },
    };
    Said { queue: queue.to_owned(), state, reason }
}

/// Says once that a window stays full, and once that it no longer is.
fn tell_full(shared: &Shared, full: &mut Full) {
    for (queue, post) in shared.board.all() {
        if post.state() == QueueState::Full {
            let (since, told) = full.entry(queue.clone()).or_insert_with(|| (Instant::now(), false));
            if since.elapsed() >= FULL && !std::mem::replace(told, true) {
                let window = shared.config().queue(&queue).window;
                tracing::warn!(
                    event = "queue.full",
                    queue,
                    window,
                    "Redis holds as many messages of the queue as it may (queues.NAME.window); tasks wait in Postgres for consumers"
                );
            }
        } else if full.remove(&queue).is_some_and(|(_, told)| told) {
            tracing::info!(event = "queue.roomy", queue, "consumers have made room; tasks flow again");
        }
    }
}
