//! Copies of a cluster: base backups, going back to one, standbys and their promotion.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Postgres, PostgresOptions, StopMode, lock, template};
use crate::sandbox::{Process, Result, Sandbox, failure};

impl Postgres {
    /// Copies the running cluster into a folder that does not exist yet (inside the sandbox: the server's user must
    /// be able to write there).
    pub fn base_backup(&self, to: &Path) -> Result<()> {
        self.copy_through(self.port(), to, &[])
    }

    /// Goes back to a backup: stops, replaces the data by a copy of the backup, starts again on the same port.
    pub fn restore(&self, backup: &Path) -> Result<()> {
        self.stop(StopMode::Immediate)?;
        fs::remove_dir_all(&self.data)
            .map_err(|e| failure(format!("{} cannot be removed: {e}.", self.data.display())))?;
        self.adopt(backup)?;
        self.start_again()
    }

    /// Keeps the data of a stopped cluster as a folder from which others start; one that is already there stays.
    pub fn keep_as(&self, folder: &Path) -> Result<()> {
        if self.is_running() {
            return Err(failure("Only a stopped cluster can be kept; call `stop` first, or take a `base_backup`."));
        }
        template::publish(self, folder)
    }

    /// Starts another cluster from a backup or a kept cluster.
    pub fn start_from(sandbox: &Sandbox, backup: &Path, options: &PostgresOptions) -> Result<Self> {
        let postgres = Self::prepare(sandbox, options)?;
        postgres.adopt(backup)?;
        postgres.start_again()?;
        Ok(postgres)
    }

    /// Starts a streaming standby that follows this cluster, with its settings and those of `options` over them.
    pub fn standby(&self, options: &PostgresOptions) -> Result<Self> {
        self.standby_through(self.port(), options)
    }

    /// Starts a streaming standby that reaches this cluster through a loopback port (a proxy's).
    pub fn standby_through(&self, port: u16, options: &PostgresOptions) -> Result<Self> {
        let mut standby = Self::prepare(&self.sandbox, options)?;
        standby.password.clone_from(&self.password);
        self.copy_through(port, &standby.data, &["-R"])?;
        // A hot standby refuses to start with smaller limits than its primary's.
        let mut settings = lock(&self.settings).clone();
        settings.extend(options.settings.iter().cloned());
        *lock(&standby.settings) = settings;
        standby.start_again()?;
        Ok(standby)
    }

    /// Makes a standby a primary, with what it has received, and waits until it accepts writes.
    pub fn promote(&self) -> Result<()> {
        let spec = self.spec("pg_ctl").args(["promote", "-w", "-t", "60", "-s", "-D"]).args([&self.data]);
        Process::run(&spec, Duration::from_secs(70))
    }

    fn adopt(&self, backup: &Path) -> Result<()> {
        template::copy(backup, &self.data)?;
        self.user.map_or(Ok(()), |user| user.own(&self.data))
    }

    fn copy_through(&self, port: u16, to: &Path, extra: &[&str]) -> Result<()> {
        if let (Some(user), Some(folder)) = (self.user, to.parent()) {
            // Only a folder inside the sandbox is given away, and not the sandbox itself.
            if folder.starts_with(self.sandbox.folder()) && folder != self.sandbox.folder() {
                user.own(folder)?;
            } else {
                fs::create_dir(to).map_err(|e| failure(format!("{} cannot be made: {e}.", to.display())))?;
                user.own(to)?;
            }
        }
        let port = port.to_string();
        let spec = self.spec("pg_basebackup").args(["-h", "127.0.0.1", "-p", &port, "-U", super::SUPERUSER]);
        let spec = spec.args(["-X", "stream", "-c", "fast", "--no-sync", "--no-password"]).args(extra);
        Process::run(&spec.args(["-D"]).args([to]), Duration::from_secs(120))
    }
}
