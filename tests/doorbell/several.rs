//! Several relays and one bell: one keeps it, the others hear it too, and the next one takes it over.

use tokio_postgres::Client;

use super::{Observer, arrive, dozes, insert, relay, text};
use crate::common::{Fixture, RelayProcess, SOON, eventually, until_some};

/// Which relay holds the bell's lock, by the port of its session; a dead one's is given up in a moment.
async fn keeper(client: &Client, relays: &[RelayProcess]) -> usize {
    // The lock's class is the bell's; of a lock with one key of 64 bits it would be the upper half.
    let sql = "select coalesce(max(a.client_port), 0)::text from pg_locks l join pg_stat_activity a using (pid) \
               where l.locktype = 'advisory' and l.classid = 1331984232 and l.granted and a.datname = current_database()";
    let found = until_some(SOON, || async {
        let owner = owner_of(text(client, sql).await.parse().unwrap());
        relays.iter().position(|relay| Some(relay.id()) == owner)
    });
    found.await.unwrap()
}

/// The process that has a TCP socket with this local port.
fn owner_of(port: u16) -> Option<u32> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let inode = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Only established ones: a port that was used before may stand here too, waiting, and belongs to nobody.
        (fields[3] == "01" && fields[1].ends_with(&format!(":{port:04X}"))).then(|| fields[9].to_owned())
    })?;
    let wanted = format!("socket:[{inode}]");
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let sockets = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        sockets.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|link| link.as_os_str() == wanted.as_str())
    })
}

#[tokio::test]
async fn of_three_relays_another_takes_the_bell_when_its_keeper_dies() {
    let fixture = Fixture::new();
    let mut relays = vec![relay(&fixture, "").await, relay(&fixture, "").await, relay(&fixture, "").await];
    let client = fixture.database.connect().await;
    let mut messages = 0;
    while relays.len() > 1 {
        messages += 1;
        insert(&client, "q").await;
        arrive(&fixture.redis, "q", messages, SOON).await;
        let at = keeper(&client, &relays).await;
        let armed = "select (pg_sequence_last_value('outbox_bell_seq') > extract(epoch from now()))::text";
        assert!(eventually(SOON, || async { text(&client, armed).await == "true" }).await);
        relays.remove(at).kill();
        // The others hear the bell that the dead one had set; if the queue was its own, it is taken over in a second or so.
        messages += 1;
        insert(&client, "q").await;
        let waited = arrive(&fixture.redis, "q", messages, SOON).await;
        eprintln!("after the keeper's death: {waited:.1?}");
        keeper(&client, &relays).await;
    }
    for _ in 0..3 {
        relays[0].pass_events();
        messages += 1;
        insert(&client, "q").await;
        arrive(&fixture.redis, "q", messages, SOON).await;
        dozes(&relays[0]).await;
    }
}

#[tokio::test]
async fn a_relay_that_stops_in_good_order_hands_bell_and_queues_over() {
    let fixture = Fixture::new();
    let mut first = relay(&fixture, "").await;
    let client = fixture.database.connect().await;
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    dozes(&first).await;
    let second = relay(&fixture, "").await;
    dozes(&second).await;
    assert!(first.stop().success());
    // The stopped one has silenced the bell; the other notices within a look, and takes it.
    insert(&client, "q").await;
    let waited = arrive(&fixture.redis, "q", 2, SOON).await;
    eprintln!("after an orderly stop: {waited:.1?}");
}

#[tokio::test]
async fn a_burst_rings_once_however_many_relays_hear_it() {
    let fixture = Fixture::new();
    let (first, second) = (relay(&fixture, "").await, relay(&fixture, "").await);
    let client = fixture.database.connect().await;
    dozes(&first).await;
    dozes(&second).await;
    let observer = Observer::new(&fixture).await;
    insert(&client, "q").await;
    // Commits ring until the keeper of the bell has silenced it, whoever of the two relays it is.
    let silent = "select last_value <= extract(epoch from clock_timestamp()) from outbox_bell_seq";
    let silenced = || async { client.query_one(silent, &[]).await.unwrap().get(0) };
    assert!(eventually(SOON, silenced).await);
    // At once, so that no relay finds time to fall asleep in between.
    futures_util::future::join_all((2..=50).map(|_| insert(&client, "q"))).await;
    arrive(&fixture.redis, "q", 50, SOON).await;
    let rings = observer.rings();
    assert!((1..=5).contains(&rings), "{rings} rings for a burst of 50 commits");
}
