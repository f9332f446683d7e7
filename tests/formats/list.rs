//! `list` and `raw`: BRPOP, BLPOP, and a list of one's own for what is under way.

use serde_json::{Value, json};

use super::{ask, stage, wait_len};

#[tokio::test]
async fn a_brpop_consumer_gets_tasks_in_order_as_json_objects() {
    let (fixture, _relay) = stage("[queues.jobs]\nformat = \"list\"\nkey = \"jobs:v1\"\n").await;
    let ids = fixture.database.sql(
        "select outbox_enqueue('jobs', 'send', jsonb_build_array(n, 'é \"q\" \\'), '{\"a\": [1, null]}', \
         '{\"traceparent\": \"00-1\"}', priority => 4) from generate_series(1, 50) n",
    );
    wait_len(&fixture, "jobs:v1", 50);
    let mut consumer = fixture.redis.connect().unwrap();
    for (n, id) in (1..=50).zip(ids.lines()) {
        let popped = ask(&mut consumer, &["BRPOP", "jobs:v1", "9"]).texts();
        let mut message: Value = serde_json::from_str(&popped[1]).unwrap();
        let created = message.as_object_mut().unwrap().remove("created_at").unwrap();
        assert!(created.as_str().unwrap().ends_with('Z'), "{created}");
        let wanted = json!({
            "id": id, "queue": "jobs", "task": "send", "args": [n, "é \"q\" \\"], "kwargs": {"a": [1, null]},
            "headers": {"traceparent": "00-1"}, "priority": 4,
        });
        assert_eq!(message, wanted);
    }
}

#[tokio::test]
async fn a_consumer_with_a_processing_list_takes_the_oldest_first_and_gives_back_what_it_held() {
    let (fixture, _relay) = stage("[defaults]\nformat = \"list\"\n[queues.right]\npush = \"right\"\n").await;
    for queue in ["left", "right"] {
        let insert = format!(
            "insert into outbox (queue, task, args) select '{queue}', 't', to_jsonb(array[n]) from generate_series(1, 5) n"
        );
        fixture.database.sql(&insert);
        wait_len(&fixture, queue, 5);
    }
    let mut consumer = fixture.redis.connect().unwrap();
    for (queue, takes_from) in [("left", "RIGHT"), ("right", "LEFT")] {
        let other = if takes_from == "RIGHT" { "LEFT" } else { "RIGHT" };
        let mut seen = Vec::new();
        for _ in 0..5 {
            let message = ask(&mut consumer, &["LMOVE", queue, "processing", takes_from, other]).text().unwrap();
            let message: Value = serde_json::from_str(&message).unwrap();
            seen.push(message["args"][0].as_i64().unwrap());
        }
        assert_eq!(seen, [1, 2, 3, 4, 5], "{queue}");
        // The consumer dies after two: another one finds the other three where they were.
        for _ in 0..2 {
            ask(&mut consumer, &["LMOVE", "processing", "done", takes_from, other]);
        }
        assert_eq!(ask(&mut consumer, &["LLEN", "processing"]).int(), Some(3));
        ask(&mut consumer, &["DEL", "processing"]);
    }
}

#[tokio::test]
async fn raw_bytes_arrive_as_they_were_written() {
    let (fixture, _relay) = stage("[queues.bytes]\nformat = \"raw\"\n[queues.json]\nformat = \"list\"\n").await;
    let all: Vec<u8> = (0..=255).collect();
    let hex: String = all.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    fixture
        .database
        .sql(&format!("select outbox_enqueue_raw('bytes', '\\x{hex}'), outbox_enqueue_raw('bytes', 'plain')"));
    fixture
        .database
        .sql(&format!("insert into outbox (queue, body) values ('bytes', '\\x{hex}'), ('json', '\\x00ff')"));
    wait_len(&fixture, "bytes", 3);
    wait_len(&fixture, "json", 1);
    let mut consumer = fixture.redis.connect().unwrap();
    for wanted in [&all[..], b"plain", &all] {
        let popped = ask(&mut consumer, &["BRPOP", "bytes", "9"]);
        assert_eq!(popped.items()[1].bytes(), Some(wanted));
    }
    let popped = ask(&mut consumer, &["BRPOP", "json", "9"]);
    assert_eq!(popped.items()[1].bytes(), Some(&b"\x00\xff"[..]));
}
