//! What the statements of consumption refuse, bound and keep, asked one by one.

use crate::common::Database;

const FIRST: &str = "11111111-1111-1111-1111-111111111111";
const SECOND: &str = "22222222-2222-2222-2222-222222222222";

fn ask(database: &Database, sql: &str) -> String {
    database.sql(sql).trim().to_owned()
}

/// Opens the queue `q`; status, cause and whether it is certified.
fn open(database: &Database, token: &str, life: &str, confirm: &str, seen: Option<(&str, i64)>) -> String {
    let seen = seen.map_or("null, null".to_owned(), |(tenure, position)| format!("'{tenure}', {position}"));
    ask(
        database,
        &format!(
            "select status, cause, certified from outbox_open('q', '{token}', 'here', '{life}', {seen}, 'relay', '15 min', \
             '{confirm}', (select max(checkpoint) from outbox_checkpoint where queue = 'q'))"
        ),
    )
}

/// Plans batches until there is nothing left, and lets the marker pass them; the newest number.
fn publish(database: &Database, token: &str, kind: &str, rows: i64) -> i64 {
    let newest = || ask(database, "select max(batch) from outbox_batch").parse::<i64>().unwrap();
    let plan = || {
        let last = newest();
        ask(
            database,
            &format!(
                "begin; select status from outbox_plan('q', '{token}', {last}, '{kind}', 'relay', {rows}, 100000000) limit 1; commit"
            ),
        )
    };
    while plan() != "idle" {}
    let newest = newest();
    database.sql(&format!("select outbox_mark(array['q'], array['{token}'::uuid], array[{newest}::bigint])"));
    newest
}

fn insert(database: &Database, rows: usize) {
    database.sql(&format!("insert into outbox (queue, task) select 'q', 't' from generate_series(1, {rows})"));
}

/// `present`: SQL for an array.
fn confirm(database: &Database, token: &str, position: i64, consumed: i64, present: &str) -> String {
    ask(database, &format!("select outbox_confirm('q', '{token}', {position}, {consumed}, {present}, '{{}}')"))
}

fn receipts(database: &Database, position: i64, present: &str, timeout: &str) -> String {
    let sql = format!("select * from outbox_confirm_receipts('q', '{FIRST}', {position}, {present}, '{timeout}')");
    ask(database, &sql)
}

#[test]
fn a_checkpoint_goes_neither_back_nor_beyond_what_is_known() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "observe", None);
    for _ in 0..3 {
        insert(&database, 1);
        publish(&database, FIRST, "log", 500);
    }
    assert_eq!(confirm(&database, FIRST, 4, 4, "'{}'"), "", "above the ledger");
    assert_eq!(confirm(&database, FIRST, 3, 4, "'{}'"), "", "above its position");
    assert_eq!(confirm(&database, SECOND, 3, 3, "'{}'"), "", "no tenure");
    assert_eq!(confirm(&database, FIRST, 3, 2, "'{}'"), "2");
    assert_eq!(confirm(&database, FIRST, 3, 1, "'{}'"), "", "back");
    assert_eq!(confirm(&database, FIRST, 2, 2, "'{}'"), "", "a marker of before");
    assert_eq!(confirm(&database, FIRST, 3, 2, "'{}'"), "", "nothing new");
    assert_eq!(open(&database, SECOND, "b", "observe", Some((FIRST, 3))), "opened|kept|f");
    assert_eq!(confirm(&database, FIRST, 3, 3, "'{}'"), "", "closed");
    assert_eq!(confirm(&database, SECOND, 3, 3, "'{}'"), "", "not certified");
    let certify = format!("select outbox_certify('q', '{SECOND}', null, '{{}}', '{{}}', 'restart', '{{}}', '15 min')");
    assert_eq!(ask(&database, &certify), "1", "the one that was not known to be consumed");
    assert_eq!(confirm(&database, SECOND, 3, 3, "'{}'"), "3");
}

#[test]
fn a_long_list_makes_the_checkpoint_stop_at_an_earlier_batch() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "observe", None);
    insert(&database, 2000);
    let newest = publish(&database, FIRST, "log", 400);
    let all = "(select array_agg(id order by id) from outbox)";
    assert_eq!(confirm(&database, FIRST, newest, newest, all), "1");
    let last = "select consumed, cardinality(outstanding) from outbox_checkpoint order by checkpoint desc limit 1";
    assert_eq!(ask(&database, last), "1|400");
    let few = "(select array_agg(id order by id) from (select id from outbox order by id limit 300) x)";
    assert_eq!(confirm(&database, FIRST, newest, newest, few), newest.to_string());
    assert_eq!(ask(&database, last), format!("{newest}|300"));
}

#[test]
fn rows_that_were_planned_by_id_count_by_their_batch_and_not_by_their_id() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "observe", None);
    database.sql("insert into outbox (queue, task, deliver_at) select 'q', 't', now() + interval '1 h' from generate_series(1, 1500)");
    publish(&database, FIRST, "log", 5000);
    database.sql("update outbox_held set due = now()");
    let newest = publish(&database, FIRST, "ids", 300);
    insert(&database, 1);
    let newest = newest.max(publish(&database, FIRST, "log", 500));
    let all = "(select array_agg(id order by id) from outbox_held)";
    let reached: i64 = confirm(&database, FIRST, newest, newest, all).parse().unwrap();
    let held = ask(&database, &format!("select count(*) from outbox_held where batch <= {reached}"));
    let last = "select cardinality(outstanding) from outbox_checkpoint order by checkpoint desc limit 1";
    assert_eq!(ask(&database, last), held);
    assert_eq!(held, "300", "as many whole batches as may be outstanding");
}

#[test]
fn a_checkpoint_by_receipts_walks_on_as_far_as_few_are_without_one() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "receipt", None);
    insert(&database, 2500);
    let newest = publish(&database, FIRST, "log", 500);
    assert_eq!(
        receipts(&database, newest, "null", "0 s"),
        "2|1000|0",
        "not known what stands in Redis: none is overdue"
    );
    database.sql("select outbox_ack_many(array(select task_id from outbox order by id limit 1000))");
    assert_eq!(receipts(&database, newest, "null", "0 s"), "4|1000|0");
    database.sql("select outbox_ack_many(array(select task_id from outbox))");
    assert_eq!(receipts(&database, newest, "null", "0 s"), format!("{newest}|0|0"));
}

#[test]
fn a_row_is_overdue_when_it_is_absent_and_is_scheduled_once() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "receipt", None);
    insert(&database, 3);
    let newest = publish(&database, FIRST, "log", 500);
    let one = "(select array[min(id)] from outbox)";
    assert_eq!(receipts(&database, newest, one, "1 h"), format!("{newest}|3|0"), "there is time");
    assert_eq!(receipts(&database, newest, one, "0 s"), format!("{newest}|1|2"));
    assert_eq!(receipts(&database, newest, one, "0 s"), format!("{newest}|1|0"), "they wait to be planned");
    assert_eq!(ask(&database, "select count(*) from outbox_incident where cause = 'no_receipt'"), "1");
    let newest = publish(&database, FIRST, "ids", 500);
    let all = "(select array_agg(id) from outbox)";
    assert_eq!(receipts(&database, newest, all, "0 s"), format!("{newest}|3|0"), "each is outstanding once");
    // An operator sends the present one a second time: still one outstanding row.
    ask(&database, "select * from outbox_replay('q', null, null, null, null, false, true, 'me')");
    let newest = publish(&database, FIRST, "ids", 500);
    assert_eq!(receipts(&database, newest, all, "0 s"), format!("{newest}|3|0"));
    database.sql("select outbox_ack_many(array(select task_id from outbox))");
    assert_eq!(receipts(&database, newest, "'{}'", "0 s"), format!("{newest}|0|0"));
}

#[test]
fn nobody_waits_for_receipts_of_rows_that_expired_or_died_and_custom_ids_are_as_good_as_any() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "receipt", None);
    database.sql(
        "insert into outbox (queue, task, expires_at) values ('q', 'expired', now() - interval '1 s'), ('q', 'failed', null);
         insert into outbox (queue, task, task_id) values
           ('q', 'own', '0190b0a4-7e4f-7c1e-8d3f-1234567890ab'), ('q', 'own', '0190b0a4-7e4f-7c1e-8d3f-1234567890ac')",
    );
    let newest = publish(&database, FIRST, "log", 500);
    database.sql("select outbox_fail(task_id, 'Error', '') from outbox where task = 'failed'");
    database.sql("select outbox_ack('0190b0a4-7e4f-7c1e-8d3f-1234567890ab')");
    assert_eq!(receipts(&database, newest, "'{}'", "1 h"), format!("{newest}|1|0"));
    database.sql("select outbox_ack('0190b0a4-7e4f-7c1e-8d3f-1234567890ac')");
    assert_eq!(receipts(&database, newest, "'{}'", "0 s"), format!("{newest}|0|0"));
}

#[test]
fn a_task_that_a_worker_gave_up_is_dead_counts_its_attempts_and_does_not_go_out_again() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "observe", None);
    insert(&database, 2);
    publish(&database, FIRST, "log", 500);
    let task = ask(&database, "select task_id from outbox order by id limit 1");
    let fail = |reason: &str| {
        ask(&database, &format!("set role outbox_worker; select outbox_fail('{task}', 'ValueError', '{reason}')"))
    };
    assert_eq!((fail("once").as_str(), fail("twice").as_str()), ("t", "f"));
    let dead = "select attempts, error_class, error, batch, last_failed_at > first_failed_at from outbox_dead";
    assert_eq!(ask(&database, dead), "2|ValueError|twice|1|t");
    assert_eq!(ask(&database, &format!("select outbox_status('{task}')")), "dead");
    assert_eq!(open(&database, SECOND, "b", "observe", None), "opened|missing|t");
    assert_eq!(ask(&database, "select count(*) from outbox_resend('q', 1) where id is not null"), "1");
}

#[test]
fn a_task_that_is_given_up_while_it_waits_to_be_sent_again_is_not() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "observe", None);
    insert(&database, 2);
    let newest = publish(&database, FIRST, "log", 500);
    database.sql("select outbox_replay('q', null, null, null, null, false, true, 'me')");
    database.sql("select outbox_fail(task_id, 'Error', '') from outbox order by id limit 1");
    assert_eq!(publish(&database, FIRST, "ids", 500), newest + 1);
    assert_eq!(ask(&database, "select rows from outbox_batch where kind = 'ids'"), "1");
}

#[test]
fn a_worker_may_fail_tasks_and_read_none_of_the_tables() {
    let database = Database::migrated();
    let unknown = "set role outbox_worker; select outbox_fail(gen_random_uuid(), 'E', 'x')";
    assert_eq!(ask(&database, unknown), "f");
    for sql in [
        "select * from outboxd.outbox_dead",
        "select * from outboxd.outbox_receipt",
        "select outboxd.outbox_schedule('q', '{}', 1)",
    ] {
        let denied = database.try_sql(&format!("set role outbox_worker; {sql}"));
        assert!(denied.unwrap_err().to_string().contains("permission denied"), "{sql}");
    }
    let wrong = database.try_sql("select outbox_fail(gen_random_uuid(), '', 'x')");
    assert!(wrong.unwrap_err().to_string().contains("error class of 1 to 200 bytes"));
}

#[test]
fn an_operator_cannot_take_back_what_a_loss_counts_on() {
    let start = "select incident from outbox_replay('q', null, null, null, null, false, true, 'me')";
    for boundary in [false, true] {
        let database = Database::migrated();
        open(&database, FIRST, "a", "observe", None);
        insert(&database, 3);
        publish(&database, FIRST, "log", 500);
        let replay = ask(&database, start);
        if boundary {
            let certify =
                format!("select outbox_certify('q', '{FIRST}', 1, '{{}}', '{{}}', 'evicted', '{{}}', '15 min')");
            assert_eq!(ask(&database, &certify), "0");
        } else {
            assert_eq!(open(&database, SECOND, "a", "observe", None), "opened|missing|t");
        }
        assert_eq!(ask(&database, &format!("select outbox_replay_cancel({replay})")), "0");
        assert_eq!(ask(&database, "select count(*) from outbox_held where batch is null"), "3", "they go out");
        assert_eq!(
            ask(&database, "select string_agg(cause || scheduled, ' ' order by incident) from outbox_incident"),
            if boundary { "operator0 evicted3" } else { "operator0 missing3" }
        );
    }
}

#[test]
fn a_replay_of_what_is_not_known_to_be_consumed_holds_everything_where_consumption_is_not_tracked() {
    let database = Database::migrated();
    open(&database, FIRST, "a", "none", None);
    insert(&database, 3);
    publish(&database, FIRST, "log", 500);
    assert_eq!(ask(&database, "select rows from outbox_replay('q', null, null, null, null, true, false, 'me')"), "3");
}
