//! The SQL for other tools does what `up` does, and the way out leaves nothing behind.

use std::fs;
use std::process::Command;

use outboxd::pg::migrate::{Standing, plan};
use outboxd::pg::script;
use outboxd::sandbox::{Postgres, Sandbox};

use super::listing::listing;
use super::{at, connector, migrate, server};
use crate::common::Database;

/// Runs a script by psql; returns what `show search_path` says afterwards in the same session.
fn psql(server: &Postgres, user: &str, script: &str, extra: &[&str]) -> String {
    let sandbox = Sandbox::new().unwrap();
    let file = sandbox.folder().join("script.sql");
    fs::write(&file, script).unwrap();
    let url = server.url_as(user, None, "postgres");
    let mut command = Command::new("psql");
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &url]).args(extra).arg("-f").arg(&file);
    let output = command.args(["-c", "show search_path"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn the_script_run_by_psql_makes_what_up_makes() {
    let (by_up, by_script) = (server(), server());
    let names = ["public", "My \"Schema\"'s"];
    for name in names {
        migrate(&by_up.url("postgres"), name).await.unwrap();
        assert_eq!(psql(&by_script, "postgres", &script::install(&at(name), 0), &["-1"]), "\"$user\", public");
        assert_eq!(plan(&connector(&by_script.url("postgres")), &at(name)).await.unwrap(), Standing::Current);
        assert_eq!(listing(&by_up, name).await, listing(&by_script, name).await);
    }
}

#[tokio::test]
async fn the_script_works_statement_by_statement_and_without_many_rights() {
    let server = server();
    server
        .sql(
            "postgres",
            "create role app login; create schema app authorization app; create schema app_internal authorization app",
        )
        .unwrap();
    psql(&server, "app", &script::install(&at("app"), 0), &[]);
    assert_eq!(plan(&connector(&server.url("postgres")), &at("app")).await.unwrap(), Standing::Current);
    // An update on top changes nothing.
    psql(&server, "app", &script::install(&at("app"), 9999), &["-1"]);
    assert_eq!(plan(&connector(&server.url("postgres")), &at("app")).await.unwrap(), Standing::Current);
}

/// Everything in the database that is not the system's, apart from the bookkeeping of types behind tables.
const EVERYTHING: &str = "select coalesce(string_agg(what, e'\\n' order by what), '') from (
    select 'relation ' || c.oid::regclass as what from pg_class c where c.oid >= 16384 and c.relnamespace not in (select oid from pg_namespace where nspname ~ '^pg_toast')
    union all select 'function ' || p.oid::regprocedure from pg_proc p where p.oid >= 16384
    union all select 'type ' || t.oid::regtype from pg_type t where t.oid >= 16384
    union all select 'schema ' || nspname from pg_namespace where oid >= 16384 and nspname !~ '^pg_toast'
    union all select 'rights of ' || nspname || ' ' || coalesce(nspacl::text, '') from pg_namespace where nspname = 'public') x";

#[tokio::test]
async fn the_way_out_leaves_nothing_of_ours_and_everything_else() {
    let server = server();
    server
        .sql(
            "postgres",
            "create table outbox_of_mine (id int); create function outbox_fun() returns int language sql as 'select 1'",
        )
        .unwrap();
    let before = server.sql("postgres", EVERYTHING).unwrap();
    for name in ["public", "made by \"us\""] {
        migrate(&server.url("postgres"), name).await.unwrap();
        server
            .sql(
                "postgres",
                &format!("insert into {}.outbox (queue, task) values ('q', 't')", script::identifier(name)),
            )
            .unwrap();
        assert_ne!(server.sql("postgres", EVERYTHING).unwrap(), before);
        psql(&server, "postgres", &script::drop(&at(name), false), &["-1"]);
        assert_eq!(server.sql("postgres", EVERYTHING).unwrap(), before);
    }
    migrate(&server.url("postgres"), "public").await.unwrap();
    psql(&server, "postgres", &script::drop(&at("public"), true), &["-1"]);
    assert_eq!(server.sql("postgres", "select count(*) from pg_roles where rolname like 'outbox%'").unwrap(), "0");
}

#[tokio::test]
async fn a_schema_that_holds_something_else_or_was_there_before_stays() {
    let server = server();
    server.sql("postgres", "create schema before").unwrap();
    for name in ["before", "ours"] {
        migrate(&server.url("postgres"), name).await.unwrap();
        if name == "ours" {
            server.sql("postgres", "create table ours.mine (id int)").unwrap();
        }
        psql(&server, "postgres", &script::drop(&at(name), false), &["-1"]);
    }
    assert_eq!(
        server.sql("postgres", "select count(*) from pg_namespace where nspname in ('before', 'ours')").unwrap(),
        "2"
    );
    assert_eq!(server.sql("postgres", "select to_regclass('ours.mine')").unwrap(), "ours.mine");
}

#[tokio::test]
async fn an_object_of_yours_that_depends_on_ours_stops_the_way_out() {
    let server = Database::empty();
    migrate(&server.url(), "public").await.unwrap();
    server.sql("create view mine as select id from outbox");
    let sandbox = Sandbox::new().unwrap();
    let file = sandbox.folder().join("drop.sql");
    fs::write(&file, script::drop(&at("public"), false)).unwrap();
    let url = server.url();
    let output =
        Command::new("psql").args(["-XAtq1", "-v", "ON_ERROR_STOP=1", "-d", &url, "-f"]).arg(&file).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(plan(&connector(&url), &at("public")).await.unwrap(), Standing::Current);
}
