//! Plan, publish, marker, tenure and opening as a state machine, with every fault that the protocol has to survive.
//!
//! One queue, two relays that never hear of each other, a Redis that is flushed, rolled back or exchanged under them, commands that
//! arrive late or never, and a Postgres that loses its newest ledger entries. Nothing is ever consumed: what a
//! dataset lost and was not put back is missing for good, which is the hardest case.

mod faults;
mod holds;
mod state;
mod variants;

use super::search::Model;
use state::{Command, Event, FLIGHT, Marker, Node, Postgres, Relay, Reply, Sent, Stage, State};

/// How much may happen; in a state, how much more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bounds {
    /// Rows that commit.
    rows: u8,
    /// Openings.
    tenures: u8,
    /// Relays.
    relays: u8,
    /// Batches that a relay sends without waiting for the answer to the first.
    depth: u8,
    /// A relay dies, or gives a command up: time-out, lost connection, lost reply. The command may still arrive.
    deaths: u8,
    /// A driver sends a command again although the first may still arrive.
    retries: u8,
    /// The dataset is emptied.
    flushes: u8,
    /// The other node becomes a copy.
    copies: u8,
    /// The other node takes over, as it is; both go on accepting commands.
    switches: u8,
    /// Postgres loses what it had not flushed, and nobody is told.
    crashes: u8,
    /// Postgres goes back further: a backup, a standby that lagged.
    restores: u8,
}

/// No faults but two relays.
const CALM: Bounds = Bounds {
    rows: 2,
    tenures: 3,
    relays: 2,
    depth: 1,
    deaths: 0,
    retries: 0,
    flushes: 0,
    copies: 0,
    switches: 0,
    crashes: 0,
    restores: 0,
};

/// What each part of the protocol is for: [`RIGHT`] has all of them.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, named where they are set")]
struct Rules {
    /// APPEND answers GAP unless the marker is at the predecessor.
    gap: bool,
    /// APPEND and the relay compare the marker's tenure.
    tenure: bool,
    /// OPEN compares the marker with what was observed.
    compare: bool,
    /// The position of an older tenure is believed up to the ledger number at which that tenure was closed.
    cap: bool,
    /// A plan refuses if the newest ledger number is not the last one that this relay saw.
    last_seen: bool,
    /// A plan refuses if its tenure is not the current one.
    current: bool,
    /// The ledger entry is committed before its rows are sent.
    plan_first: bool,
    /// A tenure that Postgres does not know is not believed at all.
    known: bool,
    /// What to trust is decided in the transaction that inserts the tenure, not when the marker is observed.
    decide_late: bool,
    /// A relay sends the entries that it saw when it opened or planned, and does not read them again when it sends.
    from_memory: bool,
    /// A tenure is flushed before Redis sees it.
    durable_tenure: bool,
    /// The look of an idle relay asks Postgres whether its tenure is still the current one.
    look_at_tenure: bool,
}

const RIGHT: Rules = Rules {
    gap: true,
    tenure: true,
    compare: true,
    cap: true,
    last_seen: true,
    current: true,
    plan_first: true,
    known: true,
    decide_late: true,
    from_memory: true,
    durable_tenure: true,
    look_at_tenure: true,
};

/// The protocol under given rules and bounds.
#[derive(Debug, Clone, Copy)]
struct Protocol {
    rules: Rules,
    bounds: Bounds,
    /// Stop when this is answered: shows that a search was not idle.
    until: Option<Reply>,
}

/// What happened, and to which relay, node or row.
type Step = (&'static str, usize);

impl Model for Protocol {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            db: Postgres::new(),
            nodes: [Node::default(); 2],
            flight: [Sent::default(); FLIGHT],
            relays: [Relay::default(); 2],
            left: self.bounds,
            tokens: 0,
            rows: 0,
            lossy: false,
            switched: false,
            pushed_twice: false,
            reply: None,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let mut go = |step: Step, mut after: State| {
            after.tidy();
            next.push((step, after));
        };
        if state.left.rows > 0 {
            let mut after = *state;
            after.db.write(Event::Row(state.rows), true);
            after.rows += 1;
            after.left.rows -= 1;
            go(("row commits", state.rows.into()), after);
        }
        for r in 0..usize::from(self.bounds.relays) {
            self.relay_steps(state, r, &mut go);
        }
        for f in 0..FLIGHT {
            self.arrivals(state, f, &mut go);
        }
        faults::strike(state, &mut go);
    }

    fn violation(&self, state: &State) -> Option<String> {
        if self.until.is_some() && state.reply == self.until {
            return Some("Answered".into());
        }
        if state.pushed_twice && !state.lossy {
            return Some("Twice".into());
        }
        (self.trusts_too_much(state) || self.rests_too_soon(state)).then(|| "Missing".into())
    }
}

impl Protocol {
    /// The trusted position of an opening that sees this marker now.
    fn trusted(&self, db: &Postgres, marker: Marker) -> u8 {
        let newest = db.newest();
        marker.position.min(match db.cap(marker.tenure) {
            Some(cap) if self.rules.cap && self.rules.tenure => cap,
            None if self.rules.known && self.rules.tenure => 0,
            _ => newest,
        })
    }

    /// If all faults stopped now and somebody opened, everything above the trusted position would be sent. So nothing
    /// may be missing at or below it.
    fn trusts_too_much(&self, state: &State) -> bool {
        let (node, trusted) = (state.nodes[0], self.trusted(&state.db, state.nodes[0].marker));
        let believed = state.db.entries()[..=usize::from(trusted)].iter().fold(0, |all, rows| all | rows);
        believed & !node.holds != 0
    }

    /// Whether a relay finds nothing to do although something is missing.
    fn rests_too_soon(&self, state: &State) -> bool {
        let missing = state.db.rows() & !state.nodes[0].holds != 0 && state.db.unplanned() == 0;
        let rests = |relay: &Relay| relay.stage == Stage::Live && relay.position == relay.last_seen;
        missing && state.relays.iter().any(|relay| rests(relay) && !self.sees_change(state, relay))
    }

    /// The look of an idle relay: whether marker, newest ledger number and current tenure are not as it left them.
    fn sees_change(&self, state: &State, relay: &Relay) -> bool {
        let (marker, mine) = (state.nodes[0].marker, Marker { tenure: relay.tenure, position: relay.position });
        let foreign = if self.rules.tenure { marker != mine } else { marker.position != mine.position };
        let fenced = self.rules.look_at_tenure && state.db.current() != relay.tenure;
        foreign || fenced || state.db.newest() != relay.last_seen
    }

    fn relay_steps(&self, state: &State, r: usize, go: &mut impl FnMut(Step, State)) {
        let relay = state.relays[r];
        let mut after = *state;
        match relay.stage {
            Stage::Closed => {
                let marker = state.nodes[0].marker;
                let trusted = if self.rules.decide_late { 0 } else { self.trusted(&state.db, marker) };
                after.relays[r].stage = Stage::Observed { marker, trusted };
                go(("relay observes", r), after);
            }
            Stage::Observed { marker, trusted } if state.left.tenures > 0 => {
                let trusted = if self.rules.decide_late { self.trusted(&state.db, marker) } else { trusted };
                after.relays[r] = self.insert_tenure(&mut after, marker, trusted);
                go(("relay inserts tenure", r), after);
            }
            Stage::Inserted { expected } => {
                let new = Marker { tenure: relay.tenure, position: relay.position };
                if after.send(r, Command::Open { expected, new }) {
                    after.relays[r].stage = Stage::Opening;
                    go(("relay sends OPEN", r), after);
                }
            }
            Stage::Live => self.live_steps(state, r, go),
            Stage::Observed { .. } | Stage::Opening => {}
        }
        if relay.stage != Stage::Closed && state.left.deaths > 0 {
            after = *state;
            after.left.deaths -= 1;
            after.close(r);
            go(("relay gives up", r), after);
        }
    }

    /// One transaction under the queue's lock: closes the older tenures, inserts the new one.
    fn insert_tenure(&self, state: &mut State, expected: Marker, trusted: u8) -> Relay {
        state.left.tenures -= 1;
        state.tokens += 1;
        state.db.write(Event::Tenure(state.tokens), self.rules.durable_tenure);
        let (entries, last_seen) = (state.db.entries(), state.db.newest());
        let tenure = state.tokens;
        Relay { stage: Stage::Inserted { expected }, tenure, position: trusted, sent: trusted, last_seen, entries }
    }

    fn live_steps(&self, state: &State, r: usize, go: &mut impl FnMut(Step, State)) {
        let relay = state.relays[r];
        if relay.sent == relay.position && self.sees_change(state, &relay) {
            let mut after = *state;
            after.close(r);
            go(("relay looks and closes", r), after);
        }
        self.plans(state, r, go);
        let mut after = *state;
        let to = relay.sent + 1;
        if to <= relay.last_seen && to - relay.position <= self.bounds.depth {
            let known = if self.rules.from_memory { relay.entries } else { state.db.entries() };
            let rows = known[usize::from(to)];
            after.relays[r].sent = to;
            if after.send(r, Command::Append { tenure: relay.tenure, to, rows }) {
                go(("relay sends APPEND to", to.into()), after);
            }
        }
    }

    fn plans(&self, state: &State, r: usize, go: &mut impl FnMut(Step, State)) {
        let relay = state.relays[r];
        if !self.rules.plan_first && relay.position > relay.last_seen {
            let mut after = *state;
            after.db.write(Event::Entry(relay.entries[usize::from(relay.sent)]), false);
            after.relays[r].last_seen = relay.sent;
            go(("relay plans what it sent, to", relay.sent.into()), after);
            return;
        }
        let (newest, unplanned) = (state.db.newest(), state.db.unplanned());
        if unplanned == 0 {
            return;
        }
        let fenced = self.rules.current && state.db.current() != relay.tenure;
        if fenced || (self.rules.last_seen && newest != relay.last_seen) {
            let mut after = *state;
            after.close(r);
            go(("relay is told to open", r), after);
            return;
        }
        // Any number of the oldest rows.
        for count in 1..=unplanned.count_ones() {
            let (mut rows, mut rest) = (0, unplanned);
            for _ in 0..count {
                rows |= rest & rest.wrapping_neg();
                rest &= rest - 1;
            }
            let mut after = *state;
            let to = newest + 1;
            if !self.rules.plan_first {
                // Sends from memory; the entry would be committed later, if at all.
                let own = &mut after.relays[r];
                (own.sent, own.entries[usize::from(to)]) = (to, rows);
                if relay.sent == newest && after.send(r, Command::Append { tenure: relay.tenure, to, rows }) {
                    go(("relay sends unplanned rows", rows.into()), after);
                }
                continue;
            }
            after.db.write(Event::Entry(rows), false);
            let own = &mut after.relays[r];
            own.last_seen = to;
            own.entries[usize::from(to)] = rows;
            go(("relay plans rows", rows.into()), after);
        }
    }

    /// A command arrives at the node that everybody is led to, or, after a switch, at the old one.
    fn arrivals(&self, state: &State, f: usize, go: &mut impl FnMut(Step, State)) {
        let sent = state.flight[f];
        if sent.command == Command::None {
            return;
        }
        for node in 0..if state.switched { 2 } else { 1 } {
            let mut after = *state;
            after.flight[f] = Sent::default();
            let reply = self.execute(&mut after, node, sent.command);
            after.reply = self.until.map(|_| reply);
            if let Some(relay) = sent.waits {
                after.answer(relay.into(), sent.command, reply);
            }
            let step = match reply {
                Reply::Ok => "OK on node",
                Reply::Stale => "STALE on node",
                Reply::Missing => "MISSING on node",
                Reply::Foreign => "FOREIGN on node",
                Reply::Already => "ALREADY on node",
                Reply::Gap => "GAP on node",
            };
            go((step, node), after);
        }
        if sent.waits.is_some() && state.left.retries > 0 {
            let mut after = *state;
            after.flight[f].waits = None;
            after.left.retries -= 1;
            if after.under_way(sent) {
                go(("command is sent again", f), after);
            }
        }
        if sent.waits.is_none() {
            let mut after = *state;
            after.flight[f] = Sent::default();
            go(("command is lost", f), after);
        }
    }

    /// The two scripts.
    fn execute(&self, state: &mut State, node: usize, command: Command) -> Reply {
        let dataset = &mut state.nodes[node];
        let marker = dataset.marker;
        match command {
            Command::Open { expected, new } if marker == new || marker == expected || !self.rules.compare => {
                dataset.marker = new;
                Reply::Ok
            }
            Command::Open { .. } | Command::None => Reply::Stale,
            Command::Append { .. } if marker.tenure == 0 => Reply::Missing,
            Command::Append { tenure, .. } if self.rules.tenure && marker.tenure != tenure => Reply::Foreign,
            Command::Append { to, .. } if marker.position >= to => Reply::Already,
            Command::Append { to, .. } if self.rules.gap && marker.position + 1 < to => Reply::Gap,
            Command::Append { to, rows, .. } => {
                state.pushed_twice |= dataset.holds & rows != 0;
                dataset.holds |= rows;
                dataset.marker.position = to;
                Reply::Ok
            }
        }
    }
}
