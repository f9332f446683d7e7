//! A relay that dies at every step, and at any moment.

use std::time::{Duration, Instant};

use crate::common::{Fixture, RelayProcess, SOON};

use super::ledger::Writer;
use super::stage::QUICK;

/// Where a relay can be killed while it plans and publishes, and while it opens a queue.
const FORWARD: [&str; 5] = ["plan.before", "plan.committed", "publish.before", "publish.sent", "publish.after"];
const OPEN: [&str; 3] = ["open.observed", "open.committed", "open.done"];
const QUEUES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Small batches; one queue speaks Celery's language and one is a stream.
fn settings() -> String {
    let batches = QUICK.replace("[relay]", "[relay]\nbatch_size = 5");
    format!("{batches}[queues.beta]\nformat = \"celery\"\n[queues.gamma]\nformat = \"stream\"\n")
}

async fn writers(fixture: &Fixture) -> Vec<Writer> {
    let mut writers = Vec::new();
    for queue in QUEUES {
        writers.push(Writer::new(&fixture.database, queue).await);
    }
    writers
}

async fn write(writers: &mut [Writer]) {
    for writer in writers {
        writer.commit_each(4).await;
        writer.roll_back(3).await;
        writer.commit(12).await;
    }
}

/// Kills a relay at each place, the first and the third time that it comes there, and lets another one finish.
async fn killed_at(places: &[&str]) {
    let fixture = Fixture::new();
    let config = fixture.config(&settings());
    let mut writers = writers(&fixture).await;
    for place in places {
        for nth in [1, 3] {
            write(&mut writers).await;
            let point = format!("{place}=abort@{nth}");
            let mut doomed = RelayProcess::start(&fixture.sandbox, &config, &[("OUTBOXD_FAILPOINTS", &point)], &[]);
            assert!(!doomed.wait(SOON).success(), "{point} was not reached");
            write(&mut writers).await;
            let mut relay = RelayProcess::start(&fixture.sandbox, &config, &[], &[]);
            for writer in &writers {
                writer.exact(&fixture.redis).await;
            }
            assert!(relay.stop().success(), "after {point}");
            for writer in &writers {
                writer.exact(&fixture.redis).await;
            }
        }
    }
}

#[tokio::test]
async fn a_relay_killed_at_any_step_of_planning_or_publishing_leaves_every_row_once() {
    killed_at(&FORWARD).await;
}

#[tokio::test]
async fn a_relay_killed_at_any_step_of_opening_leaves_every_row_once() {
    killed_at(&OPEN).await;
}

/// How often the relay is killed in the ordinary suite.
const ROUNDS: usize = 10;

#[tokio::test]
async fn a_relay_killed_at_any_moment_under_load_leaves_every_row_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: u64 = number("OUTBOXD_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = number("OUTBOXD_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    eprintln!("OUTBOXD_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let fixture = Fixture::new();
    let config = fixture.config(&settings());
    let mut writers = writers(&fixture).await;
    for _ in 0..rounds {
        let mut relay = RelayProcess::ready(&fixture.sandbox, &config, &[], &[]).await;
        let end = Instant::now() + Duration::from_millis(random.u64(0..500));
        while Instant::now() < end {
            for writer in &mut writers {
                match random.u8(..) {
                    0..64 => writer.roll_back(random.i32(1..5)).await,
                    64..96 => writer.commit(random.i32(1..60)).await,
                    _ => writer.commit(1).await,
                }
            }
        }
        relay.kill();
    }
    let mut relay = RelayProcess::start(&fixture.sandbox, &config, &[], &[]);
    for writer in &writers {
        writer.exact(&fixture.redis).await;
    }
    assert!(relay.stop().success());
    for writer in &writers {
        writer.exact(&fixture.redis).await;
    }
}
