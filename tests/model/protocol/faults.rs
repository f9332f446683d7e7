//! What nobody asked for: losses of Redis and of Postgres.

use super::state::{Marker, Node, Rows, State, each};
use super::{Act, witness};

/// A loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// Redis is emptied; the process, hence the incarnation, goes on.
    Flush,
    /// The marker alone is deleted.
    DeleteMarker,
    /// This message is evicted, and a counter says that something was.
    Evict(Rows),
    /// The process starts again with all its data.
    Restart,
    /// It starts again without this message, marker intact.
    RestartWithout(Rows),
    /// The other node, or the stored dump, becomes a copy.
    Copy,
    /// It starts again from that copy.
    RollBack,
    /// Everybody is led to the other node, as it is; both go on.
    Switch,
    /// The datasets change places under the same process.
    Exchange,
    /// Postgres goes back to this earlier state, and nobody is told.
    GoBack(usize),
}

/// Every fault that may still happen.
pub(super) fn possible(state: &State, acts: &mut Vec<Act>) {
    let left = state.left;
    let [node, other] = state.nodes;
    let differ = (node.marker, node.queued, node.unacked) != (other.marker, other.queued, other.unacked);
    let mut offer = |when: bool, fault| {
        if when {
            acts.push(Act::Fault(fault));
        }
    };
    let anything = node.marker != Marker::default() || node.present() != 0;
    offer(left.flushes > 0 && anything, Fault::Flush);
    offer(left.deletions > 0 && node.marker != Marker::default(), Fault::DeleteMarker);
    offer(left.restarts > 0, Fault::Restart);
    offer(left.copies > 0 && differ, Fault::Copy);
    offer(left.rollbacks > 0 && differ, Fault::RollBack);
    offer(left.switches > 0 && differ, Fault::Switch);
    offer(left.exchanges > 0 && differ, Fault::Exchange);
    for row in each(node.present()) {
        offer(left.evictions > 0, Fault::Evict(row));
        offer(left.gaps > 0, Fault::RestartWithout(row));
    }
    for at in 0..state.past.len() {
        let crash = at >= state.flushed && left.crashes > 0;
        offer(crash || left.restores > 0, Fault::GoBack(at));
    }
}

/// Lets one happen.
pub(super) fn strike(state: &mut State, fault: Fault) {
    state.lossy |= fault != Fault::Restart && fault != Fault::Copy;
    match fault {
        Fault::Flush => {
            state.left.flushes -= 1;
            let Node { incarnation, evidence, .. } = state.nodes[0];
            state.nodes[0] = Node { incarnation, evidence, ..Node::default() };
        }
        Fault::DeleteMarker => {
            state.left.deletions -= 1;
            state.nodes[0].marker = Marker::default();
        }
        Fault::Evict(row) => {
            state.left.evictions -= 1;
            remove(&mut state.nodes[0], row);
            state.nodes[0].evidence += 1;
        }
        Fault::Restart => {
            state.left.restarts -= 1;
            state.restarted = true;
            begin(state);
        }
        Fault::RestartWithout(row) => {
            state.left.gaps -= 1;
            remove(&mut state.nodes[0], row);
            begin(state);
        }
        Fault::Copy => {
            state.left.copies -= 1;
            let incarnation = fresh(state);
            state.nodes[1] = Node { incarnation, evidence: 0, ..state.nodes[0] };
        }
        Fault::RollBack => {
            state.left.rollbacks -= 1;
            state.nodes[0] = state.nodes[1];
            begin(state);
        }
        Fault::Switch => {
            state.left.switches -= 1;
            state.switched = true;
            state.nodes.swap(0, 1);
        }
        Fault::Exchange => {
            state.left.exchanges -= 1;
            state.nodes.swap(0, 1);
            let [node, other] = &mut state.nodes;
            std::mem::swap(&mut node.incarnation, &mut other.incarnation);
            std::mem::swap(&mut node.evidence, &mut other.evidence);
        }
        Fault::GoBack(at) => go_back(state, at),
    }
}

fn go_back(state: &mut State, at: usize) {
    if at >= state.flushed && state.left.crashes > 0 {
        state.left.crashes -= 1;
    } else {
        state.left.restores -= 1;
    }
    state.db = state.past[at];
    state.past.truncate(at);
    state.flushed = at;
    state.outdate(None);
    witness::note(state, witness::WENT_BACK);
}

fn remove(node: &mut Node, row: Rows) {
    node.queued &= !row;
    node.unacked &= !row;
}

fn fresh(state: &mut State) -> u8 {
    state.incarnations += 1;
    state.incarnations
}

/// The process behind the first node begins another life.
fn begin(state: &mut State) {
    let incarnation = fresh(state);
    state.nodes[0] = Node { incarnation, evidence: 0, ..state.nodes[0] };
}
