//! Consumers of each kind, and a loss: what they were done with does not come again, what they were not does, exactly.

use std::collections::BTreeSet;

use outboxd::sandbox::{Persistence, RedisOptions};
use rustix::process::Signal;

use super::stage::{QUICK, answers, confirmed, consume, holds, insert, listed, relay};
use crate::common::{Fixture, RelayProcess, SOON, eventually_blocking};

#[tokio::test]
async fn a_flush_brings_again_what_was_waiting_and_what_was_under_way_in_a_processing_list() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &[]).await;
    let rows = insert(&fixture, "jobs", 20);
    holds(&fixture, "jobs", &rows);
    for _ in 0..3 {
        fixture.redis.cmd(["LMOVE", "jobs", "work", "LEFT", "RIGHT"]).unwrap();
    }
    consume(&fixture, "jobs", 12);
    confirmed(&fixture, "jobs", 8);
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.recovered", |_| true, SOON).await;
    holds(&fixture, "jobs", &[&rows[..3], &rows[15..]].concat());
    // And once more, out of the copies.
    consume(&fixture, "jobs", 8);
    confirmed(&fixture, "jobs", 0);
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.recovered", |_| true, SOON).await;
    assert!(listed(&fixture, "jobs").is_empty());
    let last = insert(&fixture, "jobs", 1);
    holds(&fixture, "jobs", &last);
}

/// The task ids in a stream.
fn streamed(fixture: &Fixture, key: &str) -> Vec<String> {
    let entries = fixture.redis.cmd(["XRANGE", key, "-", "+"]).unwrap();
    entries.items().iter().map(|entry| entry.items()[1].texts()[1].clone()).collect()
}

#[tokio::test]
async fn a_flush_brings_again_what_a_group_of_a_stream_had_not_acknowledged() {
    let fixture = Fixture::new();
    let more = format!("{QUICK}[queues.events]\nformat = \"stream\"\ngroup = \"workers\"\n");
    let mut relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(&more), &[], &[]).await;
    let rows = insert(&fixture, "events", 20);
    assert!(eventually_blocking(SOON, || streamed(&fixture, "events").len() == 20));
    let read = ["XREADGROUP", "GROUP", "workers", "one", "COUNT", "15", "STREAMS", "events", ">"];
    let read = fixture.redis.cmd(read).unwrap();
    let entries = read.items()[0].items()[1].items();
    let names: Vec<String> = entries.iter().take(12).map(|entry| entry.items()[0].text().unwrap()).collect();
    for name in &names {
        fixture.redis.cmd(["XACK", "events", "workers", name]).unwrap();
    }
    confirmed(&fixture, "events", 8);
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.recovered", |_| true, SOON).await;
    let found: BTreeSet<String> = streamed(&fixture, "events").into_iter().collect();
    assert_eq!(streamed(&fixture, "events").len(), 8);
    assert_eq!(found, rows[12..].iter().cloned().collect());
}

#[tokio::test]
async fn a_restart_that_kept_everything_brings_again_only_what_is_absent_and_was_not_confirmed() {
    let options = RedisOptions { persistence: Persistence::AofAlways, ..RedisOptions::default() };
    let fixture = Fixture::with_redis(options);
    let mut relay = relay(&fixture, &[]).await;
    let rows = insert(&fixture, "jobs", 20);
    holds(&fixture, "jobs", &rows);
    consume(&fixture, "jobs", 10);
    confirmed(&fixture, "jobs", 10);
    // The relay does not see these four go.
    relay.signal(Signal::STOP);
    consume(&fixture, "jobs", 4);
    let before = fixture.redis.info("run_id").unwrap();
    fixture.redis.kill();
    fixture.redis.start_again().unwrap();
    assert_ne!(fixture.redis.info("run_id").unwrap(), before);
    relay.signal(Signal::CONT);
    relay.wait_event("queue.certified", |event| event.field("scheduled") == 4, SOON).await;
    holds(&fixture, "jobs", &rows[10..]);
    relay.wait_event("queue.recovered", |_| true, SOON).await;
    answers(
        &fixture,
        "select cause || ' ' || scheduled || ' ' || replayed || ' ' || duplicates_possible from outbox_incident",
        "restart 4 4 4",
    );
    // A second restart, with nothing gone in between, brings nothing.
    confirmed(&fixture, "jobs", 10);
    fixture.redis.kill();
    fixture.redis.start_again().unwrap();
    relay.wait_event("queue.certified", |event| event.field("scheduled") == 0, SOON).await;
    holds(&fixture, "jobs", &rows[10..]);
    answers(&fixture, "select count(*) from outbox_incident", "1");
}
