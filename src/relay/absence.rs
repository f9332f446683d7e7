//! How long a row has been absent: what several looks at one queue prove together. Pure.
//!
//! Celery's messages are nowhere for a moment between a worker's pop and its note of it, so one absence proves nothing
//! there. A row is consumed once the marker had passed its batch at a look at least the grace ago, and it was in none of
//! the looks since. With a grace of nothing, one look is enough.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// So many rows are remembered; with more, nothing is proven until a grace later.
const MOST: usize = 200_000;

/// The looks at one queue within one tenure.
#[derive(Debug, Default)]
pub(crate) struct Absence {
    /// When, and where the marker stood; the first one is the newest that is old enough.
    looks: VecDeque<(Instant, i64)>,
    /// When each row was last seen.
    seen: HashMap<i64, Instant>,
}

impl Absence {
    /// Adds a look: where the marker stood and which rows were there. The batch at or below which every row is consumed
    /// but for the rows that come with it, ascending; `None` as long as no look is old enough.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        position: i64,
        present: &[i64],
        grace: Duration,
    ) -> Option<(i64, Vec<i64>)> {
        if self.seen.len() + present.len() > MOST {
            self.looks.clear();
            self.seen.clear();
        }
        self.looks.push_back((now, position));
        self.seen.extend(present.iter().map(|id| (*id, now)));
        let old = |at: &Instant| now.saturating_duration_since(*at) >= grace;
        while self.looks.get(1).is_some_and(|(at, _)| old(at)) {
            self.looks.pop_front();
        }
        let (at, consumed) = *self.looks.front().filter(|(at, _)| old(at))?;
        self.seen.retain(|_, last| *last >= at);
        let mut outstanding: Vec<i64> = self.seen.keys().copied().collect();
        outstanding.sort_unstable();
        Some((consumed, outstanding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn without_a_grace_one_look_says_what_is_consumed() {
        let mut absence = Absence::default();
        assert_eq!(absence.look(Instant::now(), 7, &[3, 5], Duration::ZERO), Some((7, vec![3, 5])));
        assert_eq!(absence.look(Instant::now(), 7, &[5], Duration::ZERO), Some((7, vec![5])));
    }

    #[test]
    fn a_row_is_consumed_when_two_looks_a_grace_apart_miss_it_and_none_between_saw_it() {
        let (start, mut absence) = (Instant::now(), Absence::default());
        assert_eq!(absence.look(start, 7, &[1], GRACE), None);
        assert_eq!(absence.look(at(start, 30), 9, &[2], GRACE), None);
        assert_eq!(absence.look(at(start, 60), 9, &[], GRACE), Some((7, vec![1, 2])));
        assert_eq!(absence.look(at(start, 90), 9, &[], GRACE), Some((9, vec![2])), "1 was missed at 30, 60 and 90");
        assert_eq!(absence.look(at(start, 120), 9, &[], GRACE), Some((9, vec![])));
    }

    #[test]
    fn a_row_that_was_seen_before_a_long_pause_must_be_missed_twice_after_it() {
        let (start, mut absence) = (Instant::now(), Absence::default());
        absence.look(start, 7, &[1], GRACE);
        assert_eq!(absence.look(at(start, 300), 7, &[], GRACE), Some((7, vec![1])));
        assert_eq!(absence.look(at(start, 330), 7, &[], GRACE), Some((7, vec![1])));
        assert_eq!(absence.look(at(start, 360), 7, &[], GRACE), Some((7, vec![])));
    }

    #[test]
    fn a_row_that_comes_back_is_outstanding_again() {
        let (start, mut absence) = (Instant::now(), Absence::default());
        absence.look(start, 7, &[], GRACE);
        absence.look(at(start, 59), 7, &[1], GRACE);
        assert_eq!(absence.look(at(start, 61), 7, &[], GRACE), Some((7, vec![1])));
    }

    #[test]
    fn too_many_rows_to_remember_prove_nothing_for_a_grace() {
        let (start, mut absence) = (Instant::now(), Absence::default());
        let many: Vec<i64> = (0..150_000).collect();
        absence.look(start, 7, &many, GRACE);
        assert_eq!(absence.look(at(start, 60), 8, &many, GRACE), None);
        assert_eq!(
            absence.look(at(start, 120), 9, &[], GRACE).map(|(consumed, rows)| (consumed, rows.len())),
            Some((8, 150_000))
        );
    }
}
