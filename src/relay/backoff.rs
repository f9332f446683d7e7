//! Waiting between attempts: exponential with full jitter, between two bounds.

use std::time::Duration;

/// Doubles from `min` to `max`; each wait is drawn between half the step and the step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `min`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Self { min, max: max.max(min), next: min }
    }

    /// Other bounds from now on.
    pub(crate) fn within(&mut self, min: Duration, max: Duration) -> &mut Self {
        let next = self.next;
        *self = Self::new(min, max);
        self.next = if next < self.min { self.min } else { next.min(self.max) };
        self
    }

    /// How long to wait now.
    pub(crate) fn step(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_upper_bound_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        for step in [10, 20, 35, 35] {
            let wait = backoff.step();
            assert!(wait <= Duration::from_millis(step) && wait >= Duration::from_millis(step) / 2);
        }
        backoff.reset();
        assert!(backoff.step() <= Duration::from_millis(10));
    }

    #[test]
    fn other_bounds_count_from_the_next_wait_on() {
        let mut backoff = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
        assert!(backoff.step() >= Duration::from_secs(1800));
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(20));
        assert!(backoff.within(min, max).step() <= max);
        backoff.reset();
        assert!(backoff.within(max, max).step() >= min);
    }
}
