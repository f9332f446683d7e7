//! A Redis server of its own per test, a connection beside the one under test, and one queue on it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outboxd::batch::{Entry, Key, KeyKind, Marker, Push};
use outboxd::broker::{Appended, Batch, Link, Opened, Target, append, marker_key, observe, open};
use outboxd::fault::Fault;
use outboxd::sandbox::redis_major;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, RedisResult, Value};
use secrecy::SecretString;
use uuid::Uuid;

pub(super) const FIELD: &str = "0b6f3f5e-7f0e-4f4a-9a53-0d3d1a2f4c11/emails";

/// A server that lives as long as this value.
pub(super) struct Redis {
    child: Child,
    pub(super) port: u16,
    pub(super) dir: PathBuf,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub(super) fn temp_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("outboxd-broker-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Redis {
    /// Persistence is off unless `args` say otherwise; `{port}` in them is the port that was found free.
    pub(super) async fn start(args: &[&str]) -> Self {
        Self::start_in(temp_dir(), args).await
    }

    /// Another process may take the port first: then with another one.
    pub(super) async fn start_in(dir: PathBuf, args: &[&str]) -> Self {
        for _ in 0..5 {
            let port = free_port();
            let child = spawn(&dir, port, args);
            let mut redis = Self { child, port, dir: dir.clone() };
            if redis.answers().await {
                return redis;
            }
            redis.dir = PathBuf::new();
        }
        panic!("redis-server does not start; see {}/log", dir.display());
    }

    /// Until the server accepts connections, whatever it says on them.
    async fn answers(&mut self) -> bool {
        for _ in 0..6000 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(log) = std::fs::read_to_string(self.dir.join("log")) {
                // Loading begins after the sockets are open, and ends before this line.
                if log.contains("Ready to accept connections") || log.contains("Loading RDB") {
                    return true;
                }
            }
            // The interval of asking, not a guess at how long something takes.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(super) async fn link(&self) -> Link {
        target(&self.url()).connect().await.unwrap()
    }

    pub(super) async fn admin(&self) -> Admin {
        let client = redis::Client::open(self.url()).unwrap();
        // By itself redis-rs waits 500 ms for an answer: less than a busy machine may take.
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(30)))
            .set_response_timeout(Some(Duration::from_secs(60)));
        Admin(client.get_multiplexed_async_connection_with_config(&patient).await.unwrap())
    }
}

fn spawn(dir: &Path, port: u16, args: &[&str]) -> Child {
    // Without it 7.0 forbids DEBUG, which 6.2 allows; and does not know the switch.
    let debug: &[&str] = if redis_major() >= 7 { &["--enable-debug-command", "yes"] } else { &[] };
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--logfile", "log"])
        .args(["--repl-diskless-sync-delay", "0", "--dir"])
        .arg(dir)
        .args(debug)
        .args(args.iter().map(|arg| arg.replace("{port}", &port.to_string())))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A connection that is not under test.
#[derive(Clone)]
pub(super) struct Admin(pub(super) MultiplexedConnection);

impl Admin {
    pub(super) async fn try_run(&mut self, words: &[&str]) -> RedisResult<Value> {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        command.query_async(&mut self.0).await
    }

    pub(super) async fn run<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        T::from_redis_value(self.try_run(words).await.unwrap()).ok().unwrap()
    }

    /// Until INFO contains this line.
    pub(super) async fn until_info(&mut self, section: &str, line: &str) {
        for _ in 0..6000 {
            if self.run::<String>(&["INFO", section]).await.contains(line) {
                return;
            }
            // The interval of asking, not a guess at how long something takes.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("INFO {section} never says {line}");
    }
}

pub(super) fn target(url: &str) -> Target {
    target_within(url, Duration::from_secs(10))
}

pub(super) fn target_within(url: &str, response_timeout: Duration) -> Target {
    Target::new("default", &SecretString::from(url), Duration::from_secs(5), response_timeout).unwrap()
}

pub(super) fn tenure(number: u128) -> Uuid {
    Uuid::from_u128(0xabcd_ef00_0000_4000_8000_0000_0000_0000 + number)
}

pub(super) fn lists(names: &[&str]) -> Vec<Key> {
    names.iter().map(|name| Key { name: name.as_bytes().to_vec(), kind: KeyKind::List }).collect()
}

pub(super) fn left(key: usize, body: impl AsRef<[u8]>) -> Push {
    Push { key, entry: Entry::Left(body.as_ref().to_vec()) }
}

/// One queue on one server.
pub(super) struct Queue {
    pub(super) keys: Vec<Key>,
    pub(super) marker: Vec<u8>,
    pub(super) group: Option<String>,
}

impl Queue {
    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self { marker: marker_key(&keys[0].name).unwrap(), keys, group: None }
    }

    pub(super) fn batch<'a>(&'a self, tenure: Uuid, from: i64, to: i64, pushes: &'a [Push]) -> Batch<'a> {
        Batch {
            marker: &self.marker,
            field: FIELD,
            tenure,
            from,
            to,
            keys: &self.keys,
            pushes,
            group: self.group.as_deref(),
        }
    }

    pub(super) async fn append(
        &self,
        link: &Link,
        by: Uuid,
        from: i64,
        to: i64,
        pushes: &[Push],
    ) -> Result<Appended, Fault> {
        append(link, &self.batch(by, from, to, pushes)).await
    }

    /// Opens under `tenure` at `position`, whatever stands there.
    pub(super) async fn open(&self, link: &Link, tenure: Uuid, position: i64) {
        let observed = observe(link, &self.marker, FIELD).await.unwrap();
        let new = Marker { tenure, position };
        let opened = open(link, &self.marker, FIELD, observed.found.value.as_deref(), &new).await.unwrap();
        assert_eq!(opened, Opened::Ok(observed.server.incarnation));
    }

    pub(super) async fn marker(&self, link: &Link) -> Option<Marker> {
        observe(link, &self.marker, FIELD).await.unwrap().found.marker
    }
}
