//! Brings a database's schema up to date, or says what is missing.
//!
//! One transaction per run, under a lock: it happens as a whole or not at all, and any number of runs at once end in
//! success. Needs neither superuser nor CREATEROLE: the right to create in one schema is enough.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::types::Type;
use tokio_postgres::{Row, SimpleQueryMessage};

pub use super::compare::{Standing, Step, Why};

use super::compare::{Applied, compare};
use super::connect::Connector;
use super::error::PgFault;
use super::lex;
use super::schema::{File, GRANTS, files};
use super::script::{self, RELEASE, identifier};
use super::session::{Param, Session};
use crate::fault::Fault;

/// The oldest server that has everything the SQL uses.
const OLDEST_SERVER: i32 = 140_000;
/// How long a statement of a migration waits for a lock on a table. Whoever comes after a waiting statement waits
/// too, producers included, so it gives up early and the whole run is tried again.
const TABLE_LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often a run is tried.
const ATTEMPTS: u32 = 5;
/// How long a look at the catalogue may take, and so may the begin and the end of a transaction.
const LOOK: Duration = Duration::from_secs(30);

const BEGIN_LOOK: &str = include_str!("../../sql/migrate/look.sql");

/// A migration that did not happen. Nothing was changed, unless the fault is uncertain.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database did not let us in.
    #[error("{0}")]
    Unreachable(PgFault),
    /// The session failed on the way.
    #[error("{0}")]
    Database(PgFault),
    /// It would be wrong, or somebody holds a lock. The sentence names the next step.
    #[error("{0}")]
    Refused(String),
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was applied, in order; empty if nothing was to do.
    pub steps: Vec<Step>,
    /// How the schema stands now.
    pub standing: Standing,
    /// How long it took.
    pub took: Duration,
}

impl From<MigrateError> for Fault {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Unreachable(fault) | MigrateError::Database(fault) => fault.into(),
            MigrateError::Refused(message) => Self::halt("schema", message),
        }
    }
}

/// How the schema stands to this program. Changes nothing and takes no lock.
pub async fn plan(connector: &Connector, schema: &str) -> Result<Standing, MigrateError> {
    let session = open(connector).await?;
    Ok(glance(&session, schema).await?.standing)
}

/// What a relay asks before it starts: current, or made by a later release of the same series.
///
/// The error is a [`Fault::Halt`] that names the command to run, or whatever kept us from looking.
pub async fn check(connector: &Connector, schema: &str) -> Result<(), Fault> {
    match plan(connector, schema).await {
        Ok(standing) if fits(&standing) => Ok(()),
        Ok(standing) => Err(Fault::halt("schema", sum_up(&standing, schema))),
        Err(error) => Err(error.into()),
    }
}

/// What is wrong, in one line for a log.
fn sum_up(standing: &Standing, schema: &str) -> String {
    let all = match standing {
        Standing::Behind(steps) => steps.len() >= files().len() && steps.iter().all(|step| step.why == Why::New),
        _ => false,
    };
    if all {
        return format!(
            "the schema {schema} holds no outbox: run `outboxd migrate up`, or start with `outboxd run --migrate`"
        );
    }
    let mut sentences = describe(standing, schema);
    let more = sentences.len().saturating_sub(2);
    sentences.truncate(2);
    if more > 0 {
        sentences.push(format!("{more} more of the kind, see `outboxd migrate check`"));
    }
    sentences.join("; ")
}

/// Whether a relay of this release can work with the schema.
pub fn fits(standing: &Standing) -> bool {
    matches!(standing, Standing::Current | Standing::Ahead { compatible: true, .. })
}

/// What is wrong, a sentence each; empty if nothing is.
pub fn describe(standing: &Standing, schema: &str) -> Vec<String> {
    let up = "run `outboxd migrate up`";
    match standing {
        Standing::Current => vec![],
        Standing::Behind(steps) => steps
            .iter()
            .map(|step| match &step.why {
                Why::New => format!("sql/{} is not applied to the schema {schema}: {up}", step.name),
                Why::Changed => format!("sql/{} has changed since it was applied to the schema {schema}: {up}", step.name),
                Why::Gone(what) => format!("{} is missing in the schema {schema}: {up}", what.join(", ")),
                Why::Again => format!("sql/{} is to be applied again after the others: {up}", step.name),
                Why::Removed => format!("sql/{} is of an earlier release: {up}", step.name),
            })
            .collect(),
        Standing::Ahead { release, compatible: true } => {
            vec![format!("the schema {schema} was made by outboxd {release}, which this program ({RELEASE}) can work with")]
        }
        Standing::Ahead { release, .. } => {
            vec![format!("the schema {schema} was made by outboxd {release}, which this program ({RELEASE}) cannot work with: run that release")]
        }
        Standing::Edited(names) => names
            .iter()
            .map(|n| format!("sql/{n} is not the text that was applied to the schema {schema}: put the released file back and write a new migration"))
            .collect(),
        Standing::Foreign(names) => names
            .iter()
            .map(|n| format!("the schema {schema} has sql/{n}, which no release up to {RELEASE} has: run the program that applied it"))
            .collect(),
    }
}

/// Brings the schema up to date. `lock_wait` bounds the wait for another run.
pub async fn up(connector: &Connector, schema: &str, lock_wait: Duration) -> Result<Report, MigrateError> {
    let begun = Instant::now();
    let mut attempt = 1;
    loop {
        let session = open(connector).await?;
        // A look without the lock first: a run that has nothing to do needs no rights and waits for nobody.
        let (steps, standing) = match glance(&session, schema).await?.standing {
            Standing::Behind(_) => match Box::pin(run(&session, schema, lock_wait)).await {
                Err(Stop::Locked(_)) if attempt < ATTEMPTS => {
                    attempt += 1;
                    continue;
                }
                Err(Stop::Locked(message)) => return Err(MigrateError::Refused(message)),
                Err(Stop::Error(error)) => return Err(error),
                Ok(done) => done,
            },
            other => (vec![], other),
        };
        if !fits(&standing) {
            return Err(MigrateError::Refused(describe(&standing, schema).join("; ")));
        }
        return Ok(Report { steps, standing, took: begun.elapsed() });
    }
}

async fn open(connector: &Connector) -> Result<Session, MigrateError> {
    Session::open(connector, Arc::new(AtomicU64::new(0))).await.map_err(MigrateError::Unreachable)
}

/// What was found in the database.
struct Found {
    standing: Standing,
    user: String,
    owner: Option<String>,
}

/// [`look`] in a transaction of its own: only inside one can the role's time-outs be set aside through any pooler.
async fn glance(session: &Session, schema: &str) -> Result<Found, MigrateError> {
    plain(session, "begin", BEGIN_LOOK).await?;
    let found = look(session, schema).await?;
    plain(session, "rollback", "rollback").await?;
    Ok(found)
}

async fn look(session: &Session, schema: &str) -> Result<Found, MigrateError> {
    let row =
        one(ask(session, "server", include_str!("../../sql/migrate/server.sql"), &[(&schema, Type::TEXT)]).await?)?;
    let (number, version): (i32, String) = (get(&row, 0)?, get(&row, 1)?);
    if number < OLDEST_SERVER {
        return Err(MigrateError::Refused(format!("outboxd needs PostgreSQL 14 or later; this server is {version}")));
    }
    let owner: Option<String> = get(&row, 3)?;
    let rows = if owner.is_some() { state(session, schema).await? } else { vec![] };
    Ok(Found { standing: compare(&files(), &rows, RELEASE), user: get(&row, 4)?, owner })
}

async fn state(session: &Session, schema: &str) -> Result<Vec<Applied>, MigrateError> {
    let prefix = format!("{}.", identifier(schema));
    let sql = include_str!("../../sql/migrate/state.sql").replace("/*schema.*/", &prefix);
    let rows = ask(session, "state", &sql, &[(&schema, Type::TEXT)]).await?;
    let read = |row: &Row| -> Result<Applied, MigrateError> {
        let (name, kind, checksum) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        Ok(Applied { name, kind, checksum, release: get(row, 3)?, gone: get(row, 4)? })
    };
    rows.iter().map(read).collect()
}

/// Why a run ended early. The session is closed in each case, and the transaction with it.
enum Stop {
    /// A statement waited too long for a table.
    Locked(String),
    Error(MigrateError),
}

impl From<MigrateError> for Stop {
    fn from(error: MigrateError) -> Self {
        Self::Error(error)
    }
}

/// The transaction.
async fn run(session: &Session, schema: &str, lock_wait: Duration) -> Result<(Vec<Step>, Standing), Stop> {
    plain(session, "begin", include_str!("../../sql/migrate/begin.sql")).await?;
    lock(session, schema, lock_wait).await?;
    set(session, "lock_timeout", &format!("{}ms", TABLE_LOCK_WAIT.as_millis())).await?;
    // Under the lock, in a new statement: what others did meanwhile is seen.
    let found = look(session, schema).await?;
    let Standing::Behind(steps) = &found.standing else {
        return Ok((vec![], found.standing));
    };
    let run = Run { session, found: &found, schema };
    run.script("the schema", &script::create_schema(schema)).await?;
    set(session, "search_path", &format!("{}, pg_temp", identifier(schema))).await?;
    run.script("the bookkeeping", script::BOOKKEEPING).await?;
    run.apply(steps).await?;
    plain(session, "commit", "commit").await?;
    Ok((steps.clone(), Standing::Current))
}

async fn lock(session: &Session, schema: &str, wait: Duration) -> Result<(), MigrateError> {
    let key = lock_key(schema);
    set(session, "lock_timeout", &format!("{}ms", wait.as_millis().max(1))).await?;
    let limit = wait + LOOK;
    let taken =
        session.statement("lock", include_str!("../../sql/migrate/lock.sql"), &[(&key, Type::INT8)], limit).await;
    match taken {
        Ok(_) => Ok(()),
        Err(fault) if fault.is_code("55P03") => {
            plain(session, "rollback", "rollback").await?;
            plain(session, "begin", BEGIN_LOOK).await?;
            let rows =
                ask(session, "holder", include_str!("../../sql/migrate/holder.sql"), &[(&key, Type::INT8)]).await?;
            let holder = rows.first().map(|r| -> Result<String, MigrateError> {
                let (pid, user, name): (i32, String, String) = (get(r, 0)?, get(r, 1)?, get(r, 2)?);
                Ok(format!("process {pid} of user {user} ({name})"))
            });
            let holder = holder.transpose()?.unwrap_or_else(|| "another session".into());
            Err(MigrateError::Refused(format!(
                "another migration of the schema {schema} is running: {holder} has held its lock for {wait:?}; \
                 wait for it, or end it with pg_terminate_backend"
            )))
        }
        Err(fault) => Err(MigrateError::Database(fault)),
    }
}

/// The advisory lock of a schema's migrations; locks of different databases do not meet anyway.
pub fn lock_key(schema: &str) -> i64 {
    let digest = Sha256::new().chain_update("outboxd migrate ").chain_update(schema).finalize();
    digest.iter().take(8).fold(0, |key, byte| (key << 8) | i64::from(*byte))
}

struct Run<'a> {
    session: &'a Session,
    found: &'a Found,
    schema: &'a str,
}

impl Run<'_> {
    async fn apply(&self, steps: &[Step]) -> Result<(), Stop> {
        let all = files();
        let due: Vec<&File> = all.iter().filter(|f| steps.iter().any(|s| s.name == f.name)).collect();
        let (grants, rest): (Vec<&File>, Vec<&File>) = due.iter().partition(|f| f.name == GRANTS);
        for file in &rest {
            self.script(&format!("sql/{}", file.name), file.text).await?;
        }
        // Before the grants: they name functions without their arguments.
        self.script("old functions", &script::forget(&all)).await?;
        for file in &grants {
            self.script(&format!("sql/{}", file.name), file.text).await?;
        }
        for file in due {
            self.script("the bookkeeping", &script::record(file)).await?;
        }
        Ok(())
    }

    /// Runs a file as a whole. An error names the line.
    async fn script(&self, name: &str, text: &str) -> Result<(), Stop> {
        let mut finished = 0;
        let Err(error) = simple(self.session, text, &mut finished).await else { return Ok(()) };
        let Some(db) = error.as_db_error() else {
            return Err(
                MigrateError::Database(super::error::sent(&error, name, self.session.connector().setting())).into()
            );
        };
        let place = format!("{name} line {}", line(text, db, finished));
        let message = format!("{place}: {} [{}]", db.message(), db.code().code());
        match self.next_step(db) {
            next if db.code().code() == "55P03" => Err(Stop::Locked(format!("{message}: {next}"))),
            next if next.is_empty() => Err(MigrateError::Refused(message).into()),
            next => Err(MigrateError::Refused(format!("{message}: {next}")).into()),
        }
    }

    fn next_step(&self, db: &DbError) -> String {
        let (user, schema) = (identifier(&self.found.user), identifier(self.schema));
        match (db.code().code(), &self.found.owner) {
            ("42501", Some(owner)) if *owner != self.found.user => {
                format!("what is there belongs to {owner}: run `outboxd migrate up` as that user, not as {user}")
            }
            ("42501", _) => {
                format!(
                    "as an owner, run `create schema if not exists {schema}; grant create, usage on schema {schema} to {user}`"
                )
            }
            ("42P07" | "42710", _) => format!(
                "the schema {schema} already has something of this name that outboxd did not make: set database.schema to another name"
            ),
            ("2BP01", _) => "something of your own depends on it: drop that first and make it again afterwards".into(),
            ("55P03", _) => format!(
                "other transactions kept a table locked ({ATTEMPTS} tries of {TABLE_LOCK_WAIT:?}): see pg_stat_activity for \
                 long ones and try again"
            ),
            ("25006", _) => "the server is a read-only standby: use the primary".into(),
            _ => String::new(),
        }
    }
}

/// The line of an error: from its position, or else from how many statements were through.
fn line(text: &str, db: &DbError, finished: usize) -> usize {
    if let Some(ErrorPosition::Original(position)) = db.position() {
        return lex::line_of(text, usize::try_from(*position).unwrap_or(1));
    }
    let statements = lex::statements(text);
    statements.get(finished).or(statements.last()).map_or(1, |s| s.line)
}

/// Runs a script and counts the statements that are through.
async fn simple(session: &Session, text: &str, finished: &mut usize) -> Result<(), tokio_postgres::Error> {
    let stream = session.client().simple_query_raw(text).await?;
    let mut stream = std::pin::pin!(stream);
    while let Some(message) = stream.next().await {
        *finished += usize::from(matches!(message?, SimpleQueryMessage::CommandComplete(_)));
    }
    Ok(())
}

async fn plain(session: &Session, name: &str, sql: &str) -> Result<(), MigrateError> {
    session.script(name, sql, LOOK).await.map_err(MigrateError::Database)
}

async fn set(session: &Session, parameter: &str, value: &str) -> Result<(), MigrateError> {
    let sql = include_str!("../../sql/migrate/set.sql");
    ask(session, "set", sql, &[(&parameter, Type::TEXT), (&value, Type::TEXT)]).await.map(drop)
}

async fn ask(session: &Session, name: &str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, MigrateError> {
    session.statement(name, sql, params, LOOK).await.map_err(MigrateError::Database)
}

fn one(rows: Vec<Row>) -> Result<Row, MigrateError> {
    rows.into_iter().next().ok_or_else(|| MigrateError::Refused("the server answered without a row".into()))
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, MigrateError> {
    row.try_get(column).map_err(|e| MigrateError::Refused(format!("the server's answer is not understood: {e}")))
}
