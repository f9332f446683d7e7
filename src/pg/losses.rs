//! What the relay and operators ask of Postgres about losses: checkpoints of consumption, boundaries, incidents, replays.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Param;
use super::outbox::{Outbox, missing, one};
use super::value::get;
use crate::batch::Marker;
use crate::fault::Fault;

/// A boundary, and what stands in Redis.
#[derive(Debug, Clone, Copy)]
pub struct Boundary<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The tenure that holds it.
    pub tenure: Uuid,
    /// Rows at or below, and not present, are scheduled again; `None`: the base that the tenure began with.
    pub base: Option<i64>,
    /// Row ids, ascending.
    pub present: &'a [i64],
    /// For each of them, the id of the task that the message names.
    pub task_ids: &'a [Option<Uuid>],
    /// What the incident is called, if there is one.
    pub cause: &'a str,
    /// What was seen.
    pub evidence: &'a serde_json::Value,
    /// Where consumption is not tracked, what was dispatched longer ago is done.
    pub horizon: Duration,
}

/// What a settled boundary came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certified {
    /// How many rows were scheduled again.
    pub scheduled: i64,
    /// How many rows may be consumed twice; more than were scheduled if others had been sent again before.
    pub duplicates: i64,
}

/// What a checkpoint by receipts found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipted {
    /// Every row of a batch at or below is consumed, but for the outstanding ones.
    pub consumed: i64,
    /// How many those are.
    pub outstanding: i32,
    /// How many were scheduled again, because their receipt was overdue.
    pub scheduled: i64,
}

/// What became of a queue's incidents.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// How many are not over.
    pub open: i64,
    /// How long those took that are over now.
    pub took: Vec<Duration>,
}

/// Which incidents to show.
#[derive(Debug, Clone, Copy, Default)]
pub struct IncidentFilter<'a> {
    /// Of one queue.
    pub queue: Option<&'a str>,
    /// A single one.
    pub incident: Option<i64>,
    /// Only those that are not over.
    pub open: bool,
    /// Only operators' replays.
    pub replays: bool,
    /// At most so many.
    pub limit: i64,
}

/// An observed loss, or an operator's replay.
#[derive(Debug, Clone, Serialize)]
pub struct Incident {
    /// Its number.
    pub incident: i64,
    /// The queue.
    pub queue: String,
    /// Server, DB and key.
    pub destination: String,
    /// Why: `missing`, `rolled_back`, `unknown`, `restart`, `operator`, or what evidence showed.
    pub cause: String,
    /// What was seen.
    pub evidence: serde_json::Value,
    /// Who noticed.
    pub relay: String,
    /// When.
    pub noticed_at: Timestamp,
    /// How far Postgres believed Redis to have come,
    pub position_before: Option<i64>,
    /// how far it was believed then,
    pub position_trusted: Option<i64>,
    /// and the newest batch at that moment.
    pub newest: Option<i64>,
    /// How many rows had to be sent again.
    pub outstanding: Option<i64>,
    /// How many of them at the end of the ledger.
    pub scheduled: i64,
    /// How many were.
    pub replayed: i64,
    /// How many of them may have been consumed before.
    pub duplicates_possible: Option<i64>,
    /// When all had been sent.
    pub recovered_at: Option<Timestamp>,
    /// When an operator took it back.
    pub cancelled_at: Option<Timestamp>,
    /// How many of its rows still wait to be planned.
    pub waiting: i64,
}

/// What an operator wants to be sent again. A bound that is `None` is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayRequest<'a> {
    /// The queue.
    pub queue: &'a str,
    /// Planned at this time or later,
    pub since: Option<Timestamp>,
    /// or earlier.
    pub until: Option<Timestamp>,
    /// From this batch
    pub first: Option<i64>,
    /// to this one.
    pub last: Option<i64>,
    /// Only what is not known to be consumed.
    pub unconsumed: bool,
    /// Do it; otherwise only count.
    pub start: bool,
    /// Who asks.
    pub by: &'a str,
}

/// What a replay holds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Replay {
    /// The incident that stands for it, once it has begun.
    pub incident: Option<i64>,
    /// How many batches.
    pub batches: i64,
    /// How many rows.
    pub rows: i64,
    /// The first batch
    pub first: Option<i64>,
    /// and the last.
    pub last: Option<i64>,
}

impl Outbox {
    /// Writes a checkpoint: rows at or below the batch `consumed` are consumed, except those `present` (ids, ascending).
    /// `facts` is JSON, for [`Opened::facts`](super::Opened::facts). The batch that it says; `None` if nothing is new or
    /// the tenure may not say so.
    pub async fn confirm(
        &self,
        queue: &str,
        at: Marker,
        consumed: i64,
        present: &[i64],
        facts: &str,
    ) -> Result<Option<i64>, Fault> {
        let params: [Param<'_>; 6] = [
            (&queue, Type::TEXT),
            (&at.tenure, Type::UUID),
            (&at.position, Type::INT8),
            (&consumed, Type::INT8),
            (&present, Type::INT8_ARRAY),
            (&facts, Type::TEXT),
        ];
        let rows = self.database.transaction("confirm", &self.sql.confirm, &params).await?;
        get(one(&rows, "confirm")?, 0)
    }

    /// Writes down what a look saw of Redis beside the messages; whether the tenure is still the queue's.
    pub async fn remember(&self, queue: &str, tenure: Uuid, facts: &str) -> Result<bool, Fault> {
        let params: [Param<'_>; 3] = [(&queue, Type::TEXT), (&tenure, Type::UUID), (&facts, Type::TEXT)];
        let rows = self.database.transaction("remember", &self.sql.remember, &params).await?;
        get(one(&rows, "remember")?, 0)
    }

    /// Says that absence proves nothing until a boundary is settled; whether the tenure is still the queue's.
    pub async fn doubt(&self, queue: &str, at: Marker) -> Result<bool, Fault> {
        let params: [Param<'_>; 3] = [(&queue, Type::TEXT), (&at.tenure, Type::UUID), (&at.position, Type::INT8)];
        let rows = self.database.transaction("doubt", &self.sql.doubt, &params).await?;
        get(one(&rows, "doubt")?, 0)
    }

    /// Settles a boundary. `None`: the tenure is not the queue's any more.
    pub async fn certify(&self, boundary: Boundary<'_>) -> Result<Option<Certified>, Fault> {
        let evidence = boundary.evidence.to_string();
        let horizon = boundary.horizon.as_secs_f64();
        let params: [Param<'_>; 8] = [
            (&boundary.queue, Type::TEXT),
            (&boundary.tenure, Type::UUID),
            (&boundary.base, Type::INT8),
            (&boundary.present, Type::INT8_ARRAY),
            (&boundary.task_ids, Type::UUID_ARRAY),
            (&boundary.cause, Type::TEXT),
            (&evidence, Type::TEXT),
            (&horizon, Type::FLOAT8),
        ];
        let rows = self.database.transaction("certify", &self.sql.certify, &params).await?;
        let row = one(&rows, "certify")?;
        let scheduled: Option<i64> = get(row, 0)?;
        scheduled.map(|scheduled| Ok(Certified { scheduled, duplicates: get(row, 1)? })).transpose()
    }

    /// Writes a checkpoint by receipts; `present` is `None` while it is not known what stands in Redis. `None`: the
    /// tenure is not the queue's any more, or not certified.
    pub async fn confirm_receipts(
        &self,
        queue: &str,
        at: Marker,
        present: Option<&[i64]>,
        timeout: Duration,
    ) -> Result<Option<Receipted>, Fault> {
        let timeout = timeout.as_secs_f64();
        let params: [Param<'_>; 5] = [
            (&queue, Type::TEXT),
            (&at.tenure, Type::UUID),
            (&at.position, Type::INT8),
            (&present, Type::INT8_ARRAY),
            (&timeout, Type::FLOAT8),
        ];
        let rows = self.database.transaction("confirm_receipts", &self.sql.confirm_receipts, &params).await?;
        let told = |row| Ok(Receipted { consumed: get(row, 0)?, outstanding: get(row, 1)?, scheduled: get(row, 2)? });
        rows.first().map(told).transpose()
    }

    /// Adds to the newest incident what was sent again and closes those that are over.
    pub async fn recovered(&self, queue: &str, position: i64, replayed: i64) -> Result<Recovered, Fault> {
        let params: [Param<'_>; 3] = [(&queue, Type::TEXT), (&position, Type::INT8), (&replayed, Type::INT8)];
        let rows = self.database.transaction("recovered", &self.sql.recovered, &params).await?;
        let row = one(&rows, "recovered")?;
        let seconds: Vec<f64> = get(row, 1)?;
        let took =
            seconds.into_iter().map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()).collect();
        Ok(Recovered { open: get(row, 0)?, took })
    }

    /// Takes down receipts; how many were new.
    pub async fn acknowledge(&self, tasks: &[(Uuid, Option<i64>)]) -> Result<i32, Fault> {
        let (task_ids, rows): (Vec<_>, Vec<_>) = tasks.iter().copied().unzip();
        let params: [Param<'_>; 2] = [(&task_ids, Type::UUID_ARRAY), (&rows, Type::INT8_ARRAY)];
        let rows = self.database.transaction("ack", &self.sql.ack, &params).await?;
        get(one(&rows, "ack")?, 0)
    }

    /// Takes down that workers gave tasks up, each with an error's class and text; of how many that was new, and the task
    /// known.
    pub async fn give_up(
        &self,
        tasks: &[(Uuid, Option<i64>)],
        classes: &[&str],
        errors: &[&str],
    ) -> Result<i64, Fault> {
        let (task_ids, rows): (Vec<_>, Vec<_>) = tasks.iter().copied().unzip();
        let params: [Param<'_>; 4] = [
            (&task_ids, Type::UUID_ARRAY),
            (&classes, Type::TEXT_ARRAY),
            (&errors, Type::TEXT_ARRAY),
            (&rows, Type::INT8_ARRAY),
        ];
        let rows = self.database.transaction("fail", &self.sql.fail, &params).await?;
        get(one(&rows, "fail")?, 0)
    }

    /// Makes a restored or copied database relay again; the rows of each queue that go out again. As long as it takes.
    /// Where consumption is not tracked, what was dispatched longer than `horizon` ago counts as done.
    pub async fn repair(&self, horizon: Duration) -> Result<Vec<(String, i64)>, Fault> {
        let within = Duration::from_secs(24 * 3600);
        let rows = self
            .database
            .transaction_within(within, "repair", &self.sql.repair, &[(&horizon.as_secs_f64(), Type::FLOAT8)])
            .await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }

    /// Counts or begins an operator's replay; `None`: there is no such queue. As long as it takes.
    pub async fn replay(&self, ask: ReplayRequest<'_>) -> Result<Option<Replay>, Fault> {
        let params: [Param<'_>; 8] = [
            (&ask.queue, Type::TEXT),
            (&ask.since, Type::TIMESTAMPTZ),
            (&ask.until, Type::TIMESTAMPTZ),
            (&ask.first, Type::INT8),
            (&ask.last, Type::INT8),
            (&ask.unconsumed, Type::BOOL),
            (&ask.start, Type::BOOL),
            (&ask.by, Type::TEXT),
        ];
        let within = Duration::from_secs(3600);
        let rows = self.database.transaction_within(within, "replay", &self.sql.replay, &params).await?;
        let told = |row| {
            Ok(Replay {
                incident: get(row, 0)?,
                batches: get(row, 1)?,
                rows: get(row, 2)?,
                first: get(row, 3)?,
                last: get(row, 4)?,
            })
        };
        rows.first().map(told).transpose()
    }

    /// Takes back what of a replay was not planned yet; `None`: there is no such replay, or it is over.
    pub async fn cancel_replay(&self, incident: i64) -> Result<Option<i64>, Fault> {
        let params: [Param<'_>; 1] = [(&incident, Type::INT8)];
        let rows = self.database.transaction("replay_cancel", &self.sql.replay_cancel, &params).await?;
        get(one(&rows, "replay_cancel")?, 0)
    }

    /// Incidents, newest first.
    pub async fn incidents(&self, filter: IncidentFilter<'_>) -> Result<Vec<Incident>, Fault> {
        let params: [Param<'_>; 5] = [
            (&filter.queue, Type::TEXT),
            (&filter.incident, Type::INT8),
            (&filter.open, Type::BOOL),
            (&filter.replays, Type::BOOL),
            (&filter.limit, Type::INT8),
        ];
        let rows = self.database.statement("incidents", &self.sql.incidents, &params).await?;
        rows.iter().map(incident).collect()
    }
}

fn incident(row: &Row) -> Result<Incident, Fault> {
    let evidence: String = get(row, 4)?;
    Ok(Incident {
        incident: get(row, 0)?,
        queue: get(row, 1)?,
        destination: get(row, 2)?,
        cause: get(row, 3)?,
        evidence: serde_json::from_str(&evidence).map_err(|_| missing("incidents"))?,
        relay: get(row, 5)?,
        noticed_at: get(row, 6)?,
        position_before: get(row, 7)?,
        position_trusted: get(row, 8)?,
        newest: get(row, 9)?,
        outstanding: get(row, 10)?,
        scheduled: get(row, 11)?,
        replayed: get(row, 12)?,
        duplicates_possible: get(row, 13)?,
        recovered_at: get(row, 14)?,
        cancelled_at: get(row, 15)?,
        waiting: get(row, 16)?,
    })
}
