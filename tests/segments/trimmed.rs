//! The ledger, the checkpoints and the copies are trimmed at the low end, in slices; what is needed stays.

use super::{LONG, all_arrive, insert, number, relay, settings};
use crate::common::{Database, Fixture, eventually};

#[tokio::test]
async fn ledger_and_checkpoints_stay_small_and_a_loss_is_still_mended() {
    let fixture = Fixture::new();
    // Long enough that what was dispatched right before the loss is within the horizon when it is noticed.
    let config = settings("1h").replace("horizon = \"1s\"", "horizon = \"5s\"").replace("min = \"2s\"", "min = \"5s\"");
    let mut relay = relay(&fixture, &config).await;
    let client = fixture.database.connect().await;
    for n in 1..=30 {
        insert(&client, "q", 1).await;
        all_arrive(&fixture.redis, "q", n).await;
    }
    client.execute("insert into outbox (queue, task, deliver_at) values ('q', 'held', now())", &[]).await.unwrap();
    all_arrive(&fixture.redis, "q", 31).await;
    let kept = "select (select count(*) from outbox_batch) + (select count(*) from outbox_checkpoint) + (select count(*) from outbox_held)";
    assert!(eventually(LONG, || async { number(&client, kept).await <= 3 }).await, "{}", number(&client, kept).await);
    insert(&client, "q", 5).await;
    all_arrive(&fixture.redis, "q", 36).await;
    let reached = "select count(*) from (select position from outbox_checkpoint order by checkpoint desc limit 1) c \
                   where position = (select max(batch) from outbox_batch)";
    assert!(eventually(LONG, || async { number(&client, reached).await == 1 }).await);
    insert(&client, "q", 2).await;
    all_arrive(&fixture.redis, "q", 38).await;
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |_| true, LONG).await;
    relay.wait_event("queue.caught_up", |_| true, LONG).await;
    // The last two at least: they were dispatched within the horizon, or nearly.
    let there = super::depth(&fixture.redis, "q");
    assert!((2..=7).contains(&there), "{there}");
    insert(&client, "q", 1).await;
    assert!(eventually(LONG, || async { super::depth(&fixture.redis, "q") > there }).await);
}

#[tokio::test]
async fn a_trim_takes_a_slice_and_leaves_the_cursor() {
    let database = Database::migrated();
    let client = database.connect().await;
    client
        .batch_execute(
            "select outbox_open('q', gen_random_uuid(), 'here', 'one', null, null, 'test', '1 h', 'none', null); \
             insert into outbox_batch (queue, batch, kind, snap, tip, prev_tip, floor, open_after, rows, bytes, relay, at) \
               select 'q', n, 'log', '3:3:', 0, 0, 0, '{}', 0, 0, 'test', now() - interval '1 d' from generate_series(1, 100) n; \
             insert into outbox_checkpoint (queue, position, evidence, at) \
               select 'q', n, 'test', now() - interval '1 d' + n * interval '1 s' from generate_series(1, 100) n; \
             insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, created_at, due, batch) \
               select n, gen_random_uuid(), 'q', 't', '[]', '{}', '{}', now(), now(), n from generate_series(1, 100) n",
        )
        .await
        .unwrap();
    let trim = "select outbox_trim('1 h', '1 d', 30)";
    assert_eq!(number(&client, trim).await, 90, "thirty of each kind");
    assert_eq!(number(&client, "select min(batch) from outbox_batch").await, 30, "from the low end");
    let mut times = 0;
    while number(&client, trim).await > 0 {
        times += 1;
        assert!(times < 10);
    }
    for (table, left) in [("outbox_batch", 1), ("outbox_checkpoint", 1), ("outbox_held", 0)] {
        assert_eq!(number(&client, &format!("select count(*) from {table}")).await, left, "{table}");
    }
    assert_eq!(number(&client, "select max(batch) from outbox_batch").await, 100);
    // Dispatched just now: still needed.
    client
        .batch_execute(
            "insert into outbox_batch (queue, batch, kind, snap, tip, prev_tip, floor, open_after, rows, bytes, relay) \
               values ('q', 101, 'log', '3:3:', 0, 0, 0, '{}', 0, 0, 'test'); \
             insert into outbox_checkpoint (queue, position, evidence) values ('q', 101, 'test')",
        )
        .await
        .unwrap();
    number(&client, trim).await;
    assert_eq!(number(&client, "select count(*) from outbox_batch").await, 2);
}

/// What is old and what is young of everything that is kept for a while; nothing of it is a ledger's.
const OLD_AND_YOUNG: &str = "
    insert into outbox_receipt (task_id, acked_at) select gen_random_uuid(), now() - n * interval '1 d' from unnest(array[0, 2, 3]) n;
    insert into outbox_receipt (task_id, once_at) select gen_random_uuid(), now() - n * interval '1 d' from unnest(array[0, 2]) n;
    insert into outbox_receipt (task_id, acked_at, once_at) values (gen_random_uuid(), now() - interval '3 d', now());
    insert into outbox_dedupe (queue, key, task_id, expires_at)
      select 'q', n::text, gen_random_uuid(), now() + n * interval '1 h' from unnest(array[-2, -1, 1]) n;
    insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, created_at, due, cancelled_at)
      select n, gen_random_uuid(), 'q', 't', '[]', '{}', '{}', now(), now(), now() - n * interval '1 d'
        from unnest(array[0, 2, 3]) n;
    insert into outbox_incident (queue, destination, cause, relay, recovered_at, cancelled_at)
      values ('q', '', 'missing', '', now() - interval '5 d', null), ('q', '', 'operator', '', null, now() - interval '5 d'),
             ('q', '', 'missing', '', now() - interval '3 d', null), ('q', '', 'missing', '', null, null);
    insert into outbox_tenure (token, queue, destination, incarnation, opened_batch, cap, base, relay, opened_at, closed_at)
      select gen_random_uuid(), 'q', '', '', 0, 0, 0, '', now() - interval '9 d', now() - n * interval '1 d'
        from unnest(array[0, 2, 3]) n";

#[tokio::test]
async fn receipts_keys_copies_incidents_and_tenures_go_when_they_are_old_and_not_before() {
    let database = Database::migrated();
    let client = database.connect().await;
    client.batch_execute("insert into outbox_queue (queue) values ('q')").await.unwrap();
    client.batch_execute(OLD_AND_YOUNG).await.unwrap();
    assert_eq!(number(&client, "select outbox_trim('1 h', '1 d', 1000)").await, 3 + 2 + 2 + 2 + 2);
    for (table, left) in [("receipt", 3), ("dedupe", 1), ("held", 1), ("incident", 2), ("tenure", 1)] {
        assert_eq!(number(&client, &format!("select count(*) from outbox_{table}")).await, left, "{table}");
    }
    assert_eq!(number(&client, "select outbox_trim('1 h', '1 d', 1000)").await, 0);
}

#[tokio::test]
async fn a_trim_that_finds_nothing_reads_nothing_of_what_stays() {
    let database = Database::migrated();
    let mut client = database.connect().await;
    client
        .batch_execute(
            "insert into outbox_queue (queue) values ('q'); \
             insert into outbox_receipt (task_id, acked_at) select gen_random_uuid(), now() from generate_series(1, 5000); \
             insert into outbox_dedupe (queue, key, task_id, expires_at) \
               select 'q', n::text, gen_random_uuid(), now() + interval '1 d' from generate_series(1, 5000) n; \
             insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, created_at, due) \
               select n, gen_random_uuid(), 'q', 't', '[]', '{}', '{}', now(), now() + interval '1 d' \
                 from generate_series(1, 5000) n",
        )
        .await
        .unwrap();
    for statistics in ["select", "analyze"] {
        client.batch_execute(statistics).await.unwrap();
        // The plan is another one once it has been made for any parameters.
        for _ in 0..8 {
            let transaction = client.transaction().await.unwrap();
            transaction.query_one("select outbox_trim('1 h', '1 d', 1000)", &[]).await.unwrap();
            let read = "select relname::text, seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables \
                         where relname in ('outbox_receipt', 'outbox_dedupe', 'outbox_held') order by 1";
            let read: Vec<(String, i64)> =
                transaction.query(read, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
            // The planner itself looks at the ends of an index.
            assert!(read.len() == 3 && read.iter().all(|(_, rows)| *rows < 100), "{statistics}: {read:?}");
            transaction.rollback().await.unwrap();
        }
    }
}
