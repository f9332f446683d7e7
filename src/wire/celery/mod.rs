//! Celery's task messages, protocol 2, as Celery 5.7 writes them over the Redis transport of kombu.
//!
//! Keys (with `P` = `key_prefix`, kombu's `global_keyprefix`, and `Q` = the queue):
//!
//! - `PQ`: list, priority step 0. `LPUSH` to add; workers `BRPOP`.
//! - `PQ<sep><n>`: list, one for each further priority step `n`; `sep` is `\x06\x16` unless workers set another one. Level `l`
//!   goes to the largest step at or below `l`.
//!
//! A message names its queue in `properties.delivery_info.routing_key`, *without* the prefix: kombu's client adds that
//! to every key by itself, also when it restores a message. `properties.priority` is the level, because a restore chooses
//! by it.
//!
//! `delivery_tag` is the key of kombu's hash of messages that workers hold, so it must be another one for each row: of two
//! messages with one tag, the first acknowledgement takes the second one out of the hash, and a worker that dies then takes
//! that task with it. It is the task's id where that embeds the row's, else `<task id>:<row>`. A row that is sent again has
//! the tag that it had: whichever copy is acknowledged, the row has run.
//!
//! `headers.outbox_id`, the row's id, is there only if the task's id does not tell it (`wire::embedded`). A worker that
//! retries a task sends its headers again, so that the retry counts as the same row.
//!
//! Args and kwargs are spliced as text. `ignore_result` is null, which is what Celery's `send_task` writes and means
//! "as the task says". `argsrepr` and `kwargsrepr` hold the beginning of the JSON text, for logs and Flower.

mod finished;
mod headers;
mod opaque;
mod shown;
mod typed;

pub use finished::{Finished, check};
pub use shown::Shown;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::spec::{BodyEncoding, FormatSpec};
use super::{InFlight, InFlightKind, identity, json, key, malformed};
use crate::batch::{Entry, Key, KeyKind, Push};
use crate::fault::Fault;
use crate::task::Task;
use finished::Marks;
use headers::Headers;

/// The levels that kombu knows; it clamps others.
const LEVELS: usize = 10;

/// How much of the arguments' text a message repeats for people. Celery repeats up to 1,024 characters of each.
const REPR_BYTES: usize = 256;

/// No deeper than any worker can take. Measured with Celery 5.7 and Python 3.11: 450 lists or 300 objects within each
/// other pass; 600 lists or 480 objects exceed Python's recursion limit while the task is pickled for the pool, and
/// the worker process exits, again and again, because the message goes back to the list.
const MAX_DEPTH: usize = 200;

/// Python refuses to read integers of more digits: the worker drops the message, or exits if they are in the headers.
const MAX_DIGITS: usize = 4300;

/// The end of every body: no callbacks, no error callbacks, no chain, no chord.
const EMBED: &str = r#", {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;

/// Celery's format for one queue.
#[derive(Debug, Clone)]
pub(super) struct Celery {
    keys: Vec<Key>,
    in_flight: [InFlight; 1],
    /// For each level, the index of its key.
    step_of: [usize; LEVELS],
    queue: String,
    body_encoding: BodyEncoding,
    /// From the end of `correlation_id` to the level, constant for the queue.
    delivery: Vec<u8>,
}

impl Celery {
    pub(super) fn new(spec: &FormatSpec, queue: &str) -> Result<Self, String> {
        let base = key::resolve(spec, queue, KeyKind::List)?;
        let steps = check_steps(queue, &spec.priority_steps)?;
        check_sep(queue, key::local_name(spec, queue), &spec.sep)?;
        let mut keys = vec![base.clone()];
        for step in steps.iter().skip(1) {
            let mut name = base.name.clone();
            name.extend_from_slice(format!("{}{step}", spec.sep).as_bytes());
            keys.push(Key { name, kind: KeyKind::List });
        }
        let step_of = std::array::from_fn(|level| steps.iter().rposition(|s| usize::from(*s) <= level).unwrap_or(0));
        let queue = key::local_name(spec, queue).to_owned();
        let mut delivery =
            br#"","reply_to":"","delivery_mode":2,"delivery_info":{"exchange":"","routing_key":"#.to_vec();
        json::string(&mut delivery, &queue);
        delivery.extend_from_slice(br#"},"priority":"#);
        let in_flight =
            [key::resolve_in_flight(spec, &queue, "unacked_key", &spec.unacked_key, InFlightKind::Unacked)?];
        Ok(Self { keys, in_flight, step_of, queue, body_encoding: spec.body_encoding, delivery })
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn in_flight(&self) -> &[InFlight] {
        &self.in_flight
    }

    pub(super) fn encode(&self, task: &Task<'_>) -> Result<Push, Fault> {
        if let Some(body) = task.body {
            // The message's own priority decides, not the row's: a worker that restores it goes by what it reads.
            let finished = check(body, &self.queue).map_err(malformed)?;
            let marks = Marks { row: task.id, delivery_tag: &delivery_tag(task), retried_at: task.retried_at };
            let marked = finished::mark(body, marks).map_err(malformed)?;
            return Ok(self.push(finished.priority, marked));
        }
        for (column, text) in [("args", task.args), ("kwargs", task.kwargs)] {
            check_shape(column, text).map_err(malformed)?;
            typed::check_text(column, text).map_err(malformed)?;
        }
        let headers = Headers::read(task.headers).map_err(malformed)?;
        let level = task.priority.map_or(0, |level| u8::try_from(level.clamp(0, 9)).unwrap_or(0));
        Ok(self.push(level, self.message(task, &headers, level)))
    }

    fn push(&self, level: u8, message: Vec<u8>) -> Push {
        let key = self.step_of.get(usize::from(level)).copied().unwrap_or(0);
        Push { key, entry: Entry::Left(message) }
    }

    fn message(&self, task: &Task<'_>, headers: &Headers<'_>, level: u8) -> Vec<u8> {
        let payload = task.args.len() + task.kwargs.len();
        let mut out = Vec::with_capacity(1024 + 2 * payload + task.headers.len());
        out.extend_from_slice(br#"{"body":""#);
        self.body(&mut out, task);
        out.extend_from_slice(br#"","content-encoding":"utf-8","content-type":"application/json","headers":{"#);
        let mut id = [0; 36];
        let id: &str = task.task_id.hyphenated().encode_lower(&mut id);
        headers.write(&mut out, task, id);
        if let Some(row) = identity::beside(task) {
            out.extend_from_slice(format!(",\"{}\":{row}", identity::OUTBOX_ID).as_bytes());
        }
        out.extend_from_slice(br#"},"properties":{"correlation_id":""#);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(&self.delivery);
        out.push(b'0' + level);
        out.extend_from_slice(match self.body_encoding {
            BodyEncoding::Base64 => br#","body_encoding":"base64","delivery_tag":""#,
            BodyEncoding::Plain => br#","body_encoding":null,"delivery_tag":""#.as_slice(),
        });
        out.extend_from_slice(delivery_tag(task).as_bytes());
        out.extend_from_slice(br#""}}"#);
        out
    }

    /// `[args, kwargs, embed]`, as the inside of a JSON string.
    fn body(&self, out: &mut Vec<u8>, task: &Task<'_>) {
        match self.body_encoding {
            BodyEncoding::Base64 => {
                let text = ["[", task.args, ", ", task.kwargs, EMBED].concat();
                let start = out.len();
                out.resize(start + text.len().div_ceil(3) * 4, 0);
                // The room is exact, so encoding cannot fail.
                let written = BASE64.encode_slice(&text, &mut out[start..]).unwrap_or(0);
                out.truncate(start + written);
            }
            BodyEncoding::Plain => {
                for part in ["[", task.args, ", ", task.kwargs, EMBED] {
                    json::escape(out, part);
                }
            }
        }
    }
}

/// The key under which workers hold a row's message: no other row's, although a caller can use a task id twice.
fn delivery_tag(task: &Task<'_>) -> String {
    let id = task.task_id.hyphenated();
    identity::beside(task).map_or_else(|| id.to_string(), |row| format!("{id}:{row}"))
}

/// kombu looks levels up by bisection and polls exactly the steps it was given.
fn check_steps<'a>(queue: &str, steps: &'a [u8]) -> Result<&'a [u8], String> {
    let ascending = steps.windows(2).all(|pair| pair[0] < pair[1]);
    if steps.first() == Some(&0) && ascending && steps.last().is_some_and(|last| *last <= 9) {
        return Ok(steps);
    }
    Err(format!(
        "queue {queue:?}: priority_steps {steps:?} must ascend from 0 to at most 9, as the workers' transport option \
         of that name does: pass, for example, [0, 3, 6, 9]"
    ))
}

/// A worker takes what stands before the last separator in a key for the queue.
fn check_sep(queue: &str, local: &str, sep: &str) -> Result<(), String> {
    if sep.is_empty() {
        return Err(format!("queue {queue:?}: sep is empty: give the workers' transport option of that name"));
    }
    if local.contains(sep) {
        return Err(format!(
            "queue {queue:?}: {local:?} contains {sep:?}, which separates queues from priorities (sep), so no worker can consume \
             it: rename the queue, or set the sep that its workers have"
        ));
    }
    Ok(())
}

/// Refuses what Python's JSON reader or its pickling between a worker's processes cannot take.
fn check_shape(what: &str, text: &str) -> Result<(), String> {
    // Short texts can break neither limit.
    if text.len() <= 2 * MAX_DEPTH {
        return Ok(());
    }
    let shape = json::shape(text);
    if shape.depth > MAX_DEPTH {
        return Err(format!(
            "{what} nest {} levels deep, workers in Python stop at some hundreds and {MAX_DEPTH} is the limit: \
             pass a flatter value, or its text",
            shape.depth
        ));
    }
    if shape.digits > MAX_DIGITS {
        return Err(format!(
            "{what} hold an integer of {} digits, workers in Python read at most {MAX_DIGITS}: pass it as text",
            shape.digits
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
