//! Live consumers of each kind. What they ran stands in a ledger outside Redis and Postgres.
//!
//! A consumer of ours finishes what it ran before it takes anything else, through every reconnect: what it runs twice was
//! in Redis twice.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use outboxd::sandbox::{CeleryOptions, CeleryWorker, Client, Result, Sandbox, Value};
use rustix::process::Signal;
use serde_json::json;
use tokio_postgres::NoTls;
use uuid::Uuid;

use super::clock;
use crate::common::celery_program;

/// Which of the three kinds of structure a queue is in, and how what was run is taken off it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Takes from `queue` to `queue:busy`; finishes by a pop that can be counted.
    List,
    /// Takes from `queue` to `queue:busy`; acknowledges in this database, finishes by `LREM`.
    Receipts(String),
    /// The group `workers`.
    Stream,
}

/// One execution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    pub task: Uuid,
    /// Seconds since 1970.
    pub at: f64,
}

/// What a consumer needs to know.
pub struct Feed {
    pub kind: Kind,
    pub queue: String,
    pub address: SocketAddr,
    pub db: u8,
    /// How long a task takes.
    pub work: Duration,
    paused: AtomicBool,
    stopped: AtomicBool,
    ran: Mutex<Vec<Run>>,
}

/// A consumer at work.
pub enum Worker {
    Ours(Arc<Feed>, Option<JoinHandle<()>>),
    Celery(Box<CeleryWorker>),
}

impl Worker {
    /// A consumer of ours.
    pub fn start(kind: Kind, queue: &str, address: SocketAddr, db: u8, work: Duration) -> Self {
        let off = || AtomicBool::new(false);
        let queue = queue.to_owned();
        let feed = Feed { kind, queue, address, db, work, paused: off(), stopped: off(), ran: Mutex::default() };
        let feed = Arc::new(feed);
        let its = Arc::clone(&feed);
        Self::Ours(feed, Some(std::thread::spawn(move || its.run())))
    }

    /// A Celery worker.
    pub fn celery(sandbox: &Sandbox, broker: &str, queue: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/celery");
        let ledger = sandbox.subfolder("ledger").unwrap().join("lines");
        let mut options = CeleryOptions::new(&celery_program(), &folder, broker, queue, &ledger);
        let settings = json!({
            // What a worker had taken and not begun when it lost its connection comes back only when it sweeps.
            "broker_transport_options":
                {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
            "worker_prefetch_multiplier": 1,
            "broker_connection_retry": true,
            "broker_connection_max_retries": null,
        });
        options.env.push(("DEMO_CONFIG".to_owned(), settings.to_string()));
        Self::Celery(Box::new(CeleryWorker::start(sandbox, &options).unwrap()))
    }

    /// All that it ran so far, in order.
    pub fn ran(&self) -> Vec<Run> {
        match self {
            Self::Ours(feed, _) => feed.ran.lock().unwrap().clone(),
            Self::Celery(worker) => worker.ledger().iter().filter_map(|line| celery_run(line)).collect(),
        }
    }

    /// Whether its log tells of a task, which it may have been given and not run.
    pub fn mentions(&self, task: Uuid) -> bool {
        match self {
            Self::Ours(..) => self.ran().iter().any(|run| run.task == task),
            Self::Celery(worker) => {
                std::fs::read_to_string(worker.log()).is_ok_and(|log| log.contains(&task.to_string()))
            }
        }
    }

    /// It takes nothing more until [`Worker::resume`].
    pub fn pause(&mut self) {
        match self {
            Self::Ours(feed, _) => feed.paused.store(true, Ordering::SeqCst),
            Self::Celery(worker) => worker.signal(Signal::STOP),
        }
    }

    pub fn resume(&mut self) {
        match self {
            Self::Ours(feed, _) => feed.paused.store(false, Ordering::SeqCst),
            Self::Celery(worker) => worker.signal(Signal::CONT),
        }
    }

    /// What it says, for a failure.
    pub fn tail(&self) -> String {
        match self {
            Self::Ours(..) => String::new(),
            Self::Celery(worker) => worker.log_tail(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Self::Ours(feed, thread) = self {
            feed.stopped.store(true, Ordering::SeqCst);
            let ended = thread.take().map(JoinHandle::join);
            assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()), "a consumer panicked");
        }
    }
}

fn celery_run(line: &str) -> Option<Run> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let task = line["id"].as_str()?.parse().ok()?;
    (line["event"] == "run").then_some(Run { task, at: line["at"].as_f64()? })
}

impl Feed {
    fn run(&self) {
        // What was run and is not yet taken off.
        let mut done = None;
        while !self.is_stopped() {
            let consumed = self.connect().and_then(|client| match self.kind {
                Kind::Stream => self.stream(client, &mut done),
                Kind::List | Kind::Receipts(_) => self.list(client, &mut done),
            });
            if consumed.is_err() {
                // Between two attempts to reach a server that is away.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn connect(&self) -> Result<Client> {
        let client = Client::connect(self.address, Duration::from_secs(2));
        let mut client = client.map_err(|e| outboxd::sandbox::SandboxError(e.to_string()))?;
        client.cmd(["SELECT", &self.db.to_string()])?;
        Ok(client)
    }

    /// Waits out a pause; false when it is over altogether.
    fn goes_on(&self) -> bool {
        while self.paused.load(Ordering::SeqCst) && !self.is_stopped() {
            // The interval of asking, not a guess at how long something takes.
            std::thread::sleep(Duration::from_millis(2));
        }
        !self.is_stopped()
    }

    fn list(&self, mut client: Client, done: &mut Option<String>) -> Result<()> {
        let busy = format!("{}:busy", self.queue);
        for message in client.cmd(["LRANGE", &busy, "0", "-1"])?.texts() {
            self.work(&message, &message, done);
            self.finish(&mut client, &busy, &message)?;
        }
        *done = None;
        while self.goes_on() {
            let taken = client.cmd(["BLMOVE", &self.queue, &busy, "LEFT", "RIGHT", "0.2"])?;
            let Some(message) = taken.text() else { continue };
            self.work(&message, &message, done);
            self.finish(&mut client, &busy, &message)?;
            *done = None;
        }
        Ok(())
    }

    fn finish(&self, client: &mut Client, busy: &str, message: &str) -> Result<()> {
        let finished = match self.kind {
            // Nothing else is in it, unless Redis went back meanwhile.
            Kind::List => client.cmd(["BLPOP", busy, "0.01"]),
            _ => client.cmd(["LREM", busy, "1", message]),
        };
        finished.map(drop)
    }

    fn stream(&self, mut client: Client, done: &mut Option<String>) -> Result<()> {
        // It may be there already.
        let _made = client.cmd(["XGROUP", "CREATE", &self.queue, "workers", "0", "MKSTREAM"]);
        let mut from = "0";
        while self.goes_on() {
            let read = ["XREADGROUP", "GROUP", "workers", "one", "COUNT", "1", "BLOCK", "100", "STREAMS"];
            let reply = client.cmd(read.into_iter().chain([self.queue.as_str(), from]))?;
            let entries = reply.items().first().map_or(&[] as &[Value], |stream| stream.items()[1].items());
            let Some(entry) = entries.first() else {
                (from, *done) = (">", None);
                continue;
            };
            let id = entry.items()[0].text().unwrap_or_default();
            let fields = entry.items()[1].texts();
            if let Some([_, task]) = fields.chunks(2).find(|pair| pair[0] == "id") {
                self.work(&format!("{{\"id\":\"{task}\"}}"), &id, done);
            }
            client.cmd(["XACK", &self.queue, "workers", &id])?;
            *done = None;
        }
        Ok(())
    }

    /// Runs a task, unless it was run already and only its end got lost.
    fn work(&self, message: &str, mark: &str, done: &mut Option<String>) {
        if done.as_deref() == Some(mark) {
            return;
        }
        let message: serde_json::Value = serde_json::from_str(message).unwrap();
        let task: Uuid = message["id"].as_str().unwrap().parse().unwrap();
        self.ran.lock().unwrap().push(Run { task, at: clock() });
        // The work itself.
        std::thread::sleep(self.work);
        if let Kind::Receipts(database) = &self.kind {
            // Postgres may be away for a while; the task is done all the same.
            while acknowledge(database, task).is_err() && !self.is_stopped() {
                // Between two attempts.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        *done = Some(mark.to_owned());
    }
}

fn acknowledge(database: &str, task: Uuid) -> Result<(), tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
        tokio::spawn(connection);
        client.execute("select outbox_ack($1)", &[&task]).await.map(drop)
    })
}
