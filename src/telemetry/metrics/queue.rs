//! What is told by queue.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::catalogue::{Catalogue, Fold, OTHER, QueueGauge};
use super::labels::{FAILURES, INCIDENTS, REJECTS, TENURES};
use super::relay::now;
use super::{Metrics, counted, value};

/// From the commit-to-Redis aim of a few milliseconds to a backlog of minutes.
const LATENCY_BUCKETS: [f64; 18] =
    [0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// What a relay does about a queue at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    /// Nothing to do, or another relay's.
    Idle,
    /// Its marker and tenure are being settled.
    Opening,
    /// Rows are published as they come.
    Open,
    /// The window is full: Redis holds as many messages as it may.
    Full,
    /// A server is at fault; trying again with back-off.
    Waiting,
    /// Only an operator can mend it.
    Stopped,
    /// An operator paused it.
    Paused,
}

impl QueueState {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Idle, Self::Opening, Self::Open, Self::Full, Self::Waiting, Self::Stopped, Self::Paused];

    /// Its name in metrics and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Full => "full",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }
}

pub(super) struct QueueSeries {
    pending: QueueGauge,
    estimated: QueueGauge,
    oldest: QueueGauge,
    held: QueueGauge,
    dead: QueueGauge,
    depth: QueueGauge,
    depth_at: QueueGauge,
    paused: QueueGauge,
    state: GaugeVec,
    dispatched: IntCounterVec,
    bytes: IntCounterVec,
    expired: IntCounterVec,
    replayed: IntCounterVec,
    rejected: IntCounterVec,
    failures: IntCounterVec,
    tenures: IntCounterVec,
    incidents: IntCounterVec,
    latency: HistogramVec,
}

impl QueueSeries {
    pub(super) fn new(all: &mut Catalogue) -> prometheus::Result<Self> {
        let queue: &'static [&'static str] = &["queue"];
        let class: &'static [&'static str] = &["queue", "class"];
        let cause: &'static [&'static str] = &["queue", "cause"];
        Ok(Self {
            pending: all.queue_gauge("outboxd_pending_rows", Fold::Sum, "Rows that are committed and not yet dispatched.")?,
            estimated: all.queue_gauge(
                "outboxd_pending_rows_estimated",
                Fold::Max,
                "1 while outboxd_pending_rows is an estimate, because counting would cost too much; 0 while it is exact.",
            )?,
            oldest: all.queue_gauge(
                "outboxd_oldest_pending_age_seconds",
                Fold::Max,
                "Age in seconds of the oldest row that is not yet dispatched; 0 if there is none.",
            )?,
            held: all.queue_gauge("outboxd_held_rows", Fold::Sum, "Rows that wait for a time.")?,
            dead: all.queue_gauge("outboxd_dead_rows", Fold::Sum, "Rows that cannot be published, or whose worker gave up.")?,
            depth: all.queue_gauge("outboxd_queue_depth", Fold::Sum, "Messages that stand in Redis.")?,
            depth_at: all.queue_gauge(
                "outboxd_queue_depth_timestamp_seconds",
                Fold::Max,
                "When Redis last said how many messages stand there, in seconds since 1970.",
            )?,
            paused: all.queue_gauge("outboxd_queue_paused", Fold::Max, "1 while an operator has paused the queue, else 0.")?,
            state: all.gauge(
                "outboxd_queue_state",
                &["queue", "state"],
                "1 for the state that the queue is in at this relay, 0 for the others.",
            )?,
            dispatched: all.counter("outboxd_dispatched_total", queue, "Rows that this relay has published to Redis.")?,
            bytes: all.counter("outboxd_published_bytes_total", queue, "Bytes of messages that this relay has published.")?,
            expired: all.counter("outboxd_expired_total", queue, "Rows that were not published because their time had passed.")?,
            replayed: all.counter("outboxd_replayed_total", queue, "Rows that were sent again after a loss.")?,
            rejected: all.counter("outboxd_rejected_total", class, "Rows that cannot be published and went to the dead rows.")?,
            failures: all.counter("outboxd_failures_total", class, "Failed attempts to plan or publish, by class of fault.")?,
            tenures: all.counter("outboxd_tenures_opened_total", cause, "Times that the queue was opened, by cause.")?,
            incidents: all.counter("outboxd_incidents_total", cause, "Losses that were noticed, by cause.")?,
            latency: all.histogram(
                "outboxd_dispatch_latency_seconds",
                queue,
                &LATENCY_BUCKETS,
                "Seconds from the insertion of a row to Redis' reply, the wait for deliver_at excluded.",
            )?,
        })
    }

    fn gauges(&self) -> [&QueueGauge; 8] {
        let [pending, estimated, oldest, held, dead, paused] = self.of_database();
        [pending, estimated, oldest, held, dead, paused, &self.depth, &self.depth_at]
    }

    fn of_database(&self) -> [&QueueGauge; 6] {
        [&self.pending, &self.estimated, &self.oldest, &self.held, &self.dead, &self.paused]
    }

    /// All that comes from the database.
    pub(super) fn withdraw(&self) {
        self.of_database().iter().for_each(|gauge| gauge.withdraw());
    }
}

impl Metrics {
    /// A queue was found: its counters appear with 0, so that the first event shows as an increase. Together with its
    /// gauges these are [`SERIES_PER_QUEUE`](super::labels::SERIES_PER_QUEUE) at most.
    pub fn add_queue(&self, queue: &str) {
        let label = self.names.label(queue);
        let by_cause: [(&IntCounterVec, &[&str]); 4] = [
            (&self.queues.tenures, &TENURES),
            (&self.queues.incidents, &INCIDENTS),
            (&self.queues.rejected, &REJECTS),
            (&self.queues.failures, &FAILURES),
        ];
        for (counter, values) in by_cause {
            for value in values {
                counter.with_label_values(&[label, *value]);
            }
        }
        self.consumption.add(label);
        for counter in [&self.queues.dispatched, &self.queues.bytes, &self.queues.expired, &self.queues.replayed] {
            counter.with_label_values(&[label]);
        }
        self.queues.latency.with_label_values(&[label]);
    }

    /// A queue is gone: its series disappear, and make room for another's.
    pub fn remove_queue(&self, queue: &str) {
        self.queues.gauges().iter().for_each(|gauge| gauge.forget(queue));
        self.consumption.gauges().iter().for_each(|gauge| gauge.forget(queue));
        if self.names.remove(queue) {
            self.catalogue.forget(queue);
        }
    }

    /// A batch was published.
    pub fn published(&self, queue: &str, rows: u64, bytes: u64) {
        let label = [self.names.label(queue)];
        self.queues.dispatched.with_label_values(&label).inc_by(rows);
        self.queues.bytes.with_label_values(&label).inc_by(bytes);
    }

    /// How long one row took from its insertion to Redis' reply.
    pub fn dispatch_latency(&self, queue: &str, latency: Duration) {
        self.dispatch_latencies(queue, [latency]);
    }

    /// How long each row of a batch took from its insertion to Redis' reply.
    pub fn dispatch_latencies(&self, queue: &str, latencies: impl IntoIterator<Item = Duration>) {
        // Added up aside, and to the shared counters once per batch.
        let histogram = self.queues.latency.with_label_values(&[self.names.label(queue)]).local();
        latencies.into_iter().for_each(|latency| histogram.observe(latency.as_secs_f64()));
        histogram.flush();
    }

    /// Rows went to the dead rows.
    pub fn rejected(&self, queue: &str, class: &str, rows: u64) {
        self.queues.rejected.with_label_values(&[self.names.label(queue), class]).inc_by(rows);
    }

    /// Rows were left out because their time had passed.
    pub fn expired(&self, queue: &str, rows: u64) {
        self.queues.expired.with_label_values(&[self.names.label(queue)]).inc_by(rows);
    }

    /// An attempt failed.
    pub fn failed(&self, queue: &str, class: &str) {
        self.queues.failures.with_label_values(&[self.names.label(queue), class]).inc();
    }

    /// How many rows are not dispatched, whether that is an estimate, and the age of the oldest (zero if there is none).
    pub fn pending(&self, queue: &str, rows: i64, estimated: bool, oldest: Duration) {
        let label = self.names.label(queue);
        self.queues.pending.set(queue, label, counted(rows));
        self.queues.estimated.set(queue, label, f64::from(u8::from(estimated)));
        self.queues.oldest.set(queue, label, oldest.as_secs_f64());
    }

    /// How many rows wait for a time.
    pub fn held(&self, queue: &str, rows: i64) {
        self.queues.held.set(queue, self.names.label(queue), counted(rows));
    }

    /// How many rows are dead.
    pub fn dead(&self, queue: &str, rows: i64) {
        self.queues.dead.set(queue, self.names.label(queue), counted(rows));
    }

    /// How many messages stand in Redis, as it has just said.
    pub fn queue_depth(&self, queue: &str, messages: u64) {
        let label = self.names.label(queue);
        self.queues.depth.set(queue, label, value(messages));
        self.queues.depth_at.set(queue, label, now());
    }

    /// This relay does not know how many messages stand in Redis: it does not hold the queue, or Redis does not answer.
    pub fn queue_depth_unknown(&self, queue: &str) {
        let label = self.names.label(queue);
        self.queues.depth.unset(queue, label);
        self.queues.depth_at.unset(queue, label);
    }

    /// Whether an operator has paused the queue.
    pub fn paused(&self, queue: &str, paused: bool) {
        self.queues.paused.set(queue, self.names.label(queue), f64::from(u8::from(paused)));
    }

    /// The state that a queue is in. Queues above the cap have none: theirs could not be told apart.
    pub fn state(&self, queue: &str, state: QueueState) {
        let label = self.names.label(queue);
        if label == OTHER {
            return;
        }
        for each in QueueState::ALL {
            self.queues.state.with_label_values(&[label, each.name()]).set(f64::from(u8::from(each == state)));
        }
    }

    /// A queue was opened, and why.
    pub fn tenure_opened(&self, queue: &str, cause: &str) {
        self.queues.tenures.with_label_values(&[self.names.label(queue), cause]).inc();
    }

    /// Rows were sent again after a loss.
    pub fn replayed(&self, queue: &str, rows: u64) {
        self.queues.replayed.with_label_values(&[self.names.label(queue)]).inc_by(rows);
    }

    /// A loss was noticed.
    pub fn incident(&self, queue: &str, cause: &str) {
        let label = self.names.label(queue);
        self.queues.incidents.with_label_values(&[label, cause]).inc();
        if cause != "suspended" {
            self.consumption.expect(label, cause);
        }
    }
}
