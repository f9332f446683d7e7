//! Relays that share queues: one is killed, one sleeps through its replacement and wakes up.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Fixture, RelayProcess, SOON, eventually};

use super::ledger::Writer;
use super::stage::{PATIENT, count, relay};

#[tokio::test]
async fn three_relays_of_which_one_is_killed_leave_every_row_once() {
    let fixture = Fixture::new();
    let mut relays: Vec<RelayProcess> = (0..3).map(|_| relay(&fixture, &[])).collect();
    let mut writers = Vec::new();
    for queue in ["one", "two", "three", "four"] {
        writers.push(Writer::new(&fixture.database, queue).await);
    }
    for round in 0..60 {
        if round == 30 {
            relays[0].kill();
        }
        for writer in &mut writers {
            writer.commit(1).await;
            writer.roll_back(1).await;
            writer.commit(5).await;
        }
    }
    for writer in &writers {
        writer.arrived(&fixture.redis).await;
    }
    for relay in &mut relays[1..] {
        assert!(relay.stop().success());
    }
    for writer in &writers {
        writer.exact(&fixture.redis).await;
    }
}

#[tokio::test]
async fn a_relay_that_stops_in_order_is_replaced_without_a_wait() {
    let fixture = Fixture::new();
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    let mut first = relay(&fixture, &[]);
    writer.commit(1).await;
    writer.arrived(&fixture.redis).await;
    let env = [("OUTBOXD_RELAY__TAKEOVER_AFTER", "1h")];
    let mut second = RelayProcess::start(&fixture.sandbox, &fixture.config(super::stage::QUICK), &env, &[]);
    second.wait_event("relay.ready", |_| true, SOON).await;
    assert!(first.stop().success());
    writer.commit(1).await;
    writer.exact(&fixture.redis).await;
    assert!(second.stop().success());
    assert_eq!(count(&second, "queue.opened"), 1);
}

/// Stops a relay at a place, lets another one take over, wakes the first one up.
#[cfg(feature = "failpoints")]
async fn sleeps_at(place: &str) {
    let fixture = Fixture::new();
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    let point = format!("{place}=stop@2");
    let mut sleeper = relay(&fixture, &[PATIENT, ("OUTBOXD_FAILPOINTS", &point)]);
    writer.commit(1).await;
    writer.arrived(&fixture.redis).await;
    writer.commit(3).await;
    sleeper.wait_event("failpoint.hit", |_| true, SOON).await;
    let mut other = relay(&fixture, &[PATIENT]);
    writer.commit(4).await;
    other.wait_event("queue.opened", |_| true, SOON).await;
    writer.exact(&fixture.redis).await;

    sleeper.signal(Signal::CONT);
    // It finds itself replaced.
    let replaced = |name: &str| matches!(name, "queue.retry" | "queue.doubt" | "queue.left");
    let found = eventually(SOON, || async { sleeper.events().iter().any(|event| replaced(event.name())) }).await;
    assert!(found, "{place}: the sleeper did not find out");
    // Neither takes it from the other while there is nothing to do, beyond what the sleeper tried before it knew.
    let before = openings(&sleeper, &other);
    let restless = eventually(Duration::from_secs(8), || async { openings(&sleeper, &other) > before + 1 }).await;
    assert!(!restless, "{place}: the two take the idle queue from each other");
    for _ in 0..40 {
        writer.commit_each(2).await;
        writer.arrived(&fixture.redis).await;
    }
    writer.exact(&fixture.redis).await;
    let all = openings(&sleeper, &other);
    assert!(all <= 4, "{place}: the two take the queue from each other, {all} openings");
    assert!(sleeper.stop().success() && other.stop().success());
    writer.exact(&fixture.redis).await;
}

#[cfg(feature = "failpoints")]
fn openings(one: &RelayProcess, two: &RelayProcess) -> usize {
    count(one, "queue.opened") + count(two, "queue.opened")
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_sleeper_that_was_about_to_publish_adds_no_copy() {
    sleeps_at("publish.before").await;
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_sleeper_that_waits_for_its_reply_adds_no_copy() {
    sleeps_at("publish.sent").await;
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_sleeper_that_had_just_planned_adds_no_copy() {
    sleeps_at("plan.committed").await;
}
