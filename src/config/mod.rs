//! The configuration: typed, documented, checked as a whole, and with the origin of every value. The only folder that names figment.
//!
//! ```
//! use outboxd::config::{Config, Sources};
//!
//! let sources = Sources::environment([("DATABASE_URL", "postgres://app@db/app"), ("REDIS_URL", "redis://broker/1")]);
//! let config = Config::load(&sources)?;
//! assert_eq!(config.queue("emails").redis, "default");
//! # Ok::<(), outboxd::config::ConfigErrors>(())
//! ```

mod address;
mod change;
mod checks;
mod fields;
mod level;
mod load;
mod origin;
mod problem;
mod queues;
pub mod render;
mod reserved;
mod schema;
mod secret;
mod secret_file;
mod sections;
mod sources;
pub(crate) mod suggest;
mod units;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use address::Address;
pub use change::{Change, Changes};
pub use level::LogLevel;
pub use origin::{Key, Origin, Origins};
pub use problem::{ConfigErrors, Problem};
pub use queues::{Confirm, QueueDefaults, QueueOverride, QueueSettings};
pub use schema::json_schema;
pub use secret::{Secret, redact};
pub use secret_file::SecretFiles;
pub use sections::{
    DatabaseSettings, Doorbell, Drain, HttpSettings, LogFormat, LogSettings, RedisSettings, RelaySettings,
    RetentionSettings,
};
pub use sources::{DEFAULT_FILE, Flag, Sources};
pub use units::{Period, Size};

pub use crate::wire::{BodyEncoding, FormatName, Side};

/// A checked configuration: URLs are present and well formed, every queue's Redis target exists.
///
/// `Debug` and serialization never show a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The Postgres database that holds the outbox.
    pub database: DatabaseSettings,
    /// The Redis servers that queues are published to, by name. `default` is the one that queues use unless they name another.
    pub redis: BTreeMap<String, RedisSettings>,
    /// Settings for every queue that `[queues.NAME]` does not say otherwise for.
    pub defaults: QueueDefaults,
    /// Settings of single queues, by the name that producers give.
    pub queues: BTreeMap<String, QueueOverride>,
    /// How the relay works. The defaults suit nearly everyone.
    pub relay: RelaySettings,
    /// How long the log keeps rows. Retention never drops a task that was not dispatched.
    pub retention: RetentionSettings,
    /// Health, metrics and status over HTTP.
    pub http: HttpSettings,
    /// What is logged, to the standard error output.
    pub log: LogSettings,
    #[serde(skip)]
    #[schemars(skip)]
    origins: Origins,
    #[serde(skip)]
    #[schemars(skip)]
    warnings: Vec<Problem>,
    #[serde(skip)]
    #[schemars(skip)]
    secrets: SecretFiles,
}

impl Config {
    /// Reads and checks the sources. An error lists everything that is wrong, not only the first.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        load::load(sources)
    }

    /// Everything that is settled about a queue, named in the configuration or not.
    pub fn queue(&self, name: &str) -> QueueSettings {
        let none = QueueOverride::default();
        QueueSettings::resolve(name, self.queues.get(name).unwrap_or(&none), &self.defaults)
    }

    /// `relay.id`, or a new one out of host name, process id and chance. Differs at each call when none is set: call it once.
    pub fn relay_id(&self) -> String {
        self.relay.id.clone().unwrap_or_else(|| {
            let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
            let host = kernel.as_deref().map(str::trim).filter(|name| !name.is_empty()).unwrap_or("localhost");
            format!("{host}-{}-{:08x}", std::process::id(), fastrand::u32(..))
        })
    }

    /// Where each value came from.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// What is allowed and probably not meant.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// A problem with the value of a key, for whoever uses it and finds one.
    pub fn problem(&self, key: &[&str], message: impl Into<String>) -> Problem {
        let key = Key::of(key);
        Problem::new(&key, self.origins.of(&key), message)
    }

    /// The files that secrets were read from.
    pub fn secret_files(&self) -> &SecretFiles {
        &self.secrets
    }

    /// What a reload with `new` would change.
    pub fn difference(&self, new: &Self) -> Changes {
        change::difference(self, new)
    }

    /// Every secret that is set, by its key.
    fn secrets(&self) -> Vec<(Key, &Secret)> {
        let database = [("url", Some(&self.database.url)), ("listen_url", self.database.listen_url.as_ref())];
        let database = database.into_iter().filter_map(|(key, secret)| Some((Key::of(&["database", key]), secret?)));
        let redis = self.redis.iter().map(|(name, target)| (Key::of(&["redis", name, "url"]), &target.url));
        database.chain(redis).filter(|(_, secret)| !secret.is_empty()).collect()
    }
}
