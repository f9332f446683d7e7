//! What is told about the relay as a whole.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::catalogue::Catalogue;
use super::{Metrics, value};

/// Around the default of `relay.batch_size`.
const BATCH_BUCKETS: [f64; 10] = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 10000.0];

pub(super) struct RelaySeries {
    build: GaugeVec,
    start: GaugeVec,
    postgres_up: GaugeVec,
    redis_up: GaugeVec,
    statements: IntCounterVec,
    notifications: IntCounterVec,
    wakeups: IntCounterVec,
    doorbell: GaugeVec,
    reload_successful: GaugeVec,
    reload_time: GaugeVec,
    batch: HistogramVec,
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
            redis_up: all.gauge("outboxd_redis_up", &["target"], "1 while the Redis target answers, else 0.")?,
            statements: all.counter(
                "outboxd_statements_total",
                &["statement"],
                "Statements sent to PostgreSQL, by the name of their query.",
            )?,
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
        set(&self.segments, 0.0);
        set(&self.notify_queue, 0.0);
        self.notifications.with_label_values(NONE);
        self.batch.with_label_values(NONE);
    }
}

impl Metrics {
    /// Whether Postgres answers.
    pub fn postgres_up(&self, up: bool) {
        set(&self.relay.postgres_up, f64::from(u8::from(up)));
    }

    /// Whether a Redis target answers; `target` is its name in the configuration.
    pub fn redis_up(&self, target: &str, up: bool) {
        self.relay.redis_up.with_label_values(&[target]).set(f64::from(u8::from(up)));
    }

    /// Workers' receipts were stored.
    pub fn receipts(&self, target: &str, receipts: usize) {
        self.relay.receipts.with_label_values(&[target]).inc_by(u64::try_from(receipts).unwrap_or(u64::MAX));
    }

    /// A statement was sent, by the name of its query.
    pub fn statement(&self, name: &'static str) {
        self.relay.statements.with_label_values(&[name]).inc();
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
const NONE: &[&str] = &[];

fn set(gauge: &GaugeVec, value: f64) {
    gauge.with_label_values(NONE).set(value);
}

fn count(count: usize) -> f64 {
    value(u64::try_from(count).unwrap_or(u64::MAX))
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
