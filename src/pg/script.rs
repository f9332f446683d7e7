//! Plain SQL for other migration tools, and the pieces of it that the runner uses itself.

use super::schema::{File, GRANTS, Kind, files, number};

/// The release that this program writes into the bookkeeping table.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// An identifier, quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever the session's settings are.
pub fn literal(text: &str) -> String {
    let quoted = format!("'{}'", text.replace('\'', "''"));
    if text.contains('\\') { format!("E{}", quoted.replace('\\', "\\\\")) } else { quoted }
}

fn array<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| literal(i.as_ref())).collect();
    format!("array[{}]::text[]", items.join(", "))
}

/// Makes the schema if it is missing.
pub(super) fn create_schema(schema: &str) -> String {
    include_str!("../../sql/migrate/schema.sql")
        .replace("/*schema_literal*/", &literal(schema))
        .replace("/*schema*/", &identifier(schema))
}

/// Makes the bookkeeping table if it is missing.
pub(super) const BOOKKEEPING: &str = include_str!("../../sql/migrate/bookkeeping.sql");

/// Notes that a file was applied.
pub(super) fn record(file: &File) -> String {
    include_str!("../../sql/migrate/record.sql")
        .replace("/*name*/", &literal(file.name))
        .replace("/*kind*/", &literal(file.kind.as_str()))
        .replace("/*checksum*/", &literal(&file.checksum()))
        .replace("/*objects*/", &array(file.objects()))
        .replace("/*release*/", &literal(RELEASE))
}

/// Drops what earlier releases made and this one does not.
pub(super) fn forget(all: &[File]) -> String {
    include_str!("../../sql/migrate/forget.sql")
        .replace("/*objects*/", &array(all.iter().flat_map(File::objects)))
        .replace("/*names*/", &array(all.iter().map(|f| f.name)))
}

/// One script that does what `outboxd migrate up` does, bookkeeping included.
///
/// `from` leaves out the versioned migrations up to that number: for a database that has them already.
pub fn install(schema: &str, from: u32) -> String {
    let all = files();
    let mut parts = vec![
        format!(
            "-- outboxd {RELEASE}: {} the schema {}.",
            if from == 0 { "makes" } else { "updates" },
            schema.escape_debug()
        ),
        include_str!("../../sql/migrate/script_head.sql").to_owned(),
        create_schema(schema),
        path(schema),
        BOOKKEEPING.to_owned(),
    ];
    let wanted = |f: &&File| f.kind == Kind::Repeatable || number(f.name) > from;
    let chosen: Vec<&File> = all.iter().filter(wanted).collect();
    let (grants, rest): (Vec<&File>, Vec<&File>) = chosen.into_iter().partition(|f| f.name == GRANTS);
    parts.extend(rest.iter().map(|f| piece(f)));
    parts.push(forget(&all));
    parts.extend(grants.iter().map(|f| piece(f)));
    parts.extend(rest.iter().chain(&grants).map(|f| record(f)));
    parts.push(include_str!("../../sql/migrate/script_tail.sql").to_owned());
    parts.join("\n")
}

/// One script that drops what outboxd made in a schema and nothing else; with `roles`, its roles too.
pub fn drop(schema: &str, roles: bool) -> String {
    let objects: Vec<String> = files().iter().flat_map(File::objects).collect();
    let drops = |kind: &str| {
        let of_kind = objects.iter().filter_map(|o| o.strip_prefix(kind));
        of_kind.map(|o| format!("drop {kind}if exists {o};")).collect::<Vec<_>>().join("\n")
    };
    let mut parts = vec![
        format!("-- outboxd {RELEASE}: drops everything that it made in the schema {}.", schema.escape_debug()),
        "-- Tasks that were not published are lost. Stop the relays first.".to_owned(),
        include_str!("../../sql/migrate/script_head.sql").to_owned(),
        path(schema),
        drops("view "),
        // Triggers need their functions, and functions the row types of tables.
        drops("trigger "),
        drops("procedure "),
        drops("function "),
        include_str!("../../sql/migrate/drop_tables.sql").to_owned(),
        include_str!("../../sql/migrate/drop_rights.sql").replace("/*schema_literal*/", &literal(schema)),
    ];
    if roles {
        parts.push(include_str!("../../sql/migrate/drop_roles.sql").to_owned());
    }
    parts.push(include_str!("../../sql/migrate/script_tail.sql").to_owned());
    parts.join("\n")
}

fn path(schema: &str) -> String {
    include_str!("../../sql/migrate/script_path.sql").replace("/*schema*/", &identifier(schema))
}

/// A file's text, sure to end its last statement.
fn piece(file: &File) -> String {
    let end = if file.text.trim_end().ends_with(';') { "" } else { ";\n" };
    format!("-- sql/{}\n{}{end}", file.name, file.text)
}

#[cfg(test)]
mod tests {
    use super::{drop, identifier, install, literal};

    #[test]
    fn names_and_strings_are_quoted() {
        assert_eq!(identifier("My \"Schema\""), "\"My \"\"Schema\"\"\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn scripts_hold_no_meta_commands_and_no_transaction_of_their_own() {
        for script in [install("x", 0), drop("x", true)] {
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
        assert!(install("x", 0).contains("create table outbox ("));
        assert!(!install("x", 1).contains("create table outbox ("));
    }
}
