//! The values of labels, compared with what the sources say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outboxd::fault::CLASSES;
use outboxd::pg::Cause;
use outboxd::telemetry::metrics::labels::{
    CONFIRMS, FAILURES, INCIDENTS, REDIS_ERRORS, REJECTS, SCHEDULED, TENURES, WAKEUPS,
};

/// Every file under `src` with its path, without its tests.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let program = text.split("#[cfg(test)]\nmod").next().unwrap().to_owned();
                found.push((path.to_str().unwrap().rsplit_once("/src/").unwrap().1.to_owned(), program));
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
    found
}

fn source(path: &str) -> String {
    fs::read_to_string(format!("{}/src/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The string with which a text begins, if it is one word in lower case.
fn word(text: &str) -> Option<&str> {
    let (word, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    (!word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some(word)
}

/// Every such string in a text.
fn words(text: &str) -> BTreeSet<&str> {
    text.split('"').skip(1).step_by(2).filter(|inner| word(&format!("\"{inner}\"")).is_some()).collect()
}

/// What follows each occurrence of `start`, up to the next `end`.
fn parts<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.match_indices(start).map(|(at, _)| text[at + start.len()..].split(end).next().unwrap()).collect()
}

fn set<'a>(words: &[&'a str]) -> BTreeSet<&'a str> {
    words.iter().copied().collect()
}

#[test]
fn every_class_of_a_fault_is_listed_and_every_listed_one_is_used() {
    /// Where a class is handed on in a variable: its literals are looked for beside.
    const HANDED_ON: [&str; 4] = ["pg/connect.rs", "pg/error.rs", "relay/publish.rs", "broker/faults.rs"];
    let mut used = BTreeSet::new();
    for (path, text) in sources() {
        for kind in ["Fault::retry(", "Fault::halt(", "Fault::reject("] {
            for rest in text.split(kind).skip(1) {
                match word(rest) {
                    Some(class) => drop(used.insert(class.to_owned())),
                    None => assert!(HANDED_ON.contains(&path.as_str()), "{path}: {kind} without a literal class"),
                }
            }
        }
        let before: &[&str] = match path.as_str() {
            "pg/error.rs" => &["retry(", "halt(", "=> ", "class: "],
            "relay/publish.rs" => &["refused(route,"],
            _ => &[],
        };
        used.extend(before.iter().flat_map(|mark| text.split(mark).skip(1)).filter_map(word).map(str::to_owned));
        if path == "broker/faults.rs" {
            // Rows of its tables: the code, the class, what follows.
            let rows = text.split("Next::").filter_map(|row| row.trim_end().strip_suffix("\","));
            used.extend(rows.filter_map(|row| row.rsplit('"').next()).map(str::to_owned));
        }
    }
    let listed: BTreeSet<String> = CLASSES.iter().map(|&class| class.to_owned()).collect();
    assert_eq!(listed.len(), CLASSES.len(), "a class is listed twice");
    assert_eq!(used, listed);
}

#[test]
fn causes_and_results_are_those_of_the_sources() {
    let answers = source("pg/answers.rs");
    let tenures = words(parts(&answers, "pub const fn name(self)", "from_name")[0]);
    assert_eq!(set(&TENURES), tenures);

    let evidence = source("broker/evidence.rs");
    let breaks = words(parts(&evidence, "pub fn class(&self)", "impl ")[0]);
    let losses = [Cause::RolledBack, Cause::Missing, Cause::Unknown].map(|cause| {
        assert!(cause.is_loss());
        cause.name()
    });
    let relay: Vec<String> =
        sources().into_iter().filter(|(path, _)| path.starts_with("relay/")).map(|it| it.1).collect();
    let said = |marks: &[&str]| -> BTreeSet<&str> {
        let all = relay.iter().flat_map(|text| marks.iter().flat_map(move |mark| parts(text, mark, ";")));
        all.flat_map(words).collect()
    };
    let boundaries = said(&["self.scheduled(", "let cause = doubt.map_or("]);
    let suspended = said(&["metrics.incident("]);
    assert_eq!(set(&SCHEDULED), &set(&losses) | &boundaries);
    assert_eq!(set(&INCIDENTS), &(&(&set(&losses) | &boundaries) | &breaks) | &suspended);

    assert_eq!(set(&CONFIRMS), said(&["metrics.confirm(", "let result = if matches!("]));
    assert_eq!(
        set(&WAKEUPS),
        words(parts(&source("relay/wake.rs"), "let cause = tokio::select!", "metrics.woke")[0])
            .into_iter()
            .filter(|word| *word != "postgres_closed")
            .collect()
    );
}

#[test]
fn what_begins_with_zero_is_a_class() {
    let wire: Vec<_> = sources().into_iter().filter(|(path, _)| path.starts_with("wire/")).collect();
    let rejects = wire.iter().flat_map(|(_, text)| text.split("Fault::reject(").skip(1)).filter_map(word).collect();
    assert_eq!(set(&REJECTS), rejects);
    for class in FAILURES.iter().chain(&REDIS_ERRORS).chain(&REJECTS) {
        assert!(CLASSES.contains(class), "{class}");
    }
}
