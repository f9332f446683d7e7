//! The doorbell with the real relay. The fallback poll is set to an hour: what arrives in seconds, the bell brought.
//!
//! How fast it was is printed, not asserted: it is the machine's affair.

mod asleep;
mod busy;
mod poolers;
mod several;
mod times;

use std::time::{Duration, Instant};

use outboxd::sandbox::{Redis, Sandbox};
use tokio_postgres::Client;

use crate::common::{Fixture, RelayProcess, config, until_some};

/// Nothing is found by polling.
pub const NO_POLL: &str = "[relay]\npoll_interval = \"1h\"\n";

/// The list format, so that each message is one element of the queue's own key.
pub const LIST: &str = "[defaults]\nformat = \"list\"\nwindow = 0\n[log]\nlevel = \"debug\"\n";

/// A relay without a poll.
pub async fn relay(fixture: &Fixture, more: &str) -> RelayProcess {
    let config = fixture.config(&format!("{NO_POLL}{more}{LIST}"));
    RelayProcess::ready(&fixture.sandbox, &config, &[], &[]).await
}

/// A relay towards another address of the database.
pub async fn relay_by(sandbox: &Sandbox, database: &str, redis: &Redis, more: &str) -> RelayProcess {
    RelayProcess::ready(sandbox, &config(database, &redis.url(0), &format!("{more}{LIST}")), &[], &[]).await
}

/// Waits until it sleeps, and has not been woken since it said so.
pub async fn dozes(relay: &RelayProcess) {
    relay.dozes().await;
}

pub fn depth(redis: &Redis, queue: &str) -> i64 {
    redis.cmd(["LLEN", queue]).unwrap().int().unwrap()
}

/// Waits until a queue holds so many messages; how long it took.
pub async fn arrive(redis: &Redis, queue: &str, messages: i64, timeout: Duration) -> Duration {
    let began = Instant::now();
    let there = until_some(timeout, || async { (depth(redis, queue) >= messages).then_some(()) }).await;
    assert!(there.is_some(), "{} of {messages} in {queue} after {timeout:?}", depth(redis, queue));
    assert_eq!(depth(redis, queue), messages, "{queue}");
    began.elapsed()
}

pub async fn insert(client: &Client, queue: &str) {
    client.execute("insert into outbox (queue, task) values ($1, 't')", &[&queue]).await.unwrap();
}

pub async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Counts the rings of a channel from now on.
pub struct Observer {
    _client: Client,
    rings: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Observer {
    pub async fn new(fixture: &Fixture) -> Self {
        use std::sync::atomic::Ordering;
        let (client, mut connection) =
            tokio_postgres::connect(&fixture.database.url(), tokio_postgres::NoTls).await.unwrap();
        let rings = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counted = rings.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if matches!(message, tokio_postgres::AsyncMessage::Notification(_)) {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        client.batch_execute("listen outbox").await.unwrap();
        Self { _client: client, rings }
    }

    pub fn rings(&self) -> u64 {
        self.rings.load(std::sync::atomic::Ordering::Relaxed)
    }
}
