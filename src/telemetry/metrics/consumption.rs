//! What is told about consumption and losses, by queue.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{HistogramVec, IntCounterVec};

use super::Metrics;
use super::catalogue::{Catalogue, Fold, QueueGauge};
use super::labels::{CONFIRMS, SCHEDULED};

pub(super) struct ConsumptionSeries {
    scheduled: IntCounterVec,
    duplicates: IntCounterVec,
    outstanding: QueueGauge,
    open_incidents: QueueGauge,
    last_incident: QueueGauge,
    confirmed_age: QueueGauge,
    confirms: IntCounterVec,
    recovery: HistogramVec,
}

impl ConsumptionSeries {
    pub(super) fn new(all: &mut Catalogue) -> prometheus::Result<Self> {
        Ok(Self {
            scheduled: all.counter(
                "outboxd_scheduled_again_total",
                &["queue", "cause"],
                "Rows that were scheduled again at the end of the ledger, by cause.",
            )?,
            duplicates: all.counter(
                "outboxd_duplicates_possible_total",
                &["queue"],
                "Rows that may be consumed twice, because they were sent again after a loss.",
            )?,
            outstanding: all.queue_gauge(
                "outboxd_outstanding_rows",
                Fold::Sum,
                "Rows at or below the last confirmed batch that are not consumed; 0 where consumption is not tracked.",
            )?,
            open_incidents: all.queue_gauge(
                "outboxd_incidents_open",
                Fold::Sum,
                "Incidents of which something is still to be sent again.",
            )?,
            last_incident: all.queue_gauge(
                "outboxd_last_incident_timestamp_seconds",
                Fold::Max,
                "When a loss was last noticed, in seconds since 1970.",
            )?,
            confirmed_age: all.queue_gauge(
                "outboxd_confirmed_age_seconds",
                Fold::Max,
                "Seconds since consumption was last confirmed while something waits to be; 0 otherwise.",
            )?,
            confirms: all.counter(
                "outboxd_confirms_total",
                &["queue", "result"],
                "Looks at what was consumed, by result: confirmed, unchanged, too_many, unknown, refused, failed.",
            )?,
            recovery: all.histogram(
                "outboxd_recovery_seconds",
                &["queue"],
                &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0],
                "Seconds from the notice of a loss until everything had been sent again.",
            )?,
        })
    }

    pub(super) fn gauges(&self) -> [&QueueGauge; 4] {
        [&self.outstanding, &self.open_incidents, &self.last_incident, &self.confirmed_age]
    }

    /// The counters of a queue appear with 0.
    pub(super) fn add(&self, label: &str) {
        self.duplicates.with_label_values(&[label]);
        for cause in SCHEDULED {
            self.scheduled.with_label_values(&[label, cause]);
        }
        for result in CONFIRMS {
            self.confirms.with_label_values(&[label, result]);
        }
    }

    /// Rows may be scheduled again for that cause soon.
    pub(super) fn expect(&self, label: &str, cause: &str) {
        self.scheduled.with_label_values(&[label, cause]);
    }

    /// All that comes from the database.
    pub(super) fn withdraw(&self) {
        self.gauges().iter().for_each(|gauge| gauge.withdraw());
    }
}

impl Metrics {
    /// Rows were scheduled again.
    pub fn scheduled_again(&self, queue: &str, cause: &str, rows: u64) {
        self.consumption.scheduled.with_label_values(&[self.names.label(queue), cause]).inc_by(rows);
    }

    /// Rows that may be consumed twice were written down with a loss.
    pub fn duplicates_possible(&self, queue: &str, rows: u64) {
        self.consumption.duplicates.with_label_values(&[self.names.label(queue)]).inc_by(rows);
    }

    /// When a loss was noticed last; `None`: nobody knows of any.
    pub fn last_incident(&self, queue: &str, at: Option<Timestamp>) {
        let label = self.names.label(queue);
        match at {
            Some(at) => self.consumption.last_incident.set(queue, label, at.as_duration().as_secs_f64()),
            None => self.consumption.last_incident.unset(queue, label),
        }
    }

    /// What a look at consumption came to.
    pub fn confirm(&self, queue: &str, result: &str) {
        self.consumption.confirms.with_label_values(&[self.names.label(queue), result]).inc();
    }

    /// What is known of consumption and of losses.
    pub fn consumption(&self, queue: &str, outstanding: u32, open_incidents: u32, confirmed_age: Duration) {
        self.consumption.outstanding.set(queue, self.names.label(queue), f64::from(outstanding));
        self.consumption.open_incidents.set(queue, self.names.label(queue), f64::from(open_incidents));
        self.consumption.confirmed_age.set(queue, self.names.label(queue), confirmed_age.as_secs_f64());
    }

    /// An incident is over.
    pub fn recovered(&self, queue: &str, took: Duration) {
        self.consumption.recovery.with_label_values(&[self.names.label(queue)]).observe(took.as_secs_f64());
    }
}
