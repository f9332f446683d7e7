//! The house rules that a compiler does not check. A rule that must be broken is changed here, in the open.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the library from the bottom up: each may use those on earlier lines and itself, never those of its own
/// line or below.
const ORDER: [&[&str]; 8] = [
    &["task", "batch", "fault", "failpoint", "sandbox", "tls"],
    &["wire"],
    &["config"],
    &["telemetry"],
    &["pg", "broker"],
    &["relay"],
    &["cli"],
    &["main"],
];

/// Plain values that may know each other.
const VALUES: &[&str] = &["task", "batch", "fault", "failpoint"];

/// Who alone may name a driver crate.
const DRIVERS: [(&str, &str); 4] =
    [("tokio_postgres", "src/pg"), ("deadpool_postgres", "src/pg"), ("redis", "src/broker"), ("figment", "src/config")];

#[test]
fn every_file_says_what_it_is_for_and_stays_short() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files(&["src", "tests", "benches"]) {
        let (lines, limit) = (text.lines().count(), if path.starts_with("src") { 400 } else { 600 });
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: does not open with a line `//! ...`", path.display()));
        }
        if lines > limit {
            wrong.push(format!("{}: {lines} lines, {limit} are allowed", path.display()));
        }
    }
    for (path, text) in files(&["sql"], "sql") {
        if !text.starts_with("-- ") {
            wrong.push(format!("{}: does not open with a comment", path.display()));
        }
    }
    assert_none(&wrong);
}

#[test]
fn a_driver_is_named_in_its_own_folder_only() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files(&["src"]) {
        for (number, line) in code(&text) {
            for (driver, home) in DRIVERS {
                if !path.starts_with(home) && names_crate(line, driver) {
                    wrong.push(format!("{}:{number}: names {driver}, which belongs to {home}", path.display()));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files(&["src"]) {
        let own = module(&path);
        if own == "lib" {
            continue;
        }
        let Some(height) = floor_of(&own) else {
            wrong.push(format!("{}: the module {own} has no place in ORDER", path.display()));
            continue;
        };
        for (number, line) in code(&text) {
            for used in uses(line) {
                let values = VALUES.contains(&own.as_str()) && VALUES.contains(&used);
                if used != own && !values && floor_of(used) >= Some(height) {
                    wrong.push(format!("{}:{number}: {own} uses {used}", path.display()));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn sql_stands_in_files_and_not_in_rust_strings() {
    const OPENINGS: [&str; 14] = [
        "select ",
        "insert into ",
        "delete from ",
        "create table ",
        "create schema ",
        "create function ",
        "create index ",
        "create role ",
        "alter table ",
        "alter role ",
        "drop table ",
        "drop schema ",
        "truncate table ",
        "with recursive ",
    ];
    let mut wrong = Vec::new();
    // Redis has a SELECT of its own.
    for (path, text) in rust_files(&["src"]).into_iter().filter(|(path, _)| !path.starts_with("src/broker")) {
        for (number, line) in code(&text) {
            let line = line.to_ascii_lowercase();
            if OPENINGS.iter().any(|opening| line.contains(&format!("\"{opening}"))) {
                wrong.push(format!("{}:{number}: SQL belongs into a file under sql/", path.display()));
            }
        }
    }
    assert_none(&wrong);
}

/// Redis Software and Redis Cloud let no script call INFO, among others: these every server allows.
const IN_SCRIPTS: [&str; 9] = ["HGET", "HSET", "LLEN", "LPUSH", "RPUSH", "TIME", "TYPE", "XADD", "XGROUP"];

#[test]
fn a_script_calls_only_what_every_server_allows_in_scripts() {
    let (mut wrong, mut calls) = (Vec::new(), 0);
    for (path, text) in files(&["src/broker"], "lua") {
        for call in text.split("redis.call(").chain(text.split("redis.pcall(")).filter(|call| call.starts_with('\'')) {
            let command = call[1..].split('\'').next().unwrap_or_default();
            calls += 1;
            // XINFO GROUPS beside them; a server that refuses it creates the group instead.
            if !IN_SCRIPTS.contains(&command) && command != "XINFO" {
                wrong.push(format!("{}: calls {command}", path.display()));
            }
        }
    }
    assert!(calls >= 8, "the scripts are not found");
    assert_none(&wrong);
}

#[test]
fn what_stands_in_the_applications_schema_is_named_with_it() {
    // The machinery's schema alone is in the search_path of functions: unqualified, none of these would be found.
    const PUBLIC: [&str; 11] = [
        "outbox",
        "outbox_rows",
        "outbox_enqueue",
        "outbox_enqueue_many",
        "outbox_enqueue_raw",
        "outbox_cancel",
        "outbox_status",
        "outbox_ack",
        "outbox_ack_many",
        "outbox_fail",
        "outbox_once",
    ];
    // A sentence that names a function, a channel, a column with its table, a setting.
    let quoted = |before: &str, after: &str| before.matches('\'').count() % 2 == 1 || after.starts_with('.');
    let mut wrong = Vec::new();
    for (path, text) in files(&["sql/migrations", "sql/functions", "sql/views", "sql/triggers", "sql/queries"], "sql") {
        for (number, line) in text.lines().enumerate() {
            let line = line.split("--").next().unwrap_or_default();
            for name in PUBLIC {
                for (at, _) in line.match_indices(name) {
                    let (before, after) = (&line[..at], &line[at + name.len()..]);
                    let word = |c: char| c.is_alphanumeric() || c == '_';
                    let part = before.ends_with(word) || after.starts_with(word);
                    if !part && !before.ends_with("/*app.*/") && !quoted(before, after) {
                        wrong.push(format!("{}:{}: {name} without /*app.*/ before it", path.display(), number + 1));
                    }
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn no_value_of_an_answer_is_read_in_a_way_that_can_panic() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files(&["src"]).into_iter().filter(|(path, _)| path.starts_with("src/pg")) {
        for (number, line) in code(&text) {
            if line.contains("row.get(") || line.contains("row.get::<") || line.contains(")?.get(0)") {
                wrong.push(format!("{}:{number}: `get` panics; use value::get", path.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn a_test_that_sleeps_says_why() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files(&["tests"]) {
        let mut before = "";
        for (number, line) in text.lines().enumerate() {
            let sleeps = line.contains(concat!("sleep", "(")) || line.contains(concat!("sleep_until", "("));
            if sleeps && !line.contains("//") && !before.trim_start().starts_with("//") {
                wrong.push(format!("{}:{}: sleeps without a reason", path.display(), number + 1));
            }
            before = line;
        }
    }
    assert_none(&wrong);
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_open() {
    let marks = [concat!("#[ig", "nore"), concat!("to", "do!("), concat!("unimple", "mented!("), concat!("TO", "DO")];
    let marks = [marks.as_slice(), &[concat!("FIX", "ME"), concat!("XX", "X:")]].concat();
    assert_none(&lines_with(&marks));
}

#[test]
fn nothing_names_a_path_of_one_machine() {
    assert_none(&lines_with(&[
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
    ]));
}

fn lines_with(needles: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    let folders = ["src", "sql", "tests", "benches", "scripts", "docs", "deploy", "helm", ".github", ".ci", "."];
    for (path, text) in files(&folders, "") {
        for (number, line) in text.lines().enumerate() {
            if let Some(needle) = needles.iter().find(|needle| line.contains(**needle)) {
                wrong.push(format!("{}:{}: {needle}", path.display(), number + 1));
            }
        }
    }
    wrong
}

/// Lines that are part of the program: no comments, nothing after the first `#[cfg(test)]`.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.contains("#[cfg(test)]"));
    lines.map(|(number, line)| (number + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether a path in this line begins with the crate: `redis::`, `use redis;`, but neither `crate::redis::` nor
/// `my_redis::`.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        let own = before.is_empty() || before.ends_with([' ', '(', '<', '&', ',', '{', '[', '!', '=', '|']);
        let import = before.trim_end().ends_with("use") && after.starts_with([';', ' ']);
        own && (after.starts_with("::") || import)
    })
}

/// The modules that a line reaches by `crate::`.
fn uses(line: &str) -> Vec<&str> {
    let paths = line.split("crate::").skip(1);
    let names = paths.flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split(',').collect::<Vec<_>>(),
        None => vec![rest],
    });
    let names = names.map(|name| name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(""));
    names.filter(|name| floor_of(name).is_some()).collect()
}

/// How far up a module stands.
fn floor_of(module: &str) -> Option<usize> {
    ORDER.iter().position(|line| line.contains(&module))
}

/// The top-level module of a file under `src`.
fn module(path: &Path) -> String {
    let part = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    part.trim_end_matches(".rs").to_owned()
}

fn rust_files(folders: &[&str]) -> Vec<(PathBuf, String)> {
    files(folders, "rs")
}

/// Every text file with this ending (any, if empty) under the folders; of `.` itself only the files.
fn files(folders: &[&str], ending: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), *folder != ".", &mut found);
    }
    let fits = |path: &PathBuf| ending.is_empty() || path.extension().is_some_and(|e| e == ending);
    let named = found.into_iter().filter(fits).filter(|path| path.extension().is_none_or(|e| e != "lock"));
    let read = named.filter_map(|path| Some((path.clone(), fs::read_to_string(&path).ok()?)));
    read.map(|(path, text)| (path.strip_prefix(root).unwrap().to_owned(), text)).collect()
}

fn walk(folder: &Path, deep: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // In a linked checkout `.git` is a file with a path.
        if path.is_file() && !path.ends_with(".git") {
            found.push(path);
        } else if deep && path.is_dir() && !entry.file_name().to_string_lossy().starts_with("__pycache__") {
            walk(&path, deep, found);
        }
    }
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
