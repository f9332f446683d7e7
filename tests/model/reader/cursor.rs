//! The reader of the log: its cursor, the three ranges of a tick, how a tick ends, and how a batch is read again.
//!
//! [`Rules`] holds the right rules and the wrong ones that look right. Nothing here knows of interleavings.

use super::postgres::{Postgres, Set, Snapshot, below, bit, numbers};

/// How a reader reads. [`RIGHT`] is the one in use; every other value of a field is a variant under test.
#[expect(clippy::struct_excessive_bools, reason = "independent switches, named where they are set")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The lower bound of range B, and what a newly noticed transaction gets as its `after`.
    pub(super) low: Low,
    /// Whether range B is read at all, or only the transactions that were listed as running.
    pub(super) range_b: bool,
    /// Whether range C leaves out what the last tick's snapshot saw.
    pub(super) c_excludes_seen: bool,
    /// Whether A and B are one scan from the lowest of their bounds.
    pub(super) merged: bool,
    /// What becomes of `after`.
    pub(super) after: After,
    /// How the tick's highest id is found.
    pub(super) tip: Tip,
    /// Whether a plan looks one row beyond its batch, so that an exactly full last one ends the tick.
    pub(super) look_ahead: bool,
    /// Whether a plan inside a tick keeps the tick's snapshot, or takes a new one.
    pub(super) keeps_tick: bool,
    /// How a batch is read again.
    pub(super) again: Again,
    /// Whether a plan's transaction gets its xid by locking the queue, or had one before.
    pub(super) xid_by_lock: bool,
    /// Whether producers take the xid before the id.
    pub(super) xid_before_id: bool,
    /// Whether all segments are read, or only those that were not emptied.
    pub(super) all_segments: bool,
    /// How a segment is found to be done with.
    pub(super) truncation: Truncation,
}

/// See [`Rules::low`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Low {
    /// The highest id of the tick before the one before the last.
    Floor,
    /// One tick later.
    PrevTip,
    /// No bound.
    Nothing,
}

/// See [`Rules::after`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// A transaction keeps what it got when it was first noticed.
    Kept,
    /// It gets the present bound at every tick.
    Renewed,
    /// It is remembered for one tick only.
    Forgotten,
    /// What is newly noticed gets the bound after the update instead of the one before.
    NewBound,
    /// As `Kept`, and moved to the tip while the transaction, looked at after the tip, holds no lock on the log.
    Moved,
    /// The same, but the look comes before the tip.
    MovedTooSoon,
}

/// See [`Rules::tip`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tip {
    /// The highest id that the snapshot sees.
    MaxVisible,
    /// The sequence's last value, read after the snapshot was taken.
    Sequence,
    /// The same, but read before.
    SequenceFirst,
    /// `last_value` without `is_called`: on a fresh sequence it names an id that is still to come.
    SequenceAhead,
}

/// See [`Rules::again`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Between the cursors before and after it.
    Bounds,
    /// From the cursor before it, as many rows as it had.
    Limit,
}

/// See [`Rules::truncation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truncation {
    /// Everything unread relative to the cursor, asked under the exclusive lock.
    UnderLock,
    /// The same, asked before the lock.
    BeforeLock,
    /// Only rows above the tip.
    TipOnly,
    /// Without rows of transactions that the snapshot does not list.
    ListedOnly,
}

/// The rules in use. `t_max` is the sequence's last value, as the product reads it.
pub(super) const RIGHT: Rules = Rules {
    low: Low::Floor,
    range_b: true,
    c_excludes_seen: false,
    merged: false,
    after: After::Kept,
    tip: Tip::Sequence,
    look_ahead: true,
    keeps_tick: true,
    again: Again::Bounds,
    xid_by_lock: true,
    xid_before_id: true,
    all_segments: true,
    truncation: Truncation::UnderLock,
};

/// How many running transactions a snapshot of the model can list.
const OPEN: usize = 6;

/// A tick that has begun: what it reads is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tick {
    pub(super) snap: Snapshot,
    pub(super) max: u8,
    /// The last id planned so far.
    pub(super) pos: u8,
}

/// A queue's cursor, as a ledger entry stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cursor {
    /// The snapshot of the last finished tick.
    pub(super) snap: Snapshot,
    pub(super) tip: u8,
    pub(super) prev_tip: u8,
    pub(super) floor: u8,
    /// For each transaction in `snap.xip`, in ascending order: the id after which its rows lie.
    after: [u8; OPEN],
    /// The unfinished tick, if `inside`.
    pub(super) tick: Tick,
    pub(super) inside: bool,
}

impl Cursor {
    /// Nothing.
    pub(super) const EMPTY: Self = {
        let snap = Snapshot { xmax: 0, xip: 0 };
        let tick = Tick { snap, max: 0, pos: 0 };
        Self { snap, tip: 0, prev_tip: 0, floor: 0, after: [0; OPEN], tick, inside: false }
    };

    /// Before anything was read.
    pub(super) fn start() -> Self {
        Self { snap: Snapshot { xmax: 1, xip: 0 }, ..Self::EMPTY }
    }

    fn low(&self, rules: &Rules) -> u8 {
        match rules.low {
            Low::Floor => self.floor,
            Low::PrevTip => self.prev_tip,
            Low::Nothing => 0,
        }
    }

    /// The `after` of a transaction, if `snap` lists it.
    fn after(&self, xid: u8) -> Option<u8> {
        let listed = self.snap.xip & bit(xid) != 0;
        listed.then(|| self.after[(self.snap.xip & below(xid)).count_ones() as usize])
    }

    /// The rows of `tick` beyond its `pos`, range by range; disjoint if the reader is right.
    pub(super) fn ranges(&self, rules: &Rules, tick: Tick, db: &Postgres, readable: Set) -> [Set; 3] {
        let rows = |low: u8, high: u8| readable & !below(low.max(tick.pos) + 1) & below(high.max(low) + 1);
        let finished = self.snap.xip & !tick.snap.xip;
        let (low, xmax) = (self.low(rules), self.snap.xmax);
        let c = db.scan(rows(self.tip, tick.max), |_, xid| {
            tick.snap.sees(xid) && !(rules.c_excludes_seen && self.snap.sees(xid))
        });
        if rules.merged {
            let low = numbers(finished).filter_map(|xid| self.after(xid)).fold(low, u8::min);
            let late = |xid: u8| xid >= xmax || finished & bit(xid) != 0;
            return [db.scan(rows(low, self.tip), |_, xid| late(xid) && tick.snap.sees(xid)), 0, c];
        }
        let a = numbers(finished).filter_map(|x| self.after(x).map(|after| (x, after)));
        let a = a.map(|(x, after)| db.scan(rows(after, self.tip), |_, xid| xid == x)).fold(0, |all, some| all | some);
        let b = db.scan(rows(low, self.tip), |_, xid| xid >= xmax && tick.snap.sees(xid));
        [a, if rules.range_b { b } else { 0 }, c]
    }

    /// The cursor once `tick` is read to its end. `idle`: running transactions that hold no lock on the log.
    pub(super) fn finish(&self, rules: &Rules, tick: Tick, idle: Set) -> Self {
        let mut next = Self { snap: tick.snap, tip: tick.max, prev_tip: self.tip, floor: self.prev_tip, ..Self::EMPTY };
        let bound = if rules.after == After::NewBound { next.low(rules) } else { self.low(rules) };
        if rules.after == After::Forgotten {
            next.snap.xip &= !self.snap.xip;
        }
        for (place, xid) in numbers(next.snap.xip).enumerate() {
            let moves = matches!(rules.after, After::Moved | After::MovedTooSoon) && idle & bit(xid) != 0;
            next.after[place] = match self.after(xid) {
                _ if moves => tick.max,
                Some(after) if rules.after != After::Renewed => after,
                _ => bound,
            };
        }
        next
    }

    /// Plans at most `size` rows of `tick` (0: all): the rows, and the cursor after them.
    pub(super) fn plan(&self, rules: &Rules, tick: Tick, found: Set, size: u32, idle: Set) -> (Set, Self) {
        let count = found.count_ones();
        if size == 0 || count < size || (count == size && rules.look_ahead) {
            return (found, self.finish(rules, tick, idle));
        }
        let last = numbers(found).nth(size as usize - 1).unwrap_or(0);
        (found & below(last + 1), Self { tick: Tick { pos: last, ..tick }, inside: true, ..*self })
    }

    /// The batch between this cursor and `after`, which had `rows` rows, read again.
    pub(super) fn read_again(&self, rules: &Rules, after: &Self, rows: u32, db: &Postgres) -> Set {
        let pos = if self.inside { self.tick.pos } else { 0 };
        let all = |tick: Tick| self.ranges(rules, tick, db, Set::MAX).into_iter().fold(0, |all, some| all | some);
        match rules.again {
            Again::Bounds if after.inside => all(Tick { pos, ..after.tick }) & below(after.tick.pos + 1),
            Again::Bounds => all(Tick { snap: after.snap, max: after.tip, pos }),
            Again::Limit => {
                let found = all(Tick { snap: db.snapshot(0), max: db.last_id(), pos });
                numbers(found).take(rows as usize).fold(0, |set, id| set | bit(id))
            }
        }
    }

    /// Whether a row may be unread, or consumed later than the batch that this cursor ends. Errs on the side of "may".
    pub(super) fn may_need(&self, rules: &Rules, id: u8, xid: u8) -> bool {
        let above = id > self.tip;
        let unlisted = id > self.floor && id <= self.tip && xid >= self.snap.xmax;
        let listed = self.snap.xip & bit(xid) != 0;
        match rules.truncation {
            Truncation::TipOnly => above,
            Truncation::ListedOnly => above || listed,
            Truncation::UnderLock | Truncation::BeforeLock => above || unlisted || listed,
        }
    }
}
