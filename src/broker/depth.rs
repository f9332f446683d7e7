//! How many messages of a queue stand in Redis: what the window is compared with.

use redis::{Pipeline, Value};

use super::connect::Link;
use super::faults;
use super::open::bytes;
use crate::batch::{Key, KeyKind};
use crate::fault::Fault;

/// Entries fetched at a time where a server cannot say how many there are.
const CHUNK: u64 = 100;

/// Messages that stand in the queue's keys.
///
/// Lists count their length; what a consumer has taken and not finished is its own affair. A stream counts what its
/// slowest consumer group has yet to read or to acknowledge. A stream without any group counts 0: entries that nobody
/// claims never go away, so there is nothing a window could wait for.
///
/// `limit` bounds the work where a group's lag is unknown (servers before 7.0, or entries deleted ahead of the group):
/// unread entries are then counted up to `limit` and no further.
pub async fn depth(link: &Link, keys: &[Key], limit: u64) -> Result<u64, Fault> {
    Ok(measure(link, keys, Some(limit)).await?.unwrap_or(limit))
}

/// [`depth`] where the server knows it: `None` if entries would have to be counted.
pub async fn known_depth(link: &Link, keys: &[Key]) -> Result<Option<u64>, Fault> {
    measure(link, keys, None).await
}

/// Without a `limit` nothing is counted.
async fn measure(link: &Link, keys: &[Key], limit: Option<u64>) -> Result<Option<u64>, Fault> {
    let mut pipeline = Pipeline::new();
    for key in keys {
        match key.kind {
            KeyKind::List => pipeline.cmd("LLEN").arg(key.name.as_slice()),
            KeyKind::Stream => pipeline.cmd("XINFO").arg("GROUPS").arg(key.name.as_slice()),
        };
    }
    let mut total = 0;
    for (key, reply) in keys.iter().zip(link.pipeline(&pipeline).await?) {
        total += match (key.kind, reply) {
            (KeyKind::List, Ok(Value::Int(length))) => u64::try_from(length).unwrap_or(0),
            (KeyKind::Stream, Ok(Value::Array(groups))) => match slowest(link, key, groups, limit).await? {
                Some(depth) => depth,
                None => return Ok(None),
            },
            (KeyKind::Stream, Err(fault)) if fault.reason().class == "no_key" => 0,
            (_, Err(fault)) => return Err(fault),
            (_, Ok(_)) => return Err(unexpected(link)),
        };
    }
    Ok(Some(total))
}

fn unexpected(link: &Link) -> Fault {
    faults::protocol(link.place(), "LLEN or XINFO GROUPS")
}

async fn slowest(link: &Link, key: &Key, groups: Vec<Value>, limit: Option<u64>) -> Result<Option<u64>, Fault> {
    let mut most = 0;
    for group in groups {
        let Value::Array(fields) = group else { return Err(unexpected(link)) };
        let group = Group::read(fields).ok_or_else(|| unexpected(link))?;
        let lag = match (group.lag, limit) {
            (Some(lag), _) => lag,
            (None, Some(limit)) => unread(link, key, &group.last_delivered, limit).await?,
            (None, None) => return Ok(None),
        };
        most = most.max(lag + group.pending);
    }
    Ok(Some(most))
}

struct Group {
    pending: u64,
    last_delivered: Vec<u8>,
    lag: Option<u64>,
}

impl Group {
    /// Names and values in turn.
    fn read(fields: Vec<Value>) -> Option<Self> {
        let (mut pending, mut last_delivered, mut lag) = (None, None, None);
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            match (bytes(name).ok()??.as_slice(), value) {
                (b"pending", Value::Int(number)) => pending = u64::try_from(number).ok(),
                (b"lag", Value::Int(number)) => lag = u64::try_from(number).ok(),
                (b"last-delivered-id", id) => last_delivered = bytes(id).ok()?,
                _ => {}
            }
        }
        Some(Self { pending: pending?, last_delivered: last_delivered?, lag })
    }
}

/// Entries after `id`, counted up to `limit`.
async fn unread(link: &Link, key: &Key, id: &[u8], limit: u64) -> Result<u64, Fault> {
    if id == b"0-0" {
        return match link.command(redis::cmd("XLEN").arg(key.name.as_slice())).await? {
            Value::Int(length) => Ok(u64::try_from(length).unwrap_or(0)),
            _ => Err(unexpected(link)),
        };
    }
    let (mut count, mut after) = (0, id.to_vec());
    while count < limit {
        let chunk = CHUNK.min(limit - count);
        let start = [b"(", after.as_slice()].concat();
        let reply = link
            .command(redis::cmd("XRANGE").arg(key.name.as_slice()).arg(start).arg("+").arg("COUNT").arg(chunk))
            .await?;
        let Value::Array(entries) = reply else { return Err(unexpected(link)) };
        let size = entries.len() as u64;
        count += size;
        let last = entries.into_iter().next_back();
        let id = last.and_then(|entry| if let Value::Array(parts) = entry { parts.into_iter().next() } else { None });
        match id.and_then(|id| bytes(id).ok()?) {
            Some(id) if size == chunk => after = id,
            _ => break,
        }
    }
    Ok(count)
}
