//! Protocols with one part left out or done differently: each must be caught.

use stateright::{Checker as _, HasDiscoveries, Model as _};

use super::{Bounds, CALM, Format, ONCE, PROVEN, Protocol, RIGHT, Rules, SETTLES};

/// Fails unless the variant is caught within the bounds by this property, and the right rules hold within the same.
/// With `--nocapture` a way to it is printed.
fn breaks(rules: Rules, format: Format, bounds: Bounds, property: &'static str) {
    let Some(steps) = way(rules, format, bounds, property) else { panic!("not caught") };
    eprintln!("{property}: not so after {} steps\n  {}", steps.len(), steps.join("\n  "));
    let right = Protocol { rules: RIGHT, bounds, format, witness: false };
    right.checker().spawn_dfs().join().assert_properties();
}

/// A way to a state in which the property does not hold.
fn way(rules: Rules, format: Format, bounds: Bounds, property: &'static str) -> Option<Vec<String>> {
    let finish = HasDiscoveries::AnyOf([property].into());
    let protocol = Protocol { rules, bounds, format, witness: false };
    let path = protocol.checker().finish_when(finish).spawn_bfs().join().discovery(property)?;
    Some(path.into_actions().iter().map(|act| format!("{act:?}")).collect())
}

const PAIR: Bounds = Bounds { relays: 2, deaths: 0, ..CALM };

#[test]
fn without_the_gap_check_a_row_is_missing() {
    let bounds = Bounds { copies: 1, switches: 1, ..CALM };
    breaks(Rules { gap: false, ..RIGHT }, Format::Exact, bounds, SETTLES);
}

#[test]
fn without_the_cap_a_row_is_missing() {
    let bounds = Bounds { crashes: 1, copies: 1, exchanges: 1, deaths: 0, ..CALM };
    breaks(Rules { cap: false, ..RIGHT }, Format::Exact, bounds, SETTLES);
}

#[test]
fn a_number_used_again_for_other_rows_loses_one() {
    let bounds = Bounds { crashes: 1, ..CALM };
    breaks(Rules { fence: false, ..RIGHT }, Format::Exact, bounds, SETTLES);
}

#[test]
fn a_look_in_two_steps_calls_a_flushed_row_consumed() {
    let bounds = Bounds { rows: 1, flushes: 1, deaths: 0, ..CALM };
    breaks(Rules { atomic: false, ..RIGHT }, Format::Exact, bounds, PROVEN);
}

#[test]
fn a_row_that_the_marker_does_not_cover_is_called_consumed() {
    breaks(Rules { covered: false, ..RIGHT }, Format::Exact, CALM, PROVEN);
}

#[test]
fn without_a_boundary_a_gap_is_called_consumed() {
    let bounds = Bounds { rows: 1, gaps: 1, ..CALM };
    breaks(Rules { boundary: false, ..RIGHT }, Format::Exact, bounds, PROVEN);
}

#[test]
fn outstanding_rows_scheduled_after_the_tenure_are_missing() {
    let bounds = Bounds { flushes: 1, ..CALM };
    breaks(Rules { schedule_with: false, ..RIGHT }, Format::Exact, bounds, SETTLES);
}

#[test]
fn an_opening_that_looked_before_the_checkpoint_publishes_twice() {
    breaks(Rules { look_again: false, ..RIGHT }, Format::Exact, PAIR, ONCE);
}

#[test]
fn the_base_of_a_tenure_that_never_reached_redis_hides_a_gap() {
    let bounds = Bounds { rows: 1, gaps: 1, exchanges: 2, tenures: 4, ..CALM };
    breaks(Rules { of_marker: false, ..RIGHT }, Format::Exact, bounds, PROVEN);
}

#[test]
fn an_eviction_between_two_relays_is_called_consumption() {
    let bounds = Bounds { rows: 1, evictions: 1, ..CALM };
    breaks(Rules { stored_evidence: false, ..RIGHT }, Format::Exact, bounds, PROVEN);
}

#[test]
fn one_absence_of_a_celery_message_is_no_proof() {
    breaks(Rules { grace: false, ..RIGHT }, Format::Celery, Bounds { rows: 1, ..CALM }, PROVEN);
}

#[test]
fn only_the_newest_snapshot_of_a_celery_list_is_no_proof() {
    breaks(Rules { union: false, ..RIGHT }, Format::Celery, Bounds { rows: 1, ..CALM }, PROVEN);
}

#[test]
fn the_rule_of_other_formats_loses_a_celery_message() {
    breaks(
        Rules { grace: false, union: false, ..RIGHT },
        Format::Celery,
        Bounds { rows: 1, flushes: 1, ..CALM },
        SETTLES,
    );
}

#[test]
fn counting_above_the_newest_number_loses_a_row() {
    let bounds = Bounds { crashes: 1, ..CALM };
    breaks(Rules { within_ledger: false, ..RIGHT }, Format::Exact, bounds, SETTLES);
}

#[test]
fn a_celery_message_that_is_handed_back_between_two_holes_is_beyond_proof() {
    let bounds = Bounds { rows: 1, handbacks: 1, ..CALM };
    let path = way(RIGHT, Format::Celery, bounds, PROVEN);
    assert!(path.is_some());
}

#[test]
fn counting_while_catching_up_would_lose_nothing() {
    let rules = Rules { caught_up: false, ..RIGHT };
    let crossed = Bounds { copies: 1, exchanges: 1, gaps: 1, deaths: 0, ..CALM };
    for bounds in
        [Bounds { flushes: 1, gaps: 1, deaths: 0, ..CALM }, crossed, Bounds { restores: 1, deaths: 0, ..CALM }]
    {
        let path = way(rules, Format::Exact, bounds, PROVEN).or_else(|| way(rules, Format::Exact, bounds, SETTLES));
        assert_eq!(path, None);
    }
}
