//! Metrics, by typed methods: names, labels and units are decided here and nowhere else. Own registry, no globals.
//!
//! Labels come from closed sets, queue names excepted: 200 of them have series of their own, the others share `_other`.

mod catalogue;
mod consumption;
pub mod labels;
mod log;
mod queue;
mod relay;
mod servers;
mod work;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};

use catalogue::{Catalogue, QueueNames};
use consumption::ConsumptionSeries;
use log::LogSeries;
use queue::QueueSeries;
use relay::RelaySeries;
use servers::ServerSeries;
use work::WorkSeries;

pub use catalogue::Described;
pub use queue::QueueState;

/// Queues with series of their own.
const QUEUE_CAP: usize = 200;

/// Everything that is counted and measured.
pub struct Metrics {
    catalogue: Catalogue,
    names: QueueNames,
    queues: QueueSeries,
    consumption: ConsumptionSeries,
    relay: RelaySeries,
    servers: ServerSeries,
    log: LogSeries,
    work: WorkSeries,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero, with the start time set.
    pub fn new() -> Self {
        // Only two metrics with one name can fail, and that would show in every test.
        Self::build().unwrap_or_else(|error| unreachable!("a metric cannot be registered: {error}"))
    }

    fn build() -> prometheus::Result<Self> {
        let mut catalogue = Catalogue::default();
        let queues = QueueSeries::new(&mut catalogue)?;
        let consumption = ConsumptionSeries::new(&mut catalogue)?;
        let relay = RelaySeries::new(&mut catalogue)?;
        let servers = ServerSeries::new(&mut catalogue)?;
        let log = LogSeries::new(&mut catalogue)?;
        let work = WorkSeries::new(&mut catalogue)?;
        catalogue.registry.register(Box::new(ProcessCollector::for_self()))?;
        let metrics =
            Self { catalogue, names: QueueNames::new(QUEUE_CAP), queues, consumption, relay, servers, log, work };
        metrics.relay.started();
        metrics.servers.started();
        metrics.log.started();
        metrics.work.started();
        Ok(metrics)
    }

    /// The text format of Prometheus.
    pub fn render(&self) -> String {
        // Encoding fails only on a family without metrics, which gathering leaves out.
        TextEncoder::new().encode_to_string(&self.registry().gather()).unwrap_or_default()
    }

    /// Every metric of ours that exists, whether it has a value or not.
    pub fn described(&self) -> &[Described] {
        &self.catalogue.described
    }

    fn registry(&self) -> &Registry {
        &self.catalogue.registry
    }
}

/// A count as a gauge's value; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point, and counts stay far below 2^53")]
fn value(count: u64) -> f64 {
    count as f64
}

/// A count out of the database, which is never negative.
fn counted(count: i64) -> f64 {
    value(count.max(0).unsigned_abs())
}
