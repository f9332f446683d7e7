//! The whole promise: relays are killed, Redis restarts with its data, and every committed task runs.

use std::collections::BTreeSet;

use outboxd::sandbox::{Persistence, RedisOptions};
use serde_json::json;

use super::{Stage, enqueue, ids};
use crate::common::{SOON, eventually};

#[tokio::test]
async fn every_committed_task_runs_through_a_killed_relay_and_a_restart_of_redis_with_its_data() {
    let redis = RedisOptions { persistence: Persistence::AofAlways, ..RedisOptions::default() };
    let stage = Stage::with_redis(redis).await;
    // What a worker had taken and not begun when Redis went away comes back after the visibility time-out, at a sweep;
    // left alone, a worker makes one in 100 s.
    let transport = json!({"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1});
    let settings = json!({"broker_transport_options": transport, "worker_prefetch_multiplier": 1});
    let worker = stage.worker(&["default", "other"], &settings);
    let more = "[relay]\nbatch_size = 20\n";
    let mut first = stage.relay(more).await;
    let _second = stage.relay(more).await;

    let db = stage.fixture.database.connect().await;
    let (events, mut waits) = tokio::sync::mpsc::unbounded_channel();
    let writer = tokio::spawn(async move {
        let mut committed = BTreeSet::new();
        for n in 0..900 {
            let queue = if n % 3 == 0 { "other" } else { "default" };
            db.batch_execute("begin").await.unwrap();
            let id = enqueue(&db, &format!("'{queue}', 'demo.echo', '[{n}]'")).await;
            if n % 4 == 3 {
                db.batch_execute("rollback").await.unwrap();
            } else {
                db.batch_execute("commit").await.unwrap();
                committed.insert(id);
            }
            // Nobody listens any more towards the end.
            let _ = events.send(n);
        }
        committed
    });
    wait_for(&mut waits, 300).await;
    first.kill();
    wait_for(&mut waits, 450).await;
    stage.fixture.redis.kill();
    wait_for(&mut waits, 500).await;
    stage.fixture.redis.start_again().unwrap();
    wait_for(&mut waits, 650).await;
    let _third = stage.relay(more).await;
    let committed = writer.await.unwrap();

    let ran = || ids(&worker.runs()).into_iter().collect::<BTreeSet<_>>();
    let all = eventually(SOON * 2, || async { ran().is_superset(&committed) }).await;
    let (ran, runs) = (ran(), worker.runs().len());
    let missing: Vec<_> = committed.difference(&ran).collect();
    assert!(all, "{} of {} never ran, {missing:?}", missing.len(), committed.len());
    assert_eq!(ran.difference(&committed).count(), 0, "a rolled-back task ran");
    let twice = runs - ran.len();
    // What a new life of Redis may have cost is counted by the relay's look at it, which may come after the last task.
    let unseen = "select count(*) from outbox_tenure where cap is null and not certified";
    let looked = || async { stage.db.query_one(unseen, &[]).await.unwrap().get::<_, i64>(0) == 0 };
    assert!(eventually(SOON, looked).await, "nobody has looked at what the restart may have cost");
    let reported = "select coalesce(sum(duplicates_possible), 0)::bigint from outbox_incident where cause = 'restart'";
    let reported: i64 = stage.db.query_one(reported, &[]).await.unwrap().get(0);
    // Beside those, what the worker held when Redis went.
    let possible = usize::try_from(reported).unwrap() + 2;
    assert!(twice <= possible, "{twice} tasks ran twice, the incidents report {reported}");
}

async fn wait_for(events: &mut tokio::sync::mpsc::UnboundedReceiver<i32>, wanted: i32) {
    while events.recv().await.unwrap() < wanted {}
}
