//! Which rows of a queue stand somewhere in Redis: marker, server, keys and messages of one instant.
//!
//! Everything that a snapshot says is read between one MULTI and its EXEC, raw, and parsed here: inside the server a
//! script would hold everybody up several times as long. A first look without contents asks how much there is; above a
//! limit nothing else is read, because reading 100,000 messages blocks a server for a tenth of a second.

mod lists;
mod replies;
mod streams;

use redis::Cmd;
use uuid::Uuid;

use super::connect::Link;
use super::evidence::{Facts, KeyFacts, Pops};
use super::look::Spot;
use super::marker::Found;
use crate::batch::KeyKind;
use crate::fault::Fault;
use crate::wire::{Format, InFlightKind, Whose};
use replies::Replies;

/// The most payload that is read at once, roughly: it is held in memory here, and the server copies it in one go.
const MAX_BYTES: u64 = 64 << 20;

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotAsk<'a> {
    /// Where the queue's marker lies.
    pub spot: Spot<'a>,
    /// The queue's keys, those of messages in flight, and how to read a message.
    pub format: &'a Format,
    /// The most messages that are read, in all keys together.
    pub limit: u64,
}

/// A queue at one instant.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What stands in the marker field.
    pub found: Found,
    /// The server and the keys, for [`judge`](super::evidence::judge).
    pub facts: Facts,
    /// Which rows are there.
    pub present: Present,
}

/// Which rows stand somewhere in Redis, waiting or in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// More messages than the limit, so many at least, or more bytes than are read at once: nobody looked which.
    TooMany(u64),
    /// All of them.
    Rows {
        /// The rows' ids, ascending, each once for every task id that it stands there with.
        ids: Vec<i64>,
        /// For each of `ids` the task id that told the row, if that did: of two databases on one list only that whose
        /// row has this task id owns the message.
        task_ids: Vec<Option<Uuid>>,
        /// Messages that may be a row's, and nothing tells which: unless this is 0, no row is known to be absent.
        unknown: u64,
        /// Messages that are certainly no row's of this queue.
        others: u64,
    },
}

/// Reads a queue's marker, its server's state and the rows that stand in Redis, as of one instant.
///
/// Takes up to 64 MiB over the link at once, in front of whatever else goes over it. An error reply about one of
/// the queue's keys is no fault: the facts tell what is wrong with it, and `unknown` is not 0. A replica is one
/// ([`Fault::Retry`]): what it holds proves nothing.
pub async fn snapshot(link: &Link, ask: &SnapshotAsk<'_>) -> Result<Snapshot, Fault> {
    match ask.format.keys() {
        [key] if key.kind == KeyKind::Stream => streams::snapshot(link, ask, &key.name).await,
        _ => lists::snapshot(link, ask).await,
    }
}

/// The commands that every snapshot begins with; [`read_head`] reads their replies.
fn head(ask: &SnapshotAsk<'_>) -> Vec<Cmd> {
    let mut commands = vec![redis::cmd("HGET"), redis::cmd("INFO"), redis::cmd("INFO")];
    commands[0].arg(ask.spot.marker).arg(ask.spot.field);
    commands[2].arg("commandstats");
    for (name, _) in keys(ask.format) {
        for word in ["TYPE", "PTTL"] {
            let mut command = redis::cmd(word);
            command.arg(name);
            commands.push(command);
        }
    }
    commands
}

/// Facts without length and stream.
fn read_head(ask: &SnapshotAsk<'_>, replies: &mut Replies<'_>) -> Result<(Found, Facts), Fault> {
    let found = Found::new(replies.text()?);
    let server = replies.server()?;
    let pops = Pops::parse(&replies.string()?);
    let mut facts = Facts { server, pops, ..Facts::default() };
    for (name, wanted) in keys(ask.format) {
        let found = replies.string()?;
        let ttl = u64::try_from(replies.number()?).ok().map(std::time::Duration::from_millis);
        facts.keys.push(KeyFacts { key: String::from_utf8_lossy(name).into_owned(), wanted, found, ttl });
    }
    Ok((found, facts))
}

/// The queue's keys and those in flight, with the types they must have.
fn keys(format: &Format) -> impl Iterator<Item = (&[u8], &'static str)> {
    let own = format.keys().iter().map(|key| match key.kind {
        KeyKind::List => (key.name.as_slice(), "list"),
        KeyKind::Stream => (key.name.as_slice(), "stream"),
    });
    own.chain(format.in_flight().iter().map(|key| match key.kind {
        InFlightKind::Processing => (key.name.as_slice(), "list"),
        InFlightKind::Unacked => (key.name.as_slice(), "hash"),
    }))
}

/// Whether so many messages in keys of so many bytes are too much to read.
fn is_too_much(messages: u64, bytes: u64, limit: u64) -> bool {
    messages > limit || bytes > MAX_BYTES
}

/// Collects whose messages there are.
#[derive(Default)]
struct Rows {
    found: Vec<(i64, Option<Uuid>)>,
    unknown: u64,
    others: u64,
}

impl Rows {
    fn count(&mut self, whose: Whose) {
        match whose {
            Whose::Row { id, task_id } => self.found.push((id, task_id)),
            Whose::Other => self.others += 1,
            Whose::Unknown => self.unknown += 1,
        }
    }

    fn present(mut self) -> Present {
        self.found.sort_unstable();
        self.found.dedup();
        let (ids, task_ids) = self.found.into_iter().unzip();
        Present::Rows { ids, task_ids, unknown: self.unknown, others: self.others }
    }
}
