//! When to look for rows: rung by the doorbell, by a timer for held rows, by a poll that backs off.
//!
//! The bell is for latency only. While a relay is awake it polls and nobody rings. After a linger without rows its
//! keeper sets the bell and then, in a later transaction, waits until nobody is left who may have inserted while it
//! still said "awake"; one more look, and it sleeps until somebody rings. What is missed for any reason is found by the
//! fallback poll, which also renews the bell's deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::bell::{Bell, Next, Seen};
use super::hint::{Hint, Stranded};
use super::lane::Lane;
use super::shared::Shared;
use crate::batch::Marker;
use crate::config::Config;
use crate::fault::Fault;
use crate::pg::{Ask, Connector, Delivery, Event, Listener, QueueWork, Work, WorkSession as Session};
use crate::telemetry::metrics::QueueState;
use tokio_util::task::TaskTracker;

/// The wake loop: one per relay.
pub(crate) struct Wake {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) lanes: TaskTracker,
    pub(crate) health: crate::telemetry::health::Health,
    /// The hints that the lanes listen to, by queue.
    pub(crate) hints: Arc<Hints>,
    /// Opens the session that listens; `None`: there is none, and rows wait for the poll.
    pub(crate) listen: Option<Connector>,
    /// Whether the bell may be used on this server.
    pub(crate) bell_allowed: bool,
}

/// The sending side of every lane's hints.
#[derive(Default)]
pub(crate) struct Hints(std::sync::Mutex<HashMap<String, watch::Sender<Hint>>>);

impl Hints {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<Hint>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends the lanes of all other queues: an operator has forgotten them.
    fn keep(&self, known: impl Fn(&str) -> bool) {
        let mut map = self.map();
        if !map.keys().all(|queue| known(queue)) {
            map.retain(|queue, _| known(queue));
        }
    }

    /// Whether a queue has a lane.
    fn knows(&self, queue: &str) -> bool {
        self.map().contains_key(queue)
    }

    /// Every queue's newest hint.
    pub(crate) fn all(&self) -> Vec<(String, Hint)> {
        self.map().iter().map(|(queue, hint)| (queue.clone(), hint.borrow().clone())).collect()
    }

    /// Says that Redis stands behind a queue's ledger with nobody to see to it. A marker that moves is being seen to.
    pub(crate) fn stranded_at(&self, queue: &str, marker: Option<Marker>) {
        self.set_stranded(queue, |known| match known {
            Some(known) if known.marker == marker => Some(known),
            _ => Some(Stranded { since: Instant::now(), marker }),
        });
    }

    /// Says that it does not.
    pub(crate) fn not_stranded(&self, queue: &str) {
        self.set_stranded(queue, |_| None);
    }

    /// Says whether the relay that holds a queue has ceased to look at Redis. Said once in the log.
    pub(crate) fn blind(&self, queue: &str, owner: &str, blind: bool) {
        if let Some(hint) = self.map().get(queue) {
            let news = hint.send_if_modified(|hint| {
                let blind = blind && hint.owner == owner;
                std::mem::replace(&mut hint.blind, blind) != blind && blind
            });
            if news {
                tracing::warn!(
                    event = "queue.unwatched",
                    queue,
                    relay = owner,
                    "the relay that holds the queue does not look at Redis any more; another one takes it"
                );
            }
        }
    }

    fn set_stranded(&self, queue: &str, change: impl FnOnce(Option<Stranded>) -> Option<Stranded>) {
        if let Some(hint) = self.map().get(queue) {
            hint.send_if_modified(|hint| {
                hint.stranded = change(hint.stranded.take());
                hint.stranded.is_some()
            });
        }
    }
}

/// How often the loop says that it lives.
const BEAT: Duration = Duration::from_secs(3);

/// What producers ring on.
const CHANNEL: &str = "outbox";

/// A session that listens, and what it hears.
struct Ears {
    listener: Listener,
    notices: mpsc::Receiver<Event>,
}

impl Wake {
    /// Runs until the relay stops. Postgres going away and coming back is its business.
    pub(crate) async fn run(self) {
        let mut pace = Backoff::new(Duration::ZERO, Duration::ZERO);
        let mut down = false;
        let mut said = None;
        while !self.shared.stop.is_cancelled() {
            let result = self.beating(Box::pin(self.session(&mut down, &mut pace))).await;
            let Err(fault) = result else { break };
            self.shared.metrics.postgres_up(false);
            match &fault {
                Fault::Halt(reason) => self.health.postgres_refuses(&reason.message),
                _ => self.health.postgres(false),
            }
            self.shared.chores.outage(true);
            // The session that listened is gone with the error: nobody rings for this relay.
            self.shared.metrics.listen_connected(false);
            self.shared.metrics.doorbell_armed(false);
            let reason = fault.reason();
            // Said once; and again when what began as an outage turns out to be something that does not pass by itself.
            let news = matches!(fault, Fault::Halt(_)) && said != Some(reason.class);
            if !std::mem::replace(&mut down, true) || news {
                said = Some(reason.class);
                tracing::warn!(event = "postgres.down", class = reason.class, reason = %reason.message,
                    "Postgres cannot be used; the relay tries again");
            }
            let relay = self.shared.config().relay.clone();
            let pause = pace.within(relay.retry_min.get(), relay.retry_max.get()).step();
            let mut config = self.config.clone();
            config.mark_unchanged();
            let waited = async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = config.changed() => {}
                    () = self.shared.stop.cancelled() => {}
                }
            };
            self.beating(waited).await;
        }
    }

    /// Beats for as long as something lasts that is bounded by itself: a sleep, or a question to Postgres. None of them is
    /// a loop that hangs, however long they are configured to be.
    async fn beating<T>(&self, lasting: impl Future<Output = T>) -> T {
        let mut lasting = std::pin::pin!(lasting);
        loop {
            self.beat();
            if let Ok(done) = tokio::time::timeout(BEAT, &mut lasting).await {
                return done;
            }
        }
    }

    fn beat(&self) {
        self.health.beat();
        self.shared.metrics.beat();
    }

    /// From connecting to the loss of the connection.
    async fn session(&self, down: &mut bool, pace: &mut Backoff) -> Result<(), Fault> {
        let mut ears = self.listen().await?;
        self.shared.metrics.listen_connected(ears.is_some());
        super::identity(&self.shared).await?;
        let result = self.watch(&mut ears, down, pace).await;
        if result.is_ok()
            && let Some(ears) = &ears
        {
            // Nobody listens any more: let commits be silent until another relay takes the bell.
            let ask = Ask { bell: Some(0), ..Ask::default() };
            let _gone: Result<Work, Fault> = self.shared.outbox.work(Session::Listening(&ears.listener), ask).await;
        }
        result
    }

    /// A session that hears, if there can be one.
    async fn listen(&self) -> Result<Option<Ears>, Fault> {
        let Some(connector) = &self.listen else { return Ok(None) };
        let limit = self.shared.config().database.statement_timeout.get();
        let (listener, notices) = Box::pin(Listener::connect(connector, &[CHANNEL], limit)).await?;
        if let Delivery::Pooler(reason) = listener.delivery() {
            tracing::warn!(
                event = "bell.deaf",
                reason,
                "notifications do not arrive, so rows wait for the poll; set database.listen_url to an address that \
                 reaches Postgres itself"
            );
            return Ok(None);
        }
        self.shared.outbox.sign_in(&listener, &self.shared.id).await?;
        Ok(Some(Ears { listener, notices }))
    }

    async fn watch(&self, ears: &mut Option<Ears>, down: &mut bool, pace: &mut Backoff) -> Result<(), Fault> {
        let mut bell = Bell::new(ears.is_some(), self.bell_allowed, Instant::now());
        loop {
            if self.shared.stop.is_cancelled() {
                return Ok(());
            }
            if self.shared.outbox.was_filtered() {
                // Whatever statement met a policy, everything waits until none hides anything.
                super::identity(&self.shared).await?;
            }
            let settings = self.shared.config().relay.clone();
            let ask = bell.ask(&settings, Instant::now());
            if bell.rose() {
                tracing::debug!(event = "relay.awake");
            }
            let asked = Instant::now();
            let work = self.ask(ears.as_ref(), ask).await?;
            if std::mem::replace(down, false) {
                tracing::info!(event = "postgres.up", "Postgres can be used again");
                self.shared.back.notify_waiters();
            }
            pace.reset();
            self.shared.metrics.postgres_up(true);
            self.health.postgres(true);
            self.shared.chores.outage(false);
            let seen = self.tell(&work, asked);
            let armed = bell.answered(ask, &work, seen, Instant::now());
            self.shared.metrics.doorbell_armed(armed);
            self.shared.metrics.notify_queue_usage(work.notify_usage);

            match bell.next(&settings, Instant::now()) {
                Next::Look => {}
                Next::AskWhoWaits => {
                    let Some(ears) = ears.as_mut() else { continue };
                    let waits = self.shared.outbox.bell_waits(&ears.listener).await?;
                    if let Some(pause) = bell.waits(waits) {
                        let rung = self.sleep(Some(ears), Instant::now() + pause).await?;
                        bell.woke(rung, Instant::now());
                    }
                }
                Next::Sleep { until, asleep } => {
                    if asleep && bell.fell_asleep() {
                        tracing::debug!(event = "relay.asleep");
                    }
                    let rung = self.sleep(ears.as_mut(), until).await?;
                    bell.woke(rung, Instant::now());
                }
            }
        }
    }

    async fn ask(&self, ears: Option<&Ears>, ask: Ask) -> Result<Work, Fault> {
        let session = ears.map_or(Session::Pooled, |ears| Session::Listening(&ears.listener));
        self.shared.outbox.work(session, ask).await
    }

    /// Until the time, a ring, a kick or the end; whether it was a ring or a kick.
    async fn sleep(&self, ears: Option<&mut Ears>, until: Instant) -> Result<bool, Fault> {
        let ring = async {
            match ears {
                Some(ears) => ears.notices.recv().await,
                None => std::future::pending().await,
            }
        };
        let mut config = self.config.clone();
        config.mark_unchanged();
        let cause = tokio::select! {
            notice = ring => match notice {
                Some(Event::Notified { .. }) => {
                    self.shared.metrics.notified();
                    "bell"
                }
                Some(Event::Lost(fault)) => return Err(fault.into()),
                None => return Err(Fault::retry("postgres_closed", "the LISTEN connection is gone")),
            },
            () = self.shared.kick.notified() => "kick",
            // How often to look may have changed.
            Ok(()) = config.changed() => "kick",
            () = tokio::time::sleep_until(until.into()) => "timer",
            () = self.shared.stop.cancelled() => return Ok(false),
        };
        self.shared.metrics.woke(cause);
        Ok(cause != "timer")
    }

    /// Tells every lane, and sums up what there is to do.
    fn tell(&self, work: &Work, asked: Instant) -> Seen {
        let now = Instant::now();
        let mut seen = Seen::default();
        self.hints.keep(|queue| work.queues.iter().any(|known| known.queue == queue));
        for queue in &work.queues {
            let state = self.tell_one(queue, asked);
            if queue.paused {
                continue;
            }
            let overdue = queue.due.is_some_and(|at| at <= now);
            if !overdue {
                seen.due = [seen.due, queue.due].into_iter().flatten().min();
            }
            let post = self.shared.board.post(&queue.queue);
            // A lane that goes on by itself has planned what a look would have found.
            if queue.rows == Some(true) || overdue || post.is_streaming() || post.is_paced() {
                let ours = queue.owner.as_ref().is_none_or(|owner| owner.is_empty() || *owner == self.shared.id);
                // A lane that waits for Redis, for room or for an operator goes on by itself: looking does not help it.
                seen.streaming |= post.is_streaming();
                seen.paced |= post.is_paced();
                seen.busy |= state == QueueState::Open || (state == QueueState::Idle && ours);
                seen.foreign |= state == QueueState::Idle && !ours;
            }
        }
        seen
    }

    fn tell_one(&self, queue: &QueueWork, asked: Instant) -> QueueState {
        let mut map = self.hints.map();
        let sender = map.entry(queue.queue.clone()).or_insert_with(|| {
            self.shared.metrics.add_queue(&queue.queue);
            let (sender, hints) = watch::channel(Hint::unknown(asked));
            let lane = Lane {
                shared: self.shared.clone(),
                queue: queue.queue.clone(),
                hints,
                config: self.config.clone(),
                post: self.shared.board.post(&queue.queue),
                full: false,
            };
            let (shared, hints, queue) = (self.shared.clone(), self.hints.clone(), queue.queue.clone());
            self.lanes.spawn(async move {
                lane.run().await;
                if !hints.knows(&queue) {
                    tracing::info!(event = "queue.forgotten", queue);
                    shared.board.remove(&queue);
                    shared.metrics.remove_queue(&queue);
                }
            });
            sender
        });
        sender.send_modify(|hint| {
            hint.newest = queue.newest;
            hint.reached = queue.reached;
            let owner = queue.owner.clone().unwrap_or_default();
            hint.blind &= owner == hint.owner;
            hint.owner = owner;
            hint.paused = queue.paused;
            hint.resumes = queue.resumes;
            hint.due = queue.due;
            hint.due_asked = asked;
            hint.abandoned = queue.abandoned;
            if let Some(rows) = queue.rows {
                hint.rows = rows;
                hint.waiting = queue.waiting;
                hint.asked = asked;
            }
        });
        let post = self.shared.board.post(&queue.queue);
        // One that plans in vain is looked at by the slow poll.
        if post.state() == QueueState::Open && post.is_stuck() { QueueState::Waiting } else { post.state() }
    }
}
