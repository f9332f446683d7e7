//! A Postgres that stops, fails over, ends sessions or cannot be reached: the relay recovers by itself, LISTEN included.

use outboxd::sandbox::{Proxy, RedisOptions, StopMode};

use crate::common::{Fixture, RelayProcess, SOON, eventually, options};

use super::ledger::Writer;
use super::stage::{IMPATIENT, count, ready, said};

/// A relay that reaches Postgres through a proxy, relies on the bell, and has published.
struct Scene {
    fixture: Fixture,
    proxy: Proxy,
    relay: RelayProcess,
    writer: Writer,
}

/// Without the bell a row would wait for this poll: in vain.
const BELL_ONLY: (&str, &str) = ("OUTBOXD_RELAY__POLL_INTERVAL", "1h");

impl Scene {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With further settings of the relay.
    async fn with(env: &[(&str, &str)]) -> Self {
        let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
        let proxy = Proxy::start(fixture.database.postgres.port()).unwrap();
        let env = [env, &[BELL_ONLY]].concat();
        let url = proxy.through(&fixture.database.url());
        let relay = ready(&fixture.sandbox, &url, &fixture.redis.url(0), "", &env).await;
        let mut writer = Writer::new(&fixture.database, "jobs").await;
        writer.commit_each(3).await;
        writer.exact(&fixture.redis).await;
        Self { fixture, proxy, relay, writer }
    }

    /// All rows are there once, and a commit wakes the relay out of its sleep.
    async fn well(&mut self) {
        self.writer.commit_each(3).await;
        self.writer.exact(&self.fixture.redis).await;
        self.relay.dozes().await;
        self.writer.commit(1).await;
        self.writer.exact(&self.fixture.redis).await;
        let as_often = || async { count(&self.relay, "postgres.down") == count(&self.relay, "postgres.up") };
        assert!(eventually(SOON, as_often).await, "down and up");
    }

    /// Stops Postgres right after a commit of 20 rows, and starts it when the relay has noticed.
    async fn restart(&mut self, mode: StopMode) {
        let down = count(&self.relay, "postgres.down");
        self.writer.commit(20).await;
        self.fixture.database.postgres.stop(mode).unwrap();
        said(&self.relay, "postgres.down", down + 1).await;
        self.fixture.database.postgres.start_again().unwrap();
        self.writer.reconnect(&self.fixture.database).await;
    }

    async fn end(mut self) {
        assert!(self.relay.stop().success());
        self.writer.exact(&self.fixture.redis).await;
        assert_eq!(count(&self.relay, "queue.loss") + count(&self.relay, "queue.halted"), 0);
    }
}

#[tokio::test]
async fn restarts_of_postgres_are_survived() {
    let mut scene = Scene::new().await;
    for _ in 0..2 {
        scene.restart(StopMode::Fast).await;
        scene.well().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_crash_of_postgres_repeats_at_most_what_was_planned_right_before_it() {
    let mut scene = Scene::new().await;
    for round in 1..4 {
        scene.restart(StopMode::Immediate).await;
        scene.writer.commit_each(3).await;
        let found = scene.writer.complete(&scene.fixture.redis).await;
        // A plan is committed asynchronously: a crash may forget it after Redis has its rows, and it is made again.
        assert!(found.missing.is_empty() && found.copies <= 20 * round, "{found}");
        assert!(!found.disordered, "{found}");
        scene.relay.dozes().await;
    }
    assert!(scene.relay.stop().success());
    assert_eq!(count(&scene.relay, "queue.loss") + count(&scene.relay, "queue.halted"), 0);
}

#[tokio::test]
async fn ended_sessions_are_replaced() {
    let mut scene = Scene::new().await;
    let end_all =
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'outboxd%'";
    for _ in 0..5 {
        scene.writer.commit(10).await;
        scene.fixture.database.sql(end_all);
        scene.well().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn the_listening_session_alone_is_replaced() {
    let mut scene = Scene::new().await;
    // It alone holds the bell's advisory lock, whose key has two parts.
    let end_listener =
        "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and classid = 1331984232";
    for _ in 0..3 {
        scene.relay.dozes().await;
        // A session that was ended says so before its lock is free, and the next one may have to ask again.
        assert!(eventually(SOON, || async { scene.fixture.database.sql(end_listener) == "1" }).await);
        scene.well().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_cut_network_is_survived() {
    let mut scene = Scene::new().await;
    for _ in 0..5 {
        scene.writer.commit(10).await;
        scene.proxy.cut();
        scene.writer.commit(10).await;
        scene.well().await;
    }
    let down = count(&scene.relay, "postgres.down");
    scene.proxy.refuse().unwrap();
    scene.proxy.cut();
    said(&scene.relay, "postgres.down", down + 1).await;
    scene.writer.commit(10).await;
    scene.proxy.pass().unwrap();
    scene.well().await;
    scene.end().await;
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_survived() {
    let mut scene = Scene::with(&IMPATIENT).await;
    for round in 1..=2 {
        scene.writer.commit(10).await;
        scene.proxy.black_hole();
        scene.writer.commit(10).await;
        said(&scene.relay, "postgres.down", round).await;
        scene.writer.commit(10).await;
        scene.proxy.pass().unwrap();
        scene.well().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_lost_reply_to_a_commit_neither_loses_nor_doubles() {
    let mut scene = Scene::new().await;
    for times in 1..=4 {
        scene.proxy.drop_reply_once(b"outbox_plan");
        scene.writer.commit(3).await;
        scene.writer.arrived(&scene.fixture.redis).await;
        assert!(scene.proxy.wait(SOON, |stats| stats.dropped_replies == times));
    }
    for times in 5..=6 {
        scene.proxy.drop_reply_once(b"outbox_open");
        scene.fixture.redis.cmd(["CLIENT", "KILL", "TYPE", "normal"]).unwrap();
        scene.writer.commit(3).await;
        scene.writer.arrived(&scene.fixture.redis).await;
        assert!(scene.proxy.wait(SOON, |stats| stats.dropped_replies == times));
    }
    scene.well().await;
    scene.end().await;
}

/// A standby that has everything takes over; `url` names both servers, or a proxy is led to the new one.
async fn fails_over(by_url: bool) {
    let mut fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let (primary, name) = (fixture.database.postgres.clone(), fixture.database.name.clone());
    let standby = primary.standby(&options()).unwrap();
    let proxy = Proxy::start(primary.port()).unwrap();
    let url = if by_url {
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
        format!("postgres://postgres@{hosts}/{name}?target_session_attrs=read-write")
    } else {
        proxy.through(&fixture.database.url())
    };
    let mut relay = ready(&fixture.sandbox, &url, &fixture.redis.url(0), "", &[BELL_ONLY]).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit_each(10).await;
    writer.exact(&fixture.redis).await;
    writer.commit(20).await;
    let caught_up = || async {
        let lag = "select coalesce(bool_and(replay_lsn >= pg_current_wal_lsn()), false) from pg_stat_replication";
        primary.sql(&name, lag).unwrap() == "t"
    };
    assert!(eventually(SOON, caught_up).await);
    // A stop in order sends the rest first.
    primary.stop(StopMode::Fast).unwrap();
    said(&relay, "postgres.down", 1).await;
    standby.promote().unwrap();
    proxy.point_to(standby.port(), false).unwrap();
    fixture.database.postgres = standby.into();
    writer.reconnect(&fixture.database).await;
    writer.commit_each(10).await;
    writer.exact(&fixture.redis).await;
    relay.dozes().await;
    writer.commit(1).await;
    writer.exact(&fixture.redis).await;
    let as_often = || async { count(&relay, "postgres.down") == count(&relay, "postgres.up") };
    assert!(eventually(SOON, as_often).await, "down and up");
    assert!(relay.stop().success());
    writer.exact(&fixture.redis).await;
    assert_eq!(count(&relay, "queue.loss"), 0);
}

#[tokio::test]
async fn a_failover_to_the_other_host_of_the_url_is_followed() {
    fails_over(true).await;
}

#[tokio::test]
async fn a_failover_behind_one_address_is_followed() {
    fails_over(false).await;
}
