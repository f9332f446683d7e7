//! `outboxd replay` and `outboxd incident`: what operators ask to be sent again, and what they read of losses.

use super::stage::{QUICK, answers, command, confirmed, consume, holds, insert, json, published, relay};
use crate::common::{Fixture, RelayProcess, SOON};

/// Three batches of five rows, the first two consumed; the rows by batch, and the batches' numbers.
fn three_batches(fixture: &Fixture) -> (Vec<Vec<String>>, Vec<String>) {
    let mut rows = Vec::new();
    for _ in 0..3 {
        rows.push(insert(fixture, "jobs", 5));
        holds(fixture, "jobs", &rows.concat());
    }
    assert_eq!(consume(fixture, "jobs", 10), rows[..2].concat());
    confirmed(fixture, "jobs", 5);
    let numbers = fixture.database.sql("select batch from outbox_batch where rows > 0 order by batch");
    (rows, numbers.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn a_plan_counts_by_time_by_batch_and_by_consumption_and_changes_nothing() {
    let fixture = Fixture::new();
    let _relay = relay(&fixture, &[]).await;
    let (rows, numbers) = three_batches(&fixture);
    let count = |args: &[&str]| {
        let told = json(&fixture, &[&["replay", "plan", "jobs", "--json"], args].concat());
        assert_eq!(told["incident"], serde_json::Value::Null);
        (told["batches"].as_i64().unwrap(), told["rows"].as_i64().unwrap())
    };
    assert_eq!(count(&["--all"]), (3, 15));
    assert_eq!(count(&["--all", "--unconsumed"]), (3, 5));
    assert_eq!(count(&["--since", "1h"]), (3, 15));
    assert_eq!(count(&["--until", "1h"]), (0, 0));
    assert_eq!(count(&["--from-batch", &numbers[1]]), (2, 10));
    assert_eq!(count(&["--from-batch", &numbers[1], "--to-batch", &numbers[1]]), (1, 5));
    let at = fixture.database.sql(&format!(
        "select to_char(at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from outbox_batch where batch = {}",
        numbers[1]
    ));
    assert_eq!(count(&["--until", at.trim()]), (2, 10));
    let said = command(&fixture, &["replay", "plan", "jobs", "--all"]);
    assert!(said.stdout.contains("15 rows of 3 batches") && said.stdout.contains("nothing was changed"), "{said:?}");

    assert_eq!(command(&fixture, &["replay", "plan", "jobs"]).status.code(), Some(2), "a range is needed");
    assert_eq!(command(&fixture, &["replay", "plan", "jobs", "--since", "x"]).status.code(), Some(2));
    let unknown = command(&fixture, &["replay", "plan", "nobody", "--all"]);
    assert!(unknown.status.code() == Some(1) && unknown.stderr.contains("outboxd queue list"), "{unknown:?}");
    assert_eq!(fixture.database.sql("select count(*) from outbox_held").trim(), "0");
    assert_eq!(fixture.database.sql("select count(*) from outbox_incident").trim(), "0");
    holds(&fixture, "jobs", &rows[2]);
}

#[tokio::test]
async fn a_replay_rings_goes_out_once_and_is_over() {
    let fixture = Fixture::new();
    let more = QUICK.replace("[relay]\n", "[relay]\npoll_interval = \"1h\"\n");
    let relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(&more), &[], &[]).await;
    let (rows, numbers) = three_batches(&fixture);
    relay.dozes().await;
    let started = json(&fixture, &["replay", "start", "jobs", "--to-batch", &numbers[0], "--json"]);
    assert_eq!(started["rows"], 5);
    let number = started["incident"].to_string();
    let wanted = [&rows[2][..], &rows[0]].concat();
    holds(&fixture, "jobs", &wanted);
    answers(&fixture, &format!("select recovered_at is not null from outbox_incident where incident = {number}"), "t");
    let shown = json(&fixture, &["replay", "status", &number, "--json"]);
    let told = &shown["replays"][0];
    assert_eq!((&told["replayed"], &told["waiting"], &told["cause"]), (&5.into(), &0.into(), &"operator".into()));
    assert!(command(&fixture, &["replay", "status"]).stdout.contains("over after"));
    let late = command(&fixture, &["replay", "cancel", &number]);
    assert!(late.status.code() == Some(1) && late.stderr.contains("no replay"), "{late:?}");
    assert_eq!(command(&fixture, &["replay", "status", "999"]).status.code(), Some(1));
    holds(&fixture, "jobs", &wanted);
}

#[tokio::test]
async fn a_replay_that_is_cancelled_leaves_everything_as_it_was_also_for_a_loss() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &[]).await;
    let (rows, numbers) = three_batches(&fixture);
    // Five rows of the first batch stand in Redis again, by copies in outbox_held.
    assert!(command(&fixture, &["replay", "start", "jobs", "--to-batch", &numbers[0]]).status.success());
    let wanted = [&rows[2][..], &rows[0]].concat();
    holds(&fixture, "jobs", &wanted);
    confirmed(&fixture, "jobs", 10);
    fixture.database.sql("select outbox_pause('jobs', 'test')");
    let started = json(&fixture, &["replay", "start", "jobs", "--all", "--json"]);
    assert_eq!(started["rows"], 15);
    let number = started["incident"].to_string();
    let cancelled = command(&fixture, &["replay", "cancel", &number]);
    assert!(cancelled.status.success() && cancelled.stderr.contains("15 rows"), "{cancelled:?}");
    assert!(command(&fixture, &["replay", "status", &number]).stdout.contains("cancelled"));
    assert_eq!(command(&fixture, &["replay", "cancel", &number]).status.code(), Some(1), "once");
    fixture.database.sql("select outbox_resume('jobs')");
    let last = insert(&fixture, "jobs", 1);
    holds(&fixture, "jobs", &[&wanted[..], &last].concat());
    published(&fixture, "jobs");
    relay.pass_events();
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.recovered", |_| true, SOON).await;
    holds(&fixture, "jobs", &[&wanted[..], &last].concat());
}

#[tokio::test]
async fn an_incident_says_what_was_lost_and_what_became_of_it() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &[]).await;
    assert!(command(&fixture, &["incident", "list"]).stdout.contains("no incident"));
    let rows = insert(&fixture, "jobs", 5);
    holds(&fixture, "jobs", &rows);
    consume(&fixture, "jobs", 2);
    confirmed(&fixture, "jobs", 3);
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.recovered", |_| true, SOON).await;
    let list = json(&fixture, &["incident", "list", "--json"]);
    let [incident] = &list["incidents"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!((&incident["cause"], &incident["outstanding"]), (&"missing".into(), &3.into()), "{incident}");
    assert_eq!((&incident["replayed"], &incident["duplicates_possible"]), (&3.into(), &3.into()), "{incident}");
    let number = incident["incident"].to_string();
    let shown = command(&fixture, &["incident", "show", &number]);
    assert!(shown.stdout.contains("Redis was flushed") && shown.stdout.contains("over after"), "{shown:?}");
    assert_eq!(&json(&fixture, &["incident", "show", &number, "--json"]), incident);
    assert!(command(&fixture, &["incident", "list", "jobs"]).stdout.contains("missing"));
    assert!(command(&fixture, &["incident", "list", "--open"]).stdout.contains("no incident"));
    let others = command(&fixture, &["incident", "list", "others"]);
    assert!(others.status.code() == Some(1) && others.stderr.contains("there is no queue"), "{others:?}");
    let unknown = command(&fixture, &["incident", "show", "999"]);
    assert!(unknown.status.code() == Some(1) && unknown.stderr.contains("outboxd incident list"), "{unknown:?}");
}
