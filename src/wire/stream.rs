//! Our own stream format: one entry per message. Stable: fields may be added, never changed.
//!
//! Key: stream `<key_prefix><key>`. `XADD key *` with the fields, in this order:
//!
//! | field | content |
//! |---|---|
//! | `id` | the task's id, stable through every replay |
//! | `outbox_id` | the row's id, only if the task's id does not tell it: a caller chose that |
//! | `task`, `args`, `kwargs` | the name, a JSON array, a JSON object; left out if the row has a `body` |
//! | `headers` | a JSON object, trace headers included |
//! | `created_at`, `expires_at` | `2026-11-22T12:59:01.359858Z`; the latter only if set |
//! | `priority` | one digit, only if set |
//! | `body` | the row's `body`, verbatim, only if it has one |
//!
//! With `group`, that consumer group is created at 0 before the first entry: a group that a consumer creates at `$`
//! would never see what was published before.

use super::spec::FormatSpec;
use super::{identity, json, key};
use crate::batch::{Entry, Key, KeyKind, Push};
use crate::task::Task;

/// The stream format for one queue.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    keys: [Key; 1],
    group: Option<String>,
}

impl Stream {
    pub(super) fn new(spec: &FormatSpec, queue: &str) -> Result<Self, String> {
        if spec.group.as_ref().is_some_and(String::is_empty) {
            return Err(format!("queue {queue:?}: group is empty: name the consumer group, or leave `group` out"));
        }
        Ok(Self { keys: [key::resolve(spec, queue, KeyKind::Stream)?], group: spec.group.clone() })
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    #[expect(clippy::unused_self, reason = "the formats share one shape; this one has no setting for the entry")]
    pub(super) fn encode(&self, task: &Task<'_>) -> Push {
        let mut fields = Vec::with_capacity(8);
        let mut add = |name: &str, value: &[u8]| fields.push((name.as_bytes().to_vec(), value.to_vec()));
        add("id", task.task_id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
        if let Some(row) = identity::beside(task) {
            add(identity::OUTBOX_ID, row.to_string().as_bytes());
        }
        if task.body.is_none() {
            add("task", task.name.as_bytes());
            add("args", task.args.as_bytes());
            add("kwargs", task.kwargs.as_bytes());
        }
        add("headers", task.headers.as_bytes());
        let mut time = Vec::with_capacity(32);
        json::time(&mut time, task.created_at);
        add("created_at", &time);
        if let Some(at) = task.expires_at {
            time.clear();
            json::time(&mut time, at);
            add("expires_at", &time);
        }
        if let Some(level) = task.priority {
            add("priority", level.to_string().as_bytes());
        }
        if let Some(body) = task.body {
            add("body", body);
        }
        Push { key: 0, entry: Entry::Stream(fields) }
    }
}
