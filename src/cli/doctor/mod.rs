//! `outboxd doctor`: looks at everything that a relay depends on, and says what to do about what it finds. Changes nothing.

mod brokers;
mod postgres;
mod report;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use super::config::SourceArgs;
use super::exit::Exit;
use super::{load, print};
use report::Report;

/// The arguments of `outboxd doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Exit code 0 if all is well, 3 with findings, 78 if the configuration itself is wrong.
pub(super) async fn run(args: DoctorArgs) -> Exit {
    let config = match load(&args.sources.sources()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let mut report = Report::default();
    for warning in config.warnings() {
        report.finding("config", &warning.to_string(), "correct it, then run `outboxd config validate`");
    }
    report.ok("config", &format!("{} Redis targets, {} queues with settings", config.redis.len(), config.queues.len()));
    let known = Box::pin(postgres::examine(&config, &mut report)).await;
    Box::pin(brokers::examine(&config, &known, &mut report)).await;
    print(&if args.json { report.to_json() } else { report.to_text() });
    if report.has_findings() { Exit::Findings } else { Exit::Ok }
}

/// A clock that is off by more makes delayed tasks early or late, and ages wrong.
const SKEW: Duration = Duration::from_secs(2);

/// Compares a server's clock, in seconds since 1970, with this machine's.
fn clock(report: &mut Report, check: &str, theirs: f64) {
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let off = theirs - ours;
    if off.abs() > SKEW.as_secs_f64() {
        let next = "let NTP set the clocks of both machines";
        report.finding(check, &format!("its clock is {off:+.1} s from this machine's"), next);
    } else {
        report.ok(check, &format!("its clock is {:.0} ms from this machine's", off.abs() * 1000.0));
    }
}
