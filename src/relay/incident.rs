//! What operators hear of a loss: that the evidence broke, what was scheduled again, and when all of it was sent.

use std::sync::atomic::Ordering;

use super::confirm::{Confirms, Subject};
use super::track::Track;
use crate::broker::evidence::Break;

impl Confirms {
    /// Says once that something other than a consumer removed messages.
    pub(super) fn says_broken(&self, subject: &Subject, track: &Track, broken: &Break) {
        if track.doubt.as_ref().map(Break::class) != Some(broken.class()) {
            self.shared.metrics.incident(&subject.queue, broken.class());
            tracing::warn!(event = "queue.evidence_broken", queue = subject.queue, cause = broken.class(), reason = %broken,
                "a task that is absent from Redis no longer counts as consumed");
        }
    }

    /// Rows were scheduled again, and so many may be consumed twice: the wake loop finds them due.
    pub(super) fn scheduled(&self, subject: &Subject, cause: &str, rows: i64, duplicates: i64) {
        self.shared.metrics.duplicates_possible(&subject.queue, duplicates.max(0).unsigned_abs());
        let rows = u64::try_from(rows).unwrap_or_default();
        if rows == 0 {
            return;
        }
        subject.hold.incidents.store(true, Ordering::Relaxed);
        self.shared.metrics.scheduled_again(&subject.queue, cause, rows);
        if cause == "restart" || cause == "no_receipt" {
            self.shared.metrics.incident(&subject.queue, cause);
        }
        tracing::warn!(
            event = "queue.scheduled_again",
            queue = subject.queue,
            cause,
            rows,
            "tasks that were published are not in Redis, and nothing proves that they were consumed"
        );
        self.shared.kick.notify_one();
    }

    /// Writes down what was sent again, and says when an incident is over.
    pub(super) async fn recovered(&self, subject: &Subject) {
        let Some(marker) = subject.post.marker() else { return };
        if !subject.hold.incidents.load(Ordering::Relaxed) {
            return;
        }
        let replayed = subject.hold.replayed.swap(0, Ordering::Relaxed);
        let rows = i64::try_from(replayed).unwrap_or(i64::MAX);
        // Whether it was written is not known if it fails: counting it twice would be worse than not at all.
        let written = self.shared.outbox.recovered(&subject.queue, marker.position, rows).await;
        let Some(recovered) = self.shared.chores.ended("incident", &subject.queue, written) else { return };
        subject.hold.incidents.store(recovered.open > 0, Ordering::Relaxed);
        for took in recovered.took {
            self.shared.metrics.recovered(&subject.queue, took);
            tracing::info!(
                event = "queue.recovered",
                queue = subject.queue,
                took_ms = took.as_millis(),
                "everything that a loss took has been sent again; see `outboxd incident list`"
            );
        }
    }
}
