//! The ring of segments and what is kept how long, with the real relay and the smallest sizes it takes.

mod blocked;
mod overdue;
mod ring;
mod trimmed;

use std::collections::HashSet;
use std::time::Duration;

use outboxd::sandbox::Redis;
use tokio_postgres::Client;

use crate::common::{Fixture, RelayProcess, eventually};

/// Longer than any retention below takes.
pub const LONG: Duration = Duration::from_secs(60);

/// Segments of one MiB, kept for two seconds. `max`: when rows that are not dispatched move away.
pub fn settings(max: &str) -> String {
    format!(
        "[relay]\nreplay_horizon = \"1s\"\nlinger = \"10ms\"\n[retention]\nmin = \"2s\"\nmax = \"{max}\"\nsegment_size = \"1MiB\"\n\
         [defaults]\nformat = \"list\"\nconfirm = \"none\"\nwindow = 0\n[log]\nlevel = \"debug\"\n"
    )
}

/// A relay that is ready.
pub async fn relay(fixture: &Fixture, config: &str) -> RelayProcess {
    RelayProcess::ready(&fixture.sandbox, &fixture.config(config), &[], &[]).await
}

/// Rows of about a kilobyte: a thousand fill a segment.
pub async fn insert(client: &Client, queue: &str, rows: i64) {
    let sql = "insert into outbox (queue, task, args) select $1, 't', jsonb_build_array(n, repeat('x', 1000)) \
               from generate_series(1, $2::bigint) n";
    client.execute(sql, &[&queue, &rows]).await.unwrap();
}

pub async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Fills the log by rows of a queue that nobody looks at, until the ring has moved on by so many segments.
pub async fn turn(client: &Client, segments: usize) {
    for _ in 0..segments {
        let before = number(client, CURRENT).await;
        let moved = eventually(LONG, || async {
            insert(client, "filler", 100).await;
            number(client, CURRENT).await != before
        });
        assert!(moved.await, "the ring stays at segment {before}");
    }
}

/// The segment that producers write to.
pub const CURRENT: &str = "select pg_sequence_last_value('outbox_segment_seq')::bigint";

pub fn depth(redis: &Redis, queue: &str) -> i64 {
    redis.cmd(["LLEN", queue]).unwrap().int().unwrap()
}

/// Waits until every row of a queue has arrived, each once.
pub async fn all_arrive(redis: &Redis, queue: &str, rows: i64) {
    let arrived = eventually(LONG, || async { depth(redis, queue) >= rows }).await;
    assert!(arrived, "{} of {rows} in {queue}", depth(redis, queue));
    let ids = ids(redis, queue);
    let different: HashSet<&String> = ids.iter().collect();
    assert_eq!(
        (ids.len(), different.len()),
        (usize::try_from(rows).unwrap(), usize::try_from(rows).unwrap()),
        "{queue}"
    );
}

/// The task ids in the order of publication.
pub fn ids(redis: &Redis, queue: &str) -> Vec<String> {
    let messages = redis.cmd(["LRANGE", queue, "0", "-1"]).unwrap().texts();
    let id = |message: &String| message.split('"').nth(3).unwrap().to_owned();
    messages.iter().rev().map(id).collect()
}
