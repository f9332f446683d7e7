//! A relay with short waits, its consumers, and what is often asked.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::{Fixture, Output, RelayProcess, SOON, eventually_blocking, outboxd};

/// Lists from which consumers take at the left; `jobs` has a list of messages under way.
pub(super) const QUICK: &str = r#"
[relay]
retry_min = "10ms"
retry_max = "200ms"
takeover_after = "300ms"
replay_settle = "20ms"
[log]
level = "info,outboxd=debug"
[defaults]
format = "list"
push = "right"
[queues.jobs]
processing = ["work"]
"#;

/// A relay that is ready.
pub(super) async fn relay(fixture: &Fixture, env: &[(&str, &str)]) -> RelayProcess {
    RelayProcess::ready(&fixture.sandbox, &fixture.config(QUICK), env, &[]).await
}

/// Runs a command against the stage's database.
pub(super) fn command(fixture: &Fixture, args: &[&str]) -> Output {
    outboxd(args, &[("DATABASE_URL", &fixture.database.url())], fixture.sandbox.folder())
}

/// Runs a command that must succeed and print JSON.
pub(super) fn json(fixture: &Fixture, args: &[&str]) -> Value {
    let output = command(fixture, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// Commits rows in one transaction; their task ids in order.
pub(super) fn insert(fixture: &Fixture, queue: &str, rows: usize) -> Vec<String> {
    let ids = fixture.database.sql(&format!(
        "insert into outbox (queue, task, args) select '{queue}', 't', jsonb_build_array(n) from generate_series(1, {rows}) n \
         returning task_id"
    ));
    ids.lines().map(str::to_owned).collect()
}

/// The task ids in a list, in order.
pub(super) fn listed(fixture: &Fixture, key: &str) -> Vec<String> {
    fixture.redis.cmd(["LRANGE", key, "0", "-1"]).unwrap().texts().iter().map(|text| id(text)).collect()
}

/// The task id in a message.
pub(super) fn id(message: &str) -> String {
    let message: Value = serde_json::from_str(message).unwrap();
    message["id"].as_str().unwrap().to_owned()
}

/// Takes so many messages from the left and is done with them.
pub(super) fn consume(fixture: &Fixture, key: &str, count: usize) -> Vec<String> {
    let count = count.to_string();
    fixture.redis.cmd(["LPOP", key, &count]).unwrap().texts().iter().map(|text| id(text)).collect()
}

/// Waits until a list holds exactly these rows, each once, in any order.
pub(super) fn holds<S: AsRef<str>>(fixture: &Fixture, key: &str, wanted: &[S]) {
    let wanted: Vec<&str> = wanted.iter().map(AsRef::as_ref).collect::<BTreeSet<_>>().into_iter().collect();
    let there = || {
        let mut found = listed(fixture, key);
        found.sort();
        found
    };
    eventually_blocking(SOON, || there().len() >= wanted.len());
    let found = there();
    assert!(found == wanted, "{key} holds {} rows {found:?}, not the {} {wanted:?}", found.len(), wanted.len());
}

/// Waits until a query answers that.
pub(super) fn answers(fixture: &Fixture, sql: &str, wanted: &str) {
    let answer = || fixture.database.sql(sql).trim().to_owned();
    assert!(eventually_blocking(SOON, || answer() == wanted), "{sql} answers {}, not {wanted}", answer());
}

/// Waits until a checkpoint says that everything but so many rows is consumed.
pub(super) fn confirmed(fixture: &Fixture, queue: &str, outstanding: usize) {
    let sql = format!(
        "select (c.consumed = (select max(batch) from outbox_batch where queue = '{queue}'))::text || ' ' || cardinality(c.outstanding) \
           from outbox_checkpoint c where queue = '{queue}' order by checkpoint desc limit 1"
    );
    answers(fixture, &sql, &format!("true {outstanding}"));
}

/// Waits until no receipt is left in Redis: they are deleted once Postgres has them.
pub(super) fn deleted(fixture: &Fixture) {
    let left = || fixture.redis.cmd(["XLEN", "outbox:receipts"]).unwrap().int();
    assert!(eventually_blocking(SOON, || left() == Some(0)), "{:?} receipts are left", left());
}

/// Waits until every batch has been published.
pub(super) fn published(fixture: &Fixture, queue: &str) {
    let sql = format!(
        "select (select position from outbox_checkpoint where queue = '{queue}' order by checkpoint desc limit 1) \
              = (select max(batch) from outbox_batch where queue = '{queue}') \
            and not exists (select from outbox_held where queue = '{queue}' and batch is null and incident is not null)"
    );
    answers(fixture, &sql, "t");
}
