//! Receipts: what workers write into a stream when a task is done or has failed, for the relay to drain.
//!
//! A worker (or a small hook in it) runs `XADD <receipts> * task_id <id>`, and after a failure adds `error_class` and
//! `error`. `outbox_id`, if the message has one, tells rows apart that share a task id. The relay reads from the beginning, stores what it read in Postgres, and deletes the entries only then: a
//! relay that dies in between reads them again. There is no consumer group: whoever reads holds the queues.

use redis::Value;
use uuid::Uuid;

use super::connect::Link;
use super::faults;
use super::open::bytes;
use crate::fault::Fault;

/// The longest class of an error that is kept, in bytes; more is cut.
const CLASS_BYTES: usize = 200;

/// The longest text of an error that is kept, in bytes; more is cut.
const TEXT_BYTES: usize = 8 << 10;

/// Entries deleted by one command.
const CHUNK: usize = 500;

/// One entry of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The entry's id, for [`done`].
    pub entry: String,
    /// What it says. `None`: it has no field `task_id` that is a task's id; it is of no use and can be dropped.
    pub said: Option<Said>,
}

/// What a worker says about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The task.
    pub task_id: Uuid,
    /// The row, if the message named one beside the task id.
    pub outbox_id: Option<i64>,
    /// Why the worker gave it up; `None`: it is done.
    pub failure: Option<Failure>,
}

/// Why a worker gave a task up. Neither text holds a NUL, which Postgres cannot store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of error, such as an exception's name; `error` if the worker does not say.
    pub class: String,
    /// The error's text, perhaps empty.
    pub message: String,
}

/// Reads up to `count` receipts, oldest first, from the beginning or after one; none if there is no such stream.
pub async fn read(link: &Link, key: &[u8], after: Option<&str>, count: u64) -> Result<Vec<Receipt>, Fault> {
    let from = after.map_or_else(|| "-".to_owned(), |entry| format!("({entry}"));
    let reply = link.command(redis::cmd("XRANGE").arg(key).arg(from).arg("+").arg("COUNT").arg(count.max(1))).await;
    let unexpected = || faults::protocol(link.place(), "XRANGE");
    let Value::Array(entries) = reply.map_err(|fault| about(fault, link, key))? else { return Err(unexpected()) };
    entries.into_iter().map(|entry| receipt(entry).ok_or_else(unexpected)).collect()
}

/// Deletes receipts that are stored in Postgres, or of no use. Safe to repeat.
pub async fn done(link: &Link, key: &[u8], entries: &[impl AsRef<str>]) -> Result<(), Fault> {
    for chunk in entries.chunks(CHUNK) {
        let mut command = redis::cmd("XDEL");
        command.arg(key);
        for entry in chunk {
            command.arg(entry.as_ref());
        }
        link.command(&command).await.map_err(|fault| about(fault, link, key))?;
    }
    Ok(())
}

/// The general advice is about a queue's key; this is another one.
fn about(fault: Fault, link: &Link, key: &[u8]) -> Fault {
    if fault.reason().class != "wrongtype" {
        return fault;
    }
    let key = String::from_utf8_lossy(key);
    Fault::halt(
        "wrongtype",
        format!(
            "{}: the key {key:?} of the receipts is no stream; move it away, or set another `receipts` for this Redis \
             target and in the workers",
            link.place()
        ),
    )
}

/// `None` if it is no entry at all.
fn receipt(entry: Value) -> Option<Receipt> {
    let Value::Array(parts) = entry else { return None };
    let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
    let entry = String::from_utf8(bytes(id).ok()??).ok()?;
    // Newer servers show an entry that was deleted by name as nil.
    let Value::Array(fields) = fields else { return Some(Receipt { entry, said: None }) };
    let mut values = fields.into_iter().map(|value| bytes(value).ok().flatten().unwrap_or_default());
    let (mut task_id, mut outbox_id, mut class, mut message) = (None, None, None, None);
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        match name.as_slice() {
            b"task_id" => task_id = std::str::from_utf8(&value).ok().and_then(|id| Uuid::try_parse(id.trim()).ok()),
            b"outbox_id" => outbox_id = std::str::from_utf8(&value).ok().and_then(|id| id.trim().parse().ok()),
            b"error_class" => class = Some(text(&value, CLASS_BYTES)),
            b"error" => message = Some(text(&value, TEXT_BYTES)),
            _ => {}
        }
    }
    let failed = class.is_some() || message.is_some();
    let class = class.filter(|class| !class.is_empty()).unwrap_or_else(|| "error".to_owned());
    let failure = failed.then(|| Failure { class, message: message.unwrap_or_default() });
    Some(Receipt { entry, said: task_id.map(|task_id| Said { task_id, outbox_id, failure }) })
}

/// As Postgres takes it, cut between two characters.
fn text(value: &[u8], limit: usize) -> String {
    let mut text = String::from_utf8_lossy(&value[..value.len().min(limit + 4)]).replace('\0', "\u{fffd}");
    while text.len() > limit {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(fields: &[(&[u8], &[u8])]) -> Value {
        let fields = fields.iter().flat_map(|(name, value)| [name, value]);
        let fields = fields.map(|text| Value::BulkString(text.to_vec())).collect();
        Value::Array(vec![Value::BulkString(b"1-0".to_vec()), Value::Array(fields)])
    }

    proptest! {
        #[test]
        fn any_entry_is_read_and_its_texts_can_be_stored(
            fields in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4),
            class in prop::collection::vec(any::<u8>(), 0..400),
            message in prop::collection::vec(any::<u8>(), 0..20_000),
        ) {
            let mut all: Vec<(&[u8], &[u8])> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            all.extend([(&b"error_class"[..], &class[..]), (b"error", &message)]);
            prop_assert_eq!(receipt(entry(&all)).unwrap().said, None);
            all.push((b"task_id", b"0190b0a4-7e4f-7c1e-8d3f-1234567890ab"));
            let failure = receipt(entry(&all)).unwrap().said.unwrap().failure.unwrap();
            prop_assert!(!failure.class.is_empty() && failure.class.len() <= CLASS_BYTES);
            prop_assert!(failure.message.len() <= TEXT_BYTES);
            prop_assert!(!failure.class.contains('\0') && !failure.message.contains('\0'));
        }
    }

    #[test]
    fn a_receipt_without_an_error_says_that_the_task_is_done() {
        let id = "0190b0a4-7e4f-7c1e-8d3f-1234567890ab";
        let said = receipt(entry(&[(b"task_id", id.as_bytes()), (b"worker", b"w1")])).unwrap().said;
        assert_eq!(said, Some(Said { task_id: id.parse().unwrap(), outbox_id: None, failure: None }));
        let said = receipt(entry(&[(b"task_id", id.as_bytes()), (b"outbox_id", b"7")])).unwrap().said;
        assert_eq!(said.unwrap().outbox_id, Some(7));
        for malformed in [&b""[..], b"7", b"\xff"] {
            assert_eq!(receipt(entry(&[(b"task_id", malformed)])).unwrap().said, None);
        }
    }
}
