//! A target behind whose name another server answers, while the one before lives on: every part of the relay follows.
//!
//! Not only the lanes have connections: looks, confirmation and receipts have their own, which the old server would go on
//! answering for ever.

use std::fs;

use outboxd::sandbox::{Proxy, Redis, RedisOptions};
use rustix::process::Signal;

use crate::common::{Fixture, RelayProcess, SOON, config, eventually, eventually_blocking};

use super::stage::{QUICK, count, fields};

const QUEUES: &str = "[queues.paid]\nconfirm = \"receipt\"\n";

/// Two servers, and a relay that uses the first.
struct Scene {
    fixture: Fixture,
    second: Redis,
    relay: RelayProcess,
}

impl Scene {
    /// The relay goes by this URL, if not straight to the first server.
    async fn new(url: Option<&str>, fixture: Fixture, second: Redis) -> Self {
        let url = url.map_or_else(|| fixture.redis.url(0), str::to_owned);
        let text = config(&fixture.database.url(), &url, &format!("{QUICK}{QUEUES}"));
        let relay = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
        let scene = Self { fixture, second, relay };
        scene.works_on(&scene.fixture.redis);
        scene
    }

    /// Rows of both queues reach a server, are taken there and are known to be consumed: by looks, by a receipt.
    fn works_on(&self, redis: &Redis) {
        let insert = |queue: &str| {
            let row = format!("insert into outbox (queue, task) values ('{queue}', 't') returning task_id");
            self.fixture.database.sql(&row).trim().to_owned()
        };
        for queue in ["jobs", "paid"] {
            let task = insert(queue);
            let taken = || redis.cmd(["LPOP", queue]).unwrap().text().is_some_and(|text| text.contains(&task));
            assert!(eventually_blocking(SOON, taken), "{queue}: its row does not arrive");
            if queue == "paid" {
                redis.cmd(["XADD", "outbox:receipts", "*", "task_id", &task]).unwrap();
            }
            let consumed = format!("select outbox_status('{task}')");
            let known = || self.fixture.database.sql(&consumed).trim() == "consumed";
            assert!(eventually_blocking(SOON, known), "{queue}: {}", self.fixture.database.sql(&consumed));
        }
        let left = || redis.cmd(["XLEN", "outbox:receipts"]).unwrap().int();
        assert!(eventually_blocking(SOON, || left() == Some(0)), "receipts are left");
    }

    /// Waits for that many more looks at a server.
    async fn looked_at(redis: &Redis, looks: u64) {
        let seen = || {
            let text = redis.cmd(["INFO", "commandstats"]).unwrap().text().unwrap_or_default();
            let calls = text.lines().find_map(|line| line.strip_prefix("cmdstat_hmget:calls=")?.split(',').next());
            calls.and_then(|calls| calls.parse::<u64>().ok()).unwrap_or(0)
        };
        let before = seen();
        assert!(eventually(SOON, || async { seen() >= before + looks }).await, "nobody looks at the server");
    }

    /// Each queue was opened so often, and no more than that happens.
    async fn opened(&self, redis: &Redis, times: usize) {
        let per_queue =
            |queue: &str| fields(&self.relay, "queue.opened", "queue").iter().filter(|it| *it == queue).count();
        let enough = || async { ["jobs", "paid"].iter().all(|queue| per_queue(queue) >= times) };
        assert!(eventually(SOON, enough).await, "{} and {}", per_queue("jobs"), per_queue("paid"));
        Self::looked_at(redis, 4).await;
        self.works_on(redis);
        Self::looked_at(redis, 4).await;
        assert_eq!((per_queue("jobs"), per_queue("paid")), (times, times));
        let tenures = self.fixture.database.sql("select count(*) from outbox_tenure");
        assert_eq!(tenures.trim(), (2 * times).to_string());
        let unsettled = "select count(*) from outbox_tenure where cap is null and not certified";
        let settled = || async { self.fixture.database.sql(unsettled).trim() == "0" };
        assert!(eventually(SOON, settled).await, "a boundary is not settled");
    }
}

#[tokio::test]
async fn a_url_that_changed_by_a_reload_moves_all_of_the_relay_and_opens_each_queue_once() {
    let fixture = Fixture::new();
    let second = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
    let mut scene = Scene::new(None, fixture, second).await;
    let text = config(&scene.fixture.database.url(), &scene.second.url(0), &format!("{QUICK}{QUEUES}"));
    fs::write(scene.relay.log().with_file_name("outboxd.toml"), text).unwrap();
    scene.relay.signal(Signal::HUP);
    scene.relay.wait_event("config.reloaded", |_| true, SOON).await;
    scene.opened(&scene.second, 2).await;
    assert_eq!(count(&scene.relay, "queue.doubt"), 0);
    // Only the connections of this question and of the test itself are left there.
    let connected =
        || scene.fixture.redis.cmd(["CLIENT", "LIST", "TYPE", "normal"]).unwrap().text().unwrap_or_default();
    let alone = || async { connected().lines().all(|client| client.contains("cmd=client")) };
    assert!(eventually(SOON, alone).await, "{}", connected());
    assert!(scene.relay.stop().success());
}

#[tokio::test]
async fn a_failover_behind_a_proxy_is_followed_by_all_of_the_relay_and_opens_each_queue_once() {
    let fixture = Fixture::new();
    let second = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    second.replica_of(fixture.redis.port()).unwrap();
    let mut scene = Scene::new(Some(&url), fixture, second).await;
    // The old primary lives on as a replica, and open connections stay with it.
    proxy.lead_to(scene.second.port());
    scene.fixture.redis.cmd(["FAILOVER", "TO", "127.0.0.1", &scene.second.port().to_string()]).unwrap();
    let promoted = || scene.second.info("role").unwrap().as_deref() == Some("master");
    assert!(eventually_blocking(SOON, promoted));
    scene.opened(&scene.second, 2).await;
    assert!(scene.relay.stop().success());
}

#[tokio::test]
async fn a_server_that_was_put_in_the_place_of_a_living_one_is_followed_by_all_of_the_relay() {
    let fixture = Fixture::new();
    let second = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
    let proxy = Proxy::start(fixture.redis.port()).unwrap();
    let url = format!("redis://127.0.0.1:{}/0", proxy.port());
    second.replica_of(fixture.redis.port()).unwrap();
    let mut scene = Scene::new(Some(&url), fixture, second).await;
    // The old one goes on as a primary, and nobody tells it: a lane comes to the new one because its connection ends.
    scene.second.promote().unwrap();
    proxy.lead_to(scene.second.port());
    let clients = scene.fixture.redis.cmd(["CLIENT", "LIST", "TYPE", "normal"]).unwrap().text().unwrap();
    for client in clients.lines().filter(|client| client.contains("cmd=evalsha") || client.contains("cmd=llen")) {
        let id = client.split_whitespace().find_map(|word| word.strip_prefix("id=")).unwrap();
        let _gone = scene.fixture.redis.cmd(["CLIENT", "KILL", "ID", id]);
    }
    let row = "insert into outbox (queue, task) values ('jobs', 't'), ('paid', 't')";
    scene.fixture.database.sql(row);
    scene.relay.wait_event("queue.opened", |event| event.text("queue") == "jobs", SOON).await;
    let taken = |queue: &'static str| {
        let second = &scene.second;
        move || second.cmd(["LPOP", queue]).unwrap().text().is_some()
    };
    assert!(eventually_blocking(SOON, taken("jobs")) && eventually_blocking(SOON, taken("paid")));
    scene.works_on(&scene.second);
    assert!(scene.relay.stop().success());
}
