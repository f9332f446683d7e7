//! The ledger, the checkpoints and the copies are trimmed at the low end, in slices; what is needed stays.

use super::{LONG, all_arrive, insert, number, relay, settings};
use crate::common::{Database, Fixture, eventually};

#[tokio::test]
async fn ledger_and_checkpoints_stay_small_and_a_loss_is_still_mended() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &settings("1h")).await;
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
    // The last two at least: they were dispatched within the horizon of a second, or nearly.
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
