//! The right reader, within stated bounds: each committed row once, none of an aborted transaction, in order.
//!
//! `strict` asks more than that: whenever a tick ends, what was read so far is exactly what the tick's snapshot sees.
//! The numbers of states are asserted, so that a bound that silently shrinks is noticed; `docs/proofs.md` lists them.

use super::cursor::{After, Low, RIGHT, Rules, Tip};
use super::{Bounds, Reader, SMALL};
use crate::model::large;
use crate::model::search::{explore, way_to};

/// The visible maximum as `t_max`, as in the reference model.
const VISIBLE: Rules = Rules { tip: Tip::MaxVisible, ..RIGHT };

/// Ranges A and B as one scan.
const MERGED: Rules = Rules { merged: true, ..RIGHT };

/// Fails with the way to the fault, if there is one within the bounds, or if they hold another number of states.
fn holds(rules: Rules, bounds: Bounds, states: usize) {
    search(&Reader { rules, bounds, strict: true }, states);
}

fn search(reader: &Reader, states: usize) {
    let report = explore(reader);
    if let Some(violation) = &report.violation {
        panic!("{}", way_to(reader, violation));
    }
    assert_eq!(report.states, states, "states within the bounds");
}

#[test]
fn the_model_visits_as_many_states_as_its_reference_in_another_language() {
    let bounds = Bounds { split: true, distinct: true, ..SMALL };
    holds(VISIBLE, Bounds { writers: &[1, 1], ..bounds }, 11_937);
    holds(VISIBLE, Bounds { writers: &[1, 2], plans: 3, ..bounds }, 10_520);
    holds(VISIBLE, bounds, 1_008_571);
}

#[test]
fn three_writers_of_one_row_are_read_exactly_and_in_order() {
    holds(VISIBLE, Bounds { plans: 6, order: true, ..SMALL }, 856_593);
    holds(RIGHT, Bounds { plans: 5, order: true, ..SMALL }, 2_798_997);
}

#[test]
fn aborts_crashes_and_unrecorded_ticks_change_nothing() {
    let bounds = Bounds { aborts: 1, crashes: 1, unrecorded: true, ..SMALL };
    holds(VISIBLE, Bounds { plans: 4, ..bounds }, 1_464_184);
    holds(RIGHT, Bounds { plans: 3, ..bounds }, 1_416_994);
    holds(RIGHT, Bounds { writers: &[1, 1], plans: 5, aborts: 2, crashes: 2, ..bounds }, 1_047_736);
}

#[test]
fn transactions_of_other_queues_change_nothing() {
    let bounds = Bounds { crashes: 1, unrecorded: true, ..SMALL };
    holds(RIGHT, Bounds { writers: &[1, 0, 0], plans: 5, ..bounds }, 1_576_572);
    holds(RIGHT, Bounds { writers: &[1, 1, 0], plans: 4, ..bounds }, 1_559_958);
}

#[test]
fn two_relays_that_take_turns_are_one_stream_of_plans() {
    holds(RIGHT, Bounds { writers: &[1, 2], plans: 4, relays: 2, crashes: 1, ..SMALL }, 216_518);
}

#[test]
fn a_tick_may_be_cut_into_batches_of_any_size() {
    for (look_ahead, states) in [(true, [628_536, 1_496_700]), (false, [684_317, 1_735_841])] {
        let rules = Rules { look_ahead, ..RIGHT };
        holds(rules, Bounds { writers: &[2, 2], plans: 5, batch: 2, order: true, ..SMALL }, states[0]);
        holds(rules, Bounds { writers: &[1, 3], plans: 4, batch: 3, aborts: 1, crashes: 1, ..SMALL }, states[1]);
    }
}

#[test]
fn a_batch_read_again_at_any_later_moment_has_the_same_rows() {
    let bounds = Bounds { batch: 2, again: true, ..SMALL };
    holds(RIGHT, Bounds { writers: &[1, 2], plans: 4, aborts: 1, unrecorded: true, ..bounds }, 1_732_451);
    holds(MERGED, Bounds { writers: &[2, 2], plans: 3, ..bounds }, 191_727);
    holds(VISIBLE, Bounds { writers: &[1, 1, 1], plans: 3, ..bounds }, 135_767);
}

#[test]
fn ranges_a_and_b_may_be_one_scan() {
    holds(MERGED, Bounds { plans: 5, ..SMALL }, 1_229_531);
    holds(MERGED, Bounds { plans: 3, aborts: 1, crashes: 1, unrecorded: true, ..SMALL }, 1_416_994);
    holds(MERGED, Bounds { writers: &[1, 2], plans: 5, batch: 2, ..SMALL }, 215_993);
}

#[test]
fn the_floor_only_saves_work() {
    holds(Rules { low: Low::Nothing, ..RIGHT }, Bounds { plans: 5, ..SMALL }, 1_174_542);
}

#[test]
fn a_tip_read_before_the_snapshot_only_delays_rows() {
    let rules = Rules { tip: Tip::SequenceFirst, ..RIGHT };
    let bounds = Bounds { writers: &[1, 2], batch: 2, order: true, again: true, ..SMALL };
    search(&Reader { rules, bounds, strict: false }, 918_574);
}

#[test]
fn a_transaction_without_a_lock_on_the_log_may_have_its_after_moved() {
    let (moved, bounds) = (Rules { after: After::Moved, ..RIGHT }, Bounds { locks: true, ..SMALL });
    holds(moved, Bounds { writers: &[1, 1, 1], plans: 3, ..bounds }, 307_719);
    holds(moved, Bounds { writers: &[1, 2], plans: 5, aborts: 1, ..bounds }, 569_423);
    holds(Rules { merged: true, ..moved }, Bounds { writers: &[1, 2], plans: 5, batch: 2, ..bounds }, 287_283);
}

#[test]
fn a_segment_without_unread_rows_under_its_lock_holds_only_consumed_ones() {
    let bounds = Bounds { split: true, truncations: 2, unrecorded: true, ..SMALL };
    holds(RIGHT, Bounds { writers: &[1, 1], plans: 3, aborts: 1, ..bounds }, 896_255);
    holds(RIGHT, Bounds { writers: &[1, 1], plans: 4, ..bounds }, 1_390_554);
    holds(MERGED, Bounds { writers: &[1, 2], plans: 3, truncations: 1, batch: 2, ..bounds }, 2_288_489);
}

#[test]
fn larger_bounds_hold_when_asked_for() {
    if !large() {
        return;
    }
    let faults = Bounds { plans: 5, aborts: 1, crashes: 1, unrecorded: true, ..SMALL };
    holds(RIGHT, faults, 23_913_187);
    holds(MERGED, Bounds { writers: &[1, 1, 2], plans: 4, batch: 2, again: true, ..SMALL }, 31_701_902);
    holds(RIGHT, Bounds { writers: &[1, 1, 2], plans: 5, batch: 2, aborts: 1, ..SMALL }, 52_413_480);
    let cut = Rules { look_ahead: false, ..RIGHT };
    holds(cut, Bounds { writers: &[1, 1, 2], plans: 5, batch: 2, aborts: 1, ..SMALL }, 72_734_956);
    let segments = Bounds { split: true, truncations: 1, aborts: 1, unrecorded: true, ..SMALL };
    holds(RIGHT, Bounds { writers: &[1, 2], plans: 4, batch: 2, ..segments }, 30_172_456);
    holds(RIGHT, Bounds { plans: 3, aborts: 0, unrecorded: false, ..segments }, 11_440_570);
    holds(RIGHT, Bounds { writers: &[1, 1, 1, 1], ..SMALL }, 19_415_841);
}
