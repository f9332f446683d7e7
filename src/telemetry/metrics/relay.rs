//! What is told about the relay as a whole.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, IntCounterVec};

use super::catalogue::Catalogue;
use super::labels::WAKEUPS;
use super::{Metrics, value};

pub(super) struct RelaySeries {
    build: GaugeVec,
    start: GaugeVec,
    postgres_up: GaugeVec,
    notifications: IntCounterVec,
    wakeups: IntCounterVec,
    doorbell: GaugeVec,
    reload_successful: GaugeVec,
    reload_time: GaugeVec,
    heartbeat: GaugeVec,
    receipts: IntCounterVec,
    given_up: IntCounterVec,
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
            heartbeat: all.gauge(
                "outboxd_heartbeat_timestamp_seconds",
                &[],
                "When the relay's loop last went round, in seconds since 1970.",
            )?,
            receipts: all.counter(
                "outboxd_receipts_total",
                &["target"],
                "Receipts of workers that were read from a Redis target.",
            )?,
            given_up: all.counter(
                "outboxd_given_up_total",
                &["target"],
                "Tasks that went to the dead rows because a worker's receipt said that it gave up.",
            )?,
        })
    }

    /// Counters of a Redis target appear with 0.
    pub(super) fn add_target(&self, target: &str) {
        for counter in [&self.receipts, &self.given_up] {
            counter.with_label_values(&[target]);
        }
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
        self.notifications.with_label_values(NONE);
        for cause in WAKEUPS {
            self.wakeups.with_label_values(&[cause]);
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

    /// Workers' receipts said that they gave tasks up, and the tasks are dead now.
    pub fn given_up(&self, target: &str, tasks: u64) {
        self.relay.given_up.with_label_values(&[target]).inc_by(tasks);
    }

    /// The doorbell rang here.
    pub fn notified(&self) {
        self.relay.notifications.with_label_values(NONE).inc();
    }

    /// The relay woke up, and why.
    pub fn woke(&self, cause: &str) {
        self.relay.wakeups.with_label_values(&[cause]).inc();
    }

    /// The relay's loop went round.
    pub fn beat(&self) {
        set(&self.relay.heartbeat, now());
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
