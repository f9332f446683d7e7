//! What the proxy does to those who talk through it.

use std::time::{Duration, Instant};

use outboxd::sandbox::{Client, Direction, Proxy, Redis, RedisOptions, Sandbox};

const SOON: Duration = Duration::from_secs(10);

struct Stage {
    redis: Redis,
    proxy: Proxy,
}

impl Stage {
    fn new() -> Self {
        let redis = Redis::start(&Sandbox::new().unwrap(), RedisOptions::default()).unwrap();
        let proxy = Proxy::start(redis.port()).unwrap();
        Self { redis, proxy }
    }

    fn client(&self, timeout: Duration) -> Client {
        Client::connect(([127, 0, 0, 1], self.proxy.port()).into(), timeout).unwrap()
    }

    fn value(&self) -> Option<i64> {
        self.redis.cmd(["GET", "n"]).unwrap().int()
    }
}

#[test]
fn a_cut_resets_and_a_refusal_ends_with_pass() {
    let stage = Stage::new();
    let mut client = stage.client(SOON);
    client.cmd(["INCR", "n"]).unwrap();
    stage.proxy.cut();
    let error = client.cmd(["INCR", "n"]).unwrap_err();
    assert!(error.0.contains("reset") || error.0.contains("pipe"), "{error}");

    let mut open = stage.client(SOON);
    open.cmd(["PING"]).unwrap();
    stage.proxy.refuse().unwrap();
    let refused = Client::connect(([127, 0, 0, 1], stage.proxy.port()).into(), SOON).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    open.cmd(["INCR", "n"]).unwrap();
    stage.proxy.pass().unwrap();
    stage.client(SOON).cmd(["INCR", "n"]).unwrap();
    assert_eq!(stage.value(), Some(3));
}

#[test]
fn a_black_hole_takes_everything_and_answers_nothing() {
    let stage = Stage::new();
    let short = Duration::from_secs(2);
    let mut old = stage.client(short);
    old.cmd(["PING"]).unwrap();
    stage.proxy.black_hole();
    let mut new = stage.client(short);
    for client in [&mut old, &mut new] {
        assert!(client.cmd(["INCR", "n"]).unwrap_err().0.starts_with("Redis did not answer"));
    }
    stage.proxy.pass().unwrap();
    assert_eq!(stage.value(), None);
    stage.client(SOON).cmd(["INCR", "n"]).unwrap();
    assert_eq!(stage.value(), Some(1));
}

#[test]
fn a_delay_holds_in_both_directions_and_does_not_add_up_in_a_pipeline() {
    let stage = Stage::new();
    let mut client = stage.client(SOON);
    client.cmd(["PING"]).unwrap();
    stage.proxy.delay(Duration::from_millis(50));
    let begun = Instant::now();
    for _ in 0..40 {
        client.send(["INCR", "n"]).unwrap();
    }
    for _ in 0..40 {
        client.read().unwrap();
    }
    let taken = begun.elapsed();
    // One after the other they would take 4 s.
    assert!(taken >= Duration::from_millis(100) && taken < Duration::from_secs(3), "{taken:?}");
}

#[test]
fn a_paused_direction_delivers_everything_when_it_goes_on() {
    let stage = Stage::new();
    let mut client = stage.client(SOON);
    stage.proxy.pause(Direction::Replies);
    client.send(["INCR", "n"]).unwrap();
    while stage.value() != Some(1) {}
    stage.proxy.pause(Direction::Requests);
    stage.proxy.resume(Direction::Replies);
    assert_eq!(client.read().unwrap().int(), Some(1));
    client.send(["INCR", "n"]).unwrap();
    assert_eq!(stage.value(), Some(1));
    stage.proxy.resume(Direction::Requests);
    assert_eq!(client.read().unwrap().int(), Some(2));
}

#[test]
fn a_dropped_reply_belongs_to_a_command_that_was_executed() {
    let stage = Stage::new();
    let (mut other, mut client) = (stage.client(SOON), stage.client(SOON));
    stage.proxy.drop_reply_once(b"INCR");
    other.cmd(["PING"]).unwrap();
    client.cmd(["INCR", "n"]).unwrap_err();
    other.cmd(["INCR", "n"]).unwrap();
    assert_eq!((stage.value(), stage.proxy.stats().dropped_replies), (Some(2), 1));
}

#[test]
fn a_held_request_arrives_late_even_after_its_client_gave_up() {
    let stage = Stage::new();
    let mut client = stage.client(Duration::from_millis(100));
    stage.proxy.hold_once(b"SET");
    client.cmd(["SET", "n", "1"]).unwrap_err();
    drop(client);
    assert!(stage.proxy.wait(SOON, |stats| stats.held == 1));
    stage.client(SOON).cmd(["SET", "n", "2"]).unwrap();
    assert_eq!(stage.value(), Some(2));
    stage.proxy.release();
    while stage.value() != Some(1) {}
    assert!(stage.proxy.wait(SOON, |stats| stats.open == 0));
}

#[test]
fn a_connection_can_be_kept_while_the_server_behind_it_changes() {
    let stage = Stage::new();
    let twin = Redis::start(&Sandbox::new().unwrap(), RedisOptions::default()).unwrap();
    let (mut client, accepted) = (stage.client(SOON), |stage: &Stage| stage.proxy.stats().accepted);
    client.cmd(["INCR", "n"]).unwrap();
    let before = accepted(&stage);
    stage.proxy.point_to(twin.port(), true).unwrap();
    client.cmd(["INCR", "n"]).unwrap();
    assert_eq!((stage.value(), twin.cmd(["GET", "n"]).unwrap().int()), (Some(1), Some(1)));
    assert_eq!(accepted(&stage), before);
    stage.proxy.point_to(stage.redis.port(), false).unwrap();
    client.cmd(["INCR", "n"]).unwrap_err();
    stage.client(SOON).cmd(["INCR", "n"]).unwrap();
    assert_eq!(stage.value(), Some(2));
}
