//! The protocol with one part left out: each is shown to lose a row or to push one twice, by a shortest way.

use super::{Bounds, CALM, Protocol, RIGHT, Rules};
use crate::model::search::{explore, way_to};

/// Fails unless the search ends at a violation of this name; says how it came about.
#[expect(clippy::print_stderr, reason = "the way to the fault is what a reader of this test wants to see")]
fn breaks(rules: Rules, bounds: Bounds, name: &str) {
    let protocol = Protocol { rules, bounds, until: None };
    let report = explore(&protocol);
    let violation = report.violation.unwrap_or_else(|| panic!("no violation in {} states", report.states));
    eprintln!("{}", way_to(&protocol, &violation));
    assert_eq!(violation.what, name);
}

/// Postgres loses its newest entries and nobody is told.
const CRASH: Bounds = Bounds { crashes: 1, ..CALM };

/// Postgres goes back to a backup.
const RESTORE: Bounds = Bounds { restores: 1, ..CALM };

/// A node that was a copy once takes over.
const SWITCH: Bounds = Bounds { copies: 1, switches: 1, ..CALM };

#[test]
fn without_the_gap_check_a_roll_back_is_forgotten() {
    breaks(Rules { gap: false, ..RIGHT }, Bounds { relays: 1, ..SWITCH }, "Missing");
}

#[test]
fn without_tenures_a_late_command_fills_a_number_that_was_planned_again() {
    breaks(Rules { tenure: false, ..RIGHT }, CRASH, "Missing");
}

#[test]
fn without_the_comparison_in_open_two_relays_publish_twice() {
    breaks(Rules { compare: false, ..RIGHT }, CALM, "Twice");
}

#[test]
fn without_a_cap_a_lost_entry_counts_as_published() {
    breaks(Rules { cap: false, ..RIGHT }, Bounds { crashes: 1, ..SWITCH }, "Missing");
}

#[test]
fn without_the_last_seen_number_a_lost_entry_is_planned_again_under_a_used_number() {
    breaks(Rules { last_seen: false, ..RIGHT }, Bounds { relays: 1, ..CRASH }, "Missing");
}

#[test]
fn a_plan_that_does_not_ask_for_the_current_tenure_publishes_twice() {
    breaks(Rules { current: false, ..RIGHT }, CALM, "Twice");
}

#[test]
fn a_plan_that_asks_for_nothing_loses_a_row() {
    breaks(Rules { current: false, last_seen: false, ..RIGHT }, CALM, "Missing");
}

#[test]
fn a_number_used_before_its_entry_is_committed_publishes_twice() {
    breaks(Rules { plan_first: false, ..RIGHT }, CALM, "Twice");
}

#[test]
fn believing_an_unknown_tenure_loses_a_row() {
    breaks(Rules { known: false, ..RIGHT }, RESTORE, "Missing");
}

#[test]
fn deciding_what_to_trust_before_the_lock_loses_a_row() {
    breaks(Rules { decide_late: false, ..RIGHT }, CRASH, "Missing");
}

#[test]
fn an_idle_look_that_does_not_ask_for_the_current_tenure_misses_a_restored_ledger() {
    breaks(Rules { look_at_tenure: false, ..RIGHT }, RESTORE, "Missing");
}

#[test]
fn a_tenure_that_a_crash_loses_costs_copies_and_no_row() {
    let rules = Rules { durable_tenure: false, ..RIGHT };
    let bounds = Bounds { crashes: 1, ..CALM };
    let report = explore(&Protocol { rules, bounds, until: None });
    assert!(report.violation.is_none(), "{:?}", report.violation);
}
