//! The pool: what a statement's end says about its effect, and which sessions are used again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use outboxd::fault::Fault;
use outboxd::pg::{Database, PgFault, PoolSettings, Session};
use outboxd::sandbox::{PgBouncer, Proxy, Sandbox};
use tokio_postgres::types::Type;

use super::connector;
use crate::common::{self, SOON, eventually};

/// The server's sleep, which the tests do not wait for: far longer than they last.
const SLOW: &str = "select pg_sleep(60)";

fn pool_of(url: &str, size: usize, statement_timeout: Duration) -> Database {
    let settings = PoolSettings { size, statement_timeout, wait_timeout: Duration::from_millis(300) };
    Database::new(connector(url), &settings).unwrap()
}

fn pool(url: &str) -> Database {
    pool_of(url, 1, SOON)
}

async fn pid(pool: &Database) -> i32 {
    pool.statement("pid", "select pg_backend_pid()", &[]).await.unwrap()[0].get(0)
}

async fn backend_is_gone(database: &common::Database, pid: i32) -> bool {
    let sql = format!("select count(*) from pg_stat_activity where pid = {pid}");
    eventually(SOON, || async { database.sql(&sql) == "0" }).await
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_uncertain_and_its_session_is_discarded() {
    let database = common::Database::empty();
    let pool = pool(&database.url());
    let before = pid(&pool).await;
    let fault = pool.statement_within(Duration::from_millis(100), "slow", SLOW, &[]).await.unwrap_err();
    assert!(fault.uncertain && matches!(&fault.fault, Fault::Retry(r) if r.class == "timeout"), "{fault}");
    assert_ne!(pid(&pool).await, before);
    assert!(backend_is_gone(&database, before).await, "the server was told to stop");
}

#[tokio::test]
async fn a_statement_whose_caller_went_away_leaves_no_session_behind() {
    let database = common::Database::empty();
    let pool = pool(&database.url());
    let before = pid(&pool).await;
    for transaction in [false, true] {
        let before = if transaction { pid(&pool).await } else { before };
        let work = async {
            if transaction {
                pool.transaction("slow", SLOW, &[]).await
            } else {
                pool.statement("slow", SLOW, &[]).await
            }
        };
        // The caller's own time-out drops the future half-way.
        tokio::time::timeout(Duration::from_millis(100), work).await.unwrap_err();
        assert_ne!(pid(&pool).await, before);
        assert!(backend_is_gone(&database, before).await);
    }
}

#[tokio::test]
async fn a_refused_statement_is_certain_and_its_session_goes_on_outside_a_transaction() {
    let database = common::Database::empty();
    database.sql("create table t (n int primary key)");
    let pool = pool(&database.url());
    let before = pid(&pool).await;
    for sql in ["select 1 / 0", "select nonsense", "insert into t values (null)"] {
        for fault in
            [pool.statement("bad", sql, &[]).await.unwrap_err(), pool.transaction("bad", sql, &[]).await.unwrap_err()]
        {
            assert!(!fault.uncertain && fault.code.is_some(), "{fault}");
        }
    }
    assert_eq!(pid(&pool).await, before);
    let state = format!("select state from pg_stat_activity where pid = {before}");
    assert!(eventually(SOON, || async { database.sql(&state) == "idle" }).await, "no transaction was left open");
}

#[tokio::test]
async fn a_transaction_commits_under_read_committed_whatever_the_default_is() {
    let database = common::Database::empty();
    database.sql(&format!(
        "create table t (n int); alter database {} set default_transaction_isolation = 'serializable'",
        database.name
    ));
    let pool = pool(&database.url());
    let sql = "insert into t select $1 returning n, current_setting('transaction_isolation')";
    let rows = pool.transaction("insert", sql, &[(&7_i32, Type::INT4)]).await.unwrap();
    assert_eq!((rows[0].get::<_, i32>(0), rows[0].get::<_, &str>(1)), (7, "read committed"));
    let settings = "select concat_ws(', ', current_setting('transaction_isolation'), current_setting('transaction_read_only'), \
                    current_setting('row_security'))";
    let read = pool.statement("settings", settings, &[]).await.unwrap();
    let written = pool.transaction("settings", settings, &[]).await.unwrap();
    let both = (read[0].get::<_, &str>(0), written[0].get::<_, &str>(0));
    assert_eq!(both, ("read committed, on, off", "read committed, off, off"));
    assert_eq!(database.sql("select n from t"), "7");
}

#[tokio::test]
async fn a_refused_commit_is_certain() {
    let database = common::Database::empty();
    database.sql("create table t (n int unique deferrable initially deferred); insert into t values (1)");
    let pool = pool(&database.url());
    let before = pid(&pool).await;
    let fault = pool.transaction("insert", "insert into t values (1)", &[]).await.unwrap_err();
    assert!(!fault.uncertain && fault.is_code("23505"), "{fault}");
    assert_eq!(pid(&pool).await, before);
    assert_eq!(database.sql("select count(*) from t"), "1");
}

#[tokio::test]
async fn a_lost_reply_of_commit_is_uncertain() {
    let database = common::Database::empty();
    database.sql("create table t (n int)");
    let proxy = Proxy::start(database.postgres.port()).unwrap();
    let pool = pool(&proxy.through(&database.url()));
    pid(&pool).await;
    proxy.drop_reply_once(b"COMMIT");
    let fault = pool.transaction("insert", "insert into t values (1)", &[]).await.unwrap_err();
    assert!(fault.uncertain && matches!(fault.fault, Fault::Retry(_)), "{fault}");
    assert!(eventually(SOON, || async { database.sql("select count(*) from t") == "1" }).await, "it was committed");
    assert_eq!(pool.lost_sessions(), 1);
    pool.transaction("insert", "insert into t values (2)", &[]).await.unwrap();
}

#[tokio::test]
async fn a_terminated_backend_is_uncertain_and_the_next_statement_gets_another() {
    let database = common::Database::empty();
    let pool = pool(&database.url());
    let before = pid(&pool).await;
    let end: Result<_, PgFault> = pool.statement("suicide", "select pg_terminate_backend(pg_backend_pid())", &[]).await;
    let fault = end.unwrap_err();
    assert!(fault.uncertain && matches!(fault.fault, Fault::Retry(_)), "{fault}");
    assert_ne!(pid(&pool).await, before);
}

#[tokio::test]
async fn a_full_pool_says_so_in_time() {
    let database = common::Database::empty();
    let pool = pool(&database.url());
    let holder = pool.clone();
    let held = tokio::spawn(async move { holder.statement("slow", SLOW, &[]).await });
    let busy = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active' and datname = current_database()";
    assert!(eventually(SOON, || async { database.sql(busy) == "1" }).await);
    let fault = pool.statement("next", "select 1", &[]).await.unwrap_err();
    assert!(!fault.uncertain && fault.to_string().contains("database.pool_size"), "{fault}");
    held.abort();
}

#[tokio::test]
async fn callers_learn_why_the_pool_cannot_connect_as_if_they_had_connected_themselves() {
    let database = common::Database::empty();
    let url = database.postgres.url("nowhere");
    let own = Session::open(&connector(&url), Arc::default()).await.unwrap_err();
    assert!(own.is_code("3D000") && !own.uncertain, "{own}");
    let pool = pool_of(&url, 2, SOON);
    let (first, second) =
        tokio::join!(pool.statement("one", "select 1", &[]), pool.transaction("two", "select 2", &[]));
    assert_eq!((first.unwrap_err(), second.unwrap_err()), (own.clone(), own));
    assert_eq!((pool.sessions(), pool.lost_sessions()), ((0, 0), 0));
}

#[tokio::test]
async fn statements_are_counted_by_name() {
    let database = common::Database::empty();
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&names);
    let pool = pool(&database.url()).on_statement(Arc::new(move |name| seen.lock().unwrap().push(name)));
    pool.statement("one", "select 1", &[]).await.unwrap();
    pool.transaction("two", "select 2", &[]).await.unwrap();
    assert_eq!(*names.lock().unwrap(), ["one", "two"]);
}

#[tokio::test]
async fn everything_works_through_a_pooler_in_transaction_mode() {
    let database = common::Database::empty();
    let pooler = PgBouncer::start(&Sandbox::new().unwrap(), &database.postgres, &[("default_pool_size", "2")]).unwrap();
    let pool = pool_of(&pooler.url(&database.name), 6, SOON);
    database.sql("create table t (n int)");
    let inserts: Vec<_> = (0..60_i32)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let params = [(&n as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT4)];
                let sql = "insert into t values ($1) returning n";
                let rows = if n % 2 == 0 {
                    pool.transaction("t", sql, &params).await
                } else {
                    pool.statement("s", "select $1::int4", &params).await
                };
                rows.map(|rows| rows[0].get::<_, i32>(0))
            })
        })
        .collect();
    for (n, insert) in (0..).zip(inserts) {
        // Six sessions for sixty callers: those who waited too long were told so, and nothing of theirs happened.
        match insert.await.unwrap() {
            Ok(answer) => assert_eq!(answer, n),
            Err(fault) => assert!(!fault.uncertain && fault.fault.reason().class == "timeout", "{fault}"),
        }
    }
    assert_eq!(database.sql("select count(distinct n) = count(*) and count(*) > 0 from t"), "t");
}
