//! Turns the driver's errors into a [`Fault`], and says whether the statement may have taken effect all the same.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio_postgres::error::{DbError, Severity};

use crate::fault::{Fault, Origin};

/// A statement, or a connection, that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgFault {
    /// What to do about it.
    pub fault: Fault,
    /// True if the statement was sent and its fate is unknown: the reply was lost, late, or the session was ended
    /// by the server. False if it certainly had no effect.
    pub uncertain: bool,
    /// The server's SQLSTATE, if the server answered.
    pub code: Option<String>,
}

impl PgFault {
    /// Certainly without effect.
    pub(super) fn refused(fault: Fault) -> Self {
        Self { fault: fault.of(Origin::Postgres), uncertain: false, code: None }
    }

    /// Perhaps with effect.
    pub(super) fn uncertain(self) -> Self {
        Self { uncertain: true, ..self }
    }

    /// No answer within the time allowed.
    pub(super) fn timeout(doing: &str, limit: Duration, next: &str) -> Self {
        let message = format!("{doing}: no answer within {limit:?}: {next}");
        Self::refused(Fault::retry("timeout", message))
    }

    /// Whether the server answered with this SQLSTATE.
    pub fn is_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl fmt::Display for PgFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for PgFault {}

impl From<PgFault> for Fault {
    fn from(fault: PgFault) -> Self {
        fault.fault
    }
}

/// What an error says about the session it came from.
pub(super) enum Answer<'a> {
    /// The server refused the statement and the session goes on.
    Refused(&'a DbError),
    /// The server refused and ends the session.
    Ended(&'a DbError),
    /// No answer, or one that makes no sense: the session is of no more use.
    None,
}

/// Reads an error as the server's answer.
pub(super) fn answer(error: &tokio_postgres::Error) -> Answer<'_> {
    match error.as_db_error() {
        Some(db) if db.parsed_severity() == Some(Severity::Error) => Answer::Refused(db),
        Some(db) => Answer::Ended(db),
        None => Answer::None,
    }
}

/// The fault of a statement that was sent.
pub(super) fn sent(error: &tokio_postgres::Error, doing: &str, setting: &str) -> PgFault {
    match answer(error) {
        Answer::Refused(db) => refusal(db, doing, setting),
        Answer::Ended(db) => refusal(db, doing, setting).uncertain(),
        Answer::None => silent(error, doing, setting).uncertain(),
    }
}

/// The fault of an attempt to connect: nothing was sent that could have an effect.
pub(super) fn connecting(error: &tokio_postgres::Error, doing: &str, setting: &str) -> PgFault {
    match error.as_db_error() {
        Some(db) => refusal(db, doing, setting),
        None => silent(error, doing, setting),
    }
}

/// What needs a primary met a standby.
pub(super) fn standby(doing: &str) -> PgFault {
    PgFault::refused(Fault::retry("read_only", format!("{doing}: {STANDBY}")))
}

const STANDBY: &str = "the server is a read-only standby: waiting for a primary";

/// Everything that the server did not say itself.
fn silent(error: &tokio_postgres::Error, doing: &str, setting: &str) -> PgFault {
    let io = error.source().and_then(|e| e.downcast_ref::<io::Error>());
    let text = causes(error);
    let fault = if is_tls(error) {
        Fault::halt("tls", format!("{doing}: {text}: check sslmode and sslrootcert in {setting}"))
    } else if io.is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied && text.contains("does not allow writes"))
    {
        // The driver's words for target_session_attrs.
        return standby(doing);
    } else if error.is_closed() || io.is_some() {
        let refused = io.is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        let next = if refused {
            format!(": is the server up? else check the host and the port in {setting}")
        } else {
            String::new()
        };
        Fault::retry("connection", format!("{doing}: {text}{next}"))
    } else if error.to_string().starts_with("authentication") {
        Fault::halt("auth", format!("{doing}: {text}: check the user and the password in {setting}"))
    } else {
        Fault::halt("internal", format!("{doing}: {text}: this is a fault of outboxd, please report it"))
    };
    PgFault::refused(fault)
}

/// Whether the TLS handshake failed, or the server has no TLS.
pub(super) fn is_tls(error: &tokio_postgres::Error) -> bool {
    // The driver keeps the kind private; its text is stable since 0.7.0.
    let rustls = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
    };
    error.to_string().contains("TLS") || error.source().is_some_and(rustls)
}

/// The error and its sources, in one line.
fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text.replace('\n', " ")
}

/// What the server said. Its DETAIL is left out: it quotes data.
pub(super) fn refusal(db: &DbError, doing: &str, setting: &str) -> PgFault {
    let code = db.code().code();
    // The function of the server that decides about policies; its words are in the server's language.
    let filtered = code == "42501" && db.routine() == Some("check_enable_rls");
    let verdict = if filtered { row_security(setting) } else { verdict(code, setting) };
    let hint = db.hint().map(|h| format!(" ({h})")).unwrap_or_default();
    let message = match verdict.next.as_str() {
        "" => format!("{doing}: {}{hint} [{code}]", db.message()),
        next => format!("{doing}: {}{hint} [{code}]: {next}", db.message()),
    };
    let fault = if verdict.halt { Fault::halt(verdict.class, message) } else { Fault::retry(verdict.class, message) };
    PgFault { code: Some(code.to_owned()), ..PgFault::refused(fault) }
}

struct Verdict {
    class: &'static str,
    halt: bool,
    next: String,
}

/// A filtered answer looks like an empty one; the relay asks for an error instead.
fn row_security(setting: &str) -> Verdict {
    let next = format!(
        "the relay must see every row: run `ALTER TABLE .. DISABLE ROW LEVEL SECURITY` on that table, or `ALTER ROLE .. \
         BYPASSRLS` for the user in {setting}"
    );
    Verdict { class: "row_security", halt: true, next }
}

/// The fault of a user from whom these tables may hide rows.
pub(super) fn filtered(tables: &[String], user: &str) -> Fault {
    let (all, first) = (tables.join(", "), tables.first().map_or("", String::as_str));
    let message = format!(
        "row level security hides rows of {all} from the user {user}, and what is hidden would never be published: run \
         `ALTER TABLE {first} DISABLE ROW LEVEL SECURITY` (so for each), or `ALTER ROLE {user} BYPASSRLS`"
    );
    Fault::halt("row_security", message).of(Origin::Postgres)
}

/// What a SQLSTATE means for the relay, and the next step.
fn verdict(code: &str, setting: &str) -> Verdict {
    let halt = |class, next: String| Verdict { class, halt: true, next };
    let retry = |class, next: &str| Verdict { class, halt: false, next: next.to_owned() };
    match code {
        "28P01" => halt("auth", format!("check the user and the password in {setting}")),
        "28000" => halt("auth", format!("check the user and sslmode in {setting}, and the server's pg_hba.conf")),
        "3D000" => halt("database_missing", format!("create the database, or correct its name in {setting}")),
        "42501" => halt(
            "permission",
            format!("grant the role outbox_relay to the user in {setting}, or run `outboxd migrate up` as the owner"),
        ),
        "42P01" | "42883" | "42703" | "42704" | "3F000" => halt(
            "schema",
            "the tables in database.schema are missing or older than this program: run `outboxd migrate up`".into(),
        ),
        "26000" | "42P05" => halt(
            "pooler",
            format!(
                "a transaction pooler lost a prepared statement: correct its mode or connect directly in {setting}"
            ),
        ),
        "25006" => retry("read_only", STANDBY),
        "40001" => retry("serialization", ""),
        "40P01" => retry("deadlock", ""),
        "55P03" => retry("lock_timeout", ""),
        "57014" => retry("canceled", "look at statement_timeout of the role and of the database"),
        "57P01" | "57P02" | "57P05" => retry("shutting_down", ""),
        "57P03" => retry("starting_up", ""),
        "53300" => retry("too_many_connections", "lower database.pool_size or raise max_connections of the server"),
        "53100" => retry("resources", "free space on the server's disk"),
        "08P01" => retry("connection", "a pooler ends sessions this way: look at its log"),
        _ => by_class(code),
    }
}

fn by_class(code: &str) -> Verdict {
    let class = match code.get(..2).unwrap_or_default() {
        "08" => "connection",
        "25" => "transaction_state",
        "40" => "serialization",
        "55" => "lock_timeout",
        "57" => "canceled",
        "53" | "58" => "resources",
        _ => return Verdict { class: "statement", halt: true, next: String::new() },
    };
    Verdict { class, halt: false, next: String::new() }
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn what_an_operator_must_mend_halts_and_what_passes_by_itself_is_tried_again() {
        for code in ["42501", "28P01", "28000", "42P01", "42883", "22023", "P0001", "3D000"] {
            assert!(verdict(code, "database.url").halt, "{code}");
        }
        for code in ["57P01", "57P02", "57P03", "53300", "40001", "40P01", "25006", "55P03", "08006", "53200", "58030"]
        {
            assert!(!verdict(code, "database.url").halt, "{code}");
        }
    }

    #[test]
    fn a_missing_table_names_the_command_that_makes_it() {
        assert!(verdict("42P01", "database.url").next.contains("outboxd migrate up"));
    }
}
