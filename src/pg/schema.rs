//! The SQL that a database needs, embedded: what there is, in which order, and what each file makes.
//!
//! *Versioned* files (`sql/migrations`) are applied once, in the order of their numbers, and never change once
//! released. *Repeatable* ones (functions, views, triggers, grants) are applied again whenever their text changes.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::lex;
use super::names::Schemas;

mod files {
    include!(concat!(env!("OUT_DIR"), "/sql_files.rs"));
}

/// How a file is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Once.
    Versioned,
    /// Again whenever its text changes.
    Repeatable,
}

impl Kind {
    /// As the bookkeeping table spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Versioned => "versioned",
            Self::Repeatable => "repeatable",
        }
    }
}

/// One embedded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its path below `sql/`; its name in the bookkeeping table.
    pub name: &'static str,
    /// How it is applied.
    pub kind: Kind,
    /// Its SQL: names in the machinery's schema are unqualified, `/*app.*/` stands before those in the application's.
    pub text: &'static str,
}

/// Applied after everything else, and whenever anything else was: new functions need their rights.
pub const GRANTS: &str = "grants.sql";

/// Every file, in the order of application.
pub fn files() -> Vec<File> {
    let of = |kind, list: &'static [(&'static str, &'static str)]| {
        list.iter().map(move |&(name, text)| File { name, kind, text })
    };
    of(Kind::Versioned, files::MIGRATIONS)
        .chain(of(Kind::Repeatable, files::FUNCTIONS))
        .chain(of(Kind::Repeatable, files::VIEWS))
        .chain(of(Kind::Repeatable, files::TRIGGERS))
        .chain(of(Kind::Repeatable, files::GRANTS))
        .collect()
}

/// The number at the beginning of a versioned file's name; 0 for the others.
pub fn number(name: &str) -> u32 {
    let digits = name.strip_prefix("migrations/").and_then(|n| n.split_once('_')).map(|(n, _)| n);
    digits.and_then(|n| n.parse().ok()).unwrap_or(0)
}

impl File {
    /// Whether it makes triggers, which needs a lock on their table.
    pub(super) fn makes_triggers(&self) -> bool {
        self.name.starts_with("triggers/")
    }

    /// SHA-256 of the text in hexadecimal. Line ends do not count, for checkouts that rewrite them. Of a repeatable file the names
    /// of the schemas count: where one was renamed, the file is applied again.
    pub fn checksum(&self, schemas: &Schemas) -> String {
        let mut digest = Sha256::new().chain_update(self.text.replace("\r\n", "\n"));
        if self.kind == Kind::Repeatable {
            digest = digest.chain_update(format!("\n{schemas:?}"));
        }
        let digest = digest.finalize();
        digest.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// What a repeatable file makes, as `DROP` would name it; `app.` stands for the application's schema:
    /// `function app.outbox_status(uuid)`, `view app.outbox_rows`, `function outbox_plan_ids(..)`.
    ///
    /// Relies on the house's style: every argument has a name, every type is a built-in one.
    pub fn objects(&self) -> Vec<String> {
        match self.kind {
            Kind::Versioned => Vec::new(),
            Kind::Repeatable => {
                lex::statements(&self.text.replace("/*app.*/", "app.")).iter().filter_map(|s| object(&s.bare)).collect()
            }
        }
    }
}

/// The part of a versioned file that makes the log: for a database whose log was dropped with its schema.
pub(super) fn log_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("-- log {")?;
    rest.split_once('\n')?.1.split_once("-- } log").map(|(log, _)| log)
}

/// A trigger that a statement creates: its name, its table, and its definition as the server tells it.
pub(super) fn trigger(bare: &str) -> Option<(String, String, String)> {
    let object = object(bare)?;
    let (name, table) = object.strip_prefix("trigger ")?.split_once(" on ")?;
    Some((name.to_owned(), table.to_owned(), bare.replacen("or replace ", "", 1)))
}

/// The object that a statement creates; `bare` is the statement without comments, blanks squeezed.
fn object(bare: &str) -> Option<String> {
    let rest = strip_word(bare, "create")?;
    let rest = strip_word(rest, "or").and_then(|r| strip_word(r, "replace")).unwrap_or(rest);
    for kind in ["function", "procedure"] {
        if let Some(rest) = strip_word(rest, kind) {
            let (name, arguments) = rest.split_once('(')?;
            return Some(format!("{kind} {}({})", name.trim(), types(enclosed(arguments)?).join(", ")));
        }
    }
    if let Some(rest) = strip_word(rest, "view") {
        return Some(format!("view {}", rest.split([' ', '(']).next()?));
    }
    let rest = strip_word(rest, "trigger")?;
    let mut words = rest.split(' ');
    let name = words.next()?;
    let table = words.skip_while(|w| !w.eq_ignore_ascii_case("on")).nth(1)?;
    Some(format!("trigger {name} on {table}"))
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(word.len())?;
    (head.eq_ignore_ascii_case(word) && tail.starts_with(' ')).then(|| tail.trim_start())
}

/// Up to the parenthesis that closes.
fn enclosed(text: &str) -> Option<&str> {
    let mut depth = 1;
    let close = lex::outside_quotes(text).find(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    })?;
    Some(&text[..close.0])
}

/// The types of the input arguments.
fn types(arguments: &str) -> Vec<String> {
    let mut depth = 0;
    let mut cuts = vec![];
    for (at, c) in lex::outside_quotes(arguments) {
        depth += i32::from(c == '(' || c == '[') - i32::from(c == ')' || c == ']');
        if c == ',' && depth == 0 {
            cuts.push(at);
        }
    }
    let starts = std::iter::once(0).chain(cuts.iter().map(|c| c + 1));
    let ends = cuts.iter().copied().chain([arguments.len()]);
    starts.zip(ends).filter_map(|(from, to)| type_of(arguments[from..to].trim())).collect()
}

/// `p_name text default 'x'` is a `text`; an `out` argument is no part of the signature.
fn type_of(argument: &str) -> Option<String> {
    let lower = argument.to_ascii_lowercase();
    let end = [" default ", "=", ":="].iter().filter_map(|mark| lower.find(mark)).min().unwrap_or(argument.len());
    let mut words: Vec<&str> = argument[..end].split_whitespace().collect();
    match words.first()?.to_ascii_lowercase().as_str() {
        "out" => return None,
        "in" | "inout" | "variadic" => drop(words.remove(0)),
        _ => {}
    }
    Some(words[usize::from(words.len() > 1)..].join(" "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{File, Kind, Schemas, files, number, object};

    fn on_disk(folder: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        let names = entries.map(|e| format!("{folder}/{}", e.unwrap().file_name().to_str().unwrap()));
        names.filter(|n| Path::new(n).extension().is_some_and(|e| e == "sql")).collect()
    }

    #[test]
    fn every_file_of_the_folders_is_embedded_and_nothing_else() {
        let mut expected: BTreeSet<String> =
            ["migrations", "functions", "views", "triggers"].into_iter().flat_map(on_disk).collect();
        if Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/grants.sql").exists() {
            expected.insert("grants.sql".into());
        }
        let embedded: BTreeSet<String> = files().iter().map(|f| f.name.to_owned()).collect();
        assert_eq!(embedded, expected);
    }

    #[test]
    fn migrations_are_numbered_from_1_without_gaps() {
        let versioned = files().into_iter().filter(|f| f.kind == Kind::Versioned);
        let numbers: Vec<u32> = versioned.map(|f| number(f.name)).collect();
        assert_eq!(numbers, (1..=u32::try_from(numbers.len()).unwrap()).collect::<Vec<_>>());
    }

    #[test]
    fn line_ends_do_not_change_a_checksum() {
        let file = |text| File { name: "x", kind: Kind::Versioned, text };
        let here = Schemas::new("a", "b");
        assert_eq!(file("a\r\nb").checksum(&here), file("a\nb").checksum(&here));
        assert_ne!(file("a").checksum(&here), file("b").checksum(&here));
    }

    #[test]
    fn the_signature_of_a_function_is_read_from_its_text() {
        let text = "create or replace function outbox_x(queue text, args jsonb default '[\"a, b)\"]', n numeric(3, 1) = 1, \
                    out z int, variadic ids bigint[], at timestamp with time zone = now()) returns text as $$ ; $$";
        let expected = "function outbox_x(text, jsonb, numeric(3, 1), bigint[], timestamp with time zone)";
        assert_eq!(object(text).as_deref(), Some(expected));
        assert_eq!(object("CREATE FUNCTION f() RETURNS int").as_deref(), Some("function f()"));
        assert_eq!(object("create or replace view outbox_rows as select 1").as_deref(), Some("view outbox_rows"));
        let trigger = "create or replace trigger ring after insert on outbox for each statement execute function f()";
        assert_eq!(object(trigger).as_deref(), Some("trigger ring on outbox"));
        assert_eq!(object("revoke all on function f from public"), None);
    }
}
