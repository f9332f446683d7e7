//! The fault matrix: every loss, at rest, under load and during a replay, with one relay, a killed one and two, with a
//! live consumer of each kind. No committed task is missing, none ran that was rolled back, what ran twice is reported,
//! and the loss was noticed in time.
//!
//! The suite plays a selection in which every two values meet; `make matrix` plays all, and `OUTBOXD_MATRIX="flushall
//! idle"` the cells with these words in their names. With `--nocapture` the matrix is printed.

pub mod cell;
pub mod consumers;
pub mod loss;
pub mod proof;
mod run;
mod stage;
pub mod standing;
mod writer;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cell::{Cell, Consumer};
use run::Outcome;

/// Seconds since 1970, by the clock that every process here shares.
pub fn clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// So many cells of one test at once: they wait more than they compute.
const AT_ONCE: usize = 3;

#[test]
fn whatever_redis_loses_a_list_consumer_gets_again() {
    play(Consumer::List);
}

#[test]
fn whatever_redis_loses_a_stream_group_gets_again() {
    play(Consumer::Stream);
}

#[test]
fn whatever_redis_loses_a_celery_worker_gets_again() {
    play(Consumer::Celery);
}

#[test]
fn whatever_goes_without_a_receipt_comes_again() {
    play(Consumer::Receipts);
}

fn play(consumer: Consumer) {
    let wanted = std::env::var("OUTBOXD_MATRIX").unwrap_or_default();
    let words: Vec<&str> = wanted.split_whitespace().filter(|word| *word != "all").collect();
    let mut cells = if wanted.is_empty() { cell::chosen(consumer) } else { cell::all(consumer) };
    cells.retain(|cell| words.iter().all(|word| cell.to_string().split(' ').any(|part| part == *word)));
    let count = cells.len();
    let (cells, failed) = (Mutex::new(VecDeque::from(cells)), Mutex::new(Vec::new()));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = { cells.lock().unwrap().pop_front() } {
                    let began = Instant::now();
                    let outcome =
                        catch_unwind(AssertUnwindSafe(|| one(cell))).unwrap_or_else(|panic| panicked(&*panic));
                    print(cell, &outcome, began);
                    if !outcome.wrong.is_empty() {
                        failed.lock().unwrap().push(format!("{cell}: {}", outcome.wrong.join("; ")));
                    }
                }
            });
        }
    });
    eprintln!("{count} cells of {consumer:?} in {:.0} s", began.elapsed().as_secs_f64());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {count} cells failed:\n{}", failed.len(), failed.join("\n"));
}

fn one(cell: Cell) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(run::play(cell, run::REPLAYS[0]));
    if outcome.over { runtime.block_on(run::play(cell, run::REPLAYS[1])) } else { outcome }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Outcome {
    let text = panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Outcome { wrong: vec![format!("panicked: {}", text.unwrap_or_default())], ..Outcome::default() }
}

fn print(cell: Cell, outcome: &Outcome, began: Instant) {
    let verdict = if outcome.wrong.is_empty() { "ok  " } else { "FAIL" };
    let noticed = outcome.noticed.map_or("-".to_owned(), |took| format!("{took:.2}"));
    eprintln!(
        "{verdict} {:<36} {:>4} rows {:>3} doubled {:>3} excused {:>4} reported noticed {noticed:>5} s \
         {:>4.1} s [{}] {} {}",
        cell.to_string(),
        outcome.committed,
        outcome.doubled,
        outcome.excused,
        outcome.reported,
        began.elapsed().as_secs_f64(),
        outcome.causes.join(","),
        outcome.proof,
        outcome.wrong.join("; ")
    );
}
