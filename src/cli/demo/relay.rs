//! The relay of the demo: this very program as a process of its own, and what its log says.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;

use super::tail::Tail;
use super::trouble::Trouble;
use super::worker::QUEUES;
use crate::sandbox::{Process, ProcessSpec, Sandbox};

/// A task counts as consumed when it has been absent from Redis for so long: short here, to repeat little.
pub(super) const GRACE_SECONDS: u64 = 2;

/// One line of the log.
#[derive(Debug)]
struct Event {
    /// Its stable name, such as `queue.loss`.
    name: String,
    /// When it was written.
    at: Option<Timestamp>,
    line: Value,
}

impl Event {
    /// How many seconds after a moment it was written; `None` if it was before.
    fn after(&self, moment: Timestamp) -> Option<f64> {
        let seconds = self.at?.duration_since(moment).as_secs_f64();
        (seconds >= 0.0).then_some(seconds)
    }

    /// A field as text; empty if it is not there.
    fn text(&self, field: &str) -> &str {
        self.line.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

/// `outboxd run` with a configuration of its own.
#[derive(Debug)]
pub(super) struct Relay {
    process: Process,
    spec: ProcessSpec,
    program: PathBuf,
    file: PathBuf,
    log: Tail,
    events: Vec<Event>,
}

impl Relay {
    /// Starts it. It may not be ready yet.
    pub(super) fn start(sandbox: &Sandbox, database: &str, redis: &str, format: &str) -> Result<Self, Trouble> {
        let folder = sandbox.subfolder("relay")?;
        let file = folder.join("outboxd.toml");
        // Only its owner may read the passwords in it.
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut handle| handle.write_all(config(database, redis, format).as_bytes()));
        written.map_err(|error| Trouble::failed(format!("{} cannot be written: {error}", file.display())))?;
        let program = std::env::current_exe()
            .map_err(|error| Trouble::failed(format!("the path of this program cannot be found out: {error}")))?;
        let log = folder.join("log");
        let spec = ProcessSpec::new(&program, &folder, &log).args(["run", "--config"]).args([&file]);
        // The environment goes over the file: DATABASE_URL would send this relay to somebody's real database.
        let spec = spec.without_env(|name| {
            name.starts_with("OUTBOXD_") || ["DATABASE_URL", "REDIS_URL", "RUST_LOG"].contains(&name)
        });
        let process = Process::start(&spec)?;
        Ok(Self { process, spec, program, file, log: Tail::new(log), events: Vec::new() })
    }

    /// Another process with the same configuration, after the first was killed.
    pub(super) fn start_again(&mut self) -> Result<(), Trouble> {
        self.process.kill();
        self.process = Process::start(&self.spec)?;
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The end of its log, as an appendix to an error.
    pub(super) fn last_words(&self) -> String {
        self.process.log_tail()
    }

    /// Everything it has said, the killed one's words included.
    fn events(&mut self) -> &[Event] {
        let lines = self.log.lines();
        let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        self.events.extend(values.map(|line| {
            let text = |field| line.get(field).and_then(Value::as_str);
            Event {
                name: text("event").unwrap_or_default().to_owned(),
                at: text("timestamp").and_then(|at| at.parse().ok()),
                line,
            }
        }));
        &self.events
    }

    /// How often it has said this so far.
    pub(super) fn count(&mut self, name: &str) -> u64 {
        self.events().iter().map(|event| u64::from(event.name == name)).sum()
    }

    /// How many losses it reported since then, and how many seconds later it had reported the last.
    pub(super) fn losses(&mut self, since: Timestamp) -> (u64, f64) {
        let losses = self.events().iter().filter(|event| event.name == "queue.loss");
        let times = losses.filter_map(|event| event.after(since));
        times.fold((0, 0.0), |(count, last), seconds| (count + 1, last.max(seconds)))
    }

    /// How many seconds after that every queue's loss was over; `None` before that.
    pub(super) fn recovered(&mut self, since: Timestamp) -> Option<f64> {
        let events = self.events();
        let over = |queue: &&str| {
            let mut over =
                events.iter().filter(|event| event.name == "queue.recovered" && event.text("queue") == *queue);
            over.find_map(|event| event.after(since))
        };
        QUEUES.iter().map(over).try_fold(0.0, |last: f64, seconds| Some(last.max(seconds?)))
    }

    /// What `outboxd incident list` prints.
    pub(super) fn incidents(&self) -> Result<String, Trouble> {
        let output = Command::new(&self.program)
            .args(["incident", "list", "--config"])
            .arg(&self.file)
            .env_clear()
            .output()
            .map_err(|error| Trouble::failed(format!("{} cannot be run: {error}", self.program.display())))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Trouble::failed(format!("outboxd incident list failed: {said}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn config(database: &str, redis: &str, format: &str) -> String {
    format!(
        "[database]\nurl = \"{database}\"\n[redis.default]\nurl = \"{redis}\"\n\
         [defaults]\nformat = \"{format}\"\nconfirm_grace = \"{GRACE_SECONDS}s\"\n\
         [http]\nlisten = \"\"\n\
         [log]\nformat = \"json\"\nlevel = \"info\"\n"
    )
}
