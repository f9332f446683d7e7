//! One database per test in a cluster that the tests of a process share.
//!
//! Tests that kill, restart or configure the server start a cluster of their own instead.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use outboxd::sandbox::{Postgres, PostgresOptions, Sandbox, StopMode, postgres_program};
use tokio_postgres::NoTls;

use super::{outboxd, template};

/// A database that nobody else uses.
pub struct Database {
    pub postgres: Arc<Postgres>,
    pub name: String,
    _cluster: Option<Arc<Cluster>>,
}

impl Database {
    /// An empty database in the shared cluster.
    pub fn empty() -> Self {
        let cluster = Cluster::shared();
        let name = fresh_name();
        cluster.postgres.sql("postgres", &format!("create database {name}")).unwrap();
        Self { postgres: Arc::clone(&cluster.postgres), name, _cluster: Some(cluster) }
    }

    /// A database in the shared cluster with all migrations applied.
    pub fn migrated() -> Self {
        let cluster = Cluster::shared();
        let name = fresh_name();
        cluster.postgres.sql("postgres", &format!("create database {name} template {MODEL}")).unwrap();
        Self { postgres: Arc::clone(&cluster.postgres), name, _cluster: Some(cluster) }
    }

    /// A migrated database in a cluster of one's own, which may be killed.
    pub fn migrated_in(postgres: Postgres) -> Self {
        let name = fresh_name();
        postgres.sql("postgres", &format!("create database {name}")).unwrap();
        migrate(&postgres.url(&name));
        Self { postgres: Arc::new(postgres), name, _cluster: None }
    }

    pub fn url(&self) -> String {
        self.postgres.url(&self.name)
    }

    /// Runs SQL through `psql`, with both schemas of the outbox in `search_path`.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap()
    }

    /// [`Database::sql`], which may fail.
    pub fn try_sql(&self, sql: &str) -> outboxd::sandbox::Result<String> {
        self.postgres.sql(&format!("{}?{BOTH}", self.name), sql)
    }

    /// A connection of one's own with both schemas of the outbox in `search_path`, closed when the client is dropped.
    pub async fn connect(&self) -> tokio_postgres::Client {
        session(&format!("{}?{BOTH}", self.url())).await
    }

    /// A connection as an application has it: `search_path` is the server's default.
    pub async fn connect_plainly(&self) -> tokio_postgres::Client {
        session(&self.url()).await
    }
}

/// What lets tests name everything of the outbox without its schema.
const BOTH: &str = "options=-csearch_path%3Dpublic%2Coutboxd";

async fn session(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    // It ends with its client; an error shows in the client's next call.
    tokio::spawn(connection);
    client
}

impl Drop for Database {
    fn drop(&mut self) {
        // Only to keep a long run small: the cluster goes with its last test.
        if !outboxd::sandbox::keep() {
            let _ = self.postgres.sql("postgres", &format!("drop database if exists {} with (force)", self.name));
        }
    }
}

/// The options of a cluster for tests; add settings with [`PostgresOptions::with`].
pub fn options() -> PostgresOptions {
    PostgresOptions { template: Some(template()), ..PostgresOptions::default() }.with("max_connections", "200")
}

struct Cluster {
    postgres: Arc<Postgres>,
}

impl Cluster {
    /// The cluster lives as long as a test that uses it: a static would never be dropped.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let sandbox = Sandbox::new().unwrap();
            let postgres = Postgres::start_from(&sandbox, &migrated_cluster(), &options()).unwrap();
            let cluster = Arc::new(Self { postgres: Arc::new(postgres) });
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }
}

/// A kept cluster with a migrated database in it, made once for each state of the schema and its runner: starting
/// from it takes less time than the migrations, also where every test is a process of its own.
fn migrated_cluster() -> PathBuf {
    // The program holds both; its files on disk may have changed since it was built.
    let program = fs::metadata(env!("CARGO_BIN_EXE_outboxd")).unwrap();
    let mut hasher = DefaultHasher::new();
    (program.modified().unwrap(), program.len()).hash(&mut hasher);
    // Another major release does not read it.
    postgres_program("postgres").unwrap().hash(&mut hasher);
    let folder = template().join(format!("migrated-{:016x}", hasher.finish()));
    // One of many processes makes it; the others wait for that.
    fs::create_dir_all(template()).unwrap();
    let lock = fs::File::create(template().join("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        for stale in fs::read_dir(template()).unwrap().flatten() {
            if stale.file_name().to_string_lossy().starts_with("migrated-") {
                let _ = fs::remove_dir_all(stale.path());
            }
        }
        let postgres = Postgres::start(&Sandbox::new().unwrap(), &options()).unwrap();
        postgres.sql("postgres", &format!("create database {MODEL}")).unwrap();
        migrate(&postgres.url(MODEL));
        postgres.stop(StopMode::Fast).unwrap();
        postgres.keep_as(&folder).unwrap();
    }
    folder
}

/// The database that others are copied from. Copies share its installation's uuid; a test about two installations
/// migrates an empty database itself.
const MODEL: &str = "migrated";

/// Applies all migrations to an empty database.
pub fn migrate(url: &str) {
    let output = outboxd(&["migrate", "up"], &[("DATABASE_URL", url)], Path::new("/"));
    assert!(output.status.success(), "outboxd migrate up failed: {}", output.stderr);
}

fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
