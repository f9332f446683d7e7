//! Who holds a segment delays its truncation, and waits for it hardly at all.

use std::time::{Duration, Instant};

use super::{LONG, all_arrive, insert, number, relay, settings, turn};
use crate::common::{Database, Fixture, SOON, eventually};

#[tokio::test]
async fn a_dump_only_delays() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &settings("1h")).await;
    let (client, dump) = (fixture.database.connect().await, fixture.database.connect().await);
    // The lock that pg_dump takes, for as long as it runs.
    dump.batch_execute("begin isolation level repeatable read; lock table outbox in access share mode").await.unwrap();
    insert(&client, "q", 1).await;
    turn(&client, 3).await;
    relay.wait_event("segment.locked", |_| true, LONG).await;
    let began = Instant::now();
    insert(&client, "q", 1).await;
    all_arrive(&fixture.redis, "q", 2).await;
    assert!(began.elapsed() < SOON);
    assert!(relay.events().iter().all(|event| event.name() != "segment.emptied"));
    dump.batch_execute("commit").await.unwrap();
    relay.wait_event("segment.emptied", |event| event.text("outcome") == "truncated", LONG).await;
}

#[tokio::test]
async fn a_truncation_waits_for_ten_milliseconds_and_nobody_longer_for_it() {
    let database = Database::migrated();
    let (holder, truncating, producer) = (database.connect().await, database.connect().await, database.connect().await);
    holder.batch_execute("begin; insert into outbox (segment, queue, task) values (0, 'q', 't')").await.unwrap();
    truncating
        .batch_execute(
            "select setval('outbox_segment_seq', 3); update outbox_segment set sealed_at = now() - interval '1 h' where segment = 0",
        )
        .await
        .unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let producing = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let began = Instant::now();
            producer.batch_execute("insert into outbox (segment, queue, task) values (0, 'q', 't')").await.unwrap();
            longest = longest.max(began.elapsed());
        }
        longest
    });
    let mut waits = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        // Overdue, so that it comes to the lock.
        let refused = truncating.query("select outbox_truncate(0, '0', '0')", &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "55P03");
        waits.push(began.elapsed());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let longest = producing.await.unwrap();
    let worst = waits.iter().max().unwrap();
    eprintln!("truncations gave up after at most {worst:.1?}; the longest insert meanwhile took {longest:.1?}");
    assert!(*worst < Duration::from_secs(5) && longest < Duration::from_secs(5));
    holder.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn a_row_committed_between_the_look_and_the_lock_is_not_truncated() {
    let database = Database::migrated();
    let (client, late, truncating) = (database.connect().await, database.connect().await, database.connect().await);
    client
        .batch_execute(
            "select setval('outbox_segment_seq', 3); update outbox_segment set sealed_at = now() where segment = 0",
        )
        .await
        .unwrap();
    late.batch_execute("begin; insert into outbox (segment, queue, task) values (0, 'q', 'late')").await.unwrap();
    // The same steps as the function, with a pause between them: empty at the first look, held at the lock.
    assert_eq!(number(&client, "select outbox_segment_needed(0, '0')::int::bigint").await, 0);
    truncating.batch_execute("begin").await.unwrap();
    let locking = tokio::spawn(async move {
        truncating.batch_execute("lock table outbox_s0 in access exclusive mode").await.unwrap();
        let needed = number(&truncating, "select outbox_segment_needed(0, '0')::int::bigint").await;
        truncating.batch_execute("rollback").await.unwrap();
        needed
    });
    let waiting = "select count(*) from pg_locks where not granted and relation = 'outbox_s0'::regclass";
    assert!(eventually(SOON, || async { number(&client, waiting).await == 1 }).await);
    late.batch_execute("commit").await.unwrap();
    assert_eq!(locking.await.unwrap(), 1);
    let answer: String = client.query_one("select outbox_truncate(0, '0', '1 h')", &[]).await.unwrap().get(0);
    assert_eq!(answer, "needed");
    for segment in [3, 2] {
        let kept: String =
            client.query_one(&format!("select outbox_truncate({segment}, '0', '0')"), &[]).await.unwrap().get(0);
        assert_eq!(kept, "needed", "the current segment and the one before");
    }
}

#[tokio::test]
async fn a_rotation_that_failed_half_way_makes_nothing_overdue() {
    let database = Database::migrated();
    let client = database.connect().await;
    insert(&client, "q", 2000).await;
    // The sequence moves at once, the rest is rolled back.
    client.batch_execute("begin").await.unwrap();
    let moved: String = client.query_one("select outbox_rotate('0', 1)", &[]).await.unwrap().get(0);
    client.batch_execute("rollback").await.unwrap();
    assert_eq!(moved, "moved");
    for _ in 0..2 {
        insert(&client, "q", 10).await;
        client.query("select outbox_rotate('0', 1)", &[]).await.unwrap();
    }
    let answer: String = client.query_one("select outbox_truncate(0, '0', '1 h')", &[]).await.unwrap().get(0);
    assert_eq!(answer, "needed");
    assert_eq!(number(&client, "select count(*) from outbox_held").await, 0);
    assert_eq!(
        number(&client, "select count(*) from outbox_segment where segment = 0 and sealed_at is not null").await,
        1
    );
}
