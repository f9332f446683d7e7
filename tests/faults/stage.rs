//! Relays that retry fast and say everything, and what is often asked of them.

use std::time::Duration;

use jiff::Timestamp;
use outboxd::sandbox::Sandbox;

use crate::common::{Event, Fixture, RelayProcess, SOON, config, eventually};

/// Short waits, and messages that are easy to read.
pub const QUICK: &str = r#"
[relay]
retry_min = "10ms"
retry_max = "200ms"
takeover_after = "300ms"
replay_settle = "20ms"
[log]
level = "info,outboxd=debug"
[defaults]
format = "list"
push = "right"
"#;

/// For scenes that count who takes a queue: a holder that gets no processor for a moment keeps it.
pub const PATIENT: (&str, &str) = ("OUTBOXD_RELAY__TAKEOVER_AFTER", "2s");

/// Fails soon where a server does not answer; for scenes in which one does not, as a busy machine is slow as well.
pub const IMPATIENT: [(&str, &str); 4] = [
    ("OUTBOXD_REDIS__DEFAULT__CONNECT_TIMEOUT", "1s"),
    ("OUTBOXD_REDIS__DEFAULT__RESPONSE_TIMEOUT", "1s"),
    ("OUTBOXD_DATABASE__CONNECT_TIMEOUT", "2s"),
    ("OUTBOXD_DATABASE__STATEMENT_TIMEOUT", "2s"),
];

/// A relay on the fixture's servers; it may not be ready yet.
pub fn relay(fixture: &Fixture, env: &[(&str, &str)]) -> RelayProcess {
    RelayProcess::start(&fixture.sandbox, &fixture.config(QUICK), env, &[])
}

/// A relay that is ready, on any servers, with more configuration.
pub async fn ready(sandbox: &Sandbox, database: &str, redis: &str, more: &str, env: &[(&str, &str)]) -> RelayProcess {
    RelayProcess::ready(sandbox, &config(database, redis, &format!("{QUICK}{more}")), env, &[]).await
}

/// How often a relay has said something so far.
pub fn count(relay: &RelayProcess, name: &str) -> usize {
    relay.events().iter().filter(|event| event.name() == name).count()
}

/// The events of a name, reduced to one field.
pub fn fields(relay: &RelayProcess, name: &str, field: &str) -> Vec<String> {
    relay.events().iter().filter(|event| event.name() == name).map(|event| event.text(field).to_owned()).collect()
}

/// Waits until a relay has said something so often, in whatever order it said other things.
pub async fn said(relay: &RelayProcess, name: &str, times: usize) {
    let said = eventually(SOON, || async { count(relay, name) >= times }).await;
    assert!(said, "{name} was said {} times, not {times}", count(relay, name));
}

/// When an event was written.
pub fn time(event: &Event) -> Timestamp {
    event.text("timestamp").parse().unwrap()
}

/// Between two moments.
pub fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
