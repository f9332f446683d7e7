//! Who executes the tasks: a real Celery worker, or a plain consumer in its place.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::trouble::Trouble;
use crate::sandbox::{CeleryOptions, CeleryWorker, Client, Redis, Sandbox, Value};

/// The queues of the shop.
pub(super) const QUEUES: [&str; 3] = ["interactive", "default", "batch"];

/// The Celery application, the one that the tests use too.
const APP: &str = include_str!("../../../tests/interop/celery/app.py");

/// A worker for the queues of the shop.
#[derive(Debug)]
pub(super) enum Worker {
    /// Celery's own program, unmodified.
    Celery(Box<CeleryWorker>),
    /// A loop around BRPOP in this program.
    Plain(Plain),
}

impl Worker {
    /// Starts Celery if its program is given, else the plain consumer, and returns when it takes tasks.
    pub(super) fn start(
        sandbox: &Sandbox,
        celery: Option<&Path>,
        redis: &Arc<Redis>,
        ledger: &Path,
    ) -> Result<Self, Trouble> {
        let Some(program) = celery else {
            return Plain::start(redis.clone(), ledger.to_owned()).map(Self::Plain);
        };
        let folder = sandbox.subfolder("app")?;
        let file = folder.join("app.py");
        fs::write(&file, APP)
            .map_err(|error| Trouble::failed(format!("{} cannot be written: {error}", file.display())))?;
        let mut options = CeleryOptions::new(program, &folder, &redis.url(0), QUEUES[0], ledger);
        options.queues = QUEUES.map(str::to_owned).to_vec();
        let started = CeleryWorker::start(sandbox, &options);
        let worker = started.map_err(|error| {
            Trouble::failed(format!("{error}\nRun `outboxd demo --without-celery` to see it with a plain consumer."))
        })?;
        Ok(Self::Celery(Box::new(worker)))
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Celery(worker) => match version(worker.log()) {
                Some(version) => format!("Celery {version}"),
                None => "Celery".to_owned(),
            },
            Self::Plain(_) => "a plain consumer built into outboxd".to_owned(),
        }
    }

    pub(super) fn is_running(&mut self) -> bool {
        match self {
            Self::Celery(worker) => worker.is_running(),
            Self::Plain(plain) => plain.thread.as_ref().is_some_and(|thread| !thread.is_finished()),
        }
    }

    /// The end of its log, as an appendix to an error.
    pub(super) fn last_words(&self) -> String {
        match self {
            Self::Celery(worker) => worker.log_tail(),
            Self::Plain(_) => String::new(),
        }
    }
}

/// `celery` of the virtual environment that `scripts/setup.sh` makes, else of PATH.
pub(super) fn find_celery() -> Option<PathBuf> {
    let named = std::env::var_os("OUTBOXD_VENV").map(|venv| PathBuf::from(venv).join("bin"));
    let made = std::env::current_dir().ok().map(|folder| folder.join("target/venv/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = named.into_iter().chain(made).chain(std::env::split_paths(&path));
    // A worker runs in a folder of its own, to which a relative path would not lead.
    folders.map(|folder| folder.join("celery")).filter(|file| file.is_file()).find_map(|file| file.canonicalize().ok())
}

/// The version that Celery prints in its banner: `celery@host v5.7.0 (immunity)`.
fn version(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let words = text.lines().find(|line| line.contains('@'))?.split_whitespace();
    let number = words.filter_map(|word| word.strip_prefix('v'));
    number.map(str::to_owned).find(|version| version.starts_with(|c: char| c.is_ascii_digit()))
}

/// A consumer of the format `list`. Like any consumer that only pops, it keeps nothing in Redis of what it works on.
#[derive(Debug)]
pub(super) struct Plain {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The part of a message that it needs.
#[derive(Debug, Deserialize)]
struct Message {
    id: Uuid,
    task: String,
    args: Vec<serde_json::Value>,
}

impl Plain {
    fn start(redis: Arc<Redis>, ledger: PathBuf) -> Result<Self, Trouble> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let consume = move || {
            while !stopped.load(Ordering::Relaxed) {
                // Redis is away now and then; that is what the demo is about.
                if let Ok(mut client) = redis.connect() {
                    consume(&mut client, &ledger, &stopped);
                }
                thread::sleep(Duration::from_millis(50));
            }
        };
        let thread = thread::Builder::new().name("consumer".to_owned()).spawn(consume);
        let thread = thread.map_err(|error| Trouble::failed(format!("the consumer cannot be started: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It wakes up at least once a second.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

/// Takes and executes until the connection breaks.
fn consume(client: &mut Client, ledger: &Path, stop: &AtomicBool) {
    let take = ["BRPOP"].into_iter().chain(QUEUES).chain(["1"]);
    while !stop.load(Ordering::Relaxed) {
        let Ok(reply) = client.cmd(take.clone()) else { return };
        let message = reply.items().get(1).and_then(Value::bytes).map(serde_json::from_slice::<Message>);
        if let Some(Ok(message)) = message {
            execute(&message, ledger, stop);
        }
    }
}

fn execute(message: &Message, ledger: &Path, stop: &AtomicBool) {
    record(message, "run", ledger);
    if message.task == "demo.sleep" {
        let seconds = message.args.first().and_then(serde_json::Value::as_u64).unwrap_or_default();
        for _ in 0..seconds * 10 {
            if !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
            }
        }
        record(message, "slept", ledger);
    }
}

/// The same line that the Celery application writes. What cannot be written shows as missing in the report.
fn record(message: &Message, event: &str, ledger: &Path) {
    let at = Timestamp::now().as_duration().as_secs_f64();
    let line = format!("{}\n", json!({ "event": event, "id": message.id, "at": at }));
    let file = OpenOptions::new().create(true).append(true).open(ledger);
    let _written: std::io::Result<()> = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
