//! One fault at a time, drawn at random. Each panics unless it bit; what found nothing to take is counted apart.

use std::fs;
use std::time::Duration;

use fastrand::Rng;
use outboxd::sandbox::StopMode;
use rustix::process::Signal;

use super::scene::{QUEUES, Scene};
use crate::matrix::loss::{copy, tear};
use crate::matrix::proof::{deleted, emptied};

const ALL: [Fault; 16] = [
    Fault::Flushall,
    Fault::Flushdb,
    Fault::Swapdb,
    Fault::Marker,
    Fault::Purge,
    Fault::Restart,
    Fault::Older,
    Fault::Torn,
    Fault::Freeze,
    Fault::PostgresKilled,
    Fault::PostgresStopped,
    Fault::Terminated,
    Fault::RelayKilled,
    Fault::RelayFrozen,
    Fault::Another,
    Fault::RelayStopped,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Flushall,
    Flushdb,
    Swapdb,
    /// The marker of one queue goes.
    Marker,
    /// The list of the queue with receipts goes; of no other queue's list is that claimed.
    Purge,
    /// SIGKILL, with the data as they are.
    Restart,
    /// With the data of a moment ago.
    Older,
    /// The end of the log is missing.
    Torn,
    Freeze,
    PostgresKilled,
    PostgresStopped,
    /// Every session of the relays and applications.
    Terminated,
    RelayKilled,
    RelayFrozen,
    /// One relay more.
    Another,
    RelayStopped,
}

/// Does something bad.
pub async fn one(scene: &mut Scene, rng: &mut Rng) {
    let fault = ALL[rng.usize(..ALL.len())];
    let mut bit = true;
    match fault {
        Fault::Flushall | Fault::Flushdb | Fault::Swapdb | Fault::Marker | Fault::Purge => {
            bit = data(scene, fault, rng);
        }
        Fault::Restart => scene.restart_redis(|_| ()),
        Fault::Older => {
            let older = scene.fixture.sandbox.subfolder("older").unwrap().join("data");
            // Frozen: a rewrite of the log that ended meanwhile would leave half of each.
            scene.fixture.redis.signal(Signal::STOP);
            copy(&scene.fixture.redis.data().join("appendonlydir"), &older);
            scene.fixture.redis.signal(Signal::CONT);
            // What happens meanwhile is lost.
            tokio::time::sleep(Duration::from_millis(rng.u64(50..1500))).await;
            scene.restart_redis(|redis| {
                let data = redis.data().join("appendonlydir");
                fs::remove_dir_all(&data).unwrap();
                fs::rename(&older, &data).unwrap();
            });
        }
        Fault::Torn => {
            let cut = rng.u64(1..20_000);
            scene.restart_redis(|redis| {
                let (was, is) = tear(redis.data(), |length| length.saturating_sub(cut));
                bit = is < was;
            });
        }
        Fault::Freeze => {
            scene.fixture.redis.signal(Signal::STOP);
            // How long it is frozen: sometimes longer than a relay waits.
            tokio::time::sleep(Duration::from_millis(rng.u64(200..1800))).await;
            scene.fixture.redis.signal(Signal::CONT);
        }
        Fault::PostgresKilled | Fault::PostgresStopped => postgres(scene, fault),
        Fault::Terminated => {
            let ended = scene.fixture.database.sql(
                "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
                  where pid <> pg_backend_pid() and backend_type = 'client backend'",
            );
            bit = ended.trim() != "0";
        }
        Fault::RelayKilled | Fault::RelayFrozen | Fault::Another | Fault::RelayStopped => {
            relays(scene, fault, rng).await;
        }
    }
    scene.count(&format!("{fault:?}{}", if bit { "" } else { " of nothing" }));
}

/// Whether there was anything to take; after the fault before there may be nothing.
fn data(scene: &mut Scene, fault: Fault, rng: &mut Rng) -> bool {
    let redis = &scene.fixture.redis;
    match fault {
        Fault::Flushall => !emptied(redis, &["FLUSHALL"]).is_empty(),
        Fault::Flushdb => !emptied(redis, &["FLUSHDB"]).is_empty(),
        Fault::Swapdb => {
            let keys = emptied(redis, &["SWAPDB", "1", "7"]);
            // It must not come back as something from long ago at the next time.
            let mut client = redis.connect().unwrap();
            client.cmd(["SELECT", "7"]).unwrap();
            client.cmd(["FLUSHDB"]).unwrap();
            !keys.is_empty()
        }
        Fault::Marker => {
            let queue = QUEUES[rng.usize(..QUEUES.len())].0;
            deleted(redis, "HLEN", &format!("outbox:m:{{{queue}}}")) > 0
        }
        _ => deleted(redis, "LLEN", "acked") > 0,
    }
}

fn postgres(scene: &Scene, fault: Fault) {
    let database = &scene.fixture.database;
    let since = || database.sql("select pg_postmaster_start_time()");
    let was = since();
    match fault {
        Fault::PostgresKilled => database.postgres.kill(),
        _ => database.postgres.stop(StopMode::Immediate).unwrap(),
    }
    database.postgres.start_again().unwrap();
    assert_ne!(since(), was, "{fault:?}: it is the same server");
}

async fn relays(scene: &mut Scene, fault: Fault, rng: &mut Rng) {
    let which = rng.usize(..scene.relays.len());
    match fault {
        Fault::RelayKilled => {
            scene.relays[which].kill();
            scene.relays[which] = scene.relay();
        }
        Fault::RelayFrozen => {
            scene.relays[which].signal(Signal::STOP);
            // Longer than it takes another one to take over.
            tokio::time::sleep(Duration::from_millis(rng.u64(200..3000))).await;
            scene.relays[which].signal(Signal::CONT);
        }
        _ if fault == Fault::Another && scene.relays.len() < 3 => {
            let relay = scene.relay();
            scene.relays.push(relay);
        }
        _ => {
            let mut relay = scene.relays.swap_remove(which);
            relay.signal(Signal::TERM);
            scene.relays.push(scene.relay());
            scene.leaving.push(relay);
        }
    }
}
