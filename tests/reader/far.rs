//! Transactions that stay open while tens of thousands of ids go by, and ticks that are as wide.

use super::driver::{Reader, number};
use crate::common::Database;

async fn fill(reader: &Reader, rows: i64) {
    let sql = "insert into outbox (queue, task) select $1, 'bulk' from generate_series(1, $2::bigint)";
    reader.client.execute(sql, &[&reader.queue, &rows]).await.unwrap();
}

/// The entries of `open_after`, by xid, of the newest cursor.
async fn bounds(reader: &Reader) -> Vec<(i64, i64)> {
    let sql = "select s.xid::text::bigint, b.open_after[s.n] from (select * from outbox_batch where queue = $1 \
               order by batch desc limit 1) b, pg_snapshot_xip(b.snap) with ordinality s(xid, n)";
    let rows = reader.client.query(sql, &[&reader.queue]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn bound(bounds: &[(i64, i64)], xid: i64) -> Option<i64> {
    bounds.iter().find(|(of, _)| *of == xid).map(|(_, after)| *after)
}

const XID: &str = "select pg_current_xact_id()::text::bigint";

#[tokio::test]
async fn a_straggler_is_read_once_however_many_ids_went_by() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    for between in [100, 12_000, 30_000] {
        let slow = database.connect().await;
        slow.batch_execute("begin; insert into outbox (queue, task) values ('q', 'slow')").await.unwrap();
        for _ in 0..4 {
            fill(&reader, between / 4).await;
            assert_eq!(i64::try_from(reader.drain(5000).await.0.len()).unwrap(), between / 4);
        }
        slow.batch_execute("insert into outbox (queue, task) values ('q', 'slow'); commit").await.unwrap();
        let planned = reader.plan(5000).await;
        let tasks: Vec<_> = planned.messages.iter().map(|(_, task)| task.as_str()).collect();
        assert_eq!(tasks, ["slow", "slow"], "after {between}");
        assert_eq!(reader.drain(5000).await.0.len(), 0);
        assert_eq!(reader.read(planned.batch).await, planned.messages);
    }
}

#[tokio::test]
async fn stragglers_near_and_far_come_in_one_tick_in_the_order_of_ids() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let (far, near) = (database.connect().await, database.connect().await);
    far.batch_execute("begin; insert into outbox (queue, task) values ('q', 'far')").await.unwrap();
    for _ in 0..4 {
        fill(&reader, 10_000).await;
        reader.drain(10_000).await;
    }
    near.batch_execute("begin; insert into outbox (queue, task) values ('q', 'near')").await.unwrap();
    far.batch_execute("insert into outbox (queue, task) values ('q', 'far')").await.unwrap();
    fill(&reader, 5).await;
    assert_eq!(reader.drain(2).await.0.len(), 5);
    near.batch_execute("insert into outbox (queue, task) values ('q', 'near'); commit").await.unwrap();
    far.batch_execute("insert into outbox (queue, task) values ('q', 'far'); commit").await.unwrap();
    // Batches of one, so that every cut falls between two of them.
    let (mut tasks, mut ids) = (Vec::new(), Vec::new());
    loop {
        let planned = reader.plan(1).await;
        ids.extend(planned.ids());
        tasks.extend(planned.messages.iter().map(|(_, task)| task.clone()));
        assert_eq!(reader.read(planned.batch).await, planned.messages);
        if planned.status == "planned" {
            break;
        }
    }
    assert_eq!(tasks, ["far", "near", "far", "near", "far"]);
    assert!(ids.is_sorted());
    assert_eq!(reader.drain(10).await.0.len(), 0);
}

/// A bulk insert that stays open while others commit: its rows are cut out of the index batch by batch.
#[tokio::test]
async fn a_large_straggler_is_planned_in_batches_that_do_not_cost_more_than_themselves() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let bulk = database.connect().await;
    bulk.batch_execute("begin; insert into outbox (queue, task) select 'q', 'bulk' from generate_series(1, 60000)")
        .await
        .unwrap();
    for _ in 0..4 {
        fill(&reader, 1).await;
        reader.drain(10).await;
    }
    bulk.batch_execute("commit").await.unwrap();
    let began = std::time::Instant::now();
    let first = reader.plan(1).await;
    let (one, began) = (began.elapsed(), std::time::Instant::now());
    let (ids, batches) = reader.drain(500).await;
    let each = began.elapsed() / u32::try_from(batches).unwrap();
    assert_eq!((first.ids().len(), ids.len()), (1, 59_999));
    assert!(ids.is_sorted());
    eprintln!("60,000 rows of one straggler: one row in {one:.1?}, then {each:.1?} per batch of 500");
}

/// More than 100,000 ids behind, the locks are looked at: who holds none has taken no id.
#[tokio::test]
async fn the_bound_of_a_transaction_without_a_lock_on_the_outbox_moves_up() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let (writer, idle, undone, late) =
        (database.connect().await, database.connect().await, database.connect().await, database.connect().await);
    let mut xids = Vec::new();
    for client in [&writer, &idle, &undone, &late] {
        client.batch_execute("begin").await.unwrap();
        xids.push(number(client, XID).await);
    }
    writer.batch_execute("insert into outbox (queue, task) values ('q', 'writer')").await.unwrap();
    // Rolled back, the savepoint gives its lock back, and its ids are nobody's.
    undone
        .batch_execute("savepoint s; insert into outbox (queue, task) values ('q', 'undone'); rollback to s")
        .await
        .unwrap();
    fill(&reader, 1).await;
    reader.drain(10).await;
    let start = bound(&bounds(&reader).await, xids[0]).unwrap();
    fill(&reader, 105_000).await;
    reader.drain(10_000).await;
    fill(&reader, 1).await;
    reader.drain(10_000).await;
    let now = bounds(&reader).await;
    assert_eq!(bound(&now, xids[0]), Some(start), "it holds the lock, so it keeps its bound");
    for xid in &xids[1..] {
        assert!(bound(&now, *xid).unwrap() > start + 100_000, "{now:?}");
    }
    // Its first lock, after its bound has moved.
    for (client, task) in [(&late, "late"), (&undone, "undone")] {
        client.batch_execute(&format!("insert into outbox (queue, task) values ('q', '{task}')")).await.unwrap();
    }
    fill(&reader, 10).await;
    assert_eq!(reader.drain(3).await.0.len(), 10);
    for client in [&writer, &idle, &undone, &late] {
        client.batch_execute("commit").await.unwrap();
    }
    let planned = reader.plan(10).await;
    let tasks: Vec<_> = planned.messages.iter().map(|(_, task)| task.as_str()).collect();
    assert_eq!(tasks, ["writer", "late", "undone"]);
    assert_eq!(reader.drain(10).await.0.len(), 0);
}

/// An insert into a segment's own table locks that table alone.
#[tokio::test]
async fn a_lock_on_a_segment_alone_keeps_the_bound_too() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let direct = database.connect().await;
    direct
        .batch_execute("begin; insert into outbox_s0 (segment, queue, task) values (0, 'q', 'direct')")
        .await
        .unwrap();
    for rows in [1, 105_000, 1] {
        fill(&reader, rows).await;
        reader.drain(10_000).await;
    }
    direct.batch_execute("commit").await.unwrap();
    assert_eq!(reader.plan(10).await.messages[0].1, "direct");
}

#[tokio::test]
async fn after_a_wide_tick_empty_ones_are_recorded_until_looking_is_cheap_again() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    fill(&reader, 25_000).await;
    let mut planned = reader.plan(10_000).await;
    while planned.status == "more" {
        planned = reader.plan(10_000).await;
    }
    let width = "tip - floor";
    assert_eq!(reader.cursor(width).await, "25000");
    for _ in 0..2 {
        let empty = reader.plan(10_000).await;
        assert_eq!((empty.status.as_str(), empty.ids().len()), ("planned", 0));
        assert_eq!(reader.read(empty.batch).await, []);
    }
    assert_eq!(reader.cursor(width).await, "0");
    assert_eq!(reader.plan(10_000).await.status, "idle");
}

/// The wake loop must ask for those empty ticks: nobody else would plan a queue without rows.
#[tokio::test]
async fn the_wake_loop_is_told_to_record_empty_ticks_after_a_wide_one() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    fill(&reader, 25_000).await;
    let mut planned = reader.plan(10_000).await;
    while planned.status == "more" {
        planned = reader.plan(10_000).await;
    }
    let work = "select count(*) from outbox_work(true, false, false, null) where queue = 'q' and has_rows";
    let mut asked = 0;
    while number(&reader.client, work).await == 1 {
        reader.plan(10_000).await;
        asked += 1;
        assert!(asked < 10, "it never ends");
    }
    assert_eq!(reader.cursor("tip - floor").await, "0");
}

#[tokio::test]
async fn a_quiet_queue_is_not_planned_because_others_are_busy() {
    let database = Database::migrated();
    let (mut quiet, busy) = (Reader::open(&database, "quiet").await, Reader::open(&database, "busy").await);
    fill(&quiet, 3).await;
    quiet.drain(10).await;
    fill(&busy, 30_000).await;
    fill(&quiet, 1).await;
    quiet.plan(10).await;
    let work = "select count(*) from outbox_work(true, false, false, null) where queue = 'quiet' and has_rows";
    assert_eq!(number(&quiet.client, work).await, 0, "its own rows are few, and few are cheap to look at");
    assert_eq!(quiet.plan(10).await.status, "idle");
}
