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

/// What stood in Redis before it was killed, and after it came back without its data. The relay may have been faster than
/// the second look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    pub(super) tasks_before: u64,
    pub(super) markers_before: u64,
    pub(super) tasks_after: u64,
    pub(super) markers_after: u64,
    /// When it was started again: before anything that the relay says of it.
    pub(super) at: Timestamp,
}

impl Stage {
    /// Starts all of it.
    pub(super) fn start(sandbox: &Sandbox, celery: Option<&Path>, runtime: &Handle) -> Result<Self, Trouble> {
        let secret = || Some(Uuid::new_v4().simple().to_string());
        // Else a kill could cost writes that wait for the disk, and the restart would look like a loss.
        let persistence = Persistence::AofAlways;
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

    /// Kills Redis and starts it again without its data, as a server without persistence comes back; and proves it.
    pub(super) fn lose_redis(&self) -> Result<Loss, Trouble> {
        let (tasks_before, markers_before) = (self.standing()?, self.markers()?);
        self.redis.kill();
        self.redis.lose_data()?;
        let at = Timestamp::now();
        self.redis.start_again()?;
        Ok(Loss { tasks_before, markers_before, tasks_after: self.standing()?, markers_after: self.markers()?, at })
    }

    /// How many of the relay's markers stand in Redis.
    fn markers(&self) -> Result<u64, Trouble> {
        let markers = QUEUES.map(|queue| format!("outbox:m:{{{queue}}}"));
        let answers: Result<Vec<u64>, Trouble> =
            markers.iter().map(|marker| Ok(whole(&self.redis.cmd(["EXISTS", marker])?))).collect();
        Ok(answers?.iter().sum())
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
