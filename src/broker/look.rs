//! One look at a server: the markers of many queues and its health, in one round trip.

use std::collections::HashMap;

use redis::{Pipeline, Value};

use super::connect::Link;
use super::faults;
use super::info::Server;
use super::marker::Found;
use super::open::{Odd, bytes, server};
use crate::fault::Fault;

/// Where one queue's marker lies.
#[derive(Debug, Clone, Copy)]
pub struct Spot<'a> {
    /// The hash of [`marker_key`](super::marker_key).
    pub marker: &'a [u8],
    /// The field of [`field`](super::field).
    pub field: &'a str,
}

/// What a look saw. It is not atomic: it says which queues must be opened again, not where they stand.
#[derive(Debug, Clone)]
pub struct Look {
    /// What the server says about itself.
    pub server: Server,
    /// One entry per spot, in the order asked for. One queue's fault (a marker key of another type) is its own.
    pub markers: Vec<Result<Found, Fault>>,
}

/// Looks at all spots of one server in one pipelined read. A replica is refused with a [`Fault::Retry`].
pub async fn look(link: &Link, spots: &[Spot<'_>]) -> Result<Look, Fault> {
    let mut hashes: Vec<&[u8]> = Vec::new();
    let mut members: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (index, spot) in spots.iter().enumerate() {
        let fields = members.entry(spot.marker).or_default();
        if fields.is_empty() {
            hashes.push(spot.marker);
        }
        fields.push(index);
    }
    let mut pipeline = Pipeline::new();
    pipeline.cmd("INFO");
    for hash in &hashes {
        pipeline.cmd("HMGET").arg(*hash);
        for index in &members[hash] {
            pipeline.arg(spots[*index].field);
        }
    }
    let mut replies = link.pipeline(&pipeline).await?.into_iter();
    let unexpected = |what| faults::protocol(link.place(), what);
    let info = replies.next().ok_or_else(|| unexpected("INFO"))??;
    let server = server(link, info)?;
    let mut markers = vec![Err(unexpected("HMGET")); spots.len()];
    for (hash, reply) in hashes.iter().zip(replies) {
        let indexes = &members[hash];
        match reply {
            Ok(Value::Array(values)) if values.len() == indexes.len() => {
                for (index, value) in indexes.iter().zip(values) {
                    markers[*index] = bytes(value).map(Found::new).map_err(|Odd| unexpected("HMGET"));
                }
            }
            Ok(_) => {}
            Err(fault) => indexes.iter().for_each(|index| markers[*index] = Err(fault.clone())),
        }
    }
    Ok(Look { server, markers })
}
