//! What has happened on the way to a state, in searches that ask for it: a search that finds nothing must have looked.

use stateright::Property;

use super::Protocol;
use super::state::State;

/// Remember.
pub(super) const ON: u16 = 1;
/// A row was pushed once more.
pub(super) const REPLAYED: u16 = 1 << 1;
/// A tenure began, or became, uncertified.
pub(super) const BOUNDARY: u16 = 1 << 2;
/// APPEND answered ALREADY.
pub(super) const ALREADY: u16 = 1 << 3;
/// An opening scheduled an outstanding row again.
pub(super) const SCHEDULED: u16 = 1 << 4;
/// APPEND answered FOREIGN.
pub(super) const FOREIGN: u16 = 1 << 5;
/// APPEND answered GAP.
pub(super) const GAP: u16 = 1 << 6;
/// OPEN answered STALE.
pub(super) const STALE: u16 = 1 << 7;
/// An opening had looked before the newest checkpoint.
pub(super) const LOOKED_AGAIN: u16 = 1 << 8;
/// A boundary scheduled an absent row again.
pub(super) const GAP_FILLED: u16 = 1 << 9;
/// A checkpoint said something new.
pub(super) const CHECKPOINT: u16 = 1 << 10;
/// Postgres went back.
pub(super) const WENT_BACK: u16 = 1 << 11;

/// Remembers, if this search wants to know.
pub(super) fn note(state: &mut State, what: u16) {
    if state.witness & ON != 0 {
        state.witness |= what;
    }
}

/// Everything that must occur.
pub(super) fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes("a replay happens", |_, state: &State| state.witness & REPLAYED != 0),
        Property::sometimes("a boundary happens", |_, state: &State| state.witness & BOUNDARY != 0),
        Property::sometimes("ALREADY is answered", |_, state: &State| state.witness & ALREADY != 0),
        Property::sometimes("an outstanding row is scheduled again", |_, s: &State| s.witness & SCHEDULED != 0),
        Property::sometimes("FOREIGN is answered", |_, state: &State| state.witness & FOREIGN != 0),
        Property::sometimes("GAP is answered", |_, state: &State| state.witness & GAP != 0),
        Property::sometimes("STALE is answered", |_, state: &State| state.witness & STALE != 0),
        Property::sometimes("an opening looks again", |_, state: &State| state.witness & LOOKED_AGAIN != 0),
        Property::sometimes("a boundary puts a row back", |_, state: &State| state.witness & GAP_FILLED != 0),
        Property::sometimes("a checkpoint is written", |_, state: &State| state.witness & CHECKPOINT != 0),
        Property::sometimes("Postgres goes back", |_, state: &State| state.witness & WENT_BACK != 0),
    ]
}
