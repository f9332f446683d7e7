//! A Redis that refuses, stalls, disappears or loses its replies, while it keeps its data.
//!
//! The relay says once that it is down and once that it is back, and loses and doubles nothing. What only an operator
//! can mend stops its queue alone, until `outboxd queue resume`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use outboxd::sandbox::{Direction, Persistence, Proxy, Redis, RedisOptions};

use crate::common::{Fixture, RelayProcess, SOON, eventually, outboxd};

use super::ledger::Writer;
use super::stage::{IMPATIENT, count, fields, ready, said};

/// A relay that publishes through a proxy, and has published.
struct Scene {
    fixture: Fixture,
    proxy: Proxy,
    relay: RelayProcess,
    writer: Writer,
    /// Its time-outs are so short that a busy machine may exceed them, too.
    impatient: bool,
}

impl Scene {
    async fn new(redis: RedisOptions) -> Self {
        Self::with(redis, "", &[]).await
    }

    /// For a proxy that swallows or stalls.
    async fn impatient() -> Self {
        Self { impatient: true, ..Self::with(RedisOptions::default(), "", &IMPATIENT).await }
    }

    /// The relay logs in as somebody (`user:password@`).
    async fn as_user(redis: RedisOptions, login: &str) -> Self {
        Self::with(redis, login, &[]).await
    }

    async fn with(redis: RedisOptions, login: &str, env: &[(&str, &str)]) -> Self {
        let fixture = Fixture::with_redis(redis);
        let proxy = Proxy::start(fixture.redis.port()).unwrap();
        let url = format!("redis://{login}127.0.0.1:{}/0", proxy.port());
        let relay = ready(&fixture.sandbox, &fixture.database.url(), &url, "", env).await;
        let mut writer = Writer::new(&fixture.database, "jobs").await;
        writer.commit_each(3).await;
        writer.exact(&fixture.redis).await;
        Self { fixture, proxy, relay, writer, impatient: false }
    }

    fn redis(&self) -> &Redis {
        &self.fixture.redis
    }

    /// Rows are committed while the fault lasts; afterwards each is there once, and the relay has said so once.
    async fn survives(mut self, class: &str, mend: impl FnOnce(&Self)) {
        self.writer.commit_each(3).await;
        said(&self.relay, "redis.down", 1).await;
        // It goes on trying, and the looks go on beside it.
        said(&self.relay, "queue.retry", if self.impatient { 4 } else { 12 }).await;
        self.retries_for(class).await;
        self.writer.commit_each(2).await;
        mend(&self);
        self.back(1).await;
    }

    /// Waits until a try has failed for this reason; the first one may have failed while it came about.
    async fn retries_for(&self, class: &str) {
        let classes = || fields(&self.relay, "queue.retry", "class");
        let met = eventually(SOON, || async { classes().iter().any(|it| it == class) }).await;
        assert!(met, "{:?}", classes());
    }

    /// All is well again, and was said to be down so often.
    async fn back(&mut self, times: usize) {
        self.writer.exact(&self.fixture.redis).await;
        said(&self.relay, "redis.up", times).await;
        self.writer.commit_each(3).await;
        self.writer.exact(&self.fixture.redis).await;
        let classes = fields(&self.relay, "redis.down", "class");
        let as_often = || async { count(&self.relay, "redis.up") == count(&self.relay, "redis.down") };
        assert!(eventually(SOON, as_often).await, "{classes:?}");
        assert!(self.impatient || classes.len() == times, "{classes:?}");
        assert_eq!(count(&self.relay, "queue.loss"), 0);
        assert!(self.relay.stop().success());
        self.writer.exact(&self.fixture.redis).await;
    }

    /// The queue stops with this class, another one goes on; `queue resume` mends it once the cause is gone.
    async fn halts(mut self, class: &str, mend: impl FnOnce(&Self)) {
        self.writer.commit_each(3).await;
        let halted = self.relay.wait_event("queue.halted", |_| true, SOON).await;
        assert_eq!((halted.text("queue"), halted.text("class")), ("jobs", class));
        // It is in the log before it is in Postgres.
        let listed = || async { self.command(&["queue", "list", "--json"]).contains(class) };
        assert!(eventually(SOON, listed).await, "the list does not say {class}");
        self.writer.commit_each(2).await;
        mend(&self);
        self.command(&["queue", "resume", "jobs"]);
        self.relay.wait_event("queue.resumed", |_| true, SOON).await;
        self.writer.exact(&self.fixture.redis).await;
        let listed = self.command(&["queue", "list", "--json"]);
        assert!(!listed.contains(class), "{listed}");
        assert_eq!(count(&self.relay, "queue.halted"), 1);
        assert!(self.relay.stop().success());
        self.writer.exact(&self.fixture.redis).await;
    }

    fn command(&self, args: &[&str]) -> String {
        let output = outboxd(args, &[("DATABASE_URL", &self.fixture.database.url())], Path::new("/"));
        assert!(output.status.success(), "{args:?}: {}", output.stderr);
        output.stdout
    }

    /// Puts a string in a key's place and the key aside, in one step: a look never finds it gone.
    fn replace(&self, key: &str) {
        let script = "redis.call('RENAME', KEYS[1], 'away') redis.call('SET', KEYS[1], 'x')";
        self.redis().cmd(["EVAL", script, "1", key]).unwrap();
    }

    fn cmd(&self, words: &str) {
        self.redis().cmd(words.split_whitespace()).unwrap();
    }
}

#[tokio::test]
async fn a_full_redis_is_waited_for() {
    // Otherwise a look that finds the server nearly full first would keep the queue from trying.
    let never_tight = [("OUTBOXD_REDIS__DEFAULT__MEMORY_PERCENT", "100")];
    let scene = Scene::with(RedisOptions::default(), "", &never_tight).await;
    scene.cmd("CONFIG SET maxmemory 1");
    scene.survives("oom", |scene| scene.cmd("CONFIG SET maxmemory 0")).await;
}

#[tokio::test]
async fn a_replica_is_waited_for() {
    let scene = Scene::new(RedisOptions::default()).await;
    scene.cmd("REPLICAOF 127.0.0.1 1");
    scene.survives("readonly", |scene| scene.cmd("REPLICAOF NO ONE")).await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_is_waited_for() {
    let scene = Scene::new(RedisOptions::default()).await;
    scene.redis().cmd(["CONFIG", "SET", "save", "3600 1"]).unwrap();
    fs::remove_dir_all(scene.redis().data()).unwrap();
    scene.cmd("BGSAVE");
    let failed = || async { scene.redis().info("rdb_last_bgsave_status").unwrap().as_deref() == Some("err") };
    assert!(eventually(SOON, failed).await);
    scene.survives("misconf", |scene| drop(scene.redis().cmd(["CONFIG", "SET", "save", ""]).unwrap())).await;
}

#[tokio::test]
async fn a_redis_held_up_by_a_script_is_waited_for() {
    let scene = Scene::new(RedisOptions { args: words("--lua-time-limit 20"), ..RedisOptions::default() }).await;
    let mut hog = scene.redis().connect().unwrap();
    hog.send(["EVAL", "while true do end", "0"]).unwrap();
    let busy = || async { scene.redis().cmd(["PING"]).is_err_and(|error| error.0.starts_with("BUSY")) };
    assert!(eventually(SOON, busy).await);
    scene.survives("busy", |scene| scene.cmd("SCRIPT KILL")).await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_waited_for() {
    let slow = "--key-load-delay 2000 --loading-process-events-interval-bytes 1024";
    let options = RedisOptions { persistence: Persistence::Rdb, args: words(slow), ..RedisOptions::default() };
    let mut scene = Scene::new(options).await;
    scene.cmd("DEBUG POPULATE 2000 key 100");
    scene.redis().stop().unwrap();
    scene.writer.commit_each(3).await;
    scene.redis().start_again().unwrap();
    scene.retries_for("loading").await;
    scene.back(1).await;
}

#[tokio::test]
async fn a_redis_that_refuses_connections_is_waited_for() {
    let scene = Scene::new(RedisOptions::default()).await;
    scene.proxy.refuse().unwrap();
    scene.proxy.cut();
    let mut scene = scene;
    scene.writer.commit_each(3).await;
    // For longer than it takes a look to find its connection gone: later it would say so a second time.
    said(&scene.relay, "queue.retry", 20).await;
    scene.retries_for("refused").await;
    scene.proxy.pass().unwrap();
    scene.back(1).await;
}

#[tokio::test]
async fn a_connection_that_is_reset_is_made_again() {
    let mut scene = Scene::new(RedisOptions::default()).await;
    for _ in 0..5 {
        scene.proxy.cut();
        scene.writer.commit(1).await;
        scene.writer.arrived(&scene.fixture.redis).await;
    }
    scene.writer.exact(&scene.fixture.redis).await;
    // A look may miss its connection after the rows have come, and a lane says that Redis is back after it wrote.
    let as_often = || async { count(&scene.relay, "redis.down") == count(&scene.relay, "redis.up") };
    assert!(eventually(SOON, as_often).await);
    assert!(scene.relay.stop().success());
    scene.writer.exact(&scene.fixture.redis).await;
}

#[tokio::test]
async fn a_redis_that_swallows_everything_is_waited_for() {
    let scene = Scene::impatient().await;
    scene.proxy.black_hole();
    scene.survives("timeout", |scene| scene.proxy.pass().unwrap()).await;
}

#[tokio::test]
async fn a_slow_redis_is_merely_slow() {
    let mut scene = Scene::new(RedisOptions::default()).await;
    scene.proxy.delay(Duration::from_millis(50));
    for _ in 0..4 {
        scene.writer.commit(5).await;
        scene.writer.arrived(&scene.fixture.redis).await;
    }
    assert_eq!(count(&scene.relay, "redis.down") + count(&scene.relay, "queue.retry"), 0);
    assert!(scene.relay.stop().success());
    scene.writer.exact(&scene.fixture.redis).await;
}

#[tokio::test]
async fn a_lost_reply_adds_no_copy() {
    let mut scene = Scene::new(RedisOptions::default()).await;
    for times in 1..=4 {
        scene.proxy.drop_reply_once(b"EVALSHA");
        scene.writer.commit(3).await;
        scene.writer.arrived(&scene.fixture.redis).await;
        assert!(scene.proxy.wait(SOON, |stats| stats.dropped_replies == times as u64));
        // The rows stand in Redis before the relay knows that it will not be told, and says so.
        said(&scene.relay, "redis.up", times).await;
        said(&scene.relay, "queue.retry", times).await;
    }
    scene.back(4).await;
    assert_eq!(count(&scene.relay, "queue.retry"), 4);
}

#[tokio::test]
async fn a_command_that_comes_late_adds_no_copy() {
    let mut scene = Scene::impatient().await;
    scene.proxy.hold_once(b"EVALSHA");
    scene.writer.commit(3).await;
    assert!(scene.proxy.wait(SOON, |stats| stats.held == 1));
    scene.writer.exact(&scene.fixture.redis).await;
    scene.proxy.release();
    scene.writer.commit(3).await;
    scene.back(1).await;
}

#[tokio::test]
async fn replies_that_stall_add_no_copy() {
    let mut scene = Scene::impatient().await;
    scene.proxy.pause(Direction::Replies);
    scene.writer.commit(3).await;
    said(&scene.relay, "queue.retry", 1).await;
    scene.proxy.resume(Direction::Replies);
    scene.back(1).await;
}

#[tokio::test]
async fn a_key_of_another_type_stops_its_queue_alone() {
    let scene = Scene::new(RedisOptions::default()).await;
    scene.replace("jobs");
    scene.halts("wrongtype", |scene| scene.cmd("RENAME away jobs")).await;
}

#[tokio::test]
async fn a_marker_of_another_type_stops_its_queue_alone() {
    let scene = Scene::new(RedisOptions::default()).await;
    scene.replace("outbox:m:{jobs}");
    scene.halts("wrongtype", |scene| scene.cmd("RENAME away outbox:m:{jobs}")).await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_stops_the_queue() {
    let acl = vec!["user app on >secret ~* +@all".to_owned()];
    let scene = Scene::as_user(RedisOptions { acl, ..RedisOptions::default() }, "app:secret@").await;
    scene.cmd("ACL SETUSER app -rpush");
    scene.halts("noperm", |scene| scene.cmd("ACL SETUSER app +rpush")).await;
}

#[tokio::test]
async fn a_password_that_the_relay_does_not_know_stops_the_queue() {
    let acl = vec!["user app on >secret ~* +@all".to_owned()];
    let scene = Scene::as_user(RedisOptions { acl, ..RedisOptions::default() }, "app:secret@").await;
    scene.cmd("ACL SETUSER app resetpass >other");
    scene.proxy.cut();
    scene.halts("wrongpass", |scene| scene.cmd("ACL SETUSER app resetpass >secret")).await;
}

#[tokio::test]
async fn a_password_that_is_suddenly_asked_for_stops_the_queue() {
    let scene = Scene::new(RedisOptions::default()).await;
    let mut admin = scene.redis().connect().unwrap();
    admin.cmd(["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    scene.proxy.cut();
    scene.halts("noauth", |_| drop(admin.cmd(["CONFIG", "SET", "requirepass", ""]).unwrap())).await;
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
