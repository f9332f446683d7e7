//! Plain SQL for other migration tools, and the pieces of it that the runner uses itself.

pub use super::names::identifier;

use super::lex;
use super::names::{Schemas, literal};
use super::schema::{File, GRANTS, Kind, files, number, trigger};

/// The release that this program writes into the bookkeeping table.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

fn array<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| literal(i.as_ref())).collect();
    format!("array[{}]::text[]", items.join(", "))
}

/// Makes the schemas if they are missing.
pub(super) fn create_schemas(schemas: &Schemas) -> String {
    let create = |schema: &str| {
        include_str!("../../sql/migrate/schema.sql")
            .replace("/*schema_literal*/", &literal(schema))
            .replace("/*schema*/", &identifier(schema))
    };
    format!("{}\n{}", create(&schemas.internal), create(&schemas.app))
}

/// Makes the bookkeeping table if it is missing.
pub(super) const BOOKKEEPING: &str = include_str!("../../sql/migrate/bookkeeping.sql");

/// Notes that a file was applied.
pub(super) fn record(file: &File, schemas: &Schemas) -> String {
    include_str!("../../sql/migrate/record.sql")
        .replace("/*name*/", &literal(file.name))
        .replace("/*kind*/", &literal(file.kind.as_str()))
        .replace("/*checksum*/", &literal(&file.checksum(schemas)))
        .replace("/*objects*/", &array(file.objects()))
        .replace("/*release*/", &literal(RELEASE))
}

/// The SQL of a file as it is run. A trigger that is as wanted is left alone.
pub(super) fn text(file: &File, schemas: &Schemas) -> String {
    if !file.makes_triggers() {
        return schemas.fill(file.text);
    }
    let statements = lex::statements(&file.text.replace("/*app.*/", "app."));
    let template = include_str!("../../sql/migrate/trigger.sql");
    let wrapped = statements.iter().filter_map(|statement| {
        let (name, table, definition) = trigger(&statement.bare)?;
        let filled = template
            .replace("/*name*/", &name)
            .replace("/*definition*/", &definition)
            .replace("/*statement*/", &statement.bare)
            .replace("/*table*/", &table);
        Some(schemas.fill(&filled.replace("app.", "/*app.*/")))
    });
    wrapped.collect::<Vec<_>>().join("\n")
}

/// Drops what earlier releases made and this one does not.
pub(super) fn forget(all: &[File], schemas: &Schemas) -> String {
    schemas
        .fill(include_str!("../../sql/migrate/forget.sql"))
        .replace("/*objects*/", &array(all.iter().flat_map(File::objects)))
        .replace("/*names*/", &array(all.iter().map(|f| f.name)))
}

/// One script that does what `outboxd migrate up` does, bookkeeping included.
///
/// `from` leaves out the versioned migrations up to that number: for a database that has them already.
pub fn install(schemas: &Schemas, from: u32) -> String {
    let all = files();
    let mut parts = vec![
        format!(
            "-- outboxd {RELEASE}: {} the outbox of the schema {}, with its machinery in {}.",
            if from == 0 { "makes" } else { "updates" },
            schemas.app.escape_debug(),
            schemas.internal.escape_debug()
        ),
        include_str!("../../sql/migrate/script_head.sql").to_owned(),
        create_schemas(schemas),
        path(schemas),
        BOOKKEEPING.to_owned(),
    ];
    let wanted = |f: &&File| f.kind == Kind::Repeatable || number(f.name) > from;
    let chosen: Vec<&File> = all.iter().filter(wanted).collect();
    let (triggers, rest): (Vec<&File>, Vec<&File>) = chosen.iter().partition(|f| f.makes_triggers());
    let (grants, rest): (Vec<&File>, Vec<&File>) = rest.into_iter().partition(|f| f.name == GRANTS);
    parts.extend(rest.iter().map(|f| piece(f, schemas)));
    parts.push(forget(&all, schemas));
    parts.extend(grants.iter().map(|f| piece(f, schemas)));
    parts.extend(chosen.iter().map(|f| record(f, schemas)));
    // Last, because whoever enqueues waits from here on until the end of the transaction.
    parts.extend(triggers.iter().map(|f| piece(f, schemas)));
    parts.push(include_str!("../../sql/migrate/script_tail.sql").to_owned());
    parts.join("\n")
}

/// One script that drops what outboxd made in its schemas and nothing else; with `roles`, its roles too.
pub fn drop(schemas: &Schemas, roles: bool) -> String {
    let objects: Vec<String> = files().iter().flat_map(File::objects).collect();
    let drops = |kind: &str| {
        let of_kind = objects.iter().filter_map(|o| o.strip_prefix(kind));
        let placed = of_kind.map(|o| format!("drop {kind}if exists {};", o.replacen("app.", "/*app.*/", 1)));
        schemas.fill(&placed.collect::<Vec<_>>().join("\n"))
    };
    let mut parts = vec![
        format!(
            "-- outboxd {RELEASE}: drops everything that it made in the schemas {} and {}.",
            schemas.app.escape_debug(),
            schemas.internal.escape_debug()
        ),
        "-- Tasks that were not published are lost. Stop the relays first.".to_owned(),
        include_str!("../../sql/migrate/script_head.sql").to_owned(),
        path(schemas),
        drops("view "),
        // Triggers need their functions, and functions the row types of tables.
        drops("trigger "),
        drops("procedure "),
        drops("function "),
        schemas.fill(include_str!("../../sql/migrate/drop_tables.sql")),
        drop_rights(&schemas.app),
        drop_rights(&schemas.internal),
    ];
    if roles {
        parts.push(include_str!("../../sql/migrate/drop_roles.sql").to_owned());
    }
    parts.push(include_str!("../../sql/migrate/script_tail.sql").to_owned());
    parts.join("\n")
}

fn drop_rights(schema: &str) -> String {
    include_str!("../../sql/migrate/drop_rights.sql").replace("/*schema_literal*/", &literal(schema))
}

fn path(schemas: &Schemas) -> String {
    include_str!("../../sql/migrate/script_path.sql").replace("/*schema*/", &identifier(&schemas.internal))
}

/// A file's text, sure to end its last statement.
fn piece(file: &File, schemas: &Schemas) -> String {
    let end = if file.text.trim_end().ends_with(';') { "" } else { ";\n" };
    format!("-- sql/{}\n{}{end}", file.name, text(file, schemas))
}

#[cfg(test)]
mod tests {
    use super::{Schemas, drop, install};

    fn x() -> Schemas {
        Schemas::new("x", "y")
    }

    #[test]
    fn scripts_hold_no_meta_commands_and_no_transaction_of_their_own() {
        for script in [install(&x(), 0), drop(&x(), true)] {
            let statements = crate::pg::lex::statements(&script);
            let words = statements.iter().map(|s| s.bare.split(' ').next().unwrap_or("").to_ascii_lowercase());
            for word in words {
                assert!(
                    !word.starts_with('\\') && !["begin", "commit", "start", "rollback"].contains(&word.as_str()),
                    "{word}"
                );
            }
        }
    }

    #[test]
    fn an_update_leaves_out_the_migrations_that_are_there() {
        assert!(install(&x(), 0).contains("create table \"x\".outbox ("));
        assert!(!install(&x(), 1).contains("create table \"x\".outbox ("));
    }
}
