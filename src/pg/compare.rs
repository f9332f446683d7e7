//! What a database has against what this program brings: pure, so that every case has a test.

use std::cmp::Ordering;

use super::names::Schemas;
use super::schema::{File, GRANTS, Kind, log_of};

/// The log, as an object of a migration.
pub(super) const LOG: &str = "table app.outbox";

/// What a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct There {
    /// The rows of the bookkeeping table; none in a database that has nothing yet.
    pub(super) applied: Vec<Applied>,
    /// Whether it has the log.
    pub(super) log: bool,
}

/// One row of the bookkeeping table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) checksum: String,
    pub(super) release: String,
    /// Functions and views of the file that are not in the database any more.
    pub(super) gone: Vec<String>,
}

/// Why a file is to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It never was.
    New,
    /// Its text has changed since.
    Changed,
    /// Somebody dropped what it made.
    Gone(Vec<String>),
    /// It may depend on something else that is applied.
    Again,
    /// This release has no such file: what it made is dropped.
    Removed,
}

/// One step of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The file below `sql/`.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// How the schema stands to this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing to do.
    Current,
    /// These steps bring it up to date.
    Behind(Vec<Step>),
    /// A later release made it. `compatible`: of the same series, so that this program can work with it.
    Ahead {
        /// That release.
        release: String,
        /// Whether this program can work with it.
        compatible: bool,
    },
    /// Applied migrations whose text is not the one that was applied.
    Edited(Vec<String>),
    /// Migrations that no release up to this one has.
    Foreign(Vec<String>),
}

/// Compares.
pub(super) fn compare(files: &[File], schemas: &Schemas, there: &There, release: &str) -> Standing {
    let rows = &there.applied;
    let row = |name: &str| rows.iter().find(|r| r.name == name);
    let edited =
        |f: &&File| f.kind == Kind::Versioned && row(f.name).is_some_and(|r| r.checksum != f.checksum(schemas));
    let edited: Vec<String> = files.iter().filter(edited).map(|f| f.name.to_owned()).collect();
    if !edited.is_empty() {
        return Standing::Edited(edited);
    }
    let newest = rows.iter().map(|r| r.release.as_str()).max_by(|a, b| order(a, b));
    if let Some(newest) = newest.filter(|n| order(n, release) == Ordering::Greater) {
        return Standing::Ahead { release: newest.to_owned(), compatible: series(newest) == series(release) };
    }
    let known = |name: &str| files.iter().any(|f| f.name == name);
    let unknown: Vec<&Applied> = rows.iter().filter(|r| !known(&r.name)).collect();
    let foreign = unknown.iter().filter(|r| r.kind == Kind::Versioned.as_str());
    let foreign: Vec<String> = foreign.map(|r| r.name.clone()).collect();
    if !foreign.is_empty() {
        return Standing::Foreign(foreign);
    }
    let mut steps = steps(files, schemas, there, &row);
    steps.extend(unknown.iter().map(|r| Step { name: r.name.clone(), why: Why::Removed }));
    if steps.is_empty() { Standing::Current } else { Standing::Behind(steps) }
}

fn steps<'a>(
    files: &[File],
    schemas: &Schemas,
    there: &There,
    row: &impl Fn(&str) -> Option<&'a Applied>,
) -> Vec<Step> {
    // With the log, its triggers, its view and the functions that answer with its rows have gone.
    let versioned_pending = files.iter().any(|f| f.kind == Kind::Versioned && (row(f.name).is_none() || !there.log));
    let mut steps: Vec<Step> = Vec::new();
    for file in files {
        let why = match row(file.name) {
            None => Some(Why::New),
            Some(_) if file.kind == Kind::Versioned && !there.log && log_of(file.text).is_some() => {
                Some(Why::Gone(vec![LOG.to_owned()]))
            }
            Some(r) if r.checksum != file.checksum(schemas) => Some(Why::Changed),
            Some(r) if !r.gone.is_empty() => Some(Why::Gone(r.gone.clone())),
            Some(_) if file.kind == Kind::Repeatable && versioned_pending => Some(Why::Again),
            Some(_) if file.name == GRANTS && !steps.is_empty() => Some(Why::Again),
            Some(_) => None,
        };
        steps.extend(why.map(|why| Step { name: file.name.to_owned(), why }));
    }
    steps
}

/// Releases are compared number by number; what follows a hyphen does not count.
fn order(a: &str, b: &str) -> Ordering {
    numbers(a).cmp(&numbers(b))
}

fn numbers(release: &str) -> [u64; 3] {
    let core = release.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|n| n.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Releases of one series only add to the schema: 1.x, or 0.1.x before 1.0.
fn series(release: &str) -> (u64, u64) {
    match numbers(release) {
        [0, minor, _] => (0, minor),
        [major, ..] => (major, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::{Applied, Schemas, Standing, Step, There, Why};
    use crate::pg::schema::{File, GRANTS, Kind};

    const ONE: File = File { name: "migrations/0001_a.sql", kind: Kind::Versioned, text: "a" };
    const FUN: File = File { name: "functions/f.sql", kind: Kind::Repeatable, text: "f" };
    const RIGHTS: File = File { name: GRANTS, kind: Kind::Repeatable, text: "g" };
    const ALL: [File; 3] = [ONE, FUN, RIGHTS];

    fn here() -> Schemas {
        Schemas::new("app", "internal")
    }

    fn compare(files: &[File], rows: &[Applied], release: &str) -> Standing {
        super::compare(files, &here(), &There { applied: rows.to_vec(), log: true }, release)
    }

    fn applied(file: &File, release: &str) -> Applied {
        let (name, kind) = (file.name.to_owned(), file.kind.as_str().to_owned());
        Applied { name, kind, checksum: file.checksum(&here()), release: release.to_owned(), gone: vec![] }
    }

    fn all(release: &str) -> Vec<Applied> {
        ALL.iter().map(|f| applied(f, release)).collect()
    }

    fn step(file: &File, why: Why) -> Step {
        Step { name: file.name.to_owned(), why }
    }

    #[test]
    fn an_empty_database_needs_everything_and_a_current_one_nothing() {
        let steps = ALL.iter().map(|f| step(f, Why::New)).collect();
        assert_eq!(compare(&ALL, &[], "1.2.3"), Standing::Behind(steps));
        assert_eq!(compare(&ALL, &all("1.2.3"), "1.2.3"), Standing::Current);
        assert_eq!(compare(&ALL, &all("1.1.0"), "1.2.3"), Standing::Current);
    }

    #[test]
    fn a_changed_function_is_applied_and_the_rights_after_it() {
        let mut rows = all("1.0.0");
        rows[1].checksum = "old".into();
        let steps = vec![step(&FUN, Why::Changed), step(&RIGHTS, Why::Again)];
        assert_eq!(compare(&ALL, &rows, "1.0.0"), Standing::Behind(steps));
    }

    #[test]
    fn a_new_migration_applies_every_repeatable_again() {
        let rows = &all("1.0.0")[1..];
        let steps = vec![step(&ONE, Why::New), step(&FUN, Why::Again), step(&RIGHTS, Why::Again)];
        assert_eq!(compare(&ALL, rows, "1.0.0"), Standing::Behind(steps));
    }

    #[test]
    fn a_dropped_function_is_made_again_and_one_of_an_old_release_is_removed() {
        let mut rows = all("1.0.0");
        rows[1].gone = vec!["function f()".into()];
        let steps = vec![step(&FUN, Why::Gone(rows[1].gone.clone())), step(&RIGHTS, Why::Again)];
        assert_eq!(compare(&ALL, &rows, "1.0.0"), Standing::Behind(steps));
        let steps = vec![step(&FUN, Why::Removed)];
        assert_eq!(compare(&[ONE, RIGHTS], &all("1.0.0"), "1.0.0"), Standing::Behind(steps));
    }

    #[test]
    fn a_log_that_was_dropped_is_made_again_and_all_that_hangs_on_it() {
        const LOG: File = File { text: "a\n-- log {\nl\n-- } log\nb", ..ONE };
        let rows = [applied(&LOG, "1.0.0"), applied(&FUN, "1.0.0"), applied(&RIGHTS, "1.0.0")];
        let there = There { applied: rows.to_vec(), log: false };
        let gone = Why::Gone(vec!["table app.outbox".into()]);
        let steps = vec![step(&LOG, gone), step(&FUN, Why::Again), step(&RIGHTS, Why::Again)];
        let found = super::compare(&[LOG, FUN, RIGHTS], &here(), &there, "1.0.0");
        assert_eq!(found, Standing::Behind(steps));
    }

    #[test]
    fn a_schema_that_was_renamed_has_its_functions_applied_again_and_no_migration() {
        let there = There { applied: all("1.0.0"), log: true };
        let steps = vec![step(&FUN, Why::Changed), step(&RIGHTS, Why::Changed)];
        let renamed = Schemas::new("renamed", "internal");
        assert_eq!(super::compare(&ALL, &renamed, &there, "1.0.0"), Standing::Behind(steps));
    }

    #[test]
    fn an_edited_migration_is_an_error_whatever_else_there_is() {
        let mut rows = all("9.0.0");
        rows[0].checksum = "old".into();
        assert_eq!(compare(&ALL, &rows, "1.0.0"), Standing::Edited(vec![ONE.name.into()]));
    }

    #[test]
    fn a_later_release_is_accepted_within_its_series() {
        let ahead = |there, here| match compare(&ALL, &all(there), here) {
            Standing::Ahead { compatible, .. } => compatible,
            other => panic!("{other:?}"),
        };
        assert!(ahead("1.10.0", "1.9.9"));
        assert!(!ahead("2.0.0", "1.9.9"));
        assert!(ahead("0.1.2", "0.1.1"));
        assert!(!ahead("0.2.0", "0.1.9"));
    }

    #[test]
    fn a_migration_that_no_release_has_is_not_touched() {
        let mut rows = all("1.0.0");
        rows.push(Applied { name: "migrations/0002_b.sql".into(), ..rows[0].clone() });
        assert_eq!(compare(&ALL, &rows, "1.0.0"), Standing::Foreign(vec!["migrations/0002_b.sql".into()]));
    }
}
