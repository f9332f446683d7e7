//! How each loss is brought about, and the proof that it bit.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use outboxd::sandbox::{Direction, Persistence, Proxy, Redis, RedisOptions, Sandbox};
use uuid::Uuid;

use super::cell::{Cell, Loss};
use super::clock;
use super::stage::{MARKER_KEY, Stage};
use super::standing::db;
use crate::common::{SOON, eventually_blocking};

/// What a loss needs to have been prepared before what it takes back happened.
pub struct Armed {
    position: i64,
    /// A copy of the data as they were, or where their log ended.
    older: Option<PathBuf>,
    length: u64,
}

/// What a loss did.
pub struct Bite {
    /// When Redis could be seen to lack something, in seconds since 1970.
    pub at: f64,
    /// Tasks that stood in Redis when clients came back to it.
    pub after: HashSet<Uuid>,
    /// Which changed, for people.
    pub proof: String,
}

/// Takes the position to which Redis will go back.
pub fn arm(stage: &Stage, cell: Cell) -> Armed {
    let mut armed = Armed { position: stage.position().unwrap_or(0), older: None, length: 0 };
    match cell.loss {
        Loss::OlderRdb => drop(stage.server().cmd(["SAVE"]).unwrap()),
        Loss::OlderAof => {
            let older = stage.fixture.sandbox.folder().join("older");
            copy(&stage.server().data().join("appendonlydir"), &older);
            armed.older = Some(older);
        }
        Loss::TornAof => armed.length = fs::metadata(log_of(stage.server().data())).unwrap().len(),
        Loss::Promoted => stage.link.as_ref().unwrap().pause(Direction::Replies),
        _ => {}
    }
    armed
}

/// Brings it about. Panics unless it bit.
pub fn strike(stage: &Stage, cell: Cell, armed: &Armed) -> Bite {
    let (redis, position) = (stage.server(), stage.position());
    let process = redis.info("process_id").unwrap();
    let mut bite = Bite { at: 0.0, after: HashSet::new(), proof: String::new() };
    match cell.loss {
        Loss::Flushall => redis.flushall().unwrap(),
        Loss::Flushdb => drop(db(redis, &["FLUSHDB"]).unwrap()),
        Loss::Swapdb => drop(redis.cmd(["SWAPDB", "1", "7"]).unwrap()),
        Loss::Marker => drop(db(redis, &["DEL", MARKER_KEY]).unwrap()),
        Loss::Deleted | Loss::Renamed => {
            let words =
                if cell.loss == Loss::Deleted { vec!["DEL", "jobs"] } else { vec!["RENAME", "jobs", "elsewhere"] };
            db(redis, &words).unwrap();
        }
        Loss::Evicted => evict(stage, redis),
        Loss::Emptied => restart(redis, || ()),
        Loss::Restarted => {
            redis.stop().unwrap();
            bite.after = previewed(stage, redis);
            redis.start_again().unwrap();
        }
        Loss::OlderRdb => restart(redis, || bite.after = previewed(stage, redis)),
        Loss::OlderAof => restart(redis, || {
            let data = redis.data().join("appendonlydir");
            fs::remove_dir_all(&data).unwrap();
            copy(armed.older.as_ref().unwrap(), &data);
            bite.after = previewed(stage, redis);
        }),
        Loss::TornAof => restart(redis, || {
            let log = fs::File::options().write(true).open(log_of(redis.data())).unwrap();
            log.set_len(armed.length + 10).unwrap();
            bite.after = previewed(stage, redis);
        }),
        Loss::Promoted => {
            let other = stage.other.as_ref().unwrap();
            other.promote().unwrap();
            bite.after = stage.standing(other);
            redis.kill();
            stage.switch_to_other();
        }
        Loss::Replaced => stage.switch_to_other(),
        Loss::Cut => {
            let proxy = stage.proxy.as_ref().unwrap();
            proxy.refuse().unwrap();
            proxy.cut();
            // How long the network is gone.
            std::thread::sleep(std::time::Duration::from_millis(300));
            bite.after = stage.standing(redis);
            proxy.pass().unwrap();
        }
        Loss::Empty | Loss::Drained => {}
    }
    bite.at = clock();
    bite.proof = prove(stage, cell, armed, (position, process));
    bite
}

fn prove(stage: &Stage, cell: Cell, armed: &Armed, (position, process): (Option<i64>, Option<String>)) -> String {
    let redis = stage.server();
    match cell.loss {
        Loss::Emptied | Loss::Restarted | Loss::Replaced => {
            let now = redis.info("process_id").unwrap();
            assert_ne!(now, process, "{cell}: it is the same process");
            format!("process {} -> {}", process.unwrap(), now.unwrap())
        }
        Loss::OlderRdb | Loss::OlderAof | Loss::TornAof | Loss::Promoted => {
            assert!(armed.position < position.unwrap(), "{cell}: nothing was published meanwhile");
            format!("marker {} -> about {}", position.unwrap(), armed.position)
        }
        Loss::Flushall | Loss::Flushdb | Loss::Marker | Loss::Swapdb => {
            let there = |number: &str| db(redis, &["SELECT", number]).is_ok();
            assert!(there("1") && position.is_some(), "{cell}: there was no marker");
            if cell.loss == Loss::Flushdb {
                let kept = redis.cmd(["GET", "kept"]).unwrap().text();
                assert_eq!(kept.as_deref(), Some("here"), "{cell}: the other database was emptied, too");
            }
            format!("marker at {} gone", position.unwrap())
        }
        Loss::Deleted | Loss::Renamed => "the queue's key gone".to_owned(),
        Loss::Evicted => format!("{} keys evicted", redis.info("evicted_keys").unwrap().unwrap()),
        Loss::Cut => format!("{} connections", stage.proxy.as_ref().unwrap().stats().accepted),
        Loss::Empty | Loss::Drained => "nothing stood there".to_owned(),
    }
}

fn restart(redis: &Redis, meanwhile: impl FnOnce()) {
    redis.kill();
    meanwhile();
    redis.start_again().unwrap();
}

/// What a dead server will have once it is started again: asked of another one on a copy of its data.
pub fn preview<T>(sandbox: &Sandbox, redis: &Redis, ask: impl FnOnce(&Redis) -> T) -> T {
    let persistence = if redis.data().join("appendonlydir").exists() { Persistence::AofNo } else { Persistence::Rdb };
    let options = RedisOptions { persistence, ..RedisOptions::default() };
    let copied = Redis::start(sandbox, options).unwrap();
    copied.kill();
    fs::remove_dir_all(copied.data()).unwrap();
    copy(redis.data(), copied.data());
    copied.start_again().unwrap();
    ask(&copied)
}

fn previewed(stage: &Stage, redis: &Redis) -> HashSet<Uuid> {
    preview(&stage.fixture.sandbox, redis, |copied| stage.standing(copied))
}

/// The server drops keys for want of memory, the least used first, until it has dropped the queue or its marker.
fn evict(stage: &Stage, redis: &Redis) {
    let set = |name: &str, value: &str| drop(redis.cmd(["CONFIG", "SET", name, value]).unwrap());
    let before: i64 = redis.info("evicted_keys").unwrap().unwrap().parse().unwrap();
    let fat = "x".repeat(8 << 20);
    set("maxmemory-policy", "allkeys-lru");
    let key_is_gone = || db(redis, &["EXISTS", "jobs"]).unwrap().int() == Some(0);
    let gone = eventually_blocking(SOON, || {
        redis.cmd(["SET", "fat", &fat]).unwrap();
        let used: u64 = redis.info("used_memory").unwrap().unwrap().parse().unwrap();
        set("maxmemory", &(used - 500).to_string());
        let gone = key_is_gone() || stage.position().is_none();
        set("maxmemory", "0");
        gone
    });
    set("maxmemory-policy", "noeviction");
    let after: i64 = redis.info("evicted_keys").unwrap().unwrap().parse().unwrap();
    assert!(gone && after > before, "nothing of the queue was evicted");
}

/// The growing part of the append-only file.
pub fn log_of(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("appendonlydir")).unwrap().flatten().map(|entry| entry.path());
    files.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max().unwrap()
}

pub fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").args(["-a".as_ref(), from.as_os_str(), to.as_os_str()]).status();
    assert!(copied.unwrap().success());
}

/// A replica of the first server, through a link that can be stopped.
pub fn replica(stage: &mut Stage) {
    let link = Proxy::start(stage.fixture.redis.port()).unwrap();
    stage.other.as_ref().unwrap().replica_of(link.port()).unwrap();
    stage.link = Some(link);
}
