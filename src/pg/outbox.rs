//! What the relay asks of Postgres: one method per statement of `sql/queries`, typed.
//!
//! Every method is one round trip and one transaction; what writes runs in READ COMMITTED, whatever the database's default
//! is: its functions wait for locks and then look again. An error says nothing about whether the statement took effect:
//! the relay treats it as an uncertain event and opens its queues again.

use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::answers::{
    Ask, Cause, Identity, OpenRequest, Opened, Opening, Plan, PlanRequest, QueueWork, ServerFacts, Work,
};
use super::messages::BatchRows;
use super::value::get;
use super::{Database, Listener, Param, PgFault, Schemas, sql};
use crate::fault::Fault;

/// The outbox of one schema of one database.
#[derive(Clone)]
pub struct Outbox {
    pub(super) database: Database,
    pub(super) sql: std::sync::Arc<sql::Queries>,
    pub(super) schemas: Schemas,
}

/// Where a statement of the wake loop runs.
pub enum Session<'a> {
    /// The session that listens: it alone can keep the bell.
    Listening(&'a Listener),
    /// Any connection of the pool.
    Pooled,
}

/// A time span that may be negative, in milliseconds from `now`.
fn instant(now: Instant, ms: i64) -> Option<Instant> {
    let span = Duration::from_millis(ms.unsigned_abs());
    if ms >= 0 { now.checked_add(span) } else { Some(now.checked_sub(span).unwrap_or(now)) }
}

impl Outbox {
    /// The outbox in these schemas.
    pub fn new(database: Database, schemas: &Schemas) -> Self {
        Self { database, sql: std::sync::Arc::new(sql::Queries::new(schemas)), schemas: schemas.clone() }
    }

    /// What there is to do.
    pub async fn work(&self, session: Session<'_>, ask: Ask) -> Result<Work, Fault> {
        let params: [Param<'_>; 4] =
            [(&ask.rows, Type::BOOL), (&ask.discover, Type::BOOL), (&ask.keep, Type::BOOL), (&ask.bell, Type::INT8)];
        let rows = match session {
            Session::Listening(listener) => {
                self.database.aside("work", listener.statement("work", &self.sql.work, &params)).await?
            }
            Session::Pooled => self.database.transaction("work", &self.sql.work, &params).await?,
        };
        let now = Instant::now();
        let mut work = Work::default();
        for row in &rows {
            let Some(queue) = get::<Option<String>>(row, 0)? else {
                work.keeper = get(row, 9)?;
                work.armed = get(row, 10)?;
                work.notify_usage = get(row, 11)?;
                continue;
            };
            let waiting = get::<Option<i64>>(row, 7)?.unwrap_or(0).max(0).unsigned_abs();
            work.queues.push(QueueWork {
                queue,
                newest: get(row, 1)?,
                reached: get(row, 2)?,
                owner: get(row, 3)?,
                paused: get(row, 4)?,
                resumes: get(row, 5)?,
                rows: get(row, 6)?,
                waiting: Duration::from_millis(waiting),
                due: get::<Option<i64>>(row, 8)?.and_then(|ms| instant(now, ms)),
                abandoned: get::<Option<bool>>(row, 12)?.unwrap_or(false),
            });
        }
        Ok(work)
    }

    /// Says on the listening session that the relay is there, for as long as that session lasts.
    pub async fn sign_in(&self, listener: &Listener, relay: &str) -> Result<(), Fault> {
        let params: [Param<'_>; 1] = [(&relay, Type::TEXT)];
        self.database.aside("sign_in", listener.statement("sign_in", &self.sql.sign_in, &params)).await?;
        Ok(())
    }

    /// Decides the next batch and commits it to the ledger.
    pub async fn plan(&self, ask: PlanRequest<'_>) -> Result<Plan, Fault> {
        let params: [Param<'_>; 7] = [
            (&ask.queue, Type::TEXT),
            (&ask.tenure, Type::UUID),
            (&ask.last, Type::INT8),
            (&ask.kind, Type::TEXT),
            (&ask.relay, Type::TEXT),
            (&ask.max_rows, Type::INT4),
            (&ask.max_bytes, Type::INT8),
        ];
        let rows = match self.database.transaction("plan", &self.sql.plan, &params).await {
            // Nothing happened: the server met a text that it cannot send, and rolled back.
            Err(fault) if cannot_be_sent(&fault) => {
                self.database.transaction("plan_readable", &self.sql.plan_readable, &params).await?
            }
            answer => answer?,
        };
        let status: String = rows.first().map(|row| get(row, 0)).transpose()?.unwrap_or_default();
        match status.as_str() {
            "planned" | "more" => {
                let more = status == "more";
                let rows = BatchRows::new(rows)?.ok_or_else(|| missing("plan"))?;
                Ok(Plan::Batch { rows, more })
            }
            "idle" => Ok(Plan::Idle),
            "busy" => Ok(Plan::Busy),
            "paused" => Ok(Plan::Paused),
            "open" => Ok(Plan::Open),
            _ => Err(missing("plan")),
        }
    }

    /// The messages of a batch of the ledger, again; `None` if the ledger does not hold it.
    pub async fn read(&self, queue: &str, batch: i64) -> Result<Option<BatchRows>, Fault> {
        let params: [Param<'_>; 2] = [(&queue, Type::TEXT), (&batch, Type::INT8)];
        let rows = match self.database.statement("read", &self.sql.read, &params).await {
            Err(fault) if cannot_be_sent(&fault) => {
                self.database.statement("read_readable", &self.sql.read_readable, &params).await?
            }
            answer => answer?,
        };
        BatchRows::new(rows)
    }

    /// Begins a tenure; durable when this returns.
    pub async fn open(&self, ask: OpenRequest<'_>) -> Result<Opening, Fault> {
        let seen = ask.seen.map(|marker| marker.tenure);
        let position = ask.seen.map(|marker| marker.position);
        let rows = self
            .database
            .transaction(
                "open",
                &self.sql.open,
                &[
                    (&ask.queue, Type::TEXT),
                    (&ask.token, Type::UUID),
                    (&ask.destination, Type::TEXT),
                    (&ask.incarnation, Type::TEXT),
                    (&seen, Type::UUID),
                    (&position, Type::INT8),
                    (&ask.relay, Type::TEXT),
                    (&ask.horizon.as_secs_f64(), Type::FLOAT8),
                    (&ask.confirm, Type::TEXT),
                    (&ask.looked, Type::INT8),
                ],
            )
            .await?;
        let row = one(&rows, "open")?;
        match get::<&str>(row, 0)? {
            "opened" => Ok(Opening::Opened(Opened {
                trusted: get(row, 1)?,
                done: get(row, 2)?,
                newest: get(row, 3)?,
                cause: Cause::from_name(get(row, 4)?).ok_or_else(|| missing("open"))?,
                scheduled: get(row, 5)?,
                certified: get(row, 6)?,
                incidents: get(row, 7)?,
                facts: get(row, 9)?,
                duplicates: get(row, 10)?,
            })),
            "again" => Ok(Opening::Again(get(row, 8)?)),
            "foreign" => Ok(Opening::Foreign(get(row, 4)?)),
            "paused" => Ok(Opening::Paused),
            "moved" => Ok(Opening::Moved),
            "suspended" => Ok(Opening::Suspended),
            _ => Err(missing("open")),
        }
    }

    /// Copies how far the markers have come into Postgres, where something changed.
    pub async fn mark(&self, queues: &[&str], tenures: &[Uuid], positions: &[i64]) -> Result<(), Fault> {
        let params: [Param<'_>; 3] =
            [(&queues, Type::TEXT_ARRAY), (&tenures, Type::UUID_ARRAY), (&positions, Type::INT8_ARRAY)];
        self.database.transaction("mark", &self.sql.mark, &params).await.map(drop).map_err(Fault::from)
    }

    /// Puts full copies of rows that cannot be published into `outbox_dead`; repeating it changes nothing.
    pub async fn bury(&self, queue: &str, batch: i64, rejects: &[(i64, Fault)]) -> Result<(), Fault> {
        let ids: Vec<i64> = rejects.iter().map(|(id, _)| *id).collect();
        let classes: Vec<&str> = rejects.iter().map(|(_, fault)| fault.reason().class).collect();
        let errors: Vec<&str> = rejects.iter().map(|(_, fault)| fault.reason().message.as_str()).collect();
        let params: [Param<'_>; 5] = [
            (&queue, Type::TEXT),
            (&batch, Type::INT8),
            (&ids, Type::INT8_ARRAY),
            (&classes, Type::TEXT_ARRAY),
            (&errors, Type::TEXT_ARRAY),
        ];
        self.database.transaction("bury", &self.sql.bury, &params).await.map(drop).map_err(Fault::from)
    }

    /// Whether a transaction is open that may have inserted while the bell said "awake".
    pub async fn bell_waits(&self, listener: &Listener) -> Result<bool, Fault> {
        let rows =
            self.database.aside("bell_waits", listener.statement("bell_waits", &self.sql.bell_waits, &[])).await?;
        get(one(&rows, "bell_waits")?, 0)
    }

    /// Gives up the affinity of a relay that stops in good order.
    pub async fn release(&self, relay: &str) -> Result<(), Fault> {
        self.database
            .transaction("release", &self.sql.release, &[(&relay, Type::TEXT)])
            .await
            .map(drop)
            .map_err(Fault::from)
    }

    /// Records why this relay stopped a queue by itself; `None` clears it.
    pub async fn stopped(&self, queue: &str, reason: Option<&str>, relay: &str) -> Result<(), Fault> {
        let params: [Param<'_>; 3] = [(&queue, Type::TEXT), (&reason, Type::TEXT), (&relay, Type::TEXT)];
        self.database.transaction("stopped", &self.sql.stopped, &params).await.map(drop).map_err(Fault::from)
    }

    /// Who this database is, and whether its ids are its own. Fails if rows are hidden.
    pub async fn identity(&self) -> Result<Identity, Fault> {
        self.all_is_seen().await?;
        let rows = self.database.statement("identity", &self.sql.identity, &[]).await?;
        let row = one(&rows, "identity")?;
        let installation: Option<Uuid> = get(row, 1)?;
        Ok(Identity { wrong: get(row, 0)?, installation: installation.unwrap_or_default(), max_prepared: get(row, 2)? })
    }

    /// What a relay depends on, as the server and the user are. Needs no outbox.
    pub async fn doctor(&self, schemas: &Schemas) -> Result<ServerFacts, Fault> {
        let params: [Param<'_>; 2] = [(&schemas.app, Type::TEXT), (&schemas.internal, Type::TEXT)];
        let rows = self.database.statement("doctor", &self.sql.doctor, &params).await?;
        let row = one(&rows, "doctor")?;
        Ok(ServerFacts {
            user: get(row, 0)?,
            version: get(row, 1)?,
            in_recovery: get(row, 2)?,
            tls: get(row, 3)?,
            clock: get(row, 4)?,
            functions: get(row, 5)?,
            tables: get(row, 6)?,
            notify_usage: get(row, 7)?,
            creators: get(row, 8)?,
            encoding: get(row, 9)?,
        })
    }

    /// Every queue, by name, whether or not a relay has seen it.
    pub async fn known(&self) -> Result<Vec<String>, Fault> {
        let rows = self.database.statement("known", &self.sql.known, &[]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }

    /// Lets producers move on to the next segment if it is time; `moved`, `full` or nothing.
    pub async fn rotate(&self, min_age: Duration, size: i64) -> Result<Option<String>, Fault> {
        let params: [Param<'_>; 2] = [(&min_age.as_secs_f64(), Type::FLOAT8), (&size, Type::INT8)];
        let rows = self.database.transaction("rotate", &self.sql.rotate, &params).await?;
        get(one(&rows, "rotate")?, 0)
    }

    /// How large the log is on disk, its indexes included.
    pub async fn log_bytes(&self) -> Result<i64, Fault> {
        let rows = self.database.statement("log_bytes", &self.sql.log_bytes, &[]).await?;
        get(one(&rows, "log_bytes")?, 0)
    }

    /// Sessions of the pool, and those of them that are idle.
    pub fn sessions(&self) -> (usize, usize) {
        self.database.sessions()
    }

    /// The sealed segments that hold rows, oldest first.
    pub async fn truncatable(&self) -> Result<Vec<i32>, Fault> {
        let rows = self.database.statement("truncatable", &self.sql.truncatable, &[]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }

    /// Empties a sealed segment if nobody needs it: `truncated`, `moved` or `needed`.
    pub async fn truncate(&self, segment: i32, min_age: Duration, max_age: Duration) -> Result<String, Fault> {
        let (min, max) = (min_age.as_secs_f64(), max_age.as_secs_f64());
        let params: [Param<'_>; 3] = [(&segment, Type::INT4), (&min, Type::FLOAT8), (&max, Type::FLOAT8)];
        let rows = self.database.transaction("truncate", &self.sql.truncate, &params).await?;
        get(one(&rows, "truncate")?, 0)
    }

    /// Deletes what nobody needs any more, at most `slice` rows of each kind; how many went.
    pub async fn trim(&self, min_age: Duration, max_age: Duration, slice: i32) -> Result<i64, Fault> {
        let (min, max) = (min_age.as_secs_f64(), max_age.as_secs_f64());
        let params: [Param<'_>; 3] = [(&min, Type::FLOAT8), (&max, Type::FLOAT8), (&slice, Type::INT4)];
        let rows = self.database.transaction("trim", &self.sql.trim, &params).await?;
        get(one(&rows, "trim")?, 0)
    }

    /// This moment, to compare with later.
    pub async fn snapshot(&self) -> Result<String, Fault> {
        let rows = self.database.statement("snapshot", &self.sql.snapshot, &[]).await?;
        get(one(&rows, "snapshot")?, 0)
    }

    /// The queues that hold a row from before `snapshot` that is not known to be dispatched.
    pub async fn undispatched(&self, snapshot: &str) -> Result<Vec<String>, Fault> {
        let rows = self.database.statement("undispatched", &self.sql.undispatched, &[(&snapshot, Type::TEXT)]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }
}

/// Whether a text of the answer has no form in UTF-8: as in a database with the encoding `SQL_ASCII`.
fn cannot_be_sent(fault: &PgFault) -> bool {
    fault.is_code("22021") || fault.is_code("22P05")
}

pub(super) fn one<'a>(rows: &'a [Row], statement: &str) -> Result<&'a Row, Fault> {
    rows.first().ok_or_else(|| missing(statement))
}

pub(super) fn missing(statement: &str) -> Fault {
    Fault::retry(
        "protocol",
        format!(
            "the statement `{statement}` gave no answer; is the schema of another version? run `outboxd migrate check`"
        ),
    )
}
