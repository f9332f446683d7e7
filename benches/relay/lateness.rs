//! How late a delayed row is: its arrival in Redis against its `deliver_at`, with nothing else to do.
//!
//! A consumer waits, blocked, for one message after the other. Its clock and PostgreSQL's are the same machine's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::report::{Aim, Part, quantiles};
use super::setting;
use super::stage::{Stage, first_argument};

const QUEUE: &str = "reminders";
const ROWS: usize = 200;
/// In milliseconds.
const AIM: f64 = 50.0;

pub async fn run(stage: &Stage) -> Part {
    let seconds = setting("OUTBOXD_BENCH_SECONDS", 10);
    stage.reset().await;
    let relay = stage.relay(&[]).await;
    let fill = format!(
        "insert into outbox (queue, task, args, deliver_at)
           select '{QUEUE}', 'shop.tasks.remind', jsonb_build_array((extract(epoch from at) * 1000000)::bigint), at
             from (select now() + interval '2 s' + random() * interval '{seconds} s' as at
                     from generate_series(1, {ROWS})) times"
    );
    stage.connect().await.batch_execute(&fill).await.unwrap();
    let mut redis = stage.redis.connect().unwrap();
    let patience = Duration::from_secs(seconds + 30);
    let consumer = tokio::task::spawn_blocking(move || {
        redis.cmd(["SELECT", "1"]).unwrap();
        let (mut late, began) = (Vec::new(), Instant::now());
        while late.len() < ROWS {
            assert!(began.elapsed() < patience, "{} of {ROWS} delayed rows came", late.len());
            let taken = redis.cmd(["BRPOP", QUEUE, "1"]).unwrap();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            if let Some(message) = taken.items().get(1).and_then(outboxd::sandbox::Value::bytes) {
                late.push((now.as_micros() as f64 - first_argument(message) as f64) / 1000.0);
            }
        }
        late
    });
    let mut late = consumer.await.unwrap();
    relay.stop();
    report(seconds, &mut late)
}

fn report(seconds: u64, late: &mut [f64]) -> Part {
    let [p50, p99, max] = quantiles(late);
    // Sorted by now. The two clocks are one, and rounded.
    assert!(late[0] > -1.0, "a row came {:.3} ms before its time", -late[0]);
    let text = format!(
        "## Lateness of delayed rows\n\n| rows | p50 | p99 | max |\n|---|---|---|---|\n\
         | {ROWS} | {p50:.1} ms | {p99:.1} ms | {max:.1} ms |\n\n\
         From a row's `deliver_at` until a blocked consumer has the message. The times are spread at random over \
         {seconds} s, of one transaction that had committed 2 s before the first; nothing else is to be done.\n"
    );
    let aims = vec![Aim {
        what: "a delayed row, after its time, under no load",
        wanted: "50 ms",
        here: format!("{max:.1} ms at most, p50 {p50:.1} ms"),
        met: max <= AIM,
    }];
    Part { text, aims }
}
