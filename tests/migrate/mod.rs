//! Migrations: as a whole or not at all, by anybody who may create, from any number of places at once.

mod cli;
mod listing;
mod producers;
mod refusals;
mod schemas;
mod scripts;

use std::time::Duration;

use outboxd::pg::migrate::{Report, Standing, fits, lock_key, plan, up};
use outboxd::pg::{Connector, Schemas, migrate::MigrateError};
use outboxd::sandbox::{Postgres, Sandbox};

use crate::common::{Database, SOON, eventually, options};

const WAIT: Duration = Duration::from_secs(60);

/// For tests that make roles, which all databases of a cluster share.
fn server() -> Postgres {
    Postgres::start(&Sandbox::new().unwrap(), &options()).unwrap()
}

fn connector(url: &str) -> Connector {
    Connector::new("database.url", url, "test").unwrap()
}

/// The outbox of an application's schema, with its machinery beside it.
fn at(schema: &str) -> Schemas {
    let internal = if schema == "public" { "outboxd".to_owned() } else { format!("{schema}_internal") };
    Schemas::new(schema, &internal)
}

async fn migrate(url: &str, schema: &str) -> Result<Report, MigrateError> {
    up(&connector(url), &at(schema), WAIT).await
}

#[tokio::test]
async fn a_second_run_has_nothing_to_do() {
    let server = Database::empty();
    let url = server.url();
    let first = migrate(&url, "public").await.unwrap();
    assert!(first.steps.iter().any(|s| s.name == "migrations/0001_tables.sql"));
    let second = migrate(&url, "public").await.unwrap();
    assert!(second.steps.is_empty());
    assert_eq!(plan(&connector(&url), &at("public")).await.unwrap(), Standing::Current);
    server.sql("insert into outbox (queue, task) values ('q', 't')");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_migrations_at_once_all_end_in_success() {
    let server = Database::empty();
    let url = server.url();
    let runs: Vec<_> = (0..20)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { migrate(&url, "fresh").await.unwrap().steps.len() })
        })
        .collect();
    let mut applied = Vec::new();
    for run in runs {
        applied.push(run.await.unwrap());
    }
    assert_eq!(applied.iter().filter(|n| **n > 0).count(), 1, "{applied:?}");
    assert_eq!(plan(&connector(&url), &at("fresh")).await.unwrap(), Standing::Current);
}

#[tokio::test]
async fn a_user_with_a_schema_of_its_own_and_create_on_another_can_migrate() {
    let server = server();
    let rights = "create role app login; create schema app_internal authorization app;
                  create schema app; grant create, usage on schema app to app";
    server.sql("postgres", rights).unwrap();
    let url = server.url_as("app", None, "postgres");
    migrate(&url, "app").await.unwrap();
    assert!(fits(&plan(&connector(&url), &at("app")).await.unwrap()));
}

#[tokio::test]
async fn the_owner_of_a_plain_database_can_migrate_into_a_schema_that_is_not_there() {
    let server = server();
    server.sql("postgres", "create role app login nocreaterole").unwrap();
    server.sql("postgres", "create database app owner app").unwrap();
    migrate(&server.url_as("app", None, "app"), "other").await.unwrap();
    migrate(&server.url_as("app", None, "app"), "public").await.unwrap();
}

#[tokio::test]
async fn a_schema_may_have_any_name() {
    let server = Database::empty();
    let (url, name) = (server.url(), "My \"Schema\"'s \\ ä");
    migrate(&url, name).await.unwrap();
    assert_eq!(plan(&connector(&url), &at(name)).await.unwrap(), Standing::Current);
    server.sql("insert into \"My \"\"Schema\"\"'s \\ ä\".outbox (queue, task) values ('q', 't')");
    let elsewhere = "select count(*) from pg_class where relname like 'outbox%' and relnamespace::regnamespace::text in ('public', 'outboxd')";
    assert_eq!(server.sql(elsewhere), "0");
}

#[tokio::test]
async fn what_an_earlier_release_made_and_this_one_does_not_is_dropped() {
    let server = Database::empty();
    let url = server.url();
    migrate(&url, "public").await.unwrap();
    let earlier = "create function outboxd.outbox_old(a int) returns int language sql as 'select a';
        create function outbox_older(a int) returns int language sql as 'select a';
        create function my_own() returns int language sql as 'select 1';
        create view outbox_old_view as select outboxd.outbox_old(1);
        insert into outbox_migration (name, kind, checksum, objects, release) values
          ('functions/outbox_old.sql', 'repeatable', 'x', '{function outbox_old(int),function app.outbox_older(int)}', '0.1.0'),
          ('views/outbox_old_view.sql', 'repeatable', 'x', '{view app.outbox_old_view}', '0.1.0')";
    server.sql(earlier);
    let report = migrate(&url, "public").await.unwrap();
    assert!(report.steps.iter().any(|s| s.name == "functions/outbox_old.sql"), "{report:?}");
    let left = "select coalesce(to_regprocedure('outbox_old(int)')::text, '-'), coalesce(to_regprocedure('outbox_older(int)')::text, '-'), \
                coalesce(to_regclass('outbox_old_view')::text, '-'), to_regprocedure('my_own()') is not null";
    assert_eq!(server.sql(left), "-|-|-|t");
    assert_eq!(plan(&connector(&url), &at("public")).await.unwrap(), Standing::Current);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_short_time_outs_can_look_and_migrate() {
    // Long enough for what sets the time-outs aside on a busy machine; the rest is made to wait for longer.
    const SHORT: Duration = Duration::from_secs(2);
    let server = server();
    let short = format!(
        "create role owner login; grant create on database postgres to owner;
         alter role owner set statement_timeout = {ms}; alter role owner set lock_timeout = {ms};
         alter role owner set search_path = 'nowhere'",
        ms = SHORT.as_millis()
    );
    server.sql("postgres", &short).unwrap();
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let url = server.url_as("owner", None, "postgres");
    // A time-out of the server runs by the server's clock: the wait has to be as real as it.
    let longer = format!("select pg_sleep({})", SHORT.as_secs_f64() * 1.5);
    let queued = "select count(*) from pg_locks where not granted";

    let key = lock_key(&at("own"));
    client.batch_execute(&format!("begin; select pg_advisory_xact_lock({key})")).await.unwrap();
    let run = tokio::spawn({
        let url = url.clone();
        async move { migrate(&url, "own").await }
    });
    assert!(eventually(SOON, || async { server.sql("postgres", queued).unwrap() == "1" }).await);
    client.batch_execute(&longer).await.unwrap();
    client.batch_execute("commit").await.unwrap();
    assert!(!run.await.unwrap().unwrap().steps.is_empty());

    client.batch_execute("begin; lock table own_internal.outbox_migration in access exclusive mode").await.unwrap();
    let look = tokio::spawn(async move { plan(&connector(&url), &at("own")).await });
    assert!(eventually(SOON, || async { server.sql("postgres", queued).unwrap() == "1" }).await);
    client.batch_execute(&longer).await.unwrap();
    client.batch_execute("commit").await.unwrap();
    assert_eq!(look.await.unwrap().unwrap(), Standing::Current);
    driver.abort();
}
