//! A real Celery worker under the sandbox.

use std::time::Duration;

use outboxd::sandbox::{CeleryOptions, CeleryWorker, Persistence, Redis, RedisOptions, Sandbox};

use crate::common::{celery_program, eventually_blocking};

const SOON: Duration = Duration::from_secs(60);

/// The smallest application that keeps the promise of [`CeleryOptions`].
const APP: &str = r#"
import os
from celery import Celery
app = Celery(broker=os.environ["DEMO_BROKER"])
@app.task(name="note")
def note(text):
    with open(os.environ["DEMO_LEDGER"], "a") as ledger:
        ledger.write(text + "\n")
"#;

fn push(redis: &Redis, text: &str) {
    let message = serde_json::json!({
        "body": format!(r#"[["{text}"], {{}}, {{"callbacks": null, "errbacks": null, "chain": null, "chord": null}}]"#),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "note", "id": text, "root_id": text, "parent_id": null, "group": null},
        "properties": {
            "correlation_id": text, "delivery_mode": 2, "delivery_tag": text, "body_encoding": "utf-8",
            "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0,
        },
    });
    redis.cmd(["LPUSH", "celery", &message.to_string()]).unwrap();
}

#[test]
fn a_worker_executes_what_is_pushed_by_hand_also_after_both_were_restarted() {
    let sandbox = Sandbox::new().unwrap();
    let options = RedisOptions { persistence: Persistence::AofAlways, ..RedisOptions::default() };
    let redis = Redis::start(&sandbox, options).unwrap();
    std::fs::write(sandbox.folder().join("app.py"), APP).unwrap();
    let ledger = sandbox.folder().join("ledger");
    let options = CeleryOptions::new(&celery_program(), sandbox.folder(), &redis.url(0), "celery", &ledger);
    let mut worker = CeleryWorker::start(&sandbox, &options).unwrap();
    push(&redis, "one");
    assert!(eventually_blocking(SOON, || worker.ledger() == ["one"]), "{}", worker.log_tail());

    worker.kill();
    assert!(!worker.is_running());
    push(&redis, "two");
    redis.kill();
    redis.start_again().unwrap();
    worker.start_again().unwrap();
    assert!(eventually_blocking(SOON, || worker.ledger() == ["one", "two"]), "{}", worker.log_tail());
    worker.stop(SOON).unwrap();
}
