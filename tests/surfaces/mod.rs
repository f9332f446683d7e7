//! What an operator touches: commands and their exit codes, signals, reloads, HTTP, logs, TLS.

mod commands;
mod doctor;
mod drain;
mod http;
mod logs;
mod metrics;
mod purge;
mod reload;
mod rights;
mod runbooks;
mod standing;
mod startup;
mod systemd;
mod tls;
mod waiting;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::{Fixture, Output, RelayProcess, SOON, eventually_blocking, outboxd};

/// A relay that is ready, and where it answers by HTTP.
async fn listening(fixture: &Fixture, more: &str) -> (RelayProcess, String) {
    let mut relay = fixture.relay(more);
    let address = address(&mut relay).await;
    relay.wait_event("relay.ready", |_| true, SOON).await;
    (relay, address)
}

/// Where a relay answers by HTTP, ready or not.
async fn address(relay: &mut RelayProcess) -> String {
    relay.wait_event("http.listening", |_| true, SOON).await.text("address").to_owned()
}

/// Status code and body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// One sample of `/metrics`, by its name and labels as they are printed.
fn metric(address: &str, name: &str) -> Option<String> {
    let text = get(address, "/metrics").1;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}

/// Waits until a sample has this value.
fn becomes(address: &str, name: &str, wanted: &str) {
    let reached = eventually_blocking(SOON, || metric(address, name).as_deref() == Some(wanted));
    assert!(reached, "{name} is {:?}, not {wanted}", metric(address, name));
}

/// Runs a command against the stage's servers.
fn command(fixture: &Fixture, args: &[&str]) -> Output {
    let (database, redis) = (fixture.database.url(), fixture.redis.url(0));
    outboxd(args, &[("DATABASE_URL", &database), ("REDIS_URL", &redis)], fixture.sandbox.folder())
}

/// Runs a command that must succeed and print JSON.
fn json(fixture: &Fixture, args: &[&str]) -> Value {
    let output = command(fixture, args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// The configuration file of the stage's n-th relay.
fn file_of(fixture: &Fixture, n: u32) -> PathBuf {
    fixture.sandbox.folder().join(format!("relay-{n}/outboxd.toml"))
}

/// How many messages stand in a list.
fn len(fixture: &Fixture, key: &str) -> i64 {
    fixture.redis.cmd(["LLEN", key]).unwrap().int().unwrap()
}
