//! Wrong readers that look right: each is shown to lose, double, reorder or change a row, by a shortest counterexample.
//!
//! Not strict: a row counts as lost only if every later tick fails to find it.

use super::cursor::{After, Again, Low, RIGHT, Rules, Tip, Truncation};
use super::{Bounds, Reader, SMALL};
use crate::model::search::{explore, way_to};

/// Fails unless the search ends at a violation of this name; says how it came about.
#[expect(clippy::print_stderr, reason = "the way to the fault is what a reader of this test wants to see")]
fn breaks(rules: Rules, bounds: Bounds, name: &str) {
    let reader = Reader { rules, bounds, strict: false };
    let report = explore(&reader);
    let violation = report.violation.unwrap_or_else(|| panic!("no violation in {} states", report.states));
    assert_eq!(violation.what, name);
    eprintln!("{}", way_to(&reader, &violation));
}

/// One writer of one row: few interleavings are enough for most.
const ONE: Bounds = Bounds { writers: &[1], ..SMALL };

/// Two writers.
const TWO: Bounds = Bounds { writers: &[1, 1], ..SMALL };

/// A segment that may be truncated.
const SEGMENT: Bounds = Bounds { split: true, truncations: 1, ..ONE };

#[test]
fn the_previous_tip_as_bound_loses_a_row() {
    breaks(Rules { low: Low::PrevTip, ..RIGHT }, ONE, "Lost");
    breaks(Rules { low: Low::PrevTip, tip: Tip::MaxVisible, ..RIGHT }, TWO, "Lost");
    breaks(Rules { low: Low::PrevTip, merged: true, ..RIGHT }, ONE, "Lost");
}

#[test]
fn reading_only_listed_transactions_loses_a_row() {
    breaks(Rules { range_b: false, ..RIGHT }, ONE, "Lost");
}

#[test]
fn a_renewed_after_loses_a_row() {
    breaks(Rules { after: After::Renewed, ..RIGHT }, ONE, "Lost");
}

#[test]
fn a_transaction_that_is_remembered_for_one_tick_only_loses_a_row() {
    breaks(Rules { after: After::Forgotten, ..RIGHT }, ONE, "Lost");
}

#[test]
fn the_bound_after_the_update_loses_a_row() {
    breaks(Rules { after: After::NewBound, ..RIGHT }, ONE, "Lost");
}

#[test]
fn an_after_moved_by_a_look_before_the_tip_loses_a_row() {
    breaks(Rules { after: After::MovedTooSoon, ..RIGHT }, Bounds { locks: true, ..ONE }, "Lost");
}

#[test]
fn a_relay_that_has_an_xid_before_it_locks_the_queue_loses_a_row() {
    breaks(Rules { xid_by_lock: false, ..RIGHT }, Bounds { relays: 2, ..ONE }, "Lost");
}

#[test]
fn an_id_taken_before_the_xid_loses_a_row() {
    breaks(Rules { xid_before_id: false, ..RIGHT }, ONE, "Lost");
}

#[test]
fn a_tip_that_is_not_handed_out_yet_loses_a_row() {
    breaks(Rules { tip: Tip::SequenceAhead, ..RIGHT }, ONE, "Lost");
}

#[test]
fn a_tip_read_before_the_snapshot_loses_a_row_if_range_c_leaves_out_what_was_seen() {
    breaks(Rules { tip: Tip::SequenceFirst, c_excludes_seen: true, ..RIGHT }, ONE, "Lost");
}

#[test]
fn a_new_snapshot_inside_a_tick_loses_a_row() {
    let bounds = Bounds { writers: &[1, 2], batch: 1, ..SMALL };
    breaks(Rules { keeps_tick: false, ..RIGHT }, bounds, "Lost");
}

#[test]
fn a_batch_read_again_with_a_limit_changes() {
    breaks(Rules { again: Again::Limit, ..RIGHT }, Bounds { batch: 1, again: true, ..TWO }, "Changed");
}

#[test]
fn a_reader_that_leaves_out_emptied_segments_loses_a_row() {
    breaks(Rules { all_segments: false, ..RIGHT }, Bounds { writers: &[1, 1], ..SEGMENT }, "Lost");
}

#[test]
fn a_segment_checked_before_its_lock_is_truncated_with_unread_rows() {
    breaks(Rules { truncation: Truncation::BeforeLock, ..RIGHT }, SEGMENT, "Truncated");
}

#[test]
fn a_segment_checked_by_its_tip_or_by_listed_transactions_alone_is_truncated_with_unread_rows() {
    for truncation in [Truncation::TipOnly, Truncation::ListedOnly] {
        breaks(Rules { truncation, ..RIGHT }, SEGMENT, "Truncated");
    }
}
