//! The real program as a process: its events, its signals, its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use outboxd::sandbox::{Process, ProcessSpec, Sandbox};
use rustix::process::Signal;
use serde_json::Value;

use super::SOON;

/// One line of the relay's log.
#[derive(Debug, Clone)]
pub struct Event(pub Value);

impl Event {
    /// The stable name, `relay.ready` for instance.
    pub fn name(&self) -> &str {
        self.field("event").as_str().unwrap_or_default()
    }

    /// A field, or null; it does not matter whether the log nests its fields.
    pub fn field(&self, name: &str) -> &Value {
        let nested = self.0.get("fields").and_then(|fields| fields.get(name));
        nested.or_else(|| self.0.get(name)).unwrap_or(&Value::Null)
    }

    /// A field as text; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.field(name).as_str().unwrap_or_default()
    }
}

/// `outboxd run`, killed on drop. If the test fails, the end of its log is printed.
pub struct RelayProcess {
    process: Process,
    /// Lines of the log that an earlier wait has passed.
    passed: usize,
}

impl RelayProcess {
    /// Starts `outboxd run` with a configuration file, further variables and arguments. It may not be ready yet.
    pub fn start(sandbox: &Sandbox, config: &str, env: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = sandbox.subfolder("relay").unwrap();
        let file = folder.join("outboxd.toml");
        fs::write(&file, config).unwrap();
        let spec = ProcessSpec::new(program(), &folder, folder.join("log")).stdout(folder.join("stdout"));
        let spec = spec.args(["run", "--config"]).args([&file]).args(args).env(env.iter().copied());
        Self { process: Process::start(&spec).unwrap(), passed: 0 }
    }

    /// [`RelayProcess::start`], then waits until it is ready.
    pub async fn ready(sandbox: &Sandbox, config: &str, env: &[(&str, &str)], args: &[&str]) -> Self {
        let mut relay = Self::start(sandbox, config, env, args);
        relay.wait_event("relay.ready", |_| true, SOON).await;
        relay
    }

    /// Waits for an event after the one that was waited for last, and returns it.
    pub async fn wait_event(&mut self, name: &str, wanted: impl Fn(&Event) -> bool, timeout: Duration) -> Event {
        let deadline = Instant::now() + timeout;
        loop {
            // Asked before the log is read, so that a last line of a dying relay is not missed.
            let running = self.process.is_running();
            let events = self.events();
            let found = events.iter().skip(self.passed).position(|event| event.name() == name && wanted(event));
            if let Some(found) = found {
                self.passed += found + 1;
                return events[self.passed - 1].clone();
            }
            assert!(running, "the relay ended before it said {name}");
            assert!(Instant::now() < deadline, "the relay did not say {name} within {timeout:?}");
            // The interval of asking, not a guess at how long something takes.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it sleeps: it has said so, and nothing that ended it since.
    pub async fn dozes(&self) {
        let news = |event: &&Event| ["relay.asleep", "relay.awake", "postgres.down"].contains(&event.name());
        let asleep = || async { self.events().iter().rfind(news).is_some_and(|event| event.name() == "relay.asleep") };
        assert!(super::eventually(SOON, asleep).await, "the relay does not fall asleep");
    }

    /// Everything it has said so far, in order; lines that are not JSON are left out.
    pub fn events(&self) -> Vec<Event> {
        let text = fs::read_to_string(self.process.log()).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.filter_map(|line| serde_json::from_str(line).ok().map(Event)).collect()
    }

    /// Forgets what was said: the next wait is for something new.
    pub fn pass_events(&mut self) {
        self.passed = self.events().len();
    }

    /// Where it writes; for a test that looks for what must not be written.
    pub fn log(&self) -> PathBuf {
        self.process.log().to_owned()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, then its status; it must end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(SOON)
    }

    /// Waits for its end, which must come in time.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let status = self.process.wait(timeout);
        assert!(status.is_some(), "the relay did not end within {timeout:?}");
        status.unwrap()
    }

    /// SIGSTOP (`Signal::STOP`), SIGCONT (`Signal::CONT`), SIGHUP (`Signal::HUP`).
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("relay {}:{}", self.process.id(), self.process.log_tail());
        }
    }
}

/// What a command that ends by itself left behind.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `outboxd` to its end in a folder, without the variables of whoever runs the tests.
pub fn outboxd(args: &[&str], env: &[(&str, &str)], folder: &Path) -> Output {
    let mut command = Command::new(program());
    for name in ["DATABASE_URL", "REDIS_URL", "RUST_LOG"] {
        command.env_remove(name);
    }
    let command = command.args(args).envs(env.iter().copied()).current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_outboxd"))
}
