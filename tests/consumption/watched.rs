//! Whatever stands in Redis has a living relay that watches it, although nothing is published.

use outboxd::sandbox::Proxy;
use rustix::process::Signal;

use super::stage::{QUICK, answers, holds, insert, relay};
use crate::common::{Fixture, RelayProcess, SOON, config, eventually};

const ABANDONED: &str = "select abandoned from outbox_work(false, false, false, null) where queue = 'jobs'";
const SEEN: &str =
    "select facts ->> 'length' from outbox_checkpoint where queue = 'jobs' order by checkpoint desc limit 1";

/// A relay that has published eight rows and stored what it saw of them.
async fn watching(fixture: &Fixture) -> (RelayProcess, Vec<String>) {
    let relay = relay(fixture, &[]).await;
    let rows = insert(fixture, "jobs", 8);
    holds(fixture, "jobs", &rows);
    answers(fixture, SEEN, "8");
    (relay, rows)
}

/// Deletes the list while nobody looks, and starts another relay.
async fn is_missed(fixture: &Fixture, rows: &[String]) {
    answers(fixture, ABANDONED, "t");
    fixture.redis.cmd(["DEL", "jobs"]).unwrap();
    let mut next = relay(fixture, &[]).await;
    let broken = next.wait_event("queue.evidence_broken", |_| true, SOON).await;
    assert_eq!(broken.text("cause"), "vanished");
    holds(fixture, "jobs", rows);
    answers(fixture, "select cause || ' ' || scheduled from outbox_incident", "vanished 8");
    assert!(next.stop().success());
}

#[tokio::test]
async fn a_list_that_is_deleted_after_its_relay_was_killed_is_missed_by_the_next_one() {
    let fixture = Fixture::new();
    let (mut relay, rows) = watching(&fixture).await;
    relay.kill();
    is_missed(&fixture, &rows).await;
}

#[tokio::test]
async fn a_list_that_is_deleted_after_its_relay_stopped_is_missed_by_the_next_one() {
    let fixture = Fixture::new();
    let (mut relay, rows) = watching(&fixture).await;
    assert!(relay.stop().success());
    is_missed(&fixture, &rows).await;
}

#[tokio::test]
async fn a_queue_is_abandoned_when_its_relay_ends_and_not_before() {
    let fixture = Fixture::new();
    let (mut first, rows) = watching(&fixture).await;
    answers(&fixture, ABANDONED, "f");
    let mut second = relay(&fixture, &[]).await;
    assert_eq!(fixture.database.sql(ABANDONED), "f");
    first.kill();
    let opened = second.wait_event("queue.opened", |_| true, SOON).await;
    assert_eq!(opened.text("cause"), "kept");
    answers(&fixture, ABANDONED, "f");
    holds(&fixture, "jobs", &rows);
}

/// Waits until every relay has looked that often, from now on.
async fn looks(fixture: &Fixture, relays: usize, times: u64) {
    let numbers = || -> Vec<u64> {
        let mut keys = fixture.redis.cmd(["KEYS", "outbox:r:*"]).unwrap().texts();
        keys.sort();
        let numbers = keys.iter().map(|key| fixture.redis.cmd(["GET", key]).unwrap().text().unwrap_or_default());
        numbers.filter_map(|number| number.split(' ').next()?.parse().ok()).collect()
    };
    assert!(eventually(SOON, || async { numbers().len() == relays }).await, "{:?}", numbers());
    let before = numbers();
    let looked = || async {
        let now = numbers();
        now.len() == relays && now.iter().zip(&before).all(|(now, before)| now.saturating_sub(*before) >= times)
    };
    assert!(eventually(SOON, looked).await, "{before:?} became {:?}", numbers());
}

/// The second relay takes the queue of the first, which sees nothing any more, and misses what was deleted meanwhile.
async fn is_taken_and_missed(fixture: &Fixture, rows: &[String], mut second: RelayProcess) {
    fixture.redis.cmd(["DEL", "jobs"]).unwrap();
    second.wait_event("queue.unwatched", |event| event.text("queue") == "jobs", SOON).await;
    second.wait_event("queue.opened", |_| true, SOON).await;
    let broken = second.wait_event("queue.evidence_broken", |_| true, SOON).await;
    assert_eq!(broken.text("cause"), "vanished");
    holds(fixture, "jobs", rows);
    assert!(second.stop().success());
}

#[tokio::test]
async fn the_idle_queue_of_a_relay_that_is_frozen_is_taken_and_what_is_lost_is_missed() {
    let fixture = Fixture::new();
    let (mut first, rows) = watching(&fixture).await;
    let second = relay(&fixture, &[]).await;
    looks(&fixture, 2, 2).await;
    first.signal(Signal::STOP);
    is_taken_and_missed(&fixture, &rows, second).await;
    // Awake again, it finds the queue in other hands.
    first.signal(Signal::CONT);
    assert!(first.stop().success());
}

#[tokio::test]
async fn the_idle_queue_of_a_relay_that_is_cut_off_from_redis_alone_is_taken_and_what_is_lost_is_missed() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    let text = config(&fixture.database.url(), &url, QUICK);
    let mut first = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
    let rows = insert(&fixture, "jobs", 8);
    holds(&fixture, "jobs", &rows);
    answers(&fixture, SEEN, "8");
    let second = relay(&fixture, &[]).await;
    looks(&fixture, 2, 2).await;
    proxy.refuse().unwrap();
    proxy.cut();
    is_taken_and_missed(&fixture, &rows, second).await;
    assert!(first.stop().success());
}

#[tokio::test]
async fn a_flush_and_the_loss_of_all_signs_take_no_queue_from_a_relay_that_looks() {
    let fixture = Fixture::new();
    let (first, rows) = watching(&fixture).await;
    let second = relay(&fixture, &[]).await;
    looks(&fixture, 2, 2).await;
    fixture.redis.flushall().unwrap();
    holds(&fixture, "jobs", &rows);
    looks(&fixture, 2, 8).await;
    // A holder that gets no processor for a moment may still lose rows that wait to the other, as ever.
    let blind = |relay: &RelayProcess| relay.events().iter().any(|event| event.name() == "queue.unwatched");
    assert!(!blind(&first) && !blind(&second));
}

#[tokio::test]
async fn two_relays_with_one_id_are_told_of_it() {
    let fixture = Fixture::new();
    let (mut first, _rows) = (relay(&fixture, &[("OUTBOXD_RELAY__ID", "twin")]).await, insert(&fixture, "jobs", 1));
    let mut second = relay(&fixture, &[("OUTBOXD_RELAY__ID", "twin")]).await;
    let told = first.wait_event("relay.twin", |_| true, SOON).await;
    assert_eq!(told.text("relay"), "twin");
    second.wait_event("relay.twin", |_| true, SOON).await;
}
