//! What relays say of themselves in Postgres, and what operators ask and tell there about queues.

use std::time::Duration;

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Param;
use super::answers::{QueueGauge, Relays};
use super::outbox::{Outbox, one};
use super::value::get;
use crate::fault::Fault;

/// What a relay does about one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The queue.
    pub queue: String,
    /// A state of the metric `outboxd_queue_state`; `None`: nothing any more.
    pub state: Option<&'static str>,
    /// Why it waits.
    pub reason: Option<String>,
}

/// What of a queue that was never published is to be discarded, or moved.
#[derive(Debug, Clone, Copy)]
pub struct Purge<'a> {
    /// The queue.
    pub queue: &'a str,
    /// Publish it there instead; `None`: discard it.
    pub to: Option<&'a str>,
    /// Rows that wait for a time, too.
    pub held: bool,
    /// Never send again what was published, too.
    pub published: bool,
    /// Why, for whoever looks later.
    pub reason: Option<&'a str>,
    /// Who asks.
    pub by: &'a str,
    /// Do it; otherwise only count.
    pub start: bool,
}

/// What a purge or a move came to, in rows.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Purged {
    /// The incident that records it.
    pub incident: Option<i64>,
    /// Never planned,
    pub pending: i64,
    /// waiting for a time,
    pub held: i64,
    /// scheduled again after a loss,
    pub again: i64,
    /// published, or on their way, and not known to be consumed.
    pub published: i64,
}

impl Outbox {
    /// Writes down what this relay does about queues from now on.
    pub async fn say(&self, relay: &str, said: &[Said]) -> Result<(), Fault> {
        let queues: Vec<&str> = said.iter().map(|said| said.queue.as_str()).collect();
        let states: Vec<Option<&str>> = said.iter().map(|said| said.state).collect();
        let reasons: Vec<Option<&str>> = said.iter().map(|said| said.reason.as_deref()).collect();
        let params: [Param<'_>; 4] = [
            (&relay, Type::TEXT),
            (&queues, Type::TEXT_ARRAY),
            (&states, Type::TEXT_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
        ];
        self.database.transaction("say", &self.sql.say, &params).await.map(drop).map_err(Fault::from)
    }

    /// Whether relays are alive.
    pub async fn relays(&self) -> Result<Relays, Fault> {
        let rows = self.database.statement("relays", &self.sql.relays, &[]).await?;
        let row = one(&rows, "relays")?;
        Ok(Relays { alive: get(row, 0)?, polls: get(row, 1)?, last_ms: get(row, 2)? })
    }

    /// Numbers of every queue, by name.
    pub async fn gauge(&self) -> Result<Vec<QueueGauge>, Fault> {
        let rows = self.database.statement("gauge", &self.sql.gauge, &[]).await?;
        rows.iter().map(QueueGauge::from_row).collect()
    }

    /// Stops a queue; `false`: there is no such queue.
    pub async fn pause(&self, queue: &str, reason: Option<&str>) -> Result<bool, Fault> {
        let params: [Param<'_>; 2] = [(&queue, Type::TEXT), (&reason, Type::TEXT)];
        let rows = self.database.transaction("pause", &self.sql.pause, &params).await?;
        get(one(&rows, "pause")?, 0)
    }

    /// Lets a queue go on; `false`: there is no such queue.
    pub async fn resume(&self, queue: &str) -> Result<bool, Fault> {
        let rows = self.database.transaction("resume", &self.sql.resume, &[(&queue, Type::TEXT)]).await?;
        get(one(&rows, "resume")?, 0)
    }

    /// Lets every queue go on that a relay stopped; their names.
    pub async fn resume_stopped(&self) -> Result<Vec<String>, Fault> {
        let rows = self.database.transaction("resume_stopped", &self.sql.resume_stopped, &[]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }

    /// Counts or discards what of a queue was never published, or moves it; `None`: there is no such queue. As long as it takes.
    pub async fn purge(&self, ask: Purge<'_>) -> Result<Option<Purged>, Fault> {
        let params: [Param<'_>; 7] = [
            (&ask.queue, Type::TEXT),
            (&ask.to, Type::TEXT),
            (&ask.held, Type::BOOL),
            (&ask.published, Type::BOOL),
            (&ask.reason, Type::TEXT),
            (&ask.by, Type::TEXT),
            (&ask.start, Type::BOOL),
        ];
        let within = Duration::from_secs(3600);
        let rows = self.database.transaction_within(within, "purge", &self.sql.purge, &params).await?;
        let read = |row: &Row| -> Result<Purged, Fault> {
            Ok(Purged {
                incident: get(row, 0)?,
                pending: get(row, 1)?,
                held: get(row, 2)?,
                again: get(row, 3)?,
                published: get(row, 4)?,
            })
        };
        rows.first().map(read).transpose()
    }

    /// Takes back that there is such a queue: its status, and why. As `outbox_forget` says.
    pub async fn forget(&self, queue: &str, finish: bool) -> Result<(String, Option<String>), Fault> {
        let params: [Param<'_>; 2] = [(&queue, Type::TEXT), (&finish, Type::BOOL)];
        let rows = self.database.transaction("forget", &self.sql.forget, &params).await?;
        let row = one(&rows, "forget")?;
        Ok((get(row, 0)?, get(row, 1)?))
    }

    /// Decides where a queue starts at a new destination: the ledger number, or `None` if there is no such queue.
    pub async fn relocate(&self, queue: &str, resend: bool) -> Result<Option<i64>, Fault> {
        let params: [Param<'_>; 2] = [(&queue, Type::TEXT), (&resend, Type::BOOL)];
        let rows = self.database.transaction("move", &self.sql.relocate, &params).await?;
        Ok(rows.first().map(|row| get(row, 0)).transpose()?.flatten())
    }
}

impl QueueGauge {
    /// From an answer of `gauge`.
    fn from_row(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            queue: get(row, 0)?,
            pending: get(row, 1)?,
            estimated: get(row, 2)?,
            oldest_ms: get(row, 3)?,
            held: get(row, 4)?,
            dead: get(row, 5)?,
            newest: get(row, 6)?,
            reached: get(row, 7)?,
            paused: get(row, 8)?,
            reason: get(row, 9)?,
            stopped_reason: get(row, 10)?,
            stopped_by: get(row, 11)?,
            stopped_at: get(row, 12)?,
            relay: get(row, 13)?,
            consumed: get(row, 14)?,
            outstanding: get(row, 15)?,
            confirmed_at: get(row, 16)?,
            incidents: get(row, 17)?,
            last_incident: get(row, 18)?,
            unconsumed: get(row, 19)?,
            lives: get(row, 20)?,
            state: get(row, 21)?,
            why: get(row, 22)?,
            since: get(row, 23)?,
            seen: get(row, 24)?,
        })
    }
}
