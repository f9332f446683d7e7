//! Rows that are still open after `retention.max` leave the log, not the outbox; each goes out once.

use super::{LONG, all_arrive, depth, ids, insert, number, relay, settings, turn};
use crate::common::{Fixture, eventually};

#[tokio::test]
async fn old_rows_of_a_paused_queue_move_to_the_held_rows_and_go_out_after_it_is_resumed() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &settings("3s")).await;
    let client = fixture.database.connect().await;
    insert(&client, "q", 5).await;
    all_arrive(&fixture.redis, "q", 5).await;
    client.query("select outbox_pause('q', 'test')", &[]).await.unwrap();
    insert(&client, "q", 40).await;
    turn(&client, 2).await;
    relay.wait_event("segment.emptied", |event| event.text("outcome") == "moved", LONG).await;
    assert_eq!(number(&client, "select count(*) from outbox_held where queue = 'q'").await, 40);
    assert_eq!(number(&client, "select count(*) from outbox where queue = 'q'").await, 0);
    assert_eq!(depth(&fixture.redis, "q"), 5);
    client.query("select outbox_resume('q')", &[]).await.unwrap();
    all_arrive(&fixture.redis, "q", 45).await;
    // Their copies go once nobody needs them any more.
    let copies = "select count(*) from outbox_held";
    assert!(eventually(LONG, || async { number(&client, copies).await == 0 }).await);
    all_arrive(&fixture.redis, "q", 45).await;
}

/// A queue whose window is full stops in the middle of a tick.
const NARROW: &str = "[queues.q]\nwindow = 50\n";

#[tokio::test]
async fn what_was_dispatched_of_a_half_done_tick_does_not_go_out_again() {
    let fixture = Fixture::new();
    let config = settings("3s").replace("[relay]\n", "[relay]\nbatch_size = 10\n");
    let mut relay = relay(&fixture, &format!("{config}{NARROW}")).await;
    let client = fixture.database.connect().await;
    insert(&client, "q", 200).await;
    let full = eventually(LONG, || async { depth(&fixture.redis, "q") == 50 }).await;
    assert!(full);
    client.query("select outbox_pause('q', 'test')", &[]).await.unwrap();
    let inside = "select count(*) from (select t_snap from outbox_batch where queue = 'q' order by batch desc limit 1) b \
                  where t_snap is not null";
    assert_eq!(number(&client, inside).await, 1, "the tick goes on");
    turn(&client, 2).await;
    relay.wait_event("segment.emptied", |event| event.text("outcome") == "moved", LONG).await;
    let mut seen = ids(&fixture.redis, "q");
    fixture.redis.cmd(["DEL", "q"]).unwrap();
    client.query("select outbox_resume('q')", &[]).await.unwrap();
    // A consumer: takes what is there, so that the window has room again.
    let all = eventually(LONG, || {
        for _ in 0..depth(&fixture.redis, "q") {
            let message = fixture.redis.cmd(["RPOP", "q"]).unwrap().text().unwrap();
            seen.push(message.split('"').nth(3).unwrap().to_owned());
        }
        let done = seen.len() >= 200;
        async move { done }
    });
    assert!(all.await);
    let reached = "select count(*) from (select position from outbox_checkpoint where queue = 'q' order by checkpoint desc limit 1) c \
                   where position = (select max(batch) from outbox_batch where queue = 'q') \
                   and not exists (select from outbox_held where batch is null)";
    assert!(eventually(LONG, || async { number(&client, reached).await == 1 }).await);
    assert_eq!((seen.len(), depth(&fixture.redis, "q")), (200, 0), "some went out twice");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 200);
}

#[tokio::test]
async fn what_was_dispatched_lately_stays_in_the_log_for_a_loss() {
    let fixture = Fixture::new();
    // Overdue at once, but kept for 30 s after it was dispatched.
    let config = settings("30s").replace("min = \"2s\"", "min = \"30s\"");
    let mut relay = relay(&fixture, &config).await;
    let mut client = fixture.database.connect().await;
    insert(&client, "q", 20).await;
    all_arrive(&fixture.redis, "q", 20).await;
    client.query("select setval('outbox_segment_seq', 3)", &[]).await.unwrap();
    client
        .batch_execute("update outbox_segment set sealed_at = now() - interval '1 d' where segment = 0")
        .await
        .unwrap();
    relay.pass_events();
    let reached = "select count(*) from outbox_checkpoint where queue = 'q' and position >= 1";
    assert!(eventually(LONG, || async { number(&client, reached).await > 0 }).await);
    let answer: String = client.query_one("select outbox_truncate(0, '30 s', '30 s')", &[]).await.unwrap().get(0);
    assert_eq!(answer, "needed");
    assert_eq!(number(&client, "select count(*) from outbox_held").await, 0);
    // Not dispatched, they would have moved.
    client.query("select outbox_pause('q', 'test')", &[]).await.unwrap();
    client.batch_execute("insert into outbox (segment, queue, task) values (1, 'q', 't')").await.unwrap();
    // In one transaction, so that the relay does not see it first.
    let transaction = client.transaction().await.unwrap();
    transaction
        .batch_execute("update outbox_segment set sealed_at = now() - interval '1 d' where segment = 1")
        .await
        .unwrap();
    let answer: String = transaction.query_one("select outbox_truncate(1, '30 s', '30 s')", &[]).await.unwrap().get(0);
    transaction.commit().await.unwrap();
    assert_eq!(answer, "moved");
    client.query("select outbox_resume('q')", &[]).await.unwrap();
    all_arrive(&fixture.redis, "q", 21).await;
}
