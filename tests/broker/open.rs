//! The way back in, and the look that notices when it is needed.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use outboxd::batch::Marker;
use outboxd::broker::{Appended, Found, Opened, Spot, inspect, look, observe, open};

use super::harness::{FIELD, Queue, Redis, left, lists, tenure};

#[tokio::test]
async fn opening_replaces_only_what_was_observed() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    let first = Marker { tenure: tenure(1), position: 0 };
    let second = Marker { tenure: tenure(2), position: 7 };
    let at = |observed: Option<Marker>, new: Marker| {
        let (link, queue) = (&link, &queue);
        async move {
            let observed = observed.map(|marker| marker.to_string().into_bytes());
            open(link, &queue.marker, FIELD, observed.as_deref(), &new).await.unwrap()
        }
    };
    let incarnation = observe(&link, &queue.marker, FIELD).await.unwrap().server.incarnation;
    assert!(incarnation.run_id.len() == 40 && incarnation.replid.len() == 40);

    assert_eq!(at(Some(first), second).await, Opened::Stale(Found { value: None, marker: None }));
    assert_eq!(at(None, first).await, Opened::Ok(incarnation.clone()));
    let found = Found { value: Some(first.to_string().into_bytes()), marker: Some(first) };
    assert_eq!(at(None, second).await, Opened::Stale(found.clone()));
    assert_eq!(at(Some(second), Marker { position: 9, ..second }).await, Opened::Stale(found));
    assert_eq!(queue.marker(&link).await, Some(first));
    assert_eq!(at(Some(first), second).await, Opened::Ok(incarnation.clone()));
    // The reply was lost: the same call again counts as its own doing.
    assert_eq!(at(Some(first), second).await, Opened::Ok(incarnation));
    assert_eq!(queue.marker(&link).await, Some(second));
}

#[tokio::test]
async fn rubbish_and_emptiness_in_the_field_can_be_replaced_byte_for_byte() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    for rubbish in [&b""[..], b"\xff\xfe\0", b"0", b"1"] {
        let mut admin = redis.admin().await;
        let mut set = redis::cmd("HSET");
        let _: i64 = set.arg(&queue.marker).arg(FIELD).arg(rubbish).query_async(&mut admin.0).await.unwrap();
        let observed = observe(&link, &queue.marker, FIELD).await.unwrap();
        assert_eq!(observed.found, Found { value: Some(rubbish.to_vec()), marker: None });
        let new = Marker { tenure: tenure(1), position: 0 };
        let missing = open(&link, &queue.marker, FIELD, None, &new).await.unwrap();
        assert_eq!(missing, Opened::Stale(observed.found.clone()));
        queue.open(&link, tenure(1), 0).await;
        assert_eq!(queue.marker(&link).await, Some(new));
    }
}

#[tokio::test]
async fn a_replica_is_not_believed_even_if_it_takes_writes() {
    let redis = Redis::start(&["--replica-read-only", "no"]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    let _: String = redis.admin().await.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let new = Marker { tenure: tenure(1), position: 0 };
    let spot = Spot { marker: &queue.marker, field: FIELD };
    let faults = [
        observe(&link, &queue.marker, FIELD).await.unwrap_err(),
        open(&link, &queue.marker, FIELD, None, &new).await.unwrap_err(),
        look(&link, &[spot]).await.unwrap_err(),
    ];
    assert_eq!(faults.map(|fault| fault.reason().class), ["replica"; 3]);
}

#[tokio::test]
async fn a_replica_that_answers_the_script_is_not_believed_and_the_next_opening_is() {
    let redis = Redis::start(&["--replica-read-only", "no"]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    let new = Marker { tenure: tenure(1), position: 0 };
    let _: String = redis.admin().await.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    open(&link, &queue.marker, FIELD, None, &new).await.unwrap_err();
    let _: String = redis.admin().await.run(&["REPLICAOF", "NO", "ONE"]).await;
    // What the script did is like any command whose reply was lost: the next opening finds it, and goes on from there.
    let observed = observe(&link, &queue.marker, FIELD).await.unwrap();
    assert_eq!(observed.found.marker, Some(new));
    queue.open(&link, tenure(2), 0).await;
}

#[tokio::test]
async fn no_script_asks_the_server_about_itself() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    let monitor = redis::Client::open(redis.url()).unwrap().get_async_monitor().await.unwrap();
    let mut lines = std::pin::pin!(monitor.into_on_message::<String>());
    queue.open(&link, tenure(1), 0).await;
    queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap();
    inspect(&link, &[vec![b"HGET".to_vec(), queue.marker.clone(), FIELD.into()]]).await.unwrap();
    let _: String = redis.admin().await.run(&["ECHO", "the end"]).await;
    let mut by_scripts = BTreeSet::new();
    loop {
        let said = tokio::time::timeout(Duration::from_secs(30), lines.next()).await.unwrap().unwrap();
        if said.contains("the end") {
            break;
        }
        if said.contains(" lua] ") {
            by_scripts.insert(said.split('"').nth(1).unwrap().to_ascii_uppercase());
        }
    }
    let wanted = ["HGET", "HSET", "LLEN", "LPUSH", "TIME", "TYPE"].map(str::to_owned);
    assert_eq!(by_scripts, BTreeSet::from(wanted));
}

#[tokio::test]
async fn a_restart_shows_as_another_incarnation_and_a_flush_does_not() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 0).await;
    queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap();
    let before = observe(&link, &queue.marker, FIELD).await.unwrap();
    assert!(before.server.aof_enabled && before.server.persistence_ok && !before.server.loading);
    redis.kill();
    let dir = std::mem::take(&mut redis.dir);
    std::fs::remove_file(dir.join("log")).unwrap();
    let redis = Redis::start_in(dir, &["--appendonly", "yes"]).await;
    let link = redis.link().await;
    let after = observe(&link, &queue.marker, FIELD).await.unwrap();
    assert_eq!(after.found, before.found);
    assert_ne!(after.server.incarnation, before.server.incarnation);
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap(), Appended::Already);

    let _: String = redis.admin().await.run(&["FLUSHALL"]).await;
    let flushed = observe(&link, &queue.marker, FIELD).await.unwrap();
    assert_eq!(flushed.server.incarnation, after.server.incarnation);
    assert_eq!(flushed.found.value, None);
}

#[tokio::test]
async fn one_look_shows_all_markers_and_keeps_a_bad_one_to_itself() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    let other = Queue::new(lists(&["other"]));
    queue.open(&link, tenure(1), 4).await;
    let mut admin = redis.admin().await;
    let _: String = admin.run(&["SET", std::str::from_utf8(&other.marker).unwrap(), "x"]).await;
    let _: String = admin.run(&["CONFIG", "SET", "maxmemory", "104857600"]).await;
    let _: String = admin.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    let spots = [
        Spot { marker: &queue.marker, field: "nobody/else" },
        Spot { marker: &other.marker, field: FIELD },
        Spot { marker: &queue.marker, field: FIELD },
    ];
    let seen = look(&link, &spots).await.unwrap();
    assert_eq!(seen.markers[0].as_ref().unwrap().value, None);
    assert_eq!(seen.markers[1].as_ref().unwrap_err().reason().class, "wrongtype");
    assert_eq!(seen.markers[2].as_ref().unwrap().marker, Some(Marker { tenure: tenure(1), position: 4 }));
    assert_eq!((seen.server.maxmemory, seen.server.maxmemory_policy.as_str()), (104_857_600, "allkeys-lru"));
    assert!(seen.server.used_memory > 0 && seen.server.version.starts_with(char::is_numeric));
    assert_eq!(seen.server.incarnation, observe(&link, &queue.marker, FIELD).await.unwrap().server.incarnation);
    assert!(look(&link, &[]).await.unwrap().markers.is_empty());
}

#[tokio::test]
async fn a_marker_lies_in_the_cluster_slot_of_its_key() {
    let redis = Redis::start(&["--cluster-enabled", "yes"]).await;
    let mut admin = redis.admin().await;
    for key in ["celery", "queue:default", "{app}:tasks", "a{b", "}{app}", "x{{y}z"] {
        let marker = outboxd::broker::marker_key(key.as_bytes()).unwrap();
        let expected: i64 = admin.run(&["CLUSTER", "KEYSLOT", key]).await;
        let slot: i64 = admin.run(&["CLUSTER", "KEYSLOT", std::str::from_utf8(&marker).unwrap()]).await;
        assert_eq!(slot, expected, "{key}");
    }
}
