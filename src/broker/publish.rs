//! One batch into Redis: messages and marker together, or nothing.

use redis::{Cmd, Value};
use uuid::Uuid;

use super::connect::Link;
use super::decide::MAX_POSITION;
use super::faults;
use super::info::Server;
use super::scripts::APPEND;
use crate::batch::{Entry, Key, KeyKind, Push};
use crate::fault::Fault;

/// Arguments of one stream entry at most: Lua cannot pass more than some thousands to one command.
const MAX_STREAM_ARGS: usize = 1000;

/// The most messages in one batch before Redis 7.0. Lua there hashes some 32 bytes of a long string, so messages that
/// differ in few bytes collide, and taking in a batch grows with the square of its size: at 2,000 of them the server stands
/// still for a tenth of a second or more, at 200 for 3 ms. `docs/versions.md` has the figures.
const MOST_BEFORE_7: u32 = 200;

/// How many rows may be planned for one batch on this server. One that was planned earlier is published as it is.
pub fn most_rows(server: &Server) -> u32 {
    let major = server.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    // One that hides its version may be as old.
    if major.is_some_and(|major| major >= 7) { u32::MAX } else { MOST_BEFORE_7 }
}

/// What one call publishes. `pushes` may be empty: then only the marker moves.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The hash of [`marker_key`](super::marker_key).
    pub marker: &'a [u8],
    /// The field of [`field`](super::field).
    pub field: &'a str,
    /// The tenure that opened the queue.
    pub tenure: Uuid,
    /// The position that the marker must have.
    pub from: i64,
    /// The position that it then has; above `from`.
    pub to: i64,
    /// Every key of the queue's format, in its order.
    pub keys: &'a [Key],
    /// The messages, in order.
    pub pushes: &'a [Push],
    /// A consumer group that reads each stream from its beginning.
    pub group: Option<&'a str>,
}

/// What the script answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Everything is in and the marker stands at `to`.
    Ok {
        /// Messages in the queue's lists now. Streams count 0: ask [`depth`](super::depth()).
        depth: u64,
    },
    /// The marker stood at or past `to`: an earlier execution of this command did it.
    Already,
    /// There is no marker: nothing was done.
    Missing,
    /// The marker is another tenure's, or rubbish: nothing was done. Holds the value as text, cut: anybody may have written it.
    Foreign(String),
    /// The marker stands elsewhere than at `from`, and not past the batch: nothing was done. Holds its position.
    Gap(i64),
    /// A key of the queue holds another type: nothing was done.
    WrongType {
        /// The key.
        key: String,
        /// What it holds.
        found: String,
    },
}

impl Appended {
    /// The fault that stops the queue, if the answer is [`Appended::WrongType`].
    pub fn fault(&self, link: &Link) -> Option<Fault> {
        let Self::WrongType { key, found } = self else { return None };
        Some(Fault::halt(
            "wrongtype",
            format!(
                "{}: the key {key:?} of this queue holds a {found}; nothing was stored; move it away or set another `key`, \
                 then resume the queue",
                link.place()
            ),
        ))
    }
}

/// Publishes one batch. Several may be in flight on one link: they run in the order in which they were first polled, and
/// after a refused one the later ones answer [`Appended::Gap`].
///
/// After anything but [`Appended::Ok`] and [`Appended::Already`], errors included, open the queue again.
pub async fn append(link: &Link, batch: &Batch<'_>) -> Result<Appended, Fault> {
    let command = command(batch)?;
    let reply = APPEND.run(link, &command).await?;
    read(link, reply)
}

/// Messages of one key that enter it by one command, in order.
struct Segment<'a> {
    key: usize,
    command: &'static str,
    entries: Vec<&'a Entry>,
}

fn command(batch: &Batch<'_>) -> Result<Cmd, Fault> {
    if !(0 <= batch.from && batch.from < batch.to && batch.to <= MAX_POSITION) {
        return Err(internal(&format!("a batch from {} to {} cannot be published", batch.from, batch.to)));
    }
    let segments = segments(batch)?;
    let arguments: usize = batch.pushes.iter().map(|push| 1 + fields(&push.entry).len() * 2).sum();
    let payload: usize = batch.pushes.iter().map(|push| push.entry.size()).sum();
    // One allocation and one copy of the payloads into the command.
    let mut command = Cmd::with_capacity(
        16 + batch.keys.len() + 3 * segments.len() + arguments,
        payload + 512 + 8 * batch.pushes.len() + batch.keys.iter().map(|key| key.name.len()).sum::<usize>(),
    );
    command.arg("EVALSHA").arg(APPEND.sha()).arg(1 + batch.keys.len()).arg(batch.marker);
    for key in batch.keys {
        command.arg(key.name.as_slice());
    }
    let kinds: String = batch.keys.iter().map(|key| if key.kind == KeyKind::List { 'l' } else { 's' }).collect();
    command.arg(batch.field).arg(batch.tenure.simple().to_string()).arg(batch.from).arg(batch.to);
    command.arg(batch.group.unwrap_or_default()).arg(kinds).arg(segments.len());
    for segment in &segments {
        command.arg(segment.key + 1).arg(segment.command).arg(segment.entries.len());
    }
    for entry in segments.iter().flat_map(|segment| &segment.entries) {
        match entry {
            Entry::Left(bytes) | Entry::Right(bytes) => {
                command.arg(bytes.as_slice());
            }
            Entry::Stream(fields) => {
                command.arg(fields.len() * 2);
                for (name, value) in fields {
                    command.arg(name.as_slice()).arg(value.as_slice());
                }
            }
        }
    }
    Ok(command)
}

fn fields(entry: &Entry) -> &[(Vec<u8>, Vec<u8>)] {
    if let Entry::Stream(fields) = entry { fields } else { &[] }
}

/// By key: order matters within a key only, and one variadic push is cheaper than many.
fn segments<'a>(batch: &Batch<'a>) -> Result<Vec<Segment<'a>>, Fault> {
    let mut by_key: Vec<Vec<Segment<'a>>> = batch.keys.iter().map(|_| Vec::new()).collect();
    for push in batch.pushes {
        let (command, kind) = match &push.entry {
            Entry::Left(_) => ("LPUSH", KeyKind::List),
            Entry::Right(_) => ("RPUSH", KeyKind::List),
            Entry::Stream(fields) if (1..=MAX_STREAM_ARGS / 2).contains(&fields.len()) => ("XADD", KeyKind::Stream),
            Entry::Stream(fields) => return Err(internal(&format!("a stream entry of {} fields", fields.len()))),
        };
        if batch.keys.get(push.key).is_none_or(|key| key.kind != kind) {
            return Err(internal(&format!("{command} into key {} of the format", push.key)));
        }
        let runs = &mut by_key[push.key];
        match runs.last_mut().filter(|run| run.command == command) {
            Some(run) => run.entries.push(&push.entry),
            None => runs.push(Segment { key: push.key, command, entries: vec![&push.entry] }),
        }
    }
    Ok(by_key.into_iter().flatten().collect())
}

/// What no format and no ledger produces.
fn internal(what: &str) -> Fault {
    Fault::halt("internal", format!("{what}: this is a bug in outboxd, nothing was sent; please report it"))
}

fn read(link: &Link, reply: Value) -> Result<Appended, Fault> {
    let unexpected = || faults::protocol(link.place(), "the publish script");
    let Value::Array(items) = reply else { return Err(unexpected()) };
    let mut items = items.into_iter();
    let mut text = || match items.next() {
        Some(Value::BulkString(bytes)) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Some(Value::Int(number)) => Some(number.to_string()),
        _ => None,
    };
    let word = text().ok_or_else(unexpected)?;
    let (first, second) = (text(), text());
    let answer = match (word.as_str(), first, second) {
        ("OK", Some(depth), None) => depth.parse().ok().map(|depth| Appended::Ok { depth }),
        ("ALREADY", None, None) => Some(Appended::Already),
        ("MISSING", None, None) => Some(Appended::Missing),
        ("FOREIGN", Some(value), None) => Some(Appended::Foreign(value.chars().take(80).collect())),
        ("GAP", Some(position), None) => position.parse().ok().map(Appended::Gap),
        ("WRONGTYPE", Some(key), Some(found)) => Some(Appended::WrongType { key, found }),
        ("NOPERM", Some(key), Some(command)) => return Err(faults::no_right(link.place(), &command, &key)),
        _ => None,
    };
    answer.ok_or_else(unexpected)
}

#[cfg(test)]
mod tests {
    use super::{Server, most_rows};

    #[test]
    fn batches_are_bounded_before_redis_7_and_where_no_version_is_shown() {
        let most = |version: &str| most_rows(&Server { version: version.to_owned(), ..Server::default() });
        assert_eq!(["6.2.14", "6.3.4", ""].map(most), [200; 3]);
        assert_eq!(["7.0.15", "7.2.4", "8.2.3", "10.0.0"].map(most), [u32::MAX; 4]);
    }
}
