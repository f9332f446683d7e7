//! The transaction of a migration: the lock, the files in their order, and what an error in one of them means.

use std::time::Duration;

use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::{DbError, ErrorPosition};
use tokio_postgres::types::Type;

use super::compare::{Standing, Step, Why};
use super::lex;
use super::migrate::{BEGIN_LOOK, Found, LOOK, MigrateError, ask, get, look, plain, set};
use super::names::Schemas;
use super::schema::{File, GRANTS, Kind, files, log_of};
use super::script::{self, identifier};
use super::session::{Param, Session};

/// How long a statement of a migration waits for a lock on a table. Whoever comes after a waiting statement waits
/// too, producers included, so it gives up early and the whole run is tried again after a while.
const TABLE_LOCK_WAIT: Duration = Duration::from_millis(100);

/// Why a run ended early. The session is closed in each case, and the transaction with it.
pub(super) enum Stop {
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
pub(super) async fn run(
    session: &Session,
    schemas: &Schemas,
    lock_wait: Duration,
) -> Result<(Vec<Step>, Standing), Stop> {
    plain(session, "begin", include_str!("../../sql/migrate/begin.sql")).await?;
    lock(session, schemas, lock_wait).await?;
    set(session, "lock_timeout", &format!("{}ms", TABLE_LOCK_WAIT.as_millis())).await?;
    // Under the lock, in a new statement: what others did meanwhile is seen.
    let found = look(session, schemas).await?;
    if let Some(obstacle) = &found.obstacle {
        return Err(MigrateError::Refused(obstacle.clone()).into());
    }
    let Standing::Behind(steps) = &found.standing else {
        return Ok((vec![], found.standing));
    };
    let run = Run { session, found: &found, schemas };
    run.script("the schemas", &script::create_schemas(schemas)).await?;
    set(session, "search_path", &format!("{}, pg_temp", identifier(&schemas.internal))).await?;
    run.script("the bookkeeping", script::BOOKKEEPING).await?;
    run.apply(steps).await?;
    plain(session, "commit", "commit").await?;
    Ok((steps.clone(), Standing::Current))
}

/// Who holds locks on what a migration changes, the most likely first.
pub(super) async fn blockers(session: &Session, schemas: &Schemas) -> Result<String, MigrateError> {
    let params: [Param<'_>; 2] = [(&schemas.app, Type::TEXT), (&schemas.internal, Type::TEXT)];
    let rows = ask(session, "blockers", include_str!("../../sql/migrate/blockers.sql"), &params).await?;
    let told = rows.iter().map(|r| -> Result<String, MigrateError> {
        let (pid, user, name): (i32, String, String) = (get(r, 0)?, get(r, 1)?, get(r, 2)?);
        let age: f64 = get(r, 3)?;
        Ok(format!("process {pid} of user {user} ({name}), whose transaction is {age:.0} s old"))
    });
    let told = told.collect::<Result<Vec<_>, _>>()?;
    if told.is_empty() {
        return Ok("nobody any more, or a prepared transaction (pg_prepared_xacts)".to_owned());
    }
    Ok(told.join("; "))
}

async fn lock(session: &Session, schemas: &Schemas, wait: Duration) -> Result<(), MigrateError> {
    let key = lock_key(schemas);
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
                "another migration of the schema {schemas} is running: {holder} has held its lock for {wait:?}; \
                 wait for it, or end it with pg_terminate_backend"
            )))
        }
        Err(fault) => Err(MigrateError::Database(fault)),
    }
}

/// The advisory lock of an outbox's migrations; locks of different databases do not meet anyway.
pub fn lock_key(schemas: &Schemas) -> i64 {
    let digest = Sha256::new().chain_update("outboxd migrate ").chain_update(&schemas.internal).finalize();
    digest.iter().take(8).fold(0, |key, byte| (key << 8) | i64::from(*byte))
}

struct Run<'a> {
    session: &'a Session,
    found: &'a Found,
    schemas: &'a Schemas,
}

impl Run<'_> {
    async fn apply(&self, steps: &[Step]) -> Result<(), Stop> {
        let all = files();
        let due: Vec<&File> = all.iter().filter(|f| steps.iter().any(|s| s.name == f.name)).collect();
        let (triggers, rest): (Vec<&File>, Vec<&File>) = due.iter().partition(|f| f.makes_triggers());
        let (grants, rest): (Vec<&File>, Vec<&File>) = rest.into_iter().partition(|f| f.name == GRANTS);
        for file in &rest {
            let gone = file.kind == Kind::Versioned && steps.iter().any(|s| s.name == file.name && s.why != Why::New);
            let text = if gone { log_of(file.text).unwrap_or_default() } else { file.text };
            self.script(&format!("sql/{}", file.name), text).await?;
        }
        // Before the grants: they name functions without their arguments.
        self.script("old functions", &script::forget(&all, self.schemas)).await?;
        for file in &grants {
            self.script(&format!("sql/{}", file.name), file.text).await?;
        }
        let records: Vec<String> = due.iter().map(|file| script::record(file, self.schemas)).collect();
        self.script("the bookkeeping", &records.join("\n")).await?;
        // Last, because whoever enqueues waits from here on until the end of the transaction.
        for file in &triggers {
            self.script(&format!("sql/{}", file.name), &script::text(file, self.schemas)).await?;
        }
        Ok(())
    }

    /// Runs a file as a whole. An error names the line.
    async fn script(&self, name: &str, text: &str) -> Result<(), Stop> {
        let text = &self.schemas.fill(text);
        let mut finished = 0;
        let Err(error) = simple(self.session, text, &mut finished).await else { return Ok(()) };
        let Some(db) = error.as_db_error() else {
            return Err(
                MigrateError::Database(super::error::sent(&error, name, self.session.connector().setting())).into()
            );
        };
        let place = format!("{name} line {}", line(text, db, finished));
        let message = format!("{place}: {} [{}]", db.message(), db.code().code());
        // A deadlock was with somebody who works on the tables, too.
        if ["55P03", "40P01"].contains(&db.code().code()) {
            return Err(Stop::Locked(message));
        }
        match self.next_step(db) {
            next if next.is_empty() => Err(MigrateError::Refused(message).into()),
            next => Err(MigrateError::Refused(format!("{message}: {next}")).into()),
        }
    }

    fn next_step(&self, db: &DbError) -> String {
        let user = identifier(&self.found.user);
        let (app, internal) = (identifier(&self.schemas.app), identifier(&self.schemas.internal));
        match (db.code().code(), &self.found.owner) {
            ("42501", Some(owner)) if *owner != self.found.user => {
                format!("what is there belongs to {owner}: run `outboxd migrate up` as that user, not as {user}")
            }
            ("42501", _) => {
                format!(
                    "as an owner, run `create schema {internal} authorization {user}; create schema if not exists {app}; \
                     grant create, usage on schema {app} to {user}`"
                )
            }
            ("42P07" | "42710", _) => format!(
                "the schema {internal} already has something of this name that outboxd did not make: set database.internal_schema to another name"
            ),
            ("2BP01", _) => "something of your own depends on it: drop that first and make it again afterwards".into(),
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
