//! Two copies of one database on one Redis: each believes that the other's marker is a loss. That ends soon and loudly.

use std::collections::BTreeSet;

use super::stage::{QUICK, holds, insert, listed, relay};
use crate::common::{Fixture, RelayProcess, SOON, config, eventually_blocking, outboxd};

fn losses(relay: &RelayProcess) -> usize {
    relay.events().iter().filter(|event| event.name() == "queue.loss").count()
}

fn is_suspended(relay: &RelayProcess) -> bool {
    relay.events().iter().any(|event| event.name() == "queue.suspended")
}

#[tokio::test]
async fn one_of_two_copies_is_suspended_after_a_few_turns_and_goes_on_when_the_other_is_gone() {
    let fixture = Fixture::new();
    let mut first = relay(&fixture, &[]).await;
    let shared = insert(&fixture, "jobs", 20);
    holds(&fixture, "jobs", &shared);
    assert!(first.stop().success());
    let name = &fixture.database.name;
    let admin = |sql: String| fixture.database.postgres.sql("postgres", &sql).unwrap();
    admin(format!("create database {name}_clone template {name}"));
    let urls = [fixture.database.url(), fixture.database.postgres.url(&format!("{name}_clone"))];

    let mut relays = Vec::new();
    for url in &urls {
        relays.push(RelayProcess::ready(&fixture.sandbox, &config(url, &fixture.redis.url(0), QUICK), &[], &[]).await);
    }
    let mut own: [Vec<String>; 2] = Default::default();
    let ended = eventually_blocking(SOON * 2, || {
        for (n, database) in [name.clone(), format!("{name}_clone")].iter().enumerate() {
            let sql = "insert into outbox (queue, task) values ('jobs', 't') returning task_id";
            let id = fixture.database.postgres.sql(database, sql).unwrap();
            own[n].push(id.trim().to_owned());
        }
        relays.iter().any(is_suspended)
    });
    assert!(ended, "{} and {} losses, and none is suspended", losses(&relays[0]), losses(&relays[1]));
    let (suspended, other) = if is_suspended(&relays[0]) { (0, 1) } else { (1, 0) };
    assert!(losses(&relays[suspended]) <= 5 && losses(&relays[other]) <= 6, "each turn is bounded");
    let status = outboxd(&["queue", "list"], &[("DATABASE_URL", &urls[suspended])], fixture.sandbox.folder());
    assert!(status.stdout.contains("suspended"), "{status:?}");

    // The other one goes on by itself, with everything that is its own.
    let there = |ids: &[String]| {
        let found: BTreeSet<String> = listed(&fixture, "jobs").into_iter().collect();
        ids.iter().all(|id| found.contains(id))
    };
    assert!(eventually_blocking(SOON, || there(&own[other])), "the other one is stuck");
    assert!(relays[other].stop().success());
    let resumed =
        outboxd(&["queue", "resume", "jobs"], &[("DATABASE_URL", &urls[suspended])], fixture.sandbox.folder());
    assert!(resumed.status.success(), "{resumed:?}");
    assert!(eventually_blocking(SOON, || there(&own[suspended]) && there(&shared)), "something was dropped");
    assert!(relays[suspended].stop().success());
    let (copies, rows) = (listed(&fixture, "jobs").len(), shared.len() + own[0].len() + own[1].len());
    assert!(copies <= 12 * rows, "{copies} messages for {rows} rows");
    admin(format!("drop database {name}_clone with (force)"));
}
