//! A private PostgreSQL.

use outboxd::sandbox::{PgBouncer, Postgres, PostgresOptions, Proxy, Sandbox, StopMode, TlsFiles};

use crate::common::options;

fn start(options: &PostgresOptions) -> Postgres {
    Postgres::start(&Sandbox::new().unwrap(), options).unwrap()
}

fn count(postgres: &Postgres) -> String {
    postgres.sql("postgres", "select count(*) from t").unwrap()
}

#[test]
fn a_killed_postgres_recovers_on_the_same_port() {
    let postgres = start(&options());
    postgres.sql("postgres", "create table t as select generate_series(1, 1000) as id").unwrap();
    let port = postgres.port();
    postgres.kill();
    assert!(!postgres.is_running());
    postgres.sql("postgres", "select 1").unwrap_err();
    postgres.start_again().unwrap();
    assert_eq!((postgres.port(), count(&postgres).as_str()), (port, "1000"));
    for mode in [StopMode::Fast, StopMode::Immediate, StopMode::Smart] {
        postgres.stop(mode).unwrap();
        postgres.start_again().unwrap();
    }
    assert_eq!(count(&postgres), "1000");
}

#[test]
fn a_restored_backup_knows_nothing_of_what_came_after_it() {
    let postgres = start(&options());
    postgres.sql("postgres", "create table t as select 1 as id").unwrap();
    let backup = postgres.data().with_file_name("backup");
    postgres.base_backup(&backup).unwrap();
    postgres.sql("postgres", "insert into t values (2)").unwrap();
    postgres.restore(&backup).unwrap();
    assert_eq!(count(&postgres), "1");
    let twin = Postgres::start_from(&Sandbox::new().unwrap(), &backup, &options()).unwrap();
    assert_eq!(count(&twin), "1");
}

#[test]
fn a_promoted_standby_goes_on_with_what_it_received() {
    let primary = start(&options());
    primary.sql("postgres", "create table t as select 1 as id").unwrap();
    let standby = primary.standby(&PostgresOptions::default().with("work_mem", "5MB")).unwrap();
    let (limit, memory) = ("show max_connections", "show work_mem");
    assert_eq!(standby.sql("postgres", limit).unwrap(), primary.sql("postgres", limit).unwrap());
    assert_eq!(standby.sql("postgres", memory).unwrap(), "5MB");
    primary.sql("postgres", "set synchronous_commit = on; insert into t values (2)").unwrap();
    standby.sql("postgres", "insert into t values (3)").unwrap_err();
    let sent = primary.sql("postgres", "select pg_current_wal_lsn()").unwrap();
    let replayed = format!("select pg_last_wal_replay_lsn() >= '{sent}'");
    while standby.sql("postgres", &replayed).unwrap() != "t" {}
    primary.kill();
    standby.promote().unwrap();
    standby.sql("postgres", "insert into t values (3)").unwrap();
    assert_eq!(count(&standby), "3");
}

#[test]
fn a_password_is_asked_for_and_settings_can_change() {
    let postgres = start(&PostgresOptions { password: Some("secret".to_owned()), ..PostgresOptions::default() });
    assert!(postgres.url("x").contains(":secret@"));
    postgres.reload(&[("work_mem", "5MB")]).unwrap();
    // A reload reaches the postmaster by signal; new sessions see it once it has read the file.
    while postgres.sql("postgres", "show work_mem").unwrap() != "5MB" {}
    postgres.reload(&[("max_connections", "20")]).unwrap();
    postgres.stop(StopMode::Fast).unwrap();
    postgres.start_again().unwrap();
    assert_eq!(postgres.sql("postgres", "show max_connections").unwrap(), "20");
}

#[test]
fn a_standby_behind_a_paused_proxy_is_promoted_without_the_last_commits() {
    use outboxd::sandbox::Direction;
    let primary = start(&options());
    let proxy = Proxy::start(primary.port()).unwrap();
    primary.sql("postgres", "create table t as select 1 as id").unwrap();
    let standby = primary.standby_through(proxy.port(), &options()).unwrap();
    proxy.pause(Direction::Replies);
    primary.sql("postgres", "insert into t values (2)").unwrap();
    primary.kill();
    standby.promote().unwrap();
    assert_eq!(count(&standby), "1");
}

#[test]
fn a_pooler_hands_out_another_session_per_transaction() {
    let postgres = start(&options());
    let mut pooler = PgBouncer::start(&Sandbox::new().unwrap(), &postgres, &[("default_pool_size", "2")]).unwrap();
    let through = || psql(&pooler.url("postgres"), "select 1");
    assert_eq!(through().unwrap(), "1");
    pooler.kill();
    psql(&pooler.url("postgres"), "select 1").unwrap_err();
    pooler.start_again().unwrap();
    assert_eq!(psql(&pooler.url("postgres"), "select 1").unwrap(), "1");
}

#[test]
fn a_server_proves_who_it_is_to_those_who_ask() {
    let sandbox = Sandbox::new().unwrap();
    let tls = TlsFiles::make(&sandbox).unwrap();
    let postgres = Postgres::start(&sandbox, &PostgresOptions { tls: Some(tls.clone()), ..options() }).unwrap();
    let url = format!("{}?sslmode=verify-full&sslrootcert={}", postgres.url("postgres"), tls.ca.display());
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(psql(&url, encrypted).unwrap(), "t");
    let stranger = TlsFiles::make(&sandbox).unwrap();
    let url = url.replace(&tls.ca.display().to_string(), &stranger.ca.display().to_string());
    assert!(psql(&url, encrypted).unwrap_err().contains("certificate verify failed"));
}

fn psql(url: &str, sql: &str) -> Result<String, String> {
    let output = std::process::Command::new("psql").args(["-XAtq", "-d", url, "-c", sql]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
