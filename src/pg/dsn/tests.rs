//! What a connection string comes to.

use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;

use super::{Endpoint, Mode, Place, Roots, parse};

fn tcp(name: &str, port: u16) -> Endpoint {
    Endpoint { place: Place::Tcp { name: name.into(), addr: None }, port }
}

#[test]
fn hosts_and_ports_are_read_as_libpq_reads_them() {
    let of = |text: &str| parse(text).unwrap().endpoints;
    assert_eq!(of("postgres://u@a,b:6000,[::1]:7000/d"), [tcp("a", 5432), tcp("b", 6000), tcp("::1", 7000)]);
    assert_eq!(of("postgres://u@a/d?port=6000"), [tcp("a", 6000)]);
    assert_eq!(of("host=a,b port=6000"), [tcp("a", 6000), tcp("b", 6000)]);
    let unix = Endpoint { place: Place::Unix("/run/pg".into()), port: 5432 };
    assert_eq!(of("postgres://u@%2Frun%2Fpg/d"), std::slice::from_ref(&unix));
    assert_eq!(of("postgres:///d?host=/run/pg"), [unix]);
    let addr = Endpoint { place: Place::Tcp { name: "a".into(), addr: Some([127, 0, 0, 1].into()) }, port: 5432 };
    assert_eq!(of("host=a hostaddr=127.0.0.1"), [addr]);
    for wrong in ["host=a,b port=1,2,3", "host=a,b hostaddr=::1", "host=a port=x", "hostaddr=a", "postgres://[::1/d"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_password_may_hold_anything_that_is_encoded() {
    let dsn = parse("postgres://us%65r:p%40:%2F%25@h/d%20b").unwrap();
    assert_eq!(dsn.base.get_user(), Some("user"));
    assert_eq!(dsn.base.get_password(), Some(b"p@:/%".as_slice()));
    assert_eq!(dsn.base.get_dbname(), Some("d b"));
    let dsn = parse(r"host=h password='it\'s \\ x' user = u").unwrap();
    assert_eq!((dsn.base.get_password(), dsn.base.get_user()), (Some(br"it's \ x".as_slice()), Some("u")));
    assert!(!format!("{dsn:?}").contains("it's"));
}

#[test]
fn a_server_that_vanished_is_noticed_in_seconds_unless_told_otherwise() {
    let base = parse("host=h").unwrap().base;
    assert!(base.get_keepalives() && base.get_keepalives_idle() <= Duration::from_secs(10));
    assert!(*base.get_tcp_user_timeout().unwrap() <= Duration::from_secs(10));
    // Milliseconds, as in libpq.
    let base = parse("host=h tcp_user_timeout=1500 keepalives_idle=60 keepalives_count=9").unwrap().base;
    assert_eq!(base.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
    assert_eq!((base.get_keepalives_idle(), base.get_keepalives_retries()), (Duration::from_secs(60), Some(9)));
    assert_eq!(parse("host=h connect_timeout=3").unwrap().connect_timeout, Duration::from_secs(3));
}

#[test]
fn among_several_hosts_one_that_takes_writes_is_wanted() {
    let attrs = |text: &str| parse(text).map(|d| d.base.get_target_session_attrs());
    assert_eq!(attrs("host=a"), Ok(TargetSessionAttrs::Any));
    assert_eq!(attrs("host=a,b"), Ok(TargetSessionAttrs::ReadWrite));
    assert_eq!(attrs("host=a,b target_session_attrs=any"), Ok(TargetSessionAttrs::Any));
    assert!(attrs("host=a target_session_attrs=standby").unwrap_err().contains("writes"));
}

#[test]
fn the_modes_of_tls_are_libpqs() {
    let mode = |text: &str| parse(text).unwrap().tls.mode;
    assert_eq!(mode("host=a"), Mode::Prefer);
    assert_eq!(mode("host=a sslrootcert=system"), Mode::VerifyFull);
    assert_eq!(mode("host=a sslmode=require"), Mode::Require);
    assert_eq!(mode("host=a sslmode=require sslrootcert=ca.crt"), Mode::VerifyCa);
    assert_eq!(mode("postgres://a/d?ssl=true"), Mode::Require);
    assert_eq!(
        parse("host=a sslmode=verify-full sslrootcert=ca.crt").unwrap().tls.roots,
        Some(Roots::File("ca.crt".into()))
    );
}
