//! Whether the relay lives and whether it is ready. Neither ever depends on Redis: an outage of Redis must not take
//! pods out of service whose whole purpose is to outlast it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A loop that has not beaten for this long hangs.
pub(crate) const BEAT_LIMIT: Duration = Duration::from_secs(15);
/// For this long a relay without Postgres stays ready unless told otherwise: a fail-over is no reason to send traffic
/// elsewhere.
const POSTGRES_GRACE: Duration = Duration::from_secs(30);

/// A cheap handle; all clones speak of the same relay.
#[derive(Debug, Clone)]
pub struct Health {
    grace: Duration,
    facts: Arc<Mutex<Facts>>,
    started: Arc<Notify>,
}

#[derive(Debug)]
struct Facts {
    last_beat: Instant,
    /// Why the relay is not ready; `None` when it is.
    unready: Option<String>,
    postgres_down_since: Option<Instant>,
    /// What only an operator can mend in Postgres, or on the way to it.
    refusal: Option<String>,
    draining: bool,
}

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Well,
    /// No, and why.
    Unwell(String),
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// A relay that is starting: alive, and not ready. Later it stays ready for 30 s without Postgres.
    pub fn new() -> Self {
        Self::with_grace(POSTGRES_GRACE)
    }

    /// [`Health::new`] for a relay that stays ready without Postgres for another time.
    pub fn with_grace(grace: Duration) -> Self {
        let facts = Facts {
            last_beat: Instant::now(),
            unready: Some("starting".to_owned()),
            postgres_down_since: None,
            refusal: None,
            draining: false,
        };
        Self { grace, facts: Arc::new(Mutex::new(facts)), started: Arc::default() }
    }

    /// The relay's loop went round once.
    pub fn beat(&self) {
        self.facts().last_beat = Instant::now();
    }

    /// Started, with a schema that fits.
    pub fn ready(&self) {
        self.facts().unready = None;
        self.started.notify_one();
    }

    /// Returns when the relay has started; for one who waits.
    pub async fn when_ready(&self) {
        self.started.notified().await;
    }

    /// Not started, or the schema does not fit. Counts at once.
    pub fn unready(&self, reason: &str) {
        self.facts().unready = Some(reason.to_owned());
    }

    /// Postgres answers, or does not. The relay stays ready without it for its grace.
    pub fn postgres(&self, reachable: bool) {
        let mut facts = self.facts();
        facts.refusal = None;
        facts.postgres_down_since =
            if reachable { None } else { Some(facts.postgres_down_since.unwrap_or_else(Instant::now)) };
    }

    /// Postgres answers with what only an operator can mend. The relay stays ready for its grace, then it says why not.
    pub fn postgres_refuses(&self, reason: &str) {
        self.postgres(false);
        self.facts().refusal = Some(reason.to_owned());
    }

    /// The relay stops: not ready from now on, whatever else is reported.
    pub fn draining(&self) {
        self.facts().draining = true;
    }

    /// Whether the loop has beaten within 15 s.
    pub fn live(&self) -> Verdict {
        self.live_at(Instant::now())
    }

    /// Whether the relay does its work, or could as soon as a server is back.
    pub fn readiness(&self) -> Verdict {
        self.ready_at(Instant::now())
    }

    fn live_at(&self, now: Instant) -> Verdict {
        let silence = now.saturating_duration_since(self.facts().last_beat);
        if silence <= BEAT_LIMIT {
            return Verdict::Well;
        }
        Verdict::Unwell(format!("the relay's loop has not gone round for {} s", silence.as_secs()))
    }

    fn ready_at(&self, now: Instant) -> Verdict {
        let facts = self.facts();
        let down = facts.postgres_down_since.map(|since| now.saturating_duration_since(since));
        match (&facts.unready, down) {
            _ if facts.draining => Verdict::Unwell("stopping".to_owned()),
            (Some(reason), _) => Verdict::Unwell(reason.clone()),
            (None, Some(down)) if down > self.grace => Verdict::Unwell(match &facts.refusal {
                Some(reason) => format!("Postgres has not been of use for {} s: {reason}", down.as_secs()),
                None => format!("Postgres has not answered for {} s", down.as_secs()),
            }),
            _ => Verdict::Well,
        }
    }

    /// The facts; whoever panicked while holding them left them whole, for each is written in one step.
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_unwell(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Unwell(_))
    }

    #[test]
    fn a_relay_is_alive_for_fifteen_seconds_after_each_beat() {
        let health = Health::new();
        health.beat();
        let now = Instant::now();
        assert_eq!(health.live_at(now + Duration::from_secs(14)), Verdict::Well);
        assert!(is_unwell(&health.live_at(now + Duration::from_secs(16))));
    }

    #[test]
    fn a_relay_stays_ready_for_thirty_seconds_without_postgres() {
        let health = Health::new();
        assert_eq!(health.readiness(), Verdict::Unwell("starting".to_owned()));
        health.ready();
        health.postgres(false);
        let down = Instant::now();
        health.postgres(false);
        assert_eq!(health.ready_at(down + Duration::from_secs(29)), Verdict::Well);
        assert!(is_unwell(&health.ready_at(down + Duration::from_secs(31))));
        health.postgres(true);
        assert_eq!(health.ready_at(down + Duration::from_secs(31)), Verdict::Well);
    }

    #[test]
    fn a_stopping_relay_is_never_ready_again_and_still_alive() {
        let health = Health::new();
        health.ready();
        health.clone().draining();
        health.ready();
        assert_eq!(health.readiness(), Verdict::Unwell("stopping".to_owned()));
        assert_eq!(health.live(), Verdict::Well);
    }

    #[test]
    fn an_incompatible_schema_counts_at_once() {
        let health = Health::new();
        health.ready();
        health.unready("the schema is newer than this program");
        assert_eq!(health.readiness(), Verdict::Unwell("the schema is newer than this program".to_owned()));
    }
}
