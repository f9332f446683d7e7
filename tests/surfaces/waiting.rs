//! `outboxd wait --drained`.

use std::process::{Child, Command, Stdio};

use outboxd::sandbox::Proxy;

use super::{command, len};
use crate::common::{Fixture, RelayProcess, SOON, config, eventually_blocking};

fn start_waiting(fixture: &Fixture) -> Child {
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    waiting.args(["wait", "--drained"]).env("DATABASE_URL", fixture.database.url());
    waiting.env("REDIS_URL", fixture.redis.url(0)).stdin(Stdio::null()).spawn().unwrap()
}

#[tokio::test]
async fn it_returns_when_what_was_committed_before_is_dispatched_and_not_sooner() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let text = config(&fixture.database.url(), &proxy.through(&fixture.redis.url(0)), "");
    let mut relay = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
    assert!(command(&fixture, &["wait", "--drained"]).status.success(), "an empty outbox is drained");

    fixture.database.sql("insert into outbox (queue, task) select 'a', 't' from generate_series(1, 5)");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 5));
    proxy.refuse().unwrap();
    proxy.cut();
    relay.wait_event("redis.down", |_| true, SOON).await;
    fixture.database.sql(
        "insert into outbox (queue, task) select 'a', 't' from generate_series(1, 5);
         insert into outbox (queue, task, expires_at) values ('a', 't', now() - interval '1 hour');
         insert into outbox (queue, task, headers) values ('a', 't', '{\"id\": 1}');
         insert into outbox (queue, task, deliver_at) values ('a', 't', now() + interval '1 hour')",
    );
    let early = command(&fixture, &["wait", "--drained", "--timeout", "300ms"]);
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    let mut waiting = start_waiting(&fixture);
    proxy.pass().unwrap();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(len(&fixture, "a"), 10, "it returned before Redis had them");
}

#[tokio::test]
async fn a_row_that_commits_after_the_call_is_not_waited_for() {
    let fixture = Fixture::new();
    let _relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(""), &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    let writer = fixture.database.connect().await;
    writer.batch_execute("begin; insert into outbox (queue, task) values ('a', 't')").await.unwrap();
    let begun = command(&fixture, &["wait", "--drained", "--timeout", "20s"]);
    assert!(begun.status.success(), "an open transaction is not committed: {begun:?}");
    assert_eq!(len(&fixture, "a"), 1);
    writer.batch_execute("commit").await.unwrap();
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    assert_eq!(len(&fixture, "a"), 2);
}
