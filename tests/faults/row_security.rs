//! Row level security on the outbox: what a policy hides is not passed over, and the relay says what to do until it is mended.

use std::path::Path;

use outboxd::sandbox::RedisOptions;

use crate::common::{Database, Fixture, RelayProcess, SOON, config, eventually, migrate, outboxd};

use super::ledger::Writer;
use super::stage::{QUICK, count, said};

/// A user with the rights of a relay, and no more; its URL.
fn relay_user(database: &Database, name: &str) -> String {
    database.sql(&format!("create role {name} login; grant outbox_relay to {name}"));
    as_user(database, name)
}

fn as_user(database: &Database, name: &str) -> String {
    database.url().replace("//postgres@", &format!("//{name}@"))
}

fn start(fixture: &Fixture, url: &str) -> RelayProcess {
    let more = format!("[http]\nlisten = \"127.0.0.1:0\"\nready_grace = \"1ms\"\n{QUICK}");
    RelayProcess::start(&fixture.sandbox, &config(url, &fixture.redis.url(0), &more), &[], &[])
}

async fn waits_for_a_table(relay: &mut RelayProcess, table: &str) {
    let down = relay.wait_event("postgres.down", |event| event.text("class") == "row_security", SOON).await;
    assert!(down.text("reason").contains(table), "{down:?}");
    assert!(down.text("reason").contains("DISABLE ROW LEVEL SECURITY"), "{down:?}");
}

#[tokio::test]
async fn a_relay_from_which_all_rows_are_hidden_waits_and_says_so_everywhere() {
    let fixture = Fixture::new();
    let url = relay_user(&fixture.database, "rls_all");
    fixture.database.sql("alter table outbox enable row level security");
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(3).await;

    let mut relay = start(&fixture, &url);
    let at = relay.wait_event("http.listening", |_| true, SOON).await.text("address").to_owned();
    waits_for_a_table(&mut relay, "outbox").await;
    let readyz = || async {
        let answer = http(&at, "/readyz").await;
        answer.contains("503") && answer.contains("row level security")
    };
    assert!(eventually(SOON, readyz).await, "/readyz says what is wrong");
    let env = [("DATABASE_URL", url.as_str()), ("REDIS_URL", &fixture.redis.url(0))];
    let found = outboxd(&["doctor"], &env, Path::new("/"));
    assert_eq!(found.status.code(), Some(3), "{found:?}");
    assert!(found.stdout.contains("ALTER TABLE outbox DISABLE ROW LEVEL SECURITY"), "{found:?}");
    let status = outboxd(&["status"], &env, Path::new("/"));
    assert!(!status.status.success() && status.stderr.contains("row level security"), "{status:?}");
    let drained = outboxd(&["wait", "--drained", "--timeout", "1s"], &env, Path::new("/"));
    assert!(!drained.status.success(), "{drained:?}");

    fixture.database.sql("alter table outbox disable row level security");
    relay.wait_event("relay.ready", |_| true, SOON).await;
    writer.exact(&fixture.redis).await;
    assert!(relay.stop().success());
    drop(writer);
    fixture.database.sql("drop owned by rls_all; drop role rls_all");
}

#[tokio::test]
async fn rows_that_a_policy_hides_for_a_while_are_not_passed_over() {
    let fixture = Fixture::new();
    let url = relay_user(&fixture.database, "rls_some");
    let mut relay = start(&fixture, &url);
    relay.wait_event("relay.ready", |_| true, SOON).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit_each(2).await;
    writer.exact(&fixture.redis).await;

    fixture.database.sql(
        "begin; create policy part on outbox for select to rls_some using (id % 2 = 0); \
         alter table outbox enable row level security; commit",
    );
    writer.commit_each(6).await;
    waits_for_a_table(&mut relay, "outbox").await;
    writer.commit_each(2).await;
    fixture.database.sql("alter table outbox disable row level security");
    relay.wait_event("postgres.up", |_| true, SOON).await;
    writer.exact(&fixture.redis).await;
    assert!(relay.stop().success());
    drop(writer);
    fixture.database.sql("drop policy part on outbox; drop owned by rls_some; drop role rls_some");
}

#[tokio::test]
async fn whichever_table_hides_its_rows_every_row_arrives_once_in_the_end() {
    let fixture = Fixture::new();
    let url = relay_user(&fixture.database, "rls_each");
    let mut relay = start(&fixture, &url);
    relay.wait_event("relay.ready", |_| true, SOON).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    let tables = fixture.database.sql(
        "set search_path = public; select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace \
          where c.relkind in ('r', 'p') and c.relname like 'outbox%'",
    );
    assert!(tables.lines().count() > 15, "{tables}");
    for table in tables.lines() {
        let down = count(&relay, "postgres.down");
        fixture.database.sql(&format!("alter table {table} enable row level security"));
        writer.commit(1).await;
        let noticed = || async { count(&relay, "postgres.down") > down || writer.is_complete(&fixture.redis) };
        assert!(eventually(SOON, noticed).await, "{table}: neither refused nor published");
        let env = [("DATABASE_URL", url.as_str()), ("REDIS_URL", &fixture.redis.url(0))];
        let found = outboxd(&["doctor"], &env, Path::new("/"));
        assert!(found.stdout.contains(&format!("ALTER TABLE {table} DISABLE")), "{table}: {found:?}");
        fixture.database.sql(&format!("alter table {table} disable row level security"));
        writer.exact(&fixture.redis).await;
        let as_often = || async { count(&relay, "postgres.down") == count(&relay, "postgres.up") };
        assert!(eventually(SOON, as_often).await, "{table}");
    }
    assert!(relay.stop().success());
    drop(writer);
    fixture.database.sql("drop owned by rls_each; drop role rls_each");
}

#[tokio::test]
async fn an_owner_sees_every_row_until_row_level_security_is_forced_on_it() {
    let fixture = Fixture::with_own_postgres(&[], RedisOptions::default());
    let postgres = &fixture.database.postgres;
    for line in ["create role owner login", "create database owned owner owner"] {
        postgres.sql("postgres", line).unwrap();
    }
    let url = postgres.url("owned").replace("//postgres@", "//owner@");
    migrate(&url);
    let sql = |sql: &str| postgres.sql("owned", sql).unwrap();
    let arrived = |n: i64| {
        let redis = &fixture.redis;
        move || async move { redis.cmd(["LLEN", "jobs"]).unwrap().int() == Some(n) }
    };
    sql("alter table outbox enable row level security; set role owner; select outbox_enqueue('jobs', 't')");
    let mut relay = start(&fixture, &url);
    assert!(eventually(SOON, arrived(1)).await, "the owner is not bound by its own policies");

    sql("alter table outbox force row level security; insert into outbox (queue, task) values ('jobs', 't')");
    waits_for_a_table(&mut relay, "outbox").await;
    sql("alter table outbox no force row level security");
    said(&relay, "postgres.up", 1).await;
    assert!(eventually(SOON, arrived(2)).await);
    assert!(relay.stop().success());
}

/// A whole answer.
async fn http(at: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(at).await else { return String::new() };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = stream.read_to_string(&mut answer).await;
    }
    answer
}
