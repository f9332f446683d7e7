//! What a migration refuses, and the sentence with which it does.

use std::time::{Duration, Instant};

use outboxd::fault::Fault;
use outboxd::pg::migrate::{Standing, check, fits, lock_key, plan, up};

use super::{WAIT, at, connector, migrate, server};
use crate::common::Database;

#[tokio::test]
async fn an_applied_migration_that_was_edited_is_refused_by_name() {
    let server = Database::empty();
    let url = server.url();
    migrate(&url, "public").await.unwrap();
    server.sql("update outbox_migration set checksum = 'x' where name = 'migrations/0001_tables.sql'");
    let message = migrate(&url, "public").await.unwrap_err().to_string();
    assert!(message.contains("sql/migrations/0001_tables.sql is not the text that was applied"), "{message}");
}

#[tokio::test]
async fn a_relay_accepts_a_later_schema_of_its_series_and_no_other() {
    let server = Database::empty();
    let url = server.url();
    let missing = check(&connector(&url), &at("public")).await.unwrap_err();
    assert!(matches!(&missing, Fault::Halt(r) if r.message.contains("outboxd migrate up")), "{missing}");
    migrate(&url, "public").await.unwrap();
    check(&connector(&url), &at("public")).await.unwrap();
    let mut release = env!("CARGO_PKG_VERSION").split('.').map(|n| n.parse::<u32>().unwrap()).collect::<Vec<_>>();
    release[2] += 1;
    let later = release.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    server
        .sql(&format!("update outbox_migration set release = '{later}', checksum = checksum where kind = 'versioned'"));
    check(&connector(&url), &at("public")).await.unwrap();
    assert!(migrate(&url, "public").await.unwrap().steps.is_empty());
    server.sql("update outbox_migration set release = '99.0.0'");
    let fault = check(&connector(&url), &at("public")).await.unwrap_err();
    assert!(fault.reason().message.contains("99.0.0"), "{fault}");
    migrate(&url, "public").await.unwrap_err();
}

#[tokio::test]
async fn a_user_without_rights_is_told_what_to_grant() {
    let server = server();
    server.sql("postgres", "create role app login").unwrap();
    let message = migrate(&server.url_as("app", None, "postgres"), "shop").await.unwrap_err().to_string();
    assert!(message.contains("create schema \"shop_internal\" authorization \"app\""), "{message}");
    assert!(message.contains("grant create, usage on schema \"shop\" to \"app\""), "{message}");
    server.sql("postgres", "create role first login; grant create on database postgres to first, app").unwrap();
    migrate(&server.url_as("first", None, "postgres"), "shop").await.unwrap();
    let stale = "update shop_internal.outbox_migration set checksum = 'x' where kind = 'repeatable';
                 grant usage on schema shop_internal, shop to app;
                 grant select, insert, update on shop_internal.outbox_migration to app";
    server.sql("postgres", stale).unwrap();
    assert!(!fits(&plan(&connector(&server.url("postgres")), &at("shop")).await.unwrap()));
    let message = migrate(&server.url_as("app", None, "postgres"), "shop").await.unwrap_err().to_string();
    assert!(message.contains("belongs to first"), "{message}");
}

#[tokio::test]
async fn a_foreign_relation_of_our_name_is_named_and_left_alone() {
    let mine = [
        ("create table outbox (mine int)", "outbox"),
        ("create table outbox (mine int) partition by list (mine)", "outbox"),
        ("create view outbox as select 1 as mine", "outbox"),
        ("create view outbox_rows as select 1 as mine", "outbox_rows"),
    ];
    for (sql, name) in mine {
        let server = Database::empty();
        server.sql(sql);
        let message = migrate(&server.url(), "public").await.unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("the relation public.{name} exists and was not made by outboxd")),
            "{message}"
        );
        assert!(message.contains("set database.schema"), "{message}");
        let left = "select string_agg(relname, ',') from pg_class where relname like 'outbox%'";
        assert_eq!(server.sql(left), name);
        migrate(&server.url(), "elsewhere").await.unwrap();
    }
}

#[tokio::test]
async fn an_error_in_a_file_names_file_and_line() {
    let server = Database::empty();
    server.sql("create schema outboxd; create table outboxd.outbox_held (mine int)");
    let message = migrate(&server.url(), "public").await.unwrap_err().to_string();
    let text = include_str!("../../sql/migrations/0001_tables.sql");
    let line = text.lines().position(|l| l.starts_with("create table outbox_held (")).unwrap() + 1;
    assert!(message.contains(&format!("sql/migrations/0001_tables.sql line {line}:")), "{message}");
    assert!(message.contains("database.internal_schema"), "{message}");
    let left = "select string_agg(relname, ',') from pg_class where relname like 'outbox%'";
    assert_eq!(server.sql(left), "outbox_held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_another_one_and_says_who_it_is() {
    let server = server();
    let url = server.url("postgres");
    let key = lock_key(&at("public"));
    let (client, connection) =
        tokio_postgres::connect(&format!("{url}?application_name=holder"), tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(&format!("begin; select pg_advisory_xact_lock({key})")).await.unwrap();
    let begun = Instant::now();
    let message = up(&connector(&url), &at("public"), Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(message.contains("another migration of the schema public is running"), "{message}");
    assert!(message.contains("(holder)"), "{message}");
    // Another schema's migrations are none of its business.
    migrate(&url, "other").await.unwrap();
    let waiting = tokio::spawn(async move { up(&connector(&url), &at("public"), WAIT).await.unwrap().steps.len() });
    let queued = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
    while server.sql("postgres", queued).unwrap() != "1" {}
    client.batch_execute("commit").await.unwrap();
    assert!(waiting.await.unwrap() > 0);
    driver.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_stays_locked_ends_the_run_which_says_who_holds_it_and_changes_nothing() {
    let database = Database::empty();
    let url = database.url();
    migrate(&url, "public").await.unwrap();
    let old = "create view old_view as select 1; insert into outbox_migration (name, kind, checksum, objects, release)
               values ('views/old_view.sql', 'repeatable', 'x', '{view app.old_view}', '0.1.0')";
    database.sql(old);
    let client = database.connect_plainly().await;
    client.batch_execute("set application_name = 'a report'; begin; select * from old_view, outbox").await.unwrap();
    let message = up(&connector(&url), &at("public"), Duration::from_millis(1)).await.unwrap_err().to_string();
    let holder: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let told = format!("process {holder} of user postgres (a report), whose transaction is ");
    assert!(message.contains(&told) && message.contains("--wait"), "{message}");
    assert!(!fits(&plan(&connector(&url), &at("public")).await.unwrap()));
    client.batch_execute("commit").await.unwrap();
    assert_eq!(migrate(&url, "public").await.unwrap().standing, Standing::Current);
}
