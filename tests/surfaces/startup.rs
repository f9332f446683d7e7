//! What a relay meets when it starts: no schema, an old one, a restored one, another one's, or no server yet.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use outboxd::sandbox::{RedisOptions, StopMode, postgres_program};

use super::{address, command, get, len};
use crate::common::{Database, Fixture, RelayProcess, SOON, config, eventually_blocking, outboxd};

/// Why a relay with this configuration does not start: the reason that it gives.
fn refusal(fixture: &Fixture, text: &str) -> String {
    let mut relay = RelayProcess::start(&fixture.sandbox, text, &[], &[]);
    assert_eq!(relay.wait(SOON).code(), Some(1));
    let events = relay.events();
    let failed = events.iter().find(|event| event.name() == "relay.failed").unwrap();
    failed.text("reason").to_owned()
}

#[test]
fn a_missing_or_old_schema_is_refused_with_the_command_that_mends_it() {
    let fixture = Fixture::new();
    let empty = Database::empty();
    let reason = refusal(&fixture, &config(&empty.url(), &fixture.redis.url(0), ""));
    assert!(reason.contains("holds no outbox") && reason.contains("outboxd migrate up"), "{reason}");
    let elsewhere = "schema = \"elsewhere\"\ninternal_schema = \"machinery\"\n[redis";
    let elsewhere = fixture.config("").replace("[redis", elsewhere);
    let reason = refusal(&fixture, &elsewhere);
    assert!(reason.contains("elsewhere") && reason.contains("outboxd migrate up"), "{reason}");
    fixture.database.sql("drop function outbox_plan");
    let reason = refusal(&fixture, &fixture.config(""));
    assert!(reason.contains("outbox_plan") && reason.contains("outboxd migrate up"), "{reason}");
    for args in [&["status"][..], &["queue", "list"], &["wait", "--drained"]] {
        let output =
            outboxd(args, &[("DATABASE_URL", &empty.url()), ("REDIS_URL", "redis://x")], fixture.sandbox.folder());
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains("outboxd migrate up"), "{args:?}: {}", output.stderr);
    }
}

/// Dumps the stage's database into a file.
fn dump(fixture: &Fixture) -> PathBuf {
    let file = fixture.sandbox.folder().join("dump.sql");
    let mut command = Command::new(postgres_program("pg_dump").unwrap());
    assert!(command.args(["-d", &fixture.database.url(), "-f"]).arg(&file).status().unwrap().success());
    file
}

/// Loads a dump into an empty database.
fn load(url: &str, file: &Path) {
    let mut command = Command::new(postgres_program("psql").unwrap());
    command.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", url, "-f"]).arg(file).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
}

#[tokio::test]
async fn a_database_that_is_replaced_by_its_dump_under_a_running_relay_gets_nothing_published() {
    let fixture = Fixture::new();
    let more = "[relay]\nretry_max = \"200ms\"\n";
    let mut relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(more), &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    let (file, name) = (dump(&fixture), &fixture.database.name);
    let admin = |sql: String| fixture.database.postgres.sql("postgres", &sql).unwrap();
    admin(format!("drop database {name} with (force)"));
    admin(format!("create database {name}"));
    load(&fixture.database.url(), &file);
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    let told = relay.wait_event("postgres.down", |event| event.text("class") == "postgres_identity", SOON).await;
    assert!(told.text("reason").contains("outboxd repair"), "{told:?}");
    assert_eq!(len(&fixture, "a"), 1);
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_database_that_was_restored_from_a_dump_is_refused() {
    let fixture = Fixture::new();
    let mut relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(""), &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(command(&fixture, &["wait", "--drained"]).status.success());
    relay.stop();
    let restored = Database::empty();
    load(&restored.url(), &dump(&fixture));
    let reason = refusal(&fixture, &config(&restored.url(), &fixture.redis.url(0), ""));
    assert!(reason.contains("outboxd repair"), "{reason}");
    assert_eq!(len(&fixture, "a"), 1, "and it published nothing");
}

#[tokio::test]
async fn two_schemas_in_one_database_share_a_redis_without_noticing_each_other() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let mut relays = Vec::new();
    for schema in ["shop", "billing"] {
        let database = format!("[database]\nschema = \"{schema}\"\ninternal_schema = \"{schema}_machinery\"\nurl");
        let text = fixture.config("[relay]\npoll_interval = \"1h\"\n[log]\nlevel = \"debug\"\n");
        let text = text.replacen("[database]\nurl", &database, 1);
        relays.push(RelayProcess::ready(&fixture.sandbox, &text, &[], &["--migrate"]).await);
    }
    for relay in &mut relays {
        relay.dozes().await;
    }
    // Each is asleep until its own schema rings; the list is the same.
    for (at, schema) in ["shop", "billing"].iter().enumerate() {
        fixture
            .database
            .sql(&format!("insert into {schema}.outbox (queue, task) select 'a', 't' from generate_series(1, 5)"));
        relays[at].wait_event("queue.published", |_| true, SOON).await;
    }
    assert_eq!(len(&fixture, "a"), 10);
    assert_eq!(fixture.redis.cmd(["HLEN", "outbox:m:{a}"]).unwrap().int(), Some(2));
    for relay in &relays {
        assert!(
            relay.events().iter().all(|event| !["queue.loss", "queue.doubt", "queue.retry"].contains(&event.name()))
        );
    }
}

#[tokio::test]
async fn a_relay_that_starts_before_its_servers_waits_for_them() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    fixture.database.postgres.stop(StopMode::Fast).unwrap();
    fixture.redis.kill();
    let mut relay = fixture.relay("[relay]\nretry_max = \"200ms\"\n");
    let at = address(&mut relay).await;
    let down = relay.wait_event("postgres.down", |_| true, SOON).await;
    assert!(down.text("reason").contains("database.url"), "{down:?}");
    assert_eq!((get(&at, "/livez").0, get(&at, "/readyz")), (200, (503, "starting\n".to_owned())));
    fixture.database.postgres.start_again().unwrap();
    relay.wait_event("relay.ready", |_| true, SOON).await;
    assert_eq!(get(&at, "/readyz").0, 200, "Redis does not matter to it");
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    let down = relay.wait_event("redis.down", |_| true, SOON).await;
    assert!(down.text("reason").contains("redis.default"), "{down:?}");
    fixture.redis.start_again().unwrap();
    relay.wait_event("redis.up", |_| true, SOON).await;
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
}
