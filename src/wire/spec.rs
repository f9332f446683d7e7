//! The settings of a format, resolved for one queue.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// kombu's name for the hash of messages that workers hold.
pub const UNACKED: &str = "unacked";

/// kombu's own separator between a queue and its priority step in a key.
pub const SEP: &str = "\u{6}\u{16}";

/// The largest row that any setting allows, in bytes.
///
/// A look reads at most 64 MiB of a queue, and base64 makes four bytes of three: so that a few such messages may stand in
/// Redis and still be confirmed, and a push of one holds the server up for milliseconds only.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Which wire format a queue speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FormatName {
    /// Celery's task messages, protocol 2, over the Redis transport of kombu.
    #[default]
    Celery,
    /// One JSON object per message on a list.
    List,
    /// One entry per message on a stream.
    Stream,
    /// The row's `body`, verbatim, on a list.
    Raw,
}

impl FormatName {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Celery, Self::List, Self::Stream, Self::Raw];
}

impl fmt::Display for FormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Celery => "celery",
            Self::List => "list",
            Self::Stream => "stream",
            Self::Raw => "raw",
        })
    }
}

/// How a Celery message carries its body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BodyEncoding {
    /// As Celery's own client writes it. The default: consumers in other languages know nothing else, and it is
    /// encoded faster than text with its quotes escaped.
    #[default]
    Base64,
    /// The JSON text itself: a little smaller in Redis, and readable there. Workers in Python take both.
    Plain,
}

/// The end of a list that messages are pushed to; consumers take from the other one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `LPUSH`, for consumers with `BRPOP` or `LMOVE .. RIGHT`. The default.
    #[default]
    Left,
    /// `RPUSH`, for consumers with `BLPOP` or `LMOVE .. LEFT`.
    Right,
}

/// The settings of one queue's format. A format ignores what it does not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatSpec {
    /// Which format.
    pub name: FormatName,
    /// The key without `key_prefix`; by default the queue's own name. For Celery: the name that workers give to `-Q`.
    pub key: Option<String>,
    /// Put before every key. For Celery: the transport option `global_keyprefix`.
    pub key_prefix: String,
    /// Streams: the consumer group that is created at 0, before the first entry.
    pub group: Option<String>,
    /// Lists (`list` and `raw`): the end to push to.
    pub push: Side,
    /// Lists (`list`): where consumers keep what they have taken and not finished, without `key_prefix`.
    pub processing: Vec<String>,
    /// Celery: the hash of messages that workers hold, without `key_prefix` (the transport option `unacked_key`).
    pub unacked_key: String,
    /// Celery: the transport option `priority_steps`, ascending from 0.
    pub priority_steps: Vec<u8>,
    /// Celery: the transport option `sep`, between a queue and its priority step in a key.
    pub sep: String,
    /// Celery: how the body is written.
    pub body_encoding: BodyEncoding,
    /// The limit on a row's args, kwargs and headers, or body and headers, in bytes of text as the producer wrote them.
    pub max_message_bytes: usize,
}

impl Default for FormatSpec {
    fn default() -> Self {
        Self {
            name: FormatName::default(),
            key: None,
            key_prefix: String::new(),
            group: None,
            push: Side::default(),
            processing: Vec::new(),
            unacked_key: UNACKED.to_owned(),
            // kombu's own default.
            priority_steps: vec![0, 3, 6, 9],
            sep: SEP.to_owned(),
            body_encoding: BodyEncoding::default(),
            max_message_bytes: MAX_MESSAGE,
        }
    }
}
