//! `outboxd dead` without a relay: what is chosen, what is told, and that a dry run changes nothing.

use serde_json::{Value, json as value};

use super::stage::{answers, command, holds, insert, json, published, relay};
use crate::common::Fixture;

/// Five tasks that failed: queue, task, class.
const FAILED: [(&str, &str, &str); 5] = [
    ("jobs", "mail", "ValueError"),
    ("jobs", "mail", "ValueError"),
    ("jobs", "mail", "Timeout"),
    ("jobs", "bill", "ValueError"),
    ("other", "mail", "ValueError"),
];

/// Their ids; the first failed two hours ago.
fn dead(fixture: &Fixture) -> Vec<String> {
    let fail = |(queue, task, class): &(&str, &str, &str)| {
        let sql = format!(
            "insert into outbox (queue, task, args, headers) values ('{queue}', '{task}', '[12345678901234567890]', '{{\"a\": 1}}') returning task_id"
        );
        let id = fixture.database.sql(&sql).lines().next().unwrap().to_owned();
        fixture.database.sql(&format!("select outbox_fail('{id}', '{class}', E'no such order\\nTraceback')"));
        id
    };
    let ids: Vec<String> = FAILED.iter().map(fail).collect();
    fixture.database.sql(&format!(
        "update outbox_dead set last_failed_at = now() - interval '2 h', first_failed_at = now() - interval '3 h' where task_id = '{}'",
        ids[0]
    ));
    ids
}

fn keys(of: &Value) -> Vec<&str> {
    of.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The task ids that a list shows.
fn told(fixture: &Fixture, args: &[&str]) -> Vec<String> {
    let list = json(fixture, &[&["dead", "list", "--json"], args].concat());
    let id = |row: &Value| row["task_id"].as_str().unwrap().to_owned();
    list["dead"].as_array().unwrap().iter().map(id).collect()
}

#[test]
fn a_list_shows_what_failed_last_first_filters_counts_and_says_when_there_is_more() {
    let fixture = Fixture::new();
    assert!(command(&fixture, &["dead", "list"]).stdout.contains("no dead task"));
    let ids = dead(&fixture);
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(told(&fixture, &[]), newest_first);
    assert_eq!(told(&fixture, &["--queue", "other"]), ids[4..]);
    assert_eq!(told(&fixture, &["--task", "bill"]), ids[3..4]);
    assert_eq!(told(&fixture, &["--class", "Timeout"]), ids[2..3]);
    assert_eq!(told(&fixture, &["--until", "1h"]), ids[..1]);
    assert_eq!(told(&fixture, &["--since", "1h"]), newest_first[..4]);
    assert_eq!(
        told(&fixture, &["--since", "1h", "--task", "mail", "--class", "ValueError", "--queue", "jobs"]),
        ids[1..2]
    );

    let list = json(&fixture, &["dead", "list", "--limit", "2", "--json"]);
    assert_eq!((list["dead"].as_array().unwrap().len(), &list["more"]), (2, &true.into()));
    let fields =
        ["attempts", "batch", "error", "error_class", "first_failed_at", "last_failed_at", "queue", "task", "task_id"];
    let mut found = keys(&list["dead"][0]);
    found.sort_unstable();
    assert_eq!(found, fields);
    assert_eq!(list["dead"][0]["error"], "no such order\nTraceback");
    let table = command(&fixture, &["dead", "list", "--limit", "4"]);
    assert!(table.stdout.starts_with("TASK ID") && table.stdout.lines().count() == 5, "{table:?}");
    assert!(table.stdout.contains("no such order…") && !table.stdout.contains("Traceback"), "{table:?}");
    assert!(table.stderr.contains("there are more"), "{table:?}");

    let groups = json(&fixture, &["dead", "list", "--count", "--json"]);
    let line = |group: &Value| value!([group["rows"], group["queue"], group["task"], group["error_class"]]);
    let lines: Vec<Value> = groups["groups"].as_array().unwrap().iter().map(line).collect();
    let expected = [
        value!([2, "jobs", "mail", "ValueError"]),
        value!([1, "jobs", "bill", "ValueError"]),
        value!([1, "jobs", "mail", "Timeout"]),
        value!([1, "other", "mail", "ValueError"]),
    ];
    assert_eq!((lines.as_slice(), &groups["more"]), (&expected[..], &false.into()));
    assert_eq!(json(&fixture, &["dead", "list", "--count", "--queue", "other", "--json"])["groups"][0]["rows"], 1);
    let table = command(&fixture, &["dead", "list", "--count"]).stdout;
    assert!(table.starts_with("ROWS") && table.lines().nth(1).unwrap().starts_with('2'), "{table}");
}

#[test]
fn one_task_is_shown_whole_and_an_unknown_one_is_not() {
    let fixture = Fixture::new();
    let ids = dead(&fixture);
    let shown = json(&fixture, &["dead", "show", &ids[0], "--json"]);
    let row = &shown["dead"][0];
    assert_eq!((&row["error_class"], &row["attempts"], &row["done"]), (&"ValueError".into(), &1.into(), &false.into()));
    for field in
        ["id", "args", "kwargs", "headers", "body", "body_base64", "priority", "deliver_at", "expires_at", "created_at"]
    {
        assert!(row.get(field).is_some(), "{field}");
    }
    let text = command(&fixture, &["dead", "show", &ids[0], "--json"]).stdout;
    assert!(text.contains("12345678901234567890"), "no number of the payload is rounded: {text}");
    let text = command(&fixture, &["dead", "show", &ids[0]]).stdout;
    assert!(text.contains("[12345678901234567890]") && text.contains("Traceback"), "{text}");
    fixture.database.sql("update outbox_dead set body = '\\xff00' where queue = 'other'");
    assert_eq!(json(&fixture, &["dead", "show", &ids[4], "--json"])["dead"][0]["body_base64"], "/wA=");
    for act in ["show", "retry", "discard"] {
        let unknown = command(&fixture, &["dead", act, "0190b0a4-7e4f-7c1e-8d3f-1234567890ab"]);
        assert_eq!(unknown.status.code(), Some(1), "{act}");
        assert!(unknown.stderr.contains("no dead task has the id 0190b0a4"), "{unknown:?}");
    }
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing_and_what_to_choose_must_be_said() {
    let fixture = Fixture::new();
    let ids = dead(&fixture);
    let everything = "select (select string_agg(d::text, ' ' order by id) from outbox_dead d) \
                      || (select string_agg(r::text, ' ' order by task_id) from outbox_receipt r) \
                      || (select count(*) from outbox_held) || (select count(*) from outbox_incident)";
    let before = fixture.database.sql(everything);
    for act in ["retry", "discard"] {
        let count = |args: &[&str]| {
            let told = json(&fixture, &[&["dead", act, "--dry-run", "--json"], args].concat());
            let mut found = keys(&told);
            found.sort_unstable();
            assert_eq!(found, ["cancelled", "done", "dry_run", "queues", "remaining", "rows", "unknown"]);
            assert_eq!((&told["dry_run"], &told["remaining"]), (&true.into(), &0.into()));
            told["rows"].as_i64().unwrap()
        };
        assert_eq!(count(&["--all"]), 5);
        assert_eq!(count(&["--queue", "jobs", "--class", "ValueError"]), 3);
        assert_eq!(count(&["--until", "1h"]), 1);
        assert_eq!(count(&["--queue", "nobody"]), 0);
        assert_eq!(count(&[&ids[1], &ids[4]]), 2);
        let said = command(&fixture, &["dead", act, "--all", "--dry-run"]).stdout;
        assert!(
            said.contains("queue \"other\": 1 dead tasks would be") && said.contains("nothing was changed"),
            "{said}"
        );
        for wrong in
            [&[][..], &["--dry-run"], &["--all", "--queue", "jobs"], &[&ids[0], "--all"], &["x"], &["--since", "x"]]
        {
            let wrong = command(&fixture, &[&["dead", act], wrong].concat());
            assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
        }
    }
    assert_eq!(fixture.database.sql(everything), before);

    // No relay has taken these out of the log yet: they go out from there, and not a second time from a copy.
    let told = json(&fixture, &["dead", "retry", "--queue", "jobs", "--json"]);
    assert_eq!((&told["rows"], told["queues"].as_array().unwrap().len()), (&4.into(), 1));
    let _relay = relay(&fixture, &[]).await;
    holds(&fixture, "jobs", &ids[..4]);
    let last = insert(&fixture, "jobs", 1);
    holds(&fixture, "jobs", &[&ids[..4], &last].concat());
    published(&fixture, "jobs");
    answers(&fixture, "select count(*) from outbox_incident where recovered_at is null", "0");
}

#[test]
fn one_call_takes_so_many_and_tells_what_remains() {
    let fixture = Fixture::new();
    fixture.database.sql(
        "insert into outbox_dead (id, task_id, queue, task, args, kwargs, headers, created_at, error_class, error) \
         select n, outbox_task_id(n), 'jobs', 't', '[]', '{}', '{}', now(), 'E', 'x' from generate_series(1, 10050) n",
    );
    fixture.database.sql("select setval('outbox_id_seq', 20000)");
    let told = json(&fixture, &["dead", "retry", "--all", "--json"]);
    assert_eq!((&told["rows"], &told["remaining"]), (&10_000.into(), &50.into()));
    answers(&fixture, "select min(id) || ' ' || count(*) from outbox_dead", "10001 50");
    answers(&fixture, "select count(*) from outbox_held where batch is null and incident is not null", "10000");
    let told = command(&fixture, &["dead", "discard", "--all"]);
    assert!(told.stdout.contains("50 dead tasks were discarded"), "{told:?}");
    answers(&fixture, "select count(*) from outbox_dead", "0");
}
