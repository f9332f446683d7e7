//! `/livez`, `/readyz`, `/metrics`, `/api/v1/status` of a running relay.

use std::io::Write;
use std::process::{Command, Stdio};

use outboxd::sandbox::{Proxy, RedisOptions, StopMode};
use rustix::process::Signal;
use serde_json::Value;

use super::{address, becomes, command, get, listening, metric};
use crate::common::{Fixture, RelayProcess, SOON, config, eventually_blocking};

fn rises(address: &str, name: &str) {
    let above = || metric(address, name).is_some_and(|value| value.parse::<f64>().unwrap() > 0.0);
    assert!(eventually_blocking(SOON, above), "{name} is {:?}", metric(address, name));
}

#[tokio::test]
async fn prometheus_finds_nothing_wrong_with_a_live_scrape() {
    let fixture = Fixture::new();
    let (_relay, at) = listening(&fixture, "").await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    becomes(&at, "outboxd_dispatched_total{queue=\"a\"}", "1");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.spawn() else {
        eprintln!("not checked: promtool is not here, scripts/setup.sh deploy installs it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(get(&at, "/metrics").1.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[tokio::test]
async fn numbers_move_as_rows_wait_and_go() {
    let fixture = Fixture::new();
    let (_relay, at) = listening(&fixture, "").await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    becomes(&at, "outboxd_dispatched_total{queue=\"a\"}", "1");
    assert!(command(&fixture, &["queue", "pause", "a"]).status.success());
    fixture.database.sql("insert into outbox (queue, task) select 'a', 't' from generate_series(1, 3)");
    becomes(&at, "outboxd_pending_rows{queue=\"a\"}", "3");
    rises(&at, "outboxd_oldest_pending_age_seconds{queue=\"a\"}");
    becomes(&at, "outboxd_queue_paused{queue=\"a\"}", "1");
    let status = || serde_json::from_str::<Value>(&get(&at, "/api/v1/status").1).unwrap();
    let tells = |shown: Value| shown["queues"][0]["pending"] == 3 && shown["postgres"] == "up";
    assert!(eventually_blocking(SOON, || tells(status())), "{}", status());

    assert!(command(&fixture, &["queue", "resume", "a"]).status.success());
    becomes(&at, "outboxd_dispatched_total{queue=\"a\"}", "4");
    becomes(&at, "outboxd_dispatch_latency_seconds_count{queue=\"a\"}", "4");
    becomes(&at, "outboxd_pending_rows{queue=\"a\"}", "0");
    becomes(&at, "outboxd_oldest_pending_age_seconds{queue=\"a\"}", "0");
    becomes(&at, "outboxd_pending_rows_estimated{queue=\"a\"}", "0");
    let text = get(&at, "/metrics").1;
    assert!(text.contains("outboxd_dispatch_latency_seconds_bucket{queue=\"a\",le=\"+Inf\"} 4"), "{text}");
    assert!(text.contains("outboxd_build_info{"), "{text}");
    rises(&at, "outboxd_statements_total{statement=\"work\"}");
    rises(&at, "outboxd_notifications_total");
}

#[tokio::test]
async fn a_queue_that_cannot_go_on_is_counted_by_class_and_shown_as_stopped() {
    let fixture = Fixture::new();
    let (mut relay, at) = listening(&fixture, "").await;
    fixture.redis.cmd(["SET", "a", "a string"]).unwrap();
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't'), ('b', 't')");
    relay.wait_event("queue.halted", |event| event.text("queue") == "a", SOON).await;
    rises(&at, "outboxd_failures_total{class=\"wrongtype\",queue=\"a\"}");
    becomes(&at, "outboxd_queue_state{queue=\"a\",state=\"stopped\"}", "1");
    becomes(&at, "outboxd_dispatched_total{queue=\"b\"}", "1");
    let shown = || command(&fixture, &["status"]).stdout;
    let tells = |shown: String| shown.contains("stopped") && shown.contains("a: wrongtype: ");
    assert!(eventually_blocking(SOON, || tells(shown())), "{}", shown());
    fixture.redis.cmd(["DEL", "a"]).unwrap();
    assert!(command(&fixture, &["queue", "resume", "a"]).status.success());
    becomes(&at, "outboxd_dispatched_total{queue=\"a\"}", "1");
    assert!(eventually_blocking(SOON, || !shown().contains("stopped")), "{}", shown());
}

#[tokio::test]
async fn a_relay_stays_ready_without_redis_and_not_for_long_without_postgres() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let (mut relay, at) = listening(&fixture, "[http]\nlisten = \"127.0.0.1:0\"\nready_grace = \"200ms\"\n").await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    becomes(&at, "outboxd_redis_up{target=\"default\"}", "1");
    fixture.redis.kill();
    relay.wait_event("redis.down", |_| true, SOON).await;
    becomes(&at, "outboxd_redis_up{target=\"default\"}", "0");
    assert_eq!(get(&at, "/readyz"), (200, "ok\n".to_owned()));

    fixture.database.postgres.stop(StopMode::Immediate).unwrap();
    relay.wait_event("postgres.down", |_| true, SOON).await;
    assert!(eventually_blocking(SOON, || get(&at, "/readyz").0 == 503));
    assert!(get(&at, "/readyz").1.starts_with("Postgres has not answered for "));
    becomes(&at, "outboxd_postgres_up", "0");
    assert_eq!(get(&at, "/livez"), (200, "ok\n".to_owned()));
    fixture.database.postgres.start_again().unwrap();
    relay.wait_event("postgres.up", |_| true, SOON).await;
    assert!(eventually_blocking(SOON, || get(&at, "/readyz").0 == 200));
    becomes(&at, "outboxd_postgres_up", "1");
}

#[tokio::test]
async fn a_stopping_relay_is_not_ready_and_answers_until_it_is_gone() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let text = config(&fixture.database.url(), &proxy.through(&fixture.redis.url(0)), "[log]\nlevel = \"debug\"\n");
    let mut relay = RelayProcess::start(&fixture.sandbox, &text, &[], &[]);
    let at = address(&mut relay).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    relay.wait_event("queue.published", |_| true, SOON).await;
    proxy.black_hole();
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    // Planned, and on its way to nowhere.
    let newest = || fixture.database.sql("select max(batch) from outbox_batch");
    assert!(eventually_blocking(SOON, || newest() == "2"));
    relay.signal(Signal::TERM);
    relay.wait_event("relay.stopping", |_| true, SOON).await;
    // Said before it is so.
    let stopping = || get(&at, "/readyz") == (503, "stopping\n".to_owned());
    assert!(eventually_blocking(SOON, stopping), "{:?}", get(&at, "/readyz"));
    assert_eq!(get(&at, "/livez").0, 200);
    proxy.pass().unwrap();
    assert!(relay.wait(SOON).success());
}
