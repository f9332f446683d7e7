//! One batch into Redis: the rejected rows aside, the messages and the marker in one script.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::encode::Parcel;
use super::route::Route;
use super::shared::{Shared, of_redis};
use crate::batch::Marker;
use crate::broker::{self, Appended, Link};
use crate::failpoint;
use crate::fault::Fault;

/// What a publication found out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    /// Where Redis stands now.
    pub(crate) marker: Marker,
    /// How many messages stand in its lists; `None` if the script had run before.
    pub(crate) depth: Option<u64>,
    /// How many messages this publication brought.
    pub(crate) rows: u64,
}

/// Moves Redis from `at` to the parcel's batch.
///
/// Rejected rows are in `outbox_dead` before the script is sent: a relay that dies in between repeats both, and neither
/// changes anything twice. Any error means: open the queue again.
pub(crate) async fn publish(
    shared: &Shared,
    route: &Route,
    link: &Link,
    at: Marker,
    parcel: &Parcel,
) -> Result<Published, Fault> {
    let queue = route.settings.queue.as_str();
    if !parcel.rejects.is_empty() {
        shared.outbox.bury(queue, parcel.batch, &parcel.rejects).await?;
        for (id, fault) in &parcel.rejects {
            let reason = fault.reason();
            shared.metrics.rejected(queue, reason.class, 1);
            tracing::error!(event = "row.rejected", queue, batch = parcel.batch, row = id, class = reason.class,
                reason = %reason.message, "a row cannot be published and is in outbox_dead");
        }
    }
    failpoint::hit("publish.before");
    let sent = Instant::now();
    let published = append(route, link, at, parcel).await?;
    shared.metrics.batch_published(parcel.bytes, sent.elapsed());
    failpoint::hit("publish.after");
    count(shared, queue, parcel);
    tracing::debug!(
        event = "queue.published",
        queue,
        batch = parcel.batch,
        rows = parcel.pushes.len(),
        bytes = parcel.bytes,
        already = published.depth.is_none()
    );
    Ok(published)
}

/// Moves the marker past batches whose messages nobody needs.
pub(crate) async fn pass(route: &Route, link: &Link, at: Marker, to: i64) -> Result<Published, Fault> {
    let nothing =
        Parcel { batch: to, pushes: Vec::new(), rejects: Vec::new(), expired: 0, created: Vec::new(), bytes: 0 };
    append(route, link, at, &nothing).await
}

async fn append(route: &Route, link: &Link, at: Marker, parcel: &Parcel) -> Result<Published, Fault> {
    let rows = u64::try_from(parcel.pushes.len()).unwrap_or(u64::MAX);
    let marker = Marker { tenure: at.tenure, position: parcel.batch };
    let batch = route.batch(at, parcel.batch, &parcel.pushes);
    let sending = broker::append(link, &batch);
    #[cfg(feature = "failpoints")]
    let sending = sent(sending);
    let answer = of_redis(sending.await)?;
    if let Some(fault) = answer.fault(link) {
        return Err(fault);
    }
    match answer {
        Appended::Ok { depth } => Ok(Published { marker, depth: Some(depth), rows }),
        Appended::Already => Ok(Published { marker, depth: None, rows }),
        Appended::Missing => Err(refused(route, "marker_missing", "its marker is gone")),
        Appended::Foreign(value) => {
            Err(refused(route, "marker_foreign", &format!("its marker is another tenure's: {value}")))
        }
        Appended::Gap(position) => {
            Err(refused(route, "marker_gap", &format!("its marker stands at {position}, not at {}", at.position)))
        }
        Appended::WrongType { .. } => Err(refused(route, "wrongtype", "a key has another type")),
    }
}

/// Comes to a failpoint between the first poll, which sends the command, and its answer.
#[cfg(feature = "failpoints")]
async fn sent<T>(sending: impl Future<Output = T>) -> T {
    let mut sending = std::pin::pin!(sending);
    match futures_util::poll!(sending.as_mut()) {
        std::task::Poll::Ready(answer) => answer,
        std::task::Poll::Pending => {
            failpoint::hit("publish.sent");
            sending.await
        }
    }
}

/// The script did nothing: the queue is opened again.
fn refused(route: &Route, class: &'static str, what: &str) -> Fault {
    Fault::retry(class, format!("queue {:?} on {}: {what}", route.settings.queue, route.destination))
}

fn count(shared: &Shared, queue: &str, parcel: &Parcel) {
    let rows = u64::try_from(parcel.pushes.len()).unwrap_or(u64::MAX);
    let bytes = u64::try_from(parcel.bytes).unwrap_or(u64::MAX);
    shared.metrics.published(queue, rows, bytes);
    if parcel.expired > 0 {
        shared.metrics.expired(queue, parcel.expired);
    }
    let now = Timestamp::now();
    let waited = |created: &Timestamp| Duration::try_from(now.duration_since(*created)).unwrap_or_default();
    shared.metrics.dispatch_latencies(queue, parcel.created.iter().map(waited));
}
