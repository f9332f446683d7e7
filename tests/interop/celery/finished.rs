//! Finished messages, as Celery's own client makes them, through the outbox to a worker.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::Stage;
use crate::common::outboxd;

fn message(id: &str, kind: &str, body: &[u8]) -> Value {
    json!({
        "body": BASE64.encode(body), "content-type": kind, "content-encoding": "binary",
        "headers": {"task": "demo.echo", "id": id, "lang": "py", "retries": 0},
        "properties": {
            "correlation_id": id, "delivery_tag": "same", "delivery_mode": 2, "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "default"}, "priority": 0, "reply_to": "",
        },
    })
}

async fn raw(stage: &Stage, message: &Value) -> String {
    let sql = "select outbox_enqueue_raw('default', convert_to($1, 'UTF8'))::text";
    stage.db.query_one(sql, &[&message.to_string()]).await.unwrap().get(0)
}

#[tokio::test]
async fn pickled_and_compressed_bodies_and_typed_headers_reach_the_worker() {
    let stage = Stage::new().await;
    let _relay = stage.relay("").await;
    let settings = json!({"accept_content": ["json", "pickle"], "worker_prefetch_multiplier": 4});
    // pickle.dumps(([1], {}, None), 0)
    let pickled = message("pickled", "application/x-python-serialize", b"((lp0\nI1\na(dp1\nNtp2\n.");
    // zlib.compress(b'[[2], {}, null]')
    let zipped = b"\x78\x9c\x8b\x8e\x36\x8a\xd5\x51\xa8\xae\xd5\x51\xc8\x2b\xcd\xc9\x89\x05\x00\x25\x0a\x04\xee";
    let mut compressed = message("compressed", "application/json", zipped);
    compressed["headers"]["compression"] = json!("application/x-gzip");
    let mut typed = message("typed", "application/json", b"[[3], {}, null]");
    typed["headers"]["headers"] = json!({"when": {"__type__": "date", "__value__": "2026-11-22"}});
    let mut sent = Vec::new();
    for message in [&pickled, &compressed, &typed] {
        sent.push(raw(&stage, message).await);
    }
    let runs = stage.worker(&["default"], &settings).ran(3).await;
    let ran: Vec<_> = runs.iter().map(|run| (run["id"].clone(), run["args"].clone())).collect();
    assert_eq!(ran, [(json!("pickled"), json!([1])), (json!("compressed"), json!([2])), (json!("typed"), json!([3]))]);
    let name: String = stage.db.query_one("select min(task) from outbox", &[]).await.unwrap().get(0);
    assert_eq!(name, "demo.echo");
}

#[tokio::test]
async fn a_retried_dead_task_runs_although_its_message_says_that_it_has_expired() {
    let stage = Stage::new().await;
    let _relay = stage.relay("").await;
    let mut expired = message("late", "application/json", b"[[1], {}, null]");
    // Without an offset, so that the row itself never expires.
    expired["headers"]["expires"] = json!("2020-01-02T03:04:05");
    expired["properties"]["expiration"] = json!("1000");
    let row = raw(&stage, &expired).await;
    assert!(stage.becomes(&row, "dispatched").await);
    stage.db.execute("select outbox_fail($1::text::uuid, 'Error', 'given up')", &[&row]).await.unwrap();
    stage.fixture.redis.flushall().unwrap();
    let env = [("DATABASE_URL", &*stage.fixture.database.url()), ("REDIS_URL", &*stage.fixture.redis.url(1))];
    let shown = outboxd(&["dead", "show", &row], &env, stage.fixture.sandbox.folder());
    let shown = shown.stdout;
    for part in ["message task", "demo.echo", "message args", "[1]"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    let retried = outboxd(&["dead", "retry", &row], &env, stage.fixture.sandbox.folder());
    assert!(retried.status.success(), "{retried:?}");
    let runs = stage.worker(&["default"], &super::plain()).ran(1).await;
    assert_eq!((&runs[0]["id"], &runs[0]["args"], &runs[0]["expires"]), (&json!("late"), &json!([1]), &Value::Null));
    assert!(stage.becomes(&row, "dispatched").await);
}
