//! `outbox_once`: a replay of a whole queue has no effect twice, with each of the clients that the docs show.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::stage::{command, json, published, relay};
use crate::common::{Fixture, SOON, celery_program, eventually_blocking};

/// Takes all the queue's messages.
fn take(fixture: &Fixture) -> Vec<String> {
    let len = || fixture.redis.cmd(["LLEN", "jobs"]).unwrap().int();
    assert!(eventually_blocking(SOON, || len() == Some(40)), "{:?} messages", len());
    fixture.redis.cmd(["LPOP", "jobs", "40"]).unwrap().texts()
}

/// Gives messages to a worker; what it says.
fn work(fixture: &Fixture, example: &str, messages: &[String]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(example);
    let mut worker = Command::new(celery_program().with_file_name("python"))
        .arg(script)
        .arg(fixture.database.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    worker.stdin.take().unwrap().write_all((messages.join("\n") + "\n").as_bytes()).unwrap();
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success(), "{example} failed; are the requirements installed (scripts/setup.sh python)?");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn has_no_effect_twice(example: &str) {
    let fixture = Fixture::new();
    fixture.database.sql("create table account (name text primary key, balance bigint not null)");
    fixture.database.sql("insert into account values ('alice', 0), ('bob', 0)");
    let _relay = relay(&fixture, &[]).await;
    fixture.database.sql(
        "insert into outbox (queue, task, args) \
         select 'jobs', 'credit', jsonb_build_array(case n % 2 when 0 then 'alice' else 'bob' end, n) from generate_series(1, 40) n",
    );
    // A worker has taken them when the operator replays all: every task is delivered twice.
    let first = take(&fixture);
    published(&fixture, "jobs");
    let started = command(&fixture, &["replay", "start", "jobs", "--all"]);
    assert!(started.status.success() && started.stdout.contains("40 rows"), "{started:?}");
    let second = take(&fixture);
    assert_eq!(work(&fixture, example, &first), "40 of 40 took effect");
    assert_eq!(work(&fixture, example, &second), "0 of 40 took effect");
    let balances = "select string_agg(name || ' ' || balance, ', ' order by name) from account";
    assert_eq!(fixture.database.sql(balances).trim(), "alice 420, bob 400");
    // What is known to have taken effect is not sent again at all.
    assert_eq!(json(&fixture, &["replay", "plan", "jobs", "--all", "--json"])["rows"], 0);
}

#[tokio::test]
async fn a_replay_of_a_whole_queue_has_no_effect_twice_with_psycopg() {
    has_no_effect_twice("once_psycopg.py").await;
}

#[tokio::test]
async fn a_replay_of_a_whole_queue_has_no_effect_twice_with_sqlalchemy() {
    has_no_effect_twice("once_sqlalchemy.py").await;
}

#[tokio::test]
async fn a_replay_of_a_whole_queue_has_no_effect_twice_with_django() {
    has_no_effect_twice("once_django.py").await;
}
