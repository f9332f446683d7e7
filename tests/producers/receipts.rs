//! Receipts: a task is acknowledged once, and takes effect once.

use uuid::Uuid;

use super::{Stage, run, somebody_waits, yes};

#[tokio::test]
async fn once_is_true_in_the_first_transaction_that_commits_and_false_ever_after() {
    let stage = Stage::new().await;
    let once = format!("select outbox_once('{}')", Uuid::new_v4());
    stage.run("begin").await;
    assert!(stage.yes(&once).await);
    stage.run("rollback; begin").await;
    assert!(stage.yes(&once).await);
    assert!(!stage.yes(&once).await);
    stage.run("commit").await;
    assert!(!stage.yes(&once).await);
}

#[tokio::test]
async fn a_second_worker_waits_for_the_first_and_takes_over_if_it_rolls_back() {
    for commits in [true, false] {
        let stage = Stage::new().await;
        let once = format!("select outbox_once('{}')", Uuid::new_v4());
        stage.run("begin").await;
        assert!(stage.yes(&once).await);
        let second = stage.database.connect().await;
        let answer = tokio::spawn(async move { yes(&second, &once).await });
        somebody_waits(&stage).await;
        stage.run(if commits { "commit" } else { "rollback" }).await;
        assert_eq!(answer.await.unwrap(), !commits);
    }
}

#[tokio::test]
async fn a_task_is_acknowledged_once_alone_or_among_many() {
    let stage = Stage::new().await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    assert!(stage.yes(&format!("select outbox_once('{a}')")).await);
    assert!(stage.yes(&format!("select outbox_ack('{a}')")).await);
    assert!(!stage.yes(&format!("select outbox_ack('{a}')")).await);
    assert!(!stage.yes(&format!("select outbox_once('{a}')")).await);
    assert!(stage.yes(&format!("select outbox_ack_many(array['{a}', '{b}', '{b}']::uuid[]) = 1")).await);
    assert!(stage.yes(&format!("select outbox_once('{b}')")).await);
    assert!(stage.yes("select outbox_ack_many('{}') = 0").await);
}

#[tokio::test]
async fn workers_whose_sets_overlap_do_not_deadlock() {
    let stage = Stage::new().await;
    let ids: Vec<String> = (0..200).map(|_| format!("'{}'", Uuid::new_v4())).collect();
    let mut workers = Vec::new();
    for forwards in [true, false, true, false] {
        let client = stage.database.connect().await;
        let mut ids = ids.clone();
        if !forwards {
            ids.reverse();
        }
        let sql = format!("select outbox_ack_many(array[{}]::uuid[])", ids.join(", "));
        workers.push(tokio::spawn(async move { run(&client, &sql).await }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(stage.count("select count(*) from outbox_receipt where acked_at is not null").await, 200);
}
