//! One queue's corridor: plan, encode, publish, in a straight line; and back in through `open` after anything uncertain.
//!
//! A lane is a task of its own with a Redis connection of its own: whatever happens to one queue, another does not
//! notice. While a batch is on its way to Redis the next one is planned; it is never published before the other arrived.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::forward::Forward;
use super::hint::Hint;
use super::open;
use super::refusals::lacks_rights;
use super::route::Route;
use super::shared::{Hold, Post, Shared, of_redis};
use super::window;
use crate::broker::{self, Link, SnapshotAsk};
use crate::config::Config;
use crate::fault::{Fault, Origin};
use crate::telemetry::metrics::QueueState;

use std::sync::Arc;

/// Why a lane left a queue that it had open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The relay stops.
    Stopping,
    /// The configuration of the queue changed: open again by the new one.
    Changed,
    /// Another relay opened it, or an operator paused it: wait until there is a reason to come back.
    Gone,
}

/// One queue's lane.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: String,
    pub(crate) hints: watch::Receiver<Hint>,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) post: Arc<Post>,
    /// Another relay holds the queue, and its window was full when this lane looked.
    pub(crate) full: bool,
}

impl Lane {
    /// Runs until the relay stops.
    pub(crate) async fn run(mut self) {
        let mut pace = Backoff::new(Duration::ZERO, Duration::ZERO);
        let mut refused = Refused::new();
        let mut called = false;
        while called || self.called().await {
            called = false;
            // Known before it is tried: what an operator does meanwhile is news to a lane that stops after all.
            let resumes = self.hints.borrow().resumes;
            self.config.mark_unchanged();
            let served = self.serve(&mut pace).await;
            // What Redis confirmed before it failed says afterwards how much it has lost.
            if !served.as_ref().is_err_and(|fault| fault.reason().origin == Origin::Postgres) {
                self.record().await;
            }
            self.post.set_marker(None);
            self.post.set_hold(None);
            self.post.set_streaming(false);
            self.post.set_paced(false);
            self.post.set_stuck(false);
            match served {
                Ok(Left::Stopping) => break,
                Ok(Left::Changed) => called = true,
                Ok(Left::Gone) => self.news().await,
                // What Postgres refuses it refuses to every queue, and the wake loop says so; this one goes on when it does.
                Err(Fault::Halt(reason)) if reason.origin != Origin::Postgres => {
                    let fault = Fault::Halt(reason);
                    self.halted(&fault, resumes).await;
                    called = !self.shared.stop.is_cancelled();
                }
                Err(fault) => {
                    let pause = if is_refusal(&fault) { refused.pause(Instant::now()) } else { self.pause(&mut pace) };
                    self.wait(&fault, pause).await;
                    // Whoever opened it meanwhile keeps it: two healthy relays must not take turns.
                    called = self.is_ours(&fault).await && !self.shared.stop.is_cancelled();
                    // Nobody hints any more: the queue was forgotten, and opening it would make it anew.
                    called &= self.hints.has_changed().is_ok();
                }
            }
        }
        self.says(QueueState::Idle);
    }

    /// Waits until there is a reason to take the queue; `false` when the relay stops.
    async fn called(&mut self) -> bool {
        // Drawn once per wait, so that two relays that see the same row do not come at the same moment.
        let jitter = 1.0 + fastrand::f64() / 2.0;
        loop {
            if self.shared.stop.is_cancelled() {
                return false;
            }
            let patience = self.shared.config().relay.takeover_after.get().mul_f64(jitter);
            let hint = self.hints.borrow_and_update().clone();
            self.says(if hint.paused { QueueState::Paused } else { QueueState::Idle });
            if hint.calls(&self.shared.id, patience, Instant::now()) {
                return true;
            }
            tokio::select! {
                changed = self.hints.changed() => if changed.is_err() { return false },
                Ok(()) = self.config.changed() => {}
                () = self.shared.stop.cancelled() => return false,
            }
        }
    }

    /// Takes the queue and serves it until it must be left.
    async fn serve(&mut self, pace: &mut Backoff) -> Result<Left, Fault> {
        self.says(QueueState::Opening);
        let route = Route::new(&self.shared, &self.queue)?;
        let target = route.settings.redis.clone();
        let result = self.serve_by(&route, pace).await;
        if let Err(fault) = &result
            && fault.reason().origin == Origin::Redis
        {
            self.shared.targets.failed(&target, fault, &self.shared.metrics);
        }
        result
    }

    async fn serve_by(&mut self, route: &Route, pace: &mut Backoff) -> Result<Left, Fault> {
        let shared = self.shared.clone();
        let link = of_redis(route.target.connect().await)?;
        if self.is_excused(route, &link).await? {
            // As patient as with a row that has just begun to wait.
            tokio::select! {
                () = tokio::time::sleep(shared.config().relay.takeover_after.get()) => {}
                () = shared.stop.cancelled() => {}
            }
            return Ok(Left::Gone);
        }
        let Some(standing) = open::open(&shared, route, &link).await? else {
            return Ok(Left::Gone);
        };
        shared.targets.opened(&route.settings.redis, &standing.incarnation);
        shared.targets.worked(&route.settings.redis, &shared.metrics);
        shared.outbox.stopped(&self.queue, None, &shared.id).await?;
        // A doubt about the tenure before this one is settled.
        let _settled = self.post.doubt.notified().now_or_never();
        self.post.set_marker(Some(standing.marker));
        let ask = SnapshotAsk { spot: route.spot(), format: &route.format, limit: 0 };
        let first = match broker::snapshot(&link, &ask).await {
            Ok(snapshot) => Some(snapshot.facts),
            // Who may not look may publish: what vanishes before the first look is then not noticed.
            Err(Fault::Halt(_)) => None,
            Err(fault) => return Err(fault.of(Origin::Redis)),
        };
        let hold = Hold::new(route.target.clone(), &standing, first);
        self.post.set_hold(Some(Arc::new(hold)));
        self.says(QueueState::Open);
        open::settle(&shared, &standing).await;
        pace.reset();
        Forward::new(self, route, &link, &standing).run(&standing).await
    }

    /// Whether another relay holds the queue and its rows wait for room in the window, not for a relay. Once there is
    /// room, the holder has as long as anyone to use it: the rows have waited longer than that already.
    async fn is_excused(&mut self, route: &Route, link: &Link) -> Result<bool, Fault> {
        let lives = {
            let hint = self.hints.borrow();
            hint.owner != self.shared.id && !hint.owner.is_empty() && !hint.is_free()
        };
        if !lives {
            return Ok(false);
        }
        let was_full = self.full;
        self.full = window::may_wait(route, link, self.shared.config().relay.batch_size).await?;
        Ok(self.full || was_full)
    }

    /// Says what the lane is doing now.
    pub(super) fn says(&self, state: QueueState) {
        self.post.set_state(state);
        self.shared.metrics.state(&self.queue, state);
    }

    /// Says in Postgres how far the queue came before the lane lets go of it.
    async fn record(&self) {
        if let Some(marker) = self.post.marker() {
            // Late is harmless: the next opening reads the marker itself.
            let queue = self.queue.as_str();
            let marked = self.shared.outbox.mark(&[queue], &[marker.tenure], &[marker.position]).await;
            self.shared.chores.ended("record", queue, marked);
        }
    }

    /// Waits for a hint that was asked for from now on: an older one may still call this relay the queue's holder.
    async fn news(&mut self) {
        let asked = Instant::now();
        self.shared.kick.notify_one();
        let fresh = self.hints.wait_for(|hint| hint.due_asked >= asked);
        tokio::select! {
            // Without Postgres there is no answer, and opening waits for it as well.
            _ = tokio::time::timeout(Duration::from_secs(5), fresh) => {}
            () = self.shared.stop.cancelled() => {}
        }
    }

    /// Whether Postgres still calls this relay the queue's holder, or nobody; asked anew if the marker is another's.
    async fn is_ours(&mut self, fault: &Fault) -> bool {
        if is_refusal(fault) {
            self.news().await;
        }
        let owner = self.hints.borrow().owner.clone();
        owner.is_empty() || owner == self.shared.id
    }

    /// How long to wait after a failure, by the configuration of this moment.
    fn pause(&self, pace: &mut Backoff) -> Duration {
        let relay = &self.shared.config().relay;
        pace.within(relay.retry_min.get(), relay.retry_max.get()).step()
    }

    /// The servers or the network are at fault: says so, waits.
    ///
    /// Another configuration may be what mends it.
    async fn wait(&mut self, fault: &Fault, pause: Duration) {
        let reason = fault.reason();
        self.says(QueueState::Waiting);
        self.post.set_why(&reason.message);
        self.shared.metrics.failed(&self.queue, reason.class);
        tracing::info!(event = "queue.retry", queue = self.queue, class = reason.class, reason = %reason.message,
            after_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let back = async {
            match reason.origin {
                Origin::Redis => self.shared.targets.back.notified().await,
                Origin::Postgres => self.shared.back.notified().await,
                Origin::Relay => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = back => {}
            Ok(()) = self.config.changed() => {}
            () = self.shared.stop.cancelled() => {}
        }
    }

    /// Only an operator can mend it: says so, and waits for `queue resume` or another configuration. What came since
    /// the try began counts, `resumes` being how often it had been resumed by then. What is mended at the server, a
    /// right or a password, is tried again by itself, and told once for all queues of a target.
    async fn halted(&mut self, fault: &Fault, resumes: i32) {
        let reason = fault.reason();
        self.says(QueueState::Stopped);
        self.shared.metrics.failed(&self.queue, reason.class);
        let target = self.shared.config().queue(&self.queue).redis;
        if !lacks_rights(fault) {
            tracing::error!(event = "queue.halted", queue = self.queue, class = reason.class, reason = %reason.message,
                next = format!("mend the cause, then run `outboxd queue resume {}`", self.queue));
        } else if self.shared.targets.refusals.is_news(&target, reason.class) {
            tracing::error!(event = "queue.halted", queue = self.queue, redis = target, class = reason.class,
                reason = %reason.message, next = "mend the cause: every queue of this target that stopped for it goes on by \
                itself within some 15 s, or at once by `outboxd queue resume --all`, a reload or a restart");
        } else {
            tracing::debug!(event = "queue.halted", queue = self.queue, class = reason.class, reason = %reason.message);
        }
        // Best effort: the log has it, and this relay does not touch the queue either way.
        let text = format!("{}: {}", reason.class, reason.message);
        if let Err(fault) = self.shared.outbox.stopped(&self.queue, Some(&text), &self.shared.id).await {
            tracing::warn!(event = "queue.halt_unrecorded", queue = self.queue, reason = %fault);
        }
        let shared = self.shared.clone();
        tokio::select! {
            _ = self.hints.wait_for(|hint| hint.resumes != resumes) => shared.targets.refusals.acted(&target),
            Ok(()) = self.config.changed() => shared.targets.refusals.acted(&target),
            () = shared.targets.refusals.mended(&target), if lacks_rights(fault) => {
                tracing::debug!(event = "queue.tried_again", queue = self.queue);
                return;
            }
            () = self.shared.stop.cancelled() => return,
        }
        tracing::info!(event = "queue.resumed", queue = self.queue);
    }
}

/// Whether the marker was not what the lane believed it to be. It says nothing about the health of the server.
fn is_refusal(fault: &Fault) -> bool {
    fault.reason().class.starts_with("marker_")
}

/// How long to wait after a refusal: not at all after the first, longer and longer while they keep coming, as when two
/// copies of one database write to one Redis.
struct Refused {
    last: Option<Instant>,
    pace: Backoff,
}

impl Refused {
    fn new() -> Self {
        Self { last: None, pace: Backoff::new(Duration::from_millis(50), Duration::from_secs(10)) }
    }

    fn pause(&mut self, now: Instant) -> Duration {
        let again =
            self.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) < Duration::from_secs(20));
        if !again {
            self.pace.reset();
            return Duration::ZERO;
        }
        self.pace.step()
    }
}
