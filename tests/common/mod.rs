//! What tests start: servers, the relay's program, workers; and how they wait.
//!
//! A test waits on an event, or asks for a foreign process's state until it is as wanted; it never sleeps for a guess.

mod database;
mod fixture;
mod relay;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use database::{Database, migrate, options};
pub use fixture::{Fixture, config};
pub use relay::{Event, Output, RelayProcess, outboxd};

/// Long enough for anything on a busy machine; a test that waits this long has failed.
pub const SOON: Duration = Duration::from_secs(30);

/// Asks every 5 ms until the answer is `Some`; `None` after `timeout`. For what sends no event.
pub async fn until_some<T, F: Future<Output = Option<T>>>(timeout: Duration, mut ask: impl FnMut() -> F) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        // The interval of asking, not a guess at how long something takes.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks every 5 ms until the answer is yes; `false` after `timeout`.
pub async fn eventually<F: Future<Output = bool>>(timeout: Duration, mut ask: impl FnMut() -> F) -> bool {
    until_some(timeout, || {
        let answer = ask();
        async { answer.await.then_some(()) }
    })
    .await
    .is_some()
}

/// [`eventually`] for tests without a runtime.
pub fn eventually_blocking(timeout: Duration, mut ask: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while !ask() {
        if Instant::now() >= deadline {
            return false;
        }
        // The interval of asking, not a guess at how long something takes.
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Where fresh clusters are kept between tests.
pub fn template() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// The `celery` of the virtual environment that `scripts/setup.sh python` makes; `OUTBOXD_VENV` names another one.
pub fn celery_program() -> PathBuf {
    let made = || template().parent().unwrap().join("venv");
    std::env::var_os("OUTBOXD_VENV").map_or_else(made, PathBuf::from).join("bin/celery")
}
