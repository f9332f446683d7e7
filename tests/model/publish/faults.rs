//! What nobody asked for: losses of Redis and of Postgres, as steps.

use super::Step;
use super::state::{Node, State};

/// Appends every loss that can still happen.
pub(super) fn strike(state: &State, go: &mut impl FnMut(Step, State)) {
    let with = |change: &dyn Fn(&mut State)| {
        let mut after = *state;
        change(&mut after);
        after
    };
    let differ = state.nodes[0] != state.nodes[1];
    if state.left.flushes > 0 && state.nodes[0] != Node::default() {
        let flush = |s: &mut State| (s.left.flushes, s.lossy, s.nodes[0]) = (s.left.flushes - 1, true, Node::default());
        go(("Redis is flushed", 0), with(&flush));
    }
    if state.left.copies > 0 && differ {
        let copy = |s: &mut State| (s.left.copies, s.nodes[1]) = (s.left.copies - 1, s.nodes[0]);
        go(("the other node copies", 1), with(&copy));
    }
    if state.left.switches > 0 && differ {
        go(
            ("the nodes change places", 0),
            with(&|s| {
                s.left.switches -= 1;
                (s.lossy, s.switched) = (true, true);
                s.nodes.swap(0, 1);
            }),
        );
    }
    for (restored, left) in [(false, state.left.crashes), (true, state.left.restores)] {
        if left > 0 {
            for db in state.db.after_loss(restored) {
                let mut after = with(&|s| (s.db, s.lossy) = (db, true));
                after.left.crashes -= u8::from(!restored);
                after.left.restores -= u8::from(restored);
                go((if restored { "Postgres is restored" } else { "Postgres crashes" }, 0), after);
            }
        }
    }
}
