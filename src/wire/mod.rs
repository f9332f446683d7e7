//! Rows in, script arguments out: one file per format, pure, no I/O.
//!
//! A [`Format`] is built once per queue from its settings and then turns each [`Task`] into the [`Push`] that an
//! unmodified worker expects. One malformed message can stop a fleet of workers, so a format refuses what it cannot
//! vouch for: the only failure is [`Fault::Reject`], about one message, and its class comes from the closed set
//! `malformed` and `too_large`. The same row always gives the same bytes, so a replay repeats a message exactly.

pub mod celery;
mod identity;
mod json;
mod key;
mod list;
mod raw;
mod spec;
mod stream;

pub use identity::{Seen, Whose, embedded};
pub use key::slot_tag;
pub use spec::{BodyEncoding, FormatName, FormatSpec, MAX_MESSAGE, SEP, Side, UNACKED};

use crate::batch::{Key, Push};
use crate::fault::Fault;
use crate::task::Task;
use celery::Celery;
use list::List;
use raw::Raw;
use stream::Stream;

/// The wire format of one queue, ready to encode.
#[derive(Debug, Clone)]
pub struct Format {
    kind: Kind,
    max_message_bytes: usize,
}

/// A key of messages that consumers have taken and not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The whole key, prefix included.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: InFlightKind,
}

/// How consumers of a format keep what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlightKind {
    /// A list that consumers move messages to, verbatim.
    Processing,
    /// kombu's hash, shared by all queues of the workers: delivery tag to message.
    Unacked,
}

/// Which format it is. An enum and not a trait: the set is closed, and the corridor need not know it.
#[derive(Debug, Clone)]
enum Kind {
    Celery(Celery),
    List(List),
    Stream(Stream),
    Raw(Raw),
}

impl Format {
    /// Builds the format of one queue. Settings that the named format does not use are ignored.
    ///
    /// Fails with a sentence that names the setting, if the settings cannot give a usable key or priority list.
    pub fn new(spec: &FormatSpec, queue: &str) -> Result<Self, String> {
        let kind = match spec.name {
            FormatName::Celery => Kind::Celery(Celery::new(spec, queue)?),
            FormatName::List => Kind::List(List::new(spec, queue)?),
            FormatName::Stream => Kind::Stream(Stream::new(spec, queue)?),
            FormatName::Raw => Kind::Raw(Raw::new(spec, queue)?),
        };
        Ok(Self { kind, max_message_bytes: spec.max_message_bytes })
    }

    /// Which format it is.
    pub fn name(&self) -> FormatName {
        match &self.kind {
            Kind::Celery(_) => FormatName::Celery,
            Kind::List(_) => FormatName::List,
            Kind::Stream(_) => FormatName::Stream,
            Kind::Raw(_) => FormatName::Raw,
        }
    }

    /// Every Redis key that the queue may use, in a fixed order. The first decides the slot of the queue's marker.
    pub fn keys(&self) -> &[Key] {
        match &self.kind {
            Kind::Celery(celery) => celery.keys(),
            Kind::List(list) => list.keys(),
            Kind::Stream(stream) => stream.keys(),
            Kind::Raw(raw) => raw.keys(),
        }
    }

    /// The consumer group that must exist from the stream's first entry on, if the queue asks for one.
    pub fn group(&self) -> Option<&str> {
        match &self.kind {
            Kind::Stream(stream) => stream.group(),
            _ => None,
        }
    }

    /// Where messages stand that a consumer has taken and not finished, beside [`keys`](Self::keys).
    pub fn in_flight(&self) -> &[InFlight] {
        match &self.kind {
            Kind::Celery(celery) => celery.in_flight(),
            Kind::List(list) => list.in_flight(),
            // A stream keeps them in itself; what was popped of a raw list cannot be told anyway.
            Kind::Stream(_) | Kind::Raw(_) => &[],
        }
    }

    /// Which row a message belongs to that was found in one of the queue's keys or [`in_flight`](Self::in_flight).
    pub fn row_of(&self, seen: Seen<'_>) -> Whose {
        match &self.kind {
            Kind::Celery(_) => identity::of_celery(seen),
            Kind::List(list) => list.row_of(seen),
            Kind::Stream(_) => identity::of_stream(seen),
            Kind::Raw(_) => Whose::Unknown,
        }
    }

    /// Turns one row into what is pushed. Fails only with [`Fault::Reject`].
    pub fn encode(&self, task: &Task<'_>) -> Result<Push, Fault> {
        self.check_size(task)?;
        check_columns(task)?;
        match &self.kind {
            Kind::Celery(celery) => celery.encode(task),
            Kind::List(list) => list.encode(task),
            Kind::Stream(stream) => Ok(stream.encode(task)),
            Kind::Raw(raw) => raw.encode(task),
        }
    }

    /// The limit is on what the producer wrote, before the format adds its envelope: with a limit on the encoded
    /// message, base64 alone would refuse rows that the database had accepted.
    fn check_size(&self, task: &Task<'_>) -> Result<(), Fault> {
        let size = match task.body {
            Some(body) => body.len() + task.headers.len(),
            None => task.args.len() + task.kwargs.len() + task.headers.len(),
        };
        if size <= self.max_message_bytes {
            return Ok(());
        }
        let message = format!(
            "the message has {size} bytes, the queue's max_message is {}: \
             store the data elsewhere and pass its id, or raise max_message",
            self.max_message_bytes
        );
        Err(Fault::reject("too_large", message))
    }
}

/// A message that no worker could take.
fn malformed(message: impl Into<String>) -> Fault {
    Fault::reject("malformed", message)
}

/// The database has checked the columns' JSON types; two bytes each make sure that what is spliced is what was checked.
fn check_columns(task: &Task<'_>) -> Result<(), Fault> {
    if !is_enclosed(task.headers, b'{', b'}') {
        return Err(malformed("headers are not a JSON object: pass one, such as {\"k\": \"v\"}"));
    }
    if task.body.is_some() {
        return Ok(());
    }
    if task.name.is_empty() {
        return Err(malformed("the row has neither a task name nor a body: pass one of them"));
    }
    if !is_enclosed(task.args, b'[', b']') {
        return Err(malformed("args are not a JSON array: pass one, such as [1, 2]"));
    }
    if !is_enclosed(task.kwargs, b'{', b'}') {
        return Err(malformed("kwargs are not a JSON object: pass one, such as {\"id\": 1}"));
    }
    Ok(())
}

fn is_enclosed(text: &str, first: u8, last: u8) -> bool {
    text.len() >= 2 && text.as_bytes().first() == Some(&first) && text.as_bytes().last() == Some(&last)
}
