//! How each loss is brought about. Each panics unless it bit.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use outboxd::sandbox::{Direction, Persistence, Proxy, Redis, RedisOptions, Sandbox};
use uuid::Uuid;

use super::cell::{Cell, Consumer, Loss};
use super::clock;
use super::proof::{Evictions, Life, Mark, deleted, emptied, renamed};
use super::stage::{MARKER_KEY, Stage};
use super::standing::db;
use crate::common::{SOON, eventually_blocking};

/// What a loss needs to have been prepared before what it takes back happened.
#[derive(Default)]
pub struct Armed {
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
    /// What changed, for people.
    pub proof: String,
}

/// Takes the state to which Redis will go back.
pub fn arm(stage: &Stage, cell: Cell) -> Armed {
    let mut armed = Armed::default();
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
    let nothing = HashSet::new;
    let (proof, after) = match cell.loss {
        Loss::Flushall | Loss::Flushdb | Loss::Swapdb | Loss::Marker | Loss::Deleted | Loss::Renamed => {
            (take_away(stage, cell), nothing())
        }
        Loss::Evicted => (evict(stage.server()), nothing()),
        Loss::Emptied | Loss::Restarted | Loss::OlderRdb | Loss::OlderAof | Loss::TornAof => {
            restart(stage, cell, armed)
        }
        Loss::Promoted | Loss::Replaced => replace(stage, cell),
        Loss::Cut => cut(stage, cell),
        Loss::Empty | Loss::Drained => {
            let standing = stage.standing(stage.server());
            assert!(standing.is_empty(), "{cell}: {} tasks stand there", standing.len());
            ("nothing stood there".to_owned(), nothing())
        }
    };
    Bite { at: clock(), after, proof }
}

/// Data, or a name, from a server that goes on.
fn take_away(stage: &Stage, cell: Cell) -> String {
    let redis = stage.server();
    let measure = if cell.consumer == Consumer::Stream { "XLEN" } else { "LLEN" };
    let all = |command: &[&str]| {
        let keys = emptied(redis, command);
        assert!(keys.iter().any(|key| key == MARKER_KEY), "{cell}: there was no marker, only {keys:?}");
        format!("{} keys gone", keys.len())
    };
    let kept = || redis.cmd(["GET", "kept"]).unwrap().text();
    let had = kept();
    let (proof, wanted) = match cell.loss {
        Loss::Flushall => (all(&["FLUSHALL"]), None),
        Loss::Flushdb => (all(&["FLUSHDB"]), had.clone()),
        Loss::Swapdb => {
            let proof = all(&["SWAPDB", "1", "7"]);
            let mut there = redis.connect().unwrap();
            there.cmd(["SELECT", "7"]).unwrap();
            assert_eq!(there.cmd(["EXISTS", MARKER_KEY]).unwrap().int(), Some(1), "{cell}: the marker is not there");
            (proof, had.clone())
        }
        Loss::Marker => (format!("{} marker gone", deleted(redis, "HLEN", MARKER_KEY)), had.clone()),
        Loss::Deleted => (format!("{} messages gone", deleted(redis, measure, "jobs")), had.clone()),
        _ => (format!("{} messages renamed", renamed(redis, measure, "jobs", "elsewhere")), had.clone()),
    };
    assert!(!proof.starts_with('0'), "{cell}: {proof}");
    assert_eq!((had.as_deref(), kept()), (Some("here"), wanted), "{cell}: what another database has");
    proof
}

/// Another process on the same data, or on what was made of them meanwhile.
fn restart(stage: &Stage, cell: Cell, armed: &Armed) -> (String, HashSet<Uuid>) {
    let redis = stage.server();
    let (life, before) = (Life::of(redis.connect().unwrap()), mark(redis).unwrap());
    if cell.loss == Loss::Restarted {
        redis.stop().unwrap();
    } else {
        redis.kill();
    }
    let mut proof = String::new();
    if let Some(older) = &armed.older {
        let data = redis.data().join("appendonlydir");
        fs::remove_dir_all(&data).unwrap();
        copy(older, &data);
    } else if cell.loss == Loss::TornAof {
        let (was, is) = tear(redis.data(), |_| armed.length + 10);
        assert!(is < was, "{cell}: the log has {was} bytes, not more than {is}");
        proof = format!("log {was} -> {is} bytes, ");
    }
    // What the server will find, asked before a relay can be the first to reach it.
    let (found, standing) = preview(&stage.fixture.sandbox, redis, |copied| (mark(copied), stage.standing(copied)));
    redis.start_again().unwrap();
    let now = mark(redis);
    proof += &life.ended(redis.connect().unwrap());
    if cell.loss == Loss::Restarted {
        assert!(!before.is_lost_in(found.as_ref()), "{cell}: {before:?} -> {found:?}");
    } else {
        assert_eq!(cell.loss == Loss::Emptied, found.is_none(), "{cell}: {found:?}");
        // By now a relay may have written one of its own, but never this one.
        let lost = before.is_lost_in(found.as_ref()) && before.is_lost_in(now.as_ref());
        assert!(lost, "{cell}: {before:?} -> {found:?}, then {now:?}");
    }
    (format!("{proof}, {}", went(&before, found.as_ref())), standing)
}

/// Another server at the same address.
fn replace(stage: &Stage, cell: Cell) -> (String, HashSet<Uuid>) {
    let (redis, other) = (stage.server(), stage.other.as_ref().unwrap());
    let (life, before) = (Life::of(stage.client()), mark(redis).unwrap());
    if cell.loss == Loss::Promoted {
        other.promote().unwrap();
    }
    // Clients do not reach it yet.
    let (found, standing) = (mark(other), stage.standing(other));
    assert!(before.is_lost_in(found.as_ref()), "{cell}: {before:?} -> {found:?}");
    if cell.loss == Loss::Promoted {
        redis.kill();
    }
    stage.switch_to_other();
    (format!("{}, {}", life.ended(stage.client()), went(&before, found.as_ref())), standing)
}

fn cut(stage: &Stage, cell: Cell) -> (String, HashSet<Uuid>) {
    let proxy = stage.proxy.as_ref().unwrap();
    proxy.refuse().unwrap();
    let open = proxy.stats().open;
    assert!(open > 0, "{cell}: nobody was connected");
    proxy.cut();
    assert!(proxy.wait(SOON, |stats| stats.open == 0), "{cell}: {:?}", proxy.stats());
    let refused = std::net::TcpStream::connect(stage.address());
    assert!(refused.is_err(), "{cell}: the network is still there");
    // How long it is gone.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let standing = stage.standing(stage.server());
    proxy.pass().unwrap();
    (format!("{open} connections cut, others refused"), standing)
}

fn mark(redis: &Redis) -> Option<Mark> {
    Mark::of(redis, MARKER_KEY)
}

fn went(before: &Mark, found: Option<&Mark>) -> String {
    let found = found.map_or("none".to_owned(), |found| found.position.to_string());
    format!("marker {} -> {found}", before.position)
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

/// The server drops keys for want of memory, the least used first, until it has dropped the queue or its marker.
fn evict(redis: &Redis) -> String {
    let set = |name: &str, value: &str| drop(redis.cmd(["CONFIG", "SET", name, value]).unwrap());
    let fat = "x".repeat(8 << 20);
    let (mut evictions, mut dropped) = (Evictions::listen(redis), Vec::new());
    set("maxmemory-policy", "allkeys-lru");
    let bit = eventually_blocking(SOON, || {
        redis.cmd(["SET", "fat", &fat]).unwrap();
        let used: u64 = redis.info("used_memory").unwrap().unwrap().parse().unwrap();
        set("maxmemory", &(used - 500).to_string());
        // It drops keys before it does what it is asked; what a new client takes is more than it has.
        for _ in 0..2 {
            db(redis, &["PING"]).unwrap();
        }
        set("maxmemory", "0");
        dropped.extend(evictions.heard());
        dropped.iter().any(|key| key == "jobs" || key == MARKER_KEY)
    });
    set("maxmemory-policy", "noeviction");
    set("notify-keyspace-events", "");
    assert!(bit, "nothing of the queue was evicted, only {dropped:?}");
    format!("evicted: {}", dropped.join(" "))
}

/// Cuts the append-only file to a length that depends on the one it has: both.
pub fn tear(data: &Path, to: impl FnOnce(u64) -> u64) -> (u64, u64) {
    let log = fs::File::options().write(true).open(log_of(data)).unwrap();
    let was = log.metadata().unwrap().len();
    log.set_len(to(was)).unwrap();
    (was, log.metadata().unwrap().len())
}

/// The growing part of the append-only file.
fn log_of(data: &Path) -> PathBuf {
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
