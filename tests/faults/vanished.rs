//! A relay whose host vanishes, so that the server is not told: its locks are free again within seconds.

use std::fs;

use outboxd::sandbox::Proxy;

use crate::common::{Fixture, SOON, eventually};

use super::ledger::Writer;
use super::stage::{ready, relay, said};

/// Commits rows until the relay's COMMIT of a plan is held back by the proxy.
async fn stuck_in_a_plan(fixture: &Fixture, proxy: &Proxy, writer: &mut Writer) {
    let idle = "select query like '%outbox_plan(%' from pg_stat_activity \
                 where datname = current_database() and state = 'idle in transaction'";
    loop {
        proxy.hold_once(b"COMMIT\0");
        writer.commit(1).await;
        assert!(proxy.wait(SOON, |stats| stats.held == 1));
        // The server may be at the statement before it yet.
        assert!(eventually(SOON, || async { !fixture.database.sql(idle).is_empty() }).await);
        if fixture.database.sql(idle) == "t" {
            return;
        }
        proxy.release();
        writer.arrived(&fixture.redis).await;
    }
}

#[tokio::test]
async fn a_queue_is_free_again_when_its_relay_vanished_in_the_middle_of_a_plan() {
    let fixture = Fixture::new();
    let proxy = Proxy::start(fixture.database.postgres.port()).unwrap();
    let url = proxy.through(&fixture.database.url());
    let mut gone = ready(&fixture.sandbox, &url, &fixture.redis.url(0), "", &[]).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit_each(3).await;
    writer.exact(&fixture.redis).await;
    stuck_in_a_plan(&fixture, &proxy, &mut writer).await;
    gone.kill();
    let mut next = relay(&fixture, &[]);
    writer.commit_each(3).await;
    writer.exact(&fixture.redis).await;
    // The rest of what the dead relay said comes to a session that has ended.
    proxy.release();
    writer.commit_each(3).await;
    writer.exact(&fixture.redis).await;
    said(&next, "queue.opened", 1).await;
    assert!(next.stop().success());
}

#[tokio::test]
async fn the_server_asks_within_seconds_whether_a_relay_that_says_nothing_is_still_there() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &[]);
    relay.wait_event("relay.ready", |_| true, SOON).await;
    let session = "select a.client_port from pg_stat_activity a join pg_locks l using (pid) \
                    where l.locktype = 'advisory' and l.objsubid = 1 and a.datname = current_database()";
    let signed_in = || async { fixture.database.sql(session).lines().count() == 1 };
    assert!(eventually(SOON, signed_in).await);
    let client: u16 = fixture.database.sql(session).parse().unwrap();
    let server = fixture.database.postgres.port();
    // The kernel's timer of the server's end: 02 is the one that asks, and its time is in hundredths of a second.
    let asks = || async {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        let ends = format!(" 0100007F:{server:04X} 0100007F:{client:04X} ");
        // The kernel gives the table piece by piece, and a line that moves meanwhile may be in none.
        let Some(line) = sockets.lines().find(|line| line.contains(&ends)) else { return false };
        let timer = line.split_whitespace().nth(5).and_then(|timer| timer.strip_prefix("02:"));
        timer.is_some_and(|when| u64::from_str_radix(when, 16).unwrap() <= 500)
    };
    assert!(eventually(SOON, asks).await);
    assert!(relay.stop().success());
}
