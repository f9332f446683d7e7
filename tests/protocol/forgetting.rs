//! What may be emptied and moved out of the log, and what must not.

use super::{FIRST, Place, age, mark, open, plan, publish, seal};
use crate::common::{Database, Fixture, SOON, eventually};

const HERE: Place = Place { destination: "127.0.0.1:6379/0/q", incarnation: "life" };

fn truncate(database: &Database) -> String {
    database.sql("select outbox_truncate(0, '1 h', '7 d')").trim().to_owned()
}

#[test]
fn a_segment_whose_rows_were_dispatched_long_ago_is_emptied() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    mark(&database, FIRST, 1);
    seal(&database);
    assert_eq!(truncate(&database), "needed");
    age(&database, "2 h");
    assert_eq!(truncate(&database), "truncated");
}

#[test]
fn a_row_that_was_dispatched_is_not_moved_out_of_the_log_to_be_sent_again() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    seal(&database);
    age(&database, "8 d");
    mark(&database, FIRST, 1);
    assert_eq!(truncate(&database), "needed");
    assert_eq!(database.sql("select count(*) from outbox_held").trim(), "0");
}

#[test]
fn a_row_that_was_never_planned_moves_out_of_an_old_segment_and_only_there() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    database.sql("insert into outbox (queue, task) values ('q', 'task')");
    seal(&database);
    age(&database, "8 d");
    assert_eq!(truncate(&database), "moved");
    assert_eq!(plan(&database, FIRST, 0), "idle");
    assert_eq!(database.sql("select count(*) from outbox_held where batch is null").trim(), "1");
}

#[test]
fn a_segment_that_nobody_sealed_is_not_overdue() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    database.sql("select setval('outbox_segment_seq', 2)");
    assert_eq!(truncate(&database), "needed");
}

#[test]
fn a_segment_is_not_emptied_under_a_fixed_snapshot() {
    let database = Database::migrated();
    let wrong = database.try_sql("begin isolation level repeatable read; select outbox_truncate(3, '1 h', '7 d')");
    assert!(wrong.unwrap_err().to_string().contains("needs READ COMMITTED"));
}

#[tokio::test]
async fn a_relay_works_where_transactions_are_serializable_by_default() {
    let fixture = Fixture::new();
    let name = &fixture.database.name;
    fixture.database.sql(&format!("alter database {name} set default_transaction_isolation = 'serializable'"));
    let _relay = fixture.relay("");
    fixture.database.sql("insert into outbox (queue, task) values ('q', 'task')");
    assert!(
        eventually(SOON, async || fixture.database.sql("select max(position) from outbox_checkpoint").trim() == "1")
            .await
    );
}

#[tokio::test]
async fn a_row_that_is_being_cancelled_does_not_keep_a_session_of_the_relay() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    database.sql("insert into outbox (queue, task, deliver_at) values ('q', 'task', now() + interval '1 h')");
    let application = database.connect().await;
    application.batch_execute("begin; select outbox_cancel(task_id) from outbox").await.unwrap();
    assert_eq!(plan(&database, FIRST, 0), "busy");
    application.batch_execute("rollback").await.unwrap();
    assert_eq!(plan(&database, FIRST, 0), "planned");
}
