//! One row of the outbox, as the formats see it.
//!
//! A [`Task`] borrows from the rows that Postgres sent, so that forwarding a batch copies no payload. JSON columns
//! stay text: Postgres has validated them, and what is only forwarded is not parsed.

use jiff::Timestamp;
use uuid::Uuid;

/// One committed row, borrowed from a batch.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The row's id in the log: the order of insertion.
    pub id: i64,
    /// What the worker sees as the task's id; stable through every replay.
    pub task_id: Uuid,
    /// The name of the worker's function; empty for a raw message.
    pub name: &'a str,
    /// A JSON array: positional arguments.
    pub args: &'a str,
    /// A JSON object: keyword arguments.
    pub kwargs: &'a str,
    /// A JSON object that is passed on with the message, trace headers included.
    pub headers: &'a str,
    /// A finished message, verbatim, if the producer made one (`outbox_enqueue_raw`).
    pub body: Option<&'a [u8]>,
    /// 0 (first) to 9 (last); `None` counts as 0.
    pub priority: Option<i16>,
    /// After this time the task is not published any more.
    pub expires_at: Option<Timestamp>,
    /// When the batch was planned that brings it, if it is a dead row that an operator retries: what had expired by then goes
    /// out all the same.
    pub retried_at: Option<Timestamp>,
    /// When the row was inserted, by the clock of the database server.
    pub created_at: Timestamp,
}
