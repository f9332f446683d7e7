//! Our own list format: one JSON object per message. Stable: fields may be added, never changed.
//!
//! Key: list `<key_prefix><key>`. With `push = "left"` (the default) consumers take from the right (`BRPOP`, or better
//! `LMOVE .. RIGHT LEFT` into a list of their own) and get the oldest first; with `push = "right"` they take from the left.
//!
//! ```json
//! {"id": "0190…", "queue": "emails", "task": "send", "args": [1], "kwargs": {"a": 2}, "headers": {"traceparent": "…"},
//!  "priority": 3, "created_at": "2026-11-22T12:59:01.359858Z", "expires_at": "2026-11-22T13:59:01.000000Z"}
//! ```
//!
//! `id` is the task's id, stable through every replay; `queue` is the outbox's name for the queue, whatever the key.
//! `priority` and `expires_at` are left out if the row has none, and so is `outbox_id`, the row's id, if the task's id
//! tells it (only one that a caller chose does not). A row with a `body` is pushed as those bytes alone: nothing tells
//! such a message from another producer's.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::identity::{self, OUTBOX_ID, Seen, Whose};
use super::spec::{FormatSpec, Side};
use super::{InFlight, InFlightKind, json, key, malformed};
use crate::batch::{Entry, Key, KeyKind, Push};
use crate::fault::Fault;
use crate::task::Task;

/// The list format for one queue.
#[derive(Debug, Clone)]
pub(super) struct List {
    keys: [Key; 1],
    in_flight: Vec<InFlight>,
    name: String,
    side: Side,
    /// `","queue":"…","task":`, constant for the queue.
    queue: Vec<u8>,
}

impl List {
    pub(super) fn new(spec: &FormatSpec, queue: &str) -> Result<Self, String> {
        let keys = [key::resolve(spec, queue, KeyKind::List)?];
        let mut field = b"\",\"queue\":".to_vec();
        json::string(&mut field, queue);
        field.extend_from_slice(b",\"task\":");
        let processing = spec.processing.iter();
        let in_flight = processing
            .map(|local| key::resolve_in_flight(spec, queue, "processing", local, InFlightKind::Processing))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, in_flight, name: queue.to_owned(), side: spec.push, queue: field })
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn in_flight(&self) -> &[InFlight] {
        &self.in_flight
    }

    pub(super) fn encode(&self, task: &Task<'_>) -> Result<Push, Fault> {
        let message = match task.body {
            None => self.message(task),
            // A copy of another row's message would stand for that row for as long as it stands there.
            Some(body) if self.row_of(Seen::Element(body)) != Whose::Unknown => {
                return Err(malformed(
                    "the body looks like a message that outboxd makes itself, and would be taken for another row's: \
                     enqueue its task with outbox_enqueue, or use the format raw",
                ));
            }
            Some(body) => body.to_vec(),
        };
        Ok(Push { key: 0, entry: self.side.entry(message) })
    }

    /// Only what has all our fields is ours.
    pub(super) fn row_of(&self, seen: Seen<'_>) -> Whose {
        let Seen::Element(bytes) = seen else { return Whose::Unknown };
        let Ok(message) = serde_json::from_slice::<Ours<'_>>(bytes) else { return Whose::Unknown };
        if message.queue != self.name {
            // Another queue's, on the same list.
            return Whose::Other;
        }
        Whose::by(message.outbox_id, &message.id, Whose::Unknown)
    }

    fn message(&self, task: &Task<'_>) -> Vec<u8> {
        let payload = task.args.len() + task.kwargs.len() + task.headers.len();
        let mut out = Vec::with_capacity(256 + self.queue.len() + task.name.len() + payload);
        out.extend_from_slice(b"{\"id\":\"");
        out.extend_from_slice(task.task_id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
        out.extend_from_slice(&self.queue);
        json::string(&mut out, task.name);
        for (name, text) in [("args", task.args), ("kwargs", task.kwargs), ("headers", task.headers)] {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(text.as_bytes());
        }
        if let Some(level) = task.priority {
            out.extend_from_slice(format!(",\"priority\":{level}").as_bytes());
        }
        out.extend_from_slice(b",\"created_at\":\"");
        json::time(&mut out, task.created_at);
        if let Some(at) = task.expires_at {
            out.extend_from_slice(b"\",\"expires_at\":\"");
            json::time(&mut out, at);
        }
        out.push(b'"');
        if let Some(row) = identity::beside(task) {
            out.extend_from_slice(format!(",\"{OUTBOX_ID}\":{row}").as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// The fields that every message of this format has.
#[derive(Deserialize)]
struct Ours<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    queue: Cow<'a, str>,
    #[serde(default)]
    outbox_id: Option<i64>,
    #[serde(rename = "task")]
    _task: IgnoredAny,
    #[serde(rename = "args")]
    _args: IgnoredAny,
    #[serde(rename = "kwargs")]
    _kwargs: IgnoredAny,
    #[serde(rename = "headers")]
    _headers: IgnoredAny,
    #[serde(rename = "created_at")]
    _created_at: IgnoredAny,
}

impl Side {
    /// A message for this end of a list.
    pub(super) fn entry(self, message: Vec<u8>) -> Entry {
        match self {
            Self::Left => Entry::Left(message),
            Self::Right => Entry::Right(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    proptest! {
        #[test]
        fn any_row_becomes_one_json_object_with_its_id_and_arguments(
            queue in any::<String>().prop_filter("usable", |q| !q.is_empty() && !q.contains(['{', '}']) && !q.chars().any(char::is_control)),
            name in any::<String>(),
            words in prop::collection::vec(any::<String>(), 0..5),
            priority in prop::option::of(0..=9_i16),
            seconds in -1_000_000_000..1_000_000_000_i64,
        ) {
            let [args, kwargs] = [json!(words).to_string(), json!({"words": words}).to_string()];
            let at = jiff::Timestamp::from_second(seconds).unwrap();
            let task = Task {
                id: 1, task_id: Uuid::from_u128(7), name: &name, args: &args, kwargs: &kwargs, headers: "{}", body: None,
                priority, expires_at: priority.map(|_| at), retried_at: None, created_at: at,
            };
            let push = List::new(&FormatSpec::default(), &queue).unwrap().encode(&task).unwrap();
            let Entry::Left(bytes) = push.entry else { panic!("not an LPUSH") };
            let mut wanted = json!({
                "id": task.task_id, "queue": queue, "task": name, "args": words, "kwargs": {"words": words}, "headers": {},
                "created_at": format!("{at:.6}"), "outbox_id": 1,
            });
            if let Some(level) = priority {
                wanted["priority"] = json!(level);
                wanted["expires_at"] = json!(format!("{at:.6}"));
            }
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), wanted);
        }
    }
}
