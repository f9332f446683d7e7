//! `sql/schema.sql` shows what the migrations make. `UPDATE=1 cargo test --test suite schema_sql` writes it anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outboxd::pg::schema::{File, files};
use outboxd::pg::script::identifier;
use outboxd::sandbox::Postgres;
use tokio_postgres::NoTls;

use super::{at, migrate, server};
use crate::common::Database;

const HEADER: &str = "-- What the migrations make, for reading; a test holds it equal. Bodies are in sql/functions and sql/views.\n\
                      -- Written by: UPDATE=1 cargo test --test suite schema_sql\n";

/// What the schemas of an outbox hold, independent of their names.
pub(super) async fn listing(server: &Postgres, schema: &str) -> String {
    of(&server.url("postgres"), schema).await
}

/// [`listing`] of any database.
pub(super) async fn of(url: &str, schema: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let schemas = at(schema);
    let names = [(&schemas.internal, "INTERNAL"), (&schemas.app, "APP")];
    let path = names.map(|(name, _)| identifier(name)).join(", ");
    client.batch_execute(&format!("set search_path = {path}, pg_temp")).await.unwrap();
    let mut lines = Vec::new();
    for (title, name) in [("the application's schema", &schemas.app), ("the machinery's schema", &schemas.internal)] {
        lines.push(format!("\n-- In {title}:"));
        let rows = client.query(include_str!("listing.sql"), &[name]).await.unwrap();
        lines.extend(rows.iter().map(|row| row.get(0)));
    }
    driver.abort();
    let mut text = lines.join("\n");
    // Only what is written with the schema in spite of search_path: indexes, triggers, search_path of functions.
    for (name, placeholder) in names {
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let written = if plain { name.clone() } else { identifier(name) };
        text = text.replace(&format!("{written}."), "");
        for written in [name.clone(), identifier(name)] {
            text = text.replace(
                &format!("search_path = {written}, pg_temp"),
                &format!("search_path = {placeholder}, pg_temp"),
            );
        }
    }
    text
}

#[tokio::test]
async fn schema_sql_is_what_the_migrations_make() {
    let server = server();
    migrate(&server.url("postgres"), "public").await.unwrap();
    let made = format!("{HEADER}{}\n", listing(&server, "public").await);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/schema.sql");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = made.lines().zip(kept.lines()).position(|(m, k)| m != k);
    let at = differs.unwrap_or(made.lines().count().min(kept.lines().count()));
    let there = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_owned();
    assert!(
        made == kept,
        "sql/schema.sql line {} is\n  {}\nand the migrations make\n  {}\nrun: UPDATE=1 cargo test --test suite schema_sql",
        at + 1,
        there(&kept),
        there(&made)
    );
}

#[tokio::test]
async fn the_signatures_read_from_the_files_are_those_in_the_database() {
    let server = Database::empty();
    migrate(&server.url(), "public").await.unwrap();
    let there = "select string_agg(oid::regprocedure::text, e'\\n') from pg_proc
                  where pronamespace in ('public'::regnamespace, 'outboxd'::regnamespace)";
    let there: BTreeSet<String> = server.sql(there).lines().map(str::to_owned).collect();
    let mut read = BTreeSet::new();
    for object in files().iter().flat_map(File::objects) {
        if let Some(signature) = object.strip_prefix("function ") {
            let place = signature
                .strip_prefix("app.")
                .map_or_else(|| format!("outboxd.{signature}"), |s| format!("public.{s}"));
            let resolved = server.sql(&format!("select to_regprocedure('{place}')"));
            assert!(!resolved.is_empty(), "{signature} is not in the database");
            read.insert(resolved);
        }
    }
    assert_eq!(read, there);
}
