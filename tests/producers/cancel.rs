//! Cancelling is exact: after true a task is never published, after false nothing has changed.

use uuid::Uuid;

use super::{Stage, cancel, plan, refused, run, somebody_waits};

const HELD: &str = "select outbox_enqueue('q', 't', deliver_at => now() + '1 h')";

#[tokio::test]
async fn a_held_task_is_cancelled_in_the_log_and_as_a_copy_and_stays_so() {
    let stage = Stage::new().await;
    let in_log = stage.id(HELD).await;
    assert!(stage.cancel(in_log).await);
    let mut relay = stage.open().await;
    let copied = stage.id(HELD).await;
    relay.plan("log").await;
    assert!(stage.cancel(copied).await);
    assert!(stage.cancel(in_log).await && stage.cancel(copied).await, "a second time");
    stage.run("update outbox_held set due = now()").await;
    assert_eq!(relay.plan("ids").await.0, "idle");
    assert_eq!(stage.count("select count(*) from outbox_rows where state = 'cancelled'").await, 2);
}

#[tokio::test]
async fn what_is_not_held_cannot_be_cancelled() {
    let stage = Stage::new().await;
    let plain = stage.id("select outbox_enqueue('q', 't')").await;
    let due = stage.id("select outbox_enqueue('q', 't', deliver_at => now() - interval '1 s')").await;
    let done = stage.id("select outbox_enqueue('q', 't', deliver_at => now() - interval '1 s')").await;
    let mut relay = stage.open().await;
    relay.plan("log").await;
    assert_eq!(relay.plan("ids").await.1, [due, done]);
    let forget = format!("delete from outbox_held where task_id = '{done}'");
    stage.run(&forget).await;
    for task in [plain, due, done, Uuid::new_v4()] {
        assert!(!stage.cancel(task).await);
    }
    assert_eq!(stage.count("select count(*) from outbox_held").await, 1);
    assert!(stage.yes("select outbox_cancel(null) = false").await);
}

#[tokio::test]
async fn a_task_can_be_cancelled_by_the_transaction_that_enqueued_it() {
    let stage = Stage::new().await;
    stage.run("begin").await;
    let task = stage.id(HELD).await;
    assert!(stage.cancel(task).await);
    stage.run("commit").await;
    assert_eq!(stage.status(task).await.as_deref(), Some("cancelled"));
    let mut relay = stage.open().await;
    stage.run("update outbox_held set due = now()").await;
    assert!(relay.plan("log").await.1.is_empty());
    assert_eq!(relay.plan("ids").await.0, "idle");
}

#[tokio::test]
async fn a_cancel_that_rolls_back_has_no_effect() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now())").await;
    stage.run("begin").await;
    assert!(stage.cancel(task).await);
    stage.run("rollback").await;
    let mut relay = stage.open().await;
    relay.plan("log").await;
    assert_eq!(relay.plan("ids").await.1, [task]);
}

#[tokio::test]
async fn the_planner_passes_over_a_task_that_is_being_cancelled() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now())").await;
    let other = stage.id("select outbox_enqueue('q', 't', deliver_at => now())").await;
    let mut relay = stage.open().await;
    relay.plan("log").await;
    let app = stage.database.connect().await;
    run(&app, "begin").await;
    assert!(cancel(&app, task).await);
    assert_eq!(relay.plan("ids").await.1, [other]);
    run(&app, "rollback").await;
    assert_eq!(relay.plan("ids").await.1, [task]);
}

#[tokio::test]
async fn a_cancel_waits_for_a_plan_in_progress_and_then_tells_the_truth() {
    for commits in [true, false] {
        let stage = Stage::new().await;
        let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now())").await;
        let mut relay = stage.open().await;
        relay.plan("log").await;
        let planner = stage.database.connect().await;
        run(&planner, "begin").await;
        assert_eq!(plan(&planner, relay.tenure, relay.last, "ids").await.1, [task]);
        let app = stage.database.connect().await;
        let answer = tokio::spawn(async move { cancel(&app, task).await });
        somebody_waits(&stage).await;
        run(&planner, if commits { "commit" } else { "rollback" }).await;
        assert_eq!(answer.await.unwrap(), !commits);
        assert_eq!(stage.status(task).await.as_deref(), Some(if commits { "pending" } else { "cancelled" }));
    }
}

#[tokio::test]
async fn a_cancel_meets_the_planner_on_its_way_through_the_log() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now())").await;
    let relay = stage.open().await;
    let planner = stage.database.connect().await;
    run(&planner, "begin").await;
    plan(&planner, relay.tenure, relay.last, "log").await;
    let app = stage.database.connect().await;
    let answer = tokio::spawn(async move { cancel(&app, task).await });
    somebody_waits(&stage).await;
    run(&planner, "commit").await;
    assert!(answer.await.unwrap());
    assert_eq!(plan(&stage.client, relay.tenure, relay.last + 1, "ids").await.0, "idle");
}

#[tokio::test]
async fn above_read_committed_a_cancel_that_cannot_tell_asks_to_be_tried_again() {
    let stage = Stage::new().await;
    let task = stage.id(HELD).await;
    let sql = format!("begin isolation level repeatable read; select outbox_cancel('{task}')");
    let (code, message) = refused(&stage.client, &sql).await;
    assert_eq!(code, "40001");
    assert!(message.contains("try again"), "{message}");
    stage.run("rollback").await;
    stage.open().await.plan("log").await;
    stage.run(&format!("begin isolation level repeatable read; select outbox_cancel('{task}'); commit")).await;
    assert_eq!(stage.status(task).await.as_deref(), Some("cancelled"));
}

#[tokio::test]
async fn a_task_id_used_twice_is_cancelled_only_if_both_rows_are() {
    let stage = Stage::new().await;
    let own = Uuid::new_v4();
    let twice = format!("select outbox_enqueue('q', 't', deliver_at => now() + '1 h', task_id => '{own}')");
    stage.run(&twice).await;
    stage.run(&twice).await;
    assert!(stage.cancel(own).await);
    assert_eq!(stage.count("select count(*) from outbox_held where cancelled_at is not null").await, 2);
    stage.run(&format!("select outbox_enqueue('q', 't', task_id => '{own}')")).await;
    assert!(!stage.cancel(own).await);
}

#[tokio::test]
async fn of_cancel_and_plan_at_once_exactly_one_wins() {
    let stage = Stage::new().await;
    let sql = "select outbox_enqueue('q', 't', deliver_at => now()) from generate_series(1, 200)";
    let tasks: Vec<Uuid> = stage.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let mut relay = stage.open().await;
    let app = stage.database.connect().await;
    let cancelling = tokio::spawn(async move {
        let mut cancelled = Vec::new();
        for task in tasks.into_iter().rev() {
            if cancel(&app, task).await {
                cancelled.push(task);
            }
        }
        cancelled
    });
    let mut published = Vec::new();
    relay.plan("log").await;
    for _ in 0..60 {
        let sql = "select status, task_id from outbox_plan('q', $1, $2, 'ids', 'relay', 3, 1000000)";
        let rows = stage.client.query(sql, &[&relay.tenure, &relay.last]).await.unwrap();
        relay.last += i64::from(rows[0].get::<_, String>(0) != "idle");
        published.extend(rows.iter().filter_map(|row| row.get::<_, Option<Uuid>>(1)));
    }
    let cancelled = cancelling.await.unwrap();
    loop {
        let (status, tasks) = relay.plan("ids").await;
        if status == "idle" {
            break;
        }
        published.extend(tasks);
    }
    assert!(published.iter().all(|task| !cancelled.contains(task)));
    assert_eq!(published.len() + cancelled.len(), 200);
}
