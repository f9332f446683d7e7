//! The relay's database: a small pool of sessions that run single statements.
//!
//! Nothing here relies on session state, so that it works through PgBouncer in transaction mode: statements are typed
//! and unnamed, each stands in an explicit transaction, and no SET outlives it. A session that ran into a time-out, or whose caller went away
//! half-way, is closed and never handed out again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    ClientWrapper, Connect, Hook, HookError, Manager, ManagerConfig, Metrics, Pool, PoolConfig, PoolError, QueueMode,
    RecyclingMethod, Runtime, TimeoutType, Timeouts,
};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Row};

use super::carry::{carried, carry};
use super::connect::Connector;
use super::error::{PgFault, connecting};
use super::session::{self, Param, Session};
use crate::fault::Fault;

/// A session is closed when this old and idle: its backend's caches grow, and a moved DNS name must count one day.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// The check of an idle session does no I/O; this bound only satisfies the rule that everything has one.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Sizes and times of the pool.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// The most sessions at a time.
    pub size: usize,
    /// How long a statement may take, its reply included.
    pub statement_timeout: Duration,
    /// How long to wait for a free session.
    pub wait_timeout: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { size: 8, statement_timeout: Duration::from_secs(30), wait_timeout: Duration::from_secs(10) }
    }
}

/// Called with the name of each statement as it is sent.
pub type OnStatement = Arc<dyn Fn(&'static str) + Send + Sync>;

/// What became of a statement.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// The name of its query.
    pub name: &'static str,
    /// How long it waited for a session of the pool, connecting included; `None`: it has a session of its own.
    pub waited: Option<Duration>,
    /// From sending it to its answer or failure; `None`: it was never sent, for want of a session.
    pub took: Option<Duration>,
    /// Whether it was refused, or its answer did not come.
    pub failed: bool,
}

/// Called with what became of each statement.
pub type OnAnswer = Arc<dyn Fn(Answered) + Send + Sync>;

/// The database. Cheap to clone; all clones share the pool.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    connector: Connector,
    statement_timeout: Duration,
    wait_timeout: Duration,
    lost: Arc<AtomicU64>,
    filtered: Arc<AtomicBool>,
    on_statement: OnStatement,
    on_answer: OnAnswer,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("connector", &self.connector)
            .field("pool", &self.pool.status())
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Makes the pool; the first statement opens the first session.
    pub fn new(connector: Connector, settings: &PoolSettings) -> Result<Self, Fault> {
        let lost = Arc::new(AtomicU64::new(0));
        let create = connector.patience();
        let opener = Opener { connector: connector.clone(), lost: Arc::clone(&lost) };
        // The opener knows the way. The address that the pool keeps for itself stays empty, and so holds no password.
        let checked = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(Config::new(), opener, checked);
        let timeouts =
            Timeouts { wait: Some(settings.wait_timeout), create: Some(create), recycle: Some(RECYCLE_TIMEOUT) };
        let config = PoolConfig { max_size: settings.size.max(1), timeouts, queue_mode: QueueMode::Lifo };
        let pool = Pool::builder(manager)
            .config(config)
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::sync_fn(look_over))
            .build()
            .map_err(|e| Fault::halt("internal", format!("the pool: {e}")))?;
        let (statement_timeout, wait_timeout) = (settings.statement_timeout, settings.wait_timeout);
        let (on_statement, on_answer): (OnStatement, OnAnswer) = (Arc::new(|_| {}), Arc::new(|_| {}));
        let filtered = Arc::default();
        Ok(Self { pool, connector, statement_timeout, wait_timeout, lost, filtered, on_statement, on_answer })
    }

    /// Has `hook` called with the name of every statement, for a metric. It must not block.
    #[must_use]
    pub fn on_statement(self, hook: OnStatement) -> Self {
        Self { on_statement: hook, ..self }
    }

    /// Has `hook` called with what became of every statement, for metrics. It must not block. A statement that its
    /// caller gave up is not told.
    #[must_use]
    pub fn on_answer(self, hook: OnAnswer) -> Self {
        Self { on_answer: hook, ..self }
    }

    /// Runs one statement that only reads, in an explicit READ COMMITTED, READ ONLY transaction, in one round trip.
    pub async fn statement(&self, name: &'static str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, PgFault> {
        self.statement_within(self.statement_timeout, name, sql, params).await
    }

    /// [`Database::statement`] with a time-out of its own.
    pub async fn statement_within(
        &self,
        limit: Duration,
        name: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, PgFault> {
        let (held, waited) = self.held(name).await?;
        self.tell(name, Some(waited), held.session()?.read(name, sql, params, limit)).await
    }

    /// Runs one statement in an explicit READ COMMITTED, READ WRITE transaction, in one round trip.
    ///
    /// The error tells a clean refusal (nothing happened) from an *uncertain* end (the reply of COMMIT was lost).
    pub async fn transaction(&self, name: &'static str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, PgFault> {
        self.transaction_within(self.statement_timeout, name, sql, params).await
    }

    /// [`Database::transaction`] with a time-out of its own.
    pub async fn transaction_within(
        &self,
        limit: Duration,
        name: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, PgFault> {
        let (held, waited) = self.held(name).await?;
        self.tell(name, Some(waited), held.session()?.transaction(name, sql, params, limit)).await
    }

    /// Tells of a statement that this outbox sends on a session of its own, the one that listens.
    pub(super) async fn aside<T>(
        &self,
        name: &'static str,
        sending: impl Future<Output = Result<T, PgFault>>,
    ) -> Result<T, PgFault> {
        self.tell(name, None, sending).await
    }

    /// Whether a statement was refused since this was asked last, because a policy would have hidden rows from it.
    pub(super) fn was_filtered(&self) -> bool {
        self.filtered.swap(false, Ordering::Relaxed)
    }

    async fn tell<T>(
        &self,
        name: &'static str,
        waited: Option<Duration>,
        sending: impl Future<Output = Result<T, PgFault>>,
    ) -> Result<T, PgFault> {
        (self.on_statement)(name);
        let sent = Instant::now();
        let answer = sending.await;
        if answer.as_ref().is_err_and(|fault| fault.fault.reason().class == "row_security") {
            self.filtered.store(true, Ordering::Relaxed);
        }
        (self.on_answer)(Answered { name, waited, took: Some(sent.elapsed()), failed: answer.is_err() });
        answer
    }

    /// A session for a statement, and how long that took.
    async fn held(&self, name: &'static str) -> Result<(Held, Duration), PgFault> {
        let asked = Instant::now();
        let held = self.hold().await;
        let waited = asked.elapsed();
        if held.is_err() {
            (self.on_answer)(Answered { name, waited: Some(waited), took: None, failed: true });
        }
        Ok((held?, waited))
    }

    /// How to reach the same database outside the pool.
    pub fn connector(&self) -> &Connector {
        &self.connector
    }

    /// How many sessions ended by themselves so far: a server that stopped, or a cut network.
    pub fn lost_sessions(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Open sessions and those of them that are idle.
    pub fn sessions(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size, status.available)
    }

    /// Closes idle sessions and refuses new statements; running ones finish.
    pub fn close(&self) {
        self.pool.close();
    }

    async fn hold(&self) -> Result<Held, PgFault> {
        match self.pool.get().await {
            Ok(client) => Ok(Held(Some(Session::pooled(client, self.connector.clone())))),
            Err(PoolError::Backend(error)) => Err(self.not_opened(&error)),
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(PgFault::timeout(
                "waiting for a free database session",
                self.wait_timeout,
                "raise database.pool_size, or look for slow statements",
            )),
            Err(PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)) => Err(PgFault::timeout(
                &self.connecting(),
                self.connector.patience(),
                &format!("check the hosts in {}", self.connector.setting()),
            )),
            Err(other) => Err(PgFault::refused(Fault::halt("closed", format!("the database pool: {other}")))),
        }
    }

    fn not_opened(&self, error: &tokio_postgres::Error) -> PgFault {
        let own_words = || connecting(error, &self.connecting(), self.connector.setting());
        carried(error).cloned().unwrap_or_else(own_words)
    }

    fn connecting(&self) -> String {
        format!("connecting to {}", self.connector.target())
    }
}

/// A session on loan. Goes back to the pool only if nothing is left to read from it.
struct Held(Option<Session>);

impl Held {
    fn session(&self) -> Result<&Session, PgFault> {
        let gone = || PgFault::refused(Fault::halt("internal", "a session was used after its return"));
        self.0.as_ref().ok_or_else(gone)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(session) = self.0.take_if(|session| session.is_unfit()) {
            session.abandon();
        }
    }
}

/// Whether an idle session may be handed out again. A busy one never came back.
fn look_over(client: &mut ClientWrapper, metrics: &Metrics) -> Result<(), HookError> {
    if client.is_closed() {
        // The pool would see this too, and log each of them when a server stops.
        Err(HookError::message("the session has ended"))
    } else if metrics.age() > MAX_AGE {
        Err(HookError::message("the session is old"))
    } else {
        Ok(())
    }
}

/// Opens the pool's sessions.
struct Opener {
    connector: Connector,
    lost: Arc<AtomicU64>,
}

impl Connect for Opener {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        Box::pin(async move {
            match Box::pin(self.connector.connect()).await {
                Ok((client, wire)) => Ok((client, session::attend(wire, Arc::clone(&self.lost)))),
                // The pair is there for the types: it is an error always.
                Err(fault) => carry(fault).await.map(|(client, _)| (client, tokio::spawn(async {}))),
            }
        })
    }
}
