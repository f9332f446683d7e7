//! Work beside the lanes that tries again by itself: a failure of it that lasts is said, and that it works again.
//!
//! One failure is no news, and an outage of Postgres is said by the wake loop. But a right that is missing, or a statement
//! that never ends in time, would otherwise leave no trace until the disk is full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::Fault;

/// So many failures of one class in a row are said.
const LASTING: u32 = 3;

/// How often they are said again.
const HOUR: Duration = Duration::from_secs(3600);

/// What kinds of work there are, each perhaps for many queues or targets.
#[derive(Default)]
pub(crate) struct Chores {
    failing: Mutex<HashMap<(&'static str, String), Failing>>,
    outage: AtomicBool,
}

#[derive(Debug)]
struct Failing {
    class: &'static str,
    times: u32,
    said: Option<Instant>,
}

/// What is to be said of a result.
#[derive(Debug, PartialEq, Eq)]
enum News {
    None,
    /// It fails, so many times by now.
    Fails(u32),
    /// It works again.
    Works,
}

impl Chores {
    /// Postgres is away, or back: what fails meanwhile does not count.
    pub(crate) fn outage(&self, outage: bool) {
        self.outage.store(outage, Ordering::Relaxed);
    }

    /// A turn of some work has ended, for a queue or a target if it has any; what it brought, if it went well.
    pub(crate) fn ended<T>(&self, chore: &'static str, of: &str, result: Result<T, Fault>) -> Option<T> {
        let class = result.as_ref().err().map(|fault| fault.reason().class);
        let news = self.news(chore, of, class, Instant::now());
        match (news, &result) {
            (News::Fails(times), Err(fault)) => tracing::warn!(event = "chore.failing", chore, of, times,
                class = fault.reason().class, reason = %fault.reason().message,
                "work in the background keeps failing; it is tried again"),
            (News::Works, _) => {
                tracing::info!(event = "chore.works", chore, of, "work in the background goes on again");
            }
            (_, Err(fault)) => tracing::debug!(event = "chore.failed", chore, of,
                class = fault.reason().class, reason = %fault.reason().message),
            _ => {}
        }
        result.ok()
    }

    fn news(&self, chore: &'static str, of: &str, class: Option<&'static str>, now: Instant) -> News {
        let mut all = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (chore, of.to_owned());
        let Some(class) = class else {
            let said = all.remove(&key).is_some_and(|failing| failing.said.is_some());
            return if said { News::Works } else { News::None };
        };
        if self.outage.load(Ordering::Relaxed) {
            return News::None;
        }
        let failing = all.entry(key).or_insert(Failing { class, times: 0, said: None });
        if failing.class != class {
            (failing.class, failing.times) = (class, 0);
        }
        failing.times = failing.times.saturating_add(1);
        let due = failing.said.is_none_or(|at| now.saturating_duration_since(at) >= HOUR) || failing.times == LASTING;
        if failing.times < LASTING || !due {
            return News::None;
        }
        failing.said = Some(now);
        News::Fails(failing.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_three_times_in_a_row_is_said_once_and_hourly_and_that_it_works_again() {
        let (chores, start) = (Chores::default(), Instant::now());
        let turn = |class, seconds| chores.news("trim", "", class, start + Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 2, 3].map(|at| turn(Some("permission"), at)),
            [News::None, News::None, News::Fails(3), News::None]
        );
        assert_eq!(turn(Some("permission"), 3602), News::Fails(5));
        assert_eq!(turn(None, 3603), News::Works);
        assert_eq!(turn(None, 3604), News::None);
    }

    #[test]
    fn another_cause_is_said_as_well_and_one_failure_now_and_then_is_not() {
        let (chores, now) = (Chores::default(), Instant::now());
        let turn = |class| chores.news("trim", "", class, now);
        for class in [Some("timeout"), Some("timeout"), None, Some("timeout"), Some("deadlock"), Some("timeout"), None]
        {
            assert_eq!(turn(class), News::None);
        }
        assert_eq!([(); 3].map(|()| turn(Some("timeout")))[2], News::Fails(3));
        assert_eq!([(); 3].map(|()| turn(Some("permission")))[2], News::Fails(3));
    }

    #[test]
    fn what_fails_in_an_outage_of_postgres_does_not_count_and_each_queue_counts_by_itself() {
        let (chores, now) = (Chores::default(), Instant::now());
        chores.outage(true);
        assert_eq!([(); 3].map(|()| chores.news("trim", "", Some("timeout"), now)), [(); 3].map(|()| News::None));
        chores.outage(false);
        for of in ["a", "b", "c"] {
            assert_eq!(chores.news("confirm", of, Some("timeout"), now), News::None);
        }
    }
}
