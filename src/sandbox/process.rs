//! One child process that dies with its owner, however its owner dies.
//!
//! Each child leads a process group of its own, which is killed on drop. Against a SIGKILL of this program the child
//! is started through `setpriv --pdeathsig` where that is installed. The kernel ties that signal to the *thread* that
//! forked, so all children are forked by one thread that lives as long as the program.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::user::User;
use super::{Result, failure, poll_until};

/// What to start and where its output goes.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    unwanted: Vec<OsString>,
    folder: PathBuf,
    log: PathBuf,
    stdout: Option<PathBuf>,
    user: Option<User>,
    on_orphaned: &'static str,
}

impl ProcessSpec {
    /// A program that runs in `folder` and appends what it says to `log`.
    pub fn new(program: impl Into<PathBuf>, folder: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            unwanted: Vec::new(),
            folder: folder.into(),
            log: log.into(),
            stdout: None,
            user: None,
            on_orphaned: "KILL",
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds variables to the environment, which is otherwise this program's.
    #[must_use]
    pub fn env<K: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, vars: impl IntoIterator<Item = (K, V)>) -> Self {
        self.env.extend(vars.into_iter().map(|(k, v)| (k.as_ref().to_owned(), v.as_ref().to_owned())));
        self
    }

    /// Leaves out variables of this program's environment, by name.
    #[must_use]
    pub fn without_env(mut self, unwanted: impl Fn(&str) -> bool) -> Self {
        let names = std::env::vars_os().map(|(name, _)| name);
        self.unwanted.extend(names.filter(|name| name.to_str().is_some_and(&unwanted)));
        self
    }

    /// Sends standard output to a file of its own; otherwise it goes to the log with standard error.
    #[must_use]
    pub fn stdout(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdout = Some(path.into());
        self
    }

    pub(super) fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Names the signal (without `SIG`) that the child gets when this program is killed; KILL unless said otherwise.
    pub(super) fn on_orphaned(mut self, signal: &'static str) -> Self {
        self.on_orphaned = signal;
        self
    }

    fn command(&self) -> io::Result<Command> {
        let log = append(&self.log)?;
        let stdout = match &self.stdout {
            Some(path) => append(path)?,
            None => log.try_clone()?,
        };
        let mut command = match SETPRIV.as_ref() {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.arg(format!("--pdeathsig={}", self.on_orphaned)).arg("--").arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        for name in &self.unwanted {
            command.env_remove(name);
        }
        command.args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(stdout).stderr(log).process_group(0);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        Ok(command)
    }
}

/// A running child; killed with its process group when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts the program. It may not be ready for anything yet.
    pub fn start(spec: &ProcessSpec) -> Result<Self> {
        let name = spec.program.file_name().unwrap_or(spec.program.as_os_str()).to_string_lossy().into_owned();
        let cannot = |e: io::Error| failure(format!("{} cannot be started: {e}.", spec.program.display()));
        let command = spec.command().map_err(cannot)?;
        let child = fork_on_lasting_thread(command).map_err(cannot)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failure(format!("{name} was started without a process id.")))?;
        Ok(Self { child, pid, name, log: spec.log.clone() })
    }

    /// Runs the program to its end.
    pub fn run(spec: &ProcessSpec, timeout: Duration) -> Result<()> {
        let mut process = Self::start(spec)?;
        match process.wait(timeout) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(failure(format!("{} ended with {status}.{}", process.name, process.log_tail()))),
            None => Err(failure(format!(
                "{} was not done after {} s.{}",
                process.name,
                timeout.as_secs(),
                process.log_tail()
            ))),
        }
    }

    /// The process id, which is also the id of the group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end; `None` if `timeout` passes first.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let mut status = None;
        poll_until(timeout, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }

    /// Sends a signal to the process alone. A process that has ended is no error.
    pub fn signal(&mut self, signal: Signal) {
        // Once reaped, the id may belong to somebody else.
        if self.is_running() {
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// SIGKILL to the whole group, then waits until the process is gone.
    pub fn kill(&mut self) {
        if self.is_running() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }

    /// Asks with SIGTERM, waits up to `grace`, then kills. The status is `None` if it had to be killed.
    pub fn stop(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let status = self.wait(grace);
        if status.is_none() {
            self.kill();
        }
        status
    }

    /// Where it writes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines it wrote, as an appendix to an error.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last 20 lines of a log, as an appendix to an error; empty if there is none.
pub(super) fn log_tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
    if tail.is_empty() { String::new() } else { format!(" Its last words:\n  {tail}") }
}

/// The first of `names` found in PATH.
pub(super) fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Servers are often in folders that an ordinary user's PATH leaves out.
    let extra = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|folder| folder.join(name)).find(|file| file.is_file())
}

static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let setpriv = find_in_path("setpriv")?;
    // BusyBox has a setpriv without this option.
    let works = Command::new(&setpriv).args(["--pdeathsig=KILL", "--", "true"]).stderr(Stdio::null()).status();
    works.is_ok_and(|status| status.success()).then_some(setpriv)
});

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Forks on a thread that never ends before the program does: the death signal follows the forking thread.
fn fork_on_lasting_thread(command: Command) -> io::Result<Child> {
    static ORDERS: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes has ended");
    ORDERS.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
