//! Rows that no relay can read, which come in with triggers off: each is dead, with a sentence, and everything else goes on.

use outboxd::sandbox::RedisOptions;

use crate::common::{Fixture, RelayProcess, SOON, config, eventually, migrate, outboxd};

use super::stage::{QUICK, count};

async fn holds(fixture: &Fixture, queue: &str, messages: i64) {
    let length = || fixture.redis.cmd(["LLEN", queue]).unwrap().int();
    let there = eventually(SOON, || async { length() == Some(messages) }).await;
    assert!(there, "{queue} holds {:?} messages, not {messages}", length());
}

#[tokio::test]
async fn a_row_whose_time_cannot_be_read_is_dead_and_all_queues_go_on() {
    let fixture = Fixture::new();
    let sql = |sql: &str| fixture.database.sql(sql);
    sql("set session_replication_role = replica; insert into outbox (queue, task, created_at) values
         ('q1', 'good', default), ('q1', 'late', 'infinity'), ('q1', 'early', '-infinity'), ('q1', 'far', '9999-12-31 23:59:59+00'),
         ('q1', 'old', '4000-01-01 00:00:00+00 BC'), ('q2', 'late', 'infinity'), ('q3', 'good', default)");
    sql(
        "set session_replication_role = replica; insert into outbox (queue, task, expires_at) values ('q1', 'never', 'infinity')",
    );
    let mut relay = super::stage::relay(&fixture, &[]);
    relay.wait_event("relay.ready", |_| true, SOON).await;
    holds(&fixture, "q3", 1).await;
    holds(&fixture, "q1", 2).await;
    let dead = || async {
        sql("select string_agg(queue || '.' || task, ' ' order by id) from outbox_dead")
            == "q1.late q1.early q1.far q2.late q1.never"
    };
    assert!(eventually(SOON, dead).await, "{}", sql("select * from outbox_dead"));
    sql("insert into outbox (queue, task) values ('q1', 'good'), ('q2', 'good')");
    holds(&fixture, "q1", 3).await;
    holds(&fixture, "q2", 1).await;

    let env = [("DATABASE_URL", fixture.database.url()), ("REDIS_URL", fixture.redis.url(0))];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let id = sql("select task_id from outbox_dead where task = 'late' and queue = 'q1'");
    for command in [["status"].as_slice(), &["dead", "list"], &["dead", "show", &id]] {
        let output = outboxd(command, &env, fixture.sandbox.folder());
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    assert_eq!(count(&relay, "postgres.down"), 0);
    assert!(relay.stop().success());
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused_and_with_triggers_off_it_is_dead() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let postgres = &fixture.database.postgres;
    postgres
        .sql("postgres", "create database ascii template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'")
        .unwrap();
    let url = postgres.url("ascii");
    migrate(&url);
    let sql = |sql: &str| {
        postgres.sql("ascii", &format!("set client_encoding = 'SQL_ASCII'; set search_path = public, outboxd; {sql}"))
    };
    for wrong in [
        "E'q\\xff', 't'",
        "'q1', E't\\xff'",
        "'q1', 't', E'[\"\\xff\"]'",
        "'q1', 't', headers => E'{\"h\": \"\\xff\"}'",
    ] {
        let refused = sql(&format!("select outbox_enqueue({wrong})")).unwrap_err().to_string();
        assert!(refused.contains("text in UTF-8"), "{refused}");
    }
    sql("select outbox_enqueue('q1', E'gr\\xc3\\xbcn')").unwrap();
    sql("set session_replication_role = replica; insert into outbox (queue, task, args, headers) values
         ('q1', E't\\xff', '[]', '{}'), ('q1', 't', E'[\"\\xff\"]', '{}'), ('q1', 't', '[]', E'{\"h\": \"\\xff\"}'),
         (E'q\\xff', 't', '[]', '{}')")
    .unwrap();
    sql("insert into outbox (queue, task) values ('q1', 'good'), ('q2', 'good')").unwrap();

    let mut relay = RelayProcess::start(&fixture.sandbox, &config(&url, &fixture.redis.url(0), QUICK), &[], &[]);
    relay.wait_event("relay.ready", |_| true, SOON).await;
    holds(&fixture, "q2", 1).await;
    holds(&fixture, "q1", 2).await;
    assert_eq!(sql("select count(*) from outbox_dead where error like '%not UTF-8%'").unwrap(), "3");
    sql("insert into outbox (queue, task) values ('q1', 'good')").unwrap();
    holds(&fixture, "q1", 3).await;
    // What was lost is read again, the dead rows beside it.
    fixture.redis.flushall().unwrap();
    holds(&fixture, "q1", 3).await;

    let env = [("DATABASE_URL", url.as_str()), ("REDIS_URL", &fixture.redis.url(0))];
    let id = sql("select task_id from outbox_dead order by id limit 1").unwrap();
    for command in [["status"].as_slice(), &["dead", "list"], &["dead", "show", &id], &["dead", "list", "--count"]] {
        let output = outboxd(command, &env, fixture.sandbox.folder());
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    let doctor = outboxd(&["doctor"], &env, fixture.sandbox.folder());
    assert!(doctor.stdout.contains("SQL_ASCII"), "{doctor:?}");
    assert!(relay.stop().success());
}
