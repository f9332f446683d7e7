//! The stage on which the relay's tests play: a migrated database, a Redis, the real program.

use outboxd::sandbox::RedisOptions;
use rustix::process::Signal;

use crate::common::{Database, Event, Fixture, Output, RelayProcess, SOON, config, eventually, migrate, outboxd};

#[tokio::test]
async fn a_relay_on_the_stage_becomes_ready_and_ends_in_order() {
    let stage = Fixture::new();
    let mut relay = stage.relay("");
    let ready = relay.wait_event("relay.ready", |_| true, SOON).await;
    assert!(!ready.text("relay").is_empty(), "{ready:?}");
    relay.signal(Signal::STOP);
    relay.signal(Signal::CONT);
    assert!(relay.is_running());
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_committed_task_is_in_redis_soon_after_a_relay_was_killed() {
    let stage = Fixture::new();
    let mut relay = stage.relay("");
    relay.wait_event("relay.ready", |_| true, SOON).await;
    relay.kill();
    let client = stage.database.connect().await;
    client
        .batch_execute("insert into outbox (queue, task, args) values ('celery', 'demo.add', '[1, 2]')")
        .await
        .unwrap();
    let mut relay = stage.relay("");
    relay.wait_event("relay.ready", |_| true, SOON).await;
    let arrived = || async { stage.redis.cmd(["LLEN", "celery"]).unwrap().int() == Some(1) };
    assert!(eventually(SOON, arrived).await, "{:?}", relay.events());
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_and_may_have_a_server_of_its_own() {
    let (one, two) = (Database::migrated(), Database::empty());
    assert_ne!(one.name, two.name);
    one.sql("insert into outbox (queue, task) values ('q', 't')");
    migrate(&two.url());
    assert_eq!(
        (one.sql("select count(*) from outbox"), two.sql("select count(*) from outbox")),
        ("1".into(), "0".into())
    );
    let installation = "select installation from outbox_meta";
    assert_ne!(one.sql(installation), two.sql(installation));

    let stage = Fixture::with_own_postgres(&[("max_prepared_transactions", "5")], RedisOptions::default());
    assert_eq!(stage.database.sql("show max_prepared_transactions"), "5");
    stage.database.postgres.kill();
    stage.database.postgres.start_again().unwrap();
    assert_eq!(stage.database.sql("select count(*) from outbox"), "0");
}

#[tokio::test]
async fn two_relays_stand_side_by_side_and_tell_their_events_apart() {
    let stage = Fixture::new();
    let text = config(&stage.database.url(), &stage.redis.url(0), "");
    let one = RelayProcess::ready(&stage.sandbox, &text, &[], &[]).await;
    let mut two = RelayProcess::ready(&stage.sandbox, &text, &[], &[]).await;
    assert_ne!((one.id(), one.log()), (two.id(), two.log()));
    two.pass_events();
    two.signal(Signal::TERM);
    let stopping: Event = two.wait_event("relay.stopping", |_| true, SOON).await;
    assert!(!stopping.field("level").is_null(), "{stopping:?}");
    two.wait(SOON);
}

#[test]
fn a_command_that_fails_says_so_on_the_standard_error_output() {
    let Output { status, stdout, stderr } = outboxd(&["no-such-command"], &[], std::path::Path::new("/"));
    assert_eq!((status.code(), stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("no-such-command"), "{stderr}");
}
