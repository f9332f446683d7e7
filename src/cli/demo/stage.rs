//! Everything that the demo starts, and what it looks at.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::ledger::Ledger;
use super::relay::Relay;
use super::shop::Shop;
use super::trouble::Trouble;
use super::worker::{QUEUES, Worker};
use crate::sandbox::{Persistence, Postgres, PostgresOptions, Redis, RedisOptions, Sandbox, Value};

/// The servers and programs; dropped, and so ended, in this order.
pub(super) struct Stage {
    pub(super) worker: Worker,
    pub(super) relay: Relay,
    pub(super) shop: Arc<Shop>,
    pub(super) ledger: Ledger,
    pub(super) redis: Arc<Redis>,
    pub(super) postgres: Postgres,
}

/// What FLUSHALL found and left, read in one transaction with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flush {
    pub(super) tasks_before: u64,
    pub(super) markers_before: u64,
    pub(super) tasks_after: u64,
    pub(super) markers_after: u64,
    /// When its reply came.
    pub(super) at: Timestamp,
}

impl Stage {
    /// Starts all of it.
    pub(super) fn start(sandbox: &Sandbox, celery: Option<&Path>, runtime: &Handle) -> Result<Self, Trouble> {
        let secret = || Some(Uuid::new_v4().simple().to_string());
        let persistence = Persistence::AofEverysec;
        let redis = RedisOptions { persistence, password: secret(), ..RedisOptions::default() };
        let redis = Arc::new(Redis::start(sandbox, redis)?);
        let ledger = Ledger::new(sandbox.folder().join("ledger.jsonl"));
        // The worker takes as long as all the rest.
        let (worker, rest) = thread::scope(|scope| {
            let worker = scope.spawn(|| Worker::start(sandbox, celery, &redis, ledger.path()));
            let options = PostgresOptions { password: secret(), ..PostgresOptions::default() };
            let rest = Postgres::start(sandbox, &options).map_err(Trouble::from).and_then(|postgres| {
                let url = postgres.url("postgres");
                let shop = runtime.block_on(Shop::open(&url))?;
                let format = if celery.is_some() { "celery" } else { "list" };
                Ok((postgres, Arc::new(shop), Relay::start(sandbox, &url, &redis.url(0), format)?))
            });
            (worker.join(), rest)
        });
        let worker = worker.map_err(|_| Trouble::failed("starting the worker has panicked"))??;
        let (postgres, shop, relay) = rest?;
        Ok(Self { worker, relay, shop, ledger, redis, postgres })
    }

    /// How many tasks stand in the queues of Redis.
    pub(super) fn standing(&self) -> Result<u64, Trouble> {
        let answers: Result<Vec<u64>, Trouble> =
            QUEUES.iter().map(|queue| Ok(whole(&self.redis.cmd(["LLEN", queue])?))).collect();
        Ok(answers?.iter().sum())
    }

    /// Empties Redis, and proves it: counts and FLUSHALL are one transaction.
    pub(super) fn flush(&self) -> Result<Flush, Trouble> {
        let markers = QUEUES.map(|queue| format!("outbox:m:{{{queue}}}"));
        let count = || -> Result<(), Trouble> {
            for queue in QUEUES {
                self.redis.cmd(["LLEN", queue])?;
            }
            for marker in &markers {
                self.redis.cmd(["EXISTS", marker])?;
            }
            Ok(())
        };
        self.redis.cmd(["MULTI"])?;
        count()?;
        self.redis.cmd(["FLUSHALL"])?;
        count()?;
        let reply = self.redis.cmd(["EXEC"])?;
        let at = Timestamp::now();
        let sum = |from: usize| reply.items().iter().skip(from).take(QUEUES.len()).map(whole).sum();
        let half = 2 * QUEUES.len() + 1;
        Ok(Flush {
            tasks_before: sum(0),
            markers_before: sum(QUEUES.len()),
            tasks_after: sum(half),
            markers_after: sum(half + QUEUES.len()),
            at,
        })
    }

    /// Fails if something has ended that should be running.
    pub(super) fn check(&mut self) -> Result<(), Trouble> {
        if !self.worker.is_running() {
            return Err(Trouble::failed(format!("The worker has ended.{}", self.worker.last_words())));
        }
        if !self.postgres.is_running() {
            return Err(Trouble::failed(format!("PostgreSQL has ended; see {}", self.postgres.log().display())));
        }
        Ok(())
    }
}

fn whole(value: &Value) -> u64 {
    value.int().and_then(|n| u64::try_from(n).ok()).unwrap_or_default()
}
