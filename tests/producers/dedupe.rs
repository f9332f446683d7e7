//! A dedupe key: one task per key and queue for as long as the key lives.

use uuid::Uuid;

use super::{Stage, run, somebody_waits};

const ENQUEUE: &str = "select outbox_enqueue('q', 't', dedupe_key => 'k')";

#[tokio::test]
async fn a_duplicate_answers_the_first_tasks_id_and_adds_no_row() {
    let stage = Stage::new().await;
    let first = stage.id(ENQUEUE).await;
    assert_eq!(stage.id(ENQUEUE).await, first);
    assert_eq!(stage.id("select outbox_enqueue_raw('q', 'x', dedupe_key => 'k')").await, first);
    let own = Uuid::new_v4();
    assert_eq!(
        stage.id(&format!("select outbox_enqueue('q', 't', dedupe_key => 'k', task_id => '{own}')")).await,
        first
    );
    assert_eq!(stage.count("select count(*) from outbox").await, 1);
    assert!(stage.yes("select outbox_row_id(task_id) = id from outbox").await);
    assert_ne!(stage.id("select outbox_enqueue('other', 't', dedupe_key => 'k')").await, first);
    let sql = format!("select outbox_enqueue('q', 't', dedupe_key => 'mine', task_id => '{own}')");
    assert_eq!((stage.id(&sql).await, stage.id(&sql).await), (own, own));
    assert_eq!(stage.count("select count(*) from outbox").await, 3);
}

#[tokio::test]
async fn a_twin_waits_for_the_first_and_answers_its_id() {
    let stage = Stage::new().await;
    let twin = stage.database.connect().await;
    stage.run("begin").await;
    let first = stage.id(ENQUEUE).await;
    let second = tokio::spawn(async move { twin.query_one(ENQUEUE, &[]).await.unwrap().get::<_, Uuid>(0) });
    somebody_waits(&stage).await;
    stage.run("commit").await;
    assert_eq!(second.await.unwrap(), first);
    assert_eq!(stage.count("select count(*) from outbox").await, 1);
}

#[tokio::test]
async fn a_first_one_that_rolls_back_lets_the_twin_through() {
    let stage = Stage::new().await;
    let twin = stage.database.connect().await;
    stage.run("begin").await;
    let first = stage.id(ENQUEUE).await;
    let second = tokio::spawn(async move { twin.query_one(ENQUEUE, &[]).await.unwrap().get::<_, Uuid>(0) });
    somebody_waits(&stage).await;
    stage.run("rollback").await;
    let second = second.await.unwrap();
    assert_ne!(second, first);
    assert!(stage.yes(&format!("select bool_and(task_id = '{second}') and count(*) = 1 from outbox")).await);
}

#[tokio::test]
async fn a_savepoint_that_rolls_back_frees_its_key() {
    let stage = Stage::new().await;
    stage.run(&format!("begin; savepoint s; {ENQUEUE}; rollback to s; {ENQUEUE}; {ENQUEUE}; commit")).await;
    assert_eq!(stage.count("select count(*) from outbox").await, 1);
}

#[tokio::test]
async fn duplicates_of_a_committed_task_do_not_wait_for_each_other() {
    let stage = Stage::new().await;
    let first = stage.id(ENQUEUE).await;
    let other = stage.database.connect().await;
    run(&other, &format!("begin; {ENQUEUE}")).await;
    stage.run("set lock_timeout = '1 s'").await;
    assert_eq!(stage.id(ENQUEUE).await, first);
    assert!(stage.yes("select pg_current_xact_id_if_assigned() is null").await);
}

#[tokio::test]
async fn a_key_lives_as_long_as_the_setting_says_and_is_then_replaced() {
    let stage = Stage::new().await;
    let first = stage.id(ENQUEUE).await;
    let day = "select expires_at between now() + '23 h' and now() + '25 h' from outbox_dedupe";
    assert!(stage.yes(day).await);
    stage.run("update outbox_dedupe set expires_at = clock_timestamp()").await;
    let second = {
        stage.run("begin; set local outbox.dedupe_ttl = '7 days'").await;
        let id = stage.id(ENQUEUE).await;
        stage.run("commit").await;
        id
    };
    assert_ne!(second, first);
    assert!(stage.yes("select expires_at > now() + '6 days' from outbox_dedupe").await);
    assert_eq!(stage.id(ENQUEUE).await, second);
    assert_eq!(stage.count("select count(*) from outbox").await, 2);
}

#[tokio::test]
async fn cancelling_a_task_frees_its_key() {
    let stage = Stage::new().await;
    let held = "select outbox_enqueue('q', 't', deliver_at => now() + '1 h', dedupe_key => 'k')";
    let first = stage.id(held).await;
    assert!(stage.cancel(first).await);
    assert_ne!(stage.id(held).await, first);
}

#[tokio::test]
async fn of_many_twins_at_once_one_enqueues() {
    let stage = Stage::new().await;
    let mut twins = Vec::new();
    for _ in 0..12 {
        let twin = stage.database.connect().await;
        twins.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for n in 0..20 {
                let sql = format!("select outbox_enqueue('q', 't', dedupe_key => 'k{n}')");
                ids.push(twin.query_one(&sql, &[]).await.unwrap().get::<_, Uuid>(0));
            }
            ids
        }));
    }
    let mut answers = Vec::new();
    for twin in twins {
        answers.push(twin.await.unwrap());
    }
    assert!(answers.iter().all(|ids| *ids == answers[0]));
    assert_eq!(stage.count("select count(*) from outbox").await, 20);
}
