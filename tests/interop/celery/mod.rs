//! A Celery worker from its package index, unmodified, runs what was committed in Postgres.
//!
//! The broker is DB 1 of Redis, results go to DB 2. What a worker ran stands in its ledger, a line per execution.

mod finished;
mod held;
mod losses;
mod queues;
mod tasks;
mod twice;

use std::path::Path;

use outboxd::sandbox::{CeleryOptions, CeleryWorker, RedisOptions};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::common::{Fixture, RelayProcess, SOON, celery_program, config, eventually};

/// Servers, the relays' configuration, and workers.
struct Stage {
    fixture: Fixture,
    db: Client,
}

impl Stage {
    async fn new() -> Self {
        Self::with_redis(RedisOptions::default()).await
    }

    async fn with_redis(redis: RedisOptions) -> Self {
        let fixture = Fixture::with_redis(redis);
        let db = fixture.database.connect().await;
        Self { fixture, db }
    }

    fn config(&self, more: &str) -> String {
        config(&self.fixture.database.url(), &self.fixture.redis.url(1), more)
    }

    async fn relay(&self, more: &str) -> RelayProcess {
        RelayProcess::ready(&self.fixture.sandbox, &self.config(more), &[], &[]).await
    }

    /// A worker of these queues that keeps the order of arrival; `settings` are Celery's.
    fn worker(&self, queues: &[&str], settings: &Value) -> Worker {
        self.worker_in("solo", queues, settings)
    }

    /// In a pool other than its own process, a worker takes further messages while it runs one.
    fn worker_in(&self, pool: &str, queues: &[&str], settings: &Value) -> Worker {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/celery");
        let sandbox = &self.fixture.sandbox;
        let ledger = sandbox.subfolder("ledger").unwrap().join("lines");
        let broker = self.fixture.redis.url(1);
        let mut options = CeleryOptions::new(&celery_program(), &folder, &broker, queues[0], &ledger);
        options.queues = queues.iter().map(|&queue| queue.to_owned()).collect();
        pool.clone_into(&mut options.pool);
        // Celery wants to be asked twice before it unpickles as root.
        options.env.push(("C_FORCE_ROOT".to_owned(), "1".to_owned()));
        options.env.push(("DEMO_CONFIG".to_owned(), settings.to_string()));
        Worker(CeleryWorker::start(sandbox, &options).unwrap())
    }

    /// `select outbox_enqueue(call)`: the task's id.
    async fn enqueue(&self, call: &str) -> String {
        enqueue(&self.db, call).await
    }

    async fn status(&self, id: &str) -> Option<String> {
        let row = self.db.query_one(&format!("select outbox_status('{id}')"), &[]).await.unwrap();
        row.get(0)
    }

    async fn becomes(&self, id: &str, wanted: &str) -> bool {
        eventually(SOON, || async { self.status(id).await.as_deref() == Some(wanted) }).await
    }
}

async fn enqueue(db: &Client, call: &str) -> String {
    db.query_one(&format!("select outbox_enqueue({call})::text"), &[]).await.unwrap().get(0)
}

/// A worker and what it ran.
struct Worker(CeleryWorker);

impl Worker {
    /// Every execution's beginning, in order.
    fn runs(&self) -> Vec<Value> {
        let lines = self.0.ledger();
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|run: &Value| run["event"] == "run")
            .collect()
    }

    /// Waits until it has run so many tasks.
    async fn ran(&self, count: usize) -> Vec<Value> {
        let done = eventually(SOON * 2, || async { self.runs().len() >= count }).await;
        let runs = self.runs();
        assert!(done, "{} of {count} tasks ran.{}", runs.len(), self.0.log_tail());
        runs
    }
}

/// The ids of what ran, in order.
fn ids(runs: &[Value]) -> Vec<String> {
    runs.iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

/// No settings of Celery's own.
fn plain() -> Value {
    json!({})
}
