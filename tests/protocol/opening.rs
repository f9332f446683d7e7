//! What an opening makes of a destination and a marker.

use super::{FIRST, Place, SECOND, THIRD, age, mark, open, publish};
use crate::common::Database;

const HERE: Place = Place { destination: "127.0.0.1:6379/0/q", incarnation: "life" };
const HERE_BY_NAME: Place = Place { destination: "localhost:6379/0/q", incarnation: "life" };
const ELSEWHERE: Place = Place { destination: "127.0.0.1:6379/1/q", incarnation: "life" };

#[test]
fn a_loss_is_a_loss_under_another_spelling_of_the_same_server() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    mark(&database, FIRST, 1);
    assert_eq!(open(&database, SECOND, &HERE_BY_NAME, None).trim(), "opened|0|0|1|missing");
}

#[test]
fn a_queue_that_moves_starts_at_the_tip() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    mark(&database, FIRST, 1);
    assert_eq!(open(&database, SECOND, &ELSEWHERE, None).trim(), "opened|1|1|1|adopted");
}

#[test]
fn a_queue_that_comes_back_to_where_it_was_does_not_repeat_what_went_elsewhere() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    mark(&database, FIRST, 1);
    open(&database, SECOND, &ELSEWHERE, None);
    publish(&database, SECOND, 1);
    mark(&database, SECOND, 2);
    assert_eq!(open(&database, THIRD, &HERE, Some((FIRST, 1))).trim(), "opened|2|2|2|adopted");
}

#[test]
fn a_queue_that_comes_back_before_its_last_batch_is_known_to_have_arrived_waits_for_an_operator() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    mark(&database, FIRST, 1);
    open(&database, SECOND, &ELSEWHERE, None);
    publish(&database, SECOND, 1);
    assert!(open(&database, THIRD, &HERE, Some((FIRST, 1))).starts_with("moved"));
}

#[test]
fn a_marker_that_stands_below_what_needs_no_messages_does_not_move_the_checkpoint_back() {
    let database = Database::migrated();
    open(&database, FIRST, &HERE, None);
    publish(&database, FIRST, 0);
    mark(&database, FIRST, 1);
    age(&database, "20 min");
    publish(&database, FIRST, 1);
    mark(&database, FIRST, 2);
    assert_eq!(open(&database, SECOND, &HERE, None).trim(), "opened|0|1|2|missing");
    mark(&database, SECOND, 0);
    assert_eq!(database.sql("select outbox_done('q', '15 min')").trim(), "1", "the next loss repeats the horizon only");
}

#[test]
fn an_opening_under_a_fixed_snapshot_is_refused() {
    let database = Database::migrated();
    let wrong = database.try_sql(&format!(
        "begin isolation level serializable;
         select * from outbox_open('q', '{FIRST}', 'd', 'i', null, null, 'relay', '15 min', 'none', null)"
    ));
    assert!(wrong.unwrap_err().to_string().contains("needs READ COMMITTED"));
}
