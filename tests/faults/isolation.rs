//! What happens to one queue is no other queue's affair.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outboxd::sandbox::{Proxy, Redis, RedisOptions};

use crate::common::{Fixture, RelayProcess, SOON};

use super::ledger::Writer;
use super::stage::{count, ready, said, span, time};

/// Far above the milliseconds that a row takes, far below the time-outs of a dead server.
const BOUND: Duration = Duration::from_secs(5);
/// How long the dead server may take to answer.
const DEAD_AFTER: &str = "connect_timeout = \"10s\"\nresponse_timeout = \"10s\"\n";
/// Queues that go to the dead server: more than the relay has sessions in Postgres.
const DEAD: usize = 12;

/// A healthy Redis, and a second one that swallows everything; one session in Postgres for each would not do.
async fn stage() -> (Fixture, Redis, Proxy, RelayProcess) {
    let fixture = Fixture::new();
    let second = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
    let proxy = Proxy::start(second.port()).unwrap();
    proxy.black_hole();
    let mut more = format!("[redis.second]\nurl = \"redis://127.0.0.1:{}/0\"\n{DEAD_AFTER}", proxy.port());
    for n in 0..DEAD {
        let _ = writeln!(more, "[queues.dead{n}]\nredis = \"second\"");
    }
    let env = [("OUTBOXD_DATABASE__POOL_SIZE", "2")];
    let (database, redis) = (fixture.database.url(), fixture.redis.url(0));
    let relay = ready(&fixture.sandbox, &database, &redis, &more, &env).await;
    (fixture, second, proxy, relay)
}

#[tokio::test]
async fn a_dead_redis_and_a_key_of_another_type_delay_no_healthy_queue() {
    let (fixture, second, proxy, mut relay) = stage().await;
    fixture.redis.cmd(["SET", "broken", "x"]).unwrap();
    let mut broken = Writer::new(&fixture.database, "broken").await;
    broken.commit(2).await;
    let mut dead = Vec::new();
    for n in 0..DEAD {
        let mut writer = Writer::new(&fixture.database, &format!("dead{n}")).await;
        writer.commit(2).await;
        dead.push(writer);
    }
    relay.wait_event("queue.halted", |event| event.text("queue") == "broken", SOON).await;
    said(&relay, "redis.down", 1).await;

    let mut healthy = Writer::new(&fixture.database, "healthy").await;
    for _ in 0..200 {
        let committed = Instant::now();
        healthy.commit(1).await;
        healthy.arrived(&fixture.redis).await;
        assert!(committed.elapsed() < BOUND, "a row took {:?}", committed.elapsed());
    }
    healthy.exact(&fixture.redis).await;
    assert_eq!((count(&relay, "postgres.down"), count(&relay, "redis.down")), (0, 1));

    proxy.pass().unwrap();
    for writer in &dead {
        writer.exact(&second).await;
    }
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_loss_is_noticed_in_time_beside_a_dead_redis() {
    let (fixture, _second, _proxy, mut relay) = stage().await;
    let mut dead = Writer::new(&fixture.database, "dead0").await;
    dead.commit(1).await;
    let mut healthy = Writer::new(&fixture.database, "healthy").await;
    healthy.commit(5).await;
    healthy.exact(&fixture.redis).await;
    said(&relay, "redis.down", 1).await;
    for _ in 0..3 {
        fixture.redis.flushall().unwrap();
        let lost_at = Timestamp::now();
        let loss = relay.wait_event("queue.loss", |_| true, SOON).await;
        let took = span(lost_at, time(&loss));
        assert!(took < BOUND, "noticed after {took:?}");
        healthy.exact(&fixture.redis).await;
    }
}
