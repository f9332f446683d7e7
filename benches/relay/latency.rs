//! From a commit to Redis: how long a row takes, at a steady rate of commits.
//!
//! A writer commits one row at a time on a few connections, each row carrying the moment before its statement is sent; a
//! consumer asks for the list all the time and compares. Both run in this process, so that there is one clock.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use tokio_postgres::types::Type;

use super::report::{Aim, Part, quantiles};
use super::setting;
use super::stage::{Stage, first_argument};

const QUEUE: &str = "interactive";
/// Each has one commit under way; a tick of the timer and a slow commit must leave enough of them for the highest rate.
const WRITERS: u64 = 32;

pub async fn run(stage: &Stage) -> Part {
    let seconds = setting("OUTBOXD_BENCH_SECONDS", 10);
    let mut text = String::from(
        "## Commit to Redis\n\n| rows/s asked for | committed | p50 | p99 | max | the commit alone, p50 | p99 |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut aims = Vec::new();
    for rate in [100, 1_000, 5_000] {
        stage.reset().await;
        let relay = stage.relay(&[]).await;
        let (mut commits, mut latencies) = measure(stage, rate, seconds).await;
        relay.stop();
        let committed = commits.len() as f64 / seconds as f64;
        let (commits, latencies) = (quantiles(&mut commits), quantiles(&mut latencies));
        let _ = writeln!(
            text,
            "| {rate} | {committed:.0}/s | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |",
            latencies[0], latencies[1], latencies[2], commits[0], commits[1],
        );
        if rate == 1_000 {
            aims.push(Aim {
                what: "commit to Redis at 1,000 rows/s",
                wanted: "p50 3 ms, p99 15 ms",
                here: format!("{:.2} ms, {:.2} ms", latencies[0], latencies[1]),
                met: latencies[0] <= 3.0 && latencies[1] <= 15.0,
            });
        }
    }
    let _ = writeln!(
        text,
        "\nFrom before the statement is sent until a consumer has the message, so the writer's own commit is within; what that \
         takes is told beside it, from the same run. One row per transaction, {seconds} s each, the first second left out; up \
         to {WRITERS} writers, consumer, relay and both servers share the cores.\n"
    );
    Part { text, aims }
}

async fn measure(stage: &Stage, rate: u64, seconds: u64) -> (Vec<f64>, Vec<f64>) {
    let origin = Instant::now();
    let writers = (rate / 150).clamp(1, WRITERS);
    let end = origin + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let client = stage.connect().await;
        tasks.push(tokio::spawn(async move {
            let insert = "insert into outbox (queue, task, args) values ('interactive', 'shop.tasks.touch', jsonb_build_array($1::bigint))";
            let insert = client.prepare_typed(insert, &[Type::INT8]).await.unwrap();
            let pause = Duration::from_secs_f64(writers as f64 / rate as f64);
            let mut due = origin + pause.mul_f64(writer as f64 / writers as f64);
            let mut commits = Vec::new();
            while Instant::now() < end {
                tokio::time::sleep_until(due.into()).await;
                let sent = i64::try_from(origin.elapsed().as_micros()).unwrap();
                client.execute(&insert, &[&sent]).await.unwrap();
                commits.push(millis(origin.elapsed().saturating_sub(Duration::from_micros(sent.unsigned_abs()))));
                // A writer that cannot keep up does not make up for it in a burst.
                due = (due + pause).max(Instant::now());
            }
            commits
        }));
    }
    let consumer = tokio::spawn(consume(stage.redis.url(1), origin, end + Duration::from_millis(500)));
    let mut commits = Vec::new();
    for task in tasks {
        commits.extend(task.await.unwrap());
    }
    (commits, consumer.await.unwrap())
}

/// Takes messages as they come. The moment of a row is in its first argument.
async fn consume(url: String, origin: Instant, end: Instant) -> Vec<f64> {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let taken: Vec<Vec<u8>> = connection.rpop(QUEUE, std::num::NonZeroUsize::new(100)).await.unwrap_or_default();
        let now = origin.elapsed();
        if taken.is_empty() {
            // Asks again at once: blocking would hide the latency of the second message behind the first.
            tokio::time::sleep(Duration::from_micros(200)).await;
            continue;
        }
        for message in taken {
            let sent = Duration::from_micros(first_argument(&message));
            if sent >= Duration::from_secs(1) {
                latencies.push(millis(now.saturating_sub(sent)));
            }
        }
    }
    latencies
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
