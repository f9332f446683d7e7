//! What `status` and `doctor` say of relays and queues is true, also when nobody is there to say it.

use outboxd::sandbox::RedisOptions;
use serde_json::Value;

use super::{command, json, len, listening};
use crate::common::{Fixture, RelayProcess, SOON, config, eventually_blocking, outboxd};

/// One queue of `status --json`.
fn queue(fixture: &Fixture, name: &str) -> Value {
    let shown = json(fixture, &["status", "--json"]);
    let found = shown["queues"].as_array().unwrap().iter().find(|queue| queue["queue"] == name);
    found.cloned().unwrap_or_else(|| panic!("no queue {name}: {shown}"))
}

fn alive(fixture: &Fixture) -> i64 {
    json(fixture, &["status", "--json"])["relays"]["alive"].as_i64().unwrap()
}

/// Waits until a field of a queue is so.
fn becomes(fixture: &Fixture, name: &str, field: &str, wanted: &Value) {
    let is = || queue(fixture, name)[field] == *wanted;
    assert!(eventually_blocking(SOON, is), "{field} is not {wanted}: {}", queue(fixture, name));
}

#[tokio::test]
async fn a_killed_relay_is_said_to_be_gone_and_its_rows_to_wait_for_another() {
    let fixture = Fixture::new();
    let (mut relay, _) = listening(&fixture, "").await;
    assert!(eventually_blocking(SOON, || alive(&fixture) == 1), "before it has any queue");
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
    becomes(&fixture, "a", "state", &"open".into());
    becomes(&fixture, "a", "unconsumed", &1.into());
    assert_eq!(queue(&fixture, "a")["lives"], true);
    relay.kill();
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    becomes(&fixture, "a", "state", &"no_relay".into());
    let gone = queue(&fixture, "a");
    assert_eq!((&gone["lives"], &gone["pending"]), (&false.into(), &1.into()), "{gone}");
    let text = command(&fixture, &["status"]).stdout;
    assert!(text.contains("relays: none is alive") && text.contains("(gone)"), "{text}");
    let doctor = command(&fixture, &["doctor"]);
    assert_eq!(doctor.status.code(), Some(3));
    assert!(doctor.stdout.contains("FINDING  relays: none is alive, and 1 rows wait (a)"), "{}", doctor.stdout);

    let (mut other, _) = listening(&fixture, "[relay]\nid = \"other\"\n").await;
    becomes(&fixture, "a", "relay", &"other".into());
    becomes(&fixture, "a", "state", &"open".into());
    assert!(other.stop().success());
    assert!(eventually_blocking(SOON, || alive(&fixture) == 0));
    assert_eq!(queue(&fixture, "a")["relay"], Value::Null, "it left in good order");
}

#[tokio::test]
async fn a_queue_that_no_relay_has_seen_is_listed_and_can_be_paused() {
    let fixture = Fixture::new();
    fixture.database.sql("insert into outbox (queue, task) values ('brandnew', 't')");
    let new = queue(&fixture, "brandnew");
    assert_eq!((&new["pending"], &new["seen"], &new["state"]), (&1.into(), &false.into(), &"no_relay".into()), "{new}");
    let waited = command(&fixture, &["wait", "--drained", "--timeout", "100ms"]);
    assert!(waited.stderr.contains("brandnew"), "{}", waited.stderr);
    assert!(command(&fixture, &["queue", "pause", "brandnew"]).status.success());
    let _relay = listening(&fixture, "").await;
    fixture.database.sql("insert into outbox (queue, task) values ('b', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "b") == 1));
    assert_eq!(len(&fixture, "brandnew"), 0, "it was paused before any relay saw it");
    assert!(command(&fixture, &["queue", "resume", "brandnew"]).status.success());
    assert!(eventually_blocking(SOON, || len(&fixture, "brandnew") == 1));
}

#[tokio::test]
async fn a_full_window_and_a_redis_that_is_down_are_states_of_the_queue() {
    let fixture = Fixture::new();
    let (mut relay, _) = listening(&fixture, "[queues.a]\nwindow = 4\n").await;
    fixture.database.sql("insert into outbox (queue, task) select 'a', 't' from generate_series(1, 5)");
    becomes(&fixture, "a", "state", &"full".into());
    assert!(command(&fixture, &["status"]).stdout.contains("tasks wait for consumers"));
    let told = relay.wait_event("queue.full", |_| true, SOON).await;
    assert_eq!((told.text("queue"), told.field("window")), ("a", &4.into()));
    for _ in 0..4 {
        fixture.redis.cmd(["LPOP", "a"]).unwrap();
    }
    relay.wait_event("queue.roomy", |_| true, SOON).await;
    fixture.redis.kill();
    becomes(&fixture, "a", "state", &"waiting".into());
    let text = command(&fixture, &["status"]).stdout;
    assert!(text.contains("a: redis.default at "), "{text}");
}

#[tokio::test]
async fn rows_that_nobody_has_read_are_unconsumed_and_not_consumed() {
    let fixture = Fixture::new();
    let (_relay, _) = listening(&fixture, "[queues.s]\nformat = \"stream\"\ngroup = \"workers\"\n").await;
    fixture.database.sql("insert into outbox (queue, task) select 's', 't' from generate_series(1, 45)");
    let reached = || queue(&fixture, "s")["consumed"] == queue(&fixture, "s")["newest"];
    assert!(eventually_blocking(SOON, reached), "the look that finds them all has been stored");
    becomes(&fixture, "s", "unconsumed", &45.into());
}

#[tokio::test]
async fn one_wrong_password_is_one_line_and_one_finding_and_all_queues_go_on_when_it_is_mended() {
    let fixture = Fixture::with_redis(RedisOptions::default());
    fixture.redis.cmd(["ACL", "SETUSER", "outboxd", "on", ">old", "~*", "+@all"]).unwrap();
    let url = fixture.redis.url(0).replace("redis://", "redis://outboxd:new@");
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't'), ('b', 't'), ('c', 't')");
    let text = config(&fixture.database.url(), &url, "");
    let mut relay = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
    let halted = relay.wait_event("queue.halted", |_| true, SOON).await;
    assert_eq!(halted.text("class"), "wrongpass");
    for name in ["a", "b", "c"] {
        becomes(&fixture, name, "state", &"stopped".into());
    }
    let doctor = command(&fixture, &["doctor"]).stdout;
    assert!(doctor.contains("FINDING  queues: 3 are stopped (a, b, c): wrongpass"), "{doctor}");
    assert_eq!(doctor.matches("FINDING").count(), 1, "{doctor}");
    fixture.redis.cmd(["ACL", "SETUSER", "outboxd", "resetpass", ">new"]).unwrap();
    let back = || ["a", "b", "c"].iter().all(|name| len(&fixture, name) == 1);
    assert!(eventually_blocking(SOON, back), "nobody said resume");
    assert_eq!(relay.events().iter().filter(|event| event.name() == "queue.halted").count(), 1);
}

#[tokio::test]
async fn resume_all_lets_every_stopped_queue_go_on_and_leaves_a_paused_one_alone() {
    let fixture = Fixture::new();
    let _relay = listening(&fixture, "").await;
    for key in ["a", "b"] {
        fixture.redis.cmd(["SET", key, "a string"]).unwrap();
    }
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't'), ('b', 't'), ('p', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "p") == 1));
    assert!(command(&fixture, &["queue", "pause", "p"]).status.success());
    for name in ["a", "b"] {
        becomes(&fixture, name, "state", &"stopped".into());
    }
    fixture.redis.cmd(["DEL", "a", "b"]).unwrap();
    let resumed = command(&fixture, &["queue", "resume", "--all"]);
    assert!(resumed.stderr.contains("2 queues are resumed (a, b)"), "{}", resumed.stderr);
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1 && len(&fixture, "b") == 1));
    assert_eq!(queue(&fixture, "p")["state"], "paused");
}

#[test]
fn an_incomplete_command_names_every_choice_and_proposes_none() {
    let fixture = Fixture::new();
    fixture.database.sql("insert into outbox_queue (queue) values ('default')");
    for (args, choices) in [
        (["replay", "start", "default"], &["--since", "--from-batch", "--all", "--unconsumed"][..]),
        (["replay", "plan", "default"], &["--since", "--from-batch", "--all", "--unconsumed"]),
        (["queue", "move", "default"], &["--skip", "--resend"]),
    ] {
        let told = command(&fixture, &args);
        assert_eq!(told.status.code(), Some(2), "{args:?}");
        assert!(choices.iter().all(|choice| told.stderr.contains(choice)), "{args:?}: {}", told.stderr);
        assert!(!told.stderr.contains("Usage:"), "{args:?}: {}", told.stderr);
    }
    let dead = command(&fixture, &["dead", "show", "abc"]);
    assert!(dead.stderr.contains("a task's id is a UUID"), "{}", dead.stderr);
}

#[test]
fn a_name_that_is_not_known_is_an_error_in_the_same_words_everywhere() {
    let fixture = Fixture::new();
    fixture.database.sql("insert into outbox_queue (queue) values ('default')");
    let commands: [&[&str]; 9] = [
        &["queue", "pause", "defualt"],
        &["queue", "resume", "defualt"],
        &["queue", "move", "defualt", "--skip"],
        &["queue", "purge", "defualt"],
        &["queue", "move-rows", "defualt", "default"],
        &["queue", "forget", "defualt"],
        &["incident", "list", "defualt"],
        &["replay", "plan", "defualt", "--all"],
        &["dead", "list", "--queue", "defualt"],
    ];
    for args in commands {
        let told = command(&fixture, args);
        assert_eq!((told.status.code(), told.stdout.as_str()), (Some(1), ""), "{args:?}: {}", told.stderr);
        let words = "outboxd: there is no queue \"defualt\"; did you mean \"default\"?\n";
        assert_eq!(told.stderr, words, "{args:?}");
    }
}

#[test]
fn a_command_without_a_database_says_which_setting_is_missing() {
    let commands: [&[&str]; 12] = [
        &["status"],
        &["wait", "--drained"],
        &["queue", "list"],
        &["queue", "pause", "a"],
        &["queue", "purge", "a"],
        &["queue", "forget", "a"],
        &["incident", "list"],
        &["replay", "status"],
        &["dead", "list"],
        &["repair"],
        &["migrate", "up"],
        &["doctor"],
    ];
    for args in commands {
        let told = outboxd(args, &[], &std::env::temp_dir());
        assert_eq!(told.status.code(), Some(78), "{args:?}: {told:?}");
        assert!(
            told.stderr.contains("DATABASE_URL") && told.stderr.contains("database.url"),
            "{args:?}: {}",
            told.stderr
        );
    }
}

#[test]
fn the_example_of_a_configuration_names_every_key() {
    let run = |args: &[&str]| outboxd(args, &[], &std::env::temp_dir()).stdout;
    let (schema, example) = (run(&["config", "schema"]), run(&["config", "example"]));
    let schema: Value = serde_json::from_str(&schema).unwrap();
    for (section, shape) in schema["properties"].as_object().unwrap() {
        let shape = if shape["additionalProperties"].is_object() { &shape["additionalProperties"] } else { shape };
        for key in shape["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            let named = example.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{key} = ")));
            assert!(named, "{section}.{key} is not in `config example`");
        }
    }
}
