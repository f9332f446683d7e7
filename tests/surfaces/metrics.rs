//! Metrics of a running relay while servers answer and while they do not.

use outboxd::sandbox::{Persistence, RedisOptions, StopMode};

use super::{get, len, listening, metric};
use crate::common::{Fixture, SOON, eventually_blocking};

fn becomes(address: &str, name: &str, wanted: Option<&str>) {
    let reached = eventually_blocking(SOON, || metric(address, name).as_deref() == wanted);
    assert!(reached, "{name} is {:?}, not {wanted:?}", metric(address, name));
}

fn rises(address: &str, name: &str) {
    let above = || metric(address, name).is_some_and(|value| value.parse::<f64>().unwrap() > 0.0);
    assert!(eventually_blocking(SOON, above), "{name} is {:?}", metric(address, name));
}

#[tokio::test]
async fn what_was_read_from_a_database_that_is_gone_is_not_told_until_it_is_back() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let (mut relay, at) = listening(&fixture, "[http]\nlisten = \"127.0.0.1:0\"\nready_grace = \"200ms\"\n").await;
    fixture.database.sql("insert into outbox (queue, task, deliver_at) values ('a', 't', now() + interval '1 day')");
    becomes(&at, "outboxd_held_rows{queue=\"a\"}", Some("1"));
    becomes(&at, "outboxd_listen_connected", Some("1"));
    rises(&at, "outboxd_log_bytes");
    let read = metric(&at, "outboxd_database_read_timestamp_seconds");

    fixture.database.postgres.stop(StopMode::Immediate).unwrap();
    relay.wait_event("postgres.down", |_| true, SOON).await;
    for gauge in ["held_rows", "pending_rows", "oldest_pending_age_seconds", "dead_rows", "queue_paused"] {
        becomes(&at, &format!("outboxd_{gauge}{{queue=\"a\"}}"), None);
    }
    becomes(&at, "outboxd_log_bytes", None);
    assert_eq!(metric(&at, "outboxd_postgres_up").as_deref(), Some("0"));
    assert_eq!(metric(&at, "outboxd_listen_connected").as_deref(), Some("0"));
    assert_eq!(metric(&at, "outboxd_doorbell_armed").as_deref(), Some("0"));
    rises(&at, "outboxd_statement_errors_total{statement=\"gauge\"}");

    fixture.database.postgres.start_again().unwrap();
    relay.wait_event("postgres.up", |_| true, SOON).await;
    becomes(&at, "outboxd_held_rows{queue=\"a\"}", Some("1"));
    becomes(&at, "outboxd_listen_connected", Some("1"));
    assert_ne!(metric(&at, "outboxd_database_read_timestamp_seconds"), read);
}

#[tokio::test]
async fn the_depth_of_a_queue_follows_its_workers_and_is_unknown_while_redis_is_gone() {
    let fixture = Fixture::new();
    let (mut relay, at) = listening(&fixture, "").await;
    fixture.database.sql("insert into outbox (queue, task) select 'a', 't' from generate_series(1, 3)");
    becomes(&at, "outboxd_queue_depth{queue=\"a\"}", Some("3"));
    rises(&at, "outboxd_queue_depth_timestamp_seconds{queue=\"a\"}");
    fixture.redis.cmd(["RPOP", "a"]).unwrap();
    becomes(&at, "outboxd_queue_depth{queue=\"a\"}", Some("2"));
    let looks = metric(&at, "outboxd_looks_total{target=\"default\"}").unwrap();
    assert_ne!(looks, "0");

    fixture.redis.kill();
    relay.wait_event("redis.down", |_| true, SOON).await;
    becomes(&at, "outboxd_queue_depth{queue=\"a\"}", None);
    becomes(&at, "outboxd_queue_depth_timestamp_seconds{queue=\"a\"}", None);
    rises(&at, "outboxd_redis_errors_total{class=\"refused\",target=\"default\"}");
    assert_eq!(metric(&at, "outboxd_redis_up{target=\"default\"}").as_deref(), Some("0"));

    fixture.redis.start_again().unwrap();
    relay.wait_event("redis.up", |_| true, SOON).await;
    let there = || metric(&at, "outboxd_queue_depth{queue=\"a\"}") == Some(len(&fixture, "a").to_string());
    assert!(eventually_blocking(SOON, there), "{}", get(&at, "/metrics").1);
}

#[tokio::test]
async fn the_work_of_a_relay_is_timed() {
    let fixture = Fixture::new();
    let (_relay, at) = listening(&fixture, "").await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    becomes(&at, "outboxd_dispatched_total{queue=\"a\"}", Some("1"));
    for histogram in ["plan_duration_seconds", "publish_duration_seconds", "batch_bytes", "pool_wait_seconds"] {
        rises(&at, &format!("outboxd_{histogram}_count"));
        rises(&at, &format!("outboxd_{histogram}_sum"));
    }
    for statement in ["work", "plan", "open", "gauge", "identity"] {
        rises(&at, &format!("outboxd_statement_duration_seconds_count{{statement=\"{statement}\"}}"));
        assert_eq!(
            metric(&at, &format!("outboxd_statement_errors_total{{statement=\"{statement}\"}}")),
            Some("0".into())
        );
    }
    rises(&at, "outboxd_redis_connects_total{target=\"default\"}");
    rises(&at, "outboxd_last_look_timestamp_seconds{target=\"default\"}");
    rises(&at, "outboxd_http_requests_total{code=\"200\",route=\"/metrics\"}");
    rises(&at, "outboxd_heartbeat_timestamp_seconds");
    rises(&at, "outboxd_pool_connections{state=\"idle\"}");
    assert_eq!(metric(&at, "outboxd_incidents_total{cause=\"missing\",queue=\"a\"}").as_deref(), Some("0"));
    assert_eq!(metric(&at, "outboxd_tenures_opened_total{cause=\"first\",queue=\"a\"}").as_deref(), Some("1"));
}

/// The sum over relays of a counter, as a whole number.
fn sum(relays: &[&str], name: &str) -> u64 {
    relays.iter().filter_map(|at| metric(at, name)).map(|value| value.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn possible_duplicates_are_counted_once_by_all_relays_as_incidents_say_and_the_last_loss_is_known_to_each() {
    let redis = RedisOptions { persistence: Persistence::AofAlways, ..RedisOptions::default() };
    let fixture = Fixture::with_redis(redis);
    let (mut one, a) = listening(&fixture, "").await;
    let (mut two, b) = listening(&fixture, "").await;
    let (counter, last) =
        ("outboxd_duplicates_possible_total{queue=\"a\"}", "outboxd_last_incident_timestamp_seconds{queue=\"a\"}");
    fixture.database.sql("insert into outbox (queue, task) select 'a', 't' from generate_series(1, 3)");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 3));
    for at in [&a, &b] {
        becomes(at, counter, Some("0"));
        assert_eq!(metric(at, last), None);
    }
    // A restart that loses nothing, and a task that nothing proves to be consumed.
    fixture.redis.cmd(["RPOP", "a"]).unwrap();
    fixture.redis.kill();
    fixture.redis.start_again().unwrap();
    let told = || fixture.database.sql("select coalesce(sum(duplicates_possible), 0), count(*) from outbox_incident");
    assert!(eventually_blocking(SOON, || told() == "1|1"), "{}", told());
    assert!(eventually_blocking(SOON, || sum(&[&a, &b], counter) == 1));

    fixture.redis.flushall().unwrap();
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 3), "{}", len(&fixture, "a"));
    let wanted = || told().split_once('|').map(|(rows, _)| rows.parse::<u64>().unwrap());
    assert!(
        eventually_blocking(SOON, || wanted() > Some(1) && Some(sum(&[&a, &b], counter)) == wanted()),
        "{}",
        told()
    );

    // An operator's replay is no loss. It holds what is known to have been published.
    let reached = "select position = (select max(batch) from outbox_batch) from outbox_checkpoint order by checkpoint desc limit 1";
    assert!(eventually_blocking(SOON, || fixture.database.sql(reached) == "t"));
    let before = fixture.database.sql("select extract(epoch from max(noticed_at)) from outbox_incident");
    let before: f64 = before.parse().unwrap();
    assert!(super::command(&fixture, &["replay", "start", "a", "--all"]).status.success());
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 6), "{}", len(&fixture, "a"));
    for at in [&a, &b] {
        let near = || metric(at, last).is_some_and(|at| (at.parse::<f64>().unwrap() - before).abs() < 0.01);
        assert!(eventually_blocking(SOON, near), "{:?} is not {before}", metric(at, last));
    }
    assert_eq!(told().split_once('|').unwrap().1, "3", "the replay is an incident");
    assert!(Some(sum(&[&a, &b], counter)) < wanted());
    assert!(one.stop().success() && two.stop().success());
}

#[tokio::test]
async fn a_task_that_a_worker_gives_up_by_a_receipt_is_counted_once() {
    let fixture = Fixture::new();
    let (_relay, at) = listening(&fixture, "[defaults]\nconfirm = \"receipt\"\n").await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
    let counter = "outboxd_given_up_total{target=\"default\"}";
    becomes(&at, counter, Some("0"));
    let id = fixture.database.sql("select task_id from outbox");
    for _ in 0..2 {
        fixture.redis.cmd(["XADD", "outbox:receipts", "*", "task_id", &id, "error_class", "Boom"]).unwrap();
    }
    becomes(&at, "outboxd_receipts_total{target=\"default\"}", Some("2"));
    becomes(&at, counter, Some("1"));
    becomes(&at, "outboxd_dead_rows{queue=\"a\"}", Some("1"));
}
