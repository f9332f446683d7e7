//! The protocol, within stated bounds: nothing missing once faults stop, nothing twice while nobody lost anything.

use super::state::Reply;
use super::{Bounds, CALM, Protocol, RIGHT, Rules};
use crate::model::large;
use crate::model::search::{explore, way_to};

/// Fails with the way to the fault, if there is one within the bounds, or if they hold another number of states.
fn holds(bounds: Bounds, states: usize) {
    search(RIGHT, bounds, states);
}

fn search(rules: Rules, bounds: Bounds, states: usize) {
    let protocol = Protocol { rules, bounds, until: None };
    let report = explore(&protocol);
    if let Some(violation) = &report.violation {
        panic!("{}", way_to(&protocol, violation));
    }
    assert_eq!(report.states, states, "states within the bounds");
}

/// One relay less, so that there is room for more faults.
const ALONE: Bounds = Bounds { relays: 1, ..CALM };

/// The other node was a copy once, and takes over.
const SWITCH: Bounds = Bounds { copies: 1, switches: 1, ..CALM };

#[test]
fn two_relays_that_tread_on_each_other_publish_each_row_once() {
    holds(CALM, 17_266);
    holds(Bounds { rows: 3, tenures: 4, ..CALM }, 1_105_546);
    holds(Bounds { rows: 3, depth: 2, ..CALM }, 590_992);
}

#[test]
fn late_commands_lost_replies_and_dying_relays_add_no_copy() {
    holds(Bounds { deaths: 1, retries: 1, ..CALM }, 579_298);
    holds(Bounds { deaths: 2, retries: 1, depth: 2, ..ALONE }, 99_835);
}

#[test]
fn what_a_flush_took_is_put_back() {
    holds(Bounds { flushes: 1, deaths: 1, ..CALM }, 333_516);
    holds(Bounds { flushes: 2, deaths: 2, rows: 3, depth: 2, ..ALONE }, 1_732_351);
}

#[test]
fn what_a_stale_copy_lacks_is_put_back_and_two_masters_lose_nothing() {
    holds(SWITCH, 469_039);
    holds(Bounds { switches: 2, deaths: 1, relays: 1, ..SWITCH }, 246_799);
}

#[test]
fn a_crash_of_postgres_that_nobody_notices_loses_nothing() {
    holds(Bounds { crashes: 1, deaths: 1, ..CALM }, 359_981);
    holds(Bounds { crashes: 2, deaths: 1, depth: 2, ..ALONE }, 78_904);
}

#[test]
fn a_postgres_that_went_back_loses_no_row_that_it_still_has() {
    holds(Bounds { restores: 1, ..CALM }, 260_873);
    holds(Bounds { restores: 1, crashes: 1, deaths: 1, ..ALONE }, 174_620);
}

#[test]
fn faults_of_both_servers_together_lose_nothing() {
    holds(Bounds { flushes: 1, crashes: 1, restores: 1, relays: 1, ..SWITCH }, 2_928_703);
}

#[test]
fn entries_may_be_read_again_when_they_are_sent() {
    let rules = Rules { from_memory: false, ..RIGHT };
    search(rules, Bounds { crashes: 1, deaths: 1, ..CALM }, 507_970);
    search(rules, Bounds { restores: 1, ..CALM }, 420_536);
}

#[test]
fn every_answer_of_the_scripts_occurs() {
    let bounds = Bounds { flushes: 1, retries: 1, ..SWITCH };
    for reply in [Reply::Ok, Reply::Stale, Reply::Missing, Reply::Foreign, Reply::Already, Reply::Gap] {
        let report = explore(&Protocol { rules: RIGHT, bounds, until: Some(reply) });
        assert!(report.violation.is_some_and(|v| v.what == "Answered"), "{reply:?} never occurs");
    }
}

#[test]
fn larger_bounds_hold_when_asked_for() {
    if large() {
        holds(Bounds { deaths: 2, retries: 1, rows: 3, depth: 2, tenures: 4, ..ALONE }, 5_305_752);
        holds(Bounds { switches: 2, deaths: 1, rows: 3, depth: 2, tenures: 4, relays: 1, ..SWITCH }, 56_044_607);
        holds(Bounds { crashes: 2, deaths: 1, rows: 3, depth: 2, ..ALONE }, 1_749_315);
        holds(Bounds { restores: 1, crashes: 1, deaths: 1, rows: 3, ..ALONE }, 2_442_986);
        holds(Bounds { flushes: 1, crashes: 1, restores: 1, deaths: 1, relays: 1, ..SWITCH }, 12_784_269);
        holds(Bounds { crashes: 1, ..SWITCH }, 2_184_564);
        holds(Bounds { deaths: 2, flushes: 1, crashes: 1, ..CALM }, 2_501_482);
        let rules = Rules { from_memory: false, ..RIGHT };
        search(rules, Bounds { crashes: 1, rows: 3, tenures: 4, ..CALM }, 10_042_856);
        search(rules, Bounds { crashes: 1, ..SWITCH }, 3_100_649);
        holds(Bounds { restores: 1, deaths: 1, ..SWITCH }, 25_066_199);
    }
}
