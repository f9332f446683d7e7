//! `stream`: a consumer group that misses nothing, also after everything was lost.

use std::time::Instant;

use outboxd::sandbox::{Client, Value};

use super::{ask, stage};
use crate::common::{SOON, eventually_blocking};

/// Reads new entries for the group until there are so many: `(entry id, fields)`.
fn read(client: &mut Client, count: usize) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let until = Instant::now() + SOON;
    while found.len() < count {
        let words =
            ["XREADGROUP", "GROUP", "workers", "one", "COUNT", "100", "BLOCK", "1000", "STREAMS", "events", ">"];
        let reply = ask(client, &words);
        if reply.is_nil() {
            assert!(Instant::now() < until, "{} of {count} entries came", found.len());
            continue;
        }
        let entries = reply.items()[0].items()[1].items();
        found.extend(entries.iter().map(|entry| (entry.items()[0].text().unwrap(), entry.items()[1].texts())));
    }
    found
}

fn group_exists(client: &mut Client) -> bool {
    let groups = client.cmd(["XINFO", "GROUPS", "events"]);
    groups.is_ok_and(|groups| groups.items().iter().any(|group| group.items()[1] == Value::Data(b"workers".to_vec())))
}

#[tokio::test]
async fn a_group_made_on_request_sees_every_entry_and_comes_back_after_a_flush() {
    // Nothing is ever taken for consumed, so that all of it is sent again.
    let queue = "[queues.events]\nformat = \"stream\"\ngroup = \"workers\"\nconfirm = \"none\"\n";
    let (fixture, mut relay) = stage(queue).await;
    let insert = "insert into outbox (queue, task, args, kwargs, headers, priority, expires_at)
                  select 'events', 'seen', to_jsonb(array[n]), '{\"k\": 1}', '{\"traceparent\": \"00-1\"}', 2, '2100-01-01'
                  from generate_series(1, 30) n returning task_id";
    let ids = fixture.database.sql(insert);
    relay.wait_event("queue.published", |event| event.text("queue") == "events", SOON).await;
    let mut consumer = fixture.redis.connect().unwrap();
    // Nobody has read yet, and the group is there: it was made by the relay, at 0.
    assert!(group_exists(&mut consumer));
    let entries = read(&mut consumer, 30);
    for (n, (id, (entry, fields))) in (1..).zip(ids.lines().zip(&entries)) {
        let pairs: Vec<_> = fields.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
        let created = pairs[5].1;
        let args = format!("[{n}]");
        let wanted = [
            ("id", id),
            ("task", "seen"),
            ("args", args.as_str()),
            ("kwargs", "{\"k\": 1}"),
            ("headers", "{\"traceparent\": \"00-1\"}"),
            ("created_at", created),
            ("expires_at", "2100-01-01T00:00:00.000000Z"),
            ("priority", "2"),
        ];
        assert_eq!(pairs, wanted);
        ask(&mut consumer, &["XACK", "events", "workers", entry]);
    }

    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |event| event.text("queue") == "events", SOON).await;
    assert!(eventually_blocking(SOON, || group_exists(&mut consumer)), "the group did not come back");
    let again = read(&mut consumer, 30);
    let fields = |entries: &[(String, Vec<String>)]| entries.iter().map(|(_, f)| f.clone()).collect::<Vec<_>>();
    assert_eq!(fields(&again), fields(&entries), "what is sent again is the same, byte for byte");
    fixture.database.sql("select outbox_enqueue_raw('events', '\\x00ff')");
    let raw = read(&mut consumer, 1).remove(0).1;
    assert_eq!((raw[0].as_str(), raw[raw.len() - 2].as_str()), ("id", "body"));
}
