//! Where a queue's marker lies in Redis, and what was found there.

use std::str::FromStr;

use redis::Pipeline;
use uuid::Uuid;

use super::connect::Link;
use crate::batch::Marker;
use crate::fault::Fault;

const PREFIX: &[u8] = b"outbox:m:";

/// The hash that holds the markers of the queues whose first key is `key`, in the cluster slot of that key.
///
/// `celery` has its marker in `outbox:m:{celery}`, `{app}:tasks` in `outbox:m:{app}:tasks`: a key with a hash tag of its
/// own keeps it. A key with a `}` outside a hash tag has no hash tag that leads to its slot and is refused with a
/// [`Fault::Halt`] of class `key`.
pub fn marker_key(key: &[u8]) -> Result<Vec<u8>, Fault> {
    if has_tag(key) {
        return Ok([PREFIX, key].concat());
    }
    if key.is_empty() || key.contains(&b'}') {
        return Err(Fault::halt(
            "key",
            format!(
                "the Redis key {:?} {}; set another `key` for this queue",
                String::from_utf8_lossy(key),
                if key.is_empty() { "is empty" } else { "contains a '}' that closes no hash tag" }
            ),
        ));
    }
    Ok([PREFIX, b"{", key, b"}"].concat())
}

/// Redis hashes only what stands between the first `{` and the next `}`, unless that is nothing.
fn has_tag(key: &[u8]) -> bool {
    let Some(open) = key.iter().position(|b| *b == b'{') else { return false };
    key[open + 1..].iter().position(|b| *b == b'}').is_some_and(|length| length > 0)
}

/// The field of a queue in that hash. It names the database, so that two applications can share a Redis list.
pub fn field(installation: Uuid, queue: &str) -> String {
    format!("{installation}/{queue}")
}

/// Removes a queue's marker. Without a ledger it says nothing to anybody: leaving it behind does no harm.
pub async fn remove_marker(link: &Link, marker_key: &[u8], field: &str) -> Result<(), Fault> {
    link.transaction(Pipeline::new().cmd("HDEL").arg(marker_key).arg(field)).await.map(drop)
}

/// What stands in a queue's marker field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The bytes as they are: what [`open`](super::open()) compares with. `None` if there is no such field.
    pub value: Option<Vec<u8>>,
    /// The marker that they spell; `None` as well if no relay of this protocol wrote them.
    pub marker: Option<Marker>,
}

impl Found {
    pub(super) fn new(value: Option<Vec<u8>>) -> Self {
        let text = value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let marker = text.and_then(|text| Marker::from_str(text).ok());
        Self { value, marker }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_lies_in_the_slot_of_its_key() {
        for (key, expected) in [
            (&b"celery"[..], &b"outbox:m:{celery}"[..]),
            (b"queue:default", b"outbox:m:{queue:default}"),
            (b"{app}:tasks", b"outbox:m:{app}:tasks"),
            (b"a{b", b"outbox:m:{a{b}"),
            (b"}{app}", b"outbox:m:}{app}"),
        ] {
            assert_eq!(marker_key(key).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_key_without_a_way_to_its_slot_is_refused() {
        for key in [&b"a}b"[..], b"a{}b", b"{}x{app}", b""] {
            assert!(matches!(marker_key(key), Err(fault) if fault.reason().class == "key"));
        }
    }

    #[test]
    fn rubbish_in_the_field_is_found_but_is_no_marker() {
        for rubbish in [&b""[..], b"x:1", b"\xff\xfe", b"00000000000000000000000000000001:-1"] {
            let found = Found::new(Some(rubbish.to_vec()));
            assert_eq!(found.value.as_deref(), Some(rubbish));
            assert_eq!(found.marker, None);
        }
    }
}
