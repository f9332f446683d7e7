//! How queues are published: `[defaults]` for all of them, `[queues.NAME]` for one, and both joined.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Period, Size};
use crate::wire::{BodyEncoding, FormatName, FormatSpec, MAX_MESSAGE, SEP, Side, UNACKED};

/// What proves that a task was consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// What stands in Redis, looked at by the relay.
    Observe,
    /// The worker's own receipt.
    Receipt,
    /// Nothing: after a loss, `relay.replay_horizon` is sent again.
    None,
}

impl Confirm {
    /// As it is spelled everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Receipt => "receipt",
            Self::None => "none",
        }
    }
}

/// Settings for every queue that `[queues.NAME]` does not say otherwise for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueDefaults {
    /// The wire format of the workers: `celery`, `list`, `stream` or `raw`.
    pub format: FormatName,
    /// The Redis target, a name out of `[redis.NAME]`.
    pub redis: String,
    /// Put before every key, as the workers' client does (Celery: `global_keyprefix`).
    pub key_prefix: String,
    /// Format `stream`: a consumer group to create at the beginning of the stream, so that no entry is missed.
    #[schemars(extend("examples" = ["workers"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Format `celery`: the priority steps that the workers poll, ascending from 0, each 0 to 9.
    pub priority_steps: Vec<u8>,
    /// Format `celery`: what stands between a queue and its priority step in a key (the transport option `sep`).
    pub sep: String,
    /// Format `celery`: `base64` as Celery sends it, or `plain`.
    pub body_encoding: BodyEncoding,
    /// Formats `list` and `raw`: the end that messages enter, `left` (consumers BRPOP) or `right` (consumers BLPOP).
    pub push: Side,
    /// Format `celery`: the hash of messages that workers hold, without `key_prefix` (the transport option `unacked_key`).
    pub unacked_key: String,
    /// Format `celery`: the sorted set beside it, without `key_prefix` (the transport option of that name). No queue may be
    /// called that.
    pub unacked_index_key: String,
    /// Format `celery`: the lock beside it, without `key_prefix` (the transport option of that name). No queue may be called
    /// that.
    pub unacked_mutex_key: String,
    /// What proves that a task was consumed: `observe`, `receipt` or `none`.
    pub confirm: Confirm,
    /// Format `celery`, `confirm = "observe"`: how long a message must be absent before it counts as consumed, because it
    /// is for a moment nowhere while a worker takes it.
    pub confirm_grace: Period,
    /// While more messages of one queue than this stand in Redis, nothing is confirmed: looking at them costs the server.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub confirm_limit: u64,
    /// `confirm = "receipt"`: a task without a receipt that is absent for longer is sent again; more than the longest
    /// task takes.
    pub receipt_timeout: Period,
    /// How many messages of one queue may stand in Redis; the backlog waits in Postgres. 0: no limit.
    pub window: u64,
    /// The largest row that is published: args, kwargs and headers, or body and headers, as text, before they are encoded; a
    /// larger one goes to the dead rows. What producers may insert is the database's setting `outbox.max_message`.
    pub max_message: Size,
}

impl Default for QueueDefaults {
    fn default() -> Self {
        Self {
            format: FormatName::Celery,
            redis: "default".to_owned(),
            key_prefix: String::new(),
            group: None,
            priority_steps: vec![0, 3, 6, 9],
            sep: SEP.to_owned(),
            body_encoding: BodyEncoding::Base64,
            push: Side::Left,
            unacked_key: UNACKED.to_owned(),
            unacked_index_key: "unacked_index".to_owned(),
            unacked_mutex_key: "unacked_mutex".to_owned(),
            confirm: Confirm::Observe,
            confirm_grace: Period::from_secs(60),
            confirm_limit: 20_000,
            receipt_timeout: Period::from_secs(10 * 60),
            window: 10_000,
            max_message: Size::from_bytes(MAX_MESSAGE as u64),
        }
    }
}

/// Settings of one queue; what is absent is taken from `[defaults]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueOverride {
    /// The wire format of the workers: `celery`, `list`, `stream` or `raw`.
    #[schemars(extend("examples" = ["stream"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatName>,
    /// The Redis target, a name out of `[redis.NAME]`.
    #[schemars(extend("examples" = ["default"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<String>,
    /// The key in Redis, without `key_prefix`. Default: the queue's own name, as the format spells it.
    #[schemars(extend("examples" = ["events"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Put before every key, as the workers' client does (Celery: `global_keyprefix`).
    #[schemars(extend("examples" = ["app:"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_prefix: Option<String>,
    /// Format `stream`: a consumer group to create at the beginning of the stream, so that no entry is missed.
    #[schemars(extend("examples" = ["workers"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Format `celery`: the priority steps that the workers poll, ascending from 0, each 0 to 9.
    #[schemars(extend("examples" = [[0, 3, 6, 9]]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_steps: Option<Vec<u8>>,
    /// Format `celery`: what stands between a queue and its priority step in a key (the transport option `sep`).
    #[schemars(extend("examples" = [":"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sep: Option<String>,
    /// Format `celery`: `base64` as Celery sends it, or `plain`.
    #[schemars(extend("examples" = ["base64"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<BodyEncoding>,
    /// Formats `list` and `raw`: the end that messages enter, `left` (consumers BRPOP) or `right` (consumers BLPOP).
    #[schemars(extend("examples" = ["left"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push: Option<Side>,
    /// Format `list`: the lists that consumers move messages to while they work on them, without `key_prefix`. None: a
    /// message that was popped counts as consumed.
    #[schemars(extend("examples" = [["events:processing"]]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing: Option<Vec<String>>,
    /// Format `celery`: the hash of messages that workers hold, without `key_prefix` (the transport option `unacked_key`).
    #[schemars(extend("examples" = ["unacked"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacked_key: Option<String>,
    /// Format `celery`: the sorted set beside it, without `key_prefix` (the transport option of that name).
    #[schemars(extend("examples" = ["unacked_index"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacked_index_key: Option<String>,
    /// Format `celery`: the lock beside it, without `key_prefix` (the transport option of that name).
    #[schemars(extend("examples" = ["unacked_mutex"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacked_mutex_key: Option<String>,
    /// What proves that a task was consumed: `observe`, `receipt` or `none`.
    #[schemars(extend("examples" = ["observe"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
    /// Format `celery`, `confirm = "observe"`: how long a message must be absent before it counts as consumed.
    #[schemars(extend("examples" = ["60s"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_grace: Option<Period>,
    /// While more messages of this queue than this stand in Redis, nothing is confirmed: looking at them costs the server.
    #[schemars(range(min = 1, max = 1_000_000), extend("examples" = [20_000]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_limit: Option<u64>,
    /// `confirm = "receipt"`: a task without a receipt that is absent for longer is sent again.
    #[schemars(extend("examples" = ["10m"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt_timeout: Option<Period>,
    /// How many messages of this queue may stand in Redis; the backlog waits in Postgres. 0: no limit.
    #[schemars(extend("examples" = [10_000]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// The largest row of this queue: args, kwargs and headers, or body and headers, as text, before they are encoded.
    #[schemars(extend("examples" = ["1MiB"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message: Option<Size>,
}

/// Everything that is settled about one queue: its own settings over the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    /// The queue's name, as producers give it.
    pub queue: String,
    /// The wire format.
    pub format: FormatName,
    /// The Redis target; it exists in [`Config::redis`](super::Config::redis).
    pub redis: String,
    /// The key without prefix, if it is not what the format makes of the queue's name.
    pub key: Option<String>,
    /// Put before every key.
    pub key_prefix: String,
    /// The consumer group to create (format `stream`).
    pub group: Option<String>,
    /// Ascending from 0, each 0 to 9 (format `celery`).
    pub priority_steps: Vec<u8>,
    /// Between a queue and its priority step (format `celery`).
    pub sep: String,
    /// How a body is carried (format `celery`).
    pub body_encoding: BodyEncoding,
    /// The end of the list (formats `list`, `raw`).
    pub push: Side,
    /// The lists of what consumers work on, without prefix (format `list`).
    pub processing: Vec<String>,
    /// The hash of what workers hold, without prefix (format `celery`).
    pub unacked_key: String,
    /// What workers keep beside it.
    pub unacked_index_key: String,
    /// Their lock.
    pub unacked_mutex_key: String,
    /// What proves consumption.
    pub confirm: Confirm,
    /// How long absence must last (format `celery`).
    pub confirm_grace: Period,
    /// Messages in Redis above which nothing is confirmed.
    pub confirm_limit: u64,
    /// How long a receipt may take.
    pub receipt_timeout: Period,
    /// Messages that may stand in Redis; 0 means no limit.
    pub window: u64,
    /// The largest row, before it is encoded.
    pub max_message: Size,
}

impl QueueSettings {
    /// What the queue's encoder needs.
    pub fn spec(&self) -> FormatSpec {
        FormatSpec {
            name: self.format,
            key: self.key.clone(),
            key_prefix: self.key_prefix.clone(),
            group: self.group.clone(),
            push: self.push,
            processing: self.processing.clone(),
            unacked_key: self.unacked_key.clone(),
            priority_steps: self.priority_steps.clone(),
            sep: self.sep.clone(),
            body_encoding: self.body_encoding,
            max_message_bytes: usize::try_from(self.max_message.bytes()).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn resolve(queue: &str, own: &QueueOverride, defaults: &QueueDefaults) -> Self {
        let (own, defaults) = (own.clone(), defaults.clone());
        Self {
            queue: queue.to_owned(),
            format: own.format.unwrap_or(defaults.format),
            redis: own.redis.unwrap_or(defaults.redis),
            key: own.key,
            key_prefix: own.key_prefix.unwrap_or(defaults.key_prefix),
            group: own.group.or(defaults.group),
            priority_steps: own.priority_steps.unwrap_or(defaults.priority_steps),
            sep: own.sep.unwrap_or(defaults.sep),
            body_encoding: own.body_encoding.unwrap_or(defaults.body_encoding),
            push: own.push.unwrap_or(defaults.push),
            processing: own.processing.unwrap_or_default(),
            unacked_key: own.unacked_key.unwrap_or(defaults.unacked_key),
            unacked_index_key: own.unacked_index_key.unwrap_or(defaults.unacked_index_key),
            unacked_mutex_key: own.unacked_mutex_key.unwrap_or(defaults.unacked_mutex_key),
            confirm: own.confirm.unwrap_or(defaults.confirm),
            confirm_grace: own.confirm_grace.unwrap_or(defaults.confirm_grace),
            confirm_limit: own.confirm_limit.unwrap_or(defaults.confirm_limit),
            receipt_timeout: own.receipt_timeout.unwrap_or(defaults.receipt_timeout),
            window: own.window.unwrap_or(defaults.window),
            max_message: own.max_message.unwrap_or(defaults.max_message),
        }
    }
}
