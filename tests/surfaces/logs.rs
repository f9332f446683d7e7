//! Logs of a real run: JSON lines, and nothing in them that is nobody's business.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use outboxd::sandbox::{PostgresOptions, Redis, RedisOptions, Sandbox};

use super::{address, get};
use crate::common::{Database, Fixture, RelayProcess, SOON, config, eventually_blocking, options};

#[tokio::test]
async fn every_line_is_json_and_no_line_shows_a_password_or_a_payload() {
    let sandbox = Sandbox::new().unwrap();
    let postgres = PostgresOptions { password: Some("planted-pg".to_owned()), template: None, ..options() };
    let postgres = outboxd::sandbox::Postgres::start(&sandbox, &postgres).unwrap();
    let redis = RedisOptions { password: Some("planted-redis".to_owned()), ..RedisOptions::default() };
    let redis = Redis::start(&sandbox, redis).unwrap();
    let fixture = Fixture { database: Database::migrated_in(postgres), redis, sandbox };
    let mut relay = fixture.relay("[log]\nlevel = \"trace\"\n[queues.bytes]\nformat = \"raw\"\n");
    let at = address(&mut relay).await;
    relay.wait_event("relay.ready", |_| true, SOON).await;
    fixture.database.sql(
        "insert into outbox (queue, task, args, kwargs, headers) values
           ('a', 't', '[\"planted-args\"]', '{\"k\": \"planted-kwargs\"}', '{\"h\": \"planted-header\"}'),
           ('a', 't', '[\"planted-args\"]', '{}', '{\"timelimit\": \"planted-header\"}');
         insert into outbox (queue, body) values ('bytes', 'planted-body')",
    );
    let published = |queue: &str| {
        relay.events().iter().any(|event| event.name() == "queue.published" && event.text("queue") == queue)
    };
    assert!(eventually_blocking(SOON, || published("a") && published("bytes")));
    relay.pass_events();
    fixture.redis.cmd(["SET", "b", "planted-value"]).unwrap();
    fixture.database.sql("insert into outbox (queue, task) values ('b', 't')");
    relay.wait_event("queue.halted", |_| true, SOON).await;
    let pages = format!("{}{}", get(&at, "/metrics").1, get(&at, "/api/v1/status").1);
    assert!(relay.stop().success());
    // And a relay that is not let in says so without the password that it tried.
    let wrong = |url: String| url.replace("planted-", "planted-wrong-");
    let text = config(&wrong(fixture.database.url()), &fixture.redis.url(0), "[log]\nlevel = \"trace\"\n");
    let mut refused = RelayProcess::start(&fixture.sandbox, &text, &[], &[]);
    assert_eq!(refused.wait(SOON).code(), Some(1));
    let text = config(&fixture.database.url(), &wrong(fixture.redis.url(0)), "[log]\nlevel = \"trace\"\n");
    let mut halted = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('c', 't')");
    halted.wait_event("queue.halted", |event| event.text("queue") == "c", SOON).await;
    // What runs may be in the middle of a line.
    assert!(halted.stop().success());

    let logs = [&relay, &refused, &halted].map(|relay| fs::read_to_string(relay.log()).unwrap());
    for line in logs.iter().flat_map(|log| log.lines()) {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(parsed["event"].is_string() && parsed["level"].is_string(), "{line}");
    }
    for text in logs.iter().chain([&pages]) {
        let shown: Vec<_> = text.lines().filter(|line| line.contains("planted")).collect();
        assert!(shown.is_empty(), "{shown:#?}");
    }
    assert!(logs[1].contains("database.url") && logs[2].contains("redis.default"), "{} {}", logs[1], logs[2]);
}

/// The first line of a relay that writes to a socket and cannot reach its database, and the line that says so.
/// `JOURNAL_STREAM` names that socket, or another one.
fn lines_to_a_socket(format: &str, is_the_journal: bool) -> [String; 2] {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(SOON)).unwrap();
    let stderr = OwnedFd::from(theirs);
    let named = File::from(stderr.try_clone().unwrap()).metadata().unwrap();
    let inode = if is_the_journal { named.ino() } else { named.ino() + 1 };
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    command.arg("run").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut relay = command
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .env("OUTBOXD_HTTP__LISTEN", "127.0.0.1:0")
        .env("OUTBOXD_LOG__FORMAT", format)
        .env("JOURNAL_STREAM", format!("{}:{inode}", named.dev()))
        .spawn()
        .unwrap();
    drop(command);
    let mut lines = BufReader::new(ours).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let down = lines.find(|line| line.contains("postgres.down")).unwrap();
    relay.kill().unwrap();
    relay.wait().unwrap();
    [first, down]
}

#[test]
fn under_systemd_a_line_tells_the_journal_its_level() {
    for format in ["text", "json"] {
        let [first, down] = lines_to_a_socket(format, true);
        assert!(first.starts_with("<6>") && first.contains("relay.starting"), "{first}");
        assert!(down.starts_with("<4>"), "{down}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&down[3..]).is_ok(), format == "json", "{down}");
    }
    // Started by a unit, but with its output elsewhere.
    let [first, down] = lines_to_a_socket("text", false);
    assert!(!first.starts_with('<') && !down.starts_with('<'), "{first}\n{down}");
}
