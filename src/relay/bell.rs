//! The wake loop's memory and its decisions. Pure: times come in, the next step comes out.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use crate::config::RelaySettings;
use crate::pg::{Ask, Work};

/// How long a look may be put off while somebody may have inserted a row without ringing.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often to look at rows that another relay should have taken.
const WATCH: Duration = Duration::from_millis(500);
/// Above this the notification queue is too full to add to it: rows wait for the poll.
const NOTIFY_LIMIT: f64 = 0.5;

/// What the wake loop does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask at once.
    Look,
    /// Ask who may have inserted while the bell said "awake".
    AskWhoWaits,
    /// Wait for a ring, or until then.
    Sleep {
        /// When to look at the latest.
        until: Instant,
        /// Whether commits ring.
        asleep: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Polls; commits are silent.
    Awake,
    /// The next question sets the bell.
    Arming,
    /// The bell is set; who could have missed it is still there, or not yet asked for.
    Armed,
    /// Nobody is left who could have missed it: one more look.
    Checking,
    /// Commits ring.
    Asleep,
}

/// What there was to do at the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about different queues, not a state in disguise")]
pub(super) struct Seen {
    /// Something that this relay does now.
    pub(super) busy: bool,
    /// Among it a queue in the middle of a backlog: it needs no hints, and looking for it would cost more than it does.
    pub(super) streaming: bool,
    /// Among it a queue that plans by itself every few milliseconds: only the others are looked for.
    pub(super) paced: bool,
    /// Rows that another relay should take.
    pub(super) foreign: bool,
    /// When the next held row is due.
    pub(super) due: Option<Instant>,
}

/// The state of one LISTEN session, or of polling without one.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one session, not a state in disguise")]
pub(super) struct Bell {
    allowed: bool,
    keeper: bool,
    armed: bool,
    quiet: bool,
    phase: Phase,
    announced: bool,
    rose: bool,
    seen: Seen,
    clear: bool,
    last_busy: Instant,
    last_rows: Option<Instant>,
    last_discover: Option<Instant>,
    last_keep: Option<Instant>,
    last_renewal: Instant,
    pace: Backoff,
    /// For the looks at the other queues while one goes on by itself.
    beside: Backoff,
    /// The same while one plans every few milliseconds.
    aside: Backoff,
    patience: Backoff,
}

impl Bell {
    /// A session begins, awake. `listening`: notifications arrive on it; `allowed`: the bell may be used.
    pub(super) fn new(listening: bool, allowed: bool, now: Instant) -> Self {
        Self {
            allowed: allowed && listening,
            keeper: false,
            armed: false,
            quiet: true,
            phase: Phase::Awake,
            announced: false,
            rose: false,
            seen: Seen::default(),
            clear: true,
            last_busy: now,
            last_rows: None,
            last_discover: None,
            last_keep: None,
            last_renewal: now,
            pace: Backoff::new(Duration::from_millis(2), Duration::from_millis(10)),
            beside: Backoff::new(Duration::from_millis(10), Duration::from_millis(25)),
            aside: Backoff::new(Duration::from_millis(5), Duration::from_millis(8)),
            patience: Backoff::new(Duration::from_millis(5), PATIENCE),
        }
    }

    /// For how long commits ring if nobody renews it: a relay that dies asleep must not make them ring for ever.
    fn deadline(settings: &RelaySettings) -> Duration {
        settings.idle_look.get() * 3 + Duration::from_secs(5)
    }

    /// What to ask now.
    pub(super) fn ask(&mut self, settings: &RelaySettings, now: Instant) -> Ask {
        let since = |last: Option<Instant>| last.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let second = Duration::from_secs(1);
        // Stopped for so long that commits may have been silent meanwhile: begin again. Half the time, because the
        // deadline is counted in whole seconds of another clock, from before its answer arrived.
        if self.keeper && self.phase != Phase::Awake && since(Some(self.last_renewal)) >= Self::deadline(settings) / 2 {
            self.wake(now);
        }
        let rows = self.phase != Phase::Asleep
            || since(self.last_rows) >= settings.poll_interval.get()
            || (self.seen.foreign && since(self.last_rows) >= WATCH);
        let discover = rows && (!self.seen.busy || since(self.last_discover) >= second);
        let keep = self.allowed && !self.keeper && since(self.last_keep) >= second;
        let bell = if !self.keeper {
            None
        } else if self.clear {
            Some(0)
        } else if self.phase == Phase::Awake {
            None
        } else {
            i64::try_from(Self::deadline(settings).as_secs()).ok()
        };
        if rows {
            self.last_rows = Some(now);
        }
        if discover {
            self.last_discover = Some(now);
        }
        if keep {
            self.last_keep = Some(now);
        }
        Ask { rows, discover, keep, bell }
    }

    /// What came back. Whether commits ring now, as far as this relay knows.
    pub(super) fn answered(&mut self, ask: Ask, work: &Work, seen: Seen, now: Instant) -> bool {
        if ask.bell.is_some() {
            self.clear = false;
            self.last_renewal = now;
        }
        if work.keeper && !self.keeper {
            self.keeper = true;
            // Whoever kept the bell before may have left it in any state.
            self.wake(now);
        }
        self.armed = work.armed;
        self.quiet = work.notify_usage < NOTIFY_LIMIT;
        self.seen = seen;
        if seen.busy {
            self.last_busy = now;
            self.pace.reset();
            if self.phase != Phase::Awake {
                self.wake(now);
            }
        } else {
            match self.phase {
                Phase::Arming => self.phase = Phase::Armed,
                Phase::Checking => self.phase = Phase::Asleep,
                Phase::Asleep if !self.keeper && !work.armed => self.wake(now),
                // The bell must not fill the notification queue: commits would fail. Awake, nobody rings.
                Phase::Asleep | Phase::Armed if self.keeper && !self.quiet => self.wake(now),
                _ => {}
            }
        }
        self.armed
    }

    /// What to do next.
    pub(super) fn next(&mut self, settings: &RelaySettings, now: Instant) -> Next {
        let until = |pause: Duration| {
            let until = now + pause;
            Next::Sleep { until: self.seen.due.map_or(until, |due| due.clamp(now, until)), asleep: false }
        };
        match self.phase {
            Phase::Awake if self.clear && self.keeper => Next::Look,
            Phase::Awake if self.seen.streaming => until(self.beside.step()),
            Phase::Awake if self.seen.paced => until(self.aside.step()),
            Phase::Awake if now.saturating_duration_since(self.last_busy) < settings.linger.get() => {
                until(self.pace.step())
            }
            Phase::Awake if !self.allowed || !self.quiet => {
                let poll = settings.poll_interval.get();
                until(if self.seen.foreign { poll.min(WATCH) } else { poll })
            }
            Phase::Awake if self.keeper => {
                self.phase = Phase::Arming;
                self.patience.reset();
                Next::Look
            }
            Phase::Awake if self.armed => {
                self.phase = Phase::Asleep;
                self.sleep(settings, now)
            }
            // Somebody else keeps the bell, and is awake.
            Phase::Awake => until(self.patience.step().min(Duration::from_millis(20))),
            Phase::Arming | Phase::Checking => Next::Look,
            Phase::Armed => Next::AskWhoWaits,
            Phase::Asleep => self.sleep(settings, now),
        }
    }

    fn sleep(&self, settings: &RelaySettings, now: Instant) -> Next {
        let poll = self.last_rows.map_or(now, |at| at + settings.poll_interval.get());
        let mut until = (now + settings.idle_look.get()).min(poll);
        if self.seen.foreign {
            until = until.min(now + WATCH);
        }
        if let Some(due) = self.seen.due {
            until = until.min(due);
        }
        Next::Sleep { until: until.max(now), asleep: true }
    }

    /// Whether somebody is left who may have inserted while the bell said "awake". How long to wait before asking again.
    pub(super) fn waits(&mut self, waits: bool) -> Option<Duration> {
        if waits {
            return Some(self.patience.step());
        }
        self.phase = Phase::Checking;
        None
    }

    /// Whether it is news that the relay sleeps.
    pub(super) fn fell_asleep(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }

    /// Whether it is news that the relay sleeps no more.
    pub(super) fn rose(&mut self) -> bool {
        std::mem::take(&mut self.rose)
    }

    /// The sleep is over; `rung`: by a notification or a kick.
    pub(super) fn woke(&mut self, rung: bool, now: Instant) {
        if rung {
            self.wake(now);
        }
    }

    fn wake(&mut self, now: Instant) {
        self.phase = Phase::Awake;
        self.clear = true;
        self.rose |= std::mem::take(&mut self.announced);
        self.last_busy = now;
        self.pace.reset();
        self.patience.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RelaySettings {
        RelaySettings::default()
    }

    fn quiet(keeper: bool, armed: bool) -> Work {
        Work { keeper, armed, ..Work::default() }
    }

    /// Lets a fresh keeper fall asleep, as the wake loop does, and tells what it asked on the way.
    fn fall_asleep(bell: &mut Bell, now: &mut Instant) -> Vec<Option<i64>> {
        let mut bells = Vec::new();
        for _ in 0..200 {
            let ask = bell.ask(&settings(), *now);
            bells.push(ask.bell);
            bell.answered(ask, &quiet(ask.keep, ask.bell.is_some_and(|bell| bell > 0)), Seen::default(), *now);
            match bell.next(&settings(), *now) {
                Next::Look => {}
                Next::AskWhoWaits => assert_eq!(bell.waits(false), None),
                Next::Sleep { asleep: true, .. } => return bells,
                Next::Sleep { until, asleep: false } => *now = until,
            }
        }
        panic!("never fell asleep");
    }

    #[test]
    fn a_keeper_clears_the_bell_first_and_sets_it_before_it_sleeps() {
        let mut now = Instant::now();
        let mut bell = Bell::new(true, true, now);
        let bells: Vec<_> = fall_asleep(&mut bell, &mut now).into_iter().flatten().collect();
        assert_eq!(bells.first(), Some(&0));
        assert_eq!(bells.last(), Some(&8));
    }

    #[test]
    fn after_setting_the_bell_there_is_one_more_look() {
        let mut now = Instant::now();
        let mut bell = Bell::new(true, true, now);
        fall_asleep(&mut bell, &mut now);
        bell.wake(now);
        now += Duration::from_secs(1);
        let mut steps = Vec::new();
        loop {
            let ask = bell.ask(&settings(), now);
            bell.answered(ask, &quiet(false, true), Seen::default(), now);
            let next = bell.next(&settings(), now);
            if let Next::AskWhoWaits = next {
                assert!(bell.waits(true).is_some(), "somebody is still there");
                assert_eq!(bell.next(&settings(), now), Next::AskWhoWaits);
                bell.waits(false);
                steps.push("waits");
            }
            if let Next::Sleep { asleep: true, .. } = next {
                break;
            }
            steps.push(if ask.rows { "look" } else { "no look" });
        }
        let last_waits = steps.iter().rposition(|step| *step == "waits").expect("asked");
        assert!(steps[last_waits + 1..].contains(&"look"), "{steps:?}");
    }

    #[test]
    fn a_relay_that_was_stopped_past_its_deadline_begins_again() {
        let mut now = Instant::now();
        let mut bell = Bell::new(true, true, now);
        fall_asleep(&mut bell, &mut now);
        now += Duration::from_secs(60);
        let ask = bell.ask(&settings(), now);
        assert!(ask.rows && ask.bell == Some(0));
    }

    #[test]
    fn a_keeper_that_was_stopped_for_nearly_its_deadline_begins_again_too() {
        let mut now = Instant::now();
        let mut bell = Bell::new(true, true, now);
        fall_asleep(&mut bell, &mut now);
        now += Bell::deadline(&settings()).mul_f64(0.9);
        let ask = bell.ask(&settings(), now);
        assert!(ask.rows && ask.bell == Some(0));
    }

    #[test]
    fn a_full_notification_queue_is_not_added_to() {
        let mut now = Instant::now();
        let mut bell = Bell::new(true, true, now);
        fall_asleep(&mut bell, &mut now);
        now += Duration::from_secs(1);
        let crowded = Work { notify_usage: 0.6, ..quiet(false, true) };
        let ask = bell.ask(&settings(), now);
        assert_eq!(ask.bell, Some(8), "asleep, it renews the deadline");
        bell.answered(ask, &crowded, Seen::default(), now);
        assert_eq!(bell.next(&settings(), now), Next::Look);
        for _ in 0..100 {
            let ask = bell.ask(&settings(), now);
            assert!(ask.bell.is_none_or(|bell| bell == 0), "{ask:?}");
            bell.answered(ask, &crowded, Seen::default(), now);
            if let Next::Sleep { until, asleep } = bell.next(&settings(), now) {
                assert!(!asleep);
                now = until.max(now + Duration::from_millis(1));
            }
        }
    }

    #[test]
    fn beside_a_queue_that_plans_by_itself_the_others_are_looked_for_and_nobody_is_asked_to_ring() {
        let mut now = Instant::now();
        let mut bell = Bell::new(true, true, now);
        for _ in 0..200 {
            let ask = bell.ask(&settings(), now);
            assert!(ask.rows && ask.bell.is_none_or(|bell| bell == 0), "{ask:?}");
            let seen = Seen { busy: true, paced: true, ..Seen::default() };
            bell.answered(ask, &quiet(ask.keep, false), seen, now);
            if let Next::Sleep { until, asleep } = bell.next(&settings(), now) {
                assert!(!asleep && until <= now + Duration::from_millis(8));
                now = until;
            }
        }
    }

    #[test]
    fn a_sleeper_looks_for_rows_only_at_the_fallback_poll() {
        let mut now = Instant::now();
        let mut bell = Bell::new(true, true, now);
        fall_asleep(&mut bell, &mut now);
        let mut slow = settings();
        slow.poll_interval = "1h".parse().expect("an hour");
        now += Duration::from_secs(1);
        assert!(!bell.ask(&slow, now).rows);
    }
}
