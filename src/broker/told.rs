//! Tells the metrics of a target's connections and failures, if there are metrics.

use std::fmt;
use std::sync::Arc;

use crate::fault::Fault;
use crate::telemetry::Metrics;

/// Who is told, and under which name of the configuration.
#[derive(Clone, Default)]
pub(super) struct Told(Option<(Arc<str>, Arc<Metrics>)>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Told").field(&self.0.as_ref().map(|(name, _)| name)).finish()
    }
}

impl Told {
    pub(super) fn new(name: &str, metrics: Arc<Metrics>) -> Self {
        metrics.add_target(name);
        Self(Some((name.into(), metrics)))
    }

    /// A connection was made, or not.
    pub(super) fn connected<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        match (&self.0, &result) {
            (Some((name, metrics)), Ok(_)) => metrics.redis_connected(name),
            (_, Err(fault)) => self.failed(fault),
            (None, Ok(_)) => {}
        }
        result
    }

    /// A command failed, or the connection with it.
    pub(super) fn failed(&self, fault: &Fault) {
        if let Some((name, metrics)) = &self.0 {
            metrics.redis_failed(name, fault.reason().class);
        }
    }
}
