//! `outboxd doctor`: looks at everything that a relay depends on, and says what to do about what it finds. Changes nothing.

mod brokers;
mod postgres;
mod queues;
mod report;

use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

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
    port(&config.http.listen, &mut report).await;
    let known = Box::pin(postgres::examine(&config, &mut report)).await;
    Box::pin(brokers::examine(&config, &known, &mut report)).await;
    print(&if args.json { report.to_json() } else { report.to_text() });
    if report.has_findings() { Exit::Findings } else { Exit::Ok }
}

/// Whether a relay that starts now gets its port, or one runs already.
async fn port(listen: &str, report: &mut Report) {
    if listen.is_empty() {
        return;
    }
    match TcpListener::bind(listen).await {
        Ok(_) => report.ok("http", &format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_relay(listen).await => {
            report.ok("http", &format!("a relay listens on {listen}"));
        }
        Err(error) => {
            let next = "set http.listen to another port, or to \"\" for none";
            report.finding("http", &format!("a relay could not listen on {listen}: {error}"), next);
        }
    }
}

/// Whether what listens there answers as a relay does.
async fn is_relay(at: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(1 << 20).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).contains("\"relay\""))
    };
    matches!(timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

/// How a connection is protected.
struct Wire<'a> {
    encrypted: bool,
    /// What of the server's certificate is checked; empty: nothing.
    checks: &'a str,
    /// It does not leave this machine.
    local: bool,
    /// How it would be better.
    better: &'a str,
}

/// Says it; a network that others can read is worth knowing, and somebody may have chosen it.
fn protection(report: &mut Report, check: &str, wire: &Wire<'_>) {
    let Wire { encrypted, checks, local, better } = wire;
    match (encrypted, local) {
        (true, _) if !checks.is_empty() => report.ok(check, &format!("encrypted; {checks}")),
        (true, true) => report.ok(check, "encrypted; nothing is checked, and it does not leave this machine"),
        (false, true) => report.ok(check, "not encrypted; it does not leave this machine"),
        (true, false) => report.note(check, &format!("encrypted, but whoever answers is believed: {better}")),
        (false, false) => {
            report.note(check, &format!("not encrypted: who is on the way reads and changes what passes; {better}"));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_can_read_or_change_is_worth_a_note() {
        for (encrypted, checks, local, says) in [
            (true, "checked", false, "ok       tls: encrypted; checked"),
            (true, "", true, "ok       tls: encrypted; nothing is checked, and it does not leave this machine"),
            (false, "", true, "ok       tls: not encrypted; it does not leave this machine"),
            (true, "", false, "note     tls: encrypted, but whoever answers is believed: do so"),
            (false, "", false, "note     tls: not encrypted: who is on the way reads and changes what passes; do so"),
        ] {
            let mut report = Report::default();
            protection(&mut report, "tls", &Wire { encrypted, checks, local, better: "do so" });
            assert_eq!(report.to_text(), says);
        }
    }
}
