//! An unmodified Celery worker that runs an application and writes down what it executed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::{Process, ProcessSpec, Result, Sandbox, failure, poll_until};

/// How a [`CeleryWorker`] is started.
#[derive(Debug, Clone)]
pub struct CeleryOptions {
    /// The `celery` program, usually in the `bin` folder of a virtual environment.
    pub program: PathBuf,
    /// The folder of the application's module.
    pub folder: PathBuf,
    /// The module that `-A` names.
    pub app: String,
    /// The broker, handed to the application in `DEMO_BROKER`.
    pub broker_url: String,
    /// The file to which the application appends one line per execution, handed over in `DEMO_LEDGER`.
    pub ledger: PathBuf,
    /// The queues it consumes.
    pub queues: Vec<String>,
    /// How many tasks run at once.
    pub concurrency: u32,
    /// Celery's pool: `solo`, `threads` or `prefork`.
    pub pool: String,
    /// Further arguments of `celery worker`.
    pub args: Vec<String>,
    /// Further variables of the environment.
    pub env: Vec<(String, String)>,
}

impl CeleryOptions {
    /// One task at a time from one queue, in the worker's own process: the order of execution is the order of arrival.
    pub fn new(program: &Path, folder: &Path, broker_url: &str, queue: &str, ledger: &Path) -> Self {
        Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            app: "app".to_owned(),
            broker_url: broker_url.to_owned(),
            ledger: ledger.to_owned(),
            queues: vec![queue.to_owned()],
            concurrency: 1,
            pool: "solo".to_owned(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// A running worker, killed on drop with the processes of its pool.
#[derive(Debug)]
pub struct CeleryWorker {
    process: Process,
    options: CeleryOptions,
    sandbox: Sandbox,
}

impl CeleryWorker {
    /// Starts a worker and returns when it says that it is ready for tasks.
    pub fn start(sandbox: &Sandbox, options: &CeleryOptions) -> Result<Self> {
        if !options.program.is_file() {
            return Err(failure(format!(
                "{} was not found; make a virtual environment and install Celery into it (scripts/setup.sh python, or \
                 python3 -m venv VENV && VENV/bin/pip install 'celery[redis]').",
                options.program.display()
            )));
        }
        let folder = sandbox.subfolder("celery")?;
        let mut worker = Self {
            process: Process::start(&spec(options, &folder))?,
            options: options.clone(),
            sandbox: sandbox.clone(),
        };
        // Importing Celery takes a second or two on an idle machine, several times that on a busy one.
        let ready = poll_until(Duration::from_secs(60), || worker.says_ready() || !worker.process.is_running());
        if ready && worker.process.is_running() {
            return Ok(worker);
        }
        Err(failure(format!("The Celery worker did not become ready.{}", worker.process.log_tail())))
    }

    /// SIGKILL to the worker and its pool: what it was executing is lost to it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Celery's warm shutdown: finishes what it executes. It is killed if that takes longer than `grace`.
    pub fn stop(&mut self, grace: Duration) -> Result<()> {
        match self.process.stop(grace) {
            Some(_) => Ok(()),
            None => Err(failure(format!("The Celery worker was killed after {} s.", grace.as_secs()))),
        }
    }

    /// Another worker with the same options, in the place of one that has ended.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.kill();
        *self = Self::start(&self.sandbox.clone(), &self.options.clone())?;
        Ok(())
    }

    /// Sends a signal (STOP, CONT) to the worker's main process.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Whether it lives.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// What it says.
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// The last lines it said, as an appendix to an error.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// The finished lines of the ledger, in the order in which they were written.
    pub fn ledger(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.options.ledger).unwrap_or_default();
        // A worker that was killed leaves half a line at most.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    fn says_ready(&self) -> bool {
        fs::read_to_string(self.process.log()).is_ok_and(|text| text.contains(" ready."))
    }
}

fn spec(options: &CeleryOptions, folder: &Path) -> ProcessSpec {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let concurrency = options.concurrency.to_string();
    ProcessSpec::new(&options.program, &options.folder, folder.join("log"))
        // CELERY_BROKER_URL would send this worker to the broker of whoever runs it.
        .without_env(|name| name.starts_with("CELERY_"))
        .args(["-A", &options.app, "worker", "--loglevel", "INFO", "-Q", &options.queues.join(",")])
        .args(["-c", &concurrency, "-P", &options.pool, "-n", &format!("{name}@%h")])
        // Greeting other workers at the start costs a second and nothing here depends on it.
        .args(["--without-mingle", "--without-gossip"])
        .args(&options.args)
        .env([("DEMO_BROKER", options.broker_url.as_str()), ("PYTHONUNBUFFERED", "1")])
        .env([("PYTHONDONTWRITEBYTECODE", "1")])
        .env([("DEMO_LEDGER", &options.ledger)])
        .env(options.env.iter().map(|(name, value)| (name, value)))
}
