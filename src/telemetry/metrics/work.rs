//! What is told about batches: how large they are and how long they take.

use std::time::Duration;

use prometheus::HistogramVec;

use super::Metrics;
use super::catalogue::Catalogue;
use super::relay::{NONE, count};

/// Around the default of `relay.batch_bytes`.
const BYTES_BUCKETS: [f64; 7] = [1024.0, 8192.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
/// From a plan that finds one row to a server that stalls.
const DURATION_BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Around the default of `relay.batch_size`.
const BATCH_BUCKETS: [f64; 10] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 10000.0];

pub(super) struct WorkSeries {
    batch: HistogramVec,
    batch_bytes: HistogramVec,
    plan: HistogramVec,
    publish: HistogramVec,
}

impl WorkSeries {
    pub(super) fn new(all: &mut Catalogue) -> prometheus::Result<Self> {
        Ok(Self {
            batch: all.histogram("outboxd_batch_rows", &[], &BATCH_BUCKETS, "Rows per planned batch.")?,
            batch_bytes: all.histogram(
                "outboxd_batch_bytes",
                &[],
                &BYTES_BUCKETS,
                "Bytes of messages per published batch.",
            )?,
            plan: all.histogram(
                "outboxd_plan_duration_seconds",
                &[],
                &DURATION_BUCKETS,
                "Seconds that PostgreSQL took to plan a batch, or to say that there is none.",
            )?,
            publish: all.histogram(
                "outboxd_publish_duration_seconds",
                &[],
                &DURATION_BUCKETS,
                "Seconds from sending a batch to Redis' answer.",
            )?,
        })
    }

    /// They appear with 0.
    pub(super) fn started(&self) {
        for histogram in [&self.batch, &self.batch_bytes, &self.plan, &self.publish] {
            histogram.with_label_values(NONE);
        }
    }
}

impl Metrics {
    /// A batch was planned.
    pub fn batch_rows(&self, rows: usize) {
        self.work.batch.with_label_values(NONE).observe(count(rows));
    }

    /// How many bytes a published batch had, and how long Redis took.
    pub fn batch_published(&self, bytes: usize, took: Duration) {
        self.work.batch_bytes.with_label_values(NONE).observe(count(bytes));
        self.work.publish.with_label_values(NONE).observe(took.as_secs_f64());
    }

    /// How long PostgreSQL took to plan, whether or not there was something.
    pub fn planned(&self, took: Duration) {
        self.work.plan.with_label_values(NONE).observe(took.as_secs_f64());
    }
}
