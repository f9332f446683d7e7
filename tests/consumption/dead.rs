//! `outboxd dead` with the real relay: what is retried goes out once and is looked after, what is discarded never does.

use serde_json::Value;

use super::stage::{QUICK, answers, command, confirmed, consume, holds, insert, json, listed, published, relay};
use crate::common::{Fixture, RelayProcess, SOON};
use crate::segments;

/// A worker gives a task up.
fn fail(fixture: &Fixture, id: &str, reason: &str) {
    fixture.database.sql(&format!("select outbox_fail('{id}', 'ValueError', '{reason}')"));
}

/// Tasks that workers took and gave up.
fn failed(fixture: &Fixture, rows: usize) -> Vec<String> {
    let ids = insert(fixture, "jobs", rows);
    holds(fixture, "jobs", &ids);
    consume(fixture, "jobs", rows);
    for id in &ids {
        fail(fixture, id, "no such order");
    }
    ids
}

fn is(fixture: &Fixture, id: &str, status: &str) {
    answers(fixture, &format!("select outbox_status('{id}')"), status);
}

/// What came of a retry or discard: rows, done, remaining.
fn counts(told: &Value) -> (i64, i64, i64) {
    let number = |name: &str| told[name].as_i64().unwrap();
    (number("rows"), number("done"), number("remaining"))
}

/// Nothing but a new row goes out.
fn only_a_new_row_follows(fixture: &Fixture, before: &[String]) {
    let last = insert(fixture, "jobs", 1);
    holds(fixture, "jobs", &[before, &last].concat());
    published(fixture, "jobs");
    assert_eq!(listed(fixture, "jobs").len(), before.len() + 1);
}

#[tokio::test]
async fn a_failed_task_that_is_retried_rings_goes_out_once_under_its_id_and_is_consumed() {
    let fixture = Fixture::new();
    let more = QUICK.replace("[relay]\n", "[relay]\npoll_interval = \"1h\"\n");
    let mut relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(&more), &[], &[]).await;
    let rows = failed(&fixture, 3);
    confirmed(&fixture, "jobs", 0);
    relay.dozes().await;
    let told = json(&fixture, &["dead", "retry", &rows[1], "--json"]);
    assert_eq!(counts(&told), (1, 0, 0));
    let number = told["queues"][0]["replay"].to_string();
    holds(&fixture, "jobs", &rows[1..2]);
    answers(&fixture, &format!("select recovered_at is not null from outbox_incident where incident = {number}"), "t");
    let shown = json(&fixture, &["replay", "status", &number, "--json"]);
    let shown = &shown["replays"][0];
    assert_eq!((&shown["cause"], &shown["replayed"], &shown["waiting"]), (&"operator".into(), &1.into(), &0.into()));
    assert_eq!(shown["evidence"]["retry"]["task_ids"], 1);
    assert_eq!(shown["evidence"]["by"], shown["relay"]);
    assert!(command(&fixture, &["incident", "list"]).stdout.contains("over after"));
    confirmed(&fixture, "jobs", 1);
    is(&fixture, &rows[1], "dispatched");
    assert_eq!(consume(&fixture, "jobs", 1), rows[1..2]);
    confirmed(&fixture, "jobs", 0);
    is(&fixture, &rows[1], "consumed");
    for id in [&rows[0], &rows[2]] {
        is(&fixture, id, "dead");
    }
    relay.pass_events();
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |_| true, SOON).await;
    only_a_new_row_follows(&fixture, &[]);
}

#[tokio::test]
async fn a_task_whose_segment_is_gone_is_retried_from_its_dead_record() {
    let fixture = Fixture::new();
    let observed = "[queues.q]\nconfirm = \"observe\"\nprocessing = [\"work\"]\n";
    let mut relay = segments::relay(&fixture, &format!("{}{observed}", segments::settings("1h"))).await;
    let client = fixture.database.connect().await;
    segments::insert(&client, "q", 3).await;
    segments::all_arrive(&fixture.redis, "q", 3).await;
    let rows = segments::ids(&fixture.redis, "q");
    fixture.redis.cmd(["DEL", "work"]).unwrap();
    fixture.redis.cmd(["RPOP", "q", "3"]).unwrap();
    fail(&fixture, &rows[0], "no such order");
    segments::turn(&client, 3).await;
    relay.wait_event("segment.emptied", |event| event.text("outcome") == "truncated", segments::LONG).await;
    answers(&fixture, "select count(*) from outbox where queue = 'q'", "0");
    answers(&fixture, "select count(*) from outbox_held where queue = 'q'", "0");
    let shown = json(&fixture, &["dead", "show", &rows[0], "--json"]);
    assert_eq!(shown["dead"][0]["args"][1].as_str().unwrap().len(), 1000);
    assert_eq!(counts(&json(&fixture, &["dead", "retry", "--queue", "q", "--json"])), (1, 0, 0));
    segments::all_arrive(&fixture.redis, "q", 1).await;
    assert_eq!(segments::ids(&fixture.redis, "q"), rows[..1]);
    // Nobody has taken it: a loss brings it again, from the copy.
    relay.pass_events();
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.recovered", |event| event.text("queue") == "q", segments::LONG).await;
    segments::all_arrive(&fixture.redis, "q", 1).await;
    assert_eq!(segments::ids(&fixture.redis, "q"), rows[..1]);
}

#[tokio::test]
async fn what_was_too_large_goes_out_by_a_retry_alone_and_is_dead_again_if_it_still_is() {
    let fixture = Fixture::new();
    let limit = |limit| [("OUTBOXD_DEFAULTS__MAX_MESSAGE", limit)];
    let mut small = relay(&fixture, &limit("1KiB")).await;
    let ids = fixture.database.sql(
        "insert into outbox (queue, task, args) \
         select 'jobs', 't', jsonb_build_array(repeat('x', n)) from unnest(array[10, 3000, 20000]) n returning task_id",
    );
    let rows: Vec<String> = ids.lines().map(str::to_owned).collect();
    holds(&fixture, "jobs", &rows[..1]);
    is(&fixture, &rows[2], "dead");
    assert!(small.stop().success());

    let mut large = relay(&fixture, &limit("8KiB")).await;
    fixture.redis.flushall().unwrap();
    large.wait_event("queue.recovered", |_| true, SOON).await;
    holds(&fixture, "jobs", &rows[..1]);
    published(&fixture, "jobs");
    assert_eq!(listed(&fixture, "jobs"), rows[..1], "dead until somebody retries it");

    let told = command(&fixture, &["dead", "retry", "--class", "too_large"]);
    assert!(told.stdout.contains("2 dead tasks are sent again as replay"), "{told:?}");
    holds(&fixture, "jobs", &rows[..2]);
    is(&fixture, &rows[1], "dispatched");
    is(&fixture, &rows[2], "dead");
    answers(
        &fixture,
        "select task_id || ' ' || attempts || ' ' || (last_failed_at > first_failed_at) from outbox_dead",
        &format!("{} 2 true", rows[2]),
    );
    published(&fixture, "jobs");
    assert_eq!(listed(&fixture, "jobs").len(), 2);
}

#[tokio::test]
async fn a_task_whose_effect_is_known_to_have_happened_is_not_retried_and_may_be_discarded() {
    let fixture = Fixture::new();
    let _relay = relay(&fixture, &[]).await;
    let rows = failed(&fixture, 2);
    fixture.database.sql(&format!("select outbox_once('{}')", rows[0]));
    assert_eq!(counts(&json(&fixture, &["dead", "retry", "--all", "--dry-run", "--json"])), (1, 1, 0));
    let told = command(&fixture, &["dead", "retry", &rows[0]]);
    assert!(told.status.success() && told.stdout.contains("their effect is done; discard them"), "{told:?}");
    assert_eq!(counts(&json(&fixture, &["dead", "retry", "--all", "--json"])), (1, 1, 0));
    holds(&fixture, "jobs", &rows[1..]);
    is(&fixture, &rows[0], "dead");
    assert!(command(&fixture, &["dead", "show", &rows[0]]).stdout.contains("outbox_once says that it happened"));
    assert_eq!(counts(&json(&fixture, &["dead", "discard", "--all", "--json"])), (1, 0, 0));
    is(&fixture, &rows[0], "consumed");
    only_a_new_row_follows(&fixture, &rows[1..]);
}

#[tokio::test]
async fn a_loss_brings_a_retried_task_again_until_it_is_done_and_a_discarded_one_never() {
    let fixture = Fixture::new();
    let receipt = [("OUTBOXD_DEFAULTS__CONFIRM", "receipt"), ("OUTBOXD_DEFAULTS__RECEIPT_TIMEOUT", "1h")];
    let mut relay = relay(&fixture, &receipt).await;
    let rows = failed(&fixture, 2);
    assert!(command(&fixture, &["dead", "retry", &rows[0]]).status.success());
    let told = command(&fixture, &["dead", "discard", &rows[1]]);
    assert!(told.stdout.contains("1 dead tasks were discarded"), "{told:?}");
    is(&fixture, &rows[1], "consumed");
    holds(&fixture, "jobs", &rows[..1]);
    confirmed(&fixture, "jobs", 1);
    for _ in 0..2 {
        // Taken, and no receipt: not done.
        consume(&fixture, "jobs", 1);
        relay.pass_events();
        fixture.redis.flushall().unwrap();
        relay.wait_event("queue.recovered", |_| true, SOON).await;
        holds(&fixture, "jobs", &rows[..1]);
    }
    fixture.database.sql(&format!("select outbox_ack('{}')", rows[0]));
    confirmed(&fixture, "jobs", 0);
    relay.pass_events();
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |_| true, SOON).await;
    only_a_new_row_follows(&fixture, &[]);
}

#[tokio::test]
async fn a_task_that_fails_again_is_dead_again_whether_its_retry_waits_or_was_sent() {
    let fixture = Fixture::new();
    let _relay = relay(&fixture, &[]).await;
    let rows = failed(&fixture, 1);
    fixture.database.sql("select outbox_pause('jobs', 'test')");
    assert_eq!(counts(&json(&fixture, &["dead", "retry", "--all", "--json"])), (1, 0, 0));
    is(&fixture, &rows[0], "pending");
    fail(&fixture, &rows[0], "late");
    fixture.database.sql("select outbox_resume('jobs')");
    only_a_new_row_follows(&fixture, &[]);
    consume(&fixture, "jobs", 1);
    answers(&fixture, "select attempts || ' ' || error from outbox_dead", "2 late");

    assert_eq!(counts(&json(&fixture, &["dead", "retry", "--since", "1h", "--json"])), (1, 0, 0));
    holds(&fixture, "jobs", &rows);
    consume(&fixture, "jobs", 1);
    fail(&fixture, &rows[0], "again");
    is(&fixture, &rows[0], "dead");
    answers(&fixture, "select attempts || ' ' || error from outbox_dead", "3 again");
    only_a_new_row_follows(&fixture, &[]);
}

#[tokio::test]
async fn a_retry_that_is_cancelled_leaves_the_tasks_dead_as_they_were() {
    let fixture = Fixture::new();
    let _relay = relay(&fixture, &[]).await;
    let rows = failed(&fixture, 2);
    // One of them comes from the log, the other has a copy in outbox_held.
    assert!(command(&fixture, &["dead", "retry", &rows[0]]).status.success());
    holds(&fixture, "jobs", &rows[..1]);
    consume(&fixture, "jobs", 1);
    fail(&fixture, &rows[0], "again");
    fixture.database.sql("update outbox_dead set expires_at = now() - interval '1 h'");
    confirmed(&fixture, "jobs", 0);
    let all = "select string_agg(d::text, ' ' order by id) || (select string_agg(r::text, ' ' order by task_id) from outbox_receipt r) \
               || (select string_agg(batch || ' ' || (incident is not null), ' ') from outbox_held) from outbox_dead d";
    let before = fixture.database.sql(all);
    fixture.database.sql("select outbox_pause('jobs', 'test')");
    let told = json(&fixture, &["dead", "retry", "--all", "--json"]);
    assert_eq!(counts(&told), (2, 0, 0));
    answers(
        &fixture,
        "select (select count(*) from outbox_dead) || ' ' || (select count(*) from outbox_receipt)",
        "0 0",
    );
    let replay = told["queues"][0]["replay"].to_string();
    let cancelled = command(&fixture, &["replay", "cancel", &replay]);
    assert!(cancelled.status.success() && cancelled.stderr.contains("2 rows"), "{cancelled:?}");
    assert_eq!(fixture.database.sql(all), before);
    assert_eq!(command(&fixture, &["replay", "cancel", &replay]).status.code(), Some(1), "once");
    fixture.database.sql("select outbox_resume('jobs')");
    only_a_new_row_follows(&fixture, &[]);
}

#[tokio::test]
async fn a_task_that_has_expired_meanwhile_is_sent_all_the_same() {
    let fixture = Fixture::new();
    let _relay = relay(&fixture, &[]).await;
    let sql = "insert into outbox (queue, task, expires_at) values ('jobs', 't', clock_timestamp() + interval '2 s') returning task_id";
    let row = [fixture.database.sql(sql).trim().to_owned()];
    holds(&fixture, "jobs", &row);
    consume(&fixture, "jobs", 1);
    fail(&fixture, &row[0], "no such order");
    answers(&fixture, "select expires_at < clock_timestamp() from outbox_dead", "t");
    assert_eq!(counts(&json(&fixture, &["dead", "retry", "--task", "t", "--json"])), (1, 0, 0));
    holds(&fixture, "jobs", &row);
    is(&fixture, &row[0], "dispatched");
}

#[tokio::test]
async fn two_operators_who_retry_the_same_tasks_at_once_send_each_once() {
    let fixture = Fixture::new();
    let _relay = relay(&fixture, &[]).await;
    let rows = failed(&fixture, 40);
    let told: Vec<Value> = std::thread::scope(|scope| {
        let retry = || counts(&json(&fixture, &["dead", "retry", "--all", "--json"]));
        let two = [scope.spawn(retry), scope.spawn(retry)];
        two.map(|one| one.join().unwrap().0.into()).into()
    });
    assert_eq!(told.iter().map(|rows| rows.as_i64().unwrap()).sum::<i64>(), 40, "{told:?}");
    holds(&fixture, "jobs", &rows);
    published(&fixture, "jobs");
    assert_eq!(listed(&fixture, "jobs").len(), 40);
}

#[tokio::test]
async fn a_relay_killed_right_after_it_planned_a_retry_leaves_it_to_the_next_one_that_sends_it_once() {
    let fixture = Fixture::new();
    let mut first = relay(&fixture, &[]).await;
    let rows = failed(&fixture, 3);
    confirmed(&fixture, "jobs", 0);
    assert!(first.stop().success());
    assert_eq!(counts(&json(&fixture, &["dead", "retry", "--all", "--json"])), (3, 0, 0));
    // Which of its plans is the one of the retry depends on what the relay asks first.
    let planned = || fixture.database.sql("select count(*) from outbox_batch where kind = 'ids'").trim() == "1";
    for nth in 1..10 {
        let point = format!("plan.committed=abort@{nth}");
        let mut doomed = relay(&fixture, &[("OUTBOXD_FAILPOINTS", &point)]).await;
        assert!(!doomed.wait(SOON).success());
        if planned() {
            break;
        }
    }
    assert!(planned());
    assert_eq!(listed(&fixture, "jobs").len(), 0, "planned, not published");
    let mut next = relay(&fixture, &[]).await;
    holds(&fixture, "jobs", &rows);
    answers(&fixture, "select count(*) from outbox_incident where recovered_at is not null", "1");
    only_a_new_row_follows(&fixture, &rows);
    assert!(next.stop().success());
}
