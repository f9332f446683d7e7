//! A row's way forward, for as long as the queue is open: catch up with the ledger, then plan and publish.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::encode::{Parcel, encode};
use super::hint::Kind;
use super::lane::{Lane, Left};
use super::open::Standing;
use super::publish::{self, Published};
use super::route::Route;
use super::window::Window;
use crate::batch::Marker;
use crate::broker::Link;
use crate::failpoint;
use crate::fault::Fault;
use crate::pg::{Plan, PlanRequest};
use crate::telemetry::metrics::QueueState;

/// An open queue.
pub(crate) struct Forward<'a> {
    lane: &'a mut Lane,
    route: &'a Route,
    link: &'a Link,
    /// What Redis has confirmed.
    marker: Marker,
    /// The newest ledger number that this relay knows; above the marker's position while a batch is under way.
    last: i64,
    window: Window,
    /// How many rows this server takes in one batch.
    most_rows: u32,
    /// When the last plan was asked for: of rows, a hint that was asked for earlier does not count.
    planned_at: Instant,
    /// When `last` was true: of the ledger, a hint that was asked for earlier does not count.
    last_at: Instant,
    /// Plan again without waiting for a hint.
    again: Option<Kind>,
    /// Plan the log again at that time, because rows keep coming.
    paced: Option<Instant>,
    /// How many plans in a row that were made for this reason found nothing.
    missed: u32,
    /// What was planned last, so that neither the log nor the held rows starve the other.
    turn: Kind,
    /// How many plans in a row found nothing.
    fruitless: u32,
}

/// After so many plans in a row that found nothing although there is something (an application holds a row that is due),
/// the wake loop need not look every few milliseconds.
const FRUITLESS: u32 = 20;

/// While rows keep coming, how long after the last plan the next one is made, at the least. Shorter would find the same
/// rows in more plans, and a plan takes as much of Postgres as some hundred rows.
const PACE: Duration = Duration::from_millis(1);

/// So many plans in a row that found nothing, each after twice the time of the one before, and the wake loop looks again.
const MISSES: u32 = 3;

/// What came of a plan.
enum Outcome {
    /// A batch, encoded; and whether to plan again without waiting for a hint.
    Parcel(Parcel, bool),
    /// Nothing to plan, or not now.
    Nothing,
    /// Another relay opened the queue, or an operator paused it.
    Left,
}

/// A plan and when it was asked for.
struct Planned {
    kind: Kind,
    asked: Instant,
    /// How long Postgres took.
    took: Duration,
    outcome: Outcome,
}

impl<'a> Forward<'a> {
    pub(crate) fn new(lane: &'a mut Lane, route: &'a Route, link: &'a Link, standing: &Standing) -> Self {
        Self {
            window: Window::new(route),
            most_rows: standing.most_rows,
            lane,
            route,
            link,
            marker: standing.marker,
            last: standing.ledger.newest,
            planned_at: Instant::now(),
            last_at: Instant::now(),
            again: Some(Kind::Log),
            paced: None,
            missed: 0,
            turn: Kind::Ids,
            fruitless: 0,
        }
    }

    /// Runs until the queue must be left.
    pub(crate) async fn run(mut self, standing: &Standing) -> Result<Left, Fault> {
        self.window.look(self.route, self.link).await?;
        if let Some(left) = self.catch_up(standing).await? {
            return Ok(left);
        }
        let mut ready: Option<Parcel> = None;
        loop {
            if ready.is_none() {
                if let Some(left) = self.leaving() {
                    return Ok(left);
                }
                if self.next().is_none() {
                    self.rest().await?;
                    continue;
                }
            }
            let kind = if self.stopping() { None } else { self.next() };
            let room = self.room(ready.as_ref().map_or(0, |parcel| parcel.pushes.len()));
            if ready.is_none() && room == 0 {
                self.wait_for_room().await?;
                continue;
            }
            let parcel = ready.take();
            let kind = kind.filter(|_| room > 0);
            // Both at once; the order in Redis is kept, because a batch waits here until the one before has arrived.
            let (planned, published) = tokio::join!(self.plan(kind, room), self.publish(parcel.as_ref()));
            if let Some(published) = published? {
                self.arrived(&published);
            }
            let Some(planned) = planned? else { continue };
            self.planned_at = planned.asked;
            self.last_at = Instant::now();
            self.turn = planned.kind;
            self.pace(&planned);
            match planned.outcome {
                Outcome::Parcel(parcel, again) => {
                    self.last = parcel.batch;
                    self.fruitless = 0;
                    self.lane.post.set_stuck(false);
                    self.again = again.then_some(planned.kind);
                    self.lane.post.set_streaming(again);
                    ready = Some(parcel);
                }
                Outcome::Nothing => {
                    self.again = None;
                    self.lane.post.set_streaming(false);
                    self.fruitless += 1;
                    self.lane.post.set_stuck(self.fruitless >= FRUITLESS);
                }
                Outcome::Left => return Ok(Left::Gone),
            }
        }
    }

    /// Sends again what the ledger holds above the trusted position, in order.
    async fn catch_up(&mut self, standing: &Standing) -> Result<Option<Left>, Fault> {
        let ledger = &standing.ledger;
        if ledger.done > self.marker.position {
            let published = publish::pass(self.route, self.link, self.marker, ledger.done).await?;
            self.arrived(&published);
        }
        let shared = self.lane.shared.clone();
        let queue = self.route.settings.queue.as_str();
        for batch in ledger.done + 1..=ledger.newest {
            if let Some(left) = self.leaving() {
                return Ok(Some(left));
            }
            let rows = shared.outbox.read(queue, batch).await?.ok_or_else(|| {
                Fault::retry("postgres_ledger", format!("queue {queue:?}: the ledger has no batch {batch} any more"))
            })?;
            let parcel = encode(&self.route.format, &rows);
            while self.is_tight() || !self.window.fits(parcel.pushes.len()) {
                self.wait_for_room().await?;
                if let Some(left) = self.leaving() {
                    return Ok(Some(left));
                }
            }
            let published = publish::publish(&shared, self.route, self.link, self.marker, &parcel).await?;
            shared.metrics.replayed(queue, published.rows);
            if let Some(hold) = self.lane.post.hold() {
                hold.replayed.fetch_add(published.rows, Ordering::Relaxed);
            }
            self.arrived(&published);
        }
        if ledger.newest > ledger.done {
            tracing::info!(event = "queue.caught_up", queue, from = ledger.done, to = ledger.newest);
        }
        Ok(None)
    }

    /// After a plan: when the log is planned again without a hint, if at all.
    fn pace(&mut self, planned: &Planned) {
        let found = matches!(&planned.outcome, Outcome::Parcel(parcel, _) if !parcel.pushes.is_empty());
        if planned.kind == Kind::Ids || !(found || self.paced.is_some()) {
            return;
        }
        self.missed = if found { 0 } else { self.missed + 1 };
        // No more than half of the time, however slow the server: the cores are the application's.
        let pause = PACE.max(planned.took * 2) * (1 << self.missed);
        self.paced = (self.missed < MISSES).then(|| planned.asked + pause);
        self.lane.post.set_paced(self.paced.is_some());
    }

    /// What to plan next, if there is a reason.
    fn next(&self) -> Option<Kind> {
        let hint = self.lane.hints.borrow();
        let due = hint.due_asked > self.planned_at && hint.due.is_some_and(|at| at <= Instant::now());
        let due = due || self.again == Some(Kind::Ids);
        let log = self.again == Some(Kind::Log)
            || (hint.asked > self.planned_at && hint.rows)
            || self.paced.is_some_and(|at| at <= Instant::now());
        match (log, due) {
            (true, true) => Some(if self.turn == Kind::Log { Kind::Ids } else { Kind::Log }),
            (true, false) => Some(Kind::Log),
            (false, true) => Some(Kind::Ids),
            (false, false) => None,
        }
    }

    fn stopping(&self) -> bool {
        self.lane.shared.stop.is_cancelled()
    }

    fn leaving(&self) -> Option<Left> {
        if self.stopping() {
            Some(Left::Stopping)
        } else if self.route.is_stale(&self.lane.shared.config()) {
            Some(Left::Changed)
        } else {
            None
        }
    }

    /// Waits for a hint, the time of the next plan, a doubt about Redis, another configuration or the end.
    async fn rest(&mut self) -> Result<(), Fault> {
        self.lane.says(QueueState::Open);
        let paced = self.paced;
        let lane = &mut *self.lane;
        tokio::select! {
            () = async {
                match paced {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            } => {}
            changed = lane.hints.changed() => {
                if changed.is_err() {
                    return Err(Fault::retry("stopping", "the wake loop has ended"));
                }
                let hint = lane.hints.borrow_and_update().clone();
                // Postgres may have gone back, and another relay may have used the same numbers again: then marker and
                // newest number look right, and only the tenure's holder does not.
                let known = hint.owner == lane.shared.id && hint.newest == Some(self.last);
                if hint.due_asked > self.last_at && !known {
                    return Err(doubt(self.route, "Postgres does not stand where this relay left it"));
                }
                if hint.paused {
                    // The plan says so too; asking it makes the queue leave in one place only.
                    self.again = Some(Kind::Log);
                }
            }
            () = lane.post.doubt.notified() => {
                return Err(doubt(self.route, "its marker is not where it was left"));
            }
            _ = lane.config.changed() => {}
            () = lane.shared.stop.cancelled() => {}
        }
        Ok(())
    }

    /// How many messages may be planned while `under_way` are.
    fn room(&self, under_way: usize) -> u64 {
        if self.is_tight() { 0 } else { self.window.room(under_way) }
    }

    /// Whether the server is about to run out of memory.
    fn is_tight(&self) -> bool {
        self.lane.shared.targets.is_tight(&self.route.settings.redis)
    }

    async fn wait_for_room(&mut self) -> Result<(), Fault> {
        self.lane.says(QueueState::Full);
        let pause = self.window.pause();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.lane.post.doubt.notified() => {
                return Err(doubt(self.route, "its marker is not where it was left"));
            }
            () = self.lane.shared.stop.cancelled() => return Ok(()),
        }
        self.window.look(self.route, self.link).await?;
        self.lane.shared.metrics.queue_depth(&self.lane.queue, self.window.depth());
        if self.room(0) > 0 {
            self.lane.says(QueueState::Open);
        }
        Ok(())
    }

    /// Plans one batch and encodes it.
    async fn plan(&self, kind: Option<Kind>, room: u64) -> Result<Option<Planned>, Fault> {
        let Some(kind) = kind else { return Ok(None) };
        let shared = &self.lane.shared;
        let settings = shared.config().relay.clone();
        let max_rows = i32::try_from(room.min(u64::from(settings.batch_size.min(self.most_rows)))).unwrap_or(i32::MAX);
        let ask = PlanRequest {
            queue: &self.lane.queue,
            tenure: self.marker.tenure,
            last: self.last,
            kind: kind.name(),
            relay: &shared.id,
            max_rows,
            max_bytes: i64::try_from(settings.batch_bytes.bytes()).unwrap_or(i64::MAX),
        };
        let asked = Instant::now();
        failpoint::hit("plan.before");
        let plan = shared.outbox.plan(ask).await?;
        let took = asked.elapsed();
        shared.metrics.planned(took);
        failpoint::hit("plan.committed");
        let outcome = match plan {
            Plan::Batch { rows, more } => {
                shared.metrics.batch_rows(rows.len());
                // A tick that filled half a batch is over, but its queue is not quiet.
                let again = more || rows.header.rows > max_rows / 2;
                Outcome::Parcel(encode(&self.route.format, &rows), again)
            }
            Plan::Idle | Plan::Busy => Outcome::Nothing,
            Plan::Paused => self.left("it is paused"),
            Plan::Open => self.left("another relay has opened it"),
        };
        Ok(Some(Planned { kind, asked, took, outcome }))
    }

    fn left(&self, reason: &str) -> Outcome {
        tracing::info!(event = "queue.left", queue = self.lane.queue, reason);
        Outcome::Left
    }

    async fn publish(&self, parcel: Option<&Parcel>) -> Result<Option<Published>, Fault> {
        let Some(parcel) = parcel else { return Ok(None) };
        publish::publish(&self.lane.shared, self.route, self.link, self.marker, parcel).await.map(Some)
    }

    fn arrived(&mut self, published: &Published) {
        self.marker = published.marker;
        if let Some(hold) = self.lane.post.hold() {
            hold.push(published.marker.position, published.rows);
        }
        self.lane.post.set_marker(Some(published.marker));
        self.window.saw(published.depth, published.rows);
        self.lane.shared.metrics.queue_depth(&self.lane.queue, self.window.depth());
    }
}

fn doubt(route: &Route, what: &str) -> Fault {
    Fault::retry("marker_doubt", format!("queue {:?} on {}: {what}", route.settings.queue, route.destination))
}
