//! One task id for two rows: two tasks, and neither takes the other with it.

use serde_json::json;

use super::Stage;
use crate::common::{SOON, eventually};

const OWN: &str = "22222222-2222-4222-8222-222222222222";

#[tokio::test]
async fn a_worker_that_dies_loses_neither_of_two_tasks_with_one_id() {
    let stage = Stage::new().await;
    let settings = json!({"task_acks_late": true, "worker_prefetch_multiplier": 4});
    let mut worker = stage.worker_in("prefork", &["default"], &settings);
    let _relay = stage.relay("").await;
    stage.db.batch_execute("begin").await.unwrap();
    // The second lasts until the worker is dead.
    for seconds in [1, 60] {
        stage.enqueue(&format!("'default', 'demo.sleep', '[{seconds}]', task_id => '{OWN}'")).await;
    }
    stage.db.batch_execute("commit").await.unwrap();
    worker.ran(2).await;
    let mut broker = stage.fixture.redis.connect().unwrap();
    broker.cmd(["SELECT", "1"]).unwrap();
    let held = broker.cmd(["HLEN", "unacked"]).unwrap().int();
    assert!(held >= Some(1), "the worker runs the second task, and Redis does not know");
    worker.0.kill();

    let transport = json!({"visibility_timeout": 1, "unacked_restore_interval": 1, "unacked_restore_throttle": 1});
    let next = stage.worker(&["default"], &json!({"broker_transport_options": transport, "task_acks_late": true}));
    let again = || next.runs().iter().any(|run| run["args"] == json!([60]) && run["id"] == OWN);
    assert!(eventually(SOON * 2, || async { again() }).await, "the second task is lost.{}", next.0.log_tail());
}

#[tokio::test]
async fn a_receipt_of_the_first_does_not_keep_the_second_from_being_sent_again() {
    let stage = Stage::new().await;
    let mut relay = stage.relay("[relay]\nreplay_settle = \"1ms\"\n").await;
    let call = |n: i32| format!("'default', 'demo.echo', '[{n}]', task_id => '{OWN}'");
    stage.enqueue(&call(1)).await;
    stage.db.execute("select outbox_ack($1::text::uuid)", &[&OWN]).await.unwrap();
    stage.enqueue(&call(2)).await;
    assert!(stage.becomes(OWN, "dispatched").await);
    stage.fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |_| true, SOON).await;
    let runs = stage.worker(&["default"], &super::plain()).ran(1).await;
    assert_eq!(runs[0]["args"], json!([2]), "the first was acknowledged, the second was not");
}
