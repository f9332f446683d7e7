//! Writers, plan transactions and truncations as a state machine: which steps there are, and what must never be.

mod cursor;
mod is_exact;
mod postgres;
mod state;
mod variants;

use super::search::Model;
use cursor::{After, Cursor, Rules, Tick, Tip, Truncation};
use postgres::{Postgres, Set, numbers};
use state::{Fault, IDLE, Phase, RELAYS, Relay, Stage, State, WRITERS, Watched, Writer};

/// How much may happen.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, named where they are set")]
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Rows per writer, one entry each. A writer of no rows is any other transaction: another queue's plan, say.
    writers: &'static [u8],
    /// Writers that may roll back.
    aborts: u8,
    /// Plan transactions.
    plans: u8,
    /// Of these, how many may roll back: the relay or its connection dies.
    crashes: u8,
    /// Relays that take turns at the queue.
    relays: usize,
    /// Rows in a batch: every size from 1 up to this; 0 for no limit.
    batch: u32,
    /// Whether an empty tick may also go unrecorded.
    unrecorded: bool,
    /// Whether taking an id and inserting its row are two steps. A row of an open transaction is invisible, so
    /// this matters for locks only.
    split: bool,
    /// Whether writers show that they lock the log before they take their first id.
    locks: bool,
    /// Whether writers that have not begun are told apart.
    distinct: bool,
    /// Whether order is checked: what had committed before an id was taken is read before that id.
    order: bool,
    /// Whether some batch, any one, is read again in every later state.
    again: bool,
    /// Truncations of the old segment.
    truncations: u8,
}

/// What the others start from.
const SMALL: Bounds = Bounds {
    writers: &[1, 1, 1],
    aborts: 0,
    plans: 4,
    crashes: 0,
    relays: 1,
    batch: 0,
    unrecorded: false,
    split: false,
    locks: false,
    distinct: false,
    order: false,
    again: false,
    truncations: 0,
};

/// The reader under given rules and bounds.
#[derive(Debug, Clone, Copy)]
struct Reader {
    rules: Rules,
    bounds: Bounds,
    /// Whether every tick must be exact when it ends, or only the whole in the end: a wrong variant is
    /// to be shown to lose or double a row for good.
    strict: bool,
}

/// What happened, and to which writer or relay; for reading, the rows as bits.
type Step = (&'static str, usize);

impl Model for Reader {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let mut writers = [Writer { phase: Phase::Ended, xid: 0, done: 0, id: 0 }; WRITERS];
        for writer in &mut writers[..self.bounds.writers.len()] {
            writer.phase = Phase::New;
        }
        State {
            db: Postgres::new(),
            writers,
            relays: [IDLE; RELAYS],
            cursor: Cursor::start(),
            read: 0,
            plans: self.bounds.plans,
            crashes: self.bounds.crashes,
            aborts: self.bounds.aborts,
            truncations: self.bounds.truncations,
            before: [0; 8],
            old: 0,
            checked: false,
            watched: None,
            fault: None,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        for w in 0..self.bounds.writers.len() {
            self.writer_steps(state, w, next);
        }
        for r in 0..self.bounds.relays {
            self.relay_steps(state, r, next);
        }
        self.truncation_steps(state, next);
    }

    fn violation(&self, state: &State) -> Option<String> {
        if let Some(fault) = state.fault {
            return Some(format!("{fault:?}"));
        }
        if let Some(batch) = &state.watched
            && self.bounds.again
            && batch.before.read_again(&self.rules, &batch.after, batch.rows.count_ones(), &state.db) != batch.rows
        {
            return Some("Changed".into());
        }
        let quiet = state.writers.iter().all(|w| w.phase == Phase::Ended);
        let idle = state.relays.iter().all(|r| r.stage == Stage::Idle);
        (quiet && idle).then(|| self.settle(*state)).flatten()
    }
}

impl Reader {
    fn writer_steps(&self, state: &State, w: usize, next: &mut Vec<(Step, State)>) {
        let writer = state.writers[w];
        let wants = self.bounds.writers[w] > writer.done;
        let mut go = |step: Step, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            next.push((step, after));
        };
        match writer.phase {
            Phase::New => {
                // Writers of equal length are interchangeable until they begin: the first of them goes first.
                let same = |v: usize| self.bounds.writers[v] == self.bounds.writers[w];
                let stays = (0..w).any(|v| same(v) && state.writers[v] == writer);
                if self.bounds.distinct || !stays {
                    let (begun, early) = (!wants || !self.bounds.locks, wants && !self.rules.xid_before_id);
                    go(("writer takes xid", w), &|s| s.writers[w].begin(&mut s.db, begun));
                    if early && writer.id == 0 {
                        go(("writer takes id", w), &|s| s.take_id(w, self.bounds.order));
                    }
                }
            }
            Phase::Begun => go(("writer locks log", w), &|s| s.writers[w].phase = Phase::Open),
            Phase::Open if writer.id != 0 => {
                go(("writer inserts", w), &|s| s.insert(w, false));
                if self.bounds.truncations > 0 {
                    go(("writer inserts into old segment", w), &|s| s.insert(w, true));
                }
            }
            Phase::Open if wants => go(("writer takes id", w), &|s| {
                s.take_id(w, self.bounds.order);
                if !self.bounds.split {
                    s.insert(w, false);
                }
            }),
            Phase::Open => go(("writer commits", w), &|s| s.end(w, true)),
            Phase::Ended => {}
        }
        if matches!(writer.phase, Phase::Begun | Phase::Open) && state.aborts > 0 && self.bounds.writers[w] > 0 {
            go(("writer aborts", w), &|s| {
                s.aborts -= 1;
                s.end(w, false);
            });
        }
    }

    fn relay_steps(&self, state: &State, r: usize, next: &mut Vec<(Step, State)>) {
        let relay = state.relays[r];
        let mut go = |step: Step, change: &dyn Fn(&mut State)| {
            let mut after = *state;
            change(&mut after);
            // Relays are interchangeable.
            after.relays.sort_unstable_by_key(|relay| std::cmp::Reverse((relay.stage, relay.xid)));
            next.push((step, after));
        };
        let first_idle = state.relays.iter().position(|relay| relay.stage == Stage::Idle) == Some(r);
        let locked = state.relays.iter().any(|relay| relay.stage >= Stage::Locked);
        match relay.stage {
            Stage::Idle if first_idle && state.plans > 0 => {
                if !self.rules.xid_by_lock {
                    go(("relay takes xid", r), &|s| s.begin_plan(r, Stage::Early));
                }
                if !locked {
                    go(("relay locks queue", r), &|s| s.begin_plan(r, Stage::Locked));
                }
            }
            Stage::Early if !locked => go(("relay locks queue", r), &|s| s.relays[r].stage = Stage::Locked),
            Stage::Locked if self.takes_two_looks() && !self.continues(state) => {
                go(("relay looks first", r), &|s| self.first_look(s, r));
            }
            Stage::Locked | Stage::Snapped => self.read(state, r, &mut go),
            Stage::Planned => self.end_plan(state, r, &mut go),
            Stage::Idle | Stage::Early => {}
        }
        if relay.stage != Stage::Idle && state.crashes > 0 {
            go(("relay crashes", r), &|s| {
                s.crashes -= 1;
                s.db.finish(relay.xid, false);
                s.relays[r] = IDLE;
            });
        }
    }

    /// Whether the tick's snapshot and its highest id are two steps, with writers moving in between.
    fn takes_two_looks(&self) -> bool {
        self.rules.tip != Tip::MaxVisible
    }

    /// Whether this plan goes on with a tick that an earlier one began.
    fn continues(&self, state: &State) -> bool {
        state.cursor.inside && self.rules.keeps_tick
    }

    fn first_look(&self, state: &mut State, r: usize) {
        let idle = state.idle();
        let relay = &mut state.relays[r];
        relay.stage = Stage::Snapped;
        match self.rules.tip {
            Tip::SequenceFirst => relay.tick.max = state.db.last_id(),
            _ => relay.tick.snap = state.db.snapshot(relay.xid),
        }
        if self.rules.after == After::MovedTooSoon {
            relay.idle = idle;
        }
    }

    /// The second look fixes the tick; what it reads follows from it. One step for every size of batch.
    fn read(&self, state: &State, r: usize, go: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let (relay, cursor, db) = (state.relays[r], state.cursor, &state.db);
        let tick = if self.continues(state) { cursor.tick } else { self.tick(state, &relay) };
        let readable = if self.rules.all_segments { Set::MAX } else { !state.unread_by_segment() };
        let ranges = cursor.ranges(&self.rules, tick, db, readable);
        let found = ranges.into_iter().fold(0, |all, some| all | some);
        let twice = ranges.iter().map(|some| some.count_ones()).sum::<u32>() > found.count_ones();
        let idle = if self.rules.after == After::Moved { state.idle() } else { relay.idle };
        let sizes = if self.bounds.batch == 0 { 0..=0 } else { 1..=self.bounds.batch };
        for size in sizes {
            let (rows, after) = cursor.plan(&self.rules, tick, found, size, idle);
            let missed = self.strict && !after.inside && state.read | rows != state.visible(tick.snap);
            go(("relay reads rows", rows.into()), &|s| {
                s.relays[r] = Relay { stage: Stage::Planned, after, rows, tick: IDLE.tick, idle: 0, ..relay };
                s.fault = if twice { Some(Fault::Twice) } else { missed.then_some(Fault::Missed) };
            });
        }
    }

    fn tick(&self, state: &State, relay: &Relay) -> Tick {
        let (db, tip) = (&state.db, state.cursor.tip);
        let snap = db.snapshot(relay.xid);
        let highest = |rows: Set| numbers(rows).last().unwrap_or(0);
        let (snap, max) = match self.rules.tip {
            Tip::MaxVisible => (snap, highest(db.scan(Set::MAX, |_, xid| snap.sees(xid)))),
            Tip::Sequence => (relay.tick.snap, db.last_id()),
            Tip::SequenceFirst => (snap, relay.tick.max),
            Tip::SequenceAhead => (relay.tick.snap, db.last_id().max(1)),
        };
        let pos = if state.cursor.inside { state.cursor.tick.pos } else { 0 };
        Tick { snap, max: max.max(tip), pos }
    }

    fn end_plan(&self, state: &State, r: usize, go: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let relay = state.relays[r];
        let commit = |s: &mut State| {
            if s.read & relay.rows != 0 {
                s.fault = Some(Fault::Twice);
            } else if self.bounds.order && !s.in_order(relay.rows) {
                s.fault = Some(Fault::OutOfOrder);
            }
            s.db.finish(relay.xid, true);
            s.cursor = relay.after;
            s.read |= relay.rows;
            s.relays[r] = IDLE;
        };
        go(("relay commits", r), &commit);
        if self.bounds.unrecorded && relay.rows == 0 {
            go(("relay commits nothing", r), &|s| {
                s.db.finish(relay.xid, true);
                s.relays[r] = IDLE;
            });
        }
        if (self.bounds.again || self.bounds.truncations > 0) && state.watched.is_none() {
            go(("relay commits, watched", r), &|s| {
                let before = s.cursor;
                commit(s);
                s.watched = Some(Watched { before, after: s.cursor, rows: relay.rows, read: s.read });
            });
        }
    }

    fn truncation_steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let Some(batch) = state.watched.filter(|_| state.truncations > 0) else { return };
        let locked = numbers(state.db.inserted & state.old).any(|id| state.db.is_running(state.db.owner(id)));
        let done = state.db.scan(state.old, |id, xid| batch.after.may_need(&self.rules, id, xid)) == 0;
        let early = self.rules.truncation == Truncation::BeforeLock;
        let mut after = *state;
        if early && done && !state.checked {
            after.checked = true;
            next.push((("old segment is checked", 0), after));
        }
        if !locked && (if early { state.checked } else { done }) {
            let gone = state.db.scan(state.old, |_, _| true);
            after = *state;
            after.db.truncated |= gone;
            after.truncations -= 1;
            after.checked = false;
            if gone & !batch.read != 0 {
                after.fault = Some(Fault::Truncated);
            }
            next.push((("old segment is truncated", 0), after));
        }
    }

    /// Everybody is done: finishes the open tick and three more, and compares what was read with what was committed.
    fn settle(&self, mut state: State) -> Option<String> {
        let mut ticks = 0;
        while ticks < 3 {
            state.plans = 1;
            let one = |state: &State| {
                let mut next = Vec::new();
                self.relay_steps(state, 0, &mut next);
                next.into_iter().map(|(_, after)| after).next()
            };
            while let Some(after) = one(&state).filter(|_| state.plans > 0 || state.relays[0].stage != Stage::Idle) {
                state = after;
            }
            if let Some(fault) = state.fault {
                return Some(format!("{fault:?}"));
            }
            ticks += u8::from(!state.cursor.inside);
        }
        let lost = state.db.committed_rows() & !state.read;
        let invented = state.read & !state.db.committed_rows();
        (lost != 0).then(|| "Lost".into()).or((invented != 0).then(|| "Invented".into()))
    }
}
