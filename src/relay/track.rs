//! What is remembered of a queue between two looks at what was consumed, and what the looks say together.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::absence::Absence;
use super::backoff::Backoff;
use super::baseline::Baseline;
use super::rules::{self, Accepted};
use super::shared::Hold;
use crate::broker::evidence::{Break, Facts};
use crate::broker::{Present, Snapshot};

/// After so long without a break of the evidence, the next one counts as the first.
const QUIET: Duration = Duration::from_secs(900);

/// What is remembered of a queue under one tenure.
#[derive(Default)]
pub(crate) struct Track {
    pub(crate) token: Uuid,
    /// The last look, and how many messages the lane had pushed then.
    pub(crate) before: Option<(Facts, u64)>,
    /// Absence cannot be believed until this has ended; then what is absent is sent again.
    pub(crate) doubt: Option<Break>,
    pub(crate) absence: Absence,
    /// The checkpoint that was written last: position, consumed, outstanding.
    pub(crate) written: Option<(i64, i64, Vec<i64>)>,
    /// What was last stored for the relay that opens next, and when.
    pub(crate) stored: Option<(Baseline, Instant)>,
    /// Until when only evidence is looked at, not the messages.
    pub(crate) rests: Option<Instant>,
    /// Evidence that breaks again and again must not send the same tasks again and again.
    pub(crate) patience: Patience,
}

/// How long to wait after a break of the evidence: not at all after the first, longer and longer while they keep coming.
pub(crate) struct Patience {
    last: Option<Instant>,
    pace: Backoff,
    until: Option<Instant>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { last: None, pace: Backoff::new(Duration::from_secs(2), Duration::from_secs(300)), until: None }
    }
}

impl Patience {
    /// Whether tasks may be sent again now.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// They were: the next time is later if it comes soon.
    pub(crate) fn spent(&mut self, now: Instant) {
        let soon = self.last.is_some_and(|last| now.saturating_duration_since(last) < QUIET);
        self.last = Some(now);
        if soon {
            self.until = Some(now + self.pace.step());
        } else {
            self.pace.reset();
            self.until = None;
        }
    }
}

impl Track {
    /// Whether everything up to there is consumed: then there is nothing to learn, and nothing to lose.
    pub(crate) fn is_settled(&self, position: i64) -> bool {
        self.doubt.is_none()
            && self
                .written
                .as_ref()
                .is_some_and(|(at, consumed, rows)| *at == position && *consumed == position && rows.is_empty())
    }
}

/// How often a look is stored for no other reason than that the one before is worn.
const WORN: Duration = Duration::from_secs(5);

impl Track {
    /// Whether what is stored for the relay that opens next is of little use.
    pub(crate) fn is_stale(&self, position: i64, facts: &Facts, now: Instant) -> bool {
        self.stored.as_ref().is_none_or(|(stored, at)| {
            let worn = || now.saturating_duration_since(*at) >= WORN && stored.is_worn(facts);
            stored.is_behind(position) || worn()
        })
    }
}

/// The rows that stand in Redis, if that is known.
pub(crate) fn rows_of(present: &Present) -> Option<(&[i64], &[Option<Uuid>])> {
    match present {
        Present::Rows { ids, task_ids, unknown: 0, .. } => Some((ids, task_ids)),
        Present::Rows { .. } | Present::TooMany(_) => None,
    }
}

/// Whether the cause is still there: then nothing is gone yet, and sending again would not help.
pub(crate) fn is_lasting(broken: &Break) -> bool {
    matches!(broken, Break::WrongType { .. } | Break::Expires { .. } | Break::Policy(_))
}

/// Whether a look shows the lane's own tenure on its way to where the ledger stood when it began: what vanishes meanwhile
/// must be noticed, too.
pub(crate) fn is_catching_up(hold: &Hold, now: &Snapshot) -> bool {
    now.facts.server.incarnation.to_string() == hold.incarnation
        && now.found.marker.is_some_and(|marker| marker.tenure == hold.token && marker.position < hold.opened_at)
}

/// What a look is good for, under the tenure that the lane holds.
pub(crate) fn accept(hold: &Hold, snapshot: &Snapshot) -> Accepted {
    let incarnation = snapshot.facts.server.incarnation.to_string();
    let seen = rules::Snapshot { marker: snapshot.found.marker, incarnation: &incarnation, unbroken: true };
    let tenure = rules::Tenure {
        token: hold.token,
        incarnation: &hold.incarnation,
        certified: hold.certified.load(Ordering::Relaxed),
        opened_at: hold.opened_at,
        // Under the queue's lock, Postgres compares the position with its ledger.
        newest: i64::MAX,
    };
    rules::accept(&seen, &tenure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_in_a_row_are_answered_later_and_later_and_a_quiet_time_forgets_them() {
        let (start, mut patience) = (Instant::now(), Patience::default());
        assert!(patience.allows(start));
        patience.spent(start);
        assert!(patience.allows(start), "one break is no row of them");
        patience.spent(start);
        assert!(!patience.allows(start));
        assert!(patience.allows(start + Duration::from_secs(2)));
        let later = start + QUIET * 2;
        patience.spent(later);
        assert!(patience.allows(later));
    }
}
