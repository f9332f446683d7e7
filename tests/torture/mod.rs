//! Torture: random faults of both servers and of relays under random load; in the end nothing is lost, nothing ran that
//! was rolled back, and what ran twice is what the incidents report.
//!
//! 60 s of it in the suite; `make torture SECONDS=3600` for longer. `OUTBOXD_TORTURE_SEED` repeats the order of faults of
//! an earlier run, not their moments.

mod faults;
mod scene;
mod writers;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use scene::Scene;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torture_loses_nothing_and_accounts_for_what_ran_twice() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("OUTBOXD_TORTURE_SEED", u64::from(now.subsec_nanos()));
    let seconds = number("OUTBOXD_TORTURE_SECONDS", 60);
    eprintln!("OUTBOXD_TORTURE_SEED={seed} OUTBOXD_TORTURE_SECONDS={seconds}");
    let mut rng = Rng::with_seed(seed);
    let mut scene = Scene::new();
    let writers: Vec<_> = (0..3).map(|_| scene.writer(rng.fork())).collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        // Between two faults: sometimes too short to recover from the first.
        tokio::time::sleep(Duration::from_millis(rng.u64(100..2500))).await;
        faults::one(&mut scene, &mut rng).await;
    }
    scene.stop_writing();
    for writer in writers {
        scene.book(writer.await.unwrap());
    }
    scene.calm().await;
    let verdict = scene.verdict().await;
    eprintln!("{verdict}");
    assert!(verdict.is_good(), "seed {seed}: {verdict}");
}
