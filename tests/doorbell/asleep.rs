//! One relay that sleeps: whatever commits, arrives at once.

use futures_util::SinkExt;
use outboxd::sandbox::RedisOptions;
use rustix::process::Signal;

use super::{arrive, depth, dozes, insert, relay, text};
use crate::common::{Fixture, SOON, eventually};

#[tokio::test]
async fn every_commit_wakes_a_sleeping_relay_also_one_to_a_new_queue() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "").await;
    let client = fixture.database.connect().await;
    let mut waits = Vec::new();
    for n in 1..=5 {
        dozes(&relay).await;
        insert(&client, "known").await;
        waits.push(arrive(&fixture.redis, "known", n, SOON).await);
        dozes(&relay).await;
        insert(&client, &format!("new{n}")).await;
        waits.push(arrive(&fixture.redis, &format!("new{n}"), 1, SOON).await);
    }
    eprintln!("from asleep (known and new queues in turn): {waits:.1?}");
}

#[tokio::test]
async fn a_transaction_that_was_open_while_the_relay_fell_asleep_is_found() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "").await;
    let (slow, client) = (fixture.database.connect().await, fixture.database.connect().await);
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    // The bell says "awake" now: the slow one does not ring, neither now nor at its commit.
    slow.batch_execute("begin; insert into outbox (queue, task) values ('q', 'slow')").await.unwrap();
    let armed = "select (pg_sequence_last_value('outbox_bell_seq') > extract(epoch from now()))::text";
    assert!(eventually(SOON, || async { text(&client, armed).await == "true" }).await);
    slow.batch_execute("commit").await.unwrap();
    let waited = arrive(&fixture.redis, "q", 2, SOON).await;
    dozes(&relay).await;
    eprintln!("open while the bell was set: {waited:.1?}");

    // One that began asleep, and inserted when the relay was awake for somebody else.
    slow.batch_execute("begin").await.unwrap();
    insert(&client, "q").await;
    slow.batch_execute("insert into outbox (queue, task) values ('q', 'slow')").await.unwrap();
    arrive(&fixture.redis, "q", 3, SOON).await;
    assert!(eventually(SOON, || async { text(&client, armed).await == "true" }).await);
    slow.batch_execute("commit").await.unwrap();
    arrive(&fixture.redis, "q", 4, SOON).await;
}

#[tokio::test]
async fn copy_and_the_functions_ring_too() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "").await;
    let client = fixture.database.connect().await;
    dozes(&relay).await;
    {
        let sink = client.copy_in("copy outbox (queue, task) from stdin").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(std::io::Cursor::new(b"q\tt\nq\tt\n".to_vec())).await.unwrap();
        sink.finish().await.unwrap();
    }
    arrive(&fixture.redis, "q", 2, SOON).await;
    for (n, sql) in [
        (3, "select outbox_enqueue('q', 't')::text"),
        (4, "select max(x::text) from outbox_enqueue_many('q', 't', array['[1]']::jsonb[]) x"),
        (5, "select outbox_enqueue('q', 't', dedupe_key => 'k')::text"),
        (
            6,
            "with moved as (insert into outbox (queue, task) values ('q', 't') returning task_id) select task_id::text from moved",
        ),
    ] {
        dozes(&relay).await;
        text(&client, sql).await;
        arrive(&fixture.redis, "q", n, SOON).await;
    }
}

#[tokio::test]
async fn a_rollback_rings_for_nobody() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "").await;
    let client = fixture.database.connect().await;
    dozes(&relay).await;
    let observer = super::Observer::new(&fixture).await;
    client.batch_execute("begin; insert into outbox (queue, task) values ('q', 't'); rollback").await.unwrap();
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    // The observer's own session may hear it later than the relay's.
    assert!(eventually(SOON, || async { observer.rings() >= 1 }).await);
    assert_eq!(observer.rings(), 1);
}

#[tokio::test]
async fn a_relay_that_was_stopped_past_its_deadline_finds_what_nobody_rang_for() {
    let fixture = Fixture::new();
    // The deadline is three looks and five seconds.
    let mut relay = relay(&fixture, "idle_look = \"100ms\"\n").await;
    let client = fixture.database.connect().await;
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    dozes(&relay).await;
    relay.signal(Signal::STOP);
    let silent = "select (pg_sequence_last_value('outbox_bell_seq') < extract(epoch from now()))::text";
    assert!(eventually(SOON, || async { text(&client, silent).await == "true" }).await, "the bell never falls silent");
    let observer = super::Observer::new(&fixture).await;
    insert(&client, "q").await;
    text(&client, "select pg_notify('outbox', '')::text").await;
    assert!(eventually(SOON, || async { observer.rings() == 1 }).await, "only the test's own");
    assert_eq!(depth(&fixture.redis, "q"), 1);
    relay.signal(Signal::CONT);
    let waited = arrive(&fixture.redis, "q", 2, SOON).await;
    eprintln!("stopped past the deadline: {waited:.1?}");
}

#[tokio::test]
async fn after_a_crash_of_postgres_the_bell_works_again() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let mut relay = relay(&fixture, "retry_max = \"500ms\"\n").await;
    let mut client = fixture.database.connect().await;
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    dozes(&relay).await;
    for n in 2..4 {
        // A ledger entry that a crash loses is planned and published again: here it is on the disk.
        text(&client, "select pg_logical_emit_message(true, 'test', '')::text").await;
        fixture.database.postgres.kill();
        relay.wait_event("postgres.down", |_| true, SOON).await;
        fixture.database.postgres.start_again().unwrap();
        client = fixture.database.connect().await;
        // Committed before the relay is back: the bell of a crashed server counts as set.
        insert(&client, "q").await;
        relay.wait_event("postgres.up", |_| true, SOON).await;
        arrive(&fixture.redis, "q", n * 2 - 2, SOON).await;
        dozes(&relay).await;
        insert(&client, "q").await;
        arrive(&fixture.redis, "q", n * 2 - 1, SOON).await;
        dozes(&relay).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_replaced_and_listens() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "retry_max = \"500ms\"\n").await;
    let client = fixture.database.connect().await;
    dozes(&relay).await;
    let cut = "select count(pg_terminate_backend(pid))::text from pg_stat_activity \
               where application_name = 'outboxd' and datname = current_database()";
    assert_ne!(text(&client, cut).await, "0");
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    dozes(&relay).await;
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 2, SOON).await;
}
