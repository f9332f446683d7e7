//! The demo, step by step.

use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DemoArgs;
use super::progress::{Progress, many, thousands};
use super::relay::HORIZON_SECONDS;
use super::report::{Orders, RedisLoss, RedisRestart, RelayKill, Report, Tasks};
use super::shop::CLIENTS;
use super::stage::{Flush, Stage};
use super::trouble::Trouble;
use super::worker::{QUEUES, Worker, find_celery};
use crate::sandbox::Sandbox;

/// Orders come in at this rate or faster.
const SLOWEST_PER_SECOND: u64 = 100;
/// How long the stream of orders is to last, if they are many.
const LOAD_SECONDS: u64 = 10;
/// How long the worker is kept busy while Redis is killed.
const BUSY_AT_RESTART: u64 = 3;
/// How long it is kept busy around the FLUSHALL.
const BUSY_AT_FLUSH: u64 = 5;
/// The most orders that the FLUSHALL hits.
const FLUSHED_ORDERS: u64 = 300;
/// Something that takes longer has failed, unless it still makes progress.
const PATIENCE: Duration = Duration::from_secs(30);

/// The demo under way.
struct Story<'a> {
    stage: Stage,
    runtime: &'a Handle,
    stop: &'a CancellationToken,
    progress: Progress,
    load: Option<JoinHandle<Result<(), Trouble>>>,
    /// Orders of the stream: all but the last step's.
    stream: u64,
    orders: u64,
}

/// Plays it from the beginning to the report, and ends everything that it started.
pub(super) fn tell(args: &DemoArgs, runtime: &Handle, stop: &CancellationToken) -> Result<Report, Trouble> {
    let sandbox = Sandbox::new()?;
    if args.keep {
        sandbox.keep();
    }
    let told = play(args, &sandbox, runtime, stop);
    let folder = sandbox.folder().display().to_string();
    match told {
        Ok(mut report) => {
            if !report.ok {
                sandbox.keep();
            }
            report.folder = (args.keep || !report.ok).then_some(folder);
            Ok(report)
        }
        Err(Trouble::Failed(sentence)) => {
            sandbox.keep();
            Err(Trouble::Failed(format!("{sentence}\nLogs and data are kept in {folder}")))
        }
        Err(Trouble::Interrupted) => Err(Trouble::Interrupted),
    }
}

fn play(args: &DemoArgs, sandbox: &Sandbox, runtime: &Handle, stop: &CancellationToken) -> Result<Report, Trouble> {
    let mut progress = Progress::new();
    let end = if args.keep { "is left there" } else { "removed at the end" };
    progress.line(&format!(
        "A shop places {}. Each order is one transaction in PostgreSQL: it stores the order and\n\
         enqueues one task. One order in ten is rolled back on purpose, after both were written.\n\
         All servers are private, on free loopback ports; everything lives in\n\
         {} and {end}.\n",
        many(args.orders, "order"),
        sandbox.folder().display()
    ));
    let celery = if args.without_celery { None } else { find_celery() };
    let worker = if celery.is_some() { "a Celery worker" } else { "a consumer" };
    progress.step(&format!("Start PostgreSQL, Redis, the relay and {worker}"));
    let stage = Stage::start(sandbox, celery.as_deref(), runtime)?;
    let flushed = (args.orders / 5).min(FLUSHED_ORDERS);
    // The two tasks that keep the worker busy come from orders, too.
    let stream = args.orders - flushed - 2;
    let mut story = Story { stage, runtime, stop, progress, load: None, stream, orders: args.orders };
    story.started()?;
    story.place()?;
    let relay_kill = story.kill_the_relay()?;
    let redis_restart = story.restart_redis()?;
    let (flush, mut redis_loss) = story.empty_redis(flushed)?;
    story.finish(&flush, &mut redis_loss)?;
    story.report(&flush, (relay_kill, redis_restart, redis_loss))
}

impl Story<'_> {
    /// Step 1, once everything runs.
    fn started(&mut self) -> Result<(), Trouble> {
        self.wait("the relay to be ready", |stage| Ok(stage.relay.count("relay.ready") > 0))?;
        let postgres = self.runtime.block_on(self.stage.shop.version())?;
        let redis = self.stage.redis.info("redis_version")?.unwrap_or_default();
        self.progress.told(&format!(
            "PostgreSQL {postgres} (port {}), Redis {redis} with its append-only file (port {})",
            self.stage.postgres.port(),
            self.stage.redis.port()
        ));
        let relay = self.stage.relay.id();
        self.progress.told(&format!("relay: outboxd {}, process {relay}", env!("CARGO_PKG_VERSION")));
        let unmodified = match &self.stage.worker {
            Worker::Celery(_) => ", unmodified",
            Worker::Plain(_) => ", because Celery was not found or not wanted",
        };
        let worker = self.stage.worker.name();
        let [first, second, third] = QUEUES;
        self.progress.told(&format!("worker: {worker}{unmodified}"));
        self.progress.told(&format!("queues: {first}, {second} and {third}"));
        Ok(())
    }

    /// Step 2: an ordinary day.
    fn place(&mut self) -> Result<(), Trouble> {
        let rate = SLOWEST_PER_SECOND.max(self.stream / LOAD_SECONDS);
        self.progress.step(&format!("Place orders: {rate} a second over {CLIENTS} connections"));
        let (shop, stream, every) = (self.stage.shop.clone(), self.stream, Duration::from_secs(1) / narrow(rate));
        self.load = Some(self.runtime.spawn(async move { shop.place(stream, every).await }));
        self.until_placed(self.stream / 4)?;
        let shop = &self.stage.shop;
        let (committed, rolled_back) = (shop.committed(), shop.rolled_back());
        self.stage.ledger.read();
        self.progress.told(&format!(
            "{} committed, {} rolled back; {} executed so far",
            many(committed, "order"),
            thousands(rolled_back),
            many(self.stage.ledger.tasks(), "task")
        ));
        Ok(())
    }

    /// Step 3: the relay dies in the middle of its work.
    fn kill_the_relay(&mut self) -> Result<RelayKill, Trouble> {
        self.progress.step("Kill the relay with SIGKILL; orders go on");
        let before = self.stage.shop.placed();
        self.stage.relay.kill();
        self.until_placed(before + self.stream / 6)?;
        let orders_meanwhile = self.stage.shop.placed() - before;
        self.progress.told(&format!(
            "{} placed without a relay: their tasks wait in PostgreSQL",
            many(orders_meanwhile, "order")
        ));
        let committed = self.stage.shop.committed();
        let started = Instant::now();
        self.stage.relay.start_again()?;
        self.until_executed(committed)?;
        let caught_up_seconds = started.elapsed().as_secs_f64();
        self.progress.told(&format!("started again; {caught_up_seconds:.1} s later the worker had executed all of them"));
        Ok(RelayKill { orders_meanwhile, caught_up_seconds })
    }

    /// Step 4: Redis dies and comes back with its data.
    fn restart_redis(&mut self) -> Result<RedisRestart, Trouble> {
        self.progress.step("Kill Redis with SIGKILL while tasks stand in it; orders go on");
        self.keep_busy(BUSY_AT_RESTART)?;
        let some = (self.stream / 20).min(30);
        self.wait("tasks to stand in Redis", |stage| Ok(stage.standing()? >= some))?;
        let tasks_before = self.stage.standing()?;
        let before = self.stage.shop.placed();
        self.stage.redis.kill();
        let rest = self.stream + 1 - before.min(self.stream);
        self.until_placed(before + (self.stream / 8).min(rest))?;
        let orders_meanwhile = self.stage.shop.placed() - before;
        self.stage.redis.start_again()?;
        let tasks_after = self.stage.standing()?;
        self.progress.told(&format!(
            "killed with {} in its queues, {} placed meanwhile, back with {}",
            many(tasks_before, "task"),
            many(orders_meanwhile, "order"),
            many(tasks_after, "task")
        ));
        self.until_placed(self.stream + 1)?;
        self.until_executed(self.stage.shop.committed())?;
        self.progress.told("relay and worker have connected again; all tasks so far are executed");
        Ok(RedisRestart { tasks_before, tasks_after, orders_meanwhile })
    }

    /// Step 5: Redis loses everything.
    fn empty_redis(&mut self, orders: u64) -> Result<(Flush, RedisLoss), Trouble> {
        self.progress.step("Lose everything in Redis: FLUSHALL");
        let losses_earlier = number(self.stage.relay.count("queue.loss"));
        self.keep_busy(BUSY_AT_FLUSH)?;
        let executed = self.stage.ledger.tasks();
        let shop = self.stage.shop.clone();
        self.load = Some(self.runtime.spawn(async move { shop.place(orders, Duration::ZERO).await }));
        self.until_placed(self.orders)?;
        let wanted = self.stage.shop.committed() - executed;
        self.wait("the tasks to stand in Redis", |stage| {
            stage.ledger.read();
            Ok(stage.standing()? + (stage.ledger.tasks() - executed) >= wanted)
        })?;
        let flush = self.stage.flush()?;
        if flush.tasks_before == 0 || flush.tasks_after + flush.markers_after > 0 {
            return Err(Trouble::failed(format!(
                "FLUSHALL was to remove tasks, but found {} and left {}: this machine was too slow for the step, or \
                 somebody else uses this Redis; run the demo again",
                flush.tasks_before, flush.tasks_after
            )));
        }
        self.progress.told(&format!(
            "before: {} and {} of the relay in Redis; after: {} and {}",
            many(flush.tasks_before, "task"),
            many(flush.markers_before, "marker"),
            flush.tasks_after,
            flush.markers_after
        ));
        let loss = RedisLoss {
            tasks_before: flush.tasks_before,
            tasks_after: flush.tasks_after,
            markers_before: flush.markers_before,
            markers_after: flush.markers_after,
            losses_earlier,
            ..RedisLoss::default()
        };
        Ok((flush, loss))
    }

    /// The end of step 5 and step 6: the loss is noticed, put back, and everything is executed.
    fn finish(&mut self, flush: &Flush, loss: &mut RedisLoss) -> Result<(), Trouble> {
        let queues = number(QUEUES.len());
        self.wait("the relay to notice the loss of every queue", |stage| {
            Ok(losses(stage, flush.at).0 >= queues)
        })?;
        let (losses_seen, noticed) = losses(&mut self.stage, flush.at);
        loss.losses = losses_seen;
        loss.noticed_seconds = noticed;
        self.progress.told(&format!("the relay noticed after {noticed:.1} s: the markers were gone"));
        self.progress.told(&format!(
            "it sends again what it sent in the last {HORIZON_SECONDS} s, executed or not (here: relay.replay_horizon ="
        ));
        self.progress.told(&format!("\"{HORIZON_SECONDS}s\"; the default is 15min)"));
        self.wait("everything to be sent again", |stage| Ok(put_back(stage, flush.at).is_some()))?;
        loss.put_back_seconds = put_back(&mut self.stage, flush.at).unwrap_or_default();
        self.progress.told(&format!("everything was back in Redis {:.1} s after the FLUSHALL", loss.put_back_seconds));
        self.progress.step("Wait until every committed task is executed and the queues are empty");
        let committed = self.stage.shop.committed();
        // What is missing in the end is for the report to tell.
        let _stalled = self.while_it_moves(|stage| {
            Ok(stage.ledger.tasks() >= committed && stage.standing()? == 0)
        })?;
        self.settle()
    }

    /// The last message was taken from its queue a moment ago: waits until its execution is written down, too.
    fn settle(&mut self) -> Result<(), Trouble> {
        const QUIET: Duration = Duration::from_millis(500);
        let mut seen = (self.stage.ledger.executions(), Instant::now());
        self.wait("the worker to become idle", |stage| {
            stage.ledger.read();
            if stage.ledger.executions() != seen.0 {
                seen = (stage.ledger.executions(), Instant::now());
            }
            Ok(seen.1.elapsed() >= QUIET)
        })
    }

    fn report(
        mut self,
        flush: &Flush,
        (relay_kill, redis_restart, redis_loss): (RelayKill, RedisRestart, RedisLoss),
    ) -> Result<Report, Trouble> {
        let committed = self.runtime.block_on(self.stage.shop.tasks())?;
        self.stage.ledger.read();
        let tasks = Tasks::count(&committed, &self.stage.ledger, flush.at.as_duration().as_secs_f64());
        let shop = &self.stage.shop;
        let orders =
            Orders { placed: shop.placed(), committed: shop.committed(), rolled_back: shop.rolled_back() };
        let told = format!("{} of {} executed", thousands(tasks.executed), many(tasks.committed, "committed task"));
        self.progress.told(&told);
        // The database's own count is what the tasks are compared with; the shop's must agree.
        let ok = tasks.missing == 0 && tasks.rolled_back_but_executed == 0 && orders.committed == tasks.committed;
        let (worker, seconds) = (self.stage.worker.name(), self.progress.seconds());
        Ok(Report { ok, worker, orders, tasks, relay_kill, redis_restart, redis_loss, seconds, folder: None })
    }

    /// Places an order whose task keeps the worker busy, and waits until it does. While a task is executed, this worker
    /// has no other message in its hands, so that what happens to Redis meets all the others in their queues.
    fn keep_busy(&mut self, seconds: u64) -> Result<(), Trouble> {
        let task = self.runtime.block_on(self.stage.shop.place_slow(seconds))?;
        self.wait("the worker to begin a long task", |stage| {
            stage.ledger.read();
            Ok(stage.ledger.is_running(task))
        })?;
        self.progress.told(&format!("a task of {seconds} s keeps the worker busy, so that others pile up behind it"));
        Ok(())
    }

    fn until_placed(&mut self, orders: u64) -> Result<(), Trouble> {
        self.moves(&format!("{} to be placed", many(orders, "order")), |stage| Ok(stage.shop.placed() >= orders))
    }

    fn until_executed(&mut self, tasks: u64) -> Result<(), Trouble> {
        self.moves(&format!("{} to be executed", many(tasks, "task")), |stage| Ok(stage.ledger.tasks() >= tasks))
    }

    fn moves(&mut self, what: &str, done: impl FnMut(&mut Stage) -> Result<bool, Trouble>) -> Result<(), Trouble> {
        if self.while_it_moves(done)? { Ok(()) } else { Err(self.too_long(what)) }
    }

    /// Waits until it is so; `false` if neither an order was placed nor a task executed for a long time.
    fn while_it_moves(&mut self, mut done: impl FnMut(&mut Stage) -> Result<bool, Trouble>) -> Result<bool, Trouble> {
        let mut last = (0, Instant::now());
        while !self.look(&mut done)? {
            let sum = self.stage.shop.placed() + self.stage.ledger.executions();
            if sum != last.0 {
                last = (sum, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until it is so; too long is a failure.
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Stage) -> Result<bool, Trouble>) -> Result<(), Trouble> {
        let begun = Instant::now();
        while !self.look(&mut done)? {
            if begun.elapsed() > PATIENCE {
                return Err(self.too_long(what));
            }
        }
        Ok(())
    }

    /// One look, and a short pause if it was in vain.
    fn look(&mut self, done: &mut impl FnMut(&mut Stage) -> Result<bool, Trouble>) -> Result<bool, Trouble> {
        if self.stop.is_cancelled() {
            return Err(Trouble::Interrupted);
        }
        if let Some(load) = self.load.take_if(|load| load.is_finished()) {
            self.runtime.block_on(load).map_err(|_| Trouble::failed("placing orders has panicked"))??;
        }
        self.stage.check()?;
        self.stage.ledger.read();
        if done(&mut self.stage)? {
            return Ok(true);
        }
        let shop = &self.stage.shop;
        self.progress.live(&format!(
            "{} of {} orders, {} rolled back, {} executed",
            thousands(shop.placed()),
            thousands(self.orders),
            thousands(shop.rolled_back()),
            many(self.stage.ledger.tasks(), "task")
        ));
        // Processes and files of others send no event.
        thread::sleep(Duration::from_millis(10));
        Ok(false)
    }

    fn too_long(&mut self, what: &str) -> Trouble {
        let ended = if self.stage.relay.is_running() { "" } else { " The relay has ended." };
        let words = self.stage.relay.last_words();
        Trouble::failed(format!("Waited {} s in vain for {what}.{ended}{words}", PATIENCE.as_secs()))
    }
}

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if let Some(load) = self.load.take() {
            load.abort();
        }
    }
}

/// How many losses the relay reported since then, and how many seconds later it had reported the last.
fn losses(stage: &mut Stage, since: Timestamp) -> (u64, f64) {
    let later = stage.relay.events().iter().filter(|event| event.name == "queue.loss").filter_map(|event| event.at);
    let times: Vec<f64> = later.map(|at| seconds(since, at)).filter(|seconds| *seconds > -0.1).collect();
    (number(times.len()), times.iter().copied().fold(0.0, f64::max))
}

/// How many seconds after `since` every queue that had lost something had been sent again; `None` before that.
fn put_back(stage: &mut Stage, since: Timestamp) -> Option<f64> {
    let events: Vec<_> =
        stage.relay.events().iter().filter(|event| event.at.is_some_and(|at| seconds(since, at) > -0.1)).collect();
    let mut last: f64 = 0.0;
    for queue in QUEUES {
        let of = |name: &str| events.iter().rev().find(|e| e.name == name && e.text("queue") == queue);
        let loss = of("queue.loss")?;
        if loss.number("newest") > loss.number("done") {
            last = last.max(seconds(since, of("queue.caught_up")?.at?));
        }
    }
    Some(last)
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
