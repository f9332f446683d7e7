//! Once a second, one read of all markers of every Redis target: is Redis where the ledger says it is?
//!
//! A lane that holds its queue is told when its marker is not where it left it, and opens again. A queue that nobody
//! holds and whose marker stands below the newest ledger number is stranded: its relay died after a plan, or Redis lost
//! something while nobody was there. An empty list is never evidence of anything.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::hint::Hint;
use super::route::Route;
use super::shared::{Shared, of_redis};
use super::wake::Hints;
use crate::batch::Marker;
use crate::broker::{self, Link};
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
struct Line {
    link: Link,
    /// When the depths were last read over it.
    depths: Option<Instant>,
}

/// One queue in a look.
struct Subject {
    queue: String,
    route: Route,
    hint: Hint,
    /// What its lane held before the look was sent.
    held: Option<Marker>,
}

impl Looks {
    /// Runs until the relay stops.
    pub(crate) async fn run(self) {
        let this = Arc::new(self);
        let mut lines: HashMap<String, Line> = HashMap::new();
        let mut under_way: HashSet<String> = HashSet::new();
        let mut told: HashSet<String> = HashSet::new();
        let mut looks: JoinSet<(String, Option<Line>)> = JoinSet::new();
        loop {
            let pause = this.shared.config().relay.idle_look.get();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = this.shared.stop.cancelled() => return,
            }
            while let Some(looked) = looks.try_join_next() {
                let Ok((target, line)) = looked else { continue };
                under_way.remove(&target);
                lines.extend(line.map(|line| (target, line)));
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
                    let (this, line) = (Arc::clone(&this), lines.remove(&target));
                    looks.spawn(async move {
                        let line = this.look(&target, line, &subjects).await;
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
                let held = self.shared.board.post(&queue).marker();
                targets.entry(route.settings.redis.clone()).or_default().push(Subject { queue, route, hint, held });
            }
        }
        targets
    }

    /// Looks at one target; the connection, if it still works.
    async fn look(&self, target: &str, line: Option<Line>, subjects: &[Subject]) -> Option<Line> {
        let result = self.try_look(line, subjects).await;
        match result {
            Ok(mut line) => {
                self.shared.targets.answered(target, &self.shared.metrics);
                self.shared.metrics.looked(target);
                self.tell_depths(&mut line, subjects).await;
                Some(line)
            }
            Err(fault) => {
                // What it held is not known while it does not answer.
                for subject in subjects {
                    self.shared.metrics.queue_depth_unknown(&subject.queue);
                }
                self.shared.targets.failed(target, &fault, &self.shared.metrics);
                None
            }
        }
    }

    /// Tells the depth of every queue that this relay holds, and of no other: its holder knows better.
    async fn tell_depths(&self, line: &mut Line, subjects: &[Subject]) {
        let (held, others): (Vec<_>, Vec<_>) = subjects.iter().partition(|subject| subject.held.is_some());
        for subject in others {
            self.shared.metrics.queue_depth_unknown(&subject.queue);
        }
        if line.depths.is_some_and(|read| read.elapsed() < DEPTHS) {
            return;
        }
        line.depths = Some(Instant::now());
        let depths = held.iter().map(|subject| broker::known_depth(&line.link, subject.route.format.keys()));
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

    async fn try_look(&self, line: Option<Line>, subjects: &[Subject]) -> Result<Line, Fault> {
        let Some(first) = subjects.first() else { return Err(Fault::retry("unused", "no queue goes there")) };
        let line = match line {
            Some(line) => line,
            None => Line { link: of_redis(first.route.target.connect().await)?, depths: None },
        };
        let spots: Vec<_> = subjects.iter().map(|subject| subject.route.spot()).collect();
        let look = of_redis(broker::look(&line.link, &spots).await)?;
        let mut unsaid = None;
        let incarnation = look.server.incarnation.to_string();
        let target = &first.route.settings.redis;
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
        Ok(line)
    }

    fn judge(&self, subject: &Subject, marker: Option<Marker>, incarnation: &str) {
        let post = self.shared.board.post(&subject.queue);
        if let Some(held) = subject.held {
            // Another life of the dataset may lack messages below the marker, too: opening settles that.
            let alive = post.hold().is_none_or(|hold| hold.token != held.tenure || hold.incarnation == incarnation);
            let there = alive && marker.is_some_and(|now| now.tenure == held.tenure && now.position >= held.position);
            // Only if the lane still holds that tenure: it may have opened another one since.
            if !there && post.marker().is_some_and(|now| now.tenure == held.tenure) {
                tracing::warn!(event = "queue.doubt", queue = subject.queue, held = %held,
                    found = marker.map(|now| now.to_string()), "Redis does not stand where it was left");
                post.doubt.notify_one();
            }
            return;
        }
        let newest = subject.hint.newest.unwrap_or(0);
        let behind = newest > 0 && marker.is_none_or(|now| now.position < newest);
        let idle = post.state() == QueueState::Idle && !subject.hint.paused;
        if behind && idle {
            self.hints.stranded_at(&subject.queue, marker);
        } else {
            self.hints.not_stranded(&subject.queue);
        }
    }
}
