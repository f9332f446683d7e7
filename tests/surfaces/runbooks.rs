//! What the runbooks say can be typed, is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use outboxd::fault::CLASSES;
use outboxd::telemetry::metrics::QueueState;

use super::command;
use crate::common::Fixture;

fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = fs::read_dir(root.join("docs/runbooks")).unwrap();
    let pages = folder.map(|entry| entry.unwrap().path()).chain([root.join("README.md")]);
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The commands of outboxd in a page's blocks of code, without comments and what follows a pipe.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2).filter(|block| block.starts_with("sh\n"));
    let lines = blocks.flat_map(|block| block.lines().skip(1));
    let parts =
        lines.flat_map(|line| line.split(" #").next().unwrap_or_default().split([';', '|', '&']).collect::<Vec<_>>());
    parts.map(str::trim).filter(|part| part.starts_with("outboxd ")).map(str::to_owned).collect()
}

#[test]
fn every_command_of_a_runbook_is_understood_as_it_stands_there() {
    let fixture = Fixture::new();
    fixture.database.sql("insert into outbox_queue (queue) values ('celery'), ('default'), ('QUEUE')");
    for (page, text) in pages() {
        for line in commands(&text) {
            let told = line.replace("TASK_ID", "00000000-0000-8000-8000-000000000000");
            let args: Vec<&str> = told.split_whitespace().skip(1).collect();
            if ["run", "demo", "wait"].contains(&args[0]) {
                continue;
            }
            let output = command(&fixture, &args);
            assert_ne!(output.status.code(), Some(2), "{}: {line}: {}", page.display(), output.stderr);
        }
    }
}

/// The words in backticks with which a page's list items begin: what the reader compares with what is in front of them.
fn leads(text: &str) -> BTreeSet<&str> {
    let items = text.lines().filter_map(|line| line.strip_prefix("- "));
    let leads = items.flat_map(|item| {
        let lead = item.split([':', '.']).next().unwrap_or_default();
        lead.split('`').skip(1).step_by(2).collect::<Vec<_>>()
    });
    leads.collect()
}

#[test]
fn every_class_state_and_metric_of_a_runbook_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metrics = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let states: BTreeSet<&str> = QueueState::ALL.iter().map(|state| state.name()).collect();
    for (page, text) in pages() {
        let page = page.file_name().unwrap().to_string_lossy().into_owned();
        for state in text.split("tate `").skip(1).map(|rest| rest.split('`').next().unwrap_or_default()) {
            // Not a session's in Postgres.
            assert!(
                states.contains(state) || state.contains(' ') || ["new", "no_relay"].contains(&state),
                "{page}: state {state}"
            );
        }
        if ["queue-stopped.md", "look-stale.md", "redis-down.md"].contains(&page.as_str()) {
            for class in
                leads(&text).into_iter().filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
            {
                assert!(CLASSES.contains(&class) || class == "memory_percent", "{page}: class {class}");
            }
        }
        let plain = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        for name in text.split(plain).filter(|word| word.starts_with("outboxd_") && !word.ends_with('_')) {
            let name =
                ["_bucket", "_sum", "_count"].iter().fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
            assert!(metrics.contains(name), "{page}: metric {name}");
        }
    }
}
