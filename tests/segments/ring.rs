//! The ring turns under load.

use super::{CURRENT, LONG, all_arrive, depth, insert, number, relay, settings, turn};
use crate::common::{Fixture, SOON, eventually};

#[tokio::test]
async fn segments_are_emptied_while_load_goes_on_and_nothing_is_lost() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &settings("1h")).await;
    let (client, slow) = (fixture.database.connect().await, fixture.database.connect().await);
    let (mut rows, mut slow_rows) = (0, 0);
    let emptied = || relay.events().iter().filter(|event| event.name() == "segment.emptied").count();
    // Once around the ring, and a bit.
    while emptied() < 10 {
        slow.batch_execute("begin").await.unwrap();
        insert(&slow, "slow", 1).await;
        for _ in 0..10 {
            insert(&client, "q", 60).await;
            rows += 60;
        }
        slow.batch_execute("commit").await.unwrap();
        slow_rows += 1;
        // Not far ahead of a relay that gets little of the machine: its segments could not be emptied yet.
        assert!(eventually(LONG, || async { depth(&fixture.redis, "q") >= rows - 5_000 }).await);
        assert!(rows < 500_000, "only {} segments emptied", emptied());
    }
    all_arrive(&fixture.redis, "q", rows).await;
    all_arrive(&fixture.redis, "slow", slow_rows).await;
    let pages = "select sum(pg_relation_size(inhrelid))::bigint from pg_inherits where inhparent = 'outbox'::regclass";
    eprintln!("{rows} rows, the log holds {} bytes at the end", number(&client, pages).await);
    assert!(relay.events().iter().all(|event| event.name() != "queue.loss"));
    assert!(relay.stop().success());
}

#[tokio::test]
async fn an_open_transaction_holds_its_own_segment_only() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &settings("1h")).await;
    let (client, slow) = (fixture.database.connect().await, fixture.database.connect().await);
    slow.batch_execute("begin").await.unwrap();
    insert(&slow, "q", 1).await;
    turn(&client, 5).await;
    let emptied = "select count(*) from outbox_segment where truncated_at is not null and segment <> 0";
    assert!(eventually(LONG, || async { number(&client, emptied).await >= 3 }).await);
    let first = "select count(*) from outbox_segment where truncated_at is not null and segment = 0";
    assert_eq!(number(&client, first).await, 0);
    slow.batch_execute("commit").await.unwrap();
    all_arrive(&fixture.redis, "q", 1).await;
    relay.wait_event("segment.emptied", |event| event.field("segment") == 0, LONG).await;
}

#[tokio::test]
async fn a_late_row_in_an_emptied_segment_is_published() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &settings("1h")).await;
    let client = fixture.database.connect().await;
    turn(&client, 2).await;
    relay.wait_event("segment.emptied", |event| event.field("segment") == 0, LONG).await;
    // As one that had chosen its segment before the ring moved on.
    client.batch_execute("insert into outbox (segment, queue, task) values (0, 'q', 't')").await.unwrap();
    all_arrive(&fixture.redis, "q", 1).await;
    relay.wait_event("segment.emptied", |event| event.field("segment") == 0, LONG).await;
    all_arrive(&fixture.redis, "q", 1).await;
}

#[tokio::test]
async fn a_full_ring_keeps_appending_and_says_so() {
    let fixture = Fixture::new();
    let client = fixture.database.connect().await;
    let mut relay = relay(&fixture, &settings("1h")).await;
    insert(&client, "paused", 1).await;
    all_arrive(&fixture.redis, "paused", 1).await;
    client.query("select outbox_pause('paused', 'test')", &[]).await.unwrap();
    for _ in 0..7 {
        let before = number(&client, CURRENT).await;
        let moved = eventually(LONG, || async {
            insert(&client, "paused", 100).await;
            number(&client, CURRENT).await != before
        });
        assert!(moved.await);
    }
    let full = eventually(LONG, || async {
        insert(&client, "paused", 100).await;
        relay.events().iter().any(|event| event.name() == "segment.ring_full")
    });
    assert!(full.await);
    let current = number(&client, CURRENT).await;
    insert(&client, "paused", 2000).await;
    insert(&client, "other", 10).await;
    all_arrive(&fixture.redis, "other", 10).await;
    assert_eq!(number(&client, CURRENT).await, current);
    let rows = number(&client, "select count(*) from outbox where queue = 'paused'").await;
    client.query("select outbox_resume('paused')", &[]).await.unwrap();
    all_arrive(&fixture.redis, "paused", rows).await;
    // Done, the segments are emptied, and the ring turns again.
    relay.wait_event("segment.moved", |_| true, LONG).await;
    assert!(eventually(SOON, || async { number(&client, CURRENT).await != current }).await);
}
