//! Once a second, one read of all markers of every Redis target: is Redis where the ledger says it is?
//!
//! A lane that holds its queue is told when its marker is not where it left it, and opens again. A queue that nobody
//! holds and whose marker stands below the newest ledger number is stranded: its relay died after a plan, or Redis lost
//! something while nobody was there. An empty list is never evidence of anything.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::hint::Hint;
use super::route::Route;
use super::shared::{Hold, Shared, of_redis};
use super::side::{SideLink, is_replica};
use super::sight::{self, Sights};
use super::wake::Hints;
use crate::batch::Marker;
use crate::broker::{self, Look};
use crate::fault::{Fault, Origin};
use crate::telemetry::metrics::QueueState;

/// The looks of one relay, one connection per target.
pub(crate) struct Looks {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hints: Arc<Hints>,
}

/// How often the depth of the queues that this relay holds is read beside a look.
const DEPTHS: Duration = Duration::from_secs(5);

/// A target's connection.
#[derive(Default)]
struct Line {
    side: SideLink,
    /// Who else looks there.
    sights: Sights,
    /// When the depths were last read over it.
    depths: Option<Instant>,
}

/// One queue in a look.
struct Subject {
    queue: String,
    route: Route,
    hint: Hint,
    /// What its lane held before the look was sent, and since when.
    held: Option<Marker>,
    hold: Option<Arc<Hold>>,
}

impl Looks {
    /// Runs until the relay stops.
    pub(crate) async fn run(self) {
        let this = Arc::new(self);
        let mut lines: HashMap<String, Line> = HashMap::new();
        let mut under_way: HashSet<String> = HashSet::new();
        let mut told: HashSet<String> = HashSet::new();
        let mut looks: JoinSet<(String, Line)> = JoinSet::new();
        let mut config = this.shared.config.clone();
        loop {
            let pause = config.borrow_and_update().relay.idle_look.get();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // How often may have changed.
                Ok(()) = config.changed() => {}
                () = this.shared.stop.cancelled() => return,
            }
            while let Some(looked) = looks.try_join_next() {
                let Ok((target, line)) = looked else { continue };
                under_way.remove(&target);
                lines.insert(target, line);
            }
            let targets = this.subjects();
            // One that no queue uses any more is looked at no more: what was said of it last would stand for ever.
            told.retain(|target| {
                let unused = !targets.contains_key(target) && !under_way.contains(target);
                if unused {
                    lines.remove(target);
                    this.shared.metrics.target_unused(target);
                }
                !unused
            });
            // Each target by itself: one that does not answer must not delay the next look at another.
            for (target, subjects) in targets {
                told.insert(target.clone());
                if under_way.insert(target.clone()) {
                    let (this, mut line) = (Arc::clone(&this), lines.remove(&target).unwrap_or_default());
                    looks.spawn(async move {
                        this.look(&target, &mut line, &subjects).await;
                        (target, line)
                    });
                }
            }
        }
    }

    /// The known queues by target. A queue whose configuration is wrong is its lane's affair.
    fn subjects(&self) -> BTreeMap<String, Vec<Subject>> {
        let mut targets: BTreeMap<String, Vec<Subject>> = BTreeMap::new();
        for (queue, hint) in self.hints.all() {
            if let Ok(route) = Route::new(&self.shared, &queue) {
                let post = self.shared.board.post(&queue);
                // One that was opened by other settings is held elsewhere, and its lane leaves it at this moment.
                let hold = post.hold().filter(|hold| hold.target.is(&route.target));
                let marker = post.marker().filter(|_| hold.is_some());
                let target = route.settings.redis.clone();
                targets.entry(target).or_default().push(Subject { queue, route, hint, held: marker, hold });
            }
        }
        targets
    }

    /// Looks at one target; the connection is kept if it still works.
    async fn look(&self, target: &str, line: &mut Line, subjects: &[Subject]) {
        if self.shared.targets.refusals.rests(target) {
            return;
        }
        match self.try_look(target, line, subjects).await {
            Ok(()) => {
                self.shared.targets.answered(target, &self.shared.metrics);
                self.shared.metrics.looked(target);
                self.tell_depths(target, line, subjects).await;
            }
            Err(fault) => {
                line.side.drop();
                // What it held is not known while it does not answer.
                for subject in subjects {
                    self.shared.metrics.queue_depth_unknown(&subject.queue);
                    if is_replica(&fault) {
                        self.doubt(subject, "its server is a replica now");
                    }
                }
                self.shared.targets.failed(target, &fault, &self.shared.metrics);
            }
        }
    }

    /// Tells the depth of every queue that this relay holds, and of no other: its holder knows better.
    async fn tell_depths(&self, target: &str, line: &mut Line, subjects: &[Subject]) {
        let (held, others): (Vec<_>, Vec<_>) = subjects.iter().partition(|subject| subject.held.is_some());
        for subject in others {
            self.shared.metrics.queue_depth_unknown(&subject.queue);
        }
        if line.depths.is_some_and(|read| read.elapsed() < DEPTHS) {
            return;
        }
        line.depths = Some(Instant::now());
        let Ok(redis) = line.side.get(&self.shared, target).await else { return };
        let depths = held.iter().map(|subject| broker::known_depth(redis, subject.route.format.keys()));
        for (subject, depth) in held.iter().zip(join_all(depths).await) {
            match depth {
                Ok(Some(depth)) => self.shared.metrics.queue_depth(&subject.queue, depth),
                // What the publications say goes on counting.
                Ok(None) => {}
                // Its lane finds out what is wrong, if it is the queue's affair; the next look, if it is the server's.
                Err(_) => self.shared.metrics.queue_depth_unknown(&subject.queue),
            }
        }
    }

    async fn try_look(&self, target: &str, line: &mut Line, subjects: &[Subject]) -> Result<(), Fault> {
        let look = self.ask(target, line, subjects).await?;
        self.sign(target, line, subjects).await?;
        let mut unsaid = None;
        let incarnation = look.server.incarnation.to_string();
        if let Some(settings) = self.shared.config().redis.get(target) {
            self.shared.targets.uses(target, &look.server, settings.memory_percent);
        }
        for (subject, found) in subjects.iter().zip(look.markers) {
            match found {
                // A server that is loading says so at every marker: nothing is known of any.
                Err(fault @ Fault::Retry(_)) => unsaid = Some(fault.of(Origin::Redis)),
                // A marker key that cannot be read is its lane's affair: it opens and says what is wrong.
                found => self.judge(subject, found.ok().and_then(|found| found.marker), &incarnation),
            }
        }
        if let Some(fault) = unsaid {
            return Err(fault);
        }
        Ok(())
    }

    /// One look. Before its answer casts doubt on a queue, it is asked of the server to which the target leads now.
    async fn ask(&self, target: &str, line: &mut Line, subjects: &[Subject]) -> Result<Look, Fault> {
        let spots: Vec<_> = subjects.iter().map(|subject| subject.route.spot()).collect();
        loop {
            let redis = line.side.get(&self.shared, target).await?;
            let look = of_redis(broker::look(redis, &spots).await);
            let strange = match &look {
                Ok(look) => {
                    let incarnation = look.server.incarnation.to_string();
                    subjects.iter().any(|subject| !subject.lives_in(&incarnation))
                }
                Err(fault) => is_replica(fault),
            };
            if !strange || !line.side.gave_up() {
                return look;
            }
        }
    }

    /// Leaves a sign that this relay looks, and tells the lanes of queues whose holder has left none for long.
    async fn sign(&self, target: &str, line: &mut Line, subjects: &[Subject]) -> Result<(), Fault> {
        let is_other = |owner: &&String| !owner.is_empty() && **owner != self.shared.id;
        let owners: BTreeSet<&String> = subjects.iter().map(|subject| &subject.hint.owner).filter(is_other).collect();
        let owners: Vec<String> = owners.into_iter().cloned().collect();
        let key = |relay: &str| sight::key(self.shared.installation, relay);
        let keys: Vec<_> = owners.iter().map(|owner| key(owner)).collect();
        let (own, sign) = (key(&self.shared.id), line.sights.next(self.shared.config().relay.idle_look.get()));
        let redis = line.side.get(&self.shared, target).await?;
        let Some(signs) = of_redis(broker::signs(redis, (&own, &sign), sight::KEPT, &keys).await)? else {
            return Ok(());
        };
        line.sights.keep(&owners);
        let mut signs = signs.into_iter();
        if line.sights.has_twin(signs.next().flatten().as_deref(), Instant::now()) {
            tracing::warn!(
                event = "relay.twin",
                relay = self.shared.id,
                redis = target,
                "another relay has the same relay.id; give each its own, or they take their queues from each other"
            );
        }
        for (owner, sign) in owners.iter().zip(signs) {
            let blind = line.sights.saw(owner, sign.as_deref(), Instant::now());
            for subject in subjects.iter().filter(|subject| subject.hint.owner == *owner) {
                self.hints.blind(&subject.queue, owner, blind);
            }
        }
        Ok(())
    }

    fn judge(&self, subject: &Subject, marker: Option<Marker>, incarnation: &str) {
        if let Some(held) = subject.held {
            // Another life of the dataset may lack messages below the marker, too: opening settles that.
            let stands = marker.is_some_and(|now| now.tenure == held.tenure && now.position >= held.position);
            if !(subject.lives_in(incarnation) && stands) {
                let found = marker.map_or_else(|| "no marker".to_owned(), |now| now.to_string());
                self.doubt(subject, &found);
            }
            return;
        }
        let post = self.shared.board.post(&subject.queue);
        let newest = subject.hint.newest.unwrap_or(0);
        let behind = newest > 0 && marker.is_none_or(|now| now.position < newest);
        let idle = post.state() == QueueState::Idle && !subject.hint.paused;
        if behind && idle {
            self.hints.stranded_at(&subject.queue, marker);
        } else {
            self.hints.not_stranded(&subject.queue);
        }
    }

    /// Has its lane open the queue again, if it still holds it under the tenure that was looked at.
    fn doubt(&self, subject: &Subject, found: &str) {
        let post = self.shared.board.post(&subject.queue);
        if let Some(held) = subject.held
            && post.marker().is_some_and(|now| now.tenure == held.tenure)
        {
            tracing::warn!(event = "queue.doubt", queue = subject.queue, held = %held, found,
                "Redis does not stand where it was left");
            post.doubt.notify_one();
        }
    }
}

impl Subject {
    /// Whether a queue that is held was opened in this life of the dataset; also of one that is not held.
    fn lives_in(&self, incarnation: &str) -> bool {
        let held = self.hold.as_ref().filter(|hold| self.held.is_some_and(|held| held.tenure == hold.token));
        held.is_none_or(|hold| hold.incarnation == incarnation)
    }
}
