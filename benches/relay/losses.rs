//! How fast a backlog comes back when Redis loses all of it, against the plain drain of the same rows.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use outboxd::sandbox::Client;

use super::report::{Aim, Part, thousands};
use super::setting;
use super::stage::{Relay, Stage};

const QUEUE: &str = "default";

struct Figures {
    drain: f64,
    noticed: f64,
    replay: f64,
    memory: f64,
    peak: f64,
}

pub async fn run(stage: &Stage) -> Part {
    let rows = setting("OUTBOXD_BENCH_ROWS", 1_000_000);
    stage.reset().await;
    let client = stage.connect().await;
    let fill = format!(
        "insert into outbox (queue, task, args, kwargs)
           select '{QUEUE}', 'shop.tasks.send_receipt', jsonb_build_array(g, 'order-' || g),
                  jsonb_build_object('customer', g % 1000, 'note', repeat('x', 150), 'email', 'user' || g || '@example.org')
             from generate_series(1, {rows}) g;
         checkpoint;"
    );
    client.batch_execute(&fill).await.unwrap();

    let relay = stage.relay(&["defaults.window=0"]).await;
    let started = Instant::now();
    arrive(stage, rows).await;
    let drain = rows as f64 / started.elapsed().as_secs_f64();
    let memory = relay.memory("VmRSS");

    stage.redis.flushall().unwrap();
    let lost = Instant::now();
    said(&relay, "queue.loss").await;
    let noticed = lost.elapsed().as_secs_f64();
    let mut redis = client_of(stage);
    let begun = loop {
        if length(&mut redis) > 0 {
            break Instant::now();
        }
        assert!(lost.elapsed() < Duration::from_secs(30), "nothing is sent again");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    arrive(stage, rows).await;
    let again = rows as f64 / begun.elapsed().as_secs_f64();
    let peak = relay.memory("VmHWM");
    let different = different(&mut redis, rows);
    relay.stop();
    assert_eq!(different, rows, "tasks are missing");
    report(rows, &Figures { drain, noticed, replay: again, memory, peak })
}

fn report(rows: u64, figures: &Figures) -> Part {
    let rows = thousands(rows as f64);
    let mut text = format!("## Losing {rows} outstanding rows\n\n");
    let _ = writeln!(
        text,
        "`window = 0`, nobody consumes, FLUSHALL once all stand in Redis. Afterwards {rows} different tasks stand there again; \
         none is missing, none is there twice.\n"
    );
    let _ = writeln!(text, "- plain drain: {} rows/s", thousands(figures.drain));
    let _ = writeln!(text, "- the loss was noticed after {:.2} s", figures.noticed);
    let _ = writeln!(text, "- replay, from its first message: {} rows/s", thousands(figures.replay));
    let _ = writeln!(text, "- replay / plain drain: {:.2}", figures.replay / figures.drain);
    let _ = writeln!(
        text,
        "- resident memory of the relay: {:.1} MB after the drain, {:.1} MB at its highest\n",
        figures.memory, figures.peak
    );
    let aims = vec![
        Aim {
            what: "replay of what was lost",
            wanted: "50,000 rows/s",
            here: format!("{} rows/s", thousands(figures.replay)),
            met: figures.replay >= 50_000.0,
        },
        Aim {
            what: "resident memory",
            wanted: "25 MB",
            here: format!("{:.1} MB at its highest", figures.peak),
            met: figures.peak <= 25.0,
        },
    ];
    Part { text, aims }
}

fn client_of(stage: &Stage) -> Client {
    let mut client = stage.redis.connect().unwrap();
    client.cmd(["SELECT", "1"]).unwrap();
    client
}

fn length(redis: &mut Client) -> u64 {
    redis.cmd(["LLEN", QUEUE]).unwrap().int().unwrap_or_default().unsigned_abs()
}

/// Waits until so many messages stand in Redis.
async fn arrive(stage: &Stage, rows: u64) {
    let mut redis = client_of(stage);
    let (mut before, mut seen) = (0, Instant::now());
    loop {
        let now = length(&mut redis);
        if now >= rows {
            assert_eq!(now, rows, "too many messages");
            return;
        }
        if now > before {
            (before, seen) = (now, Instant::now());
        }
        assert!(seen.elapsed() < Duration::from_secs(30), "the relay has stopped at {now}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn said(relay: &Relay, event: &str) {
    let started = Instant::now();
    while !relay.log().contains(event) {
        assert!(started.elapsed() < Duration::from_secs(30), "the relay does not say {event}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// How many different tasks stand in the queue.
fn different(redis: &mut Client, rows: u64) -> u64 {
    let mut ids = HashSet::new();
    for from in (0..rows).step_by(10_000) {
        let to = from + 9_999;
        let messages = redis.cmd(["LRANGE", QUEUE, &from.to_string(), &to.to_string()]).unwrap().texts();
        let id =
            |message: &String| message.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36)).map(str::to_owned);
        ids.extend(messages.iter().filter_map(id));
    }
    ids.len() as u64
}
