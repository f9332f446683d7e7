//! One run that measures outboxd against its yardsticks, on the same data and the same servers.
//!
//! `make bench` prints a report in Markdown. Everything is a ratio within this one run: absolute figures are the
//! machine's. `OUTBOXD_BENCH_ROWS`, `OUTBOXD_BENCH_SECONDS` and `OUTBOXD_BENCH_ROUNDS` make it shorter or longer, and
//! `OUTBOXD_BENCH_ONLY=drain|latency|lateness|commits|losses` runs one part.
#![expect(clippy::print_stdout, reason = "the report is the product")]
#![expect(unreachable_pub, reason = "everything here is one program; `pub` says that another module uses it")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure ends there")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]

mod commits;
mod drain;
mod latency;
mod lateness;
mod losses;
mod report;
mod stage;

use std::io::Write;

use report::Part;
use stage::Stage;

/// A number from the environment, or what is usual.
fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    let only = std::env::var("OUTBOXD_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stage = Stage::start().await;
        println!("# Results\n\n{}\n", stage.describe());
        let mut aims = Vec::new();
        let mut told = |part: Part| {
            println!("{}", part.text);
            aims.extend(part.aims);
        };
        if wanted("drain") {
            told(drain::run(&stage).await);
        }
        if wanted("latency") {
            told(latency::run(&stage).await);
        }
        if wanted("lateness") {
            told(lateness::run(&stage).await);
        }
        if wanted("losses") {
            told(losses::run(&stage).await);
        }
        if wanted("commits") {
            told(commits::run(&stage).await);
        }
        println!("{}", report::compared(&aims));
        std::io::stdout().flush().unwrap();
    });
}
