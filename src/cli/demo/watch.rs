//! The demo under way: how it lets orders come in, how it waits, and what ends a wait.

use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::progress::{Progress, many, thousands};
use super::stage::Stage;
use super::trouble::Trouble;

/// Something that takes longer has failed, unless it still makes progress.
const PATIENCE: Duration = Duration::from_secs(30);

/// The demo under way.
pub(super) struct Story<'a> {
    pub(super) stage: Stage,
    pub(super) runtime: &'a Handle,
    pub(super) stop: &'a CancellationToken,
    pub(super) progress: Progress,
    /// Orders that are being placed.
    pub(super) load: Option<JoinHandle<Result<(), Trouble>>>,
    /// How many orders will have been placed then.
    pub(super) due: u64,
    /// Orders per second.
    pub(super) rate: u64,
    /// Orders that come in at this rate: all but those of the step that loses everything.
    pub(super) stream: u64,
    /// All of them.
    pub(super) orders: u64,
}

impl Story<'_> {
    /// Places an order whose task keeps the worker busy, and waits until it does. While a task is executed, this worker
    /// has no other message in its hands, so that what happens to Redis meets all the others in their queues.
    pub(super) fn keep_busy(&mut self, seconds: u64) -> Result<(), Trouble> {
        let task = self.runtime.block_on(self.stage.shop.place_slow(seconds))?;
        self.wait("the worker to begin a long task", |stage| {
            stage.ledger.read();
            Ok(stage.ledger.is_running(task))
        })?;
        self.progress.told(&format!("a task of {seconds} s keeps the worker busy, so that others pile up behind it"));
        Ok(())
    }

    /// Lets so many orders come in at the usual rate. Does not wait for them.
    pub(super) fn orders_come_in(&mut self, orders: u64) {
        self.load(orders, Duration::from_secs(1) / u32::try_from(self.rate).unwrap_or(u32::MAX));
    }

    pub(super) fn load(&mut self, orders: u64, every: Duration) {
        let shop = self.stage.shop.clone();
        self.due = shop.placed() + orders;
        self.load = Some(self.runtime.spawn(async move { shop.place(orders, every).await }));
    }

    pub(super) fn until_placed(&mut self, orders: u64) -> Result<(), Trouble> {
        self.moves(&format!("{} to be placed", many(orders, "order")), |stage| Ok(stage.shop.placed() >= orders))
    }

    pub(super) fn until_executed(&mut self, tasks: u64) -> Result<(), Trouble> {
        self.moves(&format!("{} to be executed", many(tasks, "task")), |stage| Ok(stage.ledger.tasks() >= tasks))
    }

    fn moves(&mut self, what: &str, done: impl FnMut(&mut Stage) -> Result<bool, Trouble>) -> Result<(), Trouble> {
        if self.while_it_moves(done)? { Ok(()) } else { Err(self.too_long(what)) }
    }

    /// Waits until it is so; `false` if neither an order was placed nor a task executed for a long time.
    pub(super) fn while_it_moves(
        &mut self,
        mut done: impl FnMut(&mut Stage) -> Result<bool, Trouble>,
    ) -> Result<bool, Trouble> {
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
    pub(super) fn wait(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Stage) -> Result<bool, Trouble>,
    ) -> Result<(), Trouble> {
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
        let (placed, ledger) = (self.stage.shop.placed(), &self.stage.ledger);
        if placed > 0 {
            self.progress.live(&format!(
                "{} of {} orders, {} executed, {}",
                thousands(placed),
                thousands(self.orders),
                many(ledger.tasks(), "task"),
                many(ledger.executions(), "execution")
            ));
        }
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
