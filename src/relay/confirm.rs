//! What was consumed: every second, one look at each queue that this relay holds, and a checkpoint of what it proves.
//!
//! A look is atomic: marker, server and messages of one instant. Rows at or below its marker that stand nowhere are
//! consumed, within one life of one dataset and as long as nothing but consumers can have taken them. A new life, or
//! evidence that something else did, is a boundary: what is absent then and not known to be consumed is scheduled
//! again. Every rule is one of [`rules`]. A look costs the server time, so it pauses in proportion.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::absence::Absence;
use super::baseline::Baseline;
use super::route::Route;
use super::rules::{self, Accepted};
use super::shared::{Hold, Post, Shared, of_redis};
use super::side::{SideLink, is_replica};
use super::track::{Track, accept, is_catching_up, is_lasting, rows_of};
use crate::batch::Marker;
use crate::broker::evidence::{Break, judge, unsafe_policy};
use crate::broker::{self, Present, Snapshot, SnapshotAsk};
use crate::config::{Confirm, FormatName};
use crate::failpoint;
use crate::fault::{Fault, Origin};
use crate::pg::Boundary;

/// How often a queue is looked at, as long as looks are short.
const EVERY: Duration = Duration::from_secs(1);

/// A look at the messages takes at most this part of the server's time.
const SHARE: u32 = 50;

/// For so long only evidence is looked at after a look that did not end in time.
const AFTER_TIMEOUT: Duration = Duration::from_secs(60);

/// What a look costs the server, roughly, and what each message in it adds. Measured: 100,000 messages take 0.1 s.
const LOOK: Duration = Duration::from_millis(2);
const MESSAGE: Duration = Duration::from_micros(2);

/// The stage: one per relay, one connection per Redis target.
pub(crate) struct Confirms {
    pub(crate) shared: Arc<Shared>,
}

/// One queue that this relay holds.
pub(super) struct Subject {
    pub(super) queue: String,
    route: Route,
    pub(super) post: Arc<Post>,
    pub(super) hold: Arc<Hold>,
}

type Tracks = HashMap<String, Track>;

impl Confirms {
    /// Runs until the relay stops.
    pub(crate) async fn run(self) {
        let this = Arc::new(self);
        let mut known: HashMap<String, (SideLink, Tracks)> = HashMap::new();
        let mut looks: JoinSet<(String, SideLink, Tracks)> = JoinSet::new();
        let mut under_way = std::collections::HashSet::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = this.shared.stop.cancelled() => return,
            }
            while let Some(looked) = looks.try_join_next() {
                let Ok((target, link, tracks)) = looked else { continue };
                under_way.remove(&target);
                known.insert(target, (link, tracks));
            }
            for (target, subjects) in this.subjects() {
                if under_way.insert(target.clone()) {
                    let (link, tracks) = known.remove(&target).unwrap_or_default();
                    let this = Arc::clone(&this);
                    looks.spawn(async move { this.target(target, link, tracks, subjects).await });
                }
            }
        }
    }

    /// The queues that this relay holds, by target.
    fn subjects(&self) -> BTreeMap<String, Vec<Subject>> {
        let mut targets: BTreeMap<String, Vec<Subject>> = BTreeMap::new();
        for (queue, post) in self.shared.board.all() {
            let Some(hold) = post.hold() else { continue };
            // A queue whose configuration is wrong is its lane's affair, and to take up a new one as well.
            if let Ok(route) = Route::new(&self.shared, &queue)
                && hold.target.is(&route.target)
            {
                targets.entry(route.settings.redis.clone()).or_default().push(Subject { queue, route, post, hold });
            }
        }
        targets
    }

    /// Looks at the queues of one target, one after the other.
    async fn target(
        &self,
        target: String,
        mut link: SideLink,
        mut tracks: Tracks,
        subjects: Vec<Subject>,
    ) -> (String, SideLink, Tracks) {
        tracks.retain(|queue, _| subjects.iter().any(|subject| subject.queue == *queue));
        for subject in &subjects {
            self.recovered(subject).await;
            let track = tracks.entry(subject.queue.clone()).or_default();
            if track.token != subject.hold.token {
                // What was noticed and not settled under the tenure before is to be settled under this one.
                let (doubt, patience) = (track.doubt.take(), std::mem::take(&mut track.patience));
                *track = Track { token: subject.hold.token, doubt, patience, ..Track::default() };
            }
            let looked = self.look(subject, track, &mut link).await;
            if let Err(fault) = &looked {
                self.shared.metrics.confirm(&subject.queue, "failed");
                if fault.reason().origin == Origin::Redis {
                    link.drop();
                }
            }
            // The next second tries again.
            self.shared.chores.ended("confirm", &subject.queue, looked);
        }
        (target, link, tracks)
    }

    /// One look at one queue, and what follows from it.
    async fn look(&self, subject: &Subject, track: &mut Track, link: &mut SideLink) -> Result<(), Fault> {
        let settings = &subject.route.settings;
        let Some(held) = subject.post.marker() else { return Ok(()) };
        if track.is_settled(held.position) {
            return Ok(());
        }
        let began = Instant::now();
        let resting = settings.confirm == Confirm::None || track.rests.is_some_and(|until| began < until);
        let limit = if resting { 0 } else { settings.confirm_limit };
        let snapshot = match self.snapshot(subject, link, limit).await {
            Err(fault) if limit > 0 && fault.reason().class == "timeout" => {
                // The server may have done all of the work for nothing.
                track.rests = Some(Instant::now() + AFTER_TIMEOUT);
                return Err(fault);
            }
            snapshot => snapshot?,
        };
        if !resting {
            track.rests = Some(Instant::now() + cost(&snapshot.present).min(began.elapsed()) * SHARE);
        }
        let believed = accept(&subject.hold, &snapshot) != Accepted::No;
        if believed || is_catching_up(&subject.hold, &snapshot) {
            self.judged(subject, track, &snapshot, resting, believed).await?;
        }
        Ok(())
    }

    /// What stands in Redis. Another life than the tenure's may be that of a server that the target no longer names.
    async fn snapshot(&self, subject: &Subject, side: &mut SideLink, limit: u64) -> Result<Snapshot, Fault> {
        let ask = SnapshotAsk { spot: subject.route.spot(), format: &subject.route.format, limit };
        loop {
            let link = side.get(&self.shared, &subject.route.settings.redis).await?;
            let found = of_redis(broker::snapshot(link, &ask).await);
            let strange = match &found {
                Ok(found) => found.facts.server.incarnation.to_string() != subject.hold.incarnation,
                Err(fault) => is_replica(fault),
            };
            if !strange || !side.gave_up() {
                return found;
            }
        }
    }

    /// A look that may be believed as far as marker and incarnation go; while the lane catches up, only its evidence.
    async fn judged(
        &self,
        subject: &Subject,
        track: &mut Track,
        now: &Snapshot,
        resting: bool,
        believed: bool,
    ) -> Result<(), Fault> {
        let Some(marker) = now.found.marker else { return Ok(()) };
        // Not yet known when the reply of the publication is still on its way: judged at the next look.
        let Some(pushed) = subject.hold.pushed(marker.position) else { return Ok(()) };
        let broken = match &track.before {
            Some((before, then)) => judge(before, &now.facts, pushed.saturating_sub(*then)),
            None => subject.hold.judge(&now.facts, pushed),
        };
        track.before = Some((now.facts.clone(), pushed));
        let lasts = broken.as_ref().is_some_and(is_lasting);
        if let Some(broken) = broken {
            self.says_broken(subject, track, &broken);
            track.doubt = Some(broken);
            track.rests = None;
            // Whoever opens the queue before this is settled must know: what is absent may not have been consumed.
            subject.hold.certified.store(false, Ordering::Relaxed);
            if !lasts {
                failpoint::hit("doubt.before");
                self.shared.outbox.doubt(&subject.queue, marker).await?;
                failpoint::hit("doubt.after");
            }
        }
        if lasts {
            return Ok(());
        }
        if !believed {
            return self.remember(subject, track, marker, now).await;
        }
        let rows = rows_of(&now.present);
        if let Some(doubt) = track.doubt.clone() {
            let absent_known = rows.is_some() || subject.route.settings.confirm == Confirm::None;
            if !absent_known || !track.patience.allows(Instant::now()) {
                return Ok(());
            }
            self.settle(subject, track, marker, rows, Some(&doubt)).await?;
            track.patience.spent(Instant::now());
            return Ok(());
        }
        if resting {
            return Ok(());
        }
        if let Some(policy) = unsafe_policy(&now.facts.server)
            && subject.route.settings.confirm == Confirm::Observe
        {
            tracing::debug!(event = "queue.unconfirmed", queue = subject.queue, policy, "absence proves nothing");
            self.shared.metrics.confirm(&subject.queue, "refused");
            return Ok(());
        }
        if !subject.hold.certified.load(Ordering::Relaxed) {
            if rows.is_none() {
                self.cannot_tell(subject, &now.present);
                return Ok(());
            }
            return self.settle(subject, track, marker, rows, None).await;
        }
        match subject.route.settings.confirm {
            Confirm::Observe => self.observed(subject, track, marker, now).await?,
            Confirm::Receipt => self.receipted(subject, track, marker, rows).await?,
            Confirm::None => {}
        }
        self.remember(subject, track, marker, now).await
    }

    /// Leaves what was seen to the relay that opens next, if what it has is of little use.
    async fn remember(
        &self,
        subject: &Subject,
        track: &mut Track,
        marker: Marker,
        now: &Snapshot,
    ) -> Result<(), Fault> {
        // The marker still has batches to pass that bring no messages: Postgres would count those as pushed.
        let passing = marker.position < subject.hold.done;
        if passing || track.doubt.is_some() || !track.is_stale(marker.position, &now.facts, Instant::now()) {
            return Ok(());
        }
        let stored = Baseline::new(marker.position, &now.facts);
        failpoint::hit("remember.before");
        let kept = self.shared.outbox.remember(&subject.queue, marker.tenure, &stored.to_json()).await?;
        failpoint::hit("remember.after");
        if kept {
            track.stored = Some((stored, Instant::now()));
        }
        Ok(())
    }

    /// Settles a boundary: what is absent and not known to be consumed is scheduled again.
    async fn settle(
        &self,
        subject: &Subject,
        track: &mut Track,
        marker: Marker,
        rows: Option<(&[i64], &[Option<Uuid>])>,
        doubt: Option<&Break>,
    ) -> Result<(), Fault> {
        let (present, task_ids) = rows.unwrap_or_default();
        let cause = doubt.map_or("restart", Break::class);
        let evidence = serde_json::json!({
            "incarnation": subject.hold.incarnation,
            "position": marker.position,
            "present": present.len(),
            "reason": doubt.map(ToString::to_string),
        });
        let boundary = Boundary {
            queue: &subject.queue,
            tenure: marker.tenure,
            base: doubt.map(|_| rules::broken(marker)),
            present,
            task_ids,
            cause,
            evidence: &evidence,
            horizon: self.shared.config().relay.replay_horizon.get(),
        };
        failpoint::hit("certify.before");
        let Some(found) = self.shared.outbox.certify(boundary).await? else { return Ok(()) };
        failpoint::hit("certify.after");
        subject.hold.certified.store(true, Ordering::Relaxed);
        track.doubt = None;
        track.absence = Absence::default();
        tracing::info!(event = "queue.certified", queue = subject.queue, cause, scheduled = found.scheduled);
        self.scheduled(subject, cause, found.scheduled, found.duplicates);
        Ok(())
    }

    fn cannot_tell(&self, subject: &Subject, present: &Present) {
        let result = if matches!(present, Present::TooMany(_)) { "too_many" } else { "unknown" };
        self.shared.metrics.confirm(&subject.queue, result);
    }

    /// Absence counts as consumption.
    async fn observed(
        &self,
        subject: &Subject,
        track: &mut Track,
        marker: Marker,
        now: &Snapshot,
    ) -> Result<(), Fault> {
        let settings = &subject.route.settings;
        let Some((present, _)) = rows_of(&now.present) else {
            self.cannot_tell(subject, &now.present);
            return Ok(());
        };
        let grace = if settings.format == FormatName::Celery { settings.confirm_grace.get() } else { Duration::ZERO };
        let Some((consumed, outstanding)) = track.absence.look(Instant::now(), marker.position, present, grace) else {
            return Ok(());
        };
        let checkpoint = (marker.position, consumed, outstanding);
        if track.written.as_ref() == Some(&checkpoint) {
            return Ok(());
        }
        let stored = Baseline::new(marker.position, &now.facts);
        let facts = stored.to_json();
        failpoint::hit("confirm.before");
        let written = self.shared.outbox.confirm(&subject.queue, marker, consumed, &checkpoint.2, &facts).await?;
        failpoint::hit("confirm.after");
        if written.is_some() {
            track.stored = Some((stored, Instant::now()));
        }
        self.shared.metrics.confirm(&subject.queue, if written.is_some() { "confirmed" } else { "unchanged" });
        track.written = Some(checkpoint);
        Ok(())
    }

    /// Only a receipt counts.
    async fn receipted(
        &self,
        subject: &Subject,
        track: &mut Track,
        marker: Marker,
        rows: Option<(&[i64], &[Option<Uuid>])>,
    ) -> Result<(), Fault> {
        let timeout = subject.route.settings.receipt_timeout.get();
        // A receipt is overdue when its task has been absent for that long, not when it was planned that long ago.
        let seen = rows.and_then(|(present, _)| track.absence.look(Instant::now(), marker.position, present, timeout));
        let seen = seen.as_ref().map(|(_, seen)| seen.as_slice());
        let Some(found) = self.shared.outbox.confirm_receipts(&subject.queue, marker, seen, timeout).await? else {
            return Ok(());
        };
        self.shared.metrics.confirm(&subject.queue, "confirmed");
        self.scheduled(subject, "no_receipt", found.scheduled, found.scheduled);
        let outstanding = if found.outstanding == 0 { Vec::new() } else { vec![0] };
        track.written = Some((marker.position, found.consumed, outstanding));
        Ok(())
    }
}

/// The most that a look can have cost the server. What passed here may be more: a busy client waits for its own cores,
/// and must not rest for half a minute because of that.
fn cost(present: &Present) -> Duration {
    let messages = match present {
        Present::Rows { ids, unknown, others, .. } => ids.len() as u64 + unknown + others,
        Present::TooMany(_) => 0,
    };
    LOOK + MESSAGE * u32::try_from(messages).unwrap_or(u32::MAX)
}
