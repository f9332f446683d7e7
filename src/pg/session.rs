//! One session: a client, the task that does its I/O, and whether it is still fit for use.
//!
//! A session is *busy* from the moment a statement is sent until its last reply is read. Whoever drops the future in
//! between, or runs out of time, leaves it busy, and a busy session is never used again.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use futures_util::future::join3;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::connect::{Connector, Wire};
use super::error::{Answer, PgFault, answer, sent, standby};

/// A parameter with its type, so that no statement needs to be prepared by name.
pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Everything explicitly, whatever the defaults of the role and of the database are, and for this transaction alone, so
/// that nothing is left behind in a session that a pooler hands to others.
///
/// READ COMMITTED: the planner's functions rely on each statement seeing what the one before it waited for, and a look
/// that ran SERIALIZABLE could make a transaction of the application fail. `row_security = off`: rows that a policy would
/// hide raise an error instead of being missing. The time-out: the COMMIT leaves with the statement, so nothing is idle
/// in between, unless the rest was lost together with this host; then the server keeps the locks, and no other relay can
/// have the queue, until it knows that. By default that takes hours.
macro_rules! begin {
    ($access:literal) => {
        concat!(
            "BEGIN ISOLATION LEVEL READ COMMITTED, ",
            $access,
            ", NOT DEFERRABLE; SET LOCAL row_security = off; SET LOCAL idle_in_transaction_session_timeout = '5s'"
        )
    };
}

/// Says what it is, so that a standby serves it.
const BEGIN_READ: &str = begin!("READ ONLY");
pub(super) const BEGIN_WRITE: &str = begin!("READ WRITE");
const COMMIT: &str = "COMMIT";

/// One session. Dropping it closes the connection at once, or gives it back to the pool that it came from.
#[derive(Debug)]
pub struct Session {
    client: Line,
    connector: Connector,
    busy: AtomicBool,
}

/// Whom the client belongs to. Both end the task that does the I/O with the client.
#[derive(Debug)]
enum Line {
    Own(ClientWrapper),
    Pooled(Object),
}

impl Deref for Line {
    type Target = Client;

    fn deref(&self) -> &Client {
        match self {
            Self::Own(client) => client,
            Self::Pooled(client) => client,
        }
    }
}

impl Session {
    /// Opens a session. Each session that ends by itself later on is counted in `lost`.
    pub async fn open(connector: &Connector, lost: Arc<AtomicU64>) -> Result<Self, PgFault> {
        let (client, wire) = Box::pin(connector.connect()).await?;
        Ok(Self::new(client, connector.clone(), attend(wire, lost)))
    }

    /// A session of its own; `io` is aborted with it.
    pub(super) fn new(client: Client, connector: Connector, io: JoinHandle<()>) -> Self {
        Self::over(Line::Own(ClientWrapper::new(client, io)), connector)
    }

    /// A session on loan. Whoever drops it looks first whether it is fit to go back, see [`Session::abandon`].
    pub(super) fn pooled(client: Object, connector: Connector) -> Self {
        Self::over(Line::Pooled(client), connector)
    }

    fn over(client: Line, connector: Connector) -> Self {
        Self { client, connector, busy: AtomicBool::new(false) }
    }

    /// Runs one statement as it is, under the defaults of the role; `name` is for messages.
    ///
    /// After `limit` the session is busy for good, and the error uncertain.
    pub async fn statement(
        &self,
        name: &str,
        sql: &str,
        params: &[Param<'_>],
        limit: Duration,
    ) -> Result<Vec<Row>, PgFault> {
        self.busy.store(true, Ordering::Release);
        let Ok(reply) = timeout(limit, self.client.query_typed(sql, params)).await else {
            return Err(late(name, limit));
        };
        reply.map_err(|error| self.failed(&error, name)).inspect(|_| self.idle())
    }

    /// Runs one statement that only reads, between BEGIN READ ONLY and COMMIT: one round trip.
    pub async fn read(
        &self,
        name: &str,
        sql: &str,
        params: &[Param<'_>],
        limit: Duration,
    ) -> Result<Vec<Row>, PgFault> {
        self.enclosed(BEGIN_READ, name, sql, params, limit).await
    }

    /// Runs one statement between BEGIN and COMMIT, all three sent together: one round trip.
    ///
    /// The error is uncertain unless the server refused the statement or the commit.
    pub async fn transaction(
        &self,
        name: &str,
        sql: &str,
        params: &[Param<'_>],
        limit: Duration,
    ) -> Result<Vec<Row>, PgFault> {
        self.enclosed(BEGIN_WRITE, name, sql, params, limit).await
    }

    async fn enclosed(
        &self,
        begin: &str,
        name: &str,
        sql: &str,
        params: &[Param<'_>],
        limit: Duration,
    ) -> Result<Vec<Row>, PgFault> {
        self.busy.store(true, Ordering::Release);
        // join3 polls in this order, and the first poll of each queues its message: they leave in this order.
        let all = join3(
            self.client.batch_execute(begin),
            self.client.query_typed(sql, params),
            self.client.batch_execute(COMMIT),
        );
        let Ok((begin, rows, commit)) = timeout(limit, all).await else {
            return Err(late(name, limit));
        };
        // A COMMIT that was answered, even with an error, ends the transaction.
        if commit.as_ref().err().is_none_or(|e| matches!(answer(e), Answer::Refused(_))) {
            self.idle();
        }
        match (begin, rows, commit) {
            (Ok(()), Ok(rows), Ok(())) => Ok(rows),
            // A standby takes no BEGIN READ WRITE, and nothing that came after it can have written.
            (Err(error), ..) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => Err(standby(&doing(name))),
            // Without BEGIN the statement committed by itself.
            (Err(error), Ok(_), _) => Err(self.fault(&error, name).uncertain()),
            // COMMIT after a refused statement rolls back, whether or not its reply arrived.
            (_, Err(error), _) | (Ok(()), Ok(_), Err(error)) => Err(self.fault(&error, name)),
        }
    }

    /// Runs a script of several statements by the simple protocol. After `limit` as for [`Session::statement`].
    pub(super) async fn script(&self, name: &str, sql: &str, limit: Duration) -> Result<(), PgFault> {
        self.busy.store(true, Ordering::Release);
        let Ok(reply) = timeout(limit, self.client.batch_execute(sql)).await else {
            return Err(late(name, limit));
        };
        reply.map_err(|error| self.failed(&error, name)).inspect(|()| self.idle())
    }

    /// For callers that read replies as they come.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Where the session leads.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Whether the session has ended, or a statement on it was given up half-way.
    pub fn is_unfit(&self) -> bool {
        self.busy.load(Ordering::Acquire) || self.client.is_closed()
    }

    /// Asks the server to stop what this session still does, then closes it. Does not wait.
    pub(super) fn abandon(self) {
        let Self { client, connector, .. } = self;
        let client = match client {
            Line::Own(client) => client,
            // From here on the pool may open another in its place.
            Line::Pooled(client) => Object::take(client),
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if client.is_closed() {
            return;
        }
        // The session stays open meanwhile: a pooler forgets the request with the client that it belongs to.
        runtime.spawn(async move { connector.cancel(client.cancel_token()).await });
    }

    fn idle(&self) {
        self.busy.store(false, Ordering::Release);
    }

    fn failed(&self, error: &tokio_postgres::Error, name: &str) -> PgFault {
        if matches!(answer(error), Answer::Refused(_)) {
            self.idle();
        }
        self.fault(error, name)
    }

    fn fault(&self, error: &tokio_postgres::Error, name: &str) -> PgFault {
        sent(error, &doing(name), self.connector.setting())
    }
}

fn late(name: &str, limit: Duration) -> PgFault {
    let next = "the server or the network is stalled, or another session holds a lock (pg_locks)";
    PgFault::timeout(&doing(name), limit, next).uncertain()
}

fn doing(name: &str) -> String {
    format!("statement {name}")
}

/// Does the I/O of a session until its end. An end that nobody asked for is counted in `lost`.
pub(super) fn attend(wire: Wire, lost: Arc<AtomicU64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        // The reason reaches whoever waits for a reply; nobody else asks.
        if wire.await.is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    })
}
