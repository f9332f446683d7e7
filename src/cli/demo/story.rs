//! The demo, step by step.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::DemoArgs;
use super::progress::{Progress, many, thousands};
use super::relay::GRACE_SECONDS;
use super::report::{Orders, RedisLoss, RedisRestart, RelayKill, Report, Tasks};
use super::shop::CLIENTS;
use super::stage::{Loss, Stage};
use super::trouble::Trouble;
use super::watch::Story;
use super::worker::{QUEUES, Worker, find_celery};
use crate::sandbox::Sandbox;

/// Orders come in at this rate or faster.
const SLOWEST_PER_SECOND: u64 = 100;
/// How long the stream of orders is to last, if they are many.
const LOAD_SECONDS: u64 = 10;
/// How long the worker is kept busy while Redis is killed.
const BUSY_AT_RESTART: u64 = 5;
/// How long it is kept busy before Redis loses everything.
const BUSY_AT_LOSS: u64 = 5;
/// The most orders whose tasks are to stand in Redis then.
const LOST_ORDERS: u64 = 200;

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
    let end = if args.keep { "stays" } else { "is removed at the end" };
    progress.line(&format!(
        "A shop places {}. Each order is one transaction in PostgreSQL: it stores the order and\n\
         enqueues one task. One order in ten is rolled back on purpose, after both were written.\n\
         All servers are private, on free loopback ports; their folder {end}:\n\
         {}\n",
        many(args.orders, "order"),
        sandbox.folder().display()
    ));
    let celery = if args.without_celery { None } else { find_celery() };
    let worker = if celery.is_some() { "a Celery worker" } else { "a consumer" };
    progress.step(&format!("Start PostgreSQL, Redis, the relay and {worker}"));
    let stage = Stage::start(sandbox, celery.as_deref(), runtime)?;
    let standing = (args.orders / 5).min(LOST_ORDERS);
    let meanwhile = args.orders / 10;
    // The two tasks that keep the worker busy come from orders, too.
    let stream = args.orders - standing - meanwhile - 2;
    let rate = SLOWEST_PER_SECOND.max(stream / LOAD_SECONDS);
    let mut story = Story { stage, runtime, stop, progress, load: None, due: 0, rate, stream, orders: args.orders };
    story.started()?;
    story.place()?;
    let relay_kill = story.kill_the_relay()?;
    let redis_restart = story.restart_redis()?;
    let (loss, mut redis_loss) = story.lose_redis(standing, meanwhile)?;
    story.finish(&loss, &mut redis_loss)?;
    story.report(&loss, (relay_kill, redis_restart, redis_loss))
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
            Worker::Plain(_) => " (no Celery)",
        };
        let worker = self.stage.worker.name();
        self.progress.told(&format!("worker: {worker}{unmodified}; queues {}", QUEUES.join(", ")));
        Ok(())
    }

    /// Step 2: an ordinary day.
    fn place(&mut self) -> Result<(), Trouble> {
        let rate = self.rate;
        self.progress.step(&format!("Place orders: {rate} a second over {CLIENTS} connections"));
        self.orders_come_in(self.stream * 3 / 10);
        self.until_placed(self.due)?;
        let shop = &self.stage.shop;
        self.progress.told(&format!(
            "{} committed, {} rolled back; {} executed so far",
            many(shop.committed(), "order"),
            thousands(shop.rolled_back()),
            many(self.stage.ledger.tasks(), "task")
        ));
        Ok(())
    }

    /// Step 3: the relay dies in the middle of its work.
    fn kill_the_relay(&mut self) -> Result<RelayKill, Trouble> {
        self.progress.step("Kill the relay with SIGKILL; orders go on");
        let before = self.stage.shop.placed();
        let orders = self.stream * 3 / 10;
        self.orders_come_in(orders);
        self.stage.relay.kill();
        self.until_placed(before + orders / 2)?;
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
        self.progress.told(&format!("started again; after {caught_up_seconds:.1} s the worker had executed them all"));
        self.until_placed(self.due)?;
        Ok(RelayKill { orders_meanwhile, caught_up_seconds })
    }

    /// Step 4: Redis dies and comes back with its data.
    fn restart_redis(&mut self) -> Result<RedisRestart, Trouble> {
        self.progress.step("Kill Redis with SIGKILL while tasks stand in it; orders go on");
        self.keep_busy(BUSY_AT_RESTART)?;
        self.orders_come_in(self.stream / 10);
        self.until_placed(self.due)?;
        self.wait("tasks to stand in Redis", |stage| Ok(stage.standing()? > 0))?;
        let before = self.stage.shop.placed();
        let orders = self.stream + 1 - before;
        self.orders_come_in(orders);
        let tasks_before = self.stage.standing()?;
        self.stage.redis.kill();
        self.until_placed(before + orders / 2)?;
        let orders_meanwhile = self.stage.shop.placed() - before;
        let at = Timestamp::now();
        self.stage.redis.start_again()?;
        let tasks_after = self.stage.standing()?;
        self.progress.told(&format!(
            "killed with {} in its queues, {} placed meanwhile, back with {}",
            many(tasks_before, "task"),
            many(orders_meanwhile, "order"),
            many(tasks_after, "task")
        ));
        self.until_placed(self.due)?;
        self.until_executed(self.stage.shop.committed())?;
        self.progress.told("relay and worker have connected again; all tasks so far are executed");
        let runtime = self.runtime.clone();
        self.wait("the relay to see what was consumed", |stage| runtime.block_on(stage.shop.all_consumed()))?;
        self.progress.told("the relay has seen that they were, and has written it down in PostgreSQL");
        Ok(RedisRestart { tasks_before, tasks_after, orders_meanwhile, at })
    }

    /// Step 5: Redis loses everything, in the middle of the load.
    fn lose_redis(&mut self, orders: u64, meanwhile: u64) -> Result<(Loss, RedisLoss), Trouble> {
        self.progress.step("Kill Redis and start it again without its data; orders go on");
        let losses_earlier = self.stage.relay.count("queue.loss");
        self.keep_busy(BUSY_AT_LOSS)?;
        let executed = self.stage.ledger.tasks();
        self.load(orders, Duration::ZERO);
        self.until_placed(self.due)?;
        let wanted = self.stage.shop.committed() - executed;
        self.wait("the tasks to stand in Redis", |stage| {
            stage.ledger.read();
            Ok(stage.standing()? + (stage.ledger.tasks() - executed) >= wanted)
        })?;
        let before = self.stage.shop.placed();
        self.orders_come_in(meanwhile);
        let loss = self.stage.lose_redis()?;
        if let Some(sentence) = not_lost(&loss, self.orders) {
            return Err(Trouble::failed(sentence));
        }
        self.progress.told(&format!(
            "before: {} and {} of the relay in Redis; after: {} and {}",
            many(loss.tasks_before, "task"),
            many(loss.markers_before, "marker"),
            loss.tasks_after,
            loss.markers_after
        ));
        self.until_placed(self.due)?;
        let report = RedisLoss {
            orders_meanwhile: self.stage.shop.placed() - before,
            tasks_before: loss.tasks_before,
            tasks_after: loss.tasks_after,
            markers_before: loss.markers_before,
            markers_after: loss.markers_after,
            losses_earlier,
            ..RedisLoss::default()
        };
        Ok((loss, report))
    }

    /// The end of step 5 and step 6: the loss is noticed, put back, and everything is executed.
    fn finish(&mut self, loss: &Loss, report: &mut RedisLoss) -> Result<(), Trouble> {
        let queues = u64::try_from(QUEUES.len()).unwrap_or(u64::MAX);
        self.wait("the relay to notice the loss of every queue", |stage| Ok(stage.relay.losses(loss.at).0 >= queues))?;
        let (losses_seen, noticed) = self.stage.relay.losses(loss.at);
        report.losses = losses_seen;
        report.noticed_seconds = noticed;
        self.progress.told(&format!(
            "the relay noticed after {noticed:.1} s; it sends again what nothing proves consumed: a task that was"
        ));
        self.progress.told(&format!(
            "executed less than some {GRACE_SECONDS} s before runs twice (confirm_grace: 60s by default, short here)"
        ));
        self.wait("everything to be sent again", |stage| Ok(stage.relay.recovered(loss.at).is_some()))?;
        report.put_back_seconds = self.stage.relay.recovered(loss.at).unwrap_or_default();
        self.progress.told(&format!("everything was back in Redis {:.1} s after its return", report.put_back_seconds));
        self.progress.step("Wait until every committed task is executed and the queues are empty");
        let committed = self.stage.shop.committed();
        // What is missing in the end is for the report to tell.
        let _stalled = self.while_it_moves(|stage| Ok(stage.ledger.tasks() >= committed && stage.standing()? == 0))?;
        self.settle()?;
        report.incidents = self.stage.relay.incidents()?;
        Ok(())
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
        loss: &Loss,
        (relay_kill, redis_restart, redis_loss): (RelayKill, RedisRestart, RedisLoss),
    ) -> Result<Report, Trouble> {
        let committed = self.runtime.block_on(self.stage.shop.tasks())?;
        self.stage.ledger.read();
        let seconds = |at: Timestamp| at.as_duration().as_secs_f64();
        let tasks = Tasks::count(&committed, &self.stage.ledger, seconds(redis_restart.at), seconds(loss.at));
        let shop = &self.stage.shop;
        let orders = Orders { placed: shop.placed(), committed: shop.committed(), rolled_back: shop.rolled_back() };
        let told = format!("{} of {} executed", thousands(tasks.executed), many(tasks.committed, "committed task"));
        self.progress.told(&told);
        // The database's own count is what the tasks are compared with; the shop's must agree.
        let ok = tasks.missing == 0 && tasks.rolled_back_but_executed == 0 && orders.committed == tasks.committed;
        let (worker, seconds) = (self.stage.worker.name(), self.progress.seconds());
        Ok(Report { ok, worker, orders, tasks, relay_kill, redis_restart, redis_loss, seconds, folder: None })
    }
}

/// Why the last step cannot be told, if it cannot: Redis must have had tasks, and must have come back without them.
fn not_lost(loss: &Loss, orders: u64) -> Option<String> {
    if loss.tasks_before == 0 {
        return Some(format!(
            "The worker had executed every task before Redis was killed, so nothing was there to be lost: the orders came in \
             too slowly on this machine. Try again when it is less busy, or with fewer orders: --orders {}",
            orders / 2
        ));
    }
    (loss.tasks_after >= loss.tasks_before).then(|| {
        format!(
            "Redis was to come back without its data, and came back with {} where {} had stood. Either it loaded a file that \
             the demo does not know (look into the folder redis-1 for one beside appendonlydir, appendonly.aof and \
             dump.rdb), or the relay had already put everything back before the demo could look: then try again when the \
             machine is less busy",
            many(loss.tasks_after, "task"),
            many(loss.tasks_before, "task")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(tasks_before: u64, tasks_after: u64) -> Loss {
        Loss { tasks_before, markers_before: 3, tasks_after, markers_after: 0, at: Timestamp::now() }
    }

    #[test]
    fn a_redis_that_kept_its_data_is_named_and_not_called_a_slow_machine() {
        assert_eq!(not_lost(&loss(20, 0), 120), None);
        let kept = not_lost(&loss(20, 20), 120).unwrap();
        assert!(
            kept.contains("came back with 20 tasks where 20 tasks had stood") && !kept.contains("--orders"),
            "{kept}"
        );
        let empty = not_lost(&loss(0, 0), 120).unwrap();
        assert!(empty.contains("nothing was there to be lost") && empty.contains("--orders 60"), "{empty}");
    }
}
