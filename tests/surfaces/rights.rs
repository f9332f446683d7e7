//! The users of Redis that docs/configuration.md describes: each may do all that its queue needs, and nothing else.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use outboxd::sandbox::Client;
use serde_json::Value;

use crate::common::{Fixture, RelayProcess, SOON, config, eventually_blocking, outboxd};

/// What only a server needs that cannot tell how far a group lags: one before 7.0, or with entries deleted ahead of it.
const RARE: [&str; 1] = ["xlen"];

/// The settings and the users of the section about rights.
fn manual() -> (String, Vec<Vec<String>>) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let section = text.split("## Rights in Redis").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut blocks = section.split("```").skip(1).step_by(2);
    let settings = blocks.next().unwrap().strip_prefix("toml\n").unwrap().to_owned();
    let users = blocks.next().unwrap().trim().split("ACL SETUSER ").skip(1);
    (settings, users.map(|line| line.split_whitespace().map(word).collect()).collect())
}

/// As redis-cli reads it.
fn word(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.to_owned() };
    let mut parts = quoted.split("\\x");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |all, part| {
        let byte = u8::from_str_radix(&part[..2], 16).unwrap();
        format!("{all}{}{}", char::from(byte), &part[2..])
    })
}

/// A relay that works as one of the users, and the server's list of all that it does.
struct Stage {
    fixture: Fixture,
    user: Vec<String>,
    queue: &'static str,
    relay: RelayProcess,
    monitor: Client,
}

impl Stage {
    async fn start(queue: &'static str) -> Self {
        let fixture = Fixture::new();
        let (settings, users) = manual();
        let of_queue = |table: &&str| table.starts_with(&format!("[queues.{queue}]"));
        let settings = settings.split("\n\n").find(of_queue).unwrap_or_default();
        let name = format!("outboxd-{queue}");
        let user = users.into_iter().find(|user| user[0] == name).unwrap();
        fixture.redis.cmd(["ACL", "SETUSER"].into_iter().chain(user.iter().map(String::as_str))).unwrap();
        let mut monitor = fixture.redis.connect().unwrap();
        monitor.cmd(["MONITOR"]).unwrap();
        let url = fixture.redis.url(0).replace("redis://", &format!("redis://{name}:secret@"));
        let quick = "[defaults]\nconfirm_grace = \"1s\"\n[relay]\nreplay_settle = \"100ms\"";
        let more = format!("{settings}\n{quick}\n[log]\nlevel = \"debug\"\n");
        let config = config(&fixture.database.url(), &url, &more);
        let relay = RelayProcess::ready(&fixture.sandbox, &config, &[], &[]).await;
        Self { fixture, user, queue, relay, monitor }
    }

    fn cmd(&self, line: &str) -> outboxd::sandbox::Value {
        self.fixture.redis.cmd(line.split(' ')).unwrap()
    }

    fn stand(&self, messages: i64) {
        let length = if self.queue == "events" { "XLEN" } else { "LLEN" };
        let there = || self.cmd(&format!("{length} {}", self.queue)).int();
        assert!(eventually_blocking(SOON, || there() == Some(messages)), "{:?} in {}", there(), self.queue);
    }

    /// Waits until so many rows are known not to be consumed, and all others to be.
    fn left(&self, rows: usize) {
        let known = format!(
            "select consumed = (select max(batch) from outbox_batch) and cardinality(outstanding) = {rows} \
               from outbox_checkpoint where queue = '{}' order by checkpoint desc limit 1",
            self.queue
        );
        let known = || self.fixture.database.sql(&known);
        assert!(eventually_blocking(SOON, || known() == "t"), "{}", std::fs::read_to_string(self.relay.log()).unwrap());
    }

    /// Three tasks; one is done, one is in somebody's hands and one waits when Redis is emptied. Then all are done.
    async fn live(mut self, take_two_and_finish_one: impl Fn(&Self), finish_all: impl Fn(&Self)) {
        self.fixture
            .database
            .sql(&format!("insert into outbox (queue, task) select '{}', 't' from generate_series(1, 3)", self.queue));
        self.stand(3);
        take_two_and_finish_one(&self);
        self.left(2);
        self.fixture.redis.flushall().unwrap();
        self.relay.wait_event("queue.recovered", |_| true, SOON).await;
        self.stand(2);
        finish_all(&self);
        self.left(0);

        assert_eq!(self.cmd("ACL LOG").items(), [], "something was refused");
        let log = std::fs::read_to_string(self.relay.log()).unwrap().to_lowercase();
        assert!(!log.contains("noperm"), "{log}");
        let used = self.used();
        let rights = self.user.iter().filter_map(|rule| rule.strip_prefix('+'));
        let idle: Vec<_> = rights.filter(|right| !used.contains(*right) && !RARE.contains(right)).collect();
        assert!(idle.is_empty(), "not needed: {idle:?}; used: {used:?}");
        self.doctor();
    }

    /// Every command that the relay ran, also in scripts, with its subcommand if the rules name one.
    fn used(&mut self) -> BTreeSet<String> {
        self.cmd("ECHO enough");
        let (mut of_relay, mut used) = (BTreeSet::from(["lua".to_owned()]), BTreeSet::new());
        loop {
            let line = self.monitor.read().unwrap().text().unwrap();
            let (from, command) = line.split_once("] ").unwrap();
            let from = from.rsplit(' ').next().unwrap().to_owned();
            let words: Vec<_> =
                command.to_lowercase().split(' ').map(|word| word.trim_matches('"').to_owned()).collect();
            if words == ["echo", "enough"] {
                return used;
            }
            if words[..words.len().min(2)] == ["client", "setname"] {
                of_relay.insert(from.clone());
            }
            if of_relay.contains(&from) {
                used.extend(words.get(1).map(|second| format!("{}|{second}", words[0])));
                used.insert(words[0].clone());
            }
        }
    }

    /// What the relay can do, the doctor finds to be enough.
    fn doctor(&self) {
        let file = self.fixture.sandbox.folder().join("relay-1/outboxd.toml");
        // It holds a password.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let args = ["doctor", "--json", "--config", file.to_str().unwrap()];
        let output = outboxd(&args, &[], self.fixture.sandbox.folder());
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(report["findings"], 0, "{}", report["checks"]);
        let checks = report["checks"].as_array().unwrap();
        let clock = checks.iter().find(|check| check["name"] == "redis.default.clock").unwrap();
        assert!(clock["state"] == "note" && clock["detail"].as_str().unwrap().starts_with("not checked"), "{clock}");
    }
}

#[tokio::test]
async fn the_user_for_celery_may_do_what_its_queue_needs_and_no_more() {
    let stage = Stage::start("celery").await;
    let take = |stage: &Stage| {
        stage.cmd("RPOP celery");
        let held = stage.cmd("RPOP celery").text().unwrap();
        stage.fixture.redis.cmd(["HSET", "unacked", "tag", &format!("[{held}, \"\", \"celery\"]")]).unwrap();
    };
    stage.live(take, |stage| drop(stage.cmd("RPOP celery 2"))).await;
}

#[tokio::test]
async fn the_user_for_a_list_may_do_what_its_queue_needs_and_no_more() {
    let stage = Stage::start("mail").await;
    let take = |stage: &Stage| {
        stage.cmd("LMOVE mail mail:processing RIGHT LEFT");
        stage.cmd("LMOVE mail mail:processing RIGHT LEFT");
        stage.cmd("RPOP mail:processing");
    };
    stage.live(take, |stage| drop(stage.cmd("RPOP mail 2"))).await;
}

#[tokio::test]
async fn the_user_for_a_stream_may_do_what_its_queue_needs_and_no_more() {
    let stage = Stage::start("events").await;
    let read = |stage: &Stage| -> Vec<String> {
        let read = stage.cmd("XREADGROUP GROUP workers w COUNT 2 STREAMS events >");
        read.items()[0].items()[1].items().iter().map(|entry| entry.items()[0].text().unwrap()).collect()
    };
    let take = |stage: &Stage| drop(stage.cmd(&format!("XACK events workers {}", read(stage)[0])));
    stage.live(take, |stage| drop(stage.cmd(&format!("XACK events workers {}", read(stage).join(" "))))).await;
}

#[tokio::test]
async fn the_user_for_receipts_may_do_what_its_queue_needs_and_no_more() {
    let stage = Stage::start("reports").await;
    let receipts = |stage: &Stage, which: &str| {
        let ids = stage.fixture.database.sql(&format!("select task_id from outbox order by id {which}"));
        for id in ids.lines() {
            stage.cmd(&format!("XADD outbox:receipts * task_id {id}"));
        }
    };
    let take = |stage: &Stage| {
        stage.cmd("RPOP reports 2");
        receipts(stage, "limit 1");
    };
    let finish = |stage: &Stage| {
        stage.cmd("RPOP reports 2");
        receipts(stage, "offset 1");
        assert!(eventually_blocking(SOON, || stage.cmd("XLEN outbox:receipts").int() == Some(0)));
    };
    stage.live(take, finish).await;
}
