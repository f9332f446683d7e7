//! Receipts that workers leave in Redis: read, stored in Postgres, deleted.
//!
//! Only for queues with `confirm = "receipt"`, on every target that one of them uses. Several relays may read the same
//! entry: storing it twice changes nothing, and it is deleted only once it is stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::{Shared, of_redis};
use super::side::SideLink;
use crate::broker::Link;
use crate::broker::receipts::{self, Receipt, Said};
use crate::config::Confirm;
use crate::failpoint;
use crate::fault::{Fault, Origin};

/// How often the streams are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// How many receipts are taken at once.
const SLICE: u64 = 1000;

/// How many failures are stored in one transaction: each takes about as long as a transaction of its own would without
/// the round trips.
const FAILURES: usize = 100;

/// How many slices are searched for what is done before the failures in front of it are stored.
const AHEAD: u32 = 20;

/// Runs until the relay stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut links: HashMap<String, SideLink> = HashMap::new();
    let mut said: HashMap<String, &'static str> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.stop.cancelled() => return,
        }
        for (target, key) in streams(&shared) {
            let link = links.entry(target.clone()).or_default();
            // One target that does not answer delays the receipts of another by its time-out, and nothing else.
            match drain(&shared, &target, link, key.as_bytes()).await {
                Ok(()) => {
                    said.remove(&target);
                }
                // The lanes say that a server is away.
                Err(Fault::Retry(reason)) => {
                    tracing::debug!(event = "receipts.unread", redis = target, class = reason.class, reason = %reason.message);
                }
                Err(fault) => {
                    let class = fault.reason().class;
                    if said.insert(target.clone(), class) != Some(class) {
                        tracing::error!(event = "receipts.unread", redis = target, class, reason = %fault,
                            "what workers acknowledge there is not heard");
                    }
                }
            }
        }
    }
}

/// The streams of receipts, by target.
fn streams(shared: &Shared) -> BTreeMap<String, String> {
    let config = shared.config();
    let queues = shared.board.all().into_iter().map(|(queue, _)| config.queue(&queue));
    queues
        .filter(|settings| settings.confirm == Confirm::Receipt)
        .filter_map(|settings| Some((settings.redis.clone(), config.redis.get(&settings.redis)?.receipts.clone())))
        .collect()
}

/// Reads one stream to its end; the connection is kept if it still works.
async fn drain(shared: &Shared, target: &str, side: &mut SideLink, key: &[u8]) -> Result<(), Fault> {
    let result = try_drain(shared, target, side, key).await;
    if result.as_ref().is_err_and(|fault| fault.reason().origin == Origin::Redis) {
        side.drop();
    }
    result
}

async fn try_drain(shared: &Shared, target: &str, side: &mut SideLink, key: &[u8]) -> Result<(), Fault> {
    let link = side.get(shared, target).await?;
    let stream = Stream { shared, target, link, key };
    let mut ahead = None;
    loop {
        let found = stream.read(None).await?;
        let Some(last) = found.last().map(|receipt| receipt.entry.clone()) else { return Ok(()) };
        let full = found.len() as u64 == SLICE;
        let failed = stream.acknowledge(found).await?;
        // What is done must not wait for thousands of failures before it: those take time.
        if full && ahead.is_none_or(|at: Instant| at.elapsed() >= EVERY) {
            stream.go_ahead(last).await?;
            ahead = Some(Instant::now());
        }
        for failed in failed.chunks(FAILURES) {
            if shared.stop.is_cancelled() {
                return Ok(());
            }
            stream.give_up(failed).await?;
        }
    }
}

/// The receipts of one target.
struct Stream<'a> {
    shared: &'a Shared,
    target: &'a str,
    link: &'a Link,
    key: &'a [u8],
}

impl Stream<'_> {
    async fn read(&self, after: Option<&str>) -> Result<Vec<Receipt>, Fault> {
        of_redis(receipts::read(self.link, self.key, after, SLICE).await)
    }

    /// Stores what is done, as far as it stands behind `last`.
    async fn go_ahead(&self, mut last: String) -> Result<(), Fault> {
        for _ in 0..AHEAD {
            let found = self.read(Some(&last)).await?;
            let Some(newest) = found.last() else { return Ok(()) };
            last.clone_from(&newest.entry);
            self.acknowledge(found).await?;
            if self.shared.stop.is_cancelled() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Stores those that say that a task is done, drops those that say nothing; answers the others, with what they say.
    async fn acknowledge(&self, found: Vec<Receipt>) -> Result<Vec<(String, Said)>, Fault> {
        let (mut entries, mut done, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for receipt in found {
            match receipt.said {
                Some(said) if said.failure.is_some() => failed.push((receipt.entry, said)),
                Some(said) => {
                    done.push((said.task_id, said.outbox_id));
                    entries.push(receipt.entry);
                }
                None => {
                    tracing::warn!(
                        event = "receipt.useless",
                        redis = self.target,
                        entry = receipt.entry,
                        "a receipt names no task and is dropped; it needs a field task_id with the task's id"
                    );
                    entries.push(receipt.entry);
                }
            }
        }
        if !done.is_empty() {
            self.shared.outbox.acknowledge(&done).await?;
        }
        self.stored(&entries).await?;
        Ok(failed)
    }

    /// Stores failures.
    async fn give_up(&self, failed: &[(String, Said)]) -> Result<(), Fault> {
        let (mut tasks, mut classes, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (_, said) in failed {
            if let Some(failure) = &said.failure {
                tasks.push((said.task_id, said.outbox_id));
                classes.push(failure.class.as_str());
                errors.push(failure.message.as_str());
            }
        }
        // Not of what another relay, or this one before it lost an answer, has stored already.
        let new = self.shared.outbox.give_up(&tasks, &classes, &errors).await?;
        self.shared.metrics.given_up(self.target, new.max(0).unsigned_abs());
        let entries: Vec<&str> = failed.iter().map(|(entry, _)| entry.as_str()).collect();
        self.stored(&entries).await
    }

    /// Deletes what Postgres has.
    async fn stored(&self, entries: &[impl AsRef<str>]) -> Result<(), Fault> {
        if entries.is_empty() {
            return Ok(());
        }
        self.shared.metrics.receipts(self.target, entries.len());
        failpoint::hit("receipts.stored");
        of_redis(receipts::done(self.link, self.key, entries).await)
    }
}
