//! Postgres: reached, recent enough, the schema, the rights, the way of notifications.

use super::super::connect;
use super::Wire;
use super::queues;
use super::report::Report;
use crate::config::Config;
use crate::pg::{Delivery, Filtered, Listener, Outbox, Protection, migrate};

/// Looks at everything of Postgres. The queues that it knows.
pub(super) async fn examine(config: &Config, report: &mut Report) -> Vec<String> {
    let database = match connect::database(config) {
        Ok(database) => database,
        Err(fault) => {
            report.finding("postgres", &fault.reason().message, "correct `url` in [database], or DATABASE_URL");
            return Vec::new();
        }
    };
    let schemas = connect::schemas(config);
    let outbox = Outbox::new(database.clone(), &schemas);
    let facts = match outbox.doctor(&schemas).await {
        Ok(facts) => facts,
        Err(fault) => {
            let next = "see that the server runs and that this machine, user and password may connect";
            report.finding("postgres", &fault.reason().message, next);
            return Vec::new();
        }
    };
    let place = database.connector().target().to_owned();
    report.ok("postgres", &format!("{place} is PostgreSQL {}, user {}", facts.version, facts.user));
    protection(report, "postgres.tls", "database.url", database.connector().protection(), facts.tls);
    if facts.in_recovery {
        let next = "name the primary in database.url, or all hosts with target_session_attrs=read-write";
        report.finding("postgres.role", "it is a standby and takes no writes", next);
    }
    if facts.encoding == "SQL_ASCII" {
        let next =
            "make a database with `encoding 'UTF8'` and move the data; until then only text in UTF-8 can be enqueued";
        report.finding(
            "postgres.encoding",
            "the encoding is SQL_ASCII: any bytes are text, and messages are UTF-8",
            next,
        );
    }
    super::clock(report, "postgres.clock", facts.clock);
    bell(config, facts.tls, facts.notify_usage, report).await;
    if !policies(&outbox, report).await {
        return Vec::new();
    }
    match migrate::check(database.connector(), &schemas).await {
        Ok(()) => report.ok("postgres.schema", &format!("the schema {schemas} fits this release")),
        Err(fault) => {
            let next = "run `outboxd migrate up` as the owner of the schema, or let `outboxd migrate sql` print it";
            report.finding("postgres.schema", &fault.reason().message, next);
            return Vec::new();
        }
    }
    match migrate::unsafe_schema(&schemas.internal, &facts.creators) {
        None => report.ok("postgres.owner", &format!("nobody else can create in the schema {}", schemas.internal)),
        Some(detail) => {
            let next = format!("REVOKE CREATE ON SCHEMA {} FROM each of them", schemas.internal);
            report.finding("postgres.owner", &detail, &next);
        }
    }
    rights(&facts.functions, &facts.tables, &facts.user, report);
    ledger(&outbox, report).await
}

/// Whether this user sees every row.
async fn policies(outbox: &Outbox, report: &mut Report) -> bool {
    let tables = match outbox.filtered().await {
        Ok(tables) => tables,
        Err(fault) => {
            report.finding("postgres.row_security", &fault.reason().message, "run the doctor again");
            return false;
        }
    };
    let named = |wanted: fn(&Filtered) -> bool| -> Vec<&str> {
        tables.iter().filter(|table| wanted(table)).map(|table| table.table.as_str()).collect()
    };
    let (hidden, forced) = (named(|table| table.hidden), named(|table| table.hidden_from_owner));
    if let (Some(first), Some(table)) = (hidden.first(), tables.first()) {
        let detail =
            format!("row level security hides rows of {} from {}: the relay waits", hidden.join(", "), table.user);
        let next = format!(
            "run ALTER TABLE {first} DISABLE ROW LEVEL SECURITY (so for each), or ALTER ROLE {} BYPASSRLS",
            table.user
        );
        report.finding("postgres.row_security", &detail, &next);
    }
    if let Some(first) = forced.first() {
        let detail =
            format!("row level security of {} is forced on the owner, as whom functions run", forced.join(", "));
        let next = format!("run ALTER TABLE {first} NO FORCE ROW LEVEL SECURITY (so for each)");
        report.finding("postgres.row_security", &detail, &next);
    }
    hidden.is_empty()
}

fn rights(functions: &[String], tables: &[String], user: &str, report: &mut Report) {
    if functions.is_empty() && tables.is_empty() {
        report.ok("postgres.rights", &format!("{user} may do all that a relay does"));
        return;
    }
    let all: Vec<&str> = functions.iter().chain(tables).map(String::as_str).collect();
    let shown = all.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    let more = if all.len() > 3 { format!(" and {} more", all.len() - 3) } else { String::new() };
    let detail = format!("{user} may not use {shown}{more}");
    report.finding("postgres.rights", &detail, &format!("GRANT outbox_relay TO {user}"));
}

/// `told`: what the server says where the connection string leaves it to the server.
fn protection(report: &mut Report, check: &str, setting: &str, found: Protection, told: bool) {
    let checks = match found.mode {
        "verify-full" => "the certificate and its name are checked (sslmode=verify-full)",
        "verify-ca" => "who signed the certificate is checked, its name is not (sslmode=verify-ca)",
        _ => "",
    };
    let better = format!("sslmode is {}; ?sslmode=verify-full in {setting} encrypts and checks", found.mode);
    let encrypted = found.encrypted.unwrap_or(told);
    super::protection(report, check, &Wire { encrypted, checks, local: found.local, better: &better });
}

/// Whether notifications arrive.
async fn bell(config: &Config, told: bool, usage: f64, report: &mut Report) {
    let limit = config.database.statement_timeout.get();
    let heard = match connect::listener(config) {
        Ok(connector) => {
            if config.database.listen_url.is_some() {
                protection(report, "postgres.notify.tls", connector.setting(), connector.protection(), told);
            }
            Box::pin(Listener::connect(&connector, &[], limit)).await.map_err(|fault| fault.to_string())
        }
        Err(fault) => Err(fault.reason().message.clone()),
    };
    match heard {
        Ok((listener, _)) => match listener.delivery() {
            Delivery::Live => report.ok("postgres.notify", "notifications arrive"),
            Delivery::Pooler(why) => report.finding(
                "postgres.notify",
                &format!("notifications do not arrive, so rows wait for the poll: {why}"),
                "set database.listen_url to an address that reaches Postgres itself",
            ),
        },
        Err(why) => report.finding("postgres.notify", &why, "see database.listen_url, or database.url without it"),
    }
    if usage > 0.5 {
        let next = "end the session that listens inside a transaction: pg_stat_activity, state `idle in transaction`";
        report.finding("postgres.notify", &format!("the notification queue is {:.0} % full", usage * 100.0), next);
    }
}

async fn ledger(outbox: &Outbox, report: &mut Report) -> Vec<String> {
    match outbox.identity().await {
        Ok(identity) => match identity.wrong {
            None => report.ok("postgres.identity", &format!("installation {}", identity.installation)),
            Some(wrong) => {
                let next = "read docs/runbooks/database-restored.md, then run `outboxd repair`";
                report.finding("postgres.identity", &wrong, next);
            }
        },
        Err(fault) => report.finding("postgres.identity", &fault.reason().message, "run the doctor again"),
    }
    let queues = match outbox.gauge().await {
        Ok(queues) => queues,
        Err(fault) => {
            report.finding("postgres.queues", &fault.reason().message, "run the doctor again");
            return Vec::new();
        }
    };
    match outbox.relays().await {
        Ok(relays) => queues::examine(&queues, &relays, report),
        Err(fault) => report.finding("relays", &fault.reason().message, "run the doctor again"),
    }
    outbox.known().await.unwrap_or_else(|fault| {
        report.finding("postgres.queues", &fault.reason().message, "run the doctor again");
        Vec::new()
    })
}
