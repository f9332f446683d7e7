//! The row's `body`, verbatim, on a list.
//!
//! Key: list `<key_prefix><key>`, pushed to the end that `push` names (by default the left: consumers take from the
//! right). Nothing is checked but the size: the producer alone answers for what its workers read.

use super::spec::{FormatSpec, Side};
use super::{key, malformed};
use crate::batch::{Key, KeyKind, Push};
use crate::fault::Fault;
use crate::task::Task;

/// The raw format for one queue.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    keys: [Key; 1],
    side: Side,
}

impl Raw {
    pub(super) fn new(spec: &FormatSpec, queue: &str) -> Result<Self, String> {
        Ok(Self { keys: [key::resolve(spec, queue, KeyKind::List)?], side: spec.push })
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn encode(&self, task: &Task<'_>) -> Result<Push, Fault> {
        let body = task.body.ok_or_else(|| {
            malformed(
                "the row has no body, and its queue has the format raw: enqueue it with outbox_enqueue_raw, \
                 or give the queue another format",
            )
        })?;
        Ok(Push { key: 0, entry: self.side.entry(body.to_vec()) })
    }
}
