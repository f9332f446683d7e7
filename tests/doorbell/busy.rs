//! What the bell costs: nothing under load, next to nothing when idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outboxd::sandbox::RedisOptions;

use super::{LIST, Observer, arrive, depth, dozes, insert, relay, text};
use crate::common::{Fixture, RelayProcess, SOON, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_busy_writers_hardly_a_commit_rings() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "").await;
    dozes(&relay).await;
    let observer = Observer::new(&fixture).await;
    let (began, commits) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for _ in 0..32 {
        let (client, commits) = (fixture.database.connect().await, commits.clone());
        writers.push(tokio::spawn(async move {
            // By number: the first commit of each writer may ring, however slow the machine is.
            while commits.load(Ordering::Relaxed) < 20_000 && began.elapsed() < SOON * 2 {
                insert(&client, "q").await;
                commits.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let commits = commits.load(Ordering::Relaxed);
    arrive(&fixture.redis, "q", commits.try_into().unwrap(), SOON * 2).await;
    let rings = observer.rings();
    eprintln!("{rings} rings for {commits} commits of 32 writers");
    assert!(rings * 100 < commits, "{rings} rings for {commits} commits");
}

/// Statements as the server counts them: its log has every one. BEGIN and COMMIT leave with the statement between them.
async fn statements(fixture: &Fixture, span: Duration) -> Vec<String> {
    let length = || std::fs::read_to_string(fixture.database.postgres.log()).unwrap().len();
    let from = length();
    // What is measured: how much happens in a span without any work.
    tokio::time::sleep(span).await;
    let log = std::fs::read_to_string(fixture.database.postgres.log()).unwrap();
    let lines = log[from..].lines().filter(|line| line.contains("LOG:  execute") || line.contains("LOG:  statement"));
    let own = |line: &&str| !["statement: BEGIN", "statement: COMMIT"].iter().any(|around| line.contains(around));
    lines.filter(own).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn an_idle_relay_issues_at_most_two_statements_a_second_and_so_does_a_second_one() {
    let fixture =
        Fixture::with_own_postgres(&[("log_statement", "all"), ("autovacuum", "off")], RedisOptions::default());
    let first = relay(&fixture, "").await;
    let client = fixture.database.connect().await;
    for queue in ["a", "b", "c"] {
        insert(&client, queue).await;
        arrive(&fixture.redis, queue, 1, SOON).await;
    }
    // What there was to do is done when every queue has been looked at and the look is written down.
    let looked = "select count(distinct queue) from outbox_checkpoint where evidence = 'observed'";
    let written = || async { client.query_one(looked, &[]).await.unwrap().get::<_, i64>(0) == 3 };
    assert!(crate::common::eventually(crate::common::SOON, written).await);
    drop(client);
    dozes(&first).await;
    let span = Duration::from_secs(8);
    let alone = statements(&fixture, span).await;
    let second = relay(&fixture, "").await;
    dozes(&second).await;
    let both = statements(&fixture, span).await;
    let rate = |statements: &[String]| f64::from(u32::try_from(statements.len()).unwrap()) / span.as_secs_f64();
    eprintln!("idle: {:.2} statements/s alone, {:.2}/s two relays", rate(&alone), rate(&both));
    assert!(rate(&alone) <= 2.0, "{alone:#?}");
    assert!(rate(&both) <= 4.0, "{both:#?}");
}

#[tokio::test]
async fn an_idle_relay_without_a_bell_issues_at_most_two_statements_a_second() {
    let fixture =
        Fixture::with_own_postgres(&[("log_statement", "all"), ("autovacuum", "off")], RedisOptions::default());
    let silent = [("OUTBOXD_DATABASE__DOORBELL", "off")];
    let _relay = RelayProcess::ready(&fixture.sandbox, &fixture.config(LIST), &silent, &[]).await;
    let client = fixture.database.connect().await;
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    let looked = "select count(*) from outbox_checkpoint where evidence = 'observed'";
    assert!(eventually(SOON, || async { client.query_one(looked, &[]).await.unwrap().get::<_, i64>(0) > 0 }).await);
    let span = Duration::from_secs(8);
    let idle = statements(&fixture, span).await;
    eprintln!("idle, no bell: {} statements in {span:?}", idle.len());
    assert!(idle.len() <= 16, "{idle:#?}");
    // And a row is found by the poll.
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 2, SOON).await;
}

#[tokio::test]
async fn a_relay_in_bed_does_not_wake_up_by_itself() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "").await;
    let client = fixture.database.connect().await;
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 1, SOON).await;
    dozes(&relay).await;
    let nights = || relay.events().iter().filter(|event| event.name() == "relay.asleep").count();
    let before = nights();
    // What is measured: that nothing happens for longer than the bell's deadline of 8 s.
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(nights(), before, "it woke up and fell asleep again");
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 2, SOON).await;
    assert!(eventually(SOON, || async { nights() == before + 1 }).await, "{} after {before}", nights());
}

#[tokio::test]
async fn looking_is_cheap_again_after_a_huge_backlog() {
    let fixture = Fixture::new();
    let relay = relay(&fixture, "").await;
    let client = fixture.database.connect().await;
    client
        .batch_execute("insert into outbox (queue, task) select 'q', 't' from generate_series(1, 30000)")
        .await
        .unwrap();
    arrive(&fixture.redis, "q", 30_000, SOON).await;
    dozes(&relay).await;
    let width = "select (tip - floor)::text from outbox_batch order by batch desc limit 1";
    assert!(eventually(SOON, || async { text(&client, width).await == "0" }).await, "{}", text(&client, width).await);
    assert_eq!(depth(&fixture.redis, "q"), 30_000);
}
