//! A private PostgreSQL cluster that can be killed, restarted, cloned, sent back in time and failed over.

mod binaries;
mod replica;
mod template;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::process::log_tail;
use super::user::User;
use super::{Port, Process, ProcessSpec, Result, Sandbox, TlsFiles, failure, poll_until};
use binaries::Binaries;

/// The path of one of PostgreSQL's programs, such as `pgbench`, of the installation that [`Postgres`] would start.
pub fn postgres_program(program: &str) -> Result<PathBuf> {
    Ok(Binaries::find()?.path(program))
}

/// How a [`Postgres`] is started.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Further settings of `postgresql.conf`, such as `("max_prepared_transactions", "20")`.
    pub settings: Vec<(String, String)>,
    /// Writes through to the disk. Off, a crash of the machine would lose data; a crash of the server does not.
    pub durable: bool,
    /// The superuser's password. `None` lets everybody in who reaches the loopback port: for tests only.
    pub password: Option<String>,
    /// A folder that keeps a fresh cluster between runs: copying takes a tenth of making one. Needs `password: None`.
    pub template: Option<PathBuf>,
    /// Serves TLS to clients that ask for it.
    pub tls: Option<TlsFiles>,
}

impl PostgresOptions {
    /// Adds a setting.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How an orderly stop treats those who are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Waits until they have gone.
    Smart,
    /// Rolls their transactions back and ends them.
    Fast,
    /// Ends everything at once; the next start recovers from the log. Asynchronous commits can be lost.
    Immediate,
}

/// A cluster of its own, on a loopback port of its own, ended at once on drop.
#[derive(Debug)]
pub struct Postgres {
    binaries: Binaries,
    user: Option<User>,
    port: Port,
    password: Option<String>,
    data: PathBuf,
    log: PathBuf,
    settings: Mutex<BTreeMap<String, String>>,
    process: Mutex<Option<Process>>,
    sandbox: Sandbox,
}

impl Postgres {
    /// Makes a fresh cluster, starts it and returns when it accepts connections.
    pub fn start(sandbox: &Sandbox, options: &PostgresOptions) -> Result<Self> {
        let postgres = Self::prepare(sandbox, options)?;
        template::fill(&postgres, options)?;
        if let Some(tls) = &options.tls {
            postgres.serve_tls(tls)?;
        }
        postgres.start_again()?;
        Ok(postgres)
    }

    /// The server wants a key that is its own and that nobody else can read, so it gets a copy.
    fn serve_tls(&self, tls: &TlsFiles) -> Result<()> {
        let folder = self.data.parent().unwrap_or(&self.data);
        for (setting, from) in [("ssl_cert_file", &tls.cert), ("ssl_key_file", &tls.key)] {
            let to = folder.join(setting);
            let copied = fs::copy(from, &to).and_then(|_| fs::set_permissions(&to, Permissions::from_mode(0o600)));
            copied.map_err(|e| failure(format!("{} cannot be copied to {}: {e}.", from.display(), to.display())))?;
            self.user.map_or(Ok(()), |user| user.own(&to))?;
            lock(&self.settings).insert(setting.to_owned(), to.display().to_string());
        }
        lock(&self.settings).insert("ssl".to_owned(), "on".to_owned());
        Ok(())
    }

    /// A cluster whose data folder does not exist yet.
    fn prepare(sandbox: &Sandbox, options: &PostgresOptions) -> Result<Self> {
        let binaries = Binaries::find()?;
        let user = User::unprivileged()?;
        let folder = sandbox.subfolder("postgres")?;
        if let Some(user) = user {
            user.own(&folder)?;
        }
        Ok(Self {
            binaries,
            user,
            port: Port::free()?,
            password: options.password.clone(),
            data: folder.join("data"),
            log: folder.join("log"),
            settings: Mutex::new(settings(options)),
            process: Mutex::default(),
            sandbox: sandbox.clone(),
        })
    }

    /// Starts the server on its old port and data, if it is not running, and waits until it accepts connections.
    pub fn start_again(&self) -> Result<()> {
        let mut slot = lock(&self.process);
        if slot.as_mut().is_some_and(Process::is_running) {
            return Ok(());
        }
        self.write_settings()?;
        let spec = self.spec("postgres").args(["-D".as_ref(), self.data.as_os_str()]).on_orphaned("QUIT");
        let process = slot.insert(Process::start(&spec)?);
        let pid = process.id().to_string();
        // Recovery after a crash takes longer than a start; a minute is far beyond any test's.
        let done = poll_until(Duration::from_secs(60), || self.is_ready(&pid) || !process.is_running());
        if done && process.is_running() {
            return Ok(());
        }
        process.kill();
        Err(failure(format!("PostgreSQL did not start.{}", log_tail(&self.log))))
    }

    /// Where clients find a database of it, as the superuser `postgres`.
    pub fn url(&self, db: &str) -> String {
        self.url_as(SUPERUSER, self.password.as_deref(), db)
    }

    /// Where clients find a database of it, as somebody else.
    pub fn url_as(&self, user: &str, password: Option<&str>, db: &str) -> String {
        let auth = password.map_or_else(String::new, |password| format!(":{password}"));
        format!("postgres://{user}{auth}@127.0.0.1:{}/{db}", self.port())
    }

    /// The port its clients use.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The server's log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether the postmaster lives.
    pub fn is_running(&self) -> bool {
        lock(&self.process).as_mut().is_some_and(Process::is_running)
    }

    /// An orderly stop; returns when the server has ended.
    pub fn stop(&self, mode: StopMode) -> Result<()> {
        let Some(mut process) = lock(&self.process).take() else { return Ok(()) };
        process.signal(match mode {
            StopMode::Smart => Signal::TERM,
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        });
        if process.wait(Duration::from_secs(60)).is_some() {
            return Ok(());
        }
        let children = children_of(process.id());
        end(&mut process, &children);
        Err(failure(format!("PostgreSQL had not stopped after 60 s and was killed.{}", log_tail(&self.log))))
    }

    /// SIGKILL to the postmaster and all its children, as the kernel does when memory is short.
    pub fn kill(&self) {
        if let Some(mut process) = lock(&self.process).take() {
            // Frozen, it cannot start another child while they are counted.
            process.signal(Signal::STOP);
            let children = children_of(process.id());
            end(&mut process, &children);
        }
    }

    /// Changes settings of the running server; those that need a restart wait for `stop` and `start_again`.
    pub fn reload(&self, changes: &[(&str, &str)]) -> Result<()> {
        for (name, value) in changes {
            lock(&self.settings).insert((*name).to_owned(), (*value).to_owned());
        }
        self.write_settings()?;
        if let Some(process) = lock(&self.process).as_mut() {
            process.signal(Signal::HUP);
        }
        Ok(())
    }

    /// Runs SQL through `psql`, each statement in a transaction of its own, and returns its rows unadorned.
    pub fn sql(&self, db: &str, sql: &str) -> Result<String> {
        let mut command = std::process::Command::new(self.binaries.path("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.url(db), "-c", sql]).current_dir("/");
        let output = command.output().map_err(|e| failure(format!("psql cannot be started: {e}.")))?;
        if !output.status.success() {
            return Err(failure(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn spec(&self, program: &str) -> ProcessSpec {
        let folder = self.data.parent().unwrap_or(&self.data);
        let spec = ProcessSpec::new(self.binaries.path(program), folder, &self.log).user(self.user);
        // The servers' programs speak the user's language otherwise, and their logs are read by tests.
        spec.env([("LC_ALL", "C"), ("PGPASSWORD", self.password.as_deref().unwrap_or_default())])
    }

    /// The server itself writes `ready` (or `standby`) into its pid file; a leftover file has another pid.
    fn is_ready(&self, pid: &str) -> bool {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(pid) && matches!(lines.nth(6), Some("ready"))
    }

    fn write_settings(&self) -> Result<()> {
        let mut text = String::new();
        for (name, value) in lock(&self.settings).iter() {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        let _ = writeln!(text, "port = {}", self.port());
        let path = self.data.join(SETTINGS_FILE);
        fs::write(&path, text).map_err(|e| failure(format!("{} cannot be written: {e}.", path.display())))?;
        self.user.map_or(Ok(()), |user| user.own(&path))
    }
}

impl Drop for Postgres {
    /// Told to go, the server gives back its shared memory, of which the kernel allows some thousand pieces.
    fn drop(&mut self) {
        if let Some(process) = lock(&self.process).as_mut() {
            process.signal(Signal::QUIT);
            process.signal(Signal::CONT);
            process.wait(Duration::from_secs(10));
        }
        self.kill();
    }
}

const SUPERUSER: &str = "postgres";
const SETTINGS_FILE: &str = "sandbox.conf";

fn settings(options: &PostgresOptions) -> BTreeMap<String, String> {
    let durable = if options.durable { "on" } else { "off" };
    let fixed = [
        ("listen_addresses", "127.0.0.1"),
        // A temporary folder's path can be longer than a socket's may be.
        ("unix_socket_directories", ""),
        ("fsync", durable),
        ("full_page_writes", durable),
        ("log_min_messages", "warning"),
        ("log_line_prefix", "%m [%p] "),
    ];
    let own = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    fixed.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Every child of the postmaster leads a group of its own, so killing the postmaster's group does not reach them.
fn children_of(postmaster: u32) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(postmaster)).filter_map(Pid::from_raw).collect()
}

/// The parent of a process that is neither gone nor a zombie.
fn parent_of(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if fields.next()? == "Z" { None } else { fields.next()?.parse().ok() }
}

/// Kills them all and waits until they hold no shared memory any more: the next start would refuse.
fn end(postmaster: &mut Process, children: &[Pid]) {
    for child in children {
        let _ = rustix::process::kill_process(*child, Signal::KILL);
    }
    postmaster.kill();
    let gone = |child: &Pid| parent_of(child.as_raw_nonzero().get()).is_none();
    poll_until(Duration::from_secs(10), || children.iter().all(gone));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
