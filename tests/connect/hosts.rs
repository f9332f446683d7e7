//! Which server is reached, how long it may take, and what an error says.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use outboxd::fault::Fault;
use outboxd::pg::Connector;
use outboxd::sandbox::{Postgres, PostgresOptions, Sandbox};

use super::{connector, open, value};
use crate::common::{Database, options};

/// A port that accepts and never says a word.
fn black_hole() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_server_that_never_answers_fails_within_the_connect_timeout() {
    let (_listener, port) = black_hole();
    for extra in ["", "&sslmode=disable", "&sslmode=require"] {
        let begun = Instant::now();
        let fault =
            open(&format!("postgres://u:secret@127.0.0.1:{port}/db?connect_timeout=3{extra}")).await.unwrap_err();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(2900) && took < Duration::from_secs(20), "{took:?}");
        assert!(matches!(&fault.fault, Fault::Retry(r) if r.class == "timeout"), "{fault}");
        assert!(
            !fault.uncertain && fault.to_string().contains("database.url") && !fault.to_string().contains("secret")
        );
    }
}

#[tokio::test]
async fn the_second_host_is_reached_when_the_first_never_answers_or_refuses() {
    let database = Database::empty();
    let (_listener, silent) = black_hole();
    let port = database.postgres.port();
    for first in [silent, 1] {
        let url = format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{port}/{}?connect_timeout=3", database.name);
        let session = open(&url).await.unwrap();
        assert_eq!(value::<String>(&session, "select current_database()::text").await, database.name);
    }
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_used() {
    let primary = Postgres::start(&Sandbox::new().unwrap(), &options()).unwrap();
    let standby = primary.standby(&options()).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", standby.port(), primary.port());
    let session = open(&url).await.unwrap();
    assert!(!value::<bool>(&session, "select pg_is_in_recovery()").await);
    primary.kill();
    let fault = open(&url).await.unwrap_err();
    assert!(matches!(fault.fault, Fault::Retry(_)), "{fault}");
    assert!(fault.to_string().contains("standby"), "{fault}");
    standby.promote().unwrap();
    assert!(!value::<bool>(&open(&url).await.unwrap(), "select pg_is_in_recovery()").await);
}

#[tokio::test]
async fn both_spellings_of_a_connection_string_are_understood() {
    let database = Database::empty();
    let (port, name) = (database.postgres.port(), &database.name);
    for text in [
        format!("host=127.0.0.1 port={port} user=postgres dbname='{name}' application_name='two words'"),
        format!("postgresql://postgres@127.0.0.1:{port}/{name}?application_name=two%20words"),
        format!(
            "postgres:///{name}?host=127.0.0.1&port={port}&user=postgres&application_name=two%20words&gssencmode=disable"
        ),
    ] {
        let session = open(&text).await.unwrap();
        let name: String = value(&session, "select current_setting('application_name')").await;
        assert_eq!(name, "two words");
    }
    let session = open(&database.url()).await.unwrap();
    assert_eq!(value::<String>(&session, "select current_setting('application_name')").await, "outboxd-test");
}

#[tokio::test]
async fn a_password_is_never_shown() {
    let options = PostgresOptions { password: Some("right".into()), ..PostgresOptions::default() };
    let server = Postgres::start(&Sandbox::new().unwrap(), &options).unwrap();
    let url = server.url_as("postgres", Some("hunter2"), "postgres");
    let wrong = connector(&url);
    assert!(!format!("{wrong:?} {}", wrong.target()).contains("hunter2"));
    let fault = open(&url).await.unwrap_err();
    assert!(matches!(&fault.fault, Fault::Halt(r) if r.class == "auth"), "{fault}");
    assert!(fault.is_code("28P01") && fault.to_string().contains("database.url"));
    assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    open(&server.url("postgres")).await.unwrap();
    for broken in [
        "postgres://u:hunter2@h:port/db",
        "postgres://u:hunter2@h/db?x=hunter2",
        "postgres://u:hunter2@h/db?sslpassword=hunter2",
        "postgres://u:hunter2%zz@h/db",
        "postgres://u@h/db?sslmode=hunter2",
        "host=h password='hunter2",
        "host=h user=u password=hunter 2=3",
        "mysql://u:hunter2@h/db",
    ] {
        let fault = Connector::new("database.url", broken, "x").unwrap_err();
        assert!(matches!(&fault, Fault::Halt(r) if r.class == "config"), "{fault}");
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }
}

#[tokio::test]
async fn an_error_of_the_server_names_the_next_step() {
    let database = Database::empty();
    let port = database.postgres.port();
    let missing = open(&format!("postgres://postgres@127.0.0.1:{port}/nowhere")).await.unwrap_err();
    assert!(
        matches!(missing.fault, Fault::Halt(_)) && missing.to_string().contains("create the database"),
        "{missing}"
    );
    let refused = open("postgres://postgres@127.0.0.1:1/db").await.unwrap_err();
    assert!(matches!(refused.fault, Fault::Retry(_)) && refused.to_string().contains("127.0.0.1:1"), "{refused}");
    assert!(refused.to_string().contains("refused"), "{refused}");
    let session = open(&database.url()).await.unwrap();
    let table = session.statement("gauge", "select * from outbox", &[], super::LIMIT).await.unwrap_err();
    assert!(matches!(table.fault, Fault::Halt(_)) && !table.uncertain, "{table}");
    assert!(table.to_string().contains("outboxd migrate up"), "{table}");
}
