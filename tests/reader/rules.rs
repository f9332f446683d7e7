//! The reader's rules one by one: what a plan refuses, how batches are cut, what broke earlier drafts.

use std::time::Instant;

use super::driver::{Reader, number};
use crate::common::{Database, SOON, eventually};

fn insert(queue: &str, rows: i64) -> String {
    format!(
        "insert into outbox (queue, task, args) select '{queue}', 't', jsonb_build_array(n) from generate_series(1, {rows}) n"
    )
}

const PLAN: &str = "select * from outbox_plan('q', gen_random_uuid(), 0, 'log', 'test', 10, 1000)";

#[tokio::test]
async fn a_plan_refuses_a_transaction_that_has_an_xid_already() {
    let database = Database::migrated();
    let reader = Reader::open(&database, "q").await;
    reader.client.batch_execute("insert into outbox_queue values ('other')").await.unwrap();
    for before in [
        "select pg_current_xact_id()",
        "insert into outbox (queue, task) values ('q', 't')",
        // Locking another queue is what gives a plan its xid: one queue per transaction.
        "select status from outbox_plan('other', gen_random_uuid(), 0, 'log', 'test', 10, 1000)",
    ] {
        reader.client.batch_execute("begin").await.unwrap();
        reader.client.batch_execute(before).await.unwrap();
        let refused = reader.client.batch_execute(PLAN).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "25001", "{before}");
        reader.client.batch_execute("rollback").await.unwrap();
    }
}

#[tokio::test]
async fn a_plan_refuses_any_other_isolation() {
    let database = Database::migrated();
    let reader = Reader::open(&database, "q").await;
    for level in ["repeatable read", "serializable"] {
        reader.client.batch_execute(&format!("begin isolation level {level}")).await.unwrap();
        let refused = reader.client.batch_execute(PLAN).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "25001", "{level}");
        reader.client.batch_execute("rollback").await.unwrap();
    }
}

#[tokio::test]
async fn a_plan_commits_asynchronously_and_leaves_the_session_as_it_was() {
    let database = Database::migrated();
    let reader = Reader::open(&database, "q").await;
    reader.client.batch_execute("begin").await.unwrap();
    reader.ask("log", 10, 1000).await;
    let inside: String = reader.client.query_one("show synchronous_commit", &[]).await.unwrap().get(0);
    reader.client.batch_execute("commit").await.unwrap();
    let after: String = reader.client.query_one("show synchronous_commit", &[]).await.unwrap().get(0);
    assert_eq!((inside.as_str(), after.as_str()), ("off", "on"));
}

#[tokio::test]
async fn only_the_newest_tenure_plans_and_only_after_the_newest_batch() {
    let database = Database::migrated();
    let mut first = Reader::open(&database, "q").await;
    first.client.batch_execute(&insert("q", 3)).await.unwrap();
    let batch = first.plan(1).await;
    assert_eq!((batch.status.as_str(), batch.batch), ("more", 1));
    // A number that does not follow: what a crash of the server behind a pooler looks like.
    first.last = 0;
    assert_eq!(first.plan(1).await.status, "open");
    first.last = 2;
    assert_eq!(first.plan(1).await.status, "open");
    first.last = 1;
    let mut second = Reader::open(&database, "q").await;
    assert_eq!(first.plan(1).await.status, "open");
    assert_eq!(second.last, 1);
    assert_eq!(second.drain(5).await.0.len(), 2);
}

#[tokio::test]
async fn two_planners_of_one_queue_do_not_wait_for_each_other() {
    let database = Database::migrated();
    let mut first = Reader::open(&database, "q").await;
    first.client.batch_execute(&insert("q", 3)).await.unwrap();
    let second = database.connect().await;
    first.client.batch_execute("begin").await.unwrap();
    first.ask("log", 10, i64::MAX).await;
    let answer = second.query_one(PLAN, &[]).await.unwrap();
    assert_eq!(answer.get::<_, &str>(0), "busy");
    // The connection is lost before the commit: nothing was planned.
    let queue = std::mem::take(&mut first.queue);
    drop(first);
    let free = eventually(SOON, || async { second.query_one(PLAN, &[]).await.unwrap().get::<_, &str>(0) != "busy" });
    assert!(free.await);
    let mut reader = Reader::open(&database, &queue).await;
    assert_eq!((reader.last, reader.drain(10).await.0.len()), (0, 3));
}

#[tokio::test]
async fn a_batch_that_is_exactly_full_ends_its_tick() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    reader.client.batch_execute(&insert("q", 20)).await.unwrap();
    let first = reader.plan(10).await;
    let second = reader.plan(10).await;
    assert_eq!((first.status.as_str(), first.ids().len()), ("more", 10));
    assert_eq!((second.status.as_str(), second.ids().len()), ("planned", 10));
    assert_eq!(reader.plan(10).await.status, "idle");
    assert_eq!(reader.cursor("t_snap").await, "");
}

#[tokio::test]
async fn a_batch_is_cut_by_bytes_but_never_below_one_row() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let sql = "insert into outbox (queue, task, args) values ('q', 't', jsonb_build_array(repeat('x', $1::int)))";
    for bytes in [1000, 1000, 1000, 50_000, 10, 10, 90_000] {
        reader.client.execute(sql, &[&bytes]).await.unwrap();
    }
    let mut sizes = Vec::new();
    loop {
        let planned = reader.plan_kind("log", 100, 2500).await;
        sizes.push(planned.ids().len());
        assert_eq!(reader.read(planned.batch).await, planned.messages);
        if planned.status == "planned" {
            break;
        }
    }
    assert_eq!(sizes, [2, 1, 1, 2, 1]);
    assert_eq!(reader.plan(10).await.status, "idle");
}

#[tokio::test]
async fn batches_of_one_row_come_in_order_and_read_the_same_again() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let slow = database.connect().await;
    slow.batch_execute("begin; insert into outbox (queue, task) values ('q', 'slow')").await.unwrap();
    reader.client.batch_execute(&insert("q", 50)).await.unwrap();
    let mut plans = vec![reader.plan(1).await];
    slow.batch_execute("commit").await.unwrap();
    // The slow row has the lowest id, but the tick had begun without it: it comes with the next one.
    while plans.last().unwrap().status == "more" {
        plans.push(reader.plan(1).await);
    }
    assert_eq!(plans.len(), 50);
    let late = reader.plan(1).await;
    assert_eq!(late.messages[0].1, "slow");
    assert!(late.ids()[0] < plans[0].ids()[0]);
    for plan in plans.iter().chain([&late]) {
        assert_eq!(reader.read(plan.batch).await, plan.messages);
    }
    assert_eq!(reader.plan(1).await.status, "idle");
}

#[tokio::test]
async fn a_row_that_waited_behind_the_truncation_of_its_segment_is_read() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let (truncating, writer) = (database.connect().await, database.connect().await);
    truncating.batch_execute("begin; lock table outbox_s0 in access exclusive mode; truncate outbox_s0").await.unwrap();
    let insert = tokio::spawn(async move {
        // Chooses segment 0 now, and gets it only after everybody else has moved on.
        writer.batch_execute("insert into outbox (queue, task) values ('q', 'late')").await.unwrap();
    });
    let client = database.connect().await;
    let waiting = "select count(*) from pg_locks where not granted and relation = 'outbox_s0'::regclass";
    assert!(eventually(SOON, || async { number(&client, waiting).await == 1 }).await);
    for _ in 0..3 {
        client
            .query("select setval('outbox_segment_seq', (pg_sequence_last_value('outbox_segment_seq') + 1) % 8)", &[])
            .await
            .unwrap();
    }
    truncating.batch_execute("commit").await.unwrap();
    insert.await.unwrap();
    let planned = reader.plan(10).await;
    assert_eq!(planned.messages[0].1, "late");
    assert_eq!(number(&client, "select count(*) from outbox where segment = 0").await, 1);
}

#[tokio::test]
async fn a_task_id_holds_its_own_rows_id_also_when_an_argument_enqueues() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    let client = database.connect().await;
    client
        .batch_execute(
            "create function enqueues(queue text) returns jsonb language sql volatile as \
               $$select jsonb_build_array(outbox_enqueue(queue, 'inner'))$$; \
             insert into outbox (queue, task, args) values ('q', 'outer', enqueues('q')); \
             insert into outbox (queue, task, args) select 'q', 'outer', enqueues('q') from generate_series(1, 20); \
             insert into outbox (queue, task, kwargs, args) values ('q', 'outer', '{}', enqueues('q'))",
        )
        .await
        .unwrap();
    let wrong = number(&client, "select count(*) from outbox where outbox_row_id(task_id) is distinct from id").await;
    let rows = number(&client, "select count(*) from outbox").await;
    assert_eq!((wrong, rows), (0, 44));
    assert_eq!(reader.drain(7).await.0.len(), 44);
}

#[tokio::test]
async fn reading_the_log_leaves_no_dead_row() {
    let database = Database::migrated();
    let mut reader = Reader::open(&database, "q").await;
    reader.client.batch_execute(&insert("q", 5000)).await.unwrap();
    assert_eq!(reader.drain(100).await.0.len(), 5000);
    let client = database.connect().await;
    let dead = "select coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables \
                where relname ~ '^outbox(_s[0-7]|_batch|_queue)?$'";
    let seen = "select n_tup_ins from pg_stat_user_tables where relname = 'outbox_batch'";
    // Statistics arrive a moment after the session that made them is idle.
    assert!(eventually(SOON, || async { number(&client, seen).await >= 50 }).await);
    assert_eq!(number(&client, dead).await, 0);
}

#[tokio::test]
async fn an_open_transaction_elsewhere_delays_nothing() {
    let database = Database::migrated();
    let (mut reader, other) = (Reader::open(&database, "q").await, database.connect().await);
    other.batch_execute("begin; create table unrelated (n int)").await.unwrap();
    let began = Instant::now();
    for _ in 0..20 {
        reader.client.batch_execute(&insert("q", 1)).await.unwrap();
        assert_eq!(reader.plan(10).await.ids().len(), 1);
    }
    assert!(began.elapsed() < SOON);
    other.batch_execute("rollback").await.unwrap();
    assert_eq!(reader.plan(10).await.status, "idle");
}

/// The server lost the newest entries in a crash; the relay that published them does not know yet.
#[tokio::test]
async fn a_marker_above_the_ledger_makes_no_checkpoint() {
    let database = Database::migrated();
    let reader = Reader::open(&database, "q").await;
    let mark = "select outbox_mark(array['q'], array[$1::text::uuid], array[$2::bigint])";
    let marked = reader.client.query_one(mark, &[&reader.tenure, &1_i64]).await.unwrap().get::<_, i32>(0);
    assert_eq!(marked, 0);
    let sql = "select cause from outbox_open('q', gen_random_uuid(), 'here', 'one', $1::text::uuid, 1, 'test', '1 hour', 'none', null)";
    let cause: String = reader.client.query_one(sql, &[&reader.tenure]).await.unwrap().get(0);
    assert_eq!(cause, "kept", "Redis has lost nothing");
}
