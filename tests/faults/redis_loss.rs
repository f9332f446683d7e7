//! A Redis that loses data, while the relay runs or is down: everything is there again, and soon.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use outboxd::sandbox::{Persistence, RedisOptions};

use crate::common::{Fixture, RelayProcess, SOON};

use super::ledger::{Verdict, Writer, compare, messages};
use super::stage::{count, fields, relay, span, time};

/// From the loss to the word about it, while other tests run; the matrix holds a machine of its own to the promise.
const NOTICED: Duration = Duration::from_secs(10);

/// A relay that has published and is at rest.
async fn at_rest(redis: RedisOptions) -> (Fixture, RelayProcess, Writer) {
    let fixture = Fixture::with_redis(redis);
    let relay = relay(&fixture, &[]);
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit_each(5).await;
    writer.commit(700).await;
    writer.exact(&fixture.redis).await;
    relay.dozes().await;
    (fixture, relay, writer)
}

/// Everything comes back in order, and the loss was noticed in time.
async fn comes_back(fixture: &Fixture, mut relay: RelayProcess, mut writer: Writer, lost_at: Timestamp, cause: &str) {
    let loss = relay.wait_event("queue.loss", |_| true, SOON).await;
    assert_eq!(loss.text("cause"), cause);
    let took = span(lost_at, time(&loss));
    assert!(took < NOTICED, "noticed after {took:?}");
    writer.commit_each(3).await;
    writer.exact(&fixture.redis).await;
    assert_eq!(count(&relay, "queue.loss"), 1);
    assert!(relay.stop().success());
    writer.exact(&fixture.redis).await;
}

#[tokio::test]
async fn everything_is_back_after_flushall() {
    let (fixture, relay, writer) = at_rest(RedisOptions::default()).await;
    fixture.redis.flushall().unwrap();
    comes_back(&fixture, relay, writer, Timestamp::now(), "missing").await;
}

#[tokio::test]
async fn everything_is_back_after_flushdb() {
    let (fixture, relay, writer) = at_rest(RedisOptions::default()).await;
    fixture.redis.cmd(["FLUSHDB"]).unwrap();
    comes_back(&fixture, relay, writer, Timestamp::now(), "missing").await;
}

#[tokio::test]
async fn everything_is_back_after_a_restart_that_kept_nothing() {
    let (fixture, relay, writer) = at_rest(RedisOptions::default()).await;
    fixture.redis.kill();
    fixture.redis.start_again().unwrap();
    comes_back(&fixture, relay, writer, Timestamp::now(), "missing").await;
}

#[tokio::test]
async fn a_restart_that_kept_everything_brings_nothing_twice() {
    let options = RedisOptions { persistence: Persistence::AofAlways, ..RedisOptions::default() };
    let (fixture, mut relay, mut writer) = at_rest(options).await;
    fixture.redis.kill();
    fixture.redis.start_again().unwrap();
    writer.commit_each(3).await;
    writer.exact(&fixture.redis).await;
    assert_eq!(count(&relay, "queue.loss"), 0);
    assert!(relay.stop().success());
    writer.exact(&fixture.redis).await;
}

#[tokio::test]
async fn a_flush_under_load_loses_nothing() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &[]);
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    for round in 0..200 {
        writer.commit(3).await;
        if round % 50 == 25 {
            fixture.redis.flushall().unwrap();
        }
    }
    writer.complete(&fixture.redis).await;
    assert!(relay.stop().success());
    let verdict = compare(&writer.committed, &messages(&fixture.redis, "jobs"));
    assert!(verdict.missing.is_empty() && verdict.strange.is_empty(), "{verdict}");
}

#[tokio::test]
async fn a_deleted_marker_brings_everything_again() {
    let (fixture, mut relay, writer) = at_rest(RedisOptions::default()).await;
    fixture.redis.cmd(["DEL", "outbox:m:{jobs}"]).unwrap();
    let lost_at = Timestamp::now();
    let loss = relay.wait_event("queue.loss", |_| true, SOON).await;
    assert!(span(lost_at, time(&loss)) < NOTICED);
    relay.wait_event("queue.caught_up", |_| true, SOON).await;
    assert!(relay.stop().success());
    let verdict = compare(&writer.committed, &messages(&fixture.redis, "jobs"));
    assert_eq!(verdict, Verdict { copies: writer.committed.len(), disordered: false, ..Verdict::default() });
}

#[tokio::test]
async fn what_was_dispatched_before_the_horizon_is_not_sent_again() {
    let fixture = Fixture::new();
    let env = [
        ("OUTBOXD_RELAY__REPLAY_HORIZON", "5s"),
        ("OUTBOXD_RELAY__IDLE_LOOK", "100ms"),
        ("OUTBOXD_DEFAULTS__CONFIRM", "none"),
    ];
    let mut relay = relay(&fixture, &env);
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(3).await;
    writer.exact(&fixture.redis).await;
    let old = "select count(*) from outbox_checkpoint where position > 0 and at < clock_timestamp() - interval '5.2 s'";
    let client = fixture.database.connect().await;
    let aged = || async { client.query_one(old, &[]).await.unwrap().get::<_, i64>(0) > 0 };
    assert!(crate::common::eventually(SOON, aged).await);
    let before = writer.committed.len();
    writer.commit(4).await;
    writer.exact(&fixture.redis).await;
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.caught_up", |_| true, SOON).await;
    assert_eq!(messages(&fixture.redis, "jobs"), writer.committed[before..]);
    assert!(relay.stop().success());
}

/// The relay stops, Redis goes back to `older` data with fewer rows, and somebody starts.
async fn restored(options: RedisOptions, running: bool) {
    let snapshot = options.persistence == Persistence::Rdb;
    let (fixture, mut first, mut writer) = at_rest(options).await;
    let older = fixture.sandbox.folder().join("older");
    let data = if snapshot { fixture.redis.data().join("dump.rdb") } else { fixture.redis.append_only() };
    fixture.redis.stop().unwrap();
    let copied = std::process::Command::new("cp").args(["-a".as_ref(), data.as_os_str(), older.as_os_str()]).status();
    assert!(copied.unwrap().success());
    fixture.redis.start_again().unwrap();
    writer.commit_each(20).await;
    writer.exact(&fixture.redis).await;
    if !running {
        assert!(first.stop().success());
    }
    fixture.redis.kill();
    fixture.redis.lose_data().unwrap();
    fs::rename(&older, &data).unwrap();
    fixture.redis.start_again().unwrap();
    let lost_at = Timestamp::now();
    let relay = if running { first } else { relay(&fixture, &[]) };
    comes_back(&fixture, relay, writer, lost_at, "rolled_back").await;
}

#[tokio::test]
async fn an_older_snapshot_is_brought_up_to_date() {
    restored(RedisOptions { persistence: Persistence::Rdb, ..RedisOptions::default() }, true).await;
}

#[tokio::test]
async fn an_older_log_is_brought_up_to_date() {
    restored(RedisOptions { persistence: Persistence::AofAlways, ..RedisOptions::default() }, true).await;
}

#[tokio::test]
async fn an_older_snapshot_is_brought_up_to_date_by_a_relay_that_starts() {
    restored(RedisOptions { persistence: Persistence::Rdb, ..RedisOptions::default() }, false).await;
}

#[tokio::test]
async fn a_flush_while_no_relay_runs_is_noticed_at_the_start() {
    let (fixture, mut first, mut writer) = at_rest(RedisOptions::default()).await;
    assert!(first.stop().success());
    fixture.redis.flushall().unwrap();
    let mut relay = relay(&fixture, &[]);
    writer.exact(&fixture.redis).await;
    writer.commit(2).await;
    writer.exact(&fixture.redis).await;
    assert!(relay.stop().success());
    assert_eq!(fields(&relay, "queue.loss", "cause"), ["missing"]);
}

/// A batch that a relay planned and never published is sent, whatever the horizon, after Redis lost everything.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_batch_that_was_never_published_is_not_taken_for_an_old_one() {
    let fixture = Fixture::new();
    let horizon = ("OUTBOXD_RELAY__REPLAY_HORIZON", "1s");
    let none = ("OUTBOXD_DEFAULTS__CONFIRM", "none");
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    let mut first = relay(&fixture, &[horizon, none]);
    writer.commit(2).await;
    writer.exact(&fixture.redis).await;
    assert!(first.stop().success());
    writer.commit(3).await;
    let mut doomed = relay(&fixture, &[horizon, none, ("OUTBOXD_FAILPOINTS", "publish.before=abort")]);
    assert!(!doomed.wait(SOON).success());
    fixture.redis.flushall().unwrap();
    let old = "select count(*) from outbox_batch where batch = 2 and at < clock_timestamp() - interval '1.2 s'";
    let client = fixture.database.connect().await;
    let aged = || async { client.query_one(old, &[]).await.unwrap().get::<_, i64>(0) > 0 };
    assert!(crate::common::eventually(SOON, aged).await);
    let mut last = relay(&fixture, &[horizon, none]);
    super::ledger::arrived(&writer.committed[2..], &fixture.redis, "jobs").await;
    assert!(last.stop().success());
    assert_eq!(messages(&fixture.redis, "jobs"), writer.committed[2..]);
}
