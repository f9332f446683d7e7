//! What a state of the model consists of.

use super::cursor::{Cursor, Tick};
use super::postgres::{Postgres, Set, Snapshot, below, bit, numbers};

/// Writers at most.
pub(super) const WRITERS: usize = 4;
/// Relays at most.
pub(super) const RELAYS: usize = 2;

/// How far a writer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    New,
    /// Has an xid, and no lock on the log.
    Begun,
    /// May take ids.
    Open,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) phase: Phase,
    pub(super) xid: u8,
    pub(super) done: u8,
    /// Taken and not inserted yet; 0 for none.
    pub(super) id: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Stage {
    Idle,
    /// Has an xid without the lock: a variant.
    Early,
    Locked,
    Snapped,
    Planned,
}

/// One plan transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Relay {
    pub(super) stage: Stage,
    pub(super) xid: u8,
    pub(super) tick: Tick,
    pub(super) idle: Set,
    pub(super) after: Cursor,
    pub(super) rows: Set,
}

/// A batch that is kept in mind: the cursors around it, its rows, and what had been read by its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Watched {
    pub(super) before: Cursor,
    pub(super) after: Cursor,
    pub(super) rows: Set,
    pub(super) read: Set,
}

/// What went wrong in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    Twice,
    Missed,
    OutOfOrder,
    Truncated,
}

/// One state of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) db: Postgres,
    pub(super) writers: [Writer; WRITERS],
    pub(super) relays: [Relay; RELAYS],
    pub(super) cursor: Cursor,
    pub(super) read: Set,
    pub(super) plans: u8,
    pub(super) crashes: u8,
    pub(super) aborts: u8,
    pub(super) truncations: u8,
    /// By row id, the rows that its writer could see when it took the id.
    pub(super) before: [Set; 8],
    /// Rows in the old segment.
    pub(super) old: Set,
    /// A variant has found the old segment done with.
    pub(super) checked: bool,
    pub(super) watched: Option<Watched>,
    pub(super) fault: Option<Fault>,
}

/// A relay between two plans.
pub(super) const IDLE: Relay = Relay {
    stage: Stage::Idle,
    xid: 0,
    tick: Tick { snap: Snapshot { xmax: 0, xip: 0 }, max: 0, pos: 0 },
    idle: 0,
    after: Cursor::EMPTY,
    rows: 0,
};

impl Writer {
    pub(super) fn begin(&mut self, db: &mut Postgres, open: bool) {
        self.xid = db.assign_xid();
        self.phase = if open { Phase::Open } else { Phase::Begun };
    }
}

impl State {
    pub(super) fn begin_plan(&mut self, r: usize, stage: Stage) {
        self.plans -= 1;
        self.relays[r] = Relay { stage, xid: self.db.assign_xid(), ..IDLE };
    }

    pub(super) fn take_id(&mut self, w: usize, order: bool) {
        let id = self.db.next_id();
        self.writers[w].id = id;
        if order {
            self.before[usize::from(id)] = self.db.committed_rows();
        }
    }

    pub(super) fn insert(&mut self, w: usize, old: bool) {
        let writer = &mut self.writers[w];
        self.db.insert(writer.id, writer.xid);
        self.old |= if old { bit(writer.id) } else { 0 };
        writer.done += 1;
        writer.id = 0;
    }

    pub(super) fn end(&mut self, w: usize, commits: bool) {
        self.db.finish(self.writers[w].xid, commits);
        self.writers[w].phase = Phase::Ended;
        self.writers[w].id = 0;
    }

    /// The open transactions that hold no lock on the log.
    pub(super) fn idle(&self) -> Set {
        self.writers.iter().filter(|w| w.phase == Phase::Begun).fold(0, |set, w| set | bit(w.xid))
    }

    /// The committed rows that a snapshot sees, truncated or not.
    pub(super) fn visible(&self, snap: Snapshot) -> Set {
        self.db.select(self.db.committed_rows(), |_, xid| snap.sees(xid))
    }

    /// Rows that a reader misses which leaves out the old segment once it was emptied.
    pub(super) fn unread_by_segment(&self) -> Set {
        if self.db.truncated == 0 { 0 } else { self.old }
    }

    pub(super) fn in_order(&self, rows: Set) -> bool {
        numbers(rows).all(|id| self.before[usize::from(id)] & !(self.read | rows & below(id)) == 0)
    }
}
