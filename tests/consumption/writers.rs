//! Several stages of a relay write checkpoints, each on a session of its own: none takes back what another one knew.

use tokio_postgres::Client;

use super::stage::{answers, confirmed, consume, holds, insert, relay};
use crate::common::{Fixture, SOON, eventually};

const NEWEST: &str =
    "select position || ' ' || consumed from outbox_checkpoint where queue = 'jobs' order by checkpoint desc limit 1";

/// Three batches that are consumed, and no relay any more; the newest checkpoint knows of the first batch only.
async fn left_behind() -> Fixture {
    let fixture = Fixture::new();
    let mut relay = relay(&fixture, &[]).await;
    for batch in 1..=3 {
        let rows = insert(&fixture, "jobs", 2);
        holds(&fixture, "jobs", &rows);
        consume(&fixture, "jobs", 2);
        answers(&fixture, "select max(batch) from outbox_batch where queue = 'jobs'", &batch.to_string());
    }
    confirmed(&fixture, "jobs", 0);
    assert!(relay.stop().success());
    fixture.database.sql(
        "insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence) values ('jobs', 1, 1, '{}', 'test'); \
         update outbox_tenure set certified = true where cap is null",
    );
    fixture
}

async fn backend(client: &Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
}

const TOKEN: &str = "(select token from outbox_tenure where queue = 'jobs' and cap is null)";

/// Two statements of which the second one begins before the first one has committed: what the second one answers, and
/// position and consumed batch of the newest checkpoint.
async fn meanwhile(first: &str, second: &str) -> (Option<String>, String) {
    let fixture = left_behind().await;
    let (one, two) = (fixture.database.connect().await, fixture.database.connect().await);
    one.batch_execute(&format!("begin; select {}", first.replace("TOKEN", TOKEN))).await.unwrap();
    let waiting = backend(&two).await;
    let sql = format!("select ({})::text", second.replace("TOKEN", TOKEN));
    let written = tokio::spawn(async move { two.query_one(&sql, &[]).await });
    let waits = format!("select 1 from pg_stat_activity where pid = {waiting} and wait_event_type = 'Lock'");
    // Whether it waits for the first one or has done what it wanted.
    assert!(eventually(SOON, || async { written.is_finished() || !fixture.database.sql(&waits).is_empty() }).await);
    one.batch_execute("commit").await.unwrap();
    (written.await.unwrap().unwrap().get(0), fixture.database.sql(NEWEST))
}

const MARK: &str = "outbox_mark(array['jobs'], array[TOKEN], array[3::bigint])";

#[tokio::test]
async fn a_mark_that_is_overtaken_writes_nothing() {
    let (written, newest) = meanwhile(MARK, "outbox_mark(array['jobs'], array[TOKEN], array[2::bigint])").await;
    assert_eq!((written.as_deref(), newest.as_str()), (Some("0"), "3 1"));
}

#[tokio::test]
async fn what_a_look_saw_is_stored_with_the_newest_mark() {
    let (written, newest) = meanwhile(MARK, "outbox_remember('jobs', TOKEN, '{}')").await;
    assert_eq!((written.as_deref(), newest.as_str()), (Some("true"), "3 1"));
}

#[tokio::test]
async fn a_look_that_is_older_than_the_newest_mark_confirms_nothing() {
    let (written, newest) = meanwhile(MARK, "outbox_confirm('jobs', TOKEN, 2, 2, '{}', '{}')").await;
    assert_eq!((written, newest.as_str()), (None, "3 1"));
}

#[tokio::test]
async fn receipts_are_counted_up_to_the_newest_mark() {
    let receipts = "select consumed from outbox_confirm_receipts('jobs', TOKEN, 3, null, '1 h')";
    let (consumed, newest) = meanwhile(MARK, receipts).await;
    assert_eq!((consumed.as_deref(), newest.as_str()), (Some("3"), "3 3"));
}

#[tokio::test]
async fn an_opening_goes_by_the_checkpoint_that_its_predecessor_writes_at_that_moment() {
    let confirm = "outbox_confirm('jobs', TOKEN, 3, 3, '{}', '{}')";
    let looked = "(select max(checkpoint) + 1 from outbox_checkpoint where queue = 'jobs')";
    let place = "(select destination from outbox_tenure where cap is null)";
    let open = format!(
        "select status || ' ' || done from \
         outbox_open('jobs', gen_random_uuid(), {place}, 'new', null, null, 'next', '1 h', 'observe', {looked})"
    );
    let (opened, newest) = meanwhile(confirm, &open).await;
    assert_eq!((opened.as_deref(), newest.as_str()), (Some("opened 3"), "3 3"));
}
