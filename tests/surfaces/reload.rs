//! SIGHUP: a new configuration is taken up as a whole or not at all, and secrets in files are read again.

use std::fs;

use outboxd::sandbox::{PostgresOptions, Redis, RedisOptions, Sandbox};
use rustix::process::Signal;

use super::{address, becomes, file_of, len};
use crate::common::{Database, Fixture, RelayProcess, SOON, eventually_blocking, options};

#[tokio::test]
async fn a_reload_takes_up_formats_keys_targets_and_the_log_level() {
    let fixture = Fixture::new();
    let other = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
    let mut relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(""), &[], &[]).await;
    let insert =
        |queue: &str| fixture.database.sql(&format!("insert into outbox (queue, task) values ('{queue}', 't')"));
    for queue in ["a", "b", "c"] {
        insert(queue);
        relay.wait_event("queue.opened", |event| event.text("queue") == queue, SOON).await;
    }
    assert!(eventually_blocking(SOON, || ["a", "b", "c"].iter().all(|key| len(&fixture, key) == 1)));
    let changed = format!(
        "[redis.second]\nurl = \"{}\"\n[log]\nlevel = \"debug\"\n[queues.a]\nformat = \"list\"\n\
         [queues.b]\nkey = \"b2\"\n[queues.c]\nredis = \"second\"\n",
        other.url(0)
    );
    fs::write(file_of(&fixture, 1), fixture.config(&changed)).unwrap();
    relay.signal(Signal::HUP);
    let reloaded = relay.wait_event("config.reloaded", |_| true, SOON).await;
    assert!(reloaded.text("changed").contains("queues.a.format"), "{reloaded:?}");
    // The queues take it up a moment later: each is opened once more, at its new place.
    let opened = |queue: &str| {
        let events = relay.events();
        events.iter().filter(|event| event.name() == "queue.opened" && event.text("queue") == queue).count()
    };
    for queue in ["a", "b", "c"] {
        assert!(eventually_blocking(SOON, || opened(queue) == 2), "{queue} was opened {} times", opened(queue));
        insert(queue);
    }
    relay.wait_event("queue.published", |event| event.text("queue") == "c", SOON).await;
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 2 && len(&fixture, "b2") == 1));
    let newest = fixture.redis.cmd(["LINDEX", "a", "0"]).unwrap().text().unwrap();
    assert!(newest.starts_with("{\"id\":"), "{newest}");
    assert_eq!((len(&fixture, "b"), len(&fixture, "c")), (1, 1), "what was there stays");
    assert_eq!(other.cmd(["LLEN", "c"]).unwrap().int(), Some(1));
    let wrongly = relay.events().into_iter().find(|event| event.name() == "config.needs_restart");
    assert!(wrongly.is_none(), "{wrongly:?}");
}

#[tokio::test]
async fn a_broken_file_is_refused_and_the_old_configuration_goes_on() {
    let fixture = Fixture::new();
    let mut relay = fixture.relay("");
    let at = address(&mut relay).await;
    relay.wait_event("relay.ready", |_| true, SOON).await;
    fs::write(file_of(&fixture, 1), fixture.config("[queues.a]\nfromat = \"list\"\n")).unwrap();
    relay.signal(Signal::HUP);
    let refused = relay.wait_event("config.refused", |_| true, SOON).await;
    assert!(refused.text("message").contains("did you mean queues.a.format"), "{refused:?}");
    becomes(&at, "outboxd_config_last_reload_successful", "0");
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
    fs::write(file_of(&fixture, 1), fixture.config("[queues.a]\nformat = \"list\"\n")).unwrap();
    relay.signal(Signal::HUP);
    relay.wait_event("config.reloaded", |_| true, SOON).await;
    becomes(&at, "outboxd_config_last_reload_successful", "1");
}

/// Servers with passwords, whose URLs stand in files.
fn with_passwords() -> (Fixture, RelayProcess) {
    let sandbox = Sandbox::new().unwrap();
    let password = |word: &str| Some(word.to_owned());
    let postgres = PostgresOptions { password: password("pg-one"), template: None, ..options() };
    let postgres = outboxd::sandbox::Postgres::start(&sandbox, &postgres).unwrap();
    let redis = RedisOptions { password: password("redis-one"), ..RedisOptions::default() };
    let redis = Redis::start(&sandbox, redis).unwrap();
    let fixture = Fixture { database: Database::migrated_in(postgres), redis, sandbox };
    let (database, redis) = (fixture.sandbox.folder().join("database_url"), fixture.sandbox.folder().join("redis_url"));
    fs::write(&database, fixture.database.url()).unwrap();
    fs::write(&redis, fixture.redis.url(0)).unwrap();
    let text = format!(
        "[database]\nurl_file = \"{}\"\n[redis.default]\nurl_file = \"{}\"\n[http]\nlisten = \"\"\n\
         [relay]\nretry_max = \"300ms\"\n",
        database.display(),
        redis.display()
    );
    let relay = RelayProcess::start(&fixture.sandbox, &text, &[], &[]);
    (fixture, relay)
}

#[tokio::test]
async fn passwords_that_changed_in_their_files_are_used_after_a_reload() {
    let reloads = |relay: &mut RelayProcess| relay.signal(Signal::HUP);
    passwords_that_changed_are_used(reloads).await;
}

#[tokio::test]
async fn passwords_that_changed_in_their_files_are_used_although_nobody_says_so() {
    passwords_that_changed_are_used(|_| ()).await;
}

async fn passwords_that_changed_are_used(tell: impl FnOnce(&mut RelayProcess)) {
    let (fixture, mut relay) = with_passwords();
    relay.wait_event("relay.ready", |_| true, SOON).await;
    let mut redis = fixture.redis.connect().unwrap();
    let db = fixture.database.connect().await;
    let insert = "insert into outbox (queue, task) values ('a', 't')";
    db.batch_execute(insert).await.unwrap();
    let mut len = || redis.cmd(["LLEN", "a"]).unwrap().int().unwrap();
    assert!(eventually_blocking(SOON, || len() == 1));

    let mut admin = fixture.redis.connect().unwrap();
    admin.cmd(["CONFIG", "SET", "requirepass", "redis-two"]).unwrap();
    db.batch_execute("alter role postgres password 'pg-two'").await.unwrap();
    for (name, url) in [("database_url", fixture.database.url()), ("redis_url", fixture.redis.url(0))] {
        fs::write(fixture.sandbox.folder().join(name), url.replace("-one@", "-two@")).unwrap();
    }
    tell(&mut relay);
    relay.wait_event("config.reloaded", |_| true, SOON).await;
    // Only new connections show which password is used.
    let others = "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid()
                  and application_name = 'outboxd'";
    db.query(others, &[]).await.unwrap();
    drop(admin.cmd(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]));
    db.batch_execute(insert).await.unwrap();
    let mut after = || admin.cmd(["LLEN", "a"]).unwrap().int().unwrap();
    assert!(eventually_blocking(SOON, || after() == 2), "{} arrived", after());
    let log = fs::read_to_string(relay.log()).unwrap();
    for secret in ["pg-one", "pg-two", "redis-one", "redis-two"] {
        assert!(!log.contains(secret), "the log shows {secret}");
    }
}

const HOURS: &str = "[relay]\nretry_min = \"1h\"\nretry_max = \"1h\"\npoll_interval = \"1h\"\nidle_look = \"1h\"\n";

/// With waits of an hour; then with short ones.
fn waits(fixture: &Fixture, long: bool) -> String {
    let text = fixture.config(HOURS);
    let text = text.replace("[database]", "[database]\ndoorbell = \"off\"");
    if long { text } else { text.replace("\"1h\"", "\"200ms\"") }
}

fn shorten(fixture: &Fixture, relay: &mut RelayProcess) {
    fs::write(file_of(fixture, 1), waits(fixture, false)).unwrap();
    relay.signal(Signal::HUP);
}

#[tokio::test]
async fn a_queue_that_waits_after_a_failure_takes_up_shorter_waits() {
    let fixture = Fixture::new();
    let never_tight = [("OUTBOXD_REDIS__DEFAULT__MEMORY_PERCENT", "100")];
    fixture.redis.cmd(["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    let mut relay = RelayProcess::start(&fixture.sandbox, &waits(&fixture, true), &never_tight, &[]);
    let retry = relay.wait_event("queue.retry", |_| true, SOON).await;
    assert!(retry.field("after_ms").as_u64().unwrap() >= 1_800_000, "{retry:?}");
    shorten(&fixture, &mut relay);
    relay.wait_event("queue.retry", |event| event.field("after_ms").as_u64().unwrap() <= 200, SOON).await;
    fixture.redis.cmd(["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
}

#[tokio::test]
async fn a_relay_that_sleeps_takes_up_shorter_intervals_and_beats_meanwhile() {
    let fixture = Fixture::new();
    let mut relay = RelayProcess::start(&fixture.sandbox, &waits(&fixture, true), &[], &[]);
    let at = address(&mut relay).await;
    relay.wait_event("relay.ready", |_| true, SOON).await;
    let beat = || -> f64 {
        super::metric(&at, "outboxd_heartbeat_timestamp_seconds").map_or(0.0, |beat| beat.parse().unwrap())
    };
    assert!(eventually_blocking(SOON, || beat() > 0.0));
    let first = beat();
    assert!(eventually_blocking(SOON, || beat() >= first + 5.0), "it does not beat while it sleeps");
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    shorten(&fixture, &mut relay);
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |_| true, SOON).await;
}
