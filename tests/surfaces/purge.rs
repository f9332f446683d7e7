//! `outboxd queue purge`, `move-rows` and `forget`.

use super::{command, get, json, len, listening};
use crate::common::{Fixture, SOON, eventually_blocking};

fn sql(fixture: &Fixture, text: &str) -> String {
    fixture.database.sql(text)
}

fn cancelled(fixture: &Fixture) -> i64 {
    sql(fixture, "select count(*) from outbox_rows where queue = 'a' and state = 'cancelled'").parse().unwrap()
}

#[tokio::test]
async fn purged_rows_are_never_published_and_a_flush_brings_back_only_the_others() {
    let fixture = Fixture::new();
    let (mut relay, _) = listening(&fixture, "").await;
    sql(&fixture, "insert into outbox (queue, task) select 'a', 't' from generate_series(1, 3)");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert!(command(&fixture, &["queue", "pause", "a"]).status.success());
    sql(&fixture, "insert into outbox (queue, task) select 'a', 't' from generate_series(1, 5)");
    sql(&fixture, "insert into outbox (queue, task, deliver_at) values ('a', 't', now() + interval '1 hour')");
    let counted = command(&fixture, &["queue", "purge", "a"]);
    assert!(counted.stdout.contains("rows that would be discarded: 5 pending; --yes does it"), "{counted:?}");
    assert!(counted.stderr.contains("1 more rows wait for a time; --held"), "{counted:?}");
    assert_eq!(cancelled(&fixture), 0, "counting changes nothing");
    let purged = json(&fixture, &["queue", "purge", "a", "--yes", "--reason", "sent twice", "--json"]);
    assert_eq!((&purged["pending"], &purged["held"], &purged["again"]), (&5.into(), &0.into(), &0.into()), "{purged}");
    let incident = purged["incident"].to_string();
    assert!(command(&fixture, &["incident", "show", &incident]).stdout.contains("sent twice"));
    assert_eq!(json(&fixture, &["status", "--json"])["queues"][0]["pending"], 0);
    assert_eq!(json(&fixture, &["queue", "purge", "a", "--yes", "--json"])["pending"], 0, "again: nothing is left");

    assert!(command(&fixture, &["queue", "resume", "a"]).status.success());
    sql(&fixture, "insert into outbox (queue, task) values ('a', 't')");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert_eq!(len(&fixture, "a"), 4);
    assert_eq!(cancelled(&fixture), 5);
    fixture.redis.cmd(["FLUSHALL"]).unwrap();
    relay.wait_event("queue.recovered", |_| true, SOON).await;
    assert_eq!(len(&fixture, "a"), 4);
    let held = json(&fixture, &["queue", "purge", "a", "--held", "--yes", "--json"]);
    assert_eq!(held["held"], 1);
    assert_eq!(json(&fixture, &["status", "--json"])["queues"][0]["held"], 0);
}

#[tokio::test]
async fn rows_that_are_scheduled_again_after_a_loss_can_be_purged_too() {
    let fixture = Fixture::new();
    let (mut relay, _) = listening(&fixture, "").await;
    sql(&fixture, "insert into outbox (queue, task) select 'a', 't' from generate_series(1, 3)");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert!(relay.stop().success());
    assert!(command(&fixture, &["replay", "start", "a", "--all"]).status.success());
    let purged = json(&fixture, &["queue", "purge", "a", "--yes", "--json"]);
    assert_eq!(purged["again"], 3, "{purged}");
    fixture.redis.cmd(["FLUSHALL"]).unwrap();
    let (_relay, _) = listening(&fixture, "").await;
    sql(&fixture, "insert into outbox (queue, task) values ('a', 't')");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert_eq!(len(&fixture, "a"), 1);
}

#[tokio::test]
async fn a_broker_that_is_flushed_on_purpose_after_a_purge_stays_empty() {
    let fixture = Fixture::new();
    let (mut relay, _) = listening(&fixture, "").await;
    sql(&fixture, "insert into outbox (queue, task) select 'celery', 't' from generate_series(1, 3)");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    // The line as the runbook has it.
    let page = include_str!("../../docs/runbooks/unwanted-tasks.md");
    let line = page.lines().find(|line| line.contains("FLUSHDB")).unwrap();
    let (before, flush) = line.split_once(" && ").unwrap();
    let args: Vec<&str> = before.split_whitespace().skip(1).collect();
    let purged = command(&fixture, &args);
    assert!(purged.stdout.contains("3 published"), "{purged:?}");
    assert_eq!(len(&fixture, "celery"), 3, "what stands in Redis stays there");
    assert!(flush.starts_with("redis-cli") && flush.contains("FLUSHDB"), "{flush}");
    fixture.redis.cmd(["FLUSHDB"]).unwrap();
    relay.wait_event("queue.opened", |event| event.text("cause") == "missing", SOON).await;
    sql(&fixture, "insert into outbox (queue, task) values ('celery', 't')");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert_eq!(len(&fixture, "celery"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_beside_a_publishing_relay_and_a_writer_takes_each_row_once() {
    let fixture = Fixture::new();
    let _relay = listening(&fixture, "").await;
    let writer = fixture.database.connect().await;
    let writing = tokio::spawn(async move {
        for _ in 0..200 {
            let insert = "insert into outbox (queue, task) select 'a', 't' from generate_series(1, 10)";
            writer.batch_execute(insert).await.unwrap();
        }
    });
    let mut discarded = 0;
    while !writing.is_finished() {
        let purged = tokio::task::block_in_place(|| command(&fixture, &["queue", "purge", "a", "--yes", "--json"]));
        // Before the first commit there is no such queue.
        if purged.status.success() {
            let purged: serde_json::Value = serde_json::from_str(&purged.stdout).unwrap();
            discarded += purged["pending"].as_i64().unwrap();
        }
    }
    writing.await.unwrap();
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert_eq!((len(&fixture, "a") + discarded, cancelled(&fixture)), (2000, discarded));
}

#[tokio::test]
async fn rows_of_a_mistyped_queue_are_published_in_the_right_one_under_their_ids() {
    let fixture = Fixture::new();
    sql(&fixture, "insert into outbox (queue, task, args) values ('defualt', 't', '[1]'), ('defualt', 't', '[2]')");
    sql(&fixture, "insert into outbox (queue, task, deliver_at) values ('defualt', 't', now() + interval '1 hour')");
    let ids = |queue: &str| {
        sql(
            &fixture,
            &format!("select string_agg(task_id::text, ',' order by args) from outbox where queue = '{queue}'"),
        )
    };
    let counted = command(&fixture, &["queue", "move-rows", "defualt", "default"]);
    assert!(counted.stdout.contains("3 rows would be published in \"default\" instead"), "{counted:?}");
    let moved = command(&fixture, &["queue", "move-rows", "defualt", "default", "--yes"]);
    assert!(moved.stdout.contains("3 rows are published in \"default\" instead"), "{moved:?}");
    assert_eq!(ids("default"), ids("defualt"));
    let (mut relay, _) = listening(&fixture, "").await;
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert_eq!((len(&fixture, "default"), len(&fixture, "defualt")), (2, 0));
    assert_eq!(
        sql(&fixture, "select outbox_status(task_id) from outbox where queue = 'default' and args = '[1]'"),
        "dispatched"
    );
    fixture.redis.cmd(["FLUSHALL"]).unwrap();
    relay.wait_event("queue.recovered", |event| event.text("queue") == "default", SOON).await;
    assert_eq!((len(&fixture, "default"), len(&fixture, "defualt")), (2, 0));
}

#[tokio::test]
async fn a_queue_without_rows_is_forgotten_everywhere_and_comes_back_with_a_row() {
    let fixture = Fixture::new();
    let (mut relay, at) = listening(&fixture, "[defaults]\nconfirm = \"none\"\n").await;
    sql(&fixture, "insert into outbox (queue, task) values ('a', 't')");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    let refused = command(&fixture, &["queue", "forget", "a"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("still in the log") && refused.stderr.contains("retention.min"), "{refused:?}");
    // As a rotation does once everything is done.
    sql(&fixture, "truncate outbox");
    let forgotten = command(&fixture, &["queue", "forget", "a"]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    assert!(!forgotten.stderr.contains("marker"), "{forgotten:?}");
    relay.wait_event("queue.forgotten", |event| event.text("queue") == "a", SOON).await;
    let silent = || !get(&at, "/metrics").1.contains("queue=\"a\"");
    assert!(eventually_blocking(SOON, silent));
    assert_eq!(fixture.redis.cmd(["EXISTS", "outbox:m:{a}"]).unwrap().int(), Some(0));
    assert_eq!(json(&fixture, &["status", "--json"])["queues"].as_array().unwrap().len(), 0);
    sql(&fixture, "insert into outbox (queue, task) values ('a', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 2));
}
