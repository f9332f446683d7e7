//! What a cell of the matrix is: a loss, what goes on meanwhile, the relays, the consumer; and which cells are run.

use std::fmt;

use outboxd::sandbox::Persistence;

/// What is done to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    Flushall,
    Flushdb,
    Emptied,
    OlderRdb,
    OlderAof,
    TornAof,
    Promoted,
    Swapdb,
    Deleted,
    Renamed,
    Evicted,
    Marker,
    Replaced,
    // From here on nothing is lost.
    Empty,
    Drained,
    Cut,
    Restarted,
}

/// What goes on at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    Idle,
    Busy,
    Replay,
}

/// Who relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relays {
    Alive,
    Killed,
    Two,
}

/// Who consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consumer {
    /// A real worker.
    Celery,
    /// Moves each message to a processing list, in ways that can be counted.
    List,
    /// A group of a stream.
    Stream,
    /// As `List`, acknowledging in Postgres, in ways that cannot be counted.
    Receipts,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell {
    pub loss: Loss,
    pub load: Load,
    pub relays: Relays,
    pub consumer: Consumer,
}

pub const LOSSES: [Loss; 17] = [
    Loss::Flushall,
    Loss::Flushdb,
    Loss::Emptied,
    Loss::OlderRdb,
    Loss::OlderAof,
    Loss::TornAof,
    Loss::Promoted,
    Loss::Swapdb,
    Loss::Deleted,
    Loss::Renamed,
    Loss::Evicted,
    Loss::Marker,
    Loss::Replaced,
    Loss::Empty,
    Loss::Drained,
    Loss::Cut,
    Loss::Restarted,
];
pub const LOADS: [Load; 3] = [Load::Idle, Load::Busy, Load::Replay];
pub const RELAYS: [Relays; 3] = [Relays::Alive, Relays::Killed, Relays::Two];
/// Those that are confirmed by looking, in the order in which [`chosen`] places them.
pub const OBSERVED: [Consumer; 3] = [Consumer::List, Consumer::Stream, Consumer::Celery];

impl Loss {
    /// Whether nothing is lost: no incident may say otherwise.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Empty | Self::Drained | Self::Cut | Self::Restarted)
    }

    /// Whether the marker stays where it is and the queue's key goes.
    pub fn is_of_a_key(self) -> bool {
        matches!(self, Self::Deleted | Self::Renamed)
    }

    /// What the server writes to disk.
    pub fn persistence(self) -> Persistence {
        match self {
            Self::OlderRdb => Persistence::Rdb,
            Self::OlderAof | Self::TornAof | Self::Restarted => Persistence::AofAlways,
            _ => Persistence::None,
        }
    }

    /// Whether clients come through a proxy.
    pub fn is_of_the_address(self) -> bool {
        matches!(self, Self::Promoted | Self::Replaced | Self::Cut)
    }
}

impl Cell {
    /// Whether what tells the loss apart died with the relay: how far the marker had come since its last checkpoint. The
    /// next one knows that this is another life of the dataset, and counts nothing as consumed until that is settled.
    pub fn is_a_matter_of_doubt(self) -> bool {
        let goes_back = matches!(self.loss, Loss::OlderRdb | Loss::OlderAof | Loss::TornAof | Loss::Promoted);
        goes_back && self.relays == Relays::Killed
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = format!("{:?} {:?} {:?} {:?}", self.loss, self.load, self.relays, self.consumer);
        f.write_str(&words.to_lowercase())
    }
}

/// A selection in which every two values of two factors meet: for each loss one cell per consumer, so placed that these
/// go through all loads and all relays, and begin elsewhere with each loss.
pub fn chosen(consumer: Consumer) -> Vec<Cell> {
    let Some(place) = OBSERVED.iter().position(|other| *other == consumer) else { return of_receipts(false) };
    let cell = |(n, loss): (usize, &Loss)| {
        let load = (place + n / 3) % 3;
        Cell { loss: *loss, load: LOADS[load], relays: RELAYS[(load + n) % 3], consumer }
    };
    LOSSES.iter().enumerate().map(cell).collect()
}

/// Every cell of a consumer.
pub fn all(consumer: Consumer) -> Vec<Cell> {
    if consumer == Consumer::Receipts {
        return of_receipts(true);
    }
    product(&LOSSES, consumer)
}

/// Receipts matter where looking is not believed: keys that go by themselves.
fn of_receipts(all: bool) -> Vec<Cell> {
    let losses = [Loss::Deleted, Loss::Renamed, Loss::Evicted, Loss::Flushall];
    let cells = product(&losses, Consumer::Receipts);
    if all { cells } else { cells.into_iter().step_by(10).collect() }
}

fn product(losses: &[Loss], consumer: Consumer) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &loss in losses {
        for load in LOADS {
            cells.extend(RELAYS.map(|relays| Cell { loss, load, relays, consumer }));
        }
    }
    cells
}

#[test]
fn in_the_selection_every_two_values_meet() {
    let cells: Vec<Cell> = OBSERVED.into_iter().flat_map(chosen).collect();
    for loss in LOSSES {
        let of = || cells.iter().filter(move |cell| cell.loss == loss);
        assert!(LOADS.iter().all(|load| of().any(|cell| cell.load == *load)), "{loss:?}");
        assert!(RELAYS.iter().all(|relays| of().any(|cell| cell.relays == *relays)), "{loss:?}");
        assert!(OBSERVED.iter().all(|consumer| of().any(|cell| cell.consumer == *consumer)), "{loss:?}");
    }
    for consumer in OBSERVED {
        let of = || cells.iter().filter(move |cell| cell.consumer == consumer);
        assert!(LOADS.iter().all(|load| of().any(|cell| cell.load == *load)), "{consumer:?}");
        assert!(RELAYS.iter().all(|relays| of().any(|cell| cell.relays == *relays)), "{consumer:?}");
    }
    for load in LOADS {
        let mut pairs = RELAYS.iter();
        assert!(pairs.all(|relays| cells.iter().any(|cell| (cell.load, cell.relays) == (load, *relays))), "{load:?}");
    }
    let receipts: Vec<Cell> = chosen(Consumer::Receipts);
    let losses: std::collections::HashSet<Loss> = receipts.iter().map(|cell| cell.loss).collect();
    assert!(losses.is_superset(&[Loss::Deleted, Loss::Renamed, Loss::Evicted].into()), "{receipts:?}");
}
