//! Which tasks stand in Redis, waiting or taken, as the consumers know it and not as the relay does.

use std::collections::HashSet;

use outboxd::sandbox::{Redis, Result, Value};
use uuid::Uuid;

use super::cell::Consumer;

/// A command in the broker's database, number 1.
pub fn db(redis: &Redis, words: &[&str]) -> Result<Value> {
    let mut client = redis.connect()?;
    client.cmd(["SELECT", "1"])?;
    client.cmd(words)
}

/// The tasks of a queue in database 1; none if the server does not answer.
pub fn standing(redis: &Redis, consumer: Consumer, queue: &str) -> HashSet<Uuid> {
    let (own, taken) = match consumer {
        Consumer::Stream => return in_stream(redis, queue).unwrap_or_default(),
        Consumer::Celery => (in_list(redis, queue), in_flight(redis)),
        Consumer::List | Consumer::Receipts => (in_list(redis, queue), in_list(redis, &format!("{queue}:busy"))),
    };
    own.into_iter().chain(taken).collect()
}

/// Those that a Celery worker has taken and not acknowledged.
fn in_flight(redis: &Redis) -> HashSet<Uuid> {
    let texts = db(redis, &["HVALS", "unacked"]).map(|values| values.texts()).unwrap_or_default();
    let read = |text: &String| serde_json::from_str::<serde_json::Value>(text).ok()?[0].pointer("/headers/id").cloned();
    texts.iter().filter_map(read).map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

fn in_list(redis: &Redis, key: &str) -> HashSet<Uuid> {
    let texts = db(redis, &["LRANGE", key, "0", "-1"]).map(|values| values.texts()).unwrap_or_default();
    let read = |text: &String| {
        let message: serde_json::Value = serde_json::from_str(text).unwrap();
        message.pointer("/headers/id").or(message.get("id")).unwrap().as_str().unwrap().parse().unwrap()
    };
    texts.iter().map(read).collect()
}

/// What the group `workers` has not read, or not acknowledged.
fn in_stream(redis: &Redis, key: &str) -> Option<HashSet<Uuid>> {
    let group = db(redis, &["XINFO", "GROUPS", key]).ok()?;
    let fields = group.items().first()?.items().to_vec();
    let last = fields.chunks(2).find(|pair| pair[0].text().as_deref() == Some("last-delivered-id"))?[1].text()?;
    let held = db(redis, &["XPENDING", key, "workers", "-", "+", "100000"]).ok()?;
    let held: HashSet<String> = held.items().iter().filter_map(|entry| entry.items()[0].text()).collect();
    let entries = db(redis, &["XRANGE", key, "-", "+"]).ok()?;
    let standing = entries.items().iter().filter(|entry| {
        let id = entry.items()[0].text().unwrap();
        number(&id) > number(&last) || held.contains(&id)
    });
    let id = |entry: &Value| entry.items()[1].texts().chunks(2).find(|pair| pair[0] == "id").unwrap()[1].parse();
    Some(standing.map(|entry| id(entry).unwrap()).collect())
}

fn number(id: &str) -> (u64, u64) {
    let (time, count) = id.split_once('-').unwrap();
    (time.parse().unwrap(), count.parse().unwrap())
}
