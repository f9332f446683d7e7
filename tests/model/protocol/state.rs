//! What a state consists of: Postgres, two Redis nodes, the workers, commands under way, two relays, and what is counted.

use outboxd::batch;
use outboxd::relay::rules::{Checkpoint, Known};
use uuid::Uuid;

/// A set of rows, one bit each.
pub(super) type Rows = u8;

/// Ledger entries at most, the empty one before the first included.
pub(super) const BATCHES: usize = 14;
/// Tenures that anybody can still refer to, at most.
pub(super) const TENURES: usize = 7;
/// Commands under way at most, abandoned ones included.
pub(super) const FLIGHT: usize = 2;
/// The cap of the current tenure.
pub(super) const OPEN: u8 = u8::MAX;

/// Names of incarnations, for rules that take text.
const NAMES: [&str; 16] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];

/// The name of an incarnation.
pub(super) fn name(incarnation: u8) -> &'static str {
    NAMES[usize::from(incarnation)]
}

/// `tenure:position`. Tenure 0: missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Marker {
    pub(super) tenure: u8,
    pub(super) position: u8,
}

/// A tenure's token as the product writes it.
pub(super) fn token(tenure: u8) -> Uuid {
    Uuid::from_u128(0xabcd_ef00_0000_4000_8000_0000_0000_0000 + u128::from(tenure))
}

impl Marker {
    /// As the product has it.
    pub(super) fn real(self) -> Option<batch::Marker> {
        (self.tenure != 0).then(|| batch::Marker { tenure: token(self.tenure), position: self.position.into() })
    }

    /// The bytes that stand in Redis.
    pub(super) fn bytes(self) -> Option<Vec<u8>> {
        self.real().map(|marker| marker.to_string().into_bytes())
    }
}

/// A line of `outbox_tenure`. Token 0: no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Tenure {
    pub(super) token: u8,
    pub(super) incarnation: u8,
    pub(super) cap: u8,
    pub(super) base: u8,
    pub(super) certified: bool,
    /// The counter of evictions that its evidence starts from.
    pub(super) evidence: u8,
    /// The newest ledger number when it was inserted.
    pub(super) opened_at: u8,
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Postgres {
    /// Committed rows.
    pub(super) rows: Rows,
    /// The ledger, the first batch at 1.
    pub(super) entries: [Rows; BATCHES],
    pub(super) newest: u8,
    /// Held rows without a batch: planned once more, at the end.
    pub(super) scheduled: Rows,
    pub(super) tenures: [Tenure; TENURES],
    /// The newest checkpoint.
    pub(super) consumed: u8,
    pub(super) outstanding: Rows,
}

/// The rows of a set.
pub(super) fn each(rows: Rows) -> impl Iterator<Item = Rows> {
    (0..8).map(|bit| 1 << bit).filter(move |row| rows & row != 0)
}

impl Postgres {
    /// The queue's current tenure; token 0 if it was never opened.
    pub(super) fn current(&self) -> Tenure {
        self.tenures.into_iter().find(|tenure| tenure.token != 0 && tenure.cap == OPEN).unwrap_or_default()
    }

    /// The line of the current tenure, to change it.
    pub(super) fn current_mut(&mut self) -> Option<&mut Tenure> {
        self.tenures.iter_mut().find(|tenure| tenure.token != 0 && tenure.cap == OPEN)
    }

    pub(super) fn tenure(&self, token: u8) -> Option<Tenure> {
        self.tenures.into_iter().find(|tenure| token != 0 && tenure.token == token)
    }

    /// Closes the current tenure and inserts another.
    pub(super) fn succeed(&mut self, tenure: Tenure) {
        let newest = self.newest;
        if let Some(last) = self.current_mut() {
            last.cap = newest;
        }
        let free = self.tenures.iter_mut().find(|line| line.token == 0).unwrap();
        *free = tenure;
    }

    /// Committed rows that no batch names.
    pub(super) fn unplanned(&self) -> Rows {
        self.rows & !self.entries.into_iter().fold(0, |all, rows| all | rows)
    }

    /// The newest batch of a row; `None` if it waits to be planned, for the first time or again.
    pub(super) fn batch_of(&self, row: Rows) -> Option<i64> {
        let batch = self.entries.iter().rposition(|rows| rows & row != 0)?;
        (self.scheduled & row == 0).then(|| i64::try_from(batch).unwrap())
    }

    /// What an opening reads of a tenure.
    pub(super) fn known(&self, token: u8) -> Option<Known<'static>> {
        self.tenure(token).map(|tenure| Known {
            cap: (tenure.cap != OPEN).then(|| tenure.cap.into()),
            incarnation: name(tenure.incarnation),
            base: tenure.base.into(),
            certified: tenure.certified,
        })
    }

    /// The newest checkpoint. Its number says only whether the relay knew it before it looked.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { number: 1, position: self.consumed.into(), consumed: self.consumed.into() }
    }
}

/// One Redis dataset in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Node {
    pub(super) incarnation: u8,
    pub(super) marker: Marker,
    /// In the list.
    pub(super) queued: Rows,
    /// Handed out and not acknowledged (Celery; for other formats this is the same place as the list).
    pub(super) unacked: Rows,
    /// A counter of this incarnation: messages vanished that nobody took.
    pub(super) evidence: u8,
}

impl Node {
    /// What a snapshot finds.
    pub(super) fn present(self) -> Rows {
        self.queued | self.unacked
    }
}

/// A script on its way to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) enum Command {
    #[default]
    None,
    Open {
        expected: Marker,
        new: Marker,
    },
    Append {
        tenure: u8,
        from: u8,
        to: u8,
        rows: Rows,
    },
}

/// A command, and the relay that still waits for its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Sent {
    pub(super) command: Command,
    pub(super) waits: Option<u8>,
}

/// What a relay does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) enum Stage {
    /// Knows nothing: just started, or something uncertain happened.
    #[default]
    Closed,
    /// Has looked. `fresh`: no checkpoint was written since.
    Observed { marker: Marker, incarnation: u8, evidence: u8, fresh: bool },
    /// Has inserted its tenure.
    Inserted { expected: Marker },
    /// Waits for the answer to OPEN.
    Opening,
    /// Plans, publishes, looks.
    Live,
}

/// An atomic look at Redis, on its way to Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Look {
    pub(super) marker: Marker,
    pub(super) incarnation: u8,
    pub(super) evidence: u8,
    pub(super) present: Rows,
    /// Rows between list and `unacked` at that moment: what nobody can see.
    pub(super) holes: Rows,
    /// Whether the window had been open for the time of grace.
    pub(super) aged: bool,
    /// False between the two halves of a look that is not atomic.
    pub(super) whole: bool,
}

/// What Celery's absences are counted by: a first snapshot, and what was present in any since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Window {
    pub(super) consumed: u8,
    pub(super) outstanding: Rows,
    /// Rows that were in a hole at the first snapshot and still are: the time of grace is longer than that.
    pub(super) holes: Rows,
}

/// One relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Relay {
    pub(super) stage: Stage,
    pub(super) tenure: u8,
    pub(super) incarnation: u8,
    /// Acknowledged, and sent.
    pub(super) position: u8,
    pub(super) sent: u8,
    /// Batches up to here are passed without messages.
    pub(super) done: u8,
    /// The newest ledger number that it saw.
    pub(super) last_seen: u8,
    pub(super) look: Option<Look>,
    pub(super) window: Option<Window>,
    /// Rows that it still has to schedule (only in a wrong variant).
    pub(super) owes: Rows,
}

/// One state of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "flags of what has happened, each by itself")]
pub(super) struct State {
    pub(super) db: Postgres,
    /// Earlier states of it, while it may still go back.
    pub(super) past: Vec<Postgres>,
    /// How many of those a crash does not lead back to: they are flushed over.
    pub(super) flushed: usize,
    /// The node that everybody is led to, and the other one.
    pub(super) nodes: [Node; 2],
    /// Popped from the list by a Celery worker that has not stored it in `unacked` yet.
    pub(super) hole: Rows,
    pub(super) flight: [Sent; FLIGHT],
    pub(super) relays: [Relay; 2],
    /// How many more of each.
    pub(super) left: super::Bounds,
    /// Never used again, whatever Postgres forgets.
    pub(super) tokens: u8,
    pub(super) incarnations: u8,
    pub(super) rows: u8,
    /// Rows that a worker has done.
    pub(super) processed: Rows,
    /// Rows that were ever pushed.
    pub(super) pushed: Rows,
    /// Rows that a checkpoint ever called consumed.
    pub(super) recorded: Rows,
    /// Redis or Postgres lost something.
    pub(super) lossy: bool,
    pub(super) restarted: bool,
    pub(super) switched: bool,
    pub(super) twice: bool,
    /// What has happened, in searches that ask for it.
    pub(super) witness: u16,
}

impl State {
    pub(super) fn new(left: super::Bounds) -> Self {
        Self {
            db: Postgres::default(),
            past: Vec::new(),
            flushed: 0,
            nodes: [Node::default(), Node { incarnation: 1, ..Node::default() }],
            hole: 0,
            flight: [Sent::default(); FLIGHT],
            relays: [Relay::default(); 2],
            left,
            tokens: 0,
            incarnations: 1,
            rows: 0,
            processed: 0,
            pushed: 0,
            recorded: 0,
            lossy: false,
            restarted: false,
            switched: false,
            twice: false,
            witness: 0,
        }
    }

    /// Before every commit: what Postgres may go back to.
    pub(super) fn commit(&mut self, flushes: bool, change: impl FnOnce(&mut Postgres)) {
        let before = self.db;
        change(&mut self.db);
        if self.left.crashes > 0 || self.left.restores > 0 {
            self.past.push(before);
        }
        if flushes {
            self.flushed = self.past.len();
        }
    }

    /// Every relay but this one has looked before the newest checkpoint.
    pub(super) fn outdate(&mut self, but: Option<usize>) {
        for (r, relay) in self.relays.iter_mut().enumerate() {
            if let Stage::Observed { fresh, .. } = &mut relay.stage {
                *fresh &= but == Some(r);
            }
        }
    }

    /// Puts a command under way, if there is room.
    pub(super) fn send(&mut self, sent: Sent) -> Option<()> {
        let free = self.flight.iter_mut().find(|place| place.command == Command::None)?;
        *free = sent;
        Some(())
    }

    /// Forgets everything that a relay knew; its commands stay under way.
    pub(super) fn close(&mut self, r: usize) {
        self.relays[r] = Relay::default();
        for sent in &mut self.flight {
            sent.waits = sent.waits.filter(|relay| usize::from(*relay) != r);
        }
    }

    /// One form for states that differ in nothing that matters: the order of commands, which relay is which, tenures
    /// that nobody can meet any more, the past that nobody can go back to.
    pub(super) fn tidy(&mut self) {
        if self.relays[0] < self.relays[1] {
            self.relays.swap(0, 1);
            for sent in &mut self.flight {
                sent.waits = sent.waits.map(|relay| 1 - relay);
            }
        }
        self.flight.sort_unstable();
        if self.left.restores == 0 {
            self.past.drain(..self.flushed);
            self.flushed = 0;
        }
        if self.left.crashes == 0 && self.left.restores == 0 {
            self.past.clear();
        }
        if self.lossy && self.witness == 0 {
            (self.pushed, self.recorded) = (0, 0);
        }
        let met = self.tokens_met();
        for db in self.past.iter_mut().chain([&mut self.db]) {
            for line in &mut db.tenures {
                if line.cap != OPEN && met & (1 << line.token) == 0 {
                    *line = Tenure::default();
                }
            }
            db.tenures.sort_unstable_by_key(|line| std::cmp::Reverse(line.token));
        }
    }

    /// The tokens that stand anywhere outside Postgres.
    fn tokens_met(&self) -> u64 {
        let mut met = 0_u64;
        let mut mark = |token: u8| met |= 1 << token;
        self.nodes.iter().for_each(|node| mark(node.marker.tenure));
        for sent in &self.flight {
            match sent.command {
                Command::Open { expected, new } => [expected, new].iter().for_each(|marker| mark(marker.tenure)),
                Command::Append { tenure, .. } => mark(tenure),
                Command::None => {}
            }
        }
        for relay in &self.relays {
            mark(relay.tenure);
            match relay.stage {
                Stage::Observed { marker, .. } | Stage::Inserted { expected: marker } => mark(marker.tenure),
                Stage::Closed | Stage::Opening | Stage::Live => {}
            }
        }
        met
    }
}
