//! The way back in after anything uncertain: observe, decide, replace the marker by one of a new tenure.

use redis::{Pipeline, Value};

use super::connect::Link;
use super::faults;
use super::info::{Incarnation, Role, Server};
use super::marker::Found;
use super::scripts::{APPEND, OPEN};
use crate::batch::Marker;
use crate::fault::Fault;

/// A queue's marker and the server that holds it, read in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What stands in the marker field.
    pub found: Found,
    /// What the server says about itself, its incarnation first.
    pub server: Server,
}

/// What the opening script answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The new marker stands, in this incarnation. Start over if it is not the one that was observed.
    Ok(Incarnation),
    /// Something else stands there than what was observed: nothing was done. Start over, with back-off.
    Stale(Found),
}

/// Reads a queue's marker and the state of its server atomically. A replica is refused with a [`Fault::Retry`].
pub async fn observe(link: &Link, marker_key: &[u8], field: &str) -> Result<Observed, Fault> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("HGET").arg(marker_key).arg(field).cmd("INFO");
    let replies = link.transaction(&mut pipeline).await?;
    let unexpected = || faults::protocol(link.place(), "HGET and INFO");
    let [value, info]: [Value; 2] = replies.try_into().map_err(|_| unexpected())?;
    let value = bytes(value).map_err(|Odd| unexpected())?;
    Ok(Observed { found: Found::new(value), server: server(link, info)? })
}

/// Replaces the observed value by `new`, if it still stands there; `observed` is [`Found::value`] as it was read. The
/// answer of a replica is not believed.
///
/// Safe to repeat: a marker that is already `new` counts as this call's own doing, so after an uncertain end the same
/// call may be made again (under the same tenure, never with another position).
pub async fn open(
    link: &Link,
    marker_key: &[u8],
    field: &str,
    observed: Option<&[u8]>,
    new: &Marker,
) -> Result<Opened, Fault> {
    // Loaded explicitly: newer servers forget scripts that came with EVAL, and the batches that follow, several deep,
    // need not find out one by one. A user who may not load scripts publishes all the same.
    let mut load = redis::cmd("SCRIPT");
    load.arg("LOAD").arg(APPEND.body);
    let mut script = redis::cmd("EVAL");
    script.arg(OPEN.body).arg(1).arg(marker_key).arg(field);
    script.arg(i32::from(observed.is_some())).arg(observed.unwrap_or_default()).arg(new.to_string());
    // In one transaction, so that the incarnation is the one that the marker was written in. Not in the script: some
    // servers let no script call INFO.
    let (_loaded, replies) = tokio::join!(link.command(&load), link.transaction_each(vec![script, redis::cmd("INFO")]));
    let unexpected = || faults::protocol(link.place(), "the opening script");
    let [reply, info]: [Result<Value, Fault>; 2] = replies?.try_into().map_err(|_| unexpected())?;
    let Value::Array(items) = reply? else { return Err(unexpected()) };
    let server = server(link, info?)?;
    let mut items = items.into_iter();
    let mut next = || items.next().map_or(Err(Odd), bytes).map_err(|Odd| unexpected());
    match next()?.unwrap_or_default().as_slice() {
        b"OK" => Ok(Opened::Ok(server.incarnation)),
        b"STALE" => Ok(Opened::Stale(Found::new(next()?))),
        _ => Err(unexpected()),
    }
}

/// What a server said of itself. Of a replica nothing is believed: what it holds may be replaced at any moment, whether
/// it takes writes or not.
pub(super) fn server(link: &Link, info: Value) -> Result<Server, Fault> {
    let info = bytes(info).ok().flatten().ok_or_else(|| faults::protocol(link.place(), "INFO"))?;
    let server = Server::parse(&String::from_utf8_lossy(&info));
    if server.role == Role::Replica { Err(faults::replica(link.place())) } else { Ok(server) }
}

/// A reply that is neither a string nor nil.
pub(super) struct Odd;

/// A string, or nothing if the reply is nil.
pub(super) fn bytes(value: Value) -> Result<Option<Vec<u8>>, Odd> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        Value::Okay => Ok(Some(b"OK".to_vec())),
        _ => Err(Odd),
    }
}
