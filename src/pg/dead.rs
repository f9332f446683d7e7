//! What operators ask of Postgres about dead rows: list, show, retry, discard.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Param;
use super::outbox::{Outbox, missing, one};
use super::value::{Clamped, get};
use crate::fault::Fault;

/// However many rows: what counts them all reads them all.
const WITHIN: Duration = Duration::from_secs(3600);

/// Which dead rows. A bound that is `None` is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadFilter<'a> {
    /// With one of these task ids.
    pub task_ids: Option<&'a [Uuid]>,
    /// Of this queue.
    pub queue: Option<&'a str>,
    /// Of this task.
    pub task: Option<&'a str>,
    /// That failed with an error of this class.
    pub class: Option<&'a str>,
    /// That failed last at this time or later,
    pub since: Option<Timestamp>,
    /// or earlier.
    pub until: Option<Timestamp>,
}

/// A dead row, without its payload.
#[derive(Debug, Clone, Serialize)]
pub struct DeadRow {
    /// What its worker sees as its id.
    pub task_id: Uuid,
    /// The queue.
    pub queue: String,
    /// The name of its worker's function; empty for a finished message.
    pub task: String,
    /// `too_large`, `malformed`, or what the worker said.
    pub error_class: String,
    /// The reason.
    pub error: String,
    /// How often it failed.
    pub attempts: i32,
    /// The batch that held it then.
    pub batch: Option<i64>,
    /// When it failed first
    pub first_failed_at: Timestamp,
    /// and last.
    pub last_failed_at: Timestamp,
}

/// Dead rows that have queue, task and class of error in common.
#[derive(Debug, Clone, Serialize)]
pub struct DeadGroup {
    /// The queue.
    pub queue: String,
    /// The task.
    pub task: String,
    /// The class of their errors.
    pub error_class: String,
    /// How many.
    pub rows: i64,
    /// When the first of them failed first,
    pub first_failed_at: Timestamp,
    /// and the last of them last.
    pub last_failed_at: Timestamp,
    /// With this error.
    pub error: String,
}

/// Everything that is known of a dead row.
#[derive(Debug, Serialize)]
pub struct DeadDetail {
    /// The row's id in the log.
    pub id: i64,
    /// What is told of every dead row.
    #[serde(flatten)]
    pub row: DeadRow,
    /// Positional arguments, as JSON text.
    pub args: Box<RawValue>,
    /// Keyword arguments.
    pub kwargs: Box<RawValue>,
    /// What goes with the message.
    pub headers: Box<RawValue>,
    /// The finished message, if that is what it is and it is text;
    pub body: Option<String>,
    /// if it is not.
    pub body_base64: Option<String>,
    /// 0 to 9.
    pub priority: Option<i16>,
    /// Not before this time,
    pub deliver_at: Option<Timestamp>,
    /// and not after this one.
    pub expires_at: Option<Timestamp>,
    /// When it was inserted.
    pub created_at: Timestamp,
    /// `outbox_once` proves that its effect happened.
    pub done: bool,
}

/// The dead rows of one queue that a retry or a discard takes.
#[derive(Debug, Clone)]
pub struct DeadChoice {
    /// The queue.
    pub queue: String,
    /// The rows' ids.
    pub ids: Vec<i64>,
    /// How many fit, but are done: `outbox_once` says so,
    pub done: i64,
    /// or were cancelled.
    pub cancelled: i64,
    /// How many more fit than are taken at once.
    pub remaining: i64,
    /// Of rows that were named by their task id: those ids.
    pub task_ids: Vec<Uuid>,
    /// When this was so: what fails later is not taken.
    pub at: Timestamp,
}

/// What became of a retry in one queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeadRetry {
    /// The incident that stands for it; `None`: nothing was retried.
    pub incident: Option<i64>,
    /// How many rows.
    pub rows: i64,
    /// How many were done by then,
    pub done: i64,
    /// or cancelled.
    pub cancelled: i64,
}

impl DeadFilter<'_> {
    fn params(&self) -> Vec<Param<'_>> {
        vec![
            (&self.task_ids, Type::UUID_ARRAY),
            (&self.queue, Type::TEXT),
            (&self.task, Type::TEXT),
            (&self.class, Type::TEXT),
            (&self.since, Type::TIMESTAMPTZ),
            (&self.until, Type::TIMESTAMPTZ),
        ]
    }
}

impl Outbox {
    /// Dead rows, the one that failed last first, at most `limit`.
    pub async fn dead(&self, filter: &DeadFilter<'_>, limit: i64) -> Result<Vec<DeadRow>, Fault> {
        let mut params = filter.params();
        params.push((&limit, Type::INT8));
        let rows = self.database.statement_within(WITHIN, "dead_list", &self.sql.dead_list, &params).await?;
        let told = |row: &Row| {
            Ok(DeadRow {
                task_id: get(row, 0)?,
                queue: get(row, 1)?,
                task: get(row, 2)?,
                error_class: get(row, 3)?,
                error: get(row, 4)?,
                attempts: get(row, 5)?,
                batch: get(row, 6)?,
                first_failed_at: get(row, 7)?,
                last_failed_at: get(row, 8)?,
            })
        };
        rows.iter().map(told).collect()
    }

    /// Dead rows by queue, task and class of error, the most first, at most `limit` groups.
    pub async fn dead_groups(&self, filter: &DeadFilter<'_>, limit: i64) -> Result<Vec<DeadGroup>, Fault> {
        let mut params = filter.params();
        params.push((&limit, Type::INT8));
        let rows = self.database.statement_within(WITHIN, "dead_groups", &self.sql.dead_groups, &params).await?;
        let told = |row: &Row| {
            Ok(DeadGroup {
                queue: get(row, 0)?,
                task: get(row, 1)?,
                error_class: get(row, 2)?,
                rows: get(row, 3)?,
                first_failed_at: get(row, 4)?,
                last_failed_at: get(row, 5)?,
                error: get(row, 6)?,
            })
        };
        rows.iter().map(told).collect()
    }

    /// The dead rows with a task id, newest first: more than one only if a caller used the id twice.
    pub async fn dead_detail(&self, task_id: Uuid) -> Result<Vec<DeadDetail>, Fault> {
        let rows = self.database.statement("dead_show", &self.sql.dead_show, &[(&task_id, Type::UUID)]).await?;
        rows.iter().map(detail).collect()
    }

    /// Which dead rows a retry (or a discard) takes, at most `most`, by queue; changes nothing.
    pub async fn choose_dead(&self, filter: &DeadFilter<'_>, most: i64, retry: bool) -> Result<Vec<DeadChoice>, Fault> {
        let mut params = filter.params();
        params.extend([(&most as _, Type::INT8), (&retry as _, Type::BOOL)]);
        let rows = self.database.statement_within(WITHIN, "dead_chosen", &self.sql.dead_chosen, &params).await?;
        let told = |row: &Row| {
            Ok(DeadChoice {
                queue: get(row, 0)?,
                ids: get(row, 1)?,
                done: get(row, 2)?,
                cancelled: get(row, 3)?,
                remaining: get(row, 4)?,
                task_ids: get(row, 5)?,
                at: get(row, 6)?,
            })
        };
        rows.iter().map(told).collect()
    }

    /// Schedules the chosen rows again, but for those that failed again since, are done, or are not dead any more.
    /// `asked` is JSON that says what the operator asked for. Repeating it after a lost reply changes nothing.
    pub async fn retry_dead(&self, choice: &DeadChoice, by: &str, asked: &str) -> Result<DeadRetry, Fault> {
        let params: [Param<'_>; 5] = [
            (&choice.queue, Type::TEXT),
            (&choice.ids, Type::INT8_ARRAY),
            (&choice.at, Type::TIMESTAMPTZ),
            (&by, Type::TEXT),
            (&asked, Type::TEXT),
        ];
        let rows = self.database.transaction_within(WITHIN, "dead_retry", &self.sql.dead_retry, &params).await?;
        let row = one(&rows, "dead_retry")?;
        Ok(DeadRetry { incident: get(row, 0)?, rows: get(row, 1)?, done: get(row, 2)?, cancelled: get(row, 3)? })
    }

    /// Gives the chosen rows up, but for those that failed again since or are not dead any more; how many that were.
    pub async fn discard_dead(&self, choice: &DeadChoice) -> Result<i64, Fault> {
        let params: [Param<'_>; 3] =
            [(&choice.queue, Type::TEXT), (&choice.ids, Type::INT8_ARRAY), (&choice.at, Type::TIMESTAMPTZ)];
        let rows = self.database.transaction_within(WITHIN, "dead_discard", &self.sql.dead_discard, &params).await?;
        get(one(&rows, "dead_discard")?, 0)
    }
}

fn detail(row: &Row) -> Result<DeadDetail, Fault> {
    let (body, body_base64) = match get::<Option<Vec<u8>>>(row, 7)?.map(String::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(bytes)) => (None, Some(BASE64_STANDARD.encode(bytes.as_bytes()))),
    };
    let json = |column: usize| -> Result<Box<RawValue>, Fault> {
        RawValue::from_string(get(row, column)?).map_err(|_| missing("dead_show"))
    };
    Ok(DeadDetail {
        id: get(row, 0)?,
        row: DeadRow {
            task_id: get(row, 1)?,
            queue: get(row, 2)?,
            task: get(row, 3)?,
            error_class: get(row, 13)?,
            error: get(row, 14)?,
            attempts: get(row, 15)?,
            batch: get(row, 12)?,
            first_failed_at: get(row, 16)?,
            last_failed_at: get(row, 17)?,
        },
        args: json(4)?,
        kwargs: json(5)?,
        headers: json(6)?,
        body,
        body_base64,
        priority: get(row, 8)?,
        deliver_at: get::<Option<Clamped>>(row, 9)?.map(|at| at.0),
        expires_at: get::<Option<Clamped>>(row, 10)?.map(|at| at.0),
        created_at: get::<Clamped>(row, 11)?.0,
        done: get(row, 18)?,
    })
}
