//! `outboxd migrate` as a script sees it: output and exit codes.

use clap::Parser;
use outboxd::cli::migrate::{MigrateArgs, MigrateSettings, run};

use super::at;
use crate::common::Database;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    args: MigrateArgs,
}

async fn call(url: &str, line: &str) -> (u8, String, String) {
    let program = Program::try_parse_from(["migrate"].into_iter().chain(line.split(' '))).unwrap();
    let settings = MigrateSettings { url: Some(url.into()), schemas: at("public") };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&program.args, &settings, &mut out, &mut err).await;
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[tokio::test]
async fn check_exits_3_until_up_has_run() {
    let server = Database::empty();
    let url = server.url();
    let (code, out, _) = call(&url, "check").await;
    assert_eq!(code, 3);
    assert!(out.contains("migrations/0001_tables.sql is not applied"), "{out}");
    let (code, out, _) = call(&url, "plan --json").await;
    let plan: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, plan["fit"].as_bool()), (0, Some(false)));
    assert_eq!(plan["steps"][0]["name"], "migrations/0001_tables.sql");
    assert_eq!(plan["steps"][0]["why"], "new");
    let (code, out, err) = call(&url, "up").await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("applied sql/migrations/0001_tables.sql"), "{err}");
    let (code, out, _) = call(&url, "check --json").await;
    let check: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, check["fit"].as_bool(), check["findings"].as_array().map(Vec::len)), (0, Some(true), Some(0)));
    assert_eq!(call(&url, "plan").await.1, "nothing to do in the schema public\n");
}

#[tokio::test]
async fn an_unreachable_server_is_69_and_a_wrong_url_78() {
    let (code, _, err) = call("postgres://u:hunter2@127.0.0.1:1/db", "up").await;
    assert_eq!(code, 69);
    assert!(err.contains("127.0.0.1:1") && !err.contains("hunter2"), "{err}");
    let (code, _, err) = call("postgres://u:hunter2@h/db?sslmode=maybe", "plan").await;
    assert_eq!(code, 78);
    assert!(err.contains("database.url") && err.contains("sslmode") && !err.contains("hunter2"), "{err}");
}

#[tokio::test]
async fn sql_needs_no_server() {
    let (code, out, _) = call("postgres://127.0.0.1:1/db", "sql --schema other --internal-schema hidden").await;
    assert_eq!(code, 0);
    assert!(out.contains("create table \"other\".outbox (") && out.contains("set search_path = \"hidden\", pg_temp"));
    let (code, out, _) = call("postgres://127.0.0.1:1/db", "sql --drop --roles").await;
    assert_eq!(code, 0);
    assert!(out.contains("drop table if exists") && out.contains("drop role if exists"));
}
