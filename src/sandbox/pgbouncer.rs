//! A private PgBouncer in transaction mode before a private PostgreSQL.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::find_in_path;
use super::user::User;
use super::{Port, Postgres, Process, ProcessSpec, Result, Sandbox, failure, poll_until};

/// A pooler that hands a server connection out for one transaction at a time; killed on drop.
#[derive(Debug)]
pub struct PgBouncer {
    port: Port,
    spec: ProcessSpec,
    process: Process,
    _sandbox: Sandbox,
}

impl PgBouncer {
    /// Starts a pooler before `postgres` with further settings of its `[pgbouncer]` section.
    pub fn start(sandbox: &Sandbox, postgres: &Postgres, settings: &[(&str, &str)]) -> Result<Self> {
        let program = find_in_path("pgbouncer").ok_or_else(|| {
            failure("PgBouncer was not found in PATH; install it (Debian: apt-get install pgbouncer).")
        })?;
        let folder = sandbox.subfolder("pgbouncer")?;
        let port = Port::free()?;
        write_ini(&folder, &port, postgres, settings)?;
        let user = User::unprivileged()?;
        if let Some(user) = user {
            user.own(&folder)?;
        }
        let spec = ProcessSpec::new(program, &folder, folder.join("log")).args(["pgbouncer.ini"]).user(user);
        let process = start(&spec, &port)?;
        Ok(Self { port, spec, process, _sandbox: sandbox.clone() })
    }

    /// Where clients find a database through the pooler, as the superuser `postgres`.
    pub fn url(&self, db: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{db}", self.port.number())
    }

    /// The port its clients use.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on its old port.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.kill();
        self.process = start(&self.spec, &self.port)?;
        Ok(())
    }
}

fn start(spec: &ProcessSpec, port: &Port) -> Result<Process> {
    let mut process = Process::start(spec)?;
    let answers = || TcpStream::connect(("127.0.0.1", port.number())).is_ok();
    let done = poll_until(Duration::from_secs(20), || !process.is_running() || answers());
    if done && process.is_running() {
        return Ok(process);
    }
    Err(failure(format!("PgBouncer did not start.{}", process.log_tail())))
}

fn write_ini(folder: &Path, port: &Port, postgres: &Postgres, settings: &[(&str, &str)]) -> Result<PathBuf> {
    let mut ini = format!(
        "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
         unix_socket_dir =\nauth_type = any\npool_mode = transaction\n",
        postgres.port(),
        port.number()
    );
    for (name, value) in settings {
        let _ = writeln!(ini, "{name} = {value}");
    }
    let path = folder.join("pgbouncer.ini");
    fs::write(&path, ini).map_err(|e| failure(format!("{} cannot be written: {e}.", path.display())))?;
    Ok(path)
}
