//! Private servers in a temporary folder: what `outboxd demo`, the tests and the benchmarks run against.
//!
//! It promises that nothing it starts outlives the program that started it, that nothing listens anywhere but on the
//! loopback interface, and that a server is ready when its `start` returns. Everything here blocks the calling
//! thread; it is driven by tests and by the demo, never by the relay. It depends on no other module of this crate.

mod celery;
mod pgbouncer;
mod port;
mod postgres;
mod process;
mod proxy;
mod redis_server;
mod resp;
mod tls;
mod user;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use celery::{CeleryOptions, CeleryWorker};
pub use pgbouncer::PgBouncer;
pub use port::Port;
pub use postgres::{Postgres, PostgresOptions, StopMode, postgres_program};
pub use process::{Process, ProcessSpec};
pub use proxy::{Direction, Proxy, ProxyStats};
pub use redis_server::{Persistence, Redis, RedisOptions, redis_major};
pub use resp::{Client, Value};
pub use tls::TlsFiles;

/// What went wrong, as a sentence that names the program, the cause and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SandboxError(pub String);

/// The result of everything here.
pub type Result<T, E = SandboxError> = std::result::Result<T, E>;

/// A temporary folder in which private servers live.
///
/// The folder is removed when the last clone, and the last server started in it, is dropped; with `OUTBOXD_KEEP=1` it
/// stays, so that logs can be read.
#[derive(Debug, Clone)]
pub struct Sandbox {
    folder: Arc<Folder>,
}

impl Sandbox {
    /// Makes a new, empty folder under the system's temporary folder, and sweeps up what killed programs left there.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base = std::env::temp_dir();
        sweep(&base);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("{PREFIX}{}-{count}", std::process::id()));
            let failed = |e| failure(format!("The temporary folder {} cannot be made: {e}.", path.display()));
            // `create_dir`, not `create_dir_all`: a folder that somebody else put there must not be used.
            match fs::create_dir(&path) {
                Ok(()) => {}
                // A folder that was kept, of a process that had the same id.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && count < 1_000 => continue,
                Err(e) => return Err(failed(e)),
            }
            // Servers that may not run as root read their files in here under another user.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
            return Ok(Self { folder: Arc::new(Folder { path, kept: AtomicBool::new(false) }) });
        }
    }

    /// Lets the folder stay: neither the end of this sandbox nor the next one removes it.
    pub fn keep(&self) {
        self.folder.kept.store(true, Ordering::Relaxed);
        // Without the mark the folder stays until the next sandbox is made, which is as good as this can do.
        let _ = fs::write(self.folder().join(KEPT), "");
    }

    /// Where the servers' files and logs are.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Makes a folder inside, named `name-N` with the first free number.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf> {
        for n in 1..10_000 {
            let path = self.folder().join(format!("{name}-{n}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failure(format!("The folder {} cannot be made: {e}.", path.display()))),
            }
        }
        Err(failure(format!("{} holds 10,000 folders named {name}.", self.folder().display())))
    }
}

const PREFIX: &str = "outboxd-sandbox-";
/// Marks a folder that is not to be swept up.
const KEPT: &str = "kept";

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    kept: AtomicBool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !keep() && !self.kept.load(Ordering::Relaxed) {
            // A server that was just killed may still be writing its last file.
            let _ = poll_until(Duration::from_secs(2), || fs::remove_dir_all(&self.path).is_ok());
        }
    }
}

/// Whether what was made stays after use, for a look at it: `OUTBOXD_KEEP=1`.
pub fn keep() -> bool {
    std::env::var_os("OUTBOXD_KEEP").is_some_and(|value| value == OsStr::new("1"))
}

/// Removes the folders of programs that were killed before they could.
fn sweep(base: &Path) {
    if keep() || !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{pid}")).exists()
            && !entry.path().join(KEPT).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn failure(sentence: impl Into<String>) -> SandboxError {
    SandboxError(sentence.into())
}

/// Asks every 2 ms until the answer is yes; `false` after `timeout`. For states of foreign processes that send no event.
fn poll_until(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
