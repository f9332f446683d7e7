//! From the rows of a batch to what the publish script takes. Pure.

use crate::batch::Push;
use crate::fault::Fault;
use crate::pg::BatchRows;
use crate::wire::Format;

use jiff::Timestamp;

/// A batch that is ready to be published.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Its ledger number.
    pub(crate) batch: i64,
    /// The messages, in order.
    pub(crate) pushes: Vec<Push>,
    /// Rows that cannot be encoded, by id: to `outbox_dead` before the script is sent.
    pub(crate) rejects: Vec<(i64, Fault)>,
    /// How many rows had expired when the batch was planned.
    pub(crate) expired: u64,
    /// When each row was inserted, for the latency.
    pub(crate) created: Vec<Timestamp>,
    /// The payload's size.
    pub(crate) bytes: usize,
}

/// Encodes a batch. What has expired is decided by the batch's own time: the same at every reading.
pub(crate) fn encode(format: &Format, rows: &BatchRows) -> Parcel {
    let at = rows.header.at;
    let mut parcel = Parcel {
        batch: rows.header.batch,
        pushes: Vec::with_capacity(rows.len()),
        rejects: Vec::new(),
        expired: 0,
        created: Vec::with_capacity(rows.len()),
        bytes: 0,
    };
    for task in rows.tasks() {
        let task = match task {
            Ok(task) => task,
            Err(reject) => {
                parcel.rejects.push(reject);
                continue;
            }
        };
        if task.expires_at.is_some_and(|expires| expires <= at) {
            parcel.expired += 1;
            continue;
        }
        match format.encode(&task) {
            Ok(push) => {
                parcel.bytes += push.entry.size();
                parcel.created.push(task.created_at);
                parcel.pushes.push(push);
            }
            Err(fault) => parcel.rejects.push((task.id, fault)),
        }
    }
    parcel
}
