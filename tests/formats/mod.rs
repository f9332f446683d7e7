//! The formats without a worker framework behind them, read by the plainest consumers there are.

mod list;
mod rejects;
mod stream;

use outboxd::sandbox::{Client, Value};

use crate::common::{Fixture, RelayProcess, SOON, eventually_blocking};

/// A stage and a relay that is ready.
async fn stage(queues: &str) -> (Fixture, RelayProcess) {
    let fixture = Fixture::new();
    let more = format!("[relay]\nreplay_settle = \"1ms\"\n[log]\nlevel = \"debug\"\n{queues}");
    let relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(&more), &[], &[]).await;
    (fixture, relay)
}

/// A command that must succeed.
fn ask(client: &mut Client, words: &[&str]) -> Value {
    client.cmd(words).unwrap()
}

/// Waits until so many messages stand in a list.
fn wait_len(fixture: &Fixture, key: &str, wanted: i64) {
    let len = || fixture.redis.cmd(["LLEN", key]).unwrap().int();
    assert!(eventually_blocking(SOON, || len() == Some(wanted)), "{key} holds {:?}, not {wanted}", len());
}

/// The state that a task's row shows.
fn wait_status(fixture: &Fixture, id: &str, wanted: &str) {
    let status = || fixture.database.sql(&format!("select outbox_status('{id}')"));
    assert!(eventually_blocking(SOON, || status() == wanted), "{id} is {}, not {wanted}", status());
}
