//! `sql/schema.sql` shows what the migrations make. `UPDATE=1 cargo test --test suite schema_sql` writes it anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use outboxd::pg::schema::{File, files};
use outboxd::sandbox::Postgres;
use tokio_postgres::NoTls;

use super::{migrate, server};
use crate::common::Database;

const HEADER: &str = "-- What the migrations make, for reading; a test holds it equal. Bodies are in sql/functions and sql/views.\n\
                      -- Written by: UPDATE=1 cargo test --test suite schema_sql\n";

/// What a schema holds, independent of its name.
pub(super) async fn listing(server: &Postgres, schema: &str) -> String {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let path = outboxd::pg::script::identifier(schema);
    client.batch_execute(&format!("set search_path = {path}, pg_temp")).await.unwrap();
    let rows = client.query(include_str!("listing.sql"), &[&schema]).await.unwrap();
    driver.abort();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    // Only what is written with the schema in spite of search_path: indexes, triggers, search_path of functions.
    let qualified =
        if schema.chars().all(|c| c.is_ascii_lowercase()) { format!("{schema}.") } else { format!("{path}.") };
    let text = lines
        .join("\n")
        .replace(&qualified, "")
        .replace(&format!("search_path = {path}, pg_temp"), "search_path = SCHEMA, pg_temp");
    text.replace(&format!("search_path = {schema}, pg_temp"), "search_path = SCHEMA, pg_temp")
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
    let there = "select coalesce(string_agg(oid::regprocedure::text, e'\\n'), '') from pg_proc where pronamespace = 'public'::regnamespace";
    let there: BTreeSet<String> = server.sql(there).lines().map(str::to_owned).collect();
    let mut read = BTreeSet::new();
    for object in files().iter().flat_map(File::objects) {
        if let Some(signature) = object.strip_prefix("function ") {
            let resolved = server.sql(&format!("select to_regprocedure('{signature}')"));
            assert!(!resolved.is_empty(), "{signature} is not in the database");
            read.insert(resolved);
        }
    }
    assert_eq!(read, there);
}
