//! The window: how many messages may stand in Redis while the rest waits in Postgres.

use outboxd::sandbox::{Redis, redis_major};
use uuid::Uuid;

use crate::common::{Fixture, RelayProcess, SOON, eventually};

use super::ledger::{Writer, compare, id, messages};
use super::stage::{PATIENT, QUICK, count, said};

const WINDOW: usize = 40;

fn settings(more: &str) -> String {
    let batches = QUICK.replace("[relay]", "[relay]\nbatch_size = 15").replace("[defaults]", "[defaults]\nwindow = 40");
    format!("{batches}{more}")
}

async fn start(fixture: &Fixture, more: &str) -> RelayProcess {
    RelayProcess::ready(&fixture.sandbox, &fixture.config(&settings(more)), &[], &[]).await
}

/// One whose patience outlasts a moment in which the holder of a queue gets no processor.
async fn patient(fixture: &Fixture) -> RelayProcess {
    RelayProcess::ready(&fixture.sandbox, &fixture.config(&settings("")), &[PATIENT], &[]).await
}

fn length(redis: &Redis, key: &str) -> usize {
    usize::try_from(redis.cmd(["LLEN", key]).unwrap().int().unwrap()).unwrap()
}

async fn full(redis: &Redis, key: &str) {
    assert!(eventually(SOON, || async { length(redis, key) >= WINDOW }).await, "{} in {key}", length(redis, key));
}

/// Takes messages one by one until all are there; the list never holds more than the window.
async fn drain(redis: &Redis, key: &str, rows: usize) -> Vec<Uuid> {
    let mut taken = Vec::new();
    let mut most = 0;
    let all = eventually(SOON, || {
        // Bursts: a consumer takes several before the relay looks again.
        for _ in 0..7 {
            most = most.max(length(redis, key));
            taken.extend(redis.cmd(["LPOP", key]).unwrap().text().map(|text| id(&text).1));
        }
        let done = taken.len() >= rows;
        async move { done }
    });
    assert!(all.await, "{} of {rows} came", taken.len());
    assert!(most <= WINDOW, "{most} messages stood in {key}");
    taken
}

#[tokio::test]
async fn no_more_than_the_window_stands_in_redis_and_it_drains_as_a_consumer_takes() {
    let fixture = Fixture::new();
    let mut relay = start(&fixture, "").await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(100).await;
    writer.commit_each(100).await;
    full(&fixture.redis, "jobs").await;
    let taken = drain(&fixture.redis, "jobs", 200).await;
    assert_eq!(taken, writer.committed);
    assert!(relay.stop().success());
    assert_eq!(length(&fixture.redis, "jobs"), 0);
}

/// Before Redis 7.0 taking in a batch costs the square of its rows.
#[tokio::test]
async fn a_batch_is_no_larger_than_an_old_redis_takes_in_quickly() {
    let fixture = Fixture::new();
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(450).await;
    let unlimited = fixture.config(&QUICK.replace("[defaults]", "[defaults]\nwindow = 0"));
    let mut relay = RelayProcess::ready(&fixture.sandbox, &unlimited, &[], &[]).await;
    writer.exact(&fixture.redis).await;
    assert!(relay.stop().success());
    let planned = fixture.database.sql("select max(rows) from outbox_batch");
    assert_eq!(planned, if redis_major() < 7 { "200" } else { "450" });
}

#[tokio::test]
async fn a_window_of_nought_is_no_limit() {
    let fixture = Fixture::new();
    let mut relay = start(&fixture, "[queues.jobs]\nwindow = 0\n").await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(500).await;
    writer.exact(&fixture.redis).await;
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_replay_keeps_to_the_window() {
    let fixture = Fixture::new();
    // Nothing that a consumer took is known to be done: all of it comes again.
    let mut relay = start(&fixture, "[queues.jobs]\nconfirm = \"none\"\n").await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(120).await;
    let mut taken = drain(&fixture.redis, "jobs", 110).await;
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |_| true, SOON).await;
    writer.commit(30).await;
    taken.extend(drain(&fixture.redis, "jobs", 150).await);
    let verdict = compare(&writer.committed, &taken);
    assert!(verdict.missing.is_empty() && verdict.strange.is_empty() && !verdict.disordered, "{verdict}");
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_stream_counts_what_its_group_has_not_acknowledged() {
    let fixture = Fixture::new();
    let mut relay = start(&fixture, "[queues.events]\nformat = \"stream\"\ngroup = \"workers\"\n").await;
    let mut writer = Writer::new(&fixture.database, "events").await;
    writer.commit(100).await;
    writer.commit_each(30).await;
    let mut acknowledged = 0;
    let done = eventually(SOON, || {
        let standing = messages(&fixture.redis, "events").len();
        assert!(standing <= acknowledged + WINDOW, "{standing} with {acknowledged} acknowledged");
        let read = ["XREADGROUP", "GROUP", "workers", "one", "COUNT", "7", "STREAMS", "events", ">"];
        let reply = fixture.redis.cmd(read);
        let entries =
            reply.iter().flat_map(outboxd::sandbox::Value::items).flat_map(|stream| stream.items()[1].items());
        for entry in entries {
            let entry = entry.items()[0].text().unwrap();
            fixture.redis.cmd(["XACK", "events", "workers", &entry]).unwrap();
            acknowledged += 1;
        }
        let done = acknowledged == 130;
        async move { done }
    });
    assert!(done.await, "not all came");
    assert!(relay.stop().success());
    writer.exact(&fixture.redis).await;
}

#[tokio::test]
async fn a_full_window_delays_no_other_queue() {
    let fixture = Fixture::new();
    let mut relay = start(&fixture, "").await;
    let mut stuck = Writer::new(&fixture.database, "stuck").await;
    stuck.commit(100).await;
    full(&fixture.redis, "stuck").await;
    let mut other = Writer::new(&fixture.database, "other").await;
    for _ in 0..30 {
        other.commit(1).await;
        other.exact(&fixture.redis).await;
    }
    assert_eq!(length(&fixture.redis, "stuck"), WINDOW);
    assert!(relay.stop().success());
}

#[tokio::test]
async fn two_relays_do_not_fight_over_a_full_queue() {
    let fixture = Fixture::new();
    let mut relays = [patient(&fixture).await, patient(&fixture).await];
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(100).await;
    writer.commit_each(50).await;
    full(&fixture.redis, "jobs").await;
    // The rows behind the window grow older than anybody's patience, twice over.
    let old =
        "select count(*) from outbox_batch b where b.batch > 0 having max(b.at) < clock_timestamp() - interval '5 s'";
    let client = fixture.database.connect().await;
    assert!(eventually(SOON, || async { !client.query(old, &[]).await.unwrap().is_empty() }).await);
    let openings: usize = relays.iter().map(|relay| count(relay, "queue.opened")).sum();
    assert!(openings <= 2, "{openings} openings of a full queue");
    // Whose queue it is, dies; the other one goes on where it was.
    let owner = usize::from(count(&relays[1], "queue.opened") > 0);
    relays[owner].kill();
    let taken = drain(&fixture.redis, "jobs", 150).await;
    assert_eq!(taken, writer.committed);
    said(&relays[1 - owner], "queue.opened", 1).await;
    assert!(relays[1 - owner].stop().success());
}

#[tokio::test]
async fn a_holder_that_waited_long_for_room_keeps_its_queue_when_there_is_some() {
    let fixture = Fixture::new();
    let mut relays = [patient(&fixture).await, patient(&fixture).await];
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(40 * 8).await;
    let client = fixture.database.connect().await;
    let last = "select max(batch), max(at) < clock_timestamp() - interval '4 s' from outbox_batch where batch > 0";
    for round in 1..6 {
        full(&fixture.redis, "jobs").await;
        // Every row behind the window has waited longer than a relay's patience.
        let old = eventually(SOON, || async { client.query_one(last, &[]).await.unwrap().get(1) });
        assert!(old.await);
        let planned: i64 = client.query_one(last, &[]).await.unwrap().get(0);
        for _ in 0..WINDOW {
            fixture.redis.cmd(["LPOP", "jobs"]).unwrap();
        }
        let goes_on =
            eventually(SOON, || async { client.query_one(last, &[]).await.unwrap().get::<_, i64>(0) > planned });
        assert!(goes_on.await, "round {round}");
    }
    let openings: usize = relays.iter().map(|relay| count(relay, "queue.opened")).sum();
    assert!(openings <= 2, "{openings} openings");
    for relay in &mut relays {
        assert!(relay.stop().success());
    }
}

#[tokio::test]
async fn tasks_wait_while_a_server_has_nearly_no_memory_left_and_flow_when_it_has() {
    let fixture = Fixture::new();
    let redis = &fixture.redis;
    let mut relay = start(&fixture, "").await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(1).await;
    writer.exact(redis).await;
    let used: u64 = redis.info("used_memory").unwrap().unwrap().parse().unwrap();
    // Enough for what is to come, so that the server itself would not refuse it.
    redis.cmd(["CONFIG", "SET", "maxmemory", &(used * 100 / 99).to_string()]).unwrap();
    relay.wait_event("redis.tight", |_| true, SOON).await;
    writer.commit(5).await;
    said(&relay, "redis.tight", 1).await;
    let client = fixture.database.connect().await;
    let looked = eventually(SOON, || async {
        let metric =
            client.query_one("select clock_timestamp() > max(created_at) + interval '1 s' from outbox", &[]).await;
        metric.unwrap().get::<_, bool>(0)
    });
    assert!(looked.await);
    assert_eq!(length(redis, "jobs"), 1, "nothing was published meanwhile");
    redis.cmd(["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    relay.wait_event("redis.roomy", |_| true, SOON).await;
    writer.exact(redis).await;
    assert_eq!(count(&relay, "queue.retry"), 0, "the server never refused anything");
    assert!(relay.stop().success());
}
