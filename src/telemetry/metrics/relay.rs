//! What is told about the relay as a whole.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::catalogue::Catalogue;
use super::labels::WAKEUPS;
use super::{Metrics, counted, value};

/// Around the default of `relay.batch_bytes`.
const BYTES_BUCKETS: [f64; 7] = [1024.0, 8192.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
/// From a plan that finds one row to a server that stalls.
const DURATION_BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Around the default of `relay.batch_size`.
const BATCH_BUCKETS: [f64; 10] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 10000.0];

pub(super) struct RelaySeries {
    build: GaugeVec,
    start: GaugeVec,
    postgres_up: GaugeVec,
    notifications: IntCounterVec,
    wakeups: IntCounterVec,
    doorbell: GaugeVec,
    reload_successful: GaugeVec,
    reload_time: GaugeVec,
    batch: HistogramVec,
    batch_bytes: HistogramVec,
    plan: HistogramVec,
    publish: HistogramVec,
    heartbeat: GaugeVec,
    read: GaugeVec,
    log_bytes: GaugeVec,
    emptied: IntCounterVec,
    trimmed: IntCounterVec,
    segments: GaugeVec,
    notify_queue: GaugeVec,
    receipts: IntCounterVec,
}

impl RelaySeries {
    pub(super) fn new(all: &mut Catalogue) -> prometheus::Result<Self> {
        Ok(Self {
            build: all.gauge(
                "outboxd_build_info",
                &["version", "revision"],
                "Always 1; the labels tell what is running.",
            )?,
            start: all.gauge("outboxd_start_time_seconds", &[], "When the relay started, in seconds since 1970.")?,
            postgres_up: all.gauge("outboxd_postgres_up", &[], "1 while PostgreSQL answers, else 0.")?,
            notifications: all.counter(
                "outboxd_notifications_total",
                &[],
                "Rings of the doorbell that reached this relay.",
            )?,
            wakeups: all.counter(
                "outboxd_wakeups_total",
                &["cause"],
                "Times that a sleeping relay woke up, by cause.",
            )?,
            doorbell: all.gauge("outboxd_doorbell_armed", &[], "1 while commits ring for this relay, else 0.")?,
            reload_successful: all.gauge(
                "outboxd_config_last_reload_successful",
                &[],
                "1 if the last reading of the configuration succeeded, else 0.",
            )?,
            reload_time: all.gauge(
                "outboxd_config_last_reload_timestamp_seconds",
                &[],
                "When the configuration in force was read, in seconds since 1970.",
            )?,
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
            heartbeat: all.gauge(
                "outboxd_heartbeat_timestamp_seconds",
                &[],
                "When the relay's loop last went round, in seconds since 1970.",
            )?,
            read: all.gauge(
                "outboxd_database_read_timestamp_seconds",
                &[],
                "When the numbers of the database were last read, or the relay started, in seconds since 1970.",
            )?,
            log_bytes: all.gauge(
                "outboxd_log_bytes",
                &[],
                "Bytes of the log's segments on disk, with their indexes.",
            )?,
            emptied: all.counter(
                "outboxd_segments_emptied_total",
                &[],
                "Segments of the log that this relay emptied.",
            )?,
            trimmed: all.counter(
                "outboxd_trimmed_rows_total",
                &[],
                "Rows of the ledger and the tables beside the log that nobody needed any more and this relay deleted.",
            )?,
            segments: all.gauge("outboxd_segments_in_use", &[], "Segments of the log that hold rows, of 8.")?,
            receipts: all.counter(
                "outboxd_receipts_total",
                &["target"],
                "Receipts of workers that were read from a Redis target.",
            )?,
            notify_queue: all.gauge(
                "outboxd_notify_queue_usage_ratio",
                &[],
                "Share of PostgreSQL's NOTIFY queue that is in use, 0 to 1; commits that notify fail when it is full.",
            )?,
        })
    }

    /// Sets what is true from the start. Counters without labels appear with 0.
    pub(super) fn started(&self) {
        let revision = option_env!("OUTBOXD_REVISION").unwrap_or("unknown");
        self.build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1.0);
        set(&self.start, now());
        set(&self.postgres_up, 0.0);
        set(&self.doorbell, 0.0);
        set(&self.reload_successful, 1.0);
        set(&self.reload_time, now());
        set(&self.heartbeat, now());
        set(&self.read, now());
        for counter in [&self.notifications, &self.emptied, &self.trimmed] {
            counter.with_label_values(NONE);
        }
        for histogram in [&self.batch, &self.batch_bytes, &self.plan, &self.publish] {
            histogram.with_label_values(NONE);
        }
        for cause in WAKEUPS {
            self.wakeups.with_label_values(&[cause]);
        }
    }

    /// What was read from the database is no longer known.
    pub(super) fn withdraw(&self) {
        for gauge in [&self.segments, &self.log_bytes, &self.notify_queue] {
            gauge.reset();
        }
    }
}

impl Metrics {
    /// Whether Postgres answers.
    pub fn postgres_up(&self, up: bool) {
        set(&self.relay.postgres_up, f64::from(u8::from(up)));
    }

    /// Workers' receipts were stored.
    pub fn receipts(&self, target: &str, receipts: usize) {
        self.relay.receipts.with_label_values(&[target]).inc_by(u64::try_from(receipts).unwrap_or(u64::MAX));
    }

    /// The doorbell rang here.
    pub fn notified(&self) {
        self.relay.notifications.with_label_values(NONE).inc();
    }

    /// The relay woke up, and why.
    pub fn woke(&self, cause: &str) {
        self.relay.wakeups.with_label_values(&[cause]).inc();
    }

    /// A batch was planned.
    pub fn batch_rows(&self, rows: usize) {
        self.relay.batch.with_label_values(NONE).observe(count(rows));
    }

    /// How many bytes a published batch had, and how long Redis took.
    pub fn batch_published(&self, bytes: usize, took: Duration) {
        self.relay.batch_bytes.with_label_values(NONE).observe(count(bytes));
        self.relay.publish.with_label_values(NONE).observe(took.as_secs_f64());
    }

    /// How long PostgreSQL took to plan, whether or not there was something.
    pub fn planned(&self, took: Duration) {
        self.relay.plan.with_label_values(NONE).observe(took.as_secs_f64());
    }

    /// The relay's loop went round.
    pub fn beat(&self) {
        set(&self.relay.heartbeat, now());
    }

    /// The numbers of the database were read.
    pub fn database_read(&self) {
        set(&self.relay.read, now());
    }

    /// The database has not answered for so long that its numbers are no longer true: their series disappear, until they
    /// are told again.
    pub fn database_silent(&self) {
        self.queues.withdraw();
        self.consumption.withdraw();
        self.relay.withdraw();
    }

    /// How large the log is on disk.
    pub fn log_bytes(&self, bytes: i64) {
        set(&self.relay.log_bytes, counted(bytes));
    }

    /// A segment was emptied.
    pub fn segment_emptied(&self) {
        self.relay.emptied.with_label_values(NONE).inc();
    }

    /// What nobody needs any more was deleted.
    pub fn trimmed(&self, rows: i64) {
        self.relay.trimmed.with_label_values(NONE).inc_by(rows.max(0).unsigned_abs());
    }

    /// Whether commits ring for this relay.
    pub fn doorbell_armed(&self, armed: bool) {
        set(&self.relay.doorbell, f64::from(u8::from(armed)));
    }

    /// The configuration was read again, with success or not. The time moves on success only.
    pub fn config_reloaded(&self, successful: bool) {
        set(&self.relay.reload_successful, f64::from(u8::from(successful)));
        if successful {
            set(&self.relay.reload_time, now());
        }
    }

    /// How many segments hold rows.
    pub fn segments_in_use(&self, segments: usize) {
        set(&self.relay.segments, count(segments));
    }

    /// How full the NOTIFY queue is, 0 to 1.
    pub fn notify_queue_usage(&self, ratio: f64) {
        set(&self.relay.notify_queue, ratio);
    }
}

/// The labels of a metric that has none.
pub(super) const NONE: &[&str] = &[];

pub(super) fn set(gauge: &GaugeVec, value: f64) {
    gauge.with_label_values(NONE).set(value);
}

pub(super) fn count(count: usize) -> f64 {
    value(u64::try_from(count).unwrap_or(u64::MAX))
}

pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
