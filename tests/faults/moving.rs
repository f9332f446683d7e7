//! A queue that the configuration sends elsewhere: nothing is doubled, and nothing is left behind unasked.

use std::fs;
use std::path::Path;

use outboxd::sandbox::{Redis, RedisOptions};
use rustix::process::Signal;

use crate::common::{Fixture, RelayProcess, SOON, config, outboxd};

use super::ledger::{Writer, arrived, messages};
use super::stage::{QUICK, count};

/// Two servers, and a relay that reads its configuration again.
struct Scene {
    fixture: Fixture,
    second: Redis,
    relay: RelayProcess,
    writer: Writer,
}

impl Scene {
    async fn new() -> Self {
        let fixture = Fixture::new();
        let second = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
        let text = Self::text(&fixture, &second, "default");
        let relay = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
        let mut writer = Writer::new(&fixture.database, "jobs").await;
        writer.commit(3).await;
        writer.exact(&fixture.redis).await;
        Self { fixture, second, relay, writer }
    }

    fn text(fixture: &Fixture, second: &Redis, target: &str) -> String {
        let more = format!("[redis.second]\nurl = \"{}\"\n[queues.jobs]\nredis = \"{target}\"\n", second.url(0));
        config(&fixture.database.url(), &fixture.redis.url(0), &format!("{QUICK}{more}"))
    }

    /// Writes another target into the relay's file and has it read.
    async fn move_to(&mut self, target: &str) {
        let file = self.relay.log().with_file_name("outboxd.toml");
        fs::write(file, Self::text(&self.fixture, &self.second, target)).unwrap();
        self.relay.signal(Signal::HUP);
        self.relay.wait_event("config.reloaded", |_| true, SOON).await;
    }

    fn command(&self, args: &[&str]) {
        let output = outboxd(args, &[("DATABASE_URL", &self.fixture.database.url())], Path::new("/"));
        assert!(output.status.success(), "{args:?}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_queue_that_is_done_moves_by_itself_and_back() {
    let mut scene = Scene::new().await;
    scene.move_to("second").await;
    scene.relay.wait_event("queue.opened", |event| event.text("cause") == "adopted", SOON).await;
    scene.writer.commit(4).await;
    arrived(&scene.writer.committed[3..], &scene.second, "jobs").await;
    assert_eq!(messages(&scene.second, "jobs"), scene.writer.committed[3..]);

    scene.move_to("default").await;
    scene.relay.wait_event("queue.opened", |event| event.text("cause") == "adopted", SOON).await;
    scene.writer.commit(5).await;
    arrived(&scene.writer.committed[7..], &scene.fixture.redis, "jobs").await;
    assert!(scene.relay.stop().success());
    let there = messages(&scene.fixture.redis, "jobs");
    assert_eq!(there[3..], scene.writer.committed[7..], "what went to the second server is not sent to the first");
    assert_eq!(count(&scene.relay, "queue.loss"), 0);
}

/// The first server is gone before it took a batch that is planned; the queue is sent to the second one.
#[cfg(feature = "failpoints")]
async fn decided(decision: &str) -> (Scene, usize) {
    let mut scene = Scene::new().await;
    assert!(scene.relay.stop().success());
    let before = scene.writer.committed.len();
    scene.writer.commit(4).await;
    let (text, env) =
        (Scene::text(&scene.fixture, &scene.second, "default"), [("OUTBOXD_FAILPOINTS", "publish.before=abort")]);
    let mut doomed = RelayProcess::start(&scene.fixture.sandbox, &text, &env, &[]);
    assert!(!doomed.wait(SOON).success());
    scene.fixture.redis.kill();
    let text = Scene::text(&scene.fixture, &scene.second, "second");
    scene.relay = RelayProcess::start(&scene.fixture.sandbox, &text, &[], &[]);
    scene.writer.commit(2).await;
    let halted = scene.relay.wait_event("queue.halted", |_| true, SOON).await;
    assert_eq!(halted.text("class"), "moved");
    assert!(messages(&scene.second, "jobs").is_empty());

    // The decision holds even if the relay that takes it dies before the new server has heard of it.
    scene.relay.kill();
    let env = [("OUTBOXD_FAILPOINTS", "open.committed=abort")];
    let mut doomed = RelayProcess::start(&scene.fixture.sandbox, &text, &env, &[]);
    scene.command(&["queue", "move", "jobs", decision]);
    assert!(!doomed.wait(SOON).success());
    scene.relay = RelayProcess::start(&scene.fixture.sandbox, &text, &[], &[]);
    (scene, before)
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_the_old_server_may_not_have_got_is_sent_to_the_new_one_if_asked_for() {
    let (mut scene, before) = decided("--resend").await;
    arrived(&scene.writer.committed[before..], &scene.second, "jobs").await;
    assert!(scene.relay.stop().success());
    assert_eq!(messages(&scene.second, "jobs"), scene.writer.committed[before..]);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn what_was_planned_for_the_old_server_stays_there_if_asked_for() {
    let (mut scene, before) = decided("--skip").await;
    arrived(&scene.writer.committed[before + 4..], &scene.second, "jobs").await;
    assert!(scene.relay.stop().success());
    assert_eq!(messages(&scene.second, "jobs"), scene.writer.committed[before + 4..]);
}

#[tokio::test]
async fn a_new_server_that_loses_its_data_gets_back_what_was_its_own() {
    let mut scene = Scene::new().await;
    scene.move_to("second").await;
    scene.relay.wait_event("queue.opened", |event| event.text("cause") == "adopted", SOON).await;
    scene.writer.commit(4).await;
    arrived(&scene.writer.committed[3..], &scene.second, "jobs").await;
    scene.second.flushall().unwrap();
    scene.relay.wait_event("queue.loss", |_| true, SOON).await;
    arrived(&scene.writer.committed[3..], &scene.second, "jobs").await;
    assert!(scene.relay.stop().success());
    assert_eq!(messages(&scene.second, "jobs"), scene.writer.committed[3..]);
}
