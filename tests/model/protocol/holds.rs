//! The protocol, within stated bounds: nothing falsely consumed, nothing missing once faults stop, nothing twice.

use stateright::{Checker as _, HasDiscoveries, Model as _};

use super::{Bounds, CALM, Format, Protocol, RIGHT, witness};
use crate::model::large;

/// Fails with a way to the fault, if there is one within the bounds, or if they hold another number of states.
fn holds(format: Format, bounds: Bounds, states: usize) {
    let protocol = Protocol { rules: RIGHT, bounds, format, witness: false };
    let checker = protocol.checker().spawn_dfs().join();
    if !checker.discoveries().is_empty() {
        // Breadth first: a short way.
        protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join().assert_properties();
    }
    assert_eq!(checker.unique_state_count(), states, "states within {bounds:?}");
}

/// Formats whose messages can be seen at every moment.
fn exact(bounds: Bounds, states: usize) {
    holds(Format::Exact, bounds, states);
}

/// Celery's messages.
fn celery(bounds: Bounds, states: usize) {
    holds(Format::Celery, bounds, states);
}

/// No death, so that there is room for other faults.
const LIVING: Bounds = Bounds { deaths: 0, ..CALM };

/// Two relays that never hear of each other.
const PAIR: Bounds = Bounds { relays: 2, ..LIVING };

/// One row.
const LONE: Bounds = Bounds { rows: 1, ..CALM };

/// The other node is a copy at some time.
const COPY: Bounds = Bounds { copies: 1, ..LIVING };

#[test]
fn without_losses_nothing_is_pushed_twice() {
    exact(Bounds { deaths: 1, ..PAIR }, 121_582);
    exact(Bounds { deaths: 2, retries: 1, ..CALM }, 41_883);
    exact(Bounds { rows: 3, modest: 1, ..CALM }, 42_082);
}

#[test]
fn a_flush_loses_nothing_that_is_not_done() {
    exact(Bounds { flushes: 1, ..PAIR }, 229_278);
    exact(Bounds { flushes: 2, deaths: 2, tenures: 4, ..CALM }, 581_958);
    exact(Bounds { flushes: 1, rows: 3, ..CALM }, 359_260);
    exact(Bounds { flushes: 1, modest: 1, ..CALM }, 45_643);
}

#[test]
fn a_marker_without_messages_or_messages_without_a_marker_cost_no_row() {
    exact(Bounds { flushes: 1, deletions: 1, ..CALM }, 150_308);
    exact(Bounds { evictions: 1, deletions: 1, ..CALM }, 578_925);
    exact(Bounds { evictions: 1, restarts: 1, ..CALM }, 506_606);
}

#[test]
fn a_restart_with_a_gap_loses_nothing_and_one_without_repeats_only_what_is_absent() {
    exact(Bounds { restarts: 1, ..PAIR }, 351_287);
    exact(Bounds { gaps: 1, ..PAIR }, 235_263);
    exact(Bounds { gaps: 2, tenures: 4, ..LIVING }, 13_526);
    exact(Bounds { gaps: 1, flushes: 1, ..CALM }, 164_631);
    exact(Bounds { gaps: 1, evictions: 1, ..CALM }, 359_930);
}

#[test]
fn an_earlier_dataset_loses_nothing_that_came_after_it() {
    exact(Bounds { rollbacks: 1, deaths: 1, ..COPY }, 227_591);
    exact(Bounds { rollbacks: 1, gaps: 1, ..COPY }, 379_760);
    exact(Bounds { switches: 2, ..COPY }, 573_810);
    exact(Bounds { exchanges: 2, ..COPY }, 161_948);
}

#[test]
fn a_postgres_that_went_back_loses_no_row_that_it_still_has() {
    exact(Bounds { crashes: 1, ..PAIR }, 247_946);
    exact(Bounds { crashes: 1, gaps: 1, ..LIVING }, 47_100);
    exact(Bounds { crashes: 1, exchanges: 1, ..COPY }, 442_839);
    exact(Bounds { restores: 1, ..CALM }, 106_859);
}

#[test]
fn celery_messages_in_the_blind_spot_are_not_taken_for_consumed() {
    celery(Bounds { relays: 2, ..LONE }, 42_147);
    celery(Bounds { flushes: 1, ..LIVING }, 68_095);
    celery(Bounds { gaps: 1, ..LIVING }, 53_577);
    celery(Bounds { gaps: 1, flushes: 1, ..LONE }, 28_078);
    celery(Bounds { evictions: 1, modest: 1, ..LONE }, 7_110);
    celery(Bounds { copies: 1, switches: 1, ..LONE }, 133_844);
    celery(Bounds { copies: 1, rollbacks: 1, ..LONE }, 80_748);
    celery(Bounds { crashes: 1, restores: 1, ..LONE }, 78_632);
}

#[test]
fn larger_bounds_hold_when_asked_for() {
    if large() {
        exact(Bounds { gaps: 1, deaths: 1, ..PAIR }, 917_128);
        exact(Bounds { rows: 3, gaps: 1, flushes: 1, ..CALM }, 4_257_853);
        exact(Bounds { gaps: 2, evictions: 1, tenures: 4, ..CALM }, 3_164_071);
        exact(Bounds { gaps: 1, restores: 1, ..CALM }, 2_401_714);
        exact(Bounds { restores: 1, ..PAIR }, 1_640_036);
        exact(Bounds { switches: 2, deaths: 1, ..COPY }, 2_547_976);
        exact(Bounds { exchanges: 2, gaps: 1, ..COPY }, 2_149_360);
        exact(Bounds { switches: 1, gaps: 1, crashes: 1, ..COPY }, 7_634_490);
        exact(Bounds { retries: 1, flushes: 1, deaths: 1, ..PAIR }, 6_772_998);
        celery(PAIR, 704_758);
        celery(Bounds { gaps: 1, flushes: 1, ..CALM }, 6_113_625);
        celery(Bounds { switches: 1, ..COPY }, 8_320_489);
    }
}

/// A search that finds nothing must have met what it is about.
#[test]
fn everything_that_matters_happens() {
    let mut missing: Vec<_> = witness::properties().iter().map(|property| property.name).collect();
    for bounds in [
        Bounds { flushes: 1, ..PAIR },
        Bounds { retries: 1, ..LONE },
        Bounds { gaps: 1, crashes: 1, ..LIVING },
        Bounds { switches: 1, ..COPY },
    ] {
        let finish = HasDiscoveries::AllOf(missing.iter().copied().collect());
        let protocol = Protocol { rules: RIGHT, bounds, format: Format::Exact, witness: true };
        let checker = protocol.checker().finish_when(finish).spawn_bfs().join();
        missing.retain(|name| checker.discovery(name).is_none());
    }
    assert!(missing.is_empty(), "never met: {missing:?}");
}
