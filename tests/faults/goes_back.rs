//! A Postgres that goes back: after a crash, a failover or a restore it has forgotten what Redis already holds.
//!
//! No row that it still has may be missing in Redis. Copies are the price, and only of what was forgotten.

use outboxd::sandbox::{Direction, PgBouncer, Proxy, RedisOptions, StopMode};
use rustix::process::Signal;
use uuid::Uuid;

use crate::common::{Database, Fixture, RelayProcess, SOON, eventually, options};

use super::ledger::{Writer, arrived, compare, in_postgres, messages};
use super::stage::{QUICK, ready};

/// Asynchronous commits stay in memory for so long.
const LAZY: [(&str, &str); 1] = [("wal_writer_delay", "10s")];

fn newest(database: &Database) -> i64 {
    database.sql("select coalesce(max(batch), 0) from outbox_batch").parse().unwrap()
}

/// Every row that Postgres has is in Redis, first copies in order; answers the number of copies beyond that.
async fn nothing_is_missing(fixture: &Fixture, database: &Database) -> usize {
    let rows = in_postgres(database, "jobs");
    arrived(&rows, &fixture.redis, "jobs").await;
    let verdict = compare(&rows, &messages(&fixture.redis, "jobs"));
    assert!(verdict.missing.is_empty(), "{verdict}");
    verdict.copies
}

/// How the relay that published an entry goes on after the crash that lost it.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// It wakes up on the restarted server.
    Wakes,
    /// It is gone, and another one starts.
    Dies,
}

/// {a} is batch 1; {b} is batch 2, published, its entry lost; {c} is committed: batch 2 is now {b, c}.
async fn an_entry_is_lost(then: Then, pooled: bool) {
    // What else commits meanwhile may make the entry durable: then the scene is set again.
    for _ in 0..3 {
        if tries_to_lose_an_entry(then, pooled).await {
            return;
        }
    }
    panic!("the entry of batch 2 was never lost");
}

/// Whether the entry was lost; if not, nothing was tested.
async fn tries_to_lose_an_entry(then: Then, pooled: bool) -> bool {
    let fixture = Fixture::with_own_postgres(&LAZY, RedisOptions::default());
    let bouncer = pooled.then(|| PgBouncer::start(&fixture.sandbox, &fixture.database.postgres, &[]).unwrap());
    let url = bouncer.as_ref().map_or_else(|| fixture.database.url(), |bouncer| bouncer.url(&fixture.database.name));
    let redis = fixture.redis.url(0);
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    let stop = [("OUTBOXD_FAILPOINTS", "publish.after=stop@2")];
    let mut relay = ready(&fixture.sandbox, &url, &redis, "", &stop).await;
    writer.commit(1).await;
    writer.exact(&fixture.redis).await;
    // Its commit makes the entry of batch 1 durable; that of batch 2 is not when the relay falls asleep.
    writer.commit(1).await;
    relay.wait_event("failpoint.hit", |_| true, SOON).await;
    assert_eq!(messages(&fixture.redis, "jobs"), writer.committed);
    fixture.database.postgres.kill();
    fixture.database.postgres.start_again().unwrap();
    if newest(&fixture.database) == 2 {
        return false;
    }
    assert_eq!(newest(&fixture.database), 1);
    writer.reconnect(&fixture.database).await;
    writer.commit(1).await;
    let mut relay = if then == Then::Wakes {
        relay.signal(Signal::CONT);
        relay
    } else {
        relay.kill();
        ready(&fixture.sandbox, &url, &redis, "", &[]).await
    };
    let copies = nothing_is_missing(&fixture, &fixture.database).await;
    assert!(copies <= 1, "{copies} copies for one lost row");
    writer.commit_each(3).await;
    nothing_is_missing(&fixture, &fixture.database).await;
    assert!(relay.stop().success());
    assert_eq!(in_postgres(&fixture.database, "jobs"), writer.committed);
    true
}

#[tokio::test]
async fn a_row_planned_again_with_another_one_is_not_taken_for_published() {
    an_entry_is_lost(Then::Wakes, false).await;
}

#[tokio::test]
async fn a_row_planned_again_behind_a_pooler_is_not_taken_for_published() {
    an_entry_is_lost(Then::Wakes, true).await;
}

#[tokio::test]
async fn a_row_planned_again_by_another_relay_is_not_taken_for_published() {
    an_entry_is_lost(Then::Dies, false).await;
}

#[tokio::test]
async fn crashes_of_postgres_under_load_lose_no_row() {
    let fixture = Fixture::with_own_postgres(&LAZY, RedisOptions::default());
    let bouncer = PgBouncer::start(&fixture.sandbox, &fixture.database.postgres, &[]).unwrap();
    let url = bouncer.url(&fixture.database.name);
    let mut relay = ready(&fixture.sandbox, &url, &fixture.redis.url(0), "", &[]).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    let mut lost = 0;
    for _ in 0..4 {
        for _ in 0..10 {
            writer.commit(3).await;
            writer.roll_back(2).await;
        }
        writer.arrived(&fixture.redis).await;
        let before = newest(&fixture.database);
        fixture.database.postgres.kill();
        fixture.database.postgres.start_again().unwrap();
        lost += before - newest(&fixture.database);
        writer.reconnect(&fixture.database).await;
        writer.commit(2).await;
    }
    nothing_is_missing(&fixture, &fixture.database).await;
    assert!(relay.stop().success());
    nothing_is_missing(&fixture, &fixture.database).await;
    assert_eq!(in_postgres(&fixture.database, "jobs"), writer.committed);
    eprintln!("{lost} ledger entries were lost");
}

/// The standby has rows that the primary's relay published, but not the ledger entries, nor the newest rows.
#[tokio::test]
async fn a_promoted_standby_that_lagged_loses_no_row_that_it_has() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let primary = &fixture.database.postgres;
    let stream = Proxy::start(primary.port()).unwrap();
    let standby = primary.standby_through(stream.port(), &options()).unwrap();
    let way = Proxy::start(primary.port()).unwrap();
    let url = way.through(&fixture.database.url());
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    let mut relay = ready(&fixture.sandbox, &url, &fixture.redis.url(0), "", &[]).await;
    writer.commit_each(5).await;
    writer.exact(&fixture.redis).await;

    relay.signal(Signal::STOP);
    writer.commit(4).await;
    let there =
        || async { standby.sql(&fixture.database.name, "select count(*) from outbox").is_ok_and(|rows| rows == "9") };
    assert!(eventually(SOON, there).await, "the standby did not follow");
    stream.pause(Direction::Replies);
    relay.signal(Signal::CONT);
    writer.arrived(&fixture.redis).await;
    writer.commit(2).await;
    writer.exact(&fixture.redis).await;

    primary.kill();
    standby.promote().unwrap();
    way.point_to(standby.port(), false).unwrap();
    let rows: Vec<Uuid> = writer.committed[..9].to_vec();
    let insert = "insert into outbox (queue, task) select 'jobs', 'task' from generate_series(1, 3) returning task_id";
    let more = standby.sql(&fixture.database.name, insert).unwrap();
    let more: Vec<Uuid> = more.lines().map(|id| id.parse().unwrap()).collect();
    let all = [rows, more].concat();
    arrived(&all, &fixture.redis, "jobs").await;
    assert!(relay.stop().success());
    let verdict = compare(&all, &messages(&fixture.redis, "jobs"));
    assert!(verdict.missing.is_empty() && !verdict.disordered, "{verdict}");
    assert_eq!(verdict.strange, writer.committed[9..], "what the standby never got was published by then");
}

/// The relay goes on while its database is put back to a backup; Redis keeps its data.
async fn a_backup_is_restored(then: Then) {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let (postgres, database) = (&fixture.database.postgres, &fixture.database);
    let mut writer = Writer::new(database, "jobs").await;
    let mut relay = ready(&fixture.sandbox, &database.url(), &fixture.redis.url(0), "", &[]).await;
    writer.commit_each(5).await;
    writer.exact(&fixture.redis).await;
    relay.signal(Signal::STOP);
    // In the backup these are not planned yet.
    writer.commit(4).await;
    let backup = fixture.sandbox.subfolder("backup").unwrap().join("data");
    postgres.base_backup(&backup).unwrap();
    relay.signal(Signal::CONT);
    writer.commit_each(6).await;
    writer.exact(&fixture.redis).await;
    if then == Then::Dies {
        relay.kill();
    }
    postgres.restore(&backup).unwrap();
    if then == Then::Dies {
        relay = ready(&fixture.sandbox, &database.url(), &fixture.redis.url(0), "", &[]).await;
    }
    assert_eq!(in_postgres(database, "jobs"), writer.committed[..9]);
    writer.reconnect(database).await;
    writer.committed.truncate(9);
    writer.commit_each(3).await;
    nothing_is_missing(&fixture, database).await;
    assert!(relay.stop().success());
    assert_eq!(in_postgres(database, "jobs"), writer.committed);
    nothing_is_missing(&fixture, database).await;
}

#[tokio::test]
async fn a_restored_backup_under_a_running_relay_loses_no_row_that_it_has() {
    a_backup_is_restored(Then::Wakes).await;
}

#[tokio::test]
async fn a_restored_backup_and_a_new_relay_lose_no_row_that_it_has() {
    a_backup_is_restored(Then::Dies).await;
}

/// A plan that a dead relay never published stands in a restored ledger under numbers that Redis has passed.
#[tokio::test]
async fn numbers_used_again_by_another_relay_are_seen_by_one_that_rests() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let (postgres, database) = (&fixture.database.postgres, &fixture.database);
    let mut writer = Writer::new(database, "jobs").await;
    writer.commit(1).await;
    let backup = fixture.sandbox.subfolder("backup").unwrap().join("data");
    postgres.base_backup(&backup).unwrap();
    let mut rests = ready(&fixture.sandbox, &database.url(), &fixture.redis.url(0), "", &[]).await;
    writer.exact(&fixture.redis).await;
    rests.signal(Signal::STOP);
    postgres.restore(&backup).unwrap();
    writer.reconnect(database).await;
    writer.commit(2).await;
    // The same number, two rows more, and nobody publishes it; it goes to another Redis, so that the marker here stays.
    let config = crate::common::config(&database.url(), &fixture.redis.url(1), QUICK);
    let env = [("OUTBOXD_FAILPOINTS", "publish.before=abort")];
    let mut doomed = RelayProcess::start(&fixture.sandbox, &config, &env, &[]);
    assert!(!doomed.wait(SOON).success());
    assert_eq!(newest(database), 1);
    rests.signal(Signal::CONT);
    let left = eventually(SOON, || async {
        rests.events().iter().any(|event| matches!(event.name(), "queue.retry" | "queue.doubt" | "queue.halted"))
    });
    assert!(left.await, "the relay believes that it still holds the queue");
    fixture.database.postgres.stop(StopMode::Immediate).unwrap();
}
