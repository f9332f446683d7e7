//! A relay that is killed at a step of confirming, or of putting back: the next one finishes, and nothing comes twice.

use super::stage::{answers, confirmed, consume, deleted, holds, insert, listed, relay};
use crate::common::{Fixture, RelayProcess, SOON};

const SEEN: &str =
    "select facts ->> 'length' from outbox_checkpoint where queue = 'jobs' order by checkpoint desc limit 1";

/// A relay that is killed when it comes to a place.
async fn doomed(fixture: &Fixture, place: &str, more: &[(&str, &str)]) -> RelayProcess {
    let point = format!("{place}=abort");
    let env: Vec<_> = more.iter().copied().chain([("OUTBOXD_FAILPOINTS", point.as_str())]).collect();
    relay(fixture, &env).await
}

/// The list is deleted under a relay that is killed at a step of noticing it or of settling it.
async fn deleted_and_killed_at(place: &str) {
    let fixture = Fixture::new();
    let mut first = doomed(&fixture, place, &[]).await;
    let rows = insert(&fixture, "jobs", 8);
    holds(&fixture, "jobs", &rows);
    answers(&fixture, SEEN, "8");
    fixture.redis.cmd(["DEL", "jobs"]).unwrap();
    assert!(!first.wait(SOON).success(), "{place} was not reached");
    let mut next = relay(&fixture, &[]).await;
    holds(&fixture, "jobs", &rows);
    answers(
        &fixture,
        "select cause || ' ' || scheduled from outbox_incident where recovered_at is not null",
        "vanished 8",
    );
    assert_eq!(listed(&fixture, "jobs").len(), rows.len(), "{place}");
    assert!(next.stop().success());
}

#[tokio::test]
async fn what_vanished_is_sent_again_once_by_whoever_comes_after_a_relay_killed_before_it_wrote_the_doubt_down() {
    deleted_and_killed_at("doubt.before").await;
}

#[tokio::test]
async fn what_vanished_is_sent_again_once_by_whoever_comes_after_a_relay_killed_once_the_doubt_was_written() {
    deleted_and_killed_at("doubt.after").await;
}

#[tokio::test]
async fn what_vanished_is_sent_again_once_by_whoever_comes_after_a_relay_killed_before_it_was_settled() {
    deleted_and_killed_at("certify.before").await;
}

#[tokio::test]
async fn what_vanished_is_sent_again_once_by_whoever_comes_after_a_relay_killed_once_it_was_settled() {
    deleted_and_killed_at("certify.after").await;
}

#[tokio::test]
async fn a_relay_killed_around_a_checkpoint_leaves_a_queue_that_is_confirmed_by_the_next_one() {
    for place in ["confirm.before", "confirm.after"] {
        let fixture = Fixture::new();
        let mut first = doomed(&fixture, place, &[]).await;
        let rows = insert(&fixture, "jobs", 8);
        assert!(!first.wait(SOON).success(), "{place} was not reached");
        let mut next = relay(&fixture, &[]).await;
        holds(&fixture, "jobs", &rows);
        consume(&fixture, "jobs", 3);
        confirmed(&fixture, "jobs", 5);
        fixture.redis.flushall().unwrap();
        holds(&fixture, "jobs", &rows[3..]);
        assert!(next.stop().success());
    }
}

#[tokio::test]
async fn a_relay_killed_around_storing_what_it_saw_leaves_a_queue_that_is_confirmed_and_put_back_by_the_next_one() {
    let receipt = [("OUTBOXD_DEFAULTS__CONFIRM", "receipt")];
    for place in ["remember.before", "remember.after"] {
        let fixture = Fixture::new();
        let mut first = doomed(&fixture, place, &receipt).await;
        let rows = insert(&fixture, "jobs", 8);
        assert!(!first.wait(SOON).success(), "{place} was not reached");
        let mut next = relay(&fixture, &receipt).await;
        holds(&fixture, "jobs", &rows);
        for id in consume(&fixture, "jobs", 3) {
            fixture.database.sql(&format!("select outbox_ack('{id}')"));
        }
        confirmed(&fixture, "jobs", 5);
        fixture.redis.flushall().unwrap();
        holds(&fixture, "jobs", &rows[3..]);
        assert!(next.stop().success());
    }
}

#[tokio::test]
async fn receipts_that_were_stored_by_a_relay_killed_before_it_deleted_them_are_stored_again_to_no_effect() {
    let fixture = Fixture::new();
    let receipt = [("OUTBOXD_DEFAULTS__CONFIRM", "receipt"), ("OUTBOXD_DEFAULTS__RECEIPT_TIMEOUT", "1m")];
    let mut first = doomed(&fixture, "receipts.stored", &receipt).await;
    let rows = insert(&fixture, "jobs", 4);
    holds(&fixture, "jobs", &rows);
    consume(&fixture, "jobs", 3);
    for id in &rows[..2] {
        fixture.redis.cmd(["XADD", "outbox:receipts", "*", "task_id", id]).unwrap();
    }
    assert!(!first.wait(SOON).success());
    assert!(fixture.redis.cmd(["XLEN", "outbox:receipts"]).unwrap().int() > Some(0));
    let mut next = relay(&fixture, &receipt).await;
    confirmed(&fixture, "jobs", 2);
    for (id, status) in rows.iter().zip(["consumed", "consumed", "dispatched", "dispatched"]) {
        answers(&fixture, &format!("select outbox_status('{id}')"), status);
    }
    deleted(&fixture);
    assert!(next.stop().success());
}
