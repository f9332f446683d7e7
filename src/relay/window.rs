//! How many messages may stand in Redis for one queue. The rest waits in Postgres, where it is safe.
//!
//! The window bounds what a loss costs, what Redis holds in memory, and what looking at a queue costs. The depth of
//! lists comes back with every publication; a stream's is counted up and asked for when the window seems full.

use std::time::Duration;

use super::backoff::Backoff;
use super::route::Route;
use super::shared::of_redis;
use crate::batch::KeyKind;
use crate::broker::{self, Link};
use crate::fault::Fault;

/// The window of one open queue.
pub(crate) struct Window {
    limit: u64,
    streams: bool,
    depth: u64,
    /// Once full, it stays so until a quarter is free: a slow consumer must not make batches of one row.
    full: bool,
    pace: Backoff,
}

impl Window {
    /// By the queue's settings; a limit of 0 is none.
    pub(crate) fn new(route: &Route) -> Self {
        let limit = route.settings.window;
        Self {
            limit: if limit == 0 { u64::MAX } else { limit },
            streams: route.format.keys().iter().any(|key| key.kind == KeyKind::Stream),
            depth: 0,
            full: false,
            pace: Backoff::new(Duration::from_millis(5), Duration::from_millis(250)),
        }
    }

    /// How many messages may be planned while `under_way` are.
    pub(crate) fn room(&self, under_way: usize) -> u64 {
        if self.full {
            return 0;
        }
        let under_way = u64::try_from(under_way).unwrap_or(u64::MAX);
        self.limit.saturating_sub(self.depth).saturating_sub(under_way)
    }

    /// Whether a batch that was planned before may be sent now: whole, as it is in the ledger. One that is larger than
    /// the window waits until nothing stands in Redis.
    pub(crate) fn fits(&self, rows: usize) -> bool {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.depth == 0 || self.room(0) >= rows
    }

    /// The depth as it was known last.
    pub(crate) fn depth(&self) -> u64 {
        self.depth
    }

    /// How long to wait before looking again.
    pub(crate) fn pause(&mut self) -> Duration {
        self.pace.step()
    }

    /// A publication brought `rows` messages and found `depth` in the lists.
    pub(crate) fn saw(&mut self, depth: Option<u64>, rows: u64) {
        match depth {
            Some(depth) if !self.streams => self.depth = depth,
            Some(_) => self.depth = self.depth.saturating_add(rows),
            None => {}
        }
        self.full = self.depth >= self.limit;
    }

    /// Asks Redis.
    pub(crate) async fn look(&mut self, route: &Route, link: &Link) -> Result<(), Fault> {
        if self.limit == u64::MAX {
            return Ok(());
        }
        let before = self.depth;
        self.depth = of_redis(broker::depth(link, route.format.keys(), self.limit).await)?;
        if self.depth < before {
            self.pace.reset();
        }
        self.full = self.depth >= if self.full { self.limit - self.limit / 4 } else { self.limit };
        Ok(())
    }
}

/// Whether the relay that holds a queue may be waiting for room, asked before the queue is taken from it: its window was
/// full and is not yet a quarter free, or the next batch of `batch` rows does not fit.
pub(crate) async fn may_wait(route: &Route, link: &Link, batch: u32) -> Result<bool, Fault> {
    let mut window = Window { full: true, ..Window::new(route) };
    window.look(route, link).await?;
    Ok(window.limit < u64::MAX && (window.full || !window.fits(usize::try_from(batch).unwrap_or(usize::MAX))))
}
