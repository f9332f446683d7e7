//! Rules that the statements keep between them: what an opening believes, what may be forgotten, what waits for whom.

mod forgetting;
mod opening;

use super::common::Database;

const FIRST: &str = "11111111-1111-1111-1111-111111111111";
const SECOND: &str = "22222222-2222-2222-2222-222222222222";
const THIRD: &str = "33333333-3333-3333-3333-333333333333";

/// A Redis of one life, at an address and a database.
struct Place {
    destination: &'static str,
    incarnation: &'static str,
}

/// Opens the queue `q`: status, trusted, done, newest, cause. `seen`: the marker's tenure and position.
fn open(database: &Database, token: &str, place: &Place, seen: Option<(&str, i64)>) -> String {
    let Place { destination, incarnation } = place;
    let seen = seen.map_or("null, null".to_owned(), |(tenure, position)| format!("'{tenure}', {position}"));
    database.sql(&format!(
        "select status, trusted, done, newest, cause \
           from outbox_open('q', '{token}', '{destination}', '{incarnation}', {seen}, 'relay', '15 min', 'none', \
                            (select max(checkpoint) from outbox_checkpoint where queue = 'q'))"
    ))
}

/// Inserts a row and plans it as the batch after `last`.
fn publish(database: &Database, token: &str, last: i64) {
    database.sql("insert into outbox (queue, task) values ('q', 'task')");
    plan(database, token, last);
}

fn plan(database: &Database, token: &str, last: i64) -> String {
    let answer = database.sql(&format!(
        "begin; select status from outbox_plan('q', '{token}', {last}, 'log', 'relay', 500, 1000000) limit 1; commit"
    ));
    answer.trim().to_owned()
}

fn mark(database: &Database, token: &str, position: i64) {
    database.sql(&format!("select outbox_mark(array['q'], array['{token}'::uuid], array[{position}::bigint])"));
}

/// Makes everything that was said so far as old as that.
fn age(database: &Database, by: &str) {
    database.sql(&format!("update outbox_checkpoint set at = at - interval '{by}'"));
    database.sql(&format!("update outbox_segment set sealed_at = sealed_at - interval '{by}'"));
}

/// Lets producers leave segment 0 two segments behind.
fn seal(database: &Database) {
    database.sql("select setval('outbox_segment_seq', 2)");
    database.sql("update outbox_segment set sealed_at = clock_timestamp() where segment = 0");
}
