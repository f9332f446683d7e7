//! Questions to the outbox and its answers: plain values, one per statement.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::messages::BatchRows;
use crate::batch::Marker;

/// What one call of [`Outbox::work`](super::Outbox::work) asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// Whether rows wait in the log, by the reader's three ranges.
    pub rows: bool,
    /// Whether the log names queues that nobody knows.
    pub discover: bool,
    /// Try to become the keeper of the bell.
    pub keep: bool,
    /// For how many seconds commits shall ring; 0: not at all. `None` leaves the bell alone.
    pub bell: Option<i64>,
}

/// The answer to [`Outbox::doctor`](super::Outbox::doctor).
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// Who asks.
    pub user: String,
    /// The version, as the server tells it.
    pub version: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// Whether this connection is encrypted.
    pub tls: bool,
    /// Its clock, in seconds since 1970.
    pub clock: f64,
    /// Functions of the outbox that the user may not call.
    pub functions: Vec<String>,
    /// Tables of the outbox that the user may not read and write.
    pub tables: Vec<String>,
    /// How full the notification queue is, 0 to 1.
    pub notify_usage: f64,
    /// Who could create in the schema of the machinery beside its owner, and so take over what runs as that owner.
    pub creators: Vec<String>,
    /// The encoding of the database.
    pub encoding: String,
}

/// A table of the outbox with row level security.
#[derive(Debug, Clone)]
pub struct Filtered {
    /// The table.
    pub table: String,
    /// Who asks.
    pub user: String,
    /// Whether a policy may hide rows from them.
    pub hidden: bool,
    /// Whether one may hide rows from the functions that run as the owner.
    pub hidden_from_owner: bool,
}

/// The answer about one queue.
#[derive(Debug, Clone)]
pub struct QueueWork {
    /// Its name.
    pub queue: String,
    /// The newest ledger number; `None` before the queue was ever opened.
    pub newest: Option<i64>,
    /// The newest checkpoint's position.
    pub reached: Option<i64>,
    /// The relay of its current tenure.
    pub owner: Option<String>,
    /// Whether an operator paused it.
    pub paused: bool,
    /// How often an operator resumed it.
    pub resumes: i32,
    /// Whether rows wait; `None` if it was not asked.
    pub rows: Option<bool>,
    /// For how long one of them has waited.
    pub waiting: Duration,
    /// When the next held row is due.
    pub due: Option<Instant>,
    /// Whether something in Redis is to be watched, and no living relay does.
    pub abandoned: bool,
}

/// The answer to [`Outbox::work`](super::Outbox::work).
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// By name.
    pub queues: Vec<QueueWork>,
    /// Whether this call became the keeper of the bell.
    pub keeper: bool,
    /// Whether a commit would ring now.
    pub armed: bool,
    /// How full the server's notification queue is, 0 to 1.
    pub notify_usage: f64,
}

/// The answer to [`Outbox::plan`](super::Outbox::plan).
#[derive(Debug)]
pub enum Plan {
    /// A batch is in the ledger; `more`: its tick has rows left.
    Batch {
        /// The batch.
        rows: BatchRows,
        /// Plan again at once.
        more: bool,
    },
    /// Nothing to plan.
    Idle,
    /// Another relay holds the queue at this moment.
    Busy,
    /// An operator paused the queue.
    Paused,
    /// The ledger is not where this relay believes it to be.
    Open,
}

/// What to plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The tenure under which it was opened.
    pub tenure: Uuid,
    /// The newest ledger number that this relay knows.
    pub last: i64,
    /// `log` or `ids`.
    pub kind: &'a str,
    /// This relay.
    pub relay: &'a str,
    /// At most so many rows.
    pub max_rows: i32,
    /// At most so many bytes (a single row always fits).
    pub max_bytes: i64,
}

/// What to open.
#[derive(Debug, Clone, Copy)]
pub struct OpenRequest<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The new tenure.
    pub token: Uuid,
    /// Server, DB and key, without credentials.
    pub destination: &'a str,
    /// Run id and replication id of the dataset that was observed.
    pub incarnation: &'a str,
    /// The marker that was observed.
    pub seen: Option<Marker>,
    /// This relay.
    pub relay: &'a str,
    /// After a loss, what was dispatched longer ago is not sent again where consumption is not tracked.
    pub horizon: Duration,
    /// `observe`, `receipt` or `none`.
    pub confirm: &'a str,
    /// The number of the newest checkpoint as it was known before the marker was observed, if it was asked for.
    pub looked: Option<i64>,
}

/// The answer to [`Outbox::open`](super::Outbox::open).
#[derive(Debug, Clone)]
pub enum Opening {
    /// The tenure is durable.
    Opened(Opened),
    /// A checkpoint of this number says more than the marker does, and may be younger than the observation; nothing was
    /// written. Observe anew.
    Again(Option<i64>),
    /// The stored transaction ids are another database's, which the sentence says; nothing was written.
    Foreign(String),
    /// An operator paused the queue; nothing was written.
    Paused,
    /// Again and again the marker was one that this database never wrote: the queue is paused now.
    Suspended,
    /// The destination is new and nobody has decided where it starts; nothing was written.
    Moved,
}

/// A tenure that Postgres knows.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What of the observed marker is believed.
    pub trusted: i64,
    /// Batches at or below need no messages.
    pub done: i64,
    /// The newest ledger number.
    pub newest: i64,
    /// Why `trusted` is what it is.
    pub cause: Cause,
    /// Outstanding rows that were scheduled again.
    pub scheduled: i64,
    /// Whether absence counts as consumption; if not, a boundary is to be settled first.
    pub certified: bool,
    /// How many rows may be consumed twice, if this opening noticed a loss.
    pub duplicates: i64,
    /// The queue's incidents that are not over.
    pub incidents: i32,
    /// What was last seen of Redis beside the messages, and how many were pushed between that and `trusted`, as JSON.
    pub facts: Option<String>,
}

/// Why a marker is trusted as far as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The queue was never opened before.
    First,
    /// The marker stands where Postgres believed it to, or further.
    Kept,
    /// The marker stands below a position that it had reached.
    RolledBack,
    /// There is no marker where there was one.
    Missing,
    /// The marker is none that this database wrote.
    Unknown,
    /// The queue has a new destination, and begins there at the tip or where an operator decided.
    Adopted,
}

impl Cause {
    /// As `outbox_open` spells it, in logs and metrics too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Kept => "kept",
            Self::RolledBack => "rolled_back",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Adopted => "adopted",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let all = [Self::First, Self::Kept, Self::RolledBack, Self::Missing, Self::Unknown, Self::Adopted];
        all.into_iter().find(|cause| cause.name() == name)
    }

    /// Whether Redis has lost something.
    pub const fn is_loss(self) -> bool {
        matches!(self, Self::RolledBack | Self::Missing | Self::Unknown)
    }
}

/// Who this database is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// What is wrong with its transaction ids or row ids, in a sentence.
    pub wrong: Option<String>,
    /// Part of every marker's field.
    pub installation: Uuid,
    /// Above zero, NOTIFY would make PREPARE TRANSACTION fail.
    pub max_prepared: i64,
}

/// Numbers of one queue for operators.
#[derive(Debug, Clone, serde::Serialize)]
pub struct QueueGauge {
    /// Its name.
    pub queue: String,
    /// Rows that are not dispatched, held rows excluded.
    pub pending: i64,
    /// Whether `pending` is an estimate (above 10,000).
    pub estimated: bool,
    /// The age of the oldest of them, in milliseconds.
    pub oldest_ms: Option<i64>,
    /// Rows that wait for a time.
    pub held: i64,
    /// Rows that cannot be published or were given up.
    pub dead: i64,
    /// The newest ledger number.
    pub newest: Option<i64>,
    /// The newest checkpoint's position.
    pub reached: Option<i64>,
    /// Whether an operator paused it,
    pub paused: bool,
    /// and why.
    pub reason: Option<String>,
    /// Why a relay stopped it by itself,
    pub stopped_reason: Option<String>,
    /// which one,
    pub stopped_by: Option<String>,
    /// and when.
    pub stopped_at: Option<Timestamp>,
    /// The relay of the current tenure; `None` if nobody holds the queue.
    pub relay: Option<String>,
    /// The batch at or below which every row is consumed, but for the outstanding ones; `None` if that is not tracked.
    pub consumed: Option<i64>,
    /// How many of those are outstanding,
    pub outstanding: Option<i32>,
    /// and when that was found out.
    pub confirmed_at: Option<Timestamp>,
    /// Incidents that are not over.
    pub incidents: i64,
    /// When a loss was noticed last, as long as its incident is kept; operators' replays and repairs do not count.
    pub last_incident: Option<Timestamp>,
    /// Rows that are dispatched and not known to be consumed; `None` if that is not tracked.
    pub unconsumed: Option<i64>,
    /// Whether `relay` lives; `None` if nobody can tell.
    pub lives: Option<bool>,
    /// What is done about the queue: a state of the metric `outboxd_queue_state`, or `new` (no relay has seen it), or
    /// `no_relay` (none lives),
    pub state: String,
    /// why,
    pub why: Option<String>,
    /// and since when.
    pub since: Option<Timestamp>,
    /// Whether a relay has seen it.
    pub seen: bool,
}

/// What Postgres knows of relays.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Relays {
    /// How many have a session that listens at this moment.
    pub alive: i64,
    /// Whether there may be one behind a pooler, of which nobody can tell whether it lives.
    pub polls: bool,
    /// For how long none of them has written anything, in milliseconds; `None`: none ever did.
    pub last_ms: Option<i64>,
}

impl Relays {
    /// Whether it is certain that no relay lives.
    pub const fn none_lives(&self) -> bool {
        self.alive == 0 && !self.polls
    }
}
