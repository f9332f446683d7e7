//! `outboxd repair`: a database that was restored from a dump relays again, and publishes what was not proven consumed.

use std::process::Command;

use outboxd::sandbox::postgres_program;

use super::stage::{QUICK, command, confirmed, consume, holds, insert, listed, relay};
use crate::common::{Database, Fixture, RelayProcess, SOON, config, eventually_blocking, outboxd};

/// A copy of the stage's database, by `pg_dump` and `pg_restore`.
fn restored(fixture: &Fixture) -> Database {
    let file = fixture.sandbox.folder().join("dump");
    let mut dump = Command::new(postgres_program("pg_dump").unwrap());
    assert!(dump.args(["-Fc", "-d", &fixture.database.url(), "-f"]).arg(&file).status().unwrap().success());
    let restored = Database::empty();
    let mut restore = Command::new(postgres_program("pg_restore").unwrap());
    assert!(restore.args(["--exit-on-error", "-d", &restored.url()]).arg(&file).status().unwrap().success());
    restored
}

fn ids(database: &Database, sql: &str) -> Vec<String> {
    database.sql(sql).lines().map(str::to_owned).collect()
}

const DELAYED: &str =
    "insert into outbox (queue, task, deliver_at) values ('jobs', 'later', now() + interval '1 h') returning task_id";

#[tokio::test]
async fn a_restored_database_is_refused_until_it_is_repaired_and_then_publishes_what_was_not_consumed() {
    let mut fixture = Fixture::new();
    let mut before = relay(&fixture, &[]).await;
    let jobs = insert(&fixture, "jobs", 10);
    let held = ids(&fixture.database, DELAYED);
    holds(&fixture, "jobs", &jobs);
    let consumed = consume(&fixture, "jobs", 4);
    fixture.redis.cmd(["LMOVE", "jobs", "work", "LEFT", "RIGHT"]).unwrap();
    confirmed(&fixture, "jobs", 6);
    assert!(before.stop().success());
    let pending = insert(&fixture, "jobs", 2);
    let unplanned = ids(&fixture.database, DELAYED);
    let never = insert(&fixture, "never", 3);
    let dead = insert(&fixture, "never", 1);
    fixture.database.sql(&format!("select outbox_fail('{}', 'Error', 'gone')", dead[0]));

    fixture.database = restored(&fixture);
    let url = fixture.database.url();
    let mut refused = RelayProcess::start(&fixture.sandbox, &fixture.config(QUICK), &[], &[]);
    assert_eq!(refused.wait(SOON).code(), Some(1));
    let said = refused.events().iter().any(|event| event.text("reason").contains("outboxd repair"));
    assert!(said, "{:?}", refused.events());

    let finds = command(&fixture, &["repair"]);
    assert_eq!(finds.status.code(), Some(3), "{finds:?}");
    assert!(finds.stderr.contains("outboxd repair --yes") && finds.stderr.contains("restored"), "{finds:?}");
    assert_eq!(command(&fixture, &["repair"]).status.code(), Some(3), "asking changes nothing");
    let done = command(&fixture, &["repair", "--yes", "--json"]);
    assert!(done.status.success(), "{done:?}");
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(told, serde_json::json!({ "rows": 11, "queues": { "jobs": 8, "never": 3 } }));
    let again = command(&fixture, &["repair", "--yes"]);
    assert!(again.status.success() && again.stderr.contains("nothing to repair"), "{again:?}");

    // The old Redis is gone with the old database.
    fixture.redis.flushall().unwrap();
    let mut after = RelayProcess::ready(&fixture.sandbox, &config(&url, &fixture.redis.url(0), QUICK), &[], &[]).await;
    let mut wanted: Vec<String> = jobs.iter().filter(|id| !consumed.contains(id)).cloned().collect();
    wanted.extend(pending);
    holds(&fixture, "jobs", &wanted);
    holds(&fixture, "never", &never);
    wanted.extend(insert(&fixture, "jobs", 3));
    holds(&fixture, "jobs", &wanted);
    for id in held.iter().chain(&unplanned) {
        assert_eq!(fixture.database.sql(&format!("select outbox_status('{id}')")).trim(), "held");
        assert_eq!(fixture.database.sql(&format!("select outbox_cancel('{id}')")).trim(), "t");
    }
    let open = "select count(*) from outbox_incident where recovered_at is null";
    assert!(eventually_blocking(SOON, || fixture.database.sql(open).trim() == "0"), "the incidents end");
    assert!(after.stop().success());
    assert_eq!(listed(&fixture, "jobs").len(), wanted.len());
}

#[tokio::test]
async fn a_repaired_database_on_the_same_redis_brings_again_only_what_was_not_consumed_and_all_that_is_new() {
    let mut fixture = Fixture::new();
    let mut before = relay(&fixture, &[]).await;
    let jobs = insert(&fixture, "jobs", 10);
    holds(&fixture, "jobs", &jobs);
    consume(&fixture, "jobs", 7);
    confirmed(&fixture, "jobs", 3);
    fixture.database = restored(&fixture);
    // Published by the old database after the dump was made: this one does not know of it.
    assert!(before.stop().success());
    assert!(command(&fixture, &["repair", "--yes"]).status.success());
    let _after = relay(&fixture, &[]).await;
    assert!(eventually_blocking(SOON, || listed(&fixture, "jobs").len() == 6), "{:?}", listed(&fixture, "jobs"));
    let new = insert(&fixture, "jobs", 200);
    assert!(eventually_blocking(SOON, || listed(&fixture, "jobs").len() == 206));
    assert_eq!(listed(&fixture, "jobs")[..3], jobs[7..]);
    assert_eq!(listed(&fixture, "jobs")[3..6], jobs[7..]);
    assert_eq!(listed(&fixture, "jobs")[6..], new);
}

#[test]
fn a_database_that_needs_no_repair_is_left_alone() {
    let fixture = Fixture::new();
    for args in [&["repair"][..], &["repair", "--yes"]] {
        let output = command(&fixture, args);
        assert!(output.status.success() && output.stderr.contains("nothing to repair"), "{output:?}");
    }
    assert_eq!(command(&fixture, &["repair", "--force"]).status.code(), Some(2), "only together with --yes");
    let gone = outboxd(&["repair"], &[("DATABASE_URL", "postgres://127.0.0.1:1/x")], fixture.sandbox.folder());
    assert_eq!(gone.status.code(), Some(69), "{gone:?}");
}
