//! What a worker holds and has not finished stands in Redis for whoever looks: nothing that it holds is taken for done.

use std::time::Duration;

use outboxd::broker::{Present, SnapshotAsk, Spot, Target, marker_key, snapshot};
use outboxd::wire::{Format, FormatSpec};
use secrecy::SecretString;
use serde_json::json;

use super::{Stage, plain};
use crate::common::{SOON, eventually};

/// The rows of the queue `default` that stand anywhere in Redis, and what is not known.
async fn present(url: &str) -> (Vec<i64>, u64) {
    let target =
        Target::new("default", &SecretString::from(url), Duration::from_secs(5), Duration::from_secs(5)).unwrap();
    let link = target.connect().await.unwrap();
    let format = Format::new(&FormatSpec::default(), "default").unwrap();
    let marker = marker_key(&format.keys()[0].name).unwrap();
    let ask = SnapshotAsk { spot: Spot { marker: &marker, field: "nobody/default" }, format: &format, limit: 1000 };
    match snapshot(&link, &ask).await.unwrap().present {
        Present::Rows { ids, unknown, .. } => (ids, unknown),
        Present::TooMany(count) => panic!("{count} messages"),
    }
}

async fn rows(stage: &Stage, ids: &[String]) -> Vec<i64> {
    let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.parse().unwrap()).collect();
    let found = stage.db.query("select id from outbox where task_id = any($1) order by id", &[&ids]).await.unwrap();
    found.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn tasks_that_a_worker_runs_late_acknowledged_prefetched_or_puts_off_are_all_seen() {
    let stage = Stage::new().await;
    let _relay = stage.relay("").await;
    let settings = json!({"task_acks_late": true, "worker_prefetch_multiplier": 8});
    let worker = stage.worker_in("threads", &["default"], &settings);
    // All at once, and the first lasts until they have been looked at.
    stage.db.batch_execute("begin").await.unwrap();
    let mut ids = vec![stage.enqueue("'default', 'demo.sleep', '[10]'").await];
    // An ETA of the message's own: the worker keeps it in its memory until then.
    let eta = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600)).to_string();
    let finished = json!({
        "body": "[[1], {}, null]", "content-type": "application/json", "content-encoding": "utf-8",
        "headers": {"task": "demo.echo", "id": "put-off", "eta": eta, "lang": "py", "retries": 0},
        "properties": {
            "correlation_id": "put-off", "delivery_tag": "put-off", "delivery_mode": 2, "body_encoding": null,
            "delivery_info": {"exchange": "", "routing_key": "default"}, "priority": 0, "reply_to": "",
        },
    });
    let raw = format!("select outbox_enqueue_raw('default', convert_to($${finished}$$, 'UTF8'))::text");
    ids.push(stage.db.query_one(&raw, &[]).await.unwrap().get(0));
    for n in 0..4 {
        ids.push(stage.enqueue(&format!("'default', 'demo.echo', '[{n}]'")).await);
    }
    let own = "0190b0a4-7e4f-7c1e-8d3f-1234567890ab";
    ids.push(stage.enqueue(&format!("'default', 'demo.echo', task_id => '{own}'")).await);
    stage.db.batch_execute("commit").await.unwrap();
    let wanted = rows(&stage, &ids).await;
    assert_eq!(wanted.len(), 7);

    // All are in the worker's hands: the list is empty, and the hash of what is not acknowledged has them.
    let mut broker = stage.fixture.redis.connect().unwrap();
    broker.cmd(["SELECT", "1"]).unwrap();
    let mut held = || broker.cmd(["HLEN", "unacked"]).unwrap().int();
    worker.ran(1).await;
    let url = stage.fixture.redis.url(1);
    let all = eventually(SOON, || async { present(&url).await == (wanted.clone(), 0) }).await;
    assert!(all, "{:?} instead of {wanted:?}", present(&url).await);
    let holds = eventually(SOON, || {
        let held = held();
        async move { held > Some(1) }
    });
    assert!(holds.await, "the worker holds nothing");

    // What it has finished and acknowledged is gone; what it puts off is still there.
    worker.ran(6).await;
    let rest = rows(&stage, &ids[1..2]).await;
    let done = eventually(SOON, || async { present(&url).await == (rest.clone(), 0) }).await;
    assert!(done, "{:?} instead of {rest:?}", present(&url).await);
    assert_eq!(held(), Some(1));
}

#[tokio::test]
async fn a_task_that_its_worker_retries_stays_the_same_row() {
    let stage = Stage::new().await;
    let _relay = stage.relay("").await;
    let own = "0190b0a4-7e4f-7c1e-8d3f-1234567890ab";
    let ids = vec![
        stage.enqueue("'default', 'demo.retry', '[3600]'").await,
        stage.enqueue(&format!("'default', 'demo.retry', '[3600]', task_id => '{own}'")).await,
    ];
    let worker = stage.worker(&["default"], &plain());
    worker.ran(2).await;
    let (url, wanted) = (stage.fixture.redis.url(1), rows(&stage, &ids).await);
    let seen = eventually(SOON, || async { present(&url).await == (wanted.clone(), 0) }).await;
    assert!(seen, "{:?} instead of {wanted:?}", present(&url).await);
}
