//! What the wake loop tells a lane about its queue.

use std::time::{Duration, Instant};

use crate::batch::Marker;

/// The newest answer about one queue. A lane compares it with what it has done since.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own, and they change independently")]
pub(crate) struct Hint {
    /// When `rows` was asked for: whatever the lane planned later than this, the answer does not know.
    pub(crate) asked: Instant,
    /// When `due` was asked for.
    pub(crate) due_asked: Instant,
    /// The newest ledger number; `None` before the queue was ever opened.
    pub(crate) newest: Option<i64>,
    /// The newest checkpoint's position.
    pub(crate) reached: Option<i64>,
    /// The relay of the queue's current tenure; empty if it stopped in good order.
    pub(crate) owner: String,
    /// Whether an operator paused the queue.
    pub(crate) paused: bool,
    /// How often an operator resumed it.
    pub(crate) resumes: i32,
    /// Whether rows wait in the log.
    pub(crate) rows: bool,
    /// For how long one of them has waited with nothing planned meanwhile.
    pub(crate) waiting: Duration,
    /// When the next held row is due; in the past if it is overdue.
    pub(crate) due: Option<Instant>,
    /// Something in Redis is to be watched, and no living relay does.
    pub(crate) abandoned: bool,
    /// The relay that holds the queue does not look at Redis, although its session in Postgres stands.
    pub(crate) blind: bool,
    /// Redis stands behind the ledger with nobody to see to it.
    pub(crate) stranded: Option<Stranded>,
}

/// A marker that stands still below the newest ledger number.
#[derive(Debug, Clone)]
pub(crate) struct Stranded {
    /// For how long.
    pub(crate) since: Instant,
    /// Where; `None` if there is none.
    pub(crate) marker: Option<Marker>,
}

/// What a lane plans next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The next rows of the log.
    Log,
    /// Held rows that are due.
    Ids,
}

impl Kind {
    /// As the ledger spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Ids => "ids",
        }
    }
}

impl Hint {
    /// A queue of which nothing is known yet.
    pub(crate) fn unknown(now: Instant) -> Self {
        Self {
            asked: now,
            due_asked: now,
            newest: None,
            reached: None,
            owner: String::new(),
            paused: false,
            resumes: 0,
            rows: false,
            waiting: Duration::ZERO,
            due: None,
            abandoned: false,
            blind: false,
            stranded: None,
        }
    }

    /// Whether nobody watches what stands in Redis.
    pub(crate) fn is_free(&self) -> bool {
        self.abandoned || self.blind
    }

    /// Whether a relay that does not hold the queue should take it now.
    ///
    /// Its own queues, those that nobody holds, and those of a relay that has ended it takes at once. Another's it
    /// leaves alone until something has waited for `patience`: its holder is there and busy, or it is gone. While the
    /// marker moves towards what was planned, the holder is at work, however long rows wait behind a replay.
    pub(crate) fn calls(&self, relay: &str, patience: Duration, now: Instant) -> bool {
        if self.paused {
            return false;
        }
        if self.is_free() {
            return true;
        }
        let patience = if self.owner.is_empty() || self.owner == relay { Duration::ZERO } else { patience };
        let overdue = |since: Option<Instant>| since.is_some_and(|at| at + patience <= now);
        let stranded = self.stranded.as_ref().map(|it| it.since);
        let moves = stranded.is_some() && !overdue(stranded);
        !moves && (self.rows && self.waiting >= patience || overdue(self.due)) || overdue(stranded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn waiting(owner: &str, waiting: Duration) -> Hint {
        Hint { rows: true, waiting, owner: owner.to_owned(), ..Hint::unknown(Instant::now()) }
    }

    #[test]
    fn a_relay_takes_its_own_queue_and_an_abandoned_one_at_once() {
        assert!(waiting("me", Duration::ZERO).calls("me", PATIENCE, Instant::now()));
        assert!(waiting("", Duration::ZERO).calls("me", PATIENCE, Instant::now()));
    }

    #[test]
    fn another_relays_queue_is_taken_only_after_its_rows_have_waited() {
        assert!(!waiting("other", Duration::from_millis(999)).calls("me", PATIENCE, Instant::now()));
        assert!(waiting("other", PATIENCE).calls("me", PATIENCE, Instant::now()));
    }

    #[test]
    fn a_holder_that_gets_on_with_a_replay_keeps_its_queue_however_long_rows_wait() {
        let now = Instant::now();
        let moved = |ago| Some(Stranded { since: now.checked_sub(ago).unwrap(), marker: None });
        let replaying = Hint { stranded: moved(Duration::from_millis(500)), ..waiting("other", PATIENCE) };
        assert!(!replaying.calls("me", PATIENCE, now));
        assert!(replaying.calls("other", PATIENCE, now));
        assert!(Hint { stranded: moved(PATIENCE), ..replaying }.calls("me", PATIENCE, now));
    }

    #[test]
    fn what_nobody_watches_is_taken_at_once() {
        let abandoned = Hint { abandoned: true, owner: "dead".to_owned(), ..Hint::unknown(Instant::now()) };
        assert!(abandoned.calls("me", PATIENCE, Instant::now()));
        assert!(!Hint { paused: true, ..abandoned }.calls("me", PATIENCE, Instant::now()));
        let blind = Hint { blind: true, owner: "frozen".to_owned(), ..Hint::unknown(Instant::now()) };
        assert!(blind.calls("me", PATIENCE, Instant::now()));
    }

    #[test]
    fn a_paused_queue_calls_nobody() {
        assert!(!Hint { paused: true, ..waiting("me", PATIENCE) }.calls("me", PATIENCE, Instant::now()));
    }
}
