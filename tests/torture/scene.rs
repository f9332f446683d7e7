//! The servers, relays, consumers and books of a torture run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use outboxd::sandbox::{Persistence, Redis, RedisOptions};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::writers::{Books, write};
use crate::common::{Fixture, RelayProcess, config};
use crate::matrix::cell::Consumer;
use crate::matrix::consumers::{Kind, Run, Worker};
use crate::matrix::loss::preview;
use crate::matrix::proof::Life;
use crate::matrix::standing::{db, standing};

/// Each queue has a format, a way of confirming and a consumer of its own.
pub const QUEUES: [(&str, Consumer); 4] = [
    ("letters", Consumer::List),
    ("events", Consumer::Stream),
    ("acked", Consumer::Receipts),
    ("mails", Consumer::Celery),
];

const CONFIG: &str = r#"
[relay]
batch_size = 20
retry_min = "20ms"
retry_max = "300ms"
takeover_after = "300ms"
replay_settle = "50ms"
[queues.letters]
format = "list"
push = "right"
processing = ["letters:busy"]
[queues.events]
format = "stream"
group = "workers"
[queues.acked]
format = "list"
push = "right"
processing = ["acked:busy"]
confirm = "receipt"
receipt_timeout = "3s"
[queues.mails]
confirm_grace = "2s"
"#;

/// How long nothing may get on after the last fault before it is given up.
const STUCK: Duration = Duration::from_secs(60);
/// From the last fault until all is well, even if things get on.
const CALM: Duration = Duration::from_secs(1800);

pub struct Scene {
    workers: Vec<(Consumer, &'static str, Worker)>,
    pub relays: Vec<RelayProcess>,
    /// Told to stop.
    pub leaving: Vec<RelayProcess>,
    pub fixture: Fixture,
    books: Books,
    stopped: Arc<AtomicBool>,
    faults: BTreeMap<String, usize>,
    calm: Duration,
    /// Executions that Redis itself may have caused: it came back with tasks that had run, or that a worker had in hand.
    excused: usize,
}

impl Scene {
    pub fn new() -> Self {
        let redis = RedisOptions { persistence: Persistence::AofAlways, ..RedisOptions::default() };
        let fixture = Fixture::with_own_postgres(&[("fsync", "on")], redis);
        let start = |(queue, consumer): (&'static str, Consumer)| {
            let ours = |kind| Worker::start(kind, queue, fixture.redis.address(), 1, Duration::from_millis(5));
            let worker = match consumer {
                Consumer::List => ours(Kind::List),
                Consumer::Stream => ours(Kind::Stream),
                Consumer::Receipts => ours(Kind::Receipts(fixture.database.url())),
                Consumer::Celery => Worker::celery(&fixture.sandbox, &fixture.redis.url(1), queue),
            };
            (consumer, queue, worker)
        };
        let workers = QUEUES.map(start).into();
        let (books, stopped) = (Books::default(), Arc::new(AtomicBool::new(false)));
        let (relays, leaving, faults) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut scene =
            Self { workers, relays, leaving, fixture, books, stopped, faults, calm: Duration::ZERO, excused: 0 };
        scene.relays = vec![scene.relay(), scene.relay()];
        scene
    }

    pub fn relay(&self) -> RelayProcess {
        let text = config(&self.fixture.database.url(), &self.fixture.redis.url(1), CONFIG);
        let quick = [
            ("OUTBOXD_REDIS__DEFAULT__CONNECT_TIMEOUT", "500ms"),
            ("OUTBOXD_REDIS__DEFAULT__RESPONSE_TIMEOUT", "1s"),
            ("OUTBOXD_DATABASE__CONNECT_TIMEOUT", "1s"),
        ];
        RelayProcess::start(&self.fixture.sandbox, &text, &quick, &[])
    }

    /// One application at work.
    pub fn writer(&self, rng: Rng) -> JoinHandle<Books> {
        tokio::spawn(write(self.fixture.database.url(), rng, Arc::clone(&self.stopped)))
    }

    pub fn stop_writing(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub fn book(&mut self, books: Books) {
        self.books.committed.extend(books.committed);
        self.books.rolled_back.extend(books.rolled_back);
        self.books.unknown.extend(books.unknown);
    }

    pub fn count(&mut self, fault: &str) {
        *self.faults.entry(fault.to_owned()).or_default() += 1;
    }

    /// Kills Redis, does something to its data, and starts it.
    pub fn restart_redis(&mut self, meanwhile: impl FnOnce(&Redis)) {
        let redis = &self.fixture.redis;
        let life = Life::of(redis.connect().unwrap());
        redis.kill();
        meanwhile(redis);
        let will_stand = preview(&self.fixture.sandbox, redis, |copied| {
            let of = |(_, queue, worker): &(Consumer, &str, Worker)| {
                let consumer = QUEUES.iter().find(|(name, _)| name == queue).unwrap().1;
                (standing(copied, consumer, queue), worker.ran())
            };
            self.workers.iter().map(of).collect::<Vec<_>>()
        });
        for ((consumer, ..), (standing, ran)) in self.workers.iter().zip(will_stand) {
            let ran: HashSet<Uuid> = ran.into_iter().map(|run: Run| run.task).collect();
            self.excused += standing.intersection(&ran).count();
            // The worker may go on with what it had taken, and is given it again.
            self.excused += if *consumer == Consumer::Celery { 2 } else { 0 };
        }
        redis.start_again().unwrap();
        life.ended(redis.connect().unwrap());
    }

    /// Everything runs again, and everything is done; gives up in the end, and the verdict says what is missing.
    pub async fn calm(&mut self) {
        for relay in &mut self.leaving {
            relay.wait(Duration::from_secs(60));
        }
        let unknown = std::mem::take(&mut self.books.unknown);
        let db = self.fixture.database.connect().await;
        let there = "select task_id from outbox where task_id = any($1)";
        for row in db.query(there, &[&unknown]).await.unwrap() {
            self.books.committed.push(row.get(0));
        }
        // What a new life of Redis may have cost is counted when its tenure is certified.
        let open = "select (select count(*) from outbox_incident where recovered_at is null)
                         + (select count(*) from outbox_tenure where cap is null and not certified)
                         + (select count(*) from outbox_held where batch is null)";
        let began = Instant::now();
        let (mut left, mut since) = ((usize::MAX, usize::MAX, i64::MAX), began);
        while left != (0, 0, 0) && since.elapsed() < STUCK && began.elapsed() < CALM {
            let open: i64 = db.query_one(open, &[]).await.unwrap().get(0);
            let stand = QUEUES.iter().map(|(queue, of)| standing(&self.fixture.redis, *of, queue).len()).sum();
            let now = (self.missing().len(), stand, open);
            // A replay makes more of one of them and less of another: that, too, is getting on.
            if now != left {
                (left, since) = (now, Instant::now());
            }
            // The interval of asking; what is waited for is the state.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.calm = began.elapsed();
    }

    fn ran(&self) -> Vec<Run> {
        self.workers.iter().flat_map(|(_, _, worker)| worker.ran()).collect()
    }

    fn missing(&self) -> Vec<Uuid> {
        let ran: HashSet<Uuid> = self.ran().iter().map(|run| run.task).collect();
        self.books.committed.iter().filter(|task| !ran.contains(task)).copied().collect()
    }

    pub async fn verdict(&self) -> Verdict {
        let db = self.fixture.database.connect().await;
        let mut verdict = Verdict {
            committed: self.books.committed.len(),
            calm: self.calm,
            excused: self.excused,
            ..Verdict::default()
        };
        verdict.rolled_back = self.books.rolled_back.len();
        verdict.faults.clone_from(&self.faults);
        let stands: HashSet<Uuid> =
            QUEUES.iter().flat_map(|(queue, of)| standing(&self.fixture.redis, *of, queue)).collect();
        for task in self.missing() {
            let row = db.query_one("select outbox_status($1)", &[&task]).await.unwrap();
            let status: Option<String> = row.get(0);
            let queue = db.query_opt("select queue from outbox where task_id = $1", &[&task]).await.unwrap();
            let queue = queue.map_or(String::new(), |row| row.get(0));
            let place = if stands.contains(&task) { "in Redis" } else { "nowhere" };
            verdict.missing.entry(format!("{queue}, {}, {place}", status.unwrap_or_default())).or_default().push(task);
        }
        let known: HashSet<&Uuid> = self.books.committed.iter().collect();
        let mut times: HashMap<Uuid, usize> = HashMap::new();
        for run in self.ran() {
            *times.entry(run.task).or_default() += 1;
        }
        verdict.ghosts = times.keys().filter(|task| !known.contains(task)).count();
        verdict.doubled = times.values().map(|times| times - 1).sum();
        let causes = "select cause, count(*), coalesce(sum(duplicates_possible), 0)::bigint,
                             count(*) filter (where recovered_at is null)
                        from outbox_incident group by 1 order by 1";
        for row in db.query(causes, &[]).await.unwrap() {
            verdict.reported += usize::try_from(row.get::<_, i64>(2)).unwrap();
            verdict.open += row.get::<_, i64>(3);
            verdict.incidents.insert(row.get(0), row.get(1));
        }
        let held = db.query_one("select count(*) from outbox_held where batch is null", &[]).await.unwrap();
        verdict.waiting = held.get(0);
        verdict.standing = QUEUES.iter().map(|(queue, of)| standing(&self.fixture.redis, *of, queue).len()).sum();
        if !verdict.missing.is_empty() {
            verdict.keys = db_keys(&self.fixture.redis);
        }
        verdict
    }
}

fn db_keys(redis: &Redis) -> Vec<String> {
    db(redis, &["KEYS", "*"]).map(|keys| keys.texts()).unwrap_or_default()
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Verdict {
    committed: usize,
    rolled_back: usize,
    /// Tasks that did not run, by queue, state and whether they stand in Redis.
    missing: BTreeMap<String, Vec<Uuid>>,
    ghosts: usize,
    doubled: usize,
    reported: usize,
    excused: usize,
    /// Incidents that were not closed, rows that still wait, messages that still stand.
    open: i64,
    waiting: i64,
    standing: usize,
    incidents: BTreeMap<String, i64>,
    faults: BTreeMap<String, usize>,
    calm: Duration,
    keys: Vec<String>,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.committed > 0
            && self.missing.is_empty()
            && self.ghosts == 0
            && (self.open, self.waiting, self.standing) == (0, 0, 0)
            && self.doubled <= self.reported + self.excused
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} committed, {} rolled back, {} missing, {} ghosts; {} s from the last fault to the end",
            self.committed,
            self.rolled_back,
            self.missing.values().map(Vec::len).sum::<usize>(),
            self.ghosts,
            self.calm.as_secs()
        )?;
        writeln!(
            f,
            "{} ran twice; reported possible {}, brought back by Redis {}",
            self.doubled, self.reported, self.excused
        )?;
        writeln!(f, "{} incidents open, {} rows wait, {} messages stand", self.open, self.waiting, self.standing)?;
        writeln!(f, "incidents {:?}", self.incidents)?;
        write!(f, "{} faults {:?}", self.faults.values().sum::<usize>(), self.faults)?;
        for (what, tasks) in &self.missing {
            write!(f, "\n{} missing: {what}, {:?} ..", tasks.len(), &tasks[..tasks.len().min(20)])?;
        }
        if !self.missing.is_empty() {
            write!(f, "\nkeys {:?}", self.keys)?;
        }
        Ok(())
    }
}
