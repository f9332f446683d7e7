//! Commands that end by themselves, and a relay that is given two URLs and nothing else.

use outboxd::sandbox::{Redis, RedisOptions, Sandbox};
use serde_json::Value;

use super::{address, command, json, len, listening};
use crate::common::{Database, Fixture, RelayProcess, SOON, eventually_blocking, outboxd};

#[tokio::test]
async fn two_urls_and_migrate_are_enough_to_relay_from_an_empty_database() {
    let sandbox = Sandbox::new().unwrap();
    let redis = Redis::start(&sandbox, RedisOptions::default()).unwrap();
    let fixture = Fixture { database: Database::empty(), redis, sandbox };
    let (database, redis) = (fixture.database.url(), fixture.redis.url(0));
    let env = [("DATABASE_URL", &*database), ("REDIS_URL", &*redis), ("OUTBOXD_HTTP__LISTEN", "127.0.0.1:0")];
    let _relay = RelayProcess::ready(&fixture.sandbox, "", &env, &["--migrate"]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('celery', 'demo.add')");
    assert!(eventually_blocking(SOON, || len(&fixture, "celery") == 1));
}

#[tokio::test]
async fn status_and_queue_list_show_every_queue_in_text_and_json() {
    let fixture = Fixture::new();
    let empty = command(&fixture, &["status"]);
    assert!(empty.stdout.starts_with("no queue has been seen yet\n"), "{}", empty.stdout);
    assert_eq!(json(&fixture, &["status", "--json"])["queues"].as_array().unwrap().len(), 0);
    let (_relay, _) = listening(&fixture, "").await;
    fixture.database.sql(
        "select outbox_enqueue('a', 't'), outbox_enqueue('a', 't', headers => '{\"id\": 1}'),
                outbox_enqueue('a', 't', deliver_at => now() + interval '1 hour')",
    );
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    for args in [["status", "--json"].as_slice(), &["queue", "list", "--json"]] {
        let shown = json(&fixture, args);
        let queue = &shown["queues"][0];
        let fields = ["queue", "pending", "estimated", "oldest_ms", "held", "dead", "newest", "reached", "paused"];
        let more = ["reason", "stopped_reason", "stopped_by", "stopped_at", "relay", "state", "unconsumed", "lives"];
        assert!(fields.iter().chain(&more).all(|field| queue.get(*field).is_some()), "{queue}");
        let is = |field: &str, value: serde_json::Value| assert_eq!(queue[field], value, "{field} in {queue}");
        is("queue", "a".into());
        is("pending", 0.into());
        is("held", 1.into());
        is("dead", 1.into());
        is("reached", queue["newest"].clone());
    }
    let table = command(&fixture, &["queue", "list"]).stdout;
    assert!(table.starts_with("QUEUE  STATE  PENDING"), "{table}");
}

#[tokio::test]
async fn a_paused_queue_waits_in_postgres_and_others_go_on() {
    let fixture = Fixture::new();
    let (_relay, _) = listening(&fixture, "").await;
    let unknown = command(&fixture, &["queue", "pause", "nope"]);
    assert_eq!((unknown.status.code(), unknown.stdout.as_str()), (Some(1), ""));
    assert!(unknown.stderr.contains("queue list"), "{}", unknown.stderr);
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't'), ('b', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
    let paused = command(&fixture, &["queue", "pause", "a", "--reason", "moving house"]);
    assert!(paused.status.success() && paused.stderr.contains("queue resume a"), "{paused:?}");
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't'), ('b', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "b") == 2));
    // The marks in Postgres come after what they tell of.
    let queues = || json(&fixture, &["queue", "list", "--json"])["queues"].clone();
    let waits = |queue: &Value| queue["paused"] == true && queue["pending"] == 1 && queue["reason"] == "moving house";
    let seen = || Some(queues()).is_some_and(|queues| waits(&queues[0]) && queues[1]["pending"] == 0);
    assert!(eventually_blocking(SOON, seen), "{}", queues());
    let waited = command(&fixture, &["wait", "--drained", "--timeout", "300ms"]);
    assert_eq!(waited.status.code(), Some(1));
    assert!(waited.stderr.contains(": a"), "{}", waited.stderr);
    assert!(command(&fixture, &["status"]).stdout.contains("a: moving house"));
    assert_eq!(len(&fixture, "a"), 1);
    assert!(command(&fixture, &["queue", "resume", "a"]).status.success());
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 2));
}

#[tokio::test]
async fn health_tells_ready_unready_and_absent_apart() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let health = |listen: &str, args: &[&str]| {
        outboxd(&[&["health"], args].concat(), &[("OUTBOXD_HTTP__LISTEN", listen)], fixture.sandbox.folder())
    };
    let (mut relay, listen) = listening(&fixture, "").await;
    let ready = health(&listen, &[]);
    assert_eq!((ready.status.code(), ready.stdout.as_str()), (Some(0), "ok\n"));
    // A secret that is being replaced at this moment is none of its business.
    let gone = [("OUTBOXD_HTTP__LISTEN", listen.as_str()), ("DATABASE_URL_FILE", "/nonexistent")];
    assert!(outboxd(&["health"], &gone, fixture.sandbox.folder()).status.success());
    relay.stop();
    let absent = health(&listen, &[]);
    assert_eq!(absent.status.code(), Some(69));
    assert!(absent.stderr.contains("http.listen"), "{}", absent.stderr);

    fixture.database.postgres.kill();
    let mut starting = fixture.relay("");
    let listen = address(&mut starting).await;
    let unready = health(&listen, &[]);
    assert_eq!((unready.status.code(), unready.stdout.as_str()), (Some(1), "starting\n"));
    assert_eq!(health(&listen, &["--live"]).status.code(), Some(0));
}

#[test]
fn a_wrong_configuration_ends_every_command_with_78_and_an_unreachable_server_with_69() {
    let folder = std::env::temp_dir();
    let wrong = [
        ("DATABASE_URL", "postgres://127.0.0.1:1/x"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("OUTBOXD_RELAY__BATCH_SICE", "3"),
    ];
    let commands: [&[&str]; 7] = [
        &["run"],
        &["status"],
        &["wait", "--drained"],
        &["queue", "list"],
        &["health"],
        &["migrate", "up"],
        &["config", "validate"],
    ];
    for args in commands {
        let output = outboxd(args, &wrong, &folder);
        assert_eq!(output.status.code(), Some(78), "{args:?}: {output:?}");
        assert!(output.stderr.contains("did you mean OUTBOXD_RELAY__BATCH_SIZE"), "{args:?}: {}", output.stderr);
    }
    for args in &commands[1..4] {
        let output = outboxd(args, &wrong[..2], &folder);
        assert_eq!(output.status.code(), Some(69), "{args:?}: {output:?}");
        assert!(output.stderr.contains("database.url"), "{args:?}: {}", output.stderr);
    }
}
