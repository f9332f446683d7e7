//! What Redis targets refuse to this relay's user: when to try again, and who tells of it.
//!
//! A wrong password or a missing right stops all queues of a target, for one cause that is mended in one place. So it is
//! told once, and tried again by itself; seldom, because servers write each refusal down (ACL LOG).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::Fault;

/// Classes of servers that refuse a user or a password, whatever the queue.
const USER: [&str; 2] = ["wrongpass", "noauth"];

/// And of those that may refuse it for one queue alone: a right is missing.
const COMMANDS: [&str; 3] = ["noperm", "no_eval", "denied"];

/// How long to wait before what was refused is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// By target.
#[derive(Default)]
pub(crate) struct Refusals {
    /// Why a target cannot be used.
    down: Mutex<HashMap<String, Down>>,
    /// What of the rights is missing, and when a queue met that last.
    lacks: Mutex<HashMap<(String, &'static str), Instant>>,
}

/// Why a target cannot be used.
struct Down {
    reason: String,
    /// It refused the user: not to be looked at before that time.
    rests: Option<Instant>,
}

/// A poisoned lock holds plain values that are replaced whole: they are as good as ever.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a server refuses the user or the password, whatever the queue.
pub(crate) fn refuses_user(fault: &Fault) -> bool {
    USER.contains(&fault.reason().class)
}

/// Whether the user lacks a right, in this target or for one queue: it is mended at the server, or by another URL.
pub(crate) fn lacks_rights(fault: &Fault) -> bool {
    refuses_user(fault) || COMMANDS.contains(&fault.reason().class)
}

impl Refusals {
    /// A target cannot be used.
    pub(crate) fn failed(&self, name: &str, fault: &Fault) {
        let rests = refuses_user(fault).then(|| Instant::now() + AGAIN);
        lock(&self.down).insert(name.to_owned(), Down { reason: fault.reason().message.clone(), rests });
    }

    /// It can be used again, or is another one by that name.
    pub(crate) fn worked(&self, name: &str) {
        lock(&self.down).remove(name);
    }

    /// Why it cannot be used, if so.
    pub(crate) fn reason(&self, name: &str) -> Option<String> {
        lock(&self.down).get(name).map(|down| down.reason.clone())
    }

    /// Whether it refused the user a moment ago: no look is worth while.
    pub(crate) fn rests(&self, name: &str) -> bool {
        lock(&self.down).get(name).and_then(|down| down.rests).is_some_and(|until| Instant::now() < until)
    }

    /// Whether no queue of the target has met this for a while: the first one tells of it, for all.
    pub(crate) fn is_news(&self, name: &str, class: &'static str) -> bool {
        let now = Instant::now();
        let last = lock(&self.lacks).insert((name.to_owned(), class), now);
        last.is_none_or(|last| now.saturating_duration_since(last) > AGAIN * 6)
    }

    /// Somebody has done something about it: if it is met again, that is news.
    pub(crate) fn acted(&self, name: &str) {
        lock(&self.lacks).retain(|(target, _), _| target != name);
    }

    /// Waits until it is worth while to try again what lacked a right. While the server refuses the user, one look after
    /// another tries that for all queues.
    pub(crate) async fn mended(&self, name: &str) {
        tokio::time::sleep(AGAIN.mul_f64(1.0 + fastrand::f64() / 2.0)).await;
        while lock(&self.down).get(name).is_some_and(|down| down.rests.is_some()) {
            tokio::time::sleep(AGAIN / 20).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_news_once_for_all_queues_of_a_target_until_somebody_acts() {
        let refusals = Refusals::default();
        assert!(refusals.is_news("a", "noperm"));
        assert!(!refusals.is_news("a", "noperm"));
        assert!(refusals.is_news("b", "noperm") && refusals.is_news("a", "wrongpass"));
        refusals.acted("a");
        assert!(refusals.is_news("a", "noperm") && !refusals.is_news("b", "noperm"));
    }

    #[test]
    fn a_target_that_refused_the_user_rests_and_one_that_is_merely_down_does_not() {
        let refusals = Refusals::default();
        refusals.failed("a", &Fault::retry("refused", "nobody listens"));
        assert_eq!((refusals.rests("a"), refusals.reason("a")), (false, Some("nobody listens".to_owned())));
        refusals.failed("a", &Fault::halt("wrongpass", "no"));
        assert!(refusals.rests("a"));
        refusals.worked("a");
        assert_eq!((refusals.rests("a"), refusals.reason("a")), (false, None));
    }
}
