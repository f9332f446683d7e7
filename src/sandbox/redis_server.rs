//! A private Redis server that can be killed, restarted, emptied, demoted and promoted.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::process::{find_in_path, log_tail};
use super::resp::{Client, Value};
use super::{Port, Process, ProcessSpec, Result, Sandbox, TlsFiles, failure, poll_until};

/// What the server writes to disk, and so what it still has after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persistence {
    /// Nothing: a restart finds it empty.
    #[default]
    None,
    /// A snapshot at `SAVE` and at an orderly stop only.
    Rdb,
    /// The append-only file, synced before every reply.
    AofAlways,
    /// The append-only file, synced when the kernel likes.
    AofNo,
}

/// How a [`Redis`] is started.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// What survives a restart.
    pub persistence: Persistence,
    /// Further arguments of `redis-server`, such as `["--maxmemory", "30mb"]`.
    pub args: Vec<String>,
    /// The password of the default user.
    pub password: Option<String>,
    /// Lines of an ACL file (`user app on >secret ~* +@all`); the sandbox adds a user of its own. Excludes `password`.
    pub acl: Vec<String>,
    /// Serves TLS on the port; the sandbox talks to the server through a second, plain one.
    pub tls: Option<TlsFiles>,
}

/// A server of its own, on a loopback port of its own, killed on drop.
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    port: Port,
    control_port: Option<Port>,
    data: PathBuf,
    log: PathBuf,
    server: PathBuf,
    since_7: bool,
    process: Mutex<Option<Process>>,
    client: Mutex<Option<Client>>,
    _sandbox: Sandbox,
}

impl Redis {
    /// Starts a server and returns when it answers.
    pub fn start(sandbox: &Sandbox, options: RedisOptions) -> Result<Self> {
        let server = find_server().ok_or_else(|| {
            failure(
                "Redis was not found: neither redis-server nor valkey-server is in PATH; install it (Debian: \
                 apt-get install redis-server).",
            )
        })?;
        let data = sandbox.subfolder("redis")?;
        let redis = Self {
            control_port: options.tls.is_some().then(Port::free).transpose()?,
            port: Port::free()?,
            log: data.with_extension("log"),
            // Redis 7 forbids `DEBUG` unless a switch allows it that older servers do not know.
            since_7: major(&server) >= 7,
            options,
            data,
            server,
            process: Mutex::default(),
            client: Mutex::default(),
            _sandbox: sandbox.clone(),
        };
        redis.start_again()?;
        Ok(redis)
    }

    /// Starts the server on its old port and data, if it is not running.
    pub fn start_again(&self) -> Result<()> {
        let mut slot = lock(&self.process);
        if slot.as_mut().is_some_and(Process::is_running) {
            return Ok(());
        }
        *lock(&self.client) = None;
        let spec = ProcessSpec::new(&self.server, &self.data, &self.log).args(self.arguments()?);
        let process = slot.insert(Process::start(&spec)?);
        let pid = process.id();
        let mut foreign = None;
        // A large data set loads for a while; 30 s is far beyond any test's.
        let ready = poll_until(Duration::from_secs(30), || match self.process_id() {
            Some(id) if id == i64::from(pid) => true,
            other => {
                foreign = other;
                foreign.is_some() || !process.is_running()
            }
        });
        match foreign {
            Some(id) => Err(failure(format!(
                "Port {} is served by another Redis, process {id}; end it and start again.",
                self.port.number()
            ))),
            None if ready && process.is_running() => Ok(()),
            None => Err(failure(format!("Redis did not start.{}", log_tail(&self.log)))),
        }
    }

    /// Where clients find it: `redis://` or, with TLS, `rediss://`.
    pub fn url(&self, db: u8) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        let auth = self.options.password.as_ref().map_or_else(String::new, |password| format!(":{password}@"));
        format!("{scheme}://{auth}127.0.0.1:{}/{db}", self.port.number())
    }

    /// The port its clients use.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The address its clients use.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))
    }

    /// The folder with its dump and append-only files.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// SIGKILL: nothing is saved beyond what was.
    pub fn kill(&self) {
        if let Some(mut process) = lock(&self.process).take() {
            process.kill();
        }
        *lock(&self.client) = None;
    }

    /// An orderly stop, which saves as the persistence says.
    pub fn stop(&self) -> Result<()> {
        if self.options.persistence == Persistence::Rdb && !self.since_7 && self.is_running() {
            self.cmd(["SAVE"])?;
        }
        *lock(&self.client) = None;
        let Some(mut process) = lock(&self.process).take() else { return Ok(()) };
        match process.stop(Duration::from_secs(20)) {
            Some(_) => Ok(()),
            None => Err(failure("Redis was not done with its shutdown after 20 s and was killed.")),
        }
    }

    /// Sends a signal (STOP, CONT) to the server.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = lock(&self.process).as_mut() {
            process.signal(signal);
        }
    }

    /// What an append-only file consists of: a folder, before Redis 7.0 a file.
    pub fn append_only(&self) -> PathBuf {
        self.data.join(if self.since_7 { "appendonlydir" } else { "appendonly.aof" })
    }

    /// Removes what the server would load at its next start, under the name that any version gives it: the append-only
    /// file is a file before Redis 7.0 and a folder since. Call `kill` or `stop` first.
    pub fn lose_data(&self) -> Result<()> {
        if self.is_running() {
            return Err(failure("Only a Redis that does not run loses its data; call `kill` or `stop` first."));
        }
        for path in ["appendonlydir", "appendonly.aof", "dump.rdb"].map(|name| self.data.join(name)) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failure(format!("{} cannot be removed: {e}.", path.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the process lives.
    pub fn is_running(&self) -> bool {
        lock(&self.process).as_mut().is_some_and(Process::is_running)
    }

    /// Sends a command in database 0 over the sandbox's own connection; an error reply is `Err` with its text.
    pub fn cmd<A: AsRef<[u8]>>(&self, args: impl IntoIterator<Item = A>) -> Result<Value> {
        let mut slot = lock(&self.client);
        let mut client = match slot.take() {
            Some(client) => client,
            None => self.connect()?,
        };
        let result = client.cmd(args);
        // After a time-out or a broken connection the next reply would belong to this command.
        if !matches!(&result, Err(error) if error.0.starts_with("Redis did not answer")) {
            *slot = Some(client);
        }
        result
    }

    /// Opens a connection of one's own, for blocking commands, `MONITOR` or another database.
    pub fn connect(&self) -> Result<Client> {
        let port = self.control_port.as_ref().unwrap_or(&self.port).number();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut client = Client::connect(address, Duration::from_secs(10))
            .map_err(|e| failure(format!("Redis did not answer on port {port}: {e}.")))?;
        if let Some(password) = &self.options.password {
            client.cmd(["AUTH", password])?;
        } else if !self.options.acl.is_empty() {
            client.cmd(["AUTH", CONTROL_USER, CONTROL_USER])?;
        }
        Ok(client)
    }

    /// One field of `INFO`, `None` if the server has no such field.
    pub fn info(&self, field: &str) -> Result<Option<String>> {
        let text = self.cmd(["INFO"])?.text().unwrap_or_default();
        Ok(text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned)))
    }

    /// Empties every database.
    pub fn flushall(&self) -> Result<()> {
        self.cmd(["FLUSHALL"]).map(drop)
    }

    /// Makes it a replica of what listens on a loopback port (another server, or a proxy before it) and waits until
    /// the first synchronisation is done.
    pub fn replica_of(&self, port: u16) -> Result<()> {
        self.cmd(["REPLICAOF", "127.0.0.1", &port.to_string()])?;
        let up = || matches!(self.info("master_link_status"), Ok(Some(status)) if status == "up");
        if poll_until(Duration::from_secs(30), up) {
            return Ok(());
        }
        Err(failure(format!("The replica was not in step with port {port} after 30 s.{}", log_tail(&self.log))))
    }

    /// Makes a replica a master, with what it has.
    pub fn promote(&self) -> Result<()> {
        self.cmd(["REPLICAOF", "NO", "ONE"]).map(drop)
    }

    /// The process that answers on the port; `None` while none does or it is still loading.
    fn process_id(&self) -> Option<i64> {
        let mut client = self.connect().ok()?;
        client.cmd(["PING"]).ok()?;
        let text = client.cmd(["INFO", "server"]).ok()?.text()?;
        text.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
    }

    fn arguments(&self) -> Result<Vec<String>> {
        let port = self.port.number().to_string();
        let mut args = words(&["--bind", "127.0.0.1", "--daemonize", "no", "--dir", "."]);
        args.extend(match self.options.persistence {
            Persistence::None | Persistence::Rdb => words(&["--save", "", "--appendonly", "no"]),
            Persistence::AofAlways => words(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]),
            Persistence::AofNo => words(&["--save", "", "--appendonly", "yes", "--appendfsync", "no"]),
        });
        // Before 7.0 there is no such switch: `stop` saves.
        if self.options.persistence == Persistence::Rdb && self.since_7 {
            args.extend(words(&["--shutdown-on-sigterm", "save"]));
        }
        if self.since_7 {
            args.extend(words(&["--enable-debug-command", "yes"]));
        }
        match (&self.options.tls, &self.control_port) {
            (Some(tls), Some(control)) => {
                args.extend(["--tls-port".to_owned(), port, "--port".to_owned(), control.number().to_string()]);
                for (name, file) in [("ca-cert-file", &tls.ca), ("cert-file", &tls.cert), ("key-file", &tls.key)] {
                    args.extend([format!("--tls-{name}"), file.display().to_string()]);
                }
                args.extend(words(&["--tls-auth-clients", "no"]));
            }
            _ => args.extend(["--port".to_owned(), port]),
        }
        if let Some(password) = &self.options.password {
            args.extend(["--requirepass".to_owned(), password.clone()]);
        }
        if !self.options.acl.is_empty() {
            args.extend(["--aclfile".to_owned(), self.write_acl()?]);
        }
        args.extend(self.options.args.iter().cloned());
        Ok(args)
    }

    fn write_acl(&self) -> Result<String> {
        let path = self.data.join("users.acl");
        let lines = format!("{}\nuser {CONTROL_USER} on >{CONTROL_USER} ~* &* +@all\n", self.options.acl.join("\n"));
        fs::write(&path, lines).map_err(|e| failure(format!("{} cannot be written: {e}.", path.display())))?;
        Ok("users.acl".to_owned())
    }
}

const CONTROL_USER: &str = "sandbox";

/// The major version of the server that [`Redis`] would start, as it says itself; 0 if it says none.
pub fn redis_major() -> u32 {
    find_server().map_or(0, |server| major(&server))
}

fn find_server() -> Option<PathBuf> {
    find_in_path("redis-server").or_else(|| find_in_path("valkey-server"))
}

fn major(server: &Path) -> u32 {
    let output = Command::new(server).arg("--version").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.split("v=").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok()).unwrap_or(0)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
