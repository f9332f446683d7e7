//! What systemd hears from the relay.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Fixture, RelayProcess, SOON};

/// The supervisor's end of the socket.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn new(fixture: &Fixture) -> (Self, String) {
        let path = fixture.sandbox.folder().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        (Self(socket), path.display().to_string())
    }

    /// Reads until a message holds the line.
    fn hears(&self, line: &str) {
        let mut buffer = [0; 4096];
        loop {
            let length = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("{line} was not said: {error}"));
            if std::str::from_utf8(&buffer[..length]).unwrap().lines().any(|said| said == line) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn systemd_hears_when_the_relay_is_ready_lives_reloads_and_stops() {
    let fixture = Fixture::new();
    let (systemd, path) = Supervisor::new(&fixture);
    let env = [("NOTIFY_SOCKET", path.as_str()), ("WATCHDOG_USEC", "200000")];
    let mut relay = RelayProcess::start(&fixture.sandbox, &fixture.config(""), &env, &[]);
    systemd.hears("READY=1");
    systemd.hears("WATCHDOG=1");
    systemd.hears("WATCHDOG=1");
    relay.signal(Signal::HUP);
    systemd.hears("RELOADING=1");
    systemd.hears("READY=1");
    assert!(relay.stop().success());
    systemd.hears("STOPPING=1");
}

#[tokio::test]
async fn a_relay_that_waits_for_postgres_is_not_ready_and_says_so() {
    let fixture = Fixture::new();
    let (systemd, path) = Supervisor::new(&fixture);
    let config = crate::common::config("postgres://127.0.0.1:1/none", &fixture.redis.url(0), "");
    let mut relay = RelayProcess::start(&fixture.sandbox, &config, &[("NOTIFY_SOCKET", &path)], &[]);
    systemd.hears("STATUS=waiting for PostgreSQL");
    relay.wait_event("postgres.down", |_| true, SOON).await;
    systemd.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(systemd.0.recv(&mut [0; 64]).is_err(), "nothing else was said");
    assert!(relay.stop().success());
}
