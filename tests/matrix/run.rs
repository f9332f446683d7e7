//! One cell from its beginning to its verdict.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::task::JoinHandle;
use uuid::Uuid;

use super::cell::{Cell, Consumer, Load, Loss, Relays};
use super::clock;
use super::consumers::{Run, Worker};
use super::loss::{Bite, arm, strike};
use super::stage::{Stage, doubted, noticed};
use super::writer::{Books, Writer, writes_until};
use crate::common::{RelayProcess, SOON, eventually};

/// From when a loss can be seen to the word about it. `make matrix` holds every cell to 2 s; the suite runs on machines
/// that are busy with more than it, and has the rest for their scheduler.
fn limit() -> f64 {
    if std::env::var("OUTBOXD_MATRIX").is_ok_and(|wanted| !wanted.is_empty()) { 2.0 } else { 5.0 }
}

/// Rows of a replay: the scene is to reach the loss before it is over, and the second try is for slow machines.
pub const REPLAYS: [i32; 2] = [400, 1600];

/// Long enough for a worker that looks every 10 s for what was taken and never acknowledged.
const LATER: Duration = Duration::from_secs(60);

/// What a cell showed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub committed: usize,
    /// Executions beyond the first.
    pub doubled: usize,
    /// Those of tasks that Redis itself brought back, or that a worker had in hand.
    pub excused: usize,
    pub reported: i64,
    pub noticed: Option<f64>,
    /// The scene came too late for what it is about.
    pub over: bool,
    /// Of the incidents after the loss.
    pub causes: Vec<String>,
    pub proof: String,
    /// What is wrong; nothing should be.
    pub wrong: Vec<String>,
}

/// A cell under way.
struct Scene {
    cell: Cell,
    rows: i32,
    stage: Stage,
    relays: Vec<RelayProcess>,
    worker: Worker,
    writer: Writer,
    books: Books,
    load: Option<(tokio::sync::oneshot::Sender<()>, JoinHandle<Books>)>,
}

/// Plays one cell. Panics if it cannot be set up; what it shows is in the outcome.
pub async fn play(cell: Cell, rows: i32) -> Outcome {
    let stage = Stage::new(cell);
    let relays = stage.relays(cell.relays).await;
    let worker = stage.worker(cell);
    let writer = Writer::new(&stage.fixture.database, "jobs").await;
    let mut scene = Scene { cell, rows, stage, relays, worker, writer, books: Books::default(), load: None };
    if cell.loss != Loss::Empty {
        scene.fill().await;
    }
    let armed = arm(&scene.stage, cell);
    scene.advance().await;
    let replaying = cell.load != Load::Replay || scene.open_incidents().await > 0;
    let ready = clock();
    // A network that is cut is to be missed by somebody.
    let dies_after = cell.loss == Loss::Cut;
    if cell.relays == Relays::Killed && !dies_after {
        scene.relays[0].kill();
    }
    // A list that is drained meanwhile is not one that was evicted.
    let evicts = cell.loss == Loss::Evicted;
    if evicts {
        scene.worker.pause();
    }
    let bite = strike(&scene.stage, cell, &armed);
    if evicts {
        scene.worker.resume();
    }
    if cell.relays == Relays::Killed && dies_after {
        scene.relays[0].kill();
    }
    let mut seen_from = bite.at;
    if cell.relays == Relays::Killed {
        seen_from = clock();
        let relay = scene.stage.relay();
        scene.relays.push(relay);
    }
    let mut outcome = scene.aftermath(&bite, ready).await;
    scene.judge(&mut outcome, &bite, ready, seen_from).await;
    if !replaying && !cell.loss.is_harmless() {
        outcome.over = true;
        outcome.wrong.push("the replay was over before the loss".to_owned());
    }
    outcome
}

impl Scene {
    /// Brings about the load, and a state in which there is something to lose.
    async fn fill(&mut self) {
        self.books.commit(&self.writer, 8).await;
        self.books.roll_back(&mut self.writer, 3).await;
        self.until_ran(5).await;
        match self.cell.load {
            Load::Idle => {
                for _ in 0..6 {
                    self.books.commit(&self.writer, 12).await;
                }
            }
            Load::Busy => {
                self.books.commit(&self.writer, 30).await;
                let (stop, stopped) = tokio::sync::oneshot::channel();
                let writer = Writer::new(&self.stage.fixture.database, "jobs").await;
                self.load = Some((stop, tokio::spawn(writes_until(writer, stopped))));
            }
            Load::Replay => {
                self.books.commit(&self.writer, self.rows).await;
                self.until_ran(14).await;
                self.stage.narrow(&mut self.relays).await;
                let from = clock();
                self.stage.server().flushall().unwrap();
                self.stage.server().cmd(["SET", "kept", "here"]).unwrap();
                assert!(eventually(SOON, || async { noticed(&self.relays, from).is_some() }).await);
            }
        }
        if self.cell.loss == Loss::Drained {
            self.stop_load().await;
            self.drained().await;
            return;
        }
        self.until_ran(12).await;
        if self.cell.loss.is_of_a_key() {
            self.worker.pause();
        }
        // The first may have begun before, and is compared with nothing.
        for _ in 0..2 {
            let looks = self.stage.looks();
            let looked = eventually(SOON, || async { self.stage.looks() > looks }).await;
            assert!(looked, "{}: nobody looked", self.cell);
            // One look asks several times, within milliseconds; the next one comes a second later.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Lets Redis go on from the point to which it will go back.
    async fn advance(&mut self) {
        if matches!(self.cell.loss, Loss::Empty | Loss::Drained) {
            // So long nothing is there, and nothing is to be said about it.
            tokio::time::sleep(Duration::from_millis(2200)).await;
            return;
        }
        let from = self.stage.position();
        self.books.commit(&self.writer, 10).await;
        let moved = || async { self.cell.loss.is_of_a_key() || self.stage.position() > from };
        assert!(eventually(SOON, moved).await, "{}: nothing was published", self.cell);
    }

    async fn until_ran(&self, tasks: usize) {
        let ran = eventually(SOON, || async { self.worker.ran().len() >= tasks }).await;
        assert!(ran, "{}: {} tasks ran.{}", self.cell, self.worker.ran().len(), self.worker.tail());
    }

    async fn stop_load(&mut self) {
        if let Some((stop, writes)) = self.load.take() {
            let _ended = stop.send(());
            self.books.add(writes.await.unwrap());
        }
    }

    async fn aftermath(&mut self, bite: &Bite, ready: f64) -> Outcome {
        let mut outcome = Outcome { proof: bite.proof.clone(), ..Outcome::default() };
        if self.cell.loss.is_of_a_key() {
            // With a backlog that nobody takes from, what vanishes has vanished; it need not be noticed by then.
            let word = || async { noticed(&self.relays, ready).is_some() };
            eventually(Duration::from_secs_f64(limit() + self.stage.patience()), word).await;
            self.worker.resume();
        }
        if self.load.is_some() {
            // How long the load goes on.
            tokio::time::sleep(Duration::from_millis(700)).await;
            self.stop_load().await;
        }
        self.books.commit(&self.writer, 5).await;
        self.books.roll_back(&mut self.writer, 2).await;
        let all = || async { self.missing().is_empty() };
        if !eventually(LATER, all).await {
            let missing = self.missing();
            outcome.wrong.push(format!("{} tasks are missing", missing.len()));
            for task in missing.into_iter().take(3) {
                let status = self.writer.client.query_one("select outbox_status($1)", &[&task]).await.unwrap();
                let (status, heard) = (status.get::<_, Option<String>>(0), self.worker.mentions(task));
                outcome.wrong.push(format!("{task} is {status:?}, the worker's log mentions it: {heard}"));
            }
        }
        if !self.drained().await {
            outcome.wrong.push("the queue was not drained, or an incident not closed".to_owned());
        }
        outcome
    }

    fn missing(&self) -> HashSet<Uuid> {
        let ran: HashSet<Uuid> = self.worker.ran().iter().map(|run| run.task).collect();
        self.books.committed.iter().filter(|task| !ran.contains(task)).copied().collect()
    }

    /// Waits until everything was published, nothing stands in Redis, no incident is open, and none is still to come:
    /// what a new life of Redis may have cost is counted by the look that settles it.
    async fn drained(&self) -> bool {
        eventually(LATER, || async {
            self.stage.standing(self.stage.server()).is_empty()
                && self.stage.position()
                    == Some(self.number("select max(batch) from outbox_batch where queue = 'jobs'").await)
                && self.number("select count(*) from outbox_held where batch is null").await == 0
                && self.open_incidents().await == 0
                && self.number("select count(*) from outbox_tenure where cap is null and not certified").await == 0
                && self.missing().is_empty()
        })
        .await
    }

    async fn open_incidents(&self) -> i64 {
        self.number("select count(*) from outbox_incident where recovered_at is null").await
    }

    async fn number(&self, sql: &str) -> i64 {
        self.writer.client.query_one(sql, &[]).await.unwrap().get::<_, Option<i64>>(0).unwrap_or(0)
    }

    async fn judge(&mut self, outcome: &mut Outcome, bite: &Bite, ready: f64, seen_from: f64) {
        let ran = self.worker.ran();
        outcome.committed = self.books.committed.len();
        let missing = self.missing();
        let known: HashSet<&Uuid> = self.books.committed.iter().collect();
        let ghosts = ran.iter().filter(|run| !known.contains(&run.task)).count();
        if ghosts > 0 {
            outcome.wrong.push(format!("{ghosts} tasks ran that were never committed"));
        }
        if !missing.is_empty() {
            outcome.wrong.push(format!("{} tasks are lost", missing.len()));
        }
        self.count_doubles(outcome, bite, &ran, ready);
        let rows = "select cause, extract(epoch from noticed_at)::float8, coalesce(duplicates_possible, 0) \
                    from outbox_incident order by incident";
        let mut first = None;
        for row in self.writer.client.query(rows, &[]).await.unwrap() {
            outcome.reported += row.get::<_, i64>(2);
            if row.get::<_, f64>(1) >= ready {
                first = first.or(Some(row.get::<_, f64>(1)));
                outcome.causes.push(row.get(0));
            }
        }
        if outcome.doubled > outcome.excused + usize::try_from(outcome.reported).unwrap() {
            outcome.wrong.push("more ran twice than the incidents report".to_owned());
        }
        let word = noticed(&self.relays, ready);
        let doubt = doubted(&self.relays, ready).filter(|_| self.cell.is_a_matter_of_doubt());
        let earliest = [word, first, doubt].into_iter().flatten().min_by(f64::total_cmp);
        outcome.noticed = earliest.map(|at| (at - seen_from).max(0.0));
        self.judge_notice(outcome);
        for relay in &mut self.relays {
            if relay.is_running() && !relay.stop().success() {
                outcome.wrong.push("a relay did not stop in order".to_owned());
            }
        }
    }

    fn judge_notice(&self, outcome: &mut Outcome) {
        if self.cell.loss.is_harmless() {
            let only = if self.cell.loss == Loss::Restarted { "restart" } else { "" };
            if outcome.causes.iter().any(|cause| cause != only) {
                outcome.wrong.push("nothing was lost, and an incident says otherwise".to_owned());
            }
            return;
        }
        let limit = limit() + self.stage.patience();
        if outcome.noticed.is_none_or(|took| took > limit) {
            outcome.wrong.push(format!("noticed after {:?}", outcome.noticed));
        }
    }

    fn count_doubles(&self, outcome: &mut Outcome, bite: &Bite, ran: &[Run], ready: f64) {
        let mut of: HashMap<Uuid, Vec<f64>> = HashMap::new();
        for run in ran {
            of.entry(run.task).or_default().push(run.at);
        }
        let in_hand = self.cell.consumer == Consumer::Celery;
        for (task, times) in of.iter().filter(|(_, times)| times.len() > 1) {
            outcome.doubled += times.len() - 1;
            // Redis went back and had it still; or the worker ran what it had in hand, and Redis gave it out again.
            let before = times.iter().any(|at| *at < bite.at.max(ready));
            let again = bite.after.contains(task) && (before || in_hand);
            outcome.excused += usize::from(again);
        }
    }
}
