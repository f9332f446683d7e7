//! What is told about the log in the database, and whether the database is read at all.

use prometheus::{GaugeVec, IntCounterVec};

use super::catalogue::Catalogue;
use super::relay::{NONE, count, now, set};
use super::{Metrics, counted};

pub(super) struct LogSeries {
    segments: GaugeVec,
    log_bytes: GaugeVec,
    emptied: IntCounterVec,
    trimmed: IntCounterVec,
    read: GaugeVec,
    notify_queue: GaugeVec,
}

impl LogSeries {
    pub(super) fn new(all: &mut Catalogue) -> prometheus::Result<Self> {
        Ok(Self {
            segments: all.gauge("outboxd_segments_in_use", &[], "Segments of the log that hold rows, of 8.")?,
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
            read: all.gauge(
                "outboxd_database_read_timestamp_seconds",
                &[],
                "When the numbers of the database were last read, or the relay started, in seconds since 1970.",
            )?,
            notify_queue: all.gauge(
                "outboxd_notify_queue_usage_ratio",
                &[],
                "Share of PostgreSQL's NOTIFY queue that is in use, 0 to 1; commits that notify fail when it is full.",
            )?,
        })
    }

    /// Counters appear with 0; what must be asked for appears with the answer.
    pub(super) fn started(&self) {
        set(&self.read, now());
        self.emptied.with_label_values(NONE);
        self.trimmed.with_label_values(NONE);
    }

    /// What was read from the database is no longer known.
    pub(super) fn withdraw(&self) {
        for gauge in [&self.segments, &self.log_bytes, &self.notify_queue] {
            gauge.reset();
        }
    }
}

impl Metrics {
    /// The numbers of the database were read.
    pub fn database_read(&self) {
        set(&self.log.read, now());
    }

    /// The database has not answered for so long that its numbers are no longer true: their series disappear, until they
    /// are told again.
    pub fn database_silent(&self) {
        self.queues.withdraw();
        self.consumption.withdraw();
        self.log.withdraw();
    }

    /// How many segments hold rows.
    pub fn segments_in_use(&self, segments: usize) {
        set(&self.log.segments, count(segments));
    }

    /// How large the log is on disk.
    pub fn log_bytes(&self, bytes: i64) {
        set(&self.log.log_bytes, counted(bytes));
    }

    /// A segment was emptied.
    pub fn segment_emptied(&self) {
        self.log.emptied.with_label_values(NONE).inc();
    }

    /// What nobody needs any more was deleted.
    pub fn trimmed(&self, rows: i64) {
        self.log.trimmed.with_label_values(NONE).inc_by(rows.max(0).unsigned_abs());
    }

    /// How full the NOTIFY queue is, 0 to 1.
    pub fn notify_queue_usage(&self, ratio: f64) {
        set(&self.log.notify_queue, ratio);
    }
}
