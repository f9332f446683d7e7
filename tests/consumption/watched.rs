//! Whatever stands in Redis has a living relay that watches it, although nothing is published.

use super::stage::{answers, holds, insert, relay};
use crate::common::{Fixture, RelayProcess, SOON};

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
