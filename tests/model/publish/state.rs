//! What a state of the protocol consists of: the write-ahead log, two Redis nodes, commands under way, two relays.

/// A set of rows, one bit each.
pub(super) type Rows = u8;

/// Events in the write-ahead log at most.
pub(super) const WAL: usize = 12;
/// Commands under way at most, abandoned ones included.
pub(super) const FLIGHT: usize = 3;
/// Ledger entries that a relay has in mind at most; numbers start at 1.
pub(super) const ENTRIES: usize = 5;

/// What Postgres wrote, in the order of the log. Everything else about it follows from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    Nothing,
    /// A business transaction committed this row. Flushed.
    Row(u8),
    /// A plan committed the next ledger entry. Not flushed.
    Entry(Rows),
    /// A relay inserted its tenure and closed the older ones. Flushed.
    Tenure(u8),
}

/// The server's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Postgres {
    events: [Event; WAL],
    len: usize,
    /// Events below this survive a crash.
    flushed: usize,
}

impl Postgres {
    /// Empty.
    pub(super) fn new() -> Self {
        Self { events: [Event::Nothing; WAL], len: 0, flushed: 0 }
    }

    /// Commits.
    pub(super) fn write(&mut self, event: Event, flushes: bool) {
        self.events[self.len] = event;
        self.len += 1;
        if flushes {
            self.flushed = self.len;
        }
    }

    /// Every shorter log that a crash may leave behind; with `restored`, also without events that had been flushed.
    pub(super) fn after_loss(self, restored: bool) -> impl Iterator<Item = Self> {
        let least = if restored { 0 } else { self.flushed };
        (least..self.len).map(move |len| {
            let mut shorter = self;
            shorter.events[len..].fill(Event::Nothing);
            shorter.len = len;
            shorter.flushed = len;
            shorter
        })
    }

    fn events(&self) -> impl Iterator<Item = Event> {
        self.events.into_iter().take(self.len)
    }

    /// The rows of each ledger entry, the first at 1.
    pub(super) fn entries(&self) -> [Rows; ENTRIES] {
        let mut entries = [0; ENTRIES];
        let planned = self.events().filter_map(|event| if let Event::Entry(rows) = event { Some(rows) } else { None });
        for (place, rows) in entries[1..].iter_mut().zip(planned) {
            *place = rows;
        }
        entries
    }

    /// The newest ledger number, 0 if there is none.
    pub(super) fn newest(&self) -> u8 {
        self.events().map(|event| u8::from(matches!(event, Event::Entry(_)))).sum()
    }

    /// The tenure inserted last, 0 if there is none.
    pub(super) fn current(&self) -> u8 {
        self.events().fold(0, |token, event| if let Event::Tenure(newer) = event { newer } else { token })
    }

    /// The newest ledger number when a tenure was closed, or now if it is the current one. None: unknown tenure.
    pub(super) fn cap(&self, token: u8) -> Option<u8> {
        let (mut known, mut newest) = (false, 0);
        for event in self.events() {
            match event {
                Event::Tenure(other) if known && other != token => return Some(newest),
                Event::Tenure(other) => known |= other == token,
                Event::Entry(_) => newest += 1,
                Event::Row(_) | Event::Nothing => {}
            }
        }
        known.then_some(newest)
    }

    /// Committed rows.
    pub(super) fn rows(&self) -> Rows {
        self.events().fold(0, |rows, event| if let Event::Row(row) = event { rows | 1 << row } else { rows })
    }

    /// Committed rows that no entry names.
    pub(super) fn unplanned(&self) -> Rows {
        self.rows() & !self.entries().into_iter().fold(0, |all, rows| all | rows)
    }
}

/// `tenure:position`. Tenure 0: missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Marker {
    pub(super) tenure: u8,
    pub(super) position: u8,
}

/// One Redis dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Node {
    pub(super) marker: Marker,
    /// Rows that were pushed into this dataset.
    pub(super) holds: Rows,
}

/// A script on its way to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) enum Command {
    #[default]
    None,
    /// Replace the observed marker.
    Open { expected: Marker, new: Marker },
    /// Push these rows and move from `to - 1` to `to`.
    Append { tenure: u8, to: u8, rows: Rows },
}

/// What a script answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Ok,
    Stale,
    Missing,
    Foreign,
    Already,
    Gap,
}

/// A command, and the relay that still waits for its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Sent {
    pub(super) command: Command,
    pub(super) waits: Option<u8>,
}

/// What a relay knows and does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) enum Stage {
    /// Knows nothing: just started, or something uncertain happened.
    #[default]
    Closed,
    /// Has looked at the marker, and what it would trust at that moment.
    Observed { marker: Marker, trusted: u8 },
    /// Has inserted its tenure and knows what it trusts.
    Inserted { expected: Marker },
    /// Waits for the answer to OPEN.
    Opening,
    /// Plans and publishes.
    Live,
}

/// One relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Relay {
    pub(super) stage: Stage,
    pub(super) tenure: u8,
    /// Acknowledged, and sent.
    pub(super) position: u8,
    pub(super) sent: u8,
    /// The newest ledger number that it saw, and the entries above its position.
    pub(super) last_seen: u8,
    pub(super) entries: [Rows; ENTRIES],
}

/// One state of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) db: Postgres,
    /// The node that everybody is led to, and the other one.
    pub(super) nodes: [Node; 2],
    pub(super) flight: [Sent; FLIGHT],
    pub(super) relays: [Relay; 2],
    /// How many more of each.
    pub(super) left: super::Bounds,
    /// Tokens and rows are never used again, whatever Postgres forgets.
    pub(super) tokens: u8,
    pub(super) rows: u8,
    /// Redis or Postgres lost something.
    pub(super) lossy: bool,
    pub(super) switched: bool,
    pub(super) pushed_twice: bool,
    /// The latest answer, if the search looks for one.
    pub(super) reply: Option<Reply>,
}

impl State {
    /// A relay sends a command, if there is room.
    pub(super) fn send(&mut self, r: usize, command: Command) -> bool {
        self.under_way(Sent { command, waits: u8::try_from(r).ok() })
    }

    /// Puts a command under way, if there is room.
    pub(super) fn under_way(&mut self, sent: Sent) -> bool {
        let free = self.flight.iter_mut().find(|place| place.command == Command::None);
        free.map(|place| *place = sent).is_some()
    }

    /// Forgets everything that a relay knew; its commands stay under way.
    pub(super) fn close(&mut self, r: usize) {
        self.relays[r] = Relay::default();
        for sent in &mut self.flight {
            sent.waits = sent.waits.filter(|relay| usize::from(*relay) != r);
        }
    }

    /// A reply reaches its relay.
    pub(super) fn answer(&mut self, r: usize, command: Command, reply: Reply) {
        match (command, reply) {
            (Command::Open { .. }, Reply::Ok) => self.relays[r].stage = Stage::Live,
            (Command::Append { to, .. }, Reply::Ok | Reply::Already) => {
                let relay = &mut self.relays[r];
                relay.position = relay.position.max(to);
            }
            _ => self.close(r),
        }
    }

    /// One form for states that differ in nothing that matters: the order of commands, which relay is which, and
    /// entries that a relay will not send again.
    pub(super) fn tidy(&mut self) {
        for relay in &mut self.relays {
            let known = relay.sent.min(relay.last_seen);
            relay.entries[..=usize::from(known)].fill(Rows::MIN);
        }
        if self.relays[0] < self.relays[1] {
            self.relays.swap(0, 1);
            for sent in &mut self.flight {
                sent.waits = sent.waits.map(|relay| 1 - relay);
            }
        }
        self.flight.sort_unstable();
    }
}
