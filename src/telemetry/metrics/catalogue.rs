//! Building metrics: each is registered with its help, remembered for the manual, and can forget a queue.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The label of all queues above the cap.
pub(super) const OTHER: &str = "_other";

/// One metric, for the manual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its whole name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// What it counts or measures, with its unit.
    pub help: String,
}

/// Removes every series of one queue from one metric.
type Forget = Box<dyn Fn(&str) + Send + Sync>;

/// A registry and what was put into it.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) registry: Registry,
    pub(super) described: Vec<Described>,
    forget: Vec<Forget>,
}

impl Catalogue {
    pub(super) fn counter(
        &mut self,
        name: &str,
        labels: &'static [&'static str],
        help: &str,
    ) -> prometheus::Result<IntCounterVec> {
        let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.add("counter", name, labels, help, vec)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        labels: &'static [&'static str],
        help: &str,
    ) -> prometheus::Result<GaugeVec> {
        let vec = GaugeVec::new(Opts::new(name, help), labels)?;
        self.add("gauge", name, labels, help, vec)
    }

    /// A gauge by queue; `fold` makes one value of all queues above the cap.
    pub(super) fn queue_gauge(&mut self, name: &str, fold: Fold, help: &str) -> prometheus::Result<QueueGauge> {
        let vec = self.gauge(name, &["queue"], help)?;
        Ok(QueueGauge { vec, fold, rest: Mutex::default() })
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: &'static [&'static str],
        buckets: &[f64],
        help: &str,
    ) -> prometheus::Result<HistogramVec> {
        let vec = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
        self.add("histogram", name, labels, help, vec)
    }

    fn add<B>(
        &mut self,
        kind: &'static str,
        name: &str,
        labels: &'static [&'static str],
        help: &str,
        vec: MetricVec<B>,
    ) -> prometheus::Result<MetricVec<B>>
    where
        B: MetricVecBuilder + 'static,
        MetricVec<B>: Collector + Clone,
    {
        self.registry.register(Box::new(vec.clone()))?;
        self.described.push(Described { name: name.to_owned(), kind, labels, help: help.to_owned() });
        if labels.first() == Some(&"queue") {
            let vec = vec.clone();
            self.forget.push(Box::new(move |queue| forget(&vec, labels, queue)));
        }
        Ok(vec)
    }

    pub(super) fn forget(&self, queue: &str) {
        self.forget.iter().for_each(|forget| forget(queue));
    }
}

/// Removes the series of a queue, whatever their other labels are.
fn forget<B>(vec: &MetricVec<B>, labels: &[&str], queue: &str)
where
    B: MetricVecBuilder,
    MetricVec<B>: Collector,
{
    for family in vec.collect() {
        for metric in family.get_metric() {
            let value =
                |name: &str| metric.get_label().iter().find(|pair| pair.name() == name).map_or("", |pair| pair.value());
            let values: Vec<&str> = labels.iter().map(|name| value(name)).collect();
            if values.first() == Some(&queue) {
                // Gone already is as good.
                let _gone = vec.remove_label_values(&values);
            }
        }
    }
}

/// Which queues have series of their own: a database with a queue per customer must not break the metrics server.
#[derive(Debug)]
pub(super) struct QueueNames {
    cap: usize,
    admitted: Mutex<BTreeSet<String>>,
}

impl QueueNames {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, admitted: Mutex::default() }
    }

    /// The queue's name if there is room for it, else [`OTHER`].
    pub(super) fn label<'a>(&self, queue: &'a str) -> &'a str {
        let mut admitted = lock(&self.admitted);
        if !admitted.contains(queue) {
            if admitted.len() >= self.cap {
                return OTHER;
            }
            admitted.insert(queue.to_owned());
        }
        queue
    }

    /// Makes room. Returns whether the queue had series of its own.
    pub(super) fn remove(&self, queue: &str) -> bool {
        lock(&self.admitted).remove(queue)
    }
}

/// How the values of the queues above the cap become one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fold {
    Sum,
    Max,
}

/// A gauge by queue whose `_other` series tells of all remaining queues together.
#[derive(Debug)]
pub(super) struct QueueGauge {
    vec: GaugeVec,
    fold: Fold,
    rest: Mutex<HashMap<String, f64>>,
}

impl QueueGauge {
    pub(super) fn set(&self, queue: &str, label: &str, value: f64) {
        if label == queue {
            // It may have been above the cap until now.
            self.forget(queue);
            self.vec.with_label_values(&[label]).set(value);
            return;
        }
        let mut rest = lock(&self.rest);
        rest.insert(queue.to_owned(), value);
        self.fold(&rest);
    }

    /// Takes a queue out of `_other`.
    pub(super) fn forget(&self, queue: &str) {
        let mut rest = lock(&self.rest);
        if rest.remove(queue).is_some() {
            self.fold(&rest);
        }
    }

    /// Removes what is told of one queue, wherever that is.
    pub(super) fn unset(&self, queue: &str, label: &str) {
        self.forget(queue);
        if label == queue {
            // Gone already is as good.
            let _gone = self.vec.remove_label_values(&[label]);
        }
    }

    /// Forgets every queue: nothing is known of any.
    pub(super) fn withdraw(&self) {
        let mut rest = lock(&self.rest);
        rest.clear();
        self.vec.reset();
    }

    fn fold(&self, rest: &HashMap<String, f64>) {
        if rest.is_empty() {
            let _gone = self.vec.remove_label_values(&[OTHER]);
            return;
        }
        let values = rest.values().copied();
        let value = match self.fold {
            Fold::Sum => values.sum(),
            Fold::Max => values.fold(0.0, f64::max),
        };
        self.vec.with_label_values(&[OTHER]).set(value);
    }
}

/// Each change under these locks is one step, so a panic elsewhere leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
