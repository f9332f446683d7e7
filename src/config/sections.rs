//! The sections of the configuration, apart from queues. The doc comments are what `config schema` and `config example` print.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::level::LogLevel;
use super::secret::Secret;
use super::units::{Period, Size};

/// The Postgres database that holds the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseSettings {
    /// Where the outbox is, as a URL. TLS as the URL asks for it (`sslmode`, `sslrootcert`).
    /// Needed; also `DATABASE_URL`.
    #[schemars(extend("examples" = ["postgres://app@db/app"]))]
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub url: Secret,
    /// A file that holds the URL, instead of `url`; read again when it changes.
    #[schemars(extend("examples" = ["/run/secrets/database_url"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// A direct connection for LISTEN, needed only when `url` goes through a pooler in transaction mode.
    /// Default: `url`.
    #[schemars(extend("examples" = ["postgres://app@db-direct/app"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_url: Option<Secret>,
    /// A file that holds the direct URL, instead of `listen_url`; read again when it changes.
    #[schemars(extend("examples" = ["/run/secrets/listen_url"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_url_file: Option<PathBuf>,
    /// The application's schema: the table `outbox`, the view `outbox_rows` and the functions that applications call are in it.
    pub schema: String,
    /// The schema of everything else that outboxd keeps. Nobody but its owner may create in it. Another one for each outbox of a database.
    pub internal_schema: String,
    /// Connections that the relay opens for its work, LISTEN not counted.
    #[schemars(range(min = 2, max = 100))]
    pub pool_size: usize,
    /// The longest time to wait for a connection, TLS and authentication included.
    pub connect_timeout: Period,
    /// The longest time to wait for one statement, measured by the relay (a pooler would lose a server-side setting).
    pub statement_timeout: Period,
    /// The name under which connections appear in `pg_stat_activity`.
    pub application_name: String,
    /// Whether commits ring for a sleeping relay by NOTIFY: `auto`, `on` or `off`.
    pub doorbell: Doorbell,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            url_file: None,
            listen_url: None,
            listen_url_file: None,
            schema: "public".to_owned(),
            internal_schema: "outboxd".to_owned(),
            pool_size: 4,
            connect_timeout: Period::from_secs(5),
            statement_timeout: Period::from_secs(10),
            application_name: "outboxd".to_owned(),
            doorbell: Doorbell::Auto,
        }
    }
}

impl DatabaseSettings {
    /// The URL for LISTEN: `listen_url`, or else `url`.
    pub fn listen(&self) -> &Secret {
        self.listen_url.as_ref().unwrap_or(&self.url)
    }
}

/// Whether commits ring for a sleeping relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Doorbell {
    /// On, except where `max_prepared_transactions` is above 0 (such a transaction cannot NOTIFY) or LISTEN does not work.
    Auto,
    /// On.
    On,
    /// Off: rows wait for `relay.poll_interval`.
    Off,
}

/// What a relay still relays when it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Drain {
    /// What is in the ledger; the rest waits for another relay.
    Planned,
    /// Whatever was committed before, but for queues that are paused or stopped: for a relay beside an application that
    /// has just ended.
    Committed,
}

/// One Redis server that queues are published to; its name is what `redis =` of a queue refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// Where it is, as a URL with the number of the database; `rediss://` for TLS, then with `?ssl_ca_certs=FILE` (by
    /// default the machine's authorities), `ssl_certfile=FILE&ssl_keyfile=FILE` to show a certificate.
    /// Needed; for the target `default` also `REDIS_URL`.
    #[schemars(extend("examples" = ["redis://broker:6379/1"]))]
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub url: Secret,
    /// A file that holds the URL, instead of `url`; read again when it changes.
    #[schemars(extend("examples" = ["/run/secrets/redis_url"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Redis Sentinel: where they are, `host:port` each. The host in `url` is then the primary's name, as they know it.
    #[schemars(extend("examples" = [["sentinel-1:26379", "sentinel-2:26379"]]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sentinels: Vec<Address>,
    /// The user as whom the sentinels are asked, if they have users.
    #[schemars(extend("examples" = ["outboxd"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_username: Option<String>,
    /// The password of the sentinels themselves, if they ask for one.
    #[schemars(extend("examples" = ["secret"]))]
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub sentinel_password: Secret,
    /// A file that holds the password of the sentinels; read again when it changes.
    #[schemars(extend("examples" = ["/run/secrets/sentinel_password"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_password_file: Option<PathBuf>,
    /// The longest time to wait for a connection, TLS and authentication included.
    pub connect_timeout: Period,
    /// The longest time to wait for a reply.
    pub response_timeout: Period,
    /// The stream that workers write receipts to: fields `task_id`, and after a failure `error_class` and `error`.
    pub receipts: String,
    /// Nothing more is published while the server has used so much of its `maxmemory`, in percent; 100: until it refuses.
    #[schemars(range(min = 1, max = 100))]
    pub memory_percent: u8,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            url_file: None,
            sentinels: Vec::new(),
            sentinel_username: None,
            sentinel_password: Secret::default(),
            sentinel_password_file: None,
            connect_timeout: Period::from_secs(2),
            response_timeout: Period::from_secs(3),
            receipts: "outbox:receipts".to_owned(),
            memory_percent: 95,
        }
    }
}

/// How the relay works. The defaults suit nearly everyone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RelaySettings {
    /// The name of this relay in tables, logs and metrics; two relays must not share one.
    /// Default: host name, process id and a random part.
    #[schemars(extend("examples" = ["relay-1"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The most rows in one batch.
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_size: u32,
    /// The most bytes in one batch; a single larger row is a batch of its own.
    pub batch_bytes: Size,
    /// How often to look for rows when no doorbell reaches the relay, and so the longest time that a commit waits then.
    pub poll_interval: Period,
    /// How often an idle relay compares Redis with the ledger, and so how soon a loss is noticed.
    pub idle_look: Period,
    /// How long a relay without rows stays awake before it asks for the doorbell.
    pub linger: Period,
    /// Where consumption is not tracked (`confirm = "none"`), what was dispatched within this time is sent again after a
    /// loss.
    pub replay_horizon: Period,
    /// The wait between noticing a loss and sending again: live workers still run what they prefetched.
    pub replay_settle: Period,
    /// How long a row waits before a relay takes a queue that another relay served last.
    pub takeover_after: Period,
    /// What a relay still relays when it is told to stop.
    pub drain: Drain,
    /// The longest time that a stopping relay takes for that.
    pub drain_timeout: Period,
    /// The first wait after a failure of a server; it doubles, with jitter, up to `retry_max`.
    pub retry_min: Period,
    /// The longest wait between two attempts.
    pub retry_max: Period,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            id: None,
            batch_size: 500,
            batch_bytes: Size::from_bytes(4 << 20),
            poll_interval: Period::from_secs(1),
            idle_look: Period::from_secs(1),
            linger: Period::from_millis(100),
            replay_horizon: Period::from_secs(15 * 60),
            replay_settle: Period::from_secs(2),
            takeover_after: Period::from_secs(1),
            drain: Drain::Planned,
            drain_timeout: Period::from_secs(10),
            retry_min: Period::from_millis(100),
            retry_max: Period::from_secs(15),
        }
    }
}

/// How long the log keeps rows. Retention never drops a task that was not dispatched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// Rows stay at least this long after they were done (consumed, or dispatched where that is not tracked); never below `relay.replay_horizon`.
    pub min: Period,
    /// Rows that are still open after this time move out of the log, to the held rows.
    pub max: Period,
    /// Producers move to the next segment of the log once the current one is this large.
    pub segment_size: Size,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            min: Period::from_secs(60 * 60),
            max: Period::from_secs(7 * 24 * 60 * 60),
            segment_size: Size::from_bytes(256 << 20),
        }
    }
}

/// Health, metrics and status over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Address and port to listen on; `""` switches it off. `0.0.0.0:14187` to be reached from other machines.
    pub listen: String,
    /// For how long `/readyz` goes on saying yes after Postgres has stopped answering. Redis never matters to it.
    pub ready_grace: Period,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:14187".to_owned(), ready_grace: Period::from_secs(30) }
    }
}

/// What is logged, to the standard error output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// The least severe level to log: `error`, `warn`, `info`, `debug`, `trace` or `off`; parts of the
    /// program may differ, as in `info,outboxd::relay=debug`.
    pub level: LogLevel,
    /// `json` (one object per line), `text` (for people), or `auto`: text on a terminal, else JSON.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::default(), format: LogFormat::Auto }
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}
