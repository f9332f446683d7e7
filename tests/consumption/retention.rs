//! Consumption bounds what is kept: segments go when their rows are consumed, and what is not stays needed by its copy.

use super::stage::{answers, id};
use crate::common::{Fixture, SOON, eventually};
use crate::segments::{LONG, all_arrive, depth, ids, insert, number, relay, settings, turn};

/// The filler stays `confirm = none`; what `q` consumes is observed.
const OBSERVED: &str = "[queues.q]\nconfirm = \"observe\"\nprocessing = [\"work\"]\n";

fn config(max: &str) -> String {
    format!("{}{OBSERVED}", settings(max).replace("[relay]\n", "[relay]\nreplay_settle = \"20ms\"\n"))
}

#[tokio::test]
async fn a_segment_goes_when_its_rows_are_consumed_and_the_one_under_way_comes_back_from_its_copy() {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &config("1h")).await;
    let client = fixture.database.connect().await;
    insert(&client, "q", 100).await;
    all_arrive(&fixture.redis, "q", 100).await;
    let under_way = id(&fixture.redis.cmd(["LMOVE", "q", "work", "RIGHT", "LEFT"]).unwrap().text().unwrap());
    fixture.redis.cmd(["RPOP", "q", "99"]).unwrap();
    turn(&client, 3).await;
    relay.wait_event("segment.emptied", |event| event.text("outcome") == "truncated", LONG).await;
    answers(&fixture, "select count(*) from outbox where queue = 'q'", "0");
    answers(
        &fixture,
        "select count(*) from outbox_held where queue = 'q' and batch is not null and incident is null",
        "1",
    );
    // The ledger that told of its batch goes, too; the copy does not.
    let trimmed = "select min(batch) from outbox_batch where queue = 'q'";
    assert!(eventually(LONG, || async { number(&client, trimmed).await > 0 }).await);
    answers(&fixture, &format!("select outbox_status('{under_way}')"), "dispatched");
    relay.pass_events();
    fixture.redis.flushall().unwrap();
    let again = |event: &crate::common::Event| event.text("queue") == "q";
    relay.wait_event("queue.recovered", again, SOON).await;
    assert!(eventually(SOON, || async { depth(&fixture.redis, "q") > 0 }).await);
    assert_eq!(ids(&fixture.redis, "q"), [under_way]);
}

#[tokio::test]
async fn rows_that_nobody_consumes_outlive_their_segment_and_come_back_from_their_copies() {
    let fixture = Fixture::new();
    // More than may be looked at: nothing is confirmed.
    let mut relay = relay(&fixture, &format!("{}confirm_limit = 10\n", config("3s"))).await;
    let client = fixture.database.connect().await;
    insert(&client, "q", 20).await;
    all_arrive(&fixture.redis, "q", 20).await;
    let before = ids(&fixture.redis, "q");
    turn(&client, 2).await;
    relay.wait_event("segment.emptied", |event| event.text("outcome") == "moved", LONG).await;
    answers(&fixture, "select count(*) from outbox where queue = 'q'", "0");
    answers(
        &fixture,
        "select count(*) from outbox_held where queue = 'q' and batch is not null and incident is null",
        "20",
    );
    assert_eq!(ids(&fixture.redis, "q"), before, "none went out twice");
    fixture.redis.flushall().unwrap();
    all_arrive(&fixture.redis, "q", 20).await;
    assert_eq!(ids(&fixture.redis, "q"), before, "in their place, in their order");

    // Most are consumed at last: their copies go, the others stay.
    fixture.redis.cmd(["RPOP", "q", "15"]).unwrap();
    let confirmed = "select coalesce(cardinality(outstanding), 0)::bigint from outbox_checkpoint where queue = 'q' order by checkpoint desc limit 1";
    assert!(eventually(LONG, || async { number(&client, confirmed).await == 5 }).await);
    let copies = "select count(*) from outbox_held where queue = 'q'";
    assert!(eventually(LONG, || async { number(&client, copies).await == 5 }).await);
    relay.pass_events();
    fixture.redis.flushall().unwrap();
    relay.wait_event("queue.recovered", |event| event.text("queue") == "q", LONG).await;
    all_arrive(&fixture.redis, "q", 5).await;
    assert_eq!(ids(&fixture.redis, "q"), before[15..]);
}
