//! As much of Postgres as the reader depends on: transaction ids, snapshots, a sequence, and rows nobody else sees
//! before their transaction commits.

/// A set of small numbers (ids of transactions, ids of rows), one bit each.
pub(super) type Set = u16;

/// Transaction and row ids stay below this.
pub(super) const LIMIT: u8 = 16;

/// The set of one number.
pub(super) fn bit(n: u8) -> Set {
    assert!(n < LIMIT, "the model's bounds do not fit its sets");
    1 << n
}

/// The set of all numbers from 0 up to and without `n`.
pub(super) fn below(n: u8) -> Set {
    bit(n) - 1
}

/// The numbers in a set, ascending.
pub(super) fn numbers(set: Set) -> impl Iterator<Item = u8> {
    (0..LIMIT).filter(move |n| set & (1 << n) != 0)
}

/// `pg_current_snapshot()`: what had finished when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Snapshot {
    /// The last *completed* transaction + 1. Whatever runs at or above is not listed.
    pub(super) xmax: u8,
    /// The transactions below `xmax` that were running, without the one that took the snapshot.
    pub(super) xip: Set,
}

impl Snapshot {
    /// `pg_visible_in_snapshot`.
    pub(super) fn sees(self, xid: u8) -> bool {
        xid < self.xmax && self.xip & bit(xid) == 0
    }
}

/// The server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Postgres {
    next_xid: u8,
    latest_completed: u8,
    running: Set,
    committed: Set,
    next_id: u8,
    /// By row id: the transaction that inserted it.
    owner: [u8; LIMIT as usize],
    /// Rows ever inserted, visible or not.
    pub(super) inserted: Set,
    /// Of these, rows that a TRUNCATE took away.
    pub(super) truncated: Set,
}

impl Postgres {
    /// Empty. Ids and transactions count from 1.
    pub(super) fn new() -> Self {
        let owner = [0; LIMIT as usize];
        Self {
            next_xid: 1,
            latest_completed: 0,
            running: 0,
            committed: 0,
            next_id: 1,
            owner,
            inserted: 0,
            truncated: 0,
        }
    }

    /// Gives a transaction its id.
    pub(super) fn assign_xid(&mut self) -> u8 {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.running |= bit(xid);
        xid
    }

    /// Ends a transaction. One that aborted has completed, too.
    pub(super) fn finish(&mut self, xid: u8, commits: bool) {
        self.running &= !bit(xid);
        self.latest_completed = self.latest_completed.max(xid);
        if commits {
            self.committed |= bit(xid);
        }
    }

    /// A snapshot as the transaction `own` takes it.
    pub(super) fn snapshot(&self, own: u8) -> Snapshot {
        let xmax = self.latest_completed + 1;
        Snapshot { xmax, xip: self.running & below(xmax) & !bit(own) }
    }

    /// `nextval`.
    pub(super) fn next_id(&mut self) -> u8 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// `pg_sequence_last_value`: the last id handed out, 0 if none was.
    pub(super) fn last_id(&self) -> u8 {
        self.next_id - 1
    }

    /// Inserts a row.
    pub(super) fn insert(&mut self, id: u8, xid: u8) {
        self.owner[usize::from(id)] = xid;
        self.inserted |= bit(id);
    }

    /// The transaction that inserted a row.
    pub(super) fn owner(&self, id: u8) -> u8 {
        self.owner[usize::from(id)]
    }

    /// Whether a transaction is open.
    pub(super) fn is_running(&self, xid: u8) -> bool {
        self.running & bit(xid) != 0
    }

    /// Every row of a committed transaction, also if it has been truncated since.
    pub(super) fn committed_rows(&self) -> Set {
        self.select(self.inserted, |_, xid| self.committed & bit(xid) != 0)
    }

    /// Those of `rows` that an index scan finds now: committed, in the table, and as the condition says.
    pub(super) fn scan(&self, rows: Set, condition: impl Fn(u8, u8) -> bool) -> Set {
        let there = rows & self.inserted & !self.truncated;
        self.select(there, |id, xid| self.committed & bit(xid) != 0 && condition(id, xid))
    }

    /// Those of `rows` for which the condition on id and transaction holds.
    pub(super) fn select(&self, rows: Set, condition: impl Fn(u8, u8) -> bool) -> Set {
        numbers(rows).filter(|id| condition(*id, self.owner(*id))).fold(0, |set, id| set | bit(id))
    }
}
