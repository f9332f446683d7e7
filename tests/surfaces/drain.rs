//! SIGTERM and SIGINT: what is in flight arrives, and the end comes within a bound.

use std::time::{Duration, Instant};

use outboxd::sandbox::Proxy;
use rustix::process::Signal;

use super::len;
use crate::common::{Fixture, RelayProcess, SOON, config, eventually_blocking};

const BATCHES: &str = "[relay]\nbatch_size = 100\n[defaults]\nwindow = 0\n[log]\nlevel = \"debug\"\n";

#[tokio::test]
async fn sigterm_under_load_lets_what_is_planned_arrive_and_the_rest_wait() {
    let fixture = Fixture::new();
    // 200 batches to a Redis that is far away: the signal comes long before the last, however late it is.
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    proxy.delay(Duration::from_millis(50));
    let far = config(&fixture.database.url(), &proxy.through(&fixture.redis.url(0)), BATCHES);
    let mut relay = RelayProcess::ready(&fixture.sandbox, &far, &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) select 'a', 't' from generate_series(1, 20000)");
    relay.wait_event("queue.published", |_| true, SOON).await;
    assert!(relay.stop().success());
    let events = relay.events();
    let stopped = events.last().unwrap();
    assert_eq!((stopped.name(), stopped.field("drained")), ("relay.stopped", &true.into()));
    let planned: i64 = fixture.database.sql("select sum(rows) from outbox_batch").parse().unwrap();
    let (arrived, was_cut) = (len(&fixture, "a"), planned < 20_000);
    assert_eq!(arrived, planned, "what was planned has arrived");
    assert!(was_cut, "all was done before the signal came");
    let reached =
        fixture.database.sql("select max(position) = (select max(batch) from outbox_batch) from outbox_checkpoint");
    assert_eq!(reached, "t", "and Postgres knows");

    let _next = RelayProcess::ready(&fixture.sandbox, &fixture.config(BATCHES), &[], &[]).await;
    assert!(eventually_blocking(SOON, || len(&fixture, "a") >= 20_000));
    assert_eq!(len(&fixture, "a"), 20_000);
}

const COMMITTED: &str = "[relay]\nbatch_size = 100\ndrain = \"committed\"\ndrain_timeout = \"10m\"\n[defaults]\nwindow = 0\n[log]\nlevel = \"debug\"\n";

#[tokio::test]
async fn a_relay_that_drains_what_is_committed_relays_all_of_it_before_it_ends() {
    let fixture = Fixture::new();
    let mut relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(COMMITTED), &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) select 'a', 't' from generate_series(1, 20000)");
    relay.wait_event("queue.published", |_| true, SOON).await;
    // As an application does that ends: its last commit, and the signal follows.
    fixture.database.sql("insert into outbox (queue, task) values ('b', 't')");
    assert!(relay.stop().success());
    assert_eq!((len(&fixture, "a"), len(&fixture, "b")), (20_000, 1));
    assert_eq!(relay.events().last().unwrap().field("drained"), &serde_json::Value::from(true));
}

#[tokio::test]
async fn a_relay_that_drains_what_is_committed_does_not_wait_for_queues_that_cannot_go_on() {
    let fixture = Fixture::new();
    let mut relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(COMMITTED), &[], &[]).await;
    fixture.redis.cmd(["SET", "broken", "a string"]).unwrap();
    fixture.database.sql("insert into outbox (queue, task) values ('broken', 't'), ('paused', 't')");
    relay.wait_event("queue.halted", |_| true, SOON).await;
    assert!(eventually_blocking(SOON, || len(&fixture, "paused") == 1));
    assert!(super::command(&fixture, &["queue", "pause", "paused"]).status.success());
    relay.wait_event("queue.left", |event| event.text("queue") == "paused", SOON).await;
    fixture.database.sql("insert into outbox (queue, task) values ('paused', 't'), ('other', 't')");
    assert!(relay.stop().success());
    assert_eq!((len(&fixture, "paused"), len(&fixture, "other")), (1, 1));
}

#[tokio::test]
async fn a_relay_that_drains_what_is_committed_ends_within_the_bound_while_redis_swallows_everything() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let mut relay = stuck(&fixture, &proxy, "[relay]\ndrain = \"committed\"\ndrain_timeout = \"800ms\"\n").await;
    assert!(relay.stop().success());
    let undrained = relay.wait_event("relay.undrained", |_| true, SOON);
    let told = undrained.await;
    assert_eq!(told.text("queues"), "a");
}

/// A relay with a batch on its way to a Redis that does not answer.
async fn stuck(fixture: &Fixture, proxy: &Proxy, more: &str) -> RelayProcess {
    let more = format!("[log]\nlevel = \"debug\"\n{more}");
    let text = config(&fixture.database.url(), &proxy.through(&fixture.redis.url(0)), &more);
    let mut relay = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    relay.wait_event("queue.published", |_| true, SOON).await;
    proxy.black_hole();
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    let newest = || fixture.database.sql("select max(batch) from outbox_batch");
    assert!(eventually_blocking(SOON, || newest() == "2"));
    relay
}

#[tokio::test]
async fn sigterm_ends_within_the_bound_while_redis_swallows_everything() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let mut relay = stuck(&fixture, &proxy, "[relay]\ndrain_timeout = \"500ms\"\n").await;
    let asked = Instant::now();
    let status = relay.stop();
    let took = asked.elapsed();
    assert!(status.success() && took < Duration::from_secs(9), "{status} after {took:?}");
    proxy.pass().unwrap();
    let _next = RelayProcess::ready(&fixture.sandbox, &fixture.config(""), &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") >= 3));
    assert_eq!(len(&fixture, "a"), 3, "none is missing and none is there twice");
}

#[tokio::test]
async fn a_second_sigint_ends_it_at_once() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let mut relay = stuck(&fixture, &proxy, "[relay]\ndrain_timeout = \"10m\"\n").await;
    relay.signal(Signal::INT);
    relay.wait_event("relay.stopping", |_| true, SOON).await;
    let asked = Instant::now();
    relay.signal(Signal::INT);
    let status = relay.wait(SOON);
    assert_eq!(status.code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
