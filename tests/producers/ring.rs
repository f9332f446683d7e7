//! The doorbell: a commit rings while a relay sleeps, and only then.

use std::future::poll_fn;
use std::pin::pin;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, NoTls};

use super::{Stage, run};

/// Hears NOTIFY; the second value is what keeps the connection open.
async fn listen(stage: &Stage) -> (UnboundedReceiver<String>, tokio_postgres::Client) {
    let (client, mut connection) = tokio_postgres::connect(&stage.database.url(), NoTls).await.unwrap();
    let (heard, ears) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(note) = message {
                let _ = heard.send(format!("{}:{}", note.channel(), note.payload()));
            }
        }
    });
    run(&client, "listen outbox; listen test_end").await;
    (ears, client)
}

/// What is heard of one statement: everything before the end mark that is sent after it.
async fn rings(stage: &Stage, ears: &mut UnboundedReceiver<String>, sql: &str) -> usize {
    stage.run(sql).await;
    stage.run("notify test_end").await;
    let mut rings = 0;
    while ears.recv().await.unwrap() != "test_end:" {
        rings += 1;
    }
    rings
}

#[tokio::test]
async fn an_insert_rings_while_a_relay_sleeps_and_only_then() {
    let stage = Stage::new().await;
    let (mut ears, _open) = listen(&stage).await;
    let insert = "insert into outbox (queue, task) values ('q', 't')";
    assert_eq!(rings(&stage, &mut ears, insert).await, 0, "awake");
    stage.run("select setval('outbox_bell_seq', (extract(epoch from now()) + 60)::bigint)").await;
    let ways = [
        insert,
        "select outbox_enqueue('q', 't')",
        "select outbox_enqueue_many('q', 't', array['[]', '[]']::jsonb[])",
        "begin; insert into outbox (queue, task) values ('q', 't'), ('q', 't'); select outbox_enqueue('q', 't'); commit",
        "insert into outbox_held select id, task_id, queue, task, args, kwargs, headers, body, priority, deliver_at,
         expires_at, created_at, now() from outbox limit 1",
    ];
    for sql in ways {
        assert_eq!(rings(&stage, &mut ears, sql).await, 1, "{sql}");
    }
    assert_eq!(rings(&stage, &mut ears, &format!("begin; {insert}; rollback")).await, 0, "rolled back");
    stage.run("select setval('outbox_bell_seq', (extract(epoch from now()) - 1)::bigint)").await;
    assert_eq!(rings(&stage, &mut ears, insert).await, 0, "the deadline has passed");
    stage.run("select setval('outbox_bell_seq', 1, false)").await;
    assert_eq!(rings(&stage, &mut ears, insert).await, 1, "NULL, as after a crash");
}

#[tokio::test]
async fn a_transaction_that_did_not_ring_can_be_prepared() {
    let stage = Stage::new().await;
    let sql = "begin; insert into outbox (queue, task) values ('q', 't'); prepare transaction 'p'";
    let error = pin!(stage.client.batch_execute(sql)).await.err();
    // Where the server keeps no prepared transactions, that is what it says, and not that NOTIFY forbids it.
    if let Some(error) = error {
        assert_eq!(error.as_db_error().unwrap().code().code(), "55000");
        stage.run("rollback").await;
    } else {
        stage.run("commit prepared 'p'").await;
    }
}
