//! The usual stage: a migrated database, an empty Redis, and the relays of one test.

use outboxd::sandbox::{Postgres, Redis, RedisOptions, Sandbox};

use super::database::{Database, options};
use super::relay::RelayProcess;

/// Servers for one test; fields are dropped, and servers killed, in this order.
pub struct Fixture {
    pub database: Database,
    pub redis: Redis,
    pub sandbox: Sandbox,
}

impl Fixture {
    /// A database of its own in the shared cluster, and a Redis of its own without persistence.
    pub fn new() -> Self {
        Self::with_redis(RedisOptions::default())
    }

    /// With a Redis as asked for.
    pub fn with_redis(redis: RedisOptions) -> Self {
        let sandbox = Sandbox::new().unwrap();
        Self { database: Database::migrated(), redis: Redis::start(&sandbox, redis).unwrap(), sandbox }
    }

    /// With a cluster of its own, which may be killed, and further settings for it.
    pub fn with_own_postgres(settings: &[(&str, &str)], redis: RedisOptions) -> Self {
        let sandbox = Sandbox::new().unwrap();
        let options = settings.iter().fold(options(), |options, (name, value)| options.with(name, value));
        let postgres = Postgres::start(&sandbox, &options).unwrap();
        Self { database: Database::migrated_in(postgres), redis: Redis::start(&sandbox, redis).unwrap(), sandbox }
    }

    /// Both URLs as the skeleton of a configuration, then what the test adds.
    pub fn config(&self, more: &str) -> String {
        config(&self.database.url(), &self.redis.url(0), more)
    }

    /// Starts a relay on this stage; it may not be ready yet.
    pub fn relay(&self, more_config: &str) -> RelayProcess {
        RelayProcess::start(&self.sandbox, &self.config(more_config), &[], &[])
    }
}

/// A configuration that listens on any free port, so that relays may stand side by side.
pub fn config(database: &str, redis: &str, more: &str) -> String {
    let http = if more.contains("[http]") { "" } else { "[http]\nlisten = \"127.0.0.1:0\"\n" };
    format!("[database]\nurl = \"{database}\"\n[redis.default]\nurl = \"{redis}\"\n{http}{more}\n")
}
