//! The signs of life that relays leave in Redis with their looks.

use redis::{Pipeline, Value};

use super::connect::Link;
use super::faults;
use super::open::bytes;
use crate::fault::Fault;

use std::time::Duration;

/// Reads the sign that stands under one's own key and those under `others`, then writes one's own, which goes away by
/// itself after a while; in one round trip.
///
/// `None` if the server takes no sign, or does not show them: then nothing is known of anybody.
pub async fn signs(
    link: &Link,
    own: (&[u8], &str),
    kept: Duration,
    others: &[Vec<u8>],
) -> Result<Option<Vec<Option<Vec<u8>>>>, Fault> {
    let (key, sign) = own;
    let mut pipeline = Pipeline::new();
    pipeline.cmd("MGET").arg(key);
    for other in others {
        pipeline.arg(other.as_slice());
    }
    pipeline.cmd("SET").arg(key).arg(sign).arg("EX").arg(kept.as_secs().max(1));
    let unexpected = || faults::protocol(link.place(), "MGET and SET");
    let [read, written]: [Result<Value, Fault>; 2] =
        link.pipeline(&pipeline).await?.try_into().map_err(|_| unexpected())?;
    let (Ok(_), Ok(Value::Array(values))) = (written, read) else { return Ok(None) };
    if values.len() != 1 + others.len() {
        return Err(unexpected());
    }
    Ok(Some(values.into_iter().map(|value| bytes(value).ok().flatten()).collect()))
}
