//! A retry or a discard of dead rows against whatever else touches them at the same moment: the row is never nowhere.

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::common::{Database, SOON, eventually};

const TENURE: &str = "11111111-1111-1111-1111-111111111111";
const RETRY: &str =
    "select rows from outbox_dead_retry('q', array(select id from outbox_dead), clock_timestamp(), 'me', '{}')";
/// The same of rows that were chosen a while ago.
const CHOSEN: &str =
    "select rows from outbox_dead_retry('q', array(select id from kept), (select at from chosen), 'me', '{}')";
const FAIL: &str = "select outbox_fail(task, 'Late', 'late')::int::bigint from kept";
/// Whether the row is dead, how often it failed, and how many copies wait to be planned.
const FATE: &str = "select coalesce((select attempts || ' ' || error_class from outbox_dead), 'none') || ' ' || \
                    (select count(*) from outbox_held where batch is null and cancelled_at is null)";

fn ask(database: &Database, sql: &str) -> String {
    database.sql(sql).trim().to_owned()
}

/// A queue that a relay holds, and one row of it that was published as batch 1 and is dead.
fn dead(failed: bool) -> Database {
    let database = Database::migrated();
    ask(
        &database,
        &format!(
            "select status from outbox_open('q', '{TENURE}', 'here', 'a', null, null, 'relay', '15 min', 'observe', null)"
        ),
    );
    database.sql("insert into outbox (queue, task) values ('q', 't')");
    database.sql("create table kept as select id, task_id as task from outbox");
    plan(&database, "log", 0);
    database.sql(if failed {
        "select outbox_fail(task, 'Error', '') from kept"
    } else {
        "select outbox_bury('q', 1, array(select id from kept), array['too_large'], array['it is'])"
    });
    database
}

fn plan(database: &Database, kind: &str, last: i64) -> String {
    let sql = format!(
        "begin; select status from outbox_plan('q', '{TENURE}', {last}, '{kind}', 'relay', 500, 1000000) limit 1; commit"
    );
    let status = ask(database, &sql);
    let mark = format!(
        "select outbox_mark(array['q'], array['{TENURE}'::uuid], array[(select max(batch) from outbox_batch)])"
    );
    database.sql(&mark);
    status
}

/// Runs one statement in another session; it has begun to wait for a lock when this returns.
async fn waiting(database: &Database, sql: &'static str) -> JoinHandle<i64> {
    let client = database.connect().await;
    let task = tokio::spawn(async move { client.query_one(sql, &[]).await.unwrap().get(0) });
    let observer = database.connect().await;
    let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    assert!(eventually(SOON, || async { number(&observer, waits).await > 0 }).await, "nobody waits");
    task
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_worker_that_gives_the_task_up_during_a_retry_makes_it_dead_again_wherever_the_row_is() {
    for gone in ["select", "truncate outbox"] {
        for failed in [true, false] {
            let database = dead(failed);
            database.sql(gone);
            let operator = database.connect().await;
            operator.batch_execute("begin").await.unwrap();
            assert_eq!(number(&operator, RETRY).await, 1);
            let worker = waiting(&database, FAIL).await;
            operator.batch_execute("commit").await.unwrap();
            assert_eq!(worker.await.unwrap(), 1, "{gone} {failed}");
            let fate = ask(&database, FATE);
            assert!(fate.ends_with(" Late 0"), "{gone} {failed}: {fate}");
        }
    }
}

#[tokio::test]
async fn a_retry_that_waits_for_a_worker_that_gives_the_task_up_leaves_it_dead() {
    for failed in [true, false] {
        let database = dead(failed);
        database.sql("create table chosen as select clock_timestamp() as at");
        let worker = database.connect().await;
        worker.batch_execute("begin").await.unwrap();
        worker.batch_execute(FAIL).await.unwrap();
        let operator = waiting(&database, CHOSEN).await;
        worker.batch_execute("commit").await.unwrap();
        assert_eq!(operator.await.unwrap(), 0, "it failed after it was chosen");
        assert_eq!(ask(&database, FATE), "2 Late 0");
    }
}

#[tokio::test]
async fn a_failure_that_is_rolled_back_leaves_the_retry_to_be_sent() {
    let database = dead(true);
    let worker = database.connect().await;
    worker.batch_execute("begin").await.unwrap();
    worker.batch_execute(FAIL).await.unwrap();
    let operator = waiting(&database, RETRY).await;
    worker.batch_execute("rollback").await.unwrap();
    assert_eq!(operator.await.unwrap(), 1);
    assert_eq!(ask(&database, FATE), "none 1");
    assert_eq!(plan(&database, "ids", 1), "planned");
    assert_eq!(ask(&database, "select count(*) from outbox_resend('q', 2) where id is not null"), "1");
    assert_eq!(
        ask(&database, "select count(*) from outbox_resend('q', 1) where id is not null"),
        "0",
        "batch 2 holds it"
    );
}

#[tokio::test]
async fn a_relay_that_comes_late_with_the_batch_from_before_a_retry_does_not_bury_its_row() {
    let bury = |batch: i64| {
        format!("select outbox_bury('q', {batch}, array(select id from kept), array['too_large'], array['still'])")
    };
    let database = dead(false);
    assert_eq!(ask(&database, &bury(1)), "0", "it is dead");
    let operator = database.connect().await;
    operator.batch_execute("begin").await.unwrap();
    assert_eq!(number(&operator, RETRY).await, 1);
    let late = waiting(
        &database,
        "select outbox_bury('q', 1, array(select id from kept), array['E'], array['still'])::bigint",
    )
    .await;
    operator.batch_execute("commit").await.unwrap();
    assert_eq!(late.await.unwrap(), 0);
    assert_eq!(ask(&database, FATE), "none 1", "it waits to be planned");
    assert_eq!(plan(&database, "ids", 1), "planned");
    assert_eq!(ask(&database, &bury(1)), "0");
    assert_eq!(ask(&database, FATE), "none 0", "batch 2 holds it");
    assert_eq!(ask(&database, &bury(2)), "1", "that cannot publish it either");
    assert_eq!(ask(&database, FATE), "2 too_large 0");
    assert_eq!(ask(&database, "select batch || ' ' || (last_failed_at > first_failed_at) from outbox_dead"), "2 true");
}

#[tokio::test]
async fn a_trim_that_waits_for_a_retry_leaves_the_copy_that_it_schedules() {
    let database = dead(true);
    // Retried and given up once before: its copy stands in batch 2, and all of that is done.
    assert_eq!(ask(&database, RETRY), "1");
    assert_eq!(plan(&database, "ids", 1), "planned");
    ask(&database, FAIL);
    database.sql("update outbox_checkpoint set at = at - interval '1 d', consumed = position, outstanding = '{}'");
    let operator = database.connect().await;
    operator.batch_execute("begin").await.unwrap();
    assert_eq!(number(&operator, RETRY).await, 1);
    let trim = waiting(&database, "select outbox_trim('1 s', '1 d', 100)").await;
    operator.batch_execute("commit").await.unwrap();
    trim.await.unwrap();
    assert_eq!(ask(&database, FATE), "none 1");
    assert_eq!(plan(&database, "ids", 2), "planned");
}

#[tokio::test]
async fn a_discard_that_waits_for_a_retry_of_the_same_row_leaves_it_no_receipt() {
    let database = dead(false);
    let operator = database.connect().await;
    operator.batch_execute("begin").await.unwrap();
    assert_eq!(number(&operator, RETRY).await, 1);
    let other =
        waiting(&database, "select outbox_dead_discard('q', array(select id from kept), clock_timestamp())").await;
    operator.batch_execute("commit").await.unwrap();
    assert_eq!(other.await.unwrap(), 0);
    assert_eq!(ask(&database, FATE), "none 1");
    assert_eq!(ask(&database, "select count(*) from outbox_receipt"), "0", "a loss must bring it again");
}

#[test]
fn what_a_loss_has_taken_over_from_a_retry_goes_out_although_that_is_cancelled() {
    let database = dead(true);
    assert_eq!(ask(&database, RETRY), "1");
    let open = "select status || ' ' || cause from outbox_open('q', gen_random_uuid(), 'here', 'a', null, null, 'relay', '15 min', \
                'observe', (select max(checkpoint) from outbox_checkpoint))";
    assert_eq!(ask(&database, open), "opened missing");
    assert_eq!(ask(&database, "select outbox_replay_cancel(1)"), "0");
    assert_eq!(ask(&database, FATE), "none 1");
}

#[test]
fn a_cancelled_task_stays_cancelled_and_one_that_waits_and_is_discarded_does_not_go_out() {
    let database = Database::migrated();
    ask(
        &database,
        &format!(
            "select status from outbox_open('q', '{TENURE}', 'here', 'a', null, null, 'relay', '15 min', 'observe', null)"
        ),
    );
    database.sql("insert into outbox (queue, task, deliver_at) select 'q', 't', now() + interval '1 h' from generate_series(1, 2)");
    plan(&database, "log", 0);
    database.sql("select outbox_cancel(task_id) from outbox order by id limit 1");
    database.sql("select outbox_fail(task_id, 'Error', 'nobody had it') from outbox");
    let told = "select rows || ' ' || cancelled from outbox_dead_retry('q', array(select min(id) from outbox_dead), clock_timestamp(), 'me', '{}')";
    assert_eq!(ask(&database, told), "0 1");
    assert_eq!(
        ask(&database, "select outbox_dead_discard('q', array(select id from outbox_dead), clock_timestamp())"),
        "2"
    );
    assert_eq!(ask(&database, "select string_agg(distinct outbox_status(task_id), ' ') from outbox"), "cancelled");
    database.sql("update outbox_held set due = now() - interval '1 s'");
    assert_eq!(plan(&database, "ids", 1), "idle");
}

#[test]
fn readers_see_dead_rows_and_operators_with_the_relays_rights_move_them() {
    let database = dead(true);
    let denied = |role: &str, sql: &str| {
        // Qualified: where a role may not use a schema at all, its search_path passes it by.
        let sql = sql.replace("outbox_dead", "outboxd.outbox_dead");
        let denied = database.try_sql(&format!("set role {role}; {sql}"));
        denied.unwrap_err().to_string().contains("permission denied")
    };
    for role in ["outbox_reader", "outbox_worker", "outbox_producer"] {
        assert!(denied(role, RETRY), "{role}");
        assert!(denied(role, "select outbox_dead_discard('q', '{}', now())"), "{role}");
    }
    assert!(denied("outbox_worker", "select count(*) from outbox_dead"));
    assert_eq!(ask(&database, "set role outbox_reader; select count(*) from outbox_dead"), "1");
    assert_eq!(ask(&database, &format!("set role outbox_relay; {RETRY}")), "1");
}
