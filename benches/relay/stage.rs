//! Private servers for one run, and the relay as a process beside them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use outboxd::sandbox::{Persistence, Postgres, PostgresOptions, Process, ProcessSpec, Redis, RedisOptions, Sandbox};
use tokio_postgres::{Client, NoTls};

/// Fields are dropped, and servers killed, in this order.
pub struct Stage {
    pub postgres: Postgres,
    pub redis: Redis,
    sandbox: Sandbox,
}

/// A running relay.
pub struct Relay {
    process: Process,
}

impl Stage {
    /// A PostgreSQL that flushes its commits and a Redis without persistence.
    pub async fn start() -> Self {
        let sandbox = Sandbox::new().unwrap();
        let options = PostgresOptions { durable: true, ..PostgresOptions::default() }
            .with("shared_buffers", "512MB")
            .with("max_wal_size", "8GB")
            // What a checkpoint would recycle is read afterwards.
            .with("wal_keep_size", "8GB")
            .with("checkpoint_timeout", "1h")
            .with("max_connections", "200");
        let postgres = Postgres::start(&sandbox, &options).unwrap();
        let redis =
            Redis::start(&sandbox, RedisOptions { persistence: Persistence::None, ..RedisOptions::default() }).unwrap();
        let stage = Self { postgres, redis, sandbox };
        stage.reset().await;
        stage
    }

    /// An empty, migrated database and an empty Redis.
    pub async fn reset(&self) {
        self.postgres.sql("postgres", "drop database if exists bench with (force)").unwrap();
        self.postgres.sql("postgres", "create database bench").unwrap();
        self.redis.flushall().unwrap();
        let folder = self.sandbox.subfolder("migrate").unwrap();
        let spec = self.program(&folder).args(["migrate", "up"]);
        Process::run(&spec, Duration::from_secs(60)).unwrap();
        let client = self.connect().await;
        client.batch_execute("create table business (id bigserial primary key, note text not null)").await.unwrap();
    }

    fn program(&self, folder: &PathBuf) -> ProcessSpec {
        let log = folder.join("log");
        ProcessSpec::new(env!("CARGO_BIN_EXE_outboxd"), folder, log).stdout(folder.join("stdout")).env([
            ("DATABASE_URL", self.url()),
            ("REDIS_URL", self.redis.url(1)),
            ("OUTBOXD_HTTP__LISTEN", String::new()),
        ])
    }

    /// Starts a relay and waits until it is ready.
    pub async fn relay(&self, sets: &[&str]) -> Relay {
        let folder = self.sandbox.subfolder("relay").unwrap();
        let spec = self.program(&folder).args(["run"]).args(sets.iter().flat_map(|set| ["--set", set]));
        let process = Process::start(&spec).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !fs::read_to_string(folder.join("log")).unwrap_or_default().contains("relay.ready") {
            assert!(Instant::now() < deadline, "the relay did not start: {}", process.log_tail());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Relay { process }
    }

    pub fn url(&self) -> String {
        self.postgres.url("bench")
    }

    /// A connection of one's own.
    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// The sandbox's folder, for scripts.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.sandbox.subfolder(name).unwrap()
    }

    /// What was measured, and on what.
    pub fn describe(&self) -> String {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
        let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let version = self.postgres.sql("postgres", "show server_version").unwrap();
        let redis = self.redis.info("redis_version").unwrap().unwrap_or_default();
        format!(
            "The output of one run of `{}make bench`{}. Ratios hold within this run; absolute figures are the machine's.\n\n\
             {cores} cores ({}), load {} before the run, PostgreSQL {} (fsync on), Redis {redis} without persistence, all on \
             one machine over loopback.",
            settings(),
            commit().map(|commit| format!(" at commit {commit}")).unwrap_or_default(),
            model.map_or("unknown", |(_, name)| name),
            load.split_whitespace().next().unwrap_or("unknown"),
            version.trim()
        )
    }
}

/// What was not left as it usually is, as it would stand before a command.
fn settings() -> String {
    let set = std::env::vars().filter(|(name, _)| name.starts_with("OUTBOXD_BENCH_"));
    set.fold(String::new(), |told, (name, value)| told + &name + "=" + &value + " ")
}

/// Which sources were built, if git is there and knows. What an earlier run wrote into the results does not count.
fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output =
            std::process::Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!benches/RESULTS.md"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit} + changes") })
}

impl Relay {
    /// Everything it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    /// A line of `/proc/PID/status` in MB.
    pub fn memory(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() / 1024.0
    }

    /// Ends it in good order.
    pub fn stop(mut self) {
        self.process.stop(Duration::from_secs(20));
    }
}

/// The first argument of a Celery message, a number.
pub fn first_argument(message: &[u8]) -> u64 {
    use base64::Engine as _;
    let message: serde_json::Value = serde_json::from_slice(message).unwrap();
    let body = base64::engine::general_purpose::STANDARD.decode(message["body"].as_str().unwrap()).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    body[0][0].as_u64().unwrap()
}
