//! What every stage of the relay may know: the configuration, the servers, and what the lanes say of themselves.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::baseline::Baseline;
use super::chore::Chores;
use super::open::Standing;
use super::refusals::{Refusals, refuses_user};
use crate::batch::Marker;
use crate::broker::Target;
use crate::broker::evidence::{Break, Facts, judge};
use crate::config::Config;
use crate::fault::{Fault, Origin};
use crate::pg::Outbox;
use crate::telemetry::metrics::{Metrics, QueueState};

/// One per process.
pub(crate) struct Shared {
    /// The newest configuration that was accepted.
    pub(crate) config: watch::Receiver<Arc<Config>>,
    /// Postgres.
    pub(crate) outbox: Outbox,
    /// Numbers.
    pub(crate) metrics: Arc<Metrics>,
    /// This relay's name, as the ledger shows it.
    pub(crate) id: String,
    /// Which database this is: part of every marker's field.
    pub(crate) installation: Uuid,
    /// Redis.
    pub(crate) targets: Targets,
    /// What the lanes say of themselves, by queue.
    pub(crate) board: Board,
    /// What the work in the background says of itself.
    pub(crate) chores: Chores,
    /// Wakes the wake loop.
    pub(crate) kick: Notify,
    /// Rung when Postgres is back.
    pub(crate) back: Notify,
    /// Ends everything in good order.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// The configuration of this moment.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }
}

/// Says of a failed call to the broker that it was Redis.
pub(crate) fn of_redis<T>(result: Result<T, Fault>) -> Result<T, Fault> {
    result.map_err(|fault| fault.of(Origin::Redis))
}

/// A poisoned lock holds plain values that are replaced whole: they are as good as ever.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The named Redis targets. Says once that one is down, and once that it is back.
#[derive(Default)]
pub(crate) struct Targets {
    known: Mutex<HashMap<String, (crate::config::RedisSettings, Target)>>,
    /// Those that are down, and whether it is writing that fails.
    down: Mutex<HashMap<String, bool>>,
    /// The life of the dataset in which a lane opened a queue last.
    lives: Mutex<HashMap<String, String>>,
    /// Those that are about to run out of memory.
    tight: Mutex<HashSet<String>>,
    /// What they refuse.
    pub(crate) refusals: Refusals,
    /// Rung when one is back: whoever waits for it need not wait out its pause.
    pub(crate) back: Notify,
}

/// The target that the settings describe.
pub(crate) fn target(name: &str, settings: &crate::config::RedisSettings) -> Result<Target, Fault> {
    let (connect, response) = (settings.connect_timeout.get(), settings.response_timeout.get());
    let target = Target::new(name, settings.url.secret_string(), connect, response)?;
    if settings.sentinels.is_empty() {
        return Ok(target);
    }
    let addresses = settings.sentinels.iter().map(|sentinel| (sentinel.host.clone(), sentinel.port)).collect();
    let password = Some(&settings.sentinel_password).filter(|password| !password.is_empty());
    target.with_sentinels(
        addresses,
        settings.sentinel_username.clone(),
        password.map(|password| password.secret_string().clone()),
    )
}

/// A server that was tight must come down by so many percent of its memory before tasks flow again.
const SLACK_PERCENT: u64 = 3;

/// Classes of servers that answer and refuse to store anything: a look succeeds all the same.
const REFUSES_WRITES: [&str; 4] = ["oom", "readonly", "misconf", "noreplicas"];

impl Targets {
    /// The target of that name, made anew when its settings have changed.
    pub(crate) fn get(&self, name: &str, config: &Config, metrics: &Arc<Metrics>) -> Result<Target, Fault> {
        let Some(settings) = config.redis.get(name) else {
            return Err(Fault::halt(
                "config",
                format!("no Redis target is named {name:?}; add [redis.{name}] or correct the queue's `redis` setting"),
            ));
        };
        let mut known = lock(&self.known);
        if let Some((old, target)) = known.get(name)
            && old == settings
        {
            return Ok(target.clone());
        }
        let target = target(name, settings)?.counted(name, Arc::clone(metrics));
        known.insert(name.to_owned(), (settings.clone(), target.clone()));
        // What was refused to the old settings says nothing of the new ones.
        self.refusals.worked(name);
        Ok(target)
    }

    /// A lane opened a queue there, in that life of the dataset.
    pub(crate) fn opened(&self, name: &str, incarnation: &str) {
        lock(&self.lives).insert(name.to_owned(), incarnation.to_owned());
    }

    /// The life in which a lane opened a queue there last.
    pub(crate) fn life(&self, name: &str) -> Option<String> {
        lock(&self.lives).get(name).cloned()
    }

    /// A lane or a look could not use it. The first one says so.
    ///
    /// What only an operator can mend is told with the queue that stops for it, because others may go on; unless the
    /// server refuses the user: then none does.
    pub(crate) fn failed(&self, name: &str, fault: &Fault, metrics: &Metrics) {
        let reason = fault.reason();
        if !matches!(fault, Fault::Retry(_)) && !refuses_user(fault) {
            return;
        }
        self.refusals.failed(name, fault);
        metrics.redis_up(name, false);
        let writes = REFUSES_WRITES.contains(&reason.class);
        let news = match lock(&self.down).entry(name.to_owned()) {
            Entry::Occupied(mut known) => {
                *known.get_mut() |= writes;
                false
            }
            Entry::Vacant(unknown) => {
                unknown.insert(writes);
                true
            }
        };
        if news {
            tracing::warn!(event = "redis.down", redis = name, class = reason.class, reason = %reason.message,
                "Redis cannot be used; tasks wait in Postgres");
        }
    }

    /// A lane wrote to it.
    pub(crate) fn worked(&self, name: &str, metrics: &Metrics) {
        metrics.redis_up(name, true);
        self.refusals.worked(name);
        if lock(&self.down).remove(name).is_some() {
            tracing::info!(event = "redis.up", redis = name, "Redis can be used again");
            self.back.notify_waiters();
        }
    }

    /// Whether tasks wait because the server is about to run out of memory: what it refuses cannot be told from what it
    /// drops by a policy, and other clients need some, too.
    pub(crate) fn is_tight(&self, name: &str) -> bool {
        lock(&self.tight).contains(name)
    }

    /// So much memory does it use; says when tasks begin to wait for that, and when they no longer do.
    pub(crate) fn uses(&self, name: &str, server: &crate::broker::Server, percent: u8) {
        let mut tight = lock(&self.tight);
        let (used, max) = (server.used_memory, server.maxmemory);
        let over = |percent: u64| max > 0 && used.saturating_mul(100) >= max.saturating_mul(percent);
        let percent = u64::from(percent);
        if percent < 100 && over(percent) {
            if tight.insert(name.to_owned()) {
                tracing::warn!(
                    event = "redis.tight",
                    redis = name,
                    used,
                    maxmemory = max,
                    percent,
                    "Redis is about to run out of memory; tasks wait in Postgres (redis.NAME.memory_percent)"
                );
            }
        } else if !over(percent.saturating_sub(SLACK_PERCENT)) && tight.remove(name) {
            tracing::info!(event = "redis.roomy", redis = name, used, maxmemory = max, "Redis has memory again");
        }
    }

    /// It answered a look, which writes nothing.
    pub(crate) fn answered(&self, name: &str, metrics: &Metrics) {
        if lock(&self.down).get(name) != Some(&true) {
            self.worked(name, metrics);
        }
    }
}

/// What one lane says of itself.
#[derive(Debug)]
pub(crate) struct Post {
    standing: Mutex<(QueueState, Option<Marker>)>,
    streaming: AtomicBool,
    paced: AtomicBool,
    stuck: AtomicBool,
    hold: Mutex<Option<Arc<Hold>>>,
    why: Mutex<Option<String>>,
    /// Tells the lane that Redis does not stand where the lane believes it to.
    pub(crate) doubt: Notify,
}

impl Post {
    fn new() -> Self {
        let standing = Mutex::new((QueueState::Idle, None));
        let off = || AtomicBool::new(false);
        let (hold, why, doubt) = (Mutex::default(), Mutex::default(), Notify::new());
        Self { standing, streaming: off(), paced: off(), stuck: off(), hold, why, doubt }
    }

    /// What the lane is doing.
    pub(crate) fn state(&self) -> QueueState {
        lock(&self.standing).0
    }

    /// The tenure that it holds, and the position that Redis has confirmed under it.
    pub(crate) fn marker(&self) -> Option<Marker> {
        lock(&self.standing).1
    }

    /// Says what the lane is doing now.
    pub(crate) fn set_state(&self, state: QueueState) {
        lock(&self.standing).0 = state;
        *lock(&self.why) = None;
    }

    /// Says why it is doing that, until it does something else.
    pub(crate) fn set_why(&self, why: &str) {
        *lock(&self.why) = Some(why.to_owned());
    }

    /// Why it is doing what it does, where it said so.
    pub(crate) fn why(&self) -> Option<String> {
        lock(&self.why).clone()
    }

    /// Whether the lane goes from batch to batch by itself: telling it that there are rows would be no news.
    pub(crate) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Says whether the lane goes on by itself.
    pub(crate) fn set_streaming(&self, streaming: bool) {
        self.streaming.store(streaming, Ordering::Relaxed);
    }

    /// Whether the lane plans by itself every few milliseconds, because rows keep coming.
    pub(crate) fn is_paced(&self) -> bool {
        self.paced.load(Ordering::Relaxed)
    }

    /// Says so.
    pub(crate) fn set_paced(&self, paced: bool) {
        self.paced.store(paced, Ordering::Relaxed);
    }

    /// Whether its plans keep finding nothing although something waits.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Says so.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// Says what Redis has confirmed; `None` when the lane holds no tenure.
    pub(crate) fn set_marker(&self, marker: Option<Marker>) {
        lock(&self.standing).1 = marker;
    }

    /// What whoever confirms must know of the tenure that the lane holds.
    pub(crate) fn hold(&self) -> Option<Arc<Hold>> {
        lock(&self.hold).clone()
    }

    /// Says under which tenure the lane holds its queue.
    pub(crate) fn set_hold(&self, hold: Option<Arc<Hold>>) {
        *lock(&self.hold) = hold;
    }
}

/// A tenure that a lane holds, for the stage that confirms what was consumed under it.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Its token.
    pub(crate) token: Uuid,
    /// Where it was opened: by other settings it says nothing.
    pub(crate) target: Target,
    /// The life of the dataset in which it was opened.
    pub(crate) incarnation: String,
    /// The newest ledger number then: catching up ends there.
    pub(crate) opened_at: i64,
    /// No batch at or below brings messages: the marker passes them.
    pub(crate) done: i64,
    /// Whether its boundary is settled.
    pub(crate) certified: AtomicBool,
    /// Whether the queue has incidents that are not over.
    pub(crate) incidents: AtomicBool,
    /// How many rows the lane has sent again and nobody has written down yet.
    pub(crate) replayed: AtomicU64,
    /// What the tenure before left to compare with.
    pub(crate) before: Option<Baseline>,
    /// What was seen before anything was pushed; `None` if the server does not say.
    pub(crate) first: Option<Facts>,
    /// How many messages had been pushed under the tenure when the marker came to each position; the newest ones.
    pushed: Mutex<VecDeque<(i64, u64)>>,
}

/// How many positions are remembered: as many as can be reached between two looks at a queue.
const POSITIONS: usize = 8192;

impl Hold {
    /// Of a tenure that has just begun.
    pub(crate) fn new(target: Target, standing: &Standing, first: Option<Facts>) -> Self {
        let ledger = &standing.ledger;
        Self {
            token: standing.marker.tenure,
            target,
            incarnation: standing.incarnation.clone(),
            opened_at: ledger.newest,
            done: ledger.done,
            certified: AtomicBool::new(ledger.certified),
            incidents: AtomicBool::new(ledger.incidents > 0),
            replayed: AtomicU64::new(0),
            first,
            before: ledger.facts.as_deref().and_then(Baseline::from_json),
            pushed: Mutex::new(VecDeque::from([(ledger.trusted, 0)])),
        }
    }

    /// What breaks the evidence before the first look of this tenure, by which `pushed` messages were pushed under it.
    pub(crate) fn judge(&self, now: &Facts, pushed: u64) -> Option<Break> {
        let before = self.before.as_ref().and_then(|before| before.judge(now, pushed));
        before.or_else(|| judge(self.first.as_ref().unwrap_or(now), now, pushed))
    }

    /// A publication brought the marker to a position.
    pub(crate) fn push(&self, position: i64, rows: u64) {
        let mut pushed = lock(&self.pushed);
        let sum = pushed.back().map_or(0, |(_, sum)| *sum);
        if pushed.len() == POSITIONS {
            pushed.pop_front();
        }
        pushed.push_back((position, sum + rows));
    }

    /// How many messages had been pushed when the marker stood there; `None` if that is not known (yet, or any more).
    pub(crate) fn pushed(&self, position: i64) -> Option<u64> {
        let pushed = lock(&self.pushed);
        let at = pushed.binary_search_by_key(&position, |(position, _)| *position).ok()?;
        pushed.get(at).map(|(_, sum)| *sum)
    }
}

/// The lanes' posts, by queue.
#[derive(Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, Arc<Post>>>);

impl Board {
    /// The post of a queue, made if need be.
    pub(crate) fn post(&self, queue: &str) -> Arc<Post> {
        lock(&self.0).entry(queue.to_owned()).or_insert_with(|| Arc::new(Post::new())).clone()
    }

    /// Forgets a queue's.
    pub(crate) fn remove(&self, queue: &str) {
        lock(&self.0).remove(queue);
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Post>)> {
        lock(&self.0).iter().map(|(queue, post)| (queue.clone(), post.clone())).collect()
    }
}
