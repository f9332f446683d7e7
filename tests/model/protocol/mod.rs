//! The whole protocol as a state machine: plan, publish, open, look, checkpoint, consume, and every loss of both servers.
//!
//! `publish` beside it searches deeper what happens between the ledger and Redis, but nothing is consumed there. Here
//! workers take messages away, so that an absent message may mean two things. The decisions are the product's own:
//! [`outboxd::broker::decide`] and [`outboxd::relay::rules`].

mod faults;
mod holds;
mod relay;
mod scripts;
mod settle;
mod state;
mod variants;
mod witness;

use stateright::{Model, Property};

use faults::Fault;
use outboxd::relay::rules::is_consumed;
use state::{Command, FLIGHT, Rows, State, each};

/// How much may happen; in a state, how much more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    /// Rows that commit.
    rows: u8,
    /// Openings.
    tenures: u8,
    /// Relays.
    relays: u8,
    /// A relay dies, or gives a command up: time-out, lost connection, lost reply. The command may still arrive.
    deaths: u8,
    /// A command is sent again although the first may still arrive.
    retries: u8,
    flushes: u8,
    deletions: u8,
    evictions: u8,
    restarts: u8,
    /// Restarts without a message.
    gaps: u8,
    copies: u8,
    rollbacks: u8,
    switches: u8,
    exchanges: u8,
    /// A Celery worker hands a message back to its list.
    handbacks: u8,
    /// A checkpoint says less than it could.
    modest: u8,
    /// Postgres loses what it had not flushed.
    crashes: u8,
    /// Postgres goes back further.
    restores: u8,
}

/// One relay that may die once, and no other fault.
const CALM: Bounds = Bounds {
    rows: 2,
    tenures: 3,
    relays: 1,
    deaths: 1,
    retries: 0,
    flushes: 0,
    deletions: 0,
    evictions: 0,
    restarts: 0,
    gaps: 0,
    copies: 0,
    rollbacks: 0,
    switches: 0,
    exchanges: 0,
    handbacks: 0,
    modest: 0,
    crashes: 0,
    restores: 0,
};

/// Where a message can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// In the list or in flight, at every moment: streams, Dramatiq, lists with a processing list.
    Exact,
    /// Nowhere for a while, between the list and `unacked`.
    Celery,
}

/// What each part of the protocol is for: [`RIGHT`] has all of them.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, named where they are set")]
struct Rules {
    /// APPEND answers GAP unless the marker is at the predecessor.
    gap: bool,
    /// The position of an older tenure is believed up to the ledger number at which that tenure was closed.
    cap: bool,
    /// A plan refuses unless its tenure is the current one and it has seen the newest number.
    fence: bool,
    /// Marker and content are read in one step.
    atomic: bool,
    /// A checkpoint counts up to the marker of its snapshot, not up to the newest number.
    covered: bool,
    /// After a new incarnation nothing is confirmed until the boundary is settled.
    boundary: bool,
    /// Base and certification are those of the tenure that the marker names, not of the one inserted last.
    of_marker: bool,
    /// Outstanding rows are scheduled in the transaction that inserts the tenure.
    schedule_with: bool,
    /// An opening that sees less than the checkpoint must have looked after it.
    look_again: bool,
    /// A snapshot counts only once everything that the opening found in the ledger is in.
    caught_up: bool,
    /// A snapshot above the newest ledger number does not count.
    within_ledger: bool,
    /// The evidence that a tenure starts from is stored with it.
    stored_evidence: bool,
    /// Celery: absences count only when the first is older than the time of grace.
    grace: bool,
    /// Celery: what was present in any snapshot of the window is outstanding, not only in the newest.
    union: bool,
}

const RIGHT: Rules = Rules {
    gap: true,
    cap: true,
    fence: true,
    atomic: true,
    covered: true,
    boundary: true,
    of_marker: true,
    schedule_with: true,
    look_again: true,
    caught_up: true,
    within_ledger: true,
    stored_evidence: true,
    grace: true,
    union: true,
};

/// The protocol under given rules and bounds.
#[derive(Debug, Clone, Copy)]
struct Protocol {
    rules: Rules,
    bounds: Bounds,
    format: Format,
    /// Remember in the state what has happened.
    witness: bool,
}

/// One step of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    Commit,
    /// Relay 0 or 1 takes a step of its own.
    Relay(usize, relay::Move),
    /// A command arrives at a node.
    Arrive(usize, usize),
    /// A command is sent again; the first has no reader any more.
    Again(usize),
    /// A command that nobody waits for gets lost.
    Lose(usize),
    /// A worker of a node is done with a message.
    Work(usize, Rows),
    /// A Celery worker pops a message ..
    Pop(Rows),
    /// .. and stores it in `unacked`.
    Store(Rows),
    /// .. or puts back what it had stored.
    HandBack(Rows),
    Fault(Fault),
}

/// Nothing is recorded consumed that no worker has done.
const PROVEN: &str = "what is recorded consumed is done";
/// If all faults stop now, every row is done.
const SETTLES: &str = "everything is done in the end";
/// No row is pushed twice while nothing is lost.
const ONCE: &str = "nothing is pushed twice while nothing is lost";

impl Model for Protocol {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let mut state = State::new(self.bounds);
        state.witness = if self.witness { witness::ON } else { 0 };
        vec![state]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        if state.left.rows > 0 {
            acts.push(Act::Commit);
        }
        for r in 0..usize::from(self.bounds.relays) {
            relay::moves(state, r, |step| acts.push(Act::Relay(r, step)));
        }
        for f in (0..FLIGHT).filter(|f| state.flight[*f].command != Command::None) {
            acts.push(Act::Arrive(f, 0));
            if state.switched {
                acts.push(Act::Arrive(f, 1));
            }
            if state.flight[f].waits.is_none() {
                acts.push(Act::Lose(f));
            } else if state.left.retries > 0 {
                acts.push(Act::Again(f));
            }
        }
        self.work(state, acts);
        faults::possible(state, acts);
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = before.clone();
        self.take(&mut state, act)?;
        state.tidy();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(PROVEN, |_: &Self, state: &State| proven(state)),
            Property::always(SETTLES, |model: &Self, state: &State| model.settles(state)),
            Property::always(ONCE, |_: &Self, state: &State| !state.twice),
        ];
        if self.witness {
            properties.extend(witness::properties());
        }
        properties
    }
}

impl Protocol {
    fn work(&self, state: &State, acts: &mut Vec<Act>) {
        for (n, node) in state.nodes.iter().enumerate().take(if state.switched { 2 } else { 1 }) {
            let done = if self.format == Format::Exact || n > 0 { node.queued } else { node.unacked };
            acts.extend(each(done).map(|row| Act::Work(n, row)));
        }
        if self.format == Format::Celery {
            acts.extend(each(state.nodes[0].queued & !state.hole).map(Act::Pop));
            acts.extend(each(state.hole).map(Act::Store));
            if state.left.handbacks > 0 {
                acts.extend(each(state.nodes[0].unacked).map(Act::HandBack));
            }
        }
    }

    /// Changes the state, or answers that this cannot happen.
    fn take(&self, state: &mut State, act: Act) -> Option<()> {
        match act {
            Act::Commit => {
                let row = 1 << state.rows;
                state.rows += 1;
                state.left.rows -= 1;
                state.commit(true, |db| db.rows |= row);
            }
            Act::Relay(r, step) => self.go(state, r, step)?,
            Act::Arrive(f, node) => self.arrive(state, f, node),
            Act::Again(f) => {
                let sent = state.flight[f];
                state.left.retries -= 1;
                state.flight[f].waits = None;
                state.send(sent)?;
            }
            Act::Lose(f) => state.flight[f] = state::Sent::default(),
            Act::Work(n, row) => {
                let node = &mut state.nodes[n];
                let place = if node.unacked & row != 0 { &mut node.unacked } else { &mut node.queued };
                *place &= !row;
                state.processed |= row;
            }
            Act::Pop(row) => {
                state.nodes[0].queued &= !row;
                state.hole |= row;
            }
            Act::Store(row) => {
                state.hole &= !row;
                state.nodes[0].unacked |= row;
                let windows = state.relays.iter_mut().flat_map(|relay| &mut relay.window);
                windows.for_each(|window| window.holes &= !row);
                let looks = state.relays.iter_mut().flat_map(|relay| &mut relay.look);
                looks.for_each(|look| look.holes &= !row);
            }
            Act::HandBack(row) => {
                state.left.handbacks -= 1;
                state.nodes[0].unacked &= !row;
                state.nodes[0].queued |= row;
            }
            Act::Fault(fault) => faults::strike(state, fault),
        }
        Some(())
    }
}

/// Whether every row that the newest checkpoint calls consumed was done by a worker.
fn proven(state: &State) -> bool {
    let db = &state.db;
    each(db.rows & !state.processed)
        .all(|row| !is_consumed(db.consumed.into(), db.batch_of(row), db.outstanding & row != 0))
}
