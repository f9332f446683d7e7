//! Many tasks: priorities, prefixes, keys, and queues side by side.

use serde_json::json;

use super::{Stage, ids, plain};
use crate::common::{SOON, eventually, outboxd};

#[tokio::test]
async fn a_backlog_runs_by_priority_step_and_in_order_within_a_step() {
    let stage = Stage::new().await;
    let _relay = stage.relay("").await;
    let mut sent = Vec::new();
    for round in 0..3 {
        for priority in (0..=9).rev() {
            let id = stage.enqueue(&format!("'ranked', 'demo.echo', '[{round}]', priority => {priority}")).await;
            sent.push((priority / 3, id));
        }
    }
    let env = [("DATABASE_URL", &*stage.fixture.database.url()), ("REDIS_URL", &*stage.fixture.redis.url(1))];
    let drained = outboxd(&["wait", "--drained"], &env, stage.fixture.sandbox.folder());
    assert!(drained.status.success(), "{drained:?}");
    sent.sort_by_key(|(step, _)| *step);
    let wanted: Vec<_> = sent.into_iter().map(|(_, id)| id).collect();
    let runs = stage.worker(&["ranked"], &plain()).ran(wanted.len()).await;
    assert_eq!(ids(&runs), wanted);
}

#[tokio::test]
async fn a_worker_with_a_key_prefix_finds_plain_and_base64_bodies_under_the_key_it_polls() {
    let stage = Stage::new().await;
    let queues = "[defaults]\nkey_prefix = \"{app}:\"\n[queues.mail]\nkey = \"mail-v2\"\nbody_encoding = \"plain\"\n";
    let _relay = stage.relay(queues).await;
    let call = "'demo.echo', '[\"\u{e9} \\\"q\\\" \u{1f680}\"]', '{\"a\": 1}', priority => 6";
    let wanted = [stage.enqueue(&format!("'mail', {call}")).await, stage.enqueue(&format!("'other', {call}")).await];
    let settings = json!({"broker_transport_options": {"global_keyprefix": "{app}:"}});
    let worker = stage.worker(&["mail-v2", "other"], &settings);
    let runs = worker.ran(2).await;
    for (id, routing_key) in wanted.iter().zip(["mail-v2", "other"]) {
        let run = runs.iter().find(|run| run["id"] == id.as_str()).unwrap();
        assert_eq!(run["args"], json!(["\u{e9} \"q\" \u{1f680}"]));
        assert_eq!((&run["kwargs"], &run["priority"]), (&json!({"a": 1}), &json!(6)));
        assert_eq!(run["routing_key"], routing_key);
    }
}

#[tokio::test]
async fn a_backlog_of_slow_tasks_in_one_queue_does_not_keep_another_waiting() {
    let stage = Stage::new().await;
    let slow = stage.worker(&["batch"], &json!({"worker_prefetch_multiplier": 1}));
    let quick = stage.worker(&["interactive", "default"], &plain());
    let relay = stage.relay("[queues.batch]\nwindow = 20\n").await;
    let backlog =
        "insert into outbox (queue, task, args) select 'batch', 'demo.sleep', '[0.02]' from generate_series(1, 600)";
    stage.db.batch_execute(backlog).await.unwrap();
    slow.ran(1).await;
    let mut wanted = Vec::new();
    for n in 0..10 {
        for queue in ["interactive", "default"] {
            wanted.push(stage.enqueue(&format!("'{queue}', 'demo.echo', '[{n}]'")).await);
        }
        let mut ran = ids(&quick.ran(wanted.len()).await);
        ran.sort();
        wanted.sort();
        assert_eq!(ran, wanted);
    }
    let behind = slow.runs().len();
    assert!(behind < 600, "the backlog was gone before anything was proven");
    let mut broker = stage.fixture.redis.connect().unwrap();
    broker.cmd(["SELECT", "1"]).unwrap();
    let depth = broker.cmd(["LLEN", "batch"]).unwrap().int().unwrap();
    assert!(depth <= 20, "{depth} messages stand in Redis, the window is 20");
    let all = eventually(SOON * 2, || async { slow.runs().len() == 600 }).await;
    assert!(all, "{} of 600 ran; {} ran by then", slow.runs().len(), behind);
    drop(relay);
}

#[tokio::test]
async fn a_worker_with_another_separator_runs_tasks_of_every_priority() {
    let stage = Stage::new().await;
    let _relay = stage.relay("[defaults]\nsep = \":\"\n").await;
    let mut wanted = Vec::new();
    for priority in [0, 3, 6, 9] {
        wanted.push(stage.enqueue(&format!("'default', 'demo.echo', '[{priority}]', priority => {priority}")).await);
    }
    let settings = json!({"broker_transport_options": {"sep": ":", "queue_order_strategy": "priority"}});
    let mut ran = ids(&stage.worker(&["default"], &settings).ran(4).await);
    ran.sort();
    assert_eq!(ran, wanted);
}

#[tokio::test]
async fn a_queue_with_the_name_of_another_key_is_not_published_and_harms_nobody() {
    let stage = Stage::new().await;
    let _relay = stage.relay("").await;
    let names = ["unacked", "unacked_index", "_kombu.binding.default", "outbox:m:{default}", "outbox:receipts", "a}b"];
    for name in names {
        stage.enqueue(&format!("'{name}', 'demo.echo'")).await;
    }
    let reasons = "select count(*) from outbox_queue where stopped_reason is not null";
    let stopped = || async { stage.db.query_one(reasons, &[]).await.unwrap().get::<_, i64>(0) == 6 };
    assert!(eventually(SOON, stopped).await, "not all of {names:?} stopped");
    let mut worker = stage.worker(&["default"], &plain());
    let sent = stage.enqueue("'default', 'demo.echo', '[1]'").await;
    assert_eq!(ids(&worker.ran(1).await), [sent]);
    assert!(worker.0.is_running());
    let mut broker = stage.fixture.redis.connect().unwrap();
    broker.cmd(["SELECT", "1"]).unwrap();
    // The worker's own may be there: for as long as it has not acknowledged the task.
    for name in names {
        assert_ne!(broker.cmd(["TYPE", name]).unwrap().text().as_deref(), Some("list"), "{name}");
    }
}
