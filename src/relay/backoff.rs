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
}
