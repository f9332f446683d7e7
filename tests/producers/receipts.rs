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

/// Two rows of one task id that its caller chose, and that id.
async fn twice(stage: &Stage) -> (Uuid, i64, i64) {
    let id = Uuid::new_v4();
    for _ in 0..2 {
        stage.run(&format!("select outbox_enqueue('q', 't', task_id => '{id}')")).await;
    }
    let rows = stage.client.query("select id from outbox where task_id = $1 order by id", &[&id]).await.unwrap();
    (id, rows[0].get(0), rows[1].get(0))
}

async fn wants(stage: &Stage, id: Uuid, row: i64) -> bool {
    stage.yes(&format!("select outbox_wants({row}, '{id}', 1)")).await
}

#[tokio::test]
async fn a_receipt_does_not_speak_for_a_row_that_is_inserted_after_it() {
    let stage = Stage::new().await;
    let id = Uuid::new_v4();
    let enqueue = format!("select outbox_enqueue('q', 't', task_id => '{id}')");
    stage.run(&enqueue).await;
    // The second row has its id already when the first is acknowledged, and is committed after.
    let other = stage.database.connect().await;
    run(&other, &format!("begin; {enqueue}")).await;
    assert!(stage.yes(&format!("select outbox_ack('{id}')")).await);
    run(&other, "commit").await;
    let rows = stage.client.query("select id from outbox order by id", &[]).await.unwrap();
    assert!(!wants(&stage, id, rows[0].get(0)).await);
    assert!(wants(&stage, id, rows[1].get(0)).await, "a task that nobody has acknowledged counts as done");
    // Nor does a later one, which may be the first row's again; one that names the row does.
    assert!(!stage.yes(&format!("select outbox_ack('{id}')")).await);
    assert!(wants(&stage, id, rows[1].get(0)).await);
    assert!(stage.yes(&format!("select outbox_ack('{id}', {})", rows[1].get::<_, i64>(0))).await);
    assert!(!wants(&stage, id, rows[1].get(0)).await);
}

#[tokio::test]
async fn of_two_rows_that_are_outstanding_at_once_a_receipt_counts_for_the_one_that_it_names() {
    let stage = Stage::new().await;
    let (id, first, second) = twice(&stage).await;
    stage.run(&format!("select outbox_ack_many(array['{id}']::uuid[])")).await;
    assert!(wants(&stage, id, first).await && wants(&stage, id, second).await);
    assert!(stage.yes(&format!("select outbox_ack_many(array['{id}']::uuid[], array[{second}]) = 1")).await);
    assert!(wants(&stage, id, first).await && !wants(&stage, id, second).await);
    assert!(stage.yes(&format!("select outbox_fail('{id}', 'E', 'x', {first})")).await);
    assert_eq!(stage.count("select id from outbox_dead").await, first);
    assert!(!wants(&stage, id, first).await);
}

#[tokio::test]
async fn once_is_true_once_for_a_task_id_and_once_for_each_row_that_is_named() {
    let stage = Stage::new().await;
    let (id, first, second) = twice(&stage).await;
    let once =
        |row: Option<i64>| format!("select outbox_once('{id}'{})", row.map(|r| format!(", {r}")).unwrap_or_default());
    for row in [Some(first), Some(second), None] {
        assert!(stage.yes(&once(row)).await);
        assert!(!stage.yes(&once(row)).await);
    }
}

#[tokio::test]
async fn a_task_that_is_cancelled_and_enqueued_again_under_its_id_is_a_task_like_any_other() {
    let stage = Stage::new().await;
    let id = Uuid::new_v4();
    stage
        .run(&format!("select outbox_enqueue('q', 't', task_id => '{id}', deliver_at => now() + interval '1 h')"))
        .await;
    assert!(stage.yes(&format!("select outbox_cancel('{id}')")).await);
    stage.run(&format!("select outbox_enqueue('q', 't', task_id => '{id}')")).await;
    let second = stage.count("select max(id) from outbox").await;
    assert!(!stage.yes(&format!("select outbox_cancel('{id}')")).await, "the newest is on its way");
    assert!(stage.yes(&format!("select outbox_ack('{id}')")).await);
    assert!(!wants(&stage, id, second).await);
}
