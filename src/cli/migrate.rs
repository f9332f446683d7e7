//! `outboxd migrate`: brings the schema up to date, or says what is missing, or prints SQL for other tools.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::config::Period;
use crate::pg::migrate::{self, MigrateError, Standing, Why};
use crate::pg::script::{self, RELEASE};
use crate::pg::{Connector, Schemas};

const FAILED: u8 = 1;
const FINDINGS: u8 = 3;
const UNREACHABLE: u8 = 69;
const CONFIG: u8 = 78;

/// What every command says that needs a database and has none.
pub(super) const NO_DATABASE: &str =
    "no database is configured: set database.url or DATABASE_URL, as in postgres://user@host/database";

/// The arguments of `outboxd migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(subcommand)]
    command: MigrateCommand,
}

#[derive(Debug, Subcommand)]
enum MigrateCommand {
    /// Bring the schema up to date, in one transaction
    Up {
        /// How long to wait for another run, and for transactions that keep a table locked
        #[arg(long, value_name = "PERIOD", default_value = "5m")]
        wait: Period,
    },
    /// Show what `up` would do
    Plan {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare the schema with this program; exit 3 if they disagree
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print SQL for other migration tools; needs no database
    Sql {
        /// Leave out the migrations up to this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "drop")]
        from: u32,
        /// Print the way out instead: drop everything that outboxd made
        #[arg(long)]
        drop: bool,
        /// With --drop: the roles too, which are shared by all databases of the server
        #[arg(long, requires = "drop")]
        roles: bool,
        /// Print for this schema of the application instead of the configured one
        #[arg(long, value_name = "NAME")]
        schema: Option<String>,
        /// Print for this schema of the machinery instead of the configured one
        #[arg(long, value_name = "NAME")]
        internal_schema: Option<String>,
    },
}

/// What the configuration says to this command.
#[derive(Debug, Clone)]
pub struct MigrateSettings {
    /// `database.url`. `sql` does without.
    pub url: Option<SecretString>,
    /// `database.schema` and `database.internal_schema`.
    pub schemas: Schemas,
}

/// Runs the command; data to `out`, talk to `err`. Returns the exit code.
pub async fn run(
    args: &MigrateArgs,
    settings: &MigrateSettings,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> u8 {
    match dispatch(args, settings, out, err).await {
        Ok(code) => code,
        // Nobody reads any more (`| head`): nothing is wrong with the migration.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(e) => {
            drop(writeln!(err, "cannot write the output: {e}"));
            FAILED
        }
    }
}

async fn dispatch(
    args: &MigrateArgs,
    settings: &MigrateSettings,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
) -> io::Result<u8> {
    let schemas = &settings.schemas;
    if let MigrateCommand::Sql { from, drop, roles, schema, internal_schema } = &args.command {
        let app = schema.as_deref().unwrap_or(&schemas.app);
        let schemas = Schemas::new(app, internal_schema.as_deref().unwrap_or(&schemas.internal));
        let text = if *drop { script::drop(&schemas, *roles) } else { script::install(&schemas, *from) };
        out.write_all(text.as_bytes())?;
        return Ok(0);
    }
    let connector = match connector(settings) {
        Ok(connector) => connector,
        Err(message) => {
            writeln!(err, "{message}")?;
            return Ok(CONFIG);
        }
    };
    let done = match &args.command {
        MigrateCommand::Up { wait } => match Box::pin(migrate::up(&connector, schemas, wait.get())).await {
            Ok(report) => up(&report, schemas, err).map(|()| 0),
            Err(error) => return failed(&error, err),
        },
        MigrateCommand::Plan { json } => match Box::pin(migrate::plan(&connector, schemas)).await {
            Ok(standing) => plan(&standing, schemas, *json, out).map(|()| 0),
            Err(error) => return failed(&error, err),
        },
        MigrateCommand::Check { json } => match Box::pin(migrate::plan(&connector, schemas)).await {
            Ok(standing) => check(&standing, schemas, *json, out),
            Err(error) => return failed(&error, err),
        },
        MigrateCommand::Sql { .. } => Ok(0),
    };
    done.and_then(|code| out.flush().map(|()| code))
}

fn connector(settings: &MigrateSettings) -> Result<Connector, String> {
    let url = settings.url.as_ref().ok_or(NO_DATABASE)?;
    Connector::new("database.url", url.expose_secret(), "outboxd migrate").map_err(|f| f.reason().message.clone())
}

fn failed(error: &MigrateError, err: &mut (dyn Write + Send)) -> io::Result<u8> {
    match error {
        MigrateError::Unreachable(fault) | MigrateError::Database(fault) => {
            writeln!(err, "{}", fault.fault.reason().message)?;
        }
        MigrateError::Refused(message) => writeln!(err, "{message}")?,
    }
    Ok(if matches!(error, MigrateError::Unreachable(_)) { UNREACHABLE } else { FAILED })
}

fn up(report: &migrate::Report, schemas: &Schemas, err: &mut (dyn Write + Send)) -> io::Result<()> {
    for step in &report.steps {
        let verb = if step.why == Why::Removed { "removed" } else { "applied" };
        writeln!(err, "{verb} sql/{}", step.name)?;
    }
    for sentence in
        migrate::lost(&report.steps, schemas).into_iter().chain(migrate::describe(&report.standing, schemas))
    {
        writeln!(err, "{sentence}")?;
    }
    match report.steps.len() {
        0 => writeln!(err, "nothing to do in the schema {schemas}"),
        n => writeln!(err, "the schema {schemas} is up to date: {n} files in {} ms", report.took.as_millis()),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'a str,
    internal_schema: &'a str,
    release: &'a str,
    /// Whether a relay of this release can work with the schema.
    fit: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<Vec<Line<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    why: &'static str,
}

fn document<'a>(standing: &Standing, schemas: &'a Schemas) -> Document<'a> {
    let Schemas { app: schema, internal: internal_schema } = schemas;
    Document { schema, internal_schema, release: RELEASE, fit: migrate::fits(standing), steps: None, findings: None }
}

fn plan(standing: &Standing, schemas: &Schemas, json: bool, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let steps = if let Standing::Behind(steps) = standing { steps.as_slice() } else { &[] };
    if json {
        let lines = steps.iter().map(|s| Line { name: &s.name, why: word(&s.why) }).collect();
        return print(&Document { steps: Some(lines), ..document(standing, schemas) }, out);
    }
    for step in steps {
        writeln!(out, "{:8} sql/{}", word(&step.why), step.name)?;
    }
    if !steps.is_empty() {
        return Ok(());
    }
    let talk = migrate::describe(standing, schemas);
    writeln!(
        out,
        "{}",
        if talk.is_empty() { format!("nothing to do in the schema {schemas}") } else { talk.join("\n") }
    )
}

fn word(why: &Why) -> &'static str {
    match why {
        Why::New => "new",
        Why::Changed => "changed",
        Why::Gone(_) => "missing",
        Why::Again => "again",
        Why::Removed => "removed",
    }
}

fn check(standing: &Standing, schemas: &Schemas, json: bool, out: &mut (dyn Write + Send)) -> io::Result<u8> {
    let findings = migrate::describe(standing, schemas);
    let code = if migrate::fits(standing) { 0 } else { FINDINGS };
    if json {
        print(&Document { findings: Some(findings), ..document(standing, schemas) }, out)?;
        return Ok(code);
    }
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    if findings.is_empty() {
        writeln!(out, "the schema {schemas} is what outboxd {RELEASE} expects")?;
    }
    Ok(code)
}

fn print(document: &Document<'_>, out: &mut (dyn Write + Send)) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}
