//! A private PostgreSQL.

use outboxd::sandbox::{Postgres, PostgresOptions, Sandbox, StopMode};

const TEMPLATE: &str = env!("CARGO_TARGET_TMPDIR");

fn options() -> PostgresOptions {
    PostgresOptions { template: Some(TEMPLATE.into()), ..PostgresOptions::default() }
}

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
    let standby = primary.standby(&options()).unwrap();
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
