//! What is told about PostgreSQL, Redis and who asks by HTTP.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::Metrics;
use super::catalogue::Catalogue;
use super::labels::{REDIS_ERRORS, ROUTES};
use super::relay::{NONE, count, now, set};

/// Few: there is a histogram for each statement.
const STATEMENT_BUCKETS: [f64; 6] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5];
/// A free session is there at once; a new one takes milliseconds; the rest is trouble.
const WAIT_BUCKETS: [f64; 5] = [0.001, 0.01, 0.1, 1.0, 10.0];
/// A scrape of many queues takes milliseconds.
const HTTP_BUCKETS: [f64; 4] = [0.001, 0.01, 0.1, 1.0];

pub(super) struct ServerSeries {
    statements: IntCounterVec,
    statement_errors: IntCounterVec,
    statement_duration: HistogramVec,
    pool: GaugeVec,
    pool_wait: HistogramVec,
    listening: GaugeVec,
    redis_up: GaugeVec,
    connects: IntCounterVec,
    redis_errors: IntCounterVec,
    looks: IntCounterVec,
    last_look: GaugeVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
}

impl ServerSeries {
    pub(super) fn new(all: &mut Catalogue) -> prometheus::Result<Self> {
        let statement: &'static [&'static str] = &["statement"];
        let target: &'static [&'static str] = &["target"];
        let told = "Statements sent to PostgreSQL, by the name of their query.";
        let failed = "Statements that PostgreSQL refused, or whose answer did not come, by the name of their query.";
        let took = "Seconds from sending a statement to its answer, by the name of its query.";
        let waited = "Seconds that a statement waited for a session of the pool, connecting included.";
        let looked = "Looks at all markers of a Redis target that were answered.";
        let asked = "Requests to the HTTP listener, by path and status code.";
        let answered = "Seconds from a request's head to its answer.";
        Ok(Self {
            statements: all.counter("outboxd_statements_total", statement, told)?,
            statement_errors: all.counter("outboxd_statement_errors_total", statement, failed)?,
            statement_duration: all.histogram(
                "outboxd_statement_duration_seconds",
                statement,
                &STATEMENT_BUCKETS,
                took,
            )?,
            pool: all.gauge("outboxd_pool_connections", &["state"], "Sessions of the pool: idle, or busy.")?,
            pool_wait: all.histogram("outboxd_pool_wait_seconds", &[], &WAIT_BUCKETS, waited)?,
            listening: all.gauge(
                "outboxd_listen_connected",
                &[],
                "1 while a session listens on which notifications arrive, else 0.",
            )?,
            redis_up: all.gauge("outboxd_redis_up", target, "1 while the Redis target answers, else 0.")?,
            connects: all.counter("outboxd_redis_connects_total", target, "Connections made to a Redis target.")?,
            redis_errors: all.counter(
                "outboxd_redis_errors_total",
                &["target", "class"],
                "Connections and commands that failed, by Redis target and class of fault.",
            )?,
            looks: all.counter("outboxd_looks_total", target, looked)?,
            last_look: all.gauge(
                "outboxd_last_look_timestamp_seconds",
                target,
                "When a look at all markers of a Redis target was last answered, in seconds since 1970.",
            )?,
            requests: all.counter("outboxd_http_requests_total", &["route", "code"], asked)?,
            request_duration: all.histogram(
                "outboxd_http_request_duration_seconds",
                &["route"],
                &HTTP_BUCKETS,
                answered,
            )?,
        })
    }

    /// What is there from the start.
    pub(super) fn started(&self) {
        set(&self.listening, 0.0);
        self.pool_wait.with_label_values(NONE);
        for route in ROUTES {
            self.requests.with_label_values(&[route, if route == "other" { "404" } else { "200" }]);
            self.request_duration.with_label_values(&[route]);
        }
    }
}

impl Metrics {
    /// A statement was sent, by the name of its query.
    pub fn statement(&self, name: &'static str) {
        self.servers.statements.with_label_values(&[name]).inc();
        self.servers.statement_errors.with_label_values(&[name]);
    }

    /// A statement was answered, or failed, some time after it was sent; `None`: it was not even sent.
    pub fn statement_answered(&self, name: &'static str, took: Option<Duration>, failed: bool) {
        if let Some(took) = took {
            self.servers.statement_duration.with_label_values(&[name]).observe(took.as_secs_f64());
        }
        if failed {
            self.servers.statement_errors.with_label_values(&[name]).inc();
        }
    }

    /// How long a statement waited for a session of the pool.
    pub fn pool_waited(&self, waited: Duration) {
        self.servers.pool_wait.with_label_values(NONE).observe(waited.as_secs_f64());
    }

    /// How many sessions the pool has, and how many of them are idle.
    pub fn pool_connections(&self, size: usize, idle: usize) {
        self.servers.pool.with_label_values(&["idle"]).set(count(idle));
        self.servers.pool.with_label_values(&["busy"]).set(count(size.saturating_sub(idle)));
    }

    /// Whether a session listens on which notifications arrive.
    pub fn listen_connected(&self, connected: bool) {
        set(&self.servers.listening, f64::from(u8::from(connected)));
    }

    /// A Redis target is in use, by its name in the configuration: its counters appear with 0.
    pub fn add_target(&self, target: &str) {
        self.servers.connects.with_label_values(&[target]);
        self.servers.looks.with_label_values(&[target]);
        self.relay.add_target(target);
        for class in REDIS_ERRORS {
            self.servers.redis_errors.with_label_values(&[target, class]);
        }
    }

    /// No queue uses a Redis target any more: whether it answers is not known.
    pub fn target_unused(&self, target: &str) {
        for gauge in [&self.servers.redis_up, &self.servers.last_look] {
            // Gone already is as good.
            let _gone = gauge.remove_label_values(&[target]);
        }
    }

    /// Whether a Redis target answers, by its name in the configuration.
    pub fn redis_up(&self, target: &str, up: bool) {
        self.servers.redis_up.with_label_values(&[target]).set(f64::from(u8::from(up)));
    }

    /// A connection to a Redis target was made.
    pub fn redis_connected(&self, target: &str) {
        self.servers.connects.with_label_values(&[target]).inc();
    }

    /// A connection to a Redis target could not be made, or a command failed.
    pub fn redis_failed(&self, target: &str, class: &str) {
        self.servers.redis_errors.with_label_values(&[target, class]).inc();
    }

    /// All markers of a Redis target were looked at.
    pub fn looked(&self, target: &str) {
        self.servers.looks.with_label_values(&[target]).inc();
        self.servers.last_look.with_label_values(&[target]).set(now());
    }

    /// A request was answered; `route` is one of [`ROUTES`].
    pub fn http_request(&self, route: &'static str, code: u16, took: Duration) {
        self.servers.requests.with_label_values(&[route, &code.to_string()]).inc();
        self.servers.request_duration.with_label_values(&[route]).observe(took.as_secs_f64());
    }
}
