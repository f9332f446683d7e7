//! Which row a message that is found in Redis belongs to.
//!
//! A task id that the database made embeds its row's id. Where it does not, the encoder writes the row's id beside it,
//! as `outbox_id`: a caller chose the task id, or made the whole Celery message. What a caller writes verbatim to a
//! list cannot be told from another producer's message.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use std::borrow::Cow;
use uuid::Uuid;

use crate::task::Task;

/// The name of the header or field that carries the row's id.
pub(super) const OUTBOX_ID: &str = "outbox_id";

/// A message as it is found in Redis.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// An element of a list: of the queue's own, or of a processing list.
    Element(&'a [u8]),
    /// A value of Celery's hash of messages that workers hold: a JSON array that begins with the message.
    Unacked(&'a [u8]),
    /// The fields of a stream's entry, in order.
    Fields(&'a [(&'a [u8], &'a [u8])]),
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// It is a row's of an outbox.
    Row {
        /// The row's id.
        id: i64,
        /// The task's id, if that is what tells the row. Databases count their rows alike, so of two that share a list
        /// only the one whose row has this task id owns the message. `None` if the message names the row beside it.
        task_id: Option<Uuid>,
    },
    /// It is certainly no row's of this queue.
    Other,
    /// It may be a row's, and nothing tells which.
    Unknown,
}

impl Whose {
    /// What an `outbox_id` says, and without one the task's id.
    pub(super) fn by(outbox_id: Option<i64>, task_id: &str, otherwise: Self) -> Self {
        if let Some(id) = outbox_id {
            return Self::Row { id, task_id: None };
        }
        let embedded = Uuid::try_parse(task_id).ok().and_then(|task_id| Some((embedded(task_id)?, task_id)));
        embedded.map_or(otherwise, |(id, task_id)| Self::Row { id, task_id: Some(task_id) })
    }
}

/// The row id that a task id embeds, if it looks like one that the database made: as `outbox_row_id` in SQL.
pub fn embedded(task_id: Uuid) -> Option<i64> {
    let high = i64::try_from(task_id.as_u64_pair().0).ok()?;
    (high & 0xf000 == 0x8000).then_some(((high >> 16) << 12) | (high & 0xfff))
}

/// The row's id, if the task's id does not tell it and the message must.
pub(super) fn beside(task: &Task<'_>) -> Option<i64> {
    (embedded(task.task_id) != Some(task.id)).then_some(task.id)
}

/// A Celery message, reduced to what tells its row. Its body is skipped, not read.
#[derive(Deserialize)]
struct Celery<'a> {
    #[serde(borrow)]
    headers: Headers<'a>,
}

#[derive(Deserialize)]
struct Headers<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default)]
    outbox_id: Option<i64>,
}

impl Celery<'_> {
    fn whose(&self) -> Whose {
        Whose::by(self.headers.outbox_id, &self.headers.id, Whose::Other)
    }
}

/// `[message, exchange, routing key]`.
struct Unacked<'a>(Celery<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Unacked<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First;
        impl<'de> Visitor<'de> for First {
            type Value = Celery<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array that begins with a message")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let first = items.next_element()?.ok_or_else(|| A::Error::custom("an empty array"))?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first)
            }
        }
        deserializer.deserialize_seq(First).map(Self)
    }
}

/// Of a Celery message. Ours were validated, so what cannot be read is not ours.
pub(super) fn of_celery(seen: Seen<'_>) -> Whose {
    let message = match seen {
        Seen::Element(bytes) => serde_json::from_slice::<Celery<'_>>(bytes).ok(),
        Seen::Unacked(bytes) => serde_json::from_slice::<Unacked<'_>>(bytes).ok().map(|Unacked(message)| message),
        Seen::Fields(_) => None,
    };
    message.map_or(Whose::Other, |message| message.whose())
}

/// Of a stream's entry. Ours always tell their row.
pub(super) fn of_stream(seen: Seen<'_>) -> Whose {
    let Seen::Fields(fields) = seen else { return Whose::Other };
    let text = |name: &str| {
        let field = fields.iter().find(|(field, _)| *field == name.as_bytes())?;
        std::str::from_utf8(field.1).ok()
    };
    let outbox_id = text(OUTBOX_ID).and_then(|id| id.parse().ok());
    Whose::by(outbox_id, text("id").unwrap_or_default(), Whose::Other)
}

#[cfg(test)]
mod tests;
