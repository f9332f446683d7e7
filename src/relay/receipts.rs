//! Receipts that workers leave in Redis: read, stored in Postgres, deleted.
//!
//! Only for queues with `confirm = "receipt"`, on every target that one of them uses. Several relays may read the same
//! entry: storing it twice changes nothing, and it is deleted only once it is stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::shared::{Shared, of_redis};
use super::side::SideLink;
use crate::broker::{self, receipts};
use crate::config::Confirm;
use crate::failpoint;
use crate::fault::{Fault, Origin};

/// How often the streams are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// How many receipts are taken at once.
const SLICE: u64 = 1000;

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
    loop {
        let found = of_redis(receipts::read(link, key, SLICE).await)?;
        if found.is_empty() {
            return Ok(());
        }
        store(shared, target, &found).await?;
        failpoint::hit("receipts.stored");
        let entries: Vec<&str> = found.iter().map(|receipt| receipt.entry.as_str()).collect();
        of_redis(broker::receipts::done(link, key, &entries).await)?;
        if shared.stop.is_cancelled() {
            return Ok(());
        }
    }
}

async fn store(shared: &Shared, target: &str, found: &[receipts::Receipt]) -> Result<(), Fault> {
    let mut done = Vec::new();
    for receipt in found {
        let Some(said) = &receipt.said else {
            tracing::warn!(
                event = "receipt.useless",
                redis = target,
                entry = receipt.entry,
                "a receipt names no task and is dropped; it needs a field task_id with the task's id"
            );
            continue;
        };
        match &said.failure {
            None => done.push(said.task_id),
            Some(failure) => {
                // False of what another relay, or this one before it lost an answer, has stored already.
                if shared.outbox.give_up(said.task_id, &failure.class, &failure.message).await? {
                    shared.metrics.given_up(target);
                }
            }
        }
    }
    if !done.is_empty() {
        shared.outbox.acknowledge(&done).await?;
    }
    shared.metrics.receipts(target, found.len());
    Ok(())
}
