//! Brings a database's schema up to date, or says what is missing.
//!
//! One transaction per run, under a lock: it happens as a whole or not at all, and any number of runs at once end in
//! success. Needs neither superuser nor CREATEROLE: the right to create in one schema is enough.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

pub use super::apply::lock_key;
pub use super::compare::{Standing, Step, Why};
pub use super::describe::{describe, fits, lost, unsafe_schema};

use super::apply::{Stop, blockers, run};
use super::compare::{Applied, There, compare};
use super::connect::Connector;
use super::describe::{belongs_elsewhere, obstacle, sum_up};
use super::error::PgFault;
use super::names::Schemas;
use super::schema::{File, files};
use super::script::RELEASE;
use super::session::{Param, Session};
use crate::fault::Fault;

/// The oldest server that has everything the SQL uses.
const OLDEST_SERVER: i32 = 140_000;
/// The least pause before a run that met a locked table is tried again; up to twice that, so that producers get through.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a look at the catalogue may take, and so may the begin and the end of a transaction.
pub(super) const LOOK: Duration = Duration::from_secs(30);

pub(super) const BEGIN_LOOK: &str = include_str!("../../sql/migrate/look.sql");

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
pub async fn plan(connector: &Connector, schemas: &Schemas) -> Result<Standing, MigrateError> {
    let session = open(connector).await?;
    Ok(glance(&session, schemas).await?.standing)
}

/// What a relay asks before it starts: current, or made by a later release of the same series.
///
/// The error is a [`Fault::Halt`] that names the command to run, or whatever kept us from looking.
pub async fn check(connector: &Connector, schemas: &Schemas) -> Result<(), Fault> {
    match plan(connector, schemas).await {
        Ok(standing) if fits(&standing) => Ok(()),
        Ok(standing) => Err(Fault::halt("schema", sum_up(&standing, schemas))),
        Err(error) => Err(error.into()),
    }
}

/// Brings the schema up to date. `wait` bounds the wait for another run, and for the end of transactions that keep a table locked.
pub async fn up(connector: &Connector, schemas: &Schemas, wait: Duration) -> Result<Report, MigrateError> {
    let begun = Instant::now();
    loop {
        let session = open(connector).await?;
        // A look without the lock first: a run that has nothing to do needs no rights and waits for nobody.
        let found = glance(&session, schemas).await?;
        if let Some(obstacle) = found.obstacle {
            return Err(MigrateError::Refused(obstacle));
        }
        let (steps, standing) = match found.standing {
            Standing::Behind(_) => match Box::pin(run(&session, schemas, wait)).await {
                Err(Stop::Locked(_)) if begun.elapsed() + PAUSE < wait => {
                    drop(session);
                    tokio::time::sleep(PAUSE + PAUSE.mul_f64(fastrand::f64())).await;
                    continue;
                }
                Err(Stop::Locked(message)) => return Err(still_locked(connector, schemas, &message, wait).await?),
                Err(Stop::Error(error)) => return Err(error),
                Ok(done) => done,
            },
            other => (vec![], other),
        };
        if !fits(&standing) {
            return Err(MigrateError::Refused(describe(&standing, schemas).join("; ")));
        }
        return Ok(Report { steps, standing, took: begun.elapsed() });
    }
}

/// What to say when the tables stayed locked to the end.
async fn still_locked(
    connector: &Connector,
    schemas: &Schemas,
    message: &str,
    wait: Duration,
) -> Result<MigrateError, MigrateError> {
    let holders = blockers(&open(connector).await?, schemas).await?;
    Ok(MigrateError::Refused(format!(
        "{message}: other transactions kept a table locked for {wait:?}; now it is held by {holders}: wait for their end, or end \
         them with pg_terminate_backend, and run it again; `--wait` tries for longer"
    )))
}

async fn open(connector: &Connector) -> Result<Session, MigrateError> {
    Session::open(connector, Arc::new(AtomicU64::new(0))).await.map_err(MigrateError::Unreachable)
}

/// What was found in the database.
pub(super) struct Found {
    pub(super) standing: Standing,
    pub(super) user: String,
    /// Who owns what is there.
    pub(super) owner: Option<String>,
    /// Why it would be wrong to go on.
    pub(super) obstacle: Option<String>,
}

/// [`look`] in a transaction of its own: only inside one can the role's time-outs be set aside through any pooler.
async fn glance(session: &Session, schemas: &Schemas) -> Result<Found, MigrateError> {
    plain(session, "begin", BEGIN_LOOK).await?;
    let found = look(session, schemas).await?;
    plain(session, "rollback", "rollback").await?;
    Ok(found)
}

pub(super) async fn look(session: &Session, schemas: &Schemas) -> Result<Found, MigrateError> {
    let files = files();
    let objects: Vec<String> = files.iter().flat_map(File::objects).collect();
    let named = |kind: &str| objects.iter().filter_map(|o| o.strip_prefix(kind)).map(str::to_owned).collect::<Vec<_>>();
    let relations: Vec<String> = ["outbox".to_owned()].into_iter().chain(named("view app.")).collect();
    let functions: Vec<String> = named("function app.").iter().map(|f| schemas.fill(&format!("/*app.*/{f}"))).collect();
    let params: [Param<'_>; 4] = [
        (&schemas.app, Type::TEXT),
        (&schemas.internal, Type::TEXT),
        (&relations, Type::TEXT_ARRAY),
        (&functions, Type::TEXT_ARRAY),
    ];
    let row = one(ask(session, "server", include_str!("../../sql/migrate/server.sql"), &params).await?)?;
    let (number, version): (i32, String) = (get(&row, 0)?, get(&row, 1)?);
    if number < OLDEST_SERVER {
        return Err(MigrateError::Refused(format!("outboxd needs PostgreSQL 14 or later; this server is {version}")));
    }
    let owner: Option<String> = get(&row, 3)?;
    let applied = if owner.is_some() { state(session, schemas).await? } else { vec![] };
    let there = There { applied, log: get(&row, 4)? };
    if let Some(elsewhere) = get::<Option<String>>(&row, 5)? {
        return Err(MigrateError::Refused(belongs_elsewhere(schemas, &elsewhere)));
    }
    let (creators, relations, functions): (Vec<String>, Vec<String>, Vec<String>) =
        (get(&row, 6)?, get(&row, 7)?, get(&row, 8)?);
    let user = get(&row, 2)?;
    let foreign = relations.iter().map(|r| format!("the relation {}.{r}", schemas.app));
    let foreign: Vec<String> = foreign.chain(functions.iter().map(|f| format!("the function {f}"))).collect();
    let obstacle = obstacle(schemas, &foreign, &creators);
    Ok(Found { standing: compare(&files, schemas, &there, RELEASE), user, owner, obstacle })
}

async fn state(session: &Session, schemas: &Schemas) -> Result<Vec<Applied>, MigrateError> {
    let sql = schemas.fill(include_str!("../../sql/migrate/state.sql"));
    let params: [Param<'_>; 2] = [(&schemas.internal, Type::TEXT), (&schemas.app, Type::TEXT)];
    let rows = ask(session, "state", &sql, &params).await?;
    let read = |row: &Row| -> Result<Applied, MigrateError> {
        let (name, kind, checksum) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        Ok(Applied { name, kind, checksum, release: get(row, 3)?, gone: get(row, 4)? })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn plain(session: &Session, name: &str, sql: &str) -> Result<(), MigrateError> {
    session.script(name, sql, LOOK).await.map_err(MigrateError::Database)
}

pub(super) async fn set(session: &Session, parameter: &str, value: &str) -> Result<(), MigrateError> {
    let sql = include_str!("../../sql/migrate/set.sql");
    ask(session, "set", sql, &[(&parameter, Type::TEXT), (&value, Type::TEXT)]).await.map(drop)
}

pub(super) async fn ask(
    session: &Session,
    name: &str,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, MigrateError> {
    session.statement(name, sql, params, LOOK).await.map_err(MigrateError::Database)
}

fn one(rows: Vec<Row>) -> Result<Row, MigrateError> {
    rows.into_iter().next().ok_or_else(|| MigrateError::Refused("the server answered without a row".into()))
}

pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, MigrateError> {
    row.try_get(column).map_err(|e| MigrateError::Refused(format!("the server's answer is not understood: {e}")))
}
