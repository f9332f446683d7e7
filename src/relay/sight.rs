//! Who still looks at Redis: a relay that is frozen, or cut off from Redis alone, keeps its session in Postgres and sees
//! nothing.
//!
//! With each of its looks a relay writes a number that changes into a key of its own, and reads those of the relays that
//! hold queues on that target. One that has been seen to change, and then stands still for three looks and some seconds
//! by the observer's own clock, belongs to a relay that does not look; its queues are taken as those of one that has
//! ended, which is safe at any time. No clocks are compared. Who could not write its own number judges nobody: what keeps
//! it from writing may keep all others. A number that is lost with the dataset is written again with the next look.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

/// For so long a number stands still before it means something, at the least.
const STILL: Duration = Duration::from_secs(5);

/// In so many looks of the observer, too: one that was frozen itself must not judge by the first thing it sees.
const LOOKS: u32 = 3;

/// How often the same is said.
const HOUR: Duration = Duration::from_secs(3600);

/// A relay's number goes away by itself so long after its last look.
pub(crate) const KEPT: Duration = Duration::from_secs(600);

/// Where a relay's number lies: all of one database in one slot.
pub(crate) fn key(installation: Uuid, relay: &str) -> Vec<u8> {
    format!("outbox:r:{{{installation}}}/{relay}").into_bytes()
}

/// What one relay has seen of the others on one target.
#[derive(Debug, Default)]
pub(crate) struct Sights {
    /// The number that was written last; it begins anywhere, so that two relays do not write the same.
    count: Option<u64>,
    /// The text of it.
    own: String,
    /// That of the one before.
    before: String,
    /// How often in a row another stood in its place, and when that was said.
    strange: u32,
    told: Option<Instant>,
    others: HashMap<String, Sight>,
}

#[derive(Debug)]
struct Sight {
    number: Option<Vec<u8>>,
    since: Instant,
    looks: u32,
    /// Whether it was seen to change: only then it means something that it does not.
    moved: bool,
}

impl Sights {
    /// What to write next: a number, and how often it changes.
    pub(crate) fn next(&mut self, every: Duration) -> String {
        let count = self.count.map_or_else(|| u64::from(fastrand::u32(..)), |count| count + 1);
        self.count = Some(count);
        self.before = std::mem::replace(&mut self.own, format!("{count} {}", every.as_millis()));
        self.own.clone()
    }

    /// Whether another relay writes under this one's name, by what stood there before the last number was written. To be
    /// said now: hourly, and not of one that ends as this one begins.
    pub(crate) fn has_twin(&mut self, found: Option<&[u8]>, now: Instant) -> bool {
        let strange = !self.before.is_empty() && found.is_some_and(|found| found != self.before.as_bytes());
        self.strange = if strange { self.strange.saturating_add(1) } else { 0 };
        let due = self.told.is_none_or(|at| now.saturating_duration_since(at) >= HOUR);
        let says = self.strange >= LOOKS && due;
        if says {
            self.told = Some(now);
        }
        says
    }

    /// Adds what a look read of another relay; whether that one does not look any more.
    pub(crate) fn saw(&mut self, relay: &str, number: Option<&[u8]>, now: Instant) -> bool {
        let fresh = Sight { number: number.map(<[u8]>::to_vec), since: now, looks: 0, moved: false };
        let Some(sight) = self.others.get_mut(relay) else {
            self.others.insert(relay.to_owned(), fresh);
            return false;
        };
        // One that is gone has not moved: it was lost with the dataset, or nobody has written it for long.
        if number.is_some() && sight.number.as_deref() != number {
            let moved = sight.moved || sight.number.is_some();
            *sight = Sight { moved, ..fresh };
            return false;
        }
        sight.looks = sight.looks.saturating_add(1);
        let still = now.saturating_duration_since(sight.since);
        sight.moved && sight.looks >= LOOKS && still >= STILL.max(sight.period() * 3)
    }

    /// Forgets relays that hold nothing here.
    pub(crate) fn keep(&mut self, relays: &[String]) {
        self.others.retain(|relay, _| relays.contains(relay));
    }
}

impl Sight {
    /// How often it changes, as its relay says.
    fn period(&self) -> Duration {
        let text = self.number.as_deref().and_then(|number| std::str::from_utf8(number).ok());
        let millis = text.and_then(|text| text.split(' ').nth(1)?.parse().ok());
        Duration::from_millis(millis.unwrap_or(0)).min(KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each look, one a second, says that the relay is gone.
    fn judged(numbers: &[Option<&str>]) -> Vec<bool> {
        let (start, mut sights) = (Instant::now(), Sights::default());
        let at = |second: usize| start + Duration::from_secs(second as u64);
        let looks = numbers.iter().enumerate();
        looks.map(|(second, number)| sights.saw("other", number.map(str::as_bytes), at(second))).collect()
    }

    #[test]
    fn a_number_that_moved_and_then_stands_still_for_five_seconds_tells_of_a_frozen_relay() {
        let mut numbers = vec![Some("1 1000"), Some("2 1000")];
        numbers.extend([Some("2 1000"); 5]);
        assert_eq!(judged(&numbers), [false, false, false, false, false, false, true]);
    }

    #[test]
    fn a_number_that_was_never_seen_to_move_tells_nothing() {
        assert!(!judged(&[Some("2 1000"); 60]).contains(&true));
        assert!(!judged(&[None; 60]).contains(&true));
        let begins: Vec<_> = [None; 20].into_iter().chain([Some("1 1000"); 20]).collect();
        assert!(!judged(&begins).contains(&true));
    }

    #[test]
    fn a_number_that_is_lost_with_the_dataset_and_comes_again_tells_nothing() {
        let numbers: Vec<String> = (1..40).map(|n| format!("{n} 1000")).collect();
        let mut seen: Vec<_> = numbers.iter().map(|number| Some(number.as_str())).collect();
        seen[10..14].fill(None);
        assert!(!judged(&seen).contains(&true));
        let gone: Vec<_> = seen[..10].iter().copied().chain([None; 5]).collect();
        assert_eq!(judged(&gone).last(), Some(&true), "its relay would have written it again");
    }

    #[test]
    fn a_relay_that_finds_another_number_than_its_own_again_and_again_has_a_twin() {
        let (now, mut sights) = (Instant::now(), Sights::default());
        let every = Duration::from_secs(1);
        let mut last = sights.next(every);
        assert!(!sights.has_twin(Some(b"7 1000"), now), "that of its former life");
        for found in ["own", "8 1000", "own", "9 1000", "10 1000"] {
            let found = if found == "own" { std::mem::take(&mut last) } else { found.to_owned() };
            last = sights.next(every);
            assert!(!sights.has_twin(Some(found.as_bytes()), now));
        }
        sights.next(every);
        assert!(sights.has_twin(Some(b"11 1000"), now));
        sights.next(every);
        assert!(!sights.has_twin(Some(b"12 1000"), now), "said");
    }

    #[test]
    fn a_relay_that_looks_rarely_is_given_three_of_its_own_looks() {
        let mut numbers = vec![Some("1 10000"), Some("2 10000")];
        numbers.extend([Some("2 10000"); 31]);
        assert_eq!(judged(&numbers).iter().position(|gone| *gone), Some(31));
    }

    #[test]
    fn an_observer_that_was_frozen_itself_looks_three_times_before_it_judges() {
        let (start, mut sights) = (Instant::now(), Sights::default());
        let later = start + Duration::from_secs(3600);
        for (number, at) in [("1 1000", start), ("2 1000", start), ("2 1000", later), ("2 1000", later)] {
            assert!(!sights.saw("other", Some(number.as_bytes()), at));
        }
        assert!(sights.saw("other", Some(b"2 1000"), later));
    }
}
