//! `confirm = receipt` with the real relay: receipts by SQL and by the stream, failures, and what is overdue.

use super::stage::{QUICK, answers, confirmed, consume, deleted, holds, insert, listed, relay};
use crate::common::{Fixture, SOON};

const RECEIPT: [(&str, &str); 2] =
    [("OUTBOXD_DEFAULTS__CONFIRM", "receipt"), ("OUTBOXD_DEFAULTS__RECEIPT_TIMEOUT", "10s")];

#[tokio::test]
async fn only_receipts_count_and_what_has_none_in_time_and_is_absent_is_sent_again_once() {
    let fixture = Fixture::new();
    assert!(QUICK.contains("[queues.jobs]"));
    let mut relay = relay(&fixture, &RECEIPT).await;
    let rows = insert(&fixture, "jobs", 12);
    holds(&fixture, "jobs", &rows);
    consume(&fixture, "jobs", 10);
    let quoted = rows[..4].iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    fixture.database.sql(&format!("select outbox_ack_many(array[{quoted}]::uuid[])"));
    for id in &rows[4..6] {
        fixture.redis.cmd(["XADD", "outbox:receipts", "*", "task_id", id]).unwrap();
    }
    let class = "E".repeat(300);
    let failure = ["XADD", "outbox:receipts", "*", "task_id", &rows[6], "error_class", &class, "error", "no \0 value"];
    fixture.redis.cmd(failure).unwrap();
    fixture.redis.cmd(["XADD", "outbox:receipts", "*", "task", "useless"]).unwrap();
    let scheduled = relay.wait_event("queue.scheduled_again", |_| true, SOON).await;
    assert_eq!((scheduled.text("cause"), scheduled.field("rows")), ("no_receipt", &3.into()));
    holds(&fixture, "jobs", &rows[7..]);
    answers(&fixture, &format!("select outbox_status('{}')", rows[0]), "consumed");
    answers(&fixture, &format!("select outbox_status('{}')", rows[6]), "dead");
    answers(&fixture, "select attempts || ' ' || length(error_class) from outbox_dead", "1 200");
    deleted(&fixture);

    let rest = rows[7..].iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(",");
    consume(&fixture, "jobs", 5);
    fixture.database.sql(&format!("select outbox_ack_many(array[{rest}]::uuid[])"));
    confirmed(&fixture, "jobs", 0);
    relay.pass_events();
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.loss", |_| true, SOON).await;
    let last = insert(&fixture, "jobs", 1);
    holds(&fixture, "jobs", &last);
    assert_eq!(listed(&fixture, "jobs").len(), 1, "neither the consumed nor the dead came again");
}

#[tokio::test]
async fn a_key_in_the_way_of_the_receipts_is_told_once_and_they_are_heard_when_it_is_gone() {
    let fixture = Fixture::new();
    fixture.redis.cmd(["SET", "outbox:receipts", "x"]).unwrap();
    let mut relay = relay(&fixture, &RECEIPT).await;
    let rows = insert(&fixture, "jobs", 1);
    let told = relay.wait_event("receipts.unread", |event| event.text("level") == "error", SOON).await;
    assert!(told.text("reason").contains("`receipts`"), "{told:?}");
    fixture.redis.cmd(["DEL", "outbox:receipts"]).unwrap();
    fixture.redis.cmd(["XADD", "outbox:receipts", "*", "task_id", &rows[0]]).unwrap();
    answers(&fixture, &format!("select outbox_status('{}')", rows[0]), "consumed");
    let told = relay.events().iter().filter(|event| event.name() == "receipts.unread").count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_receipt_of_a_done_task_does_not_wait_for_thousands_of_failures_before_it() {
    let fixture = Fixture::new();
    let rows = insert(&fixture, "jobs", 1);
    let mut client = fixture.redis.connect().unwrap();
    for n in 0..3000 {
        let id = format!("00000000-0000-4000-8000-{n:012}");
        client.send(["XADD", "outbox:receipts", "*", "task_id", &id, "error_class", "E", "error", "no"]).unwrap();
    }
    (0..3000).for_each(|_| drop(client.read().unwrap()));
    client.cmd(["XADD", "outbox:receipts", "*", "task_id", &rows[0]]).unwrap();
    let _relay = relay(&fixture, &RECEIPT).await;
    let order = "select count(*) from outbox_receipt \
                 where acked_at < (select acked_at from outbox_receipt where task_id = '";
    answers(&fixture, &format!("select outbox_status('{}')", rows[0]), "consumed");
    let before: usize = fixture.database.sql(&format!("{order}{}')", rows[0])).trim().parse().unwrap();
    assert!(before <= 200, "{before} failures were stored first");
    deleted(&fixture);
    assert_eq!(fixture.database.sql("select count(*) from outbox_receipt").trim(), "3001");
}
