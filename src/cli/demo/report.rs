//! The report at the end: counts that add up.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::ledger::{Ledger, Run};
use super::progress::{many, thousands};
use super::relay::GRACE_SECONDS;

/// Everything that was counted.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether no task is missing and none came from a rolled-back order.
    pub(super) ok: bool,
    /// Who executed the tasks.
    pub(super) worker: String,
    pub(super) orders: Orders,
    pub(super) tasks: Tasks,
    pub(super) relay_kill: RelayKill,
    pub(super) redis_restart: RedisRestart,
    pub(super) redis_loss: RedisLoss,
    /// From the first line to this report.
    pub(super) seconds: f64,
    /// Where servers, logs and the ledger are, if they were kept.
    pub(super) folder: Option<String>,
}

/// `placed = committed + rolled_back`.
#[derive(Debug, Serialize)]
pub(super) struct Orders {
    pub(super) placed: u64,
    pub(super) committed: u64,
    pub(super) rolled_back: u64,
}

/// One task belongs to each committed order: `committed = executed + missing`, and
/// `executions = executed + repeated + rolled_back_but_executed` (with their own repetitions).
#[derive(Debug, Default, Serialize)]
pub(super) struct Tasks {
    pub(super) committed: u64,
    /// Different tasks of committed orders that were executed.
    pub(super) executed: u64,
    pub(super) missing: u64,
    /// Different tasks that were executed although no committed order has them.
    pub(super) rolled_back_but_executed: u64,
    /// Tasks of committed orders that were executed more than once.
    pub(super) executed_more_than_once: u64,
    /// Lines of the worker's ledger.
    pub(super) executions: u64,
    pub(super) repeated: Repeated,
}

/// Executions after the first one of a committed order's task, by their reason.
#[derive(Debug, Default, Serialize)]
pub(super) struct Repeated {
    /// Sent again because Redis had lost every trace of what was consumed a moment before.
    pub(super) after_the_loss: u64,
    /// Sent again because a Redis that comes back with its data may lack what was consumed a moment before.
    pub(super) after_the_restart: u64,
    /// Delivered again by the worker's own transport.
    pub(super) by_the_worker: u64,
    /// Neither.
    pub(super) otherwise: u64,
}

/// The relay was killed and started again.
#[derive(Debug, Default, Serialize)]
pub(super) struct RelayKill {
    pub(super) orders_meanwhile: u64,
    /// From its start until everything that had waited was executed.
    pub(super) caught_up_seconds: f64,
}

/// Redis was killed and started with its data.
#[derive(Debug, Serialize)]
pub(super) struct RedisRestart {
    pub(super) tasks_before: u64,
    pub(super) tasks_after: u64,
    pub(super) orders_meanwhile: u64,
    /// When it answered again.
    pub(super) at: Timestamp,
}

/// Redis came back without its data.
#[derive(Debug, Default, Serialize)]
pub(super) struct RedisLoss {
    pub(super) orders_meanwhile: u64,
    pub(super) tasks_before: u64,
    pub(super) tasks_after: u64,
    pub(super) markers_before: u64,
    pub(super) markers_after: u64,
    /// Queues of which the relay said that Redis has lost something.
    pub(super) losses: u64,
    /// Losses that it saw before: none is expected.
    pub(super) losses_earlier: u64,
    /// From Redis' return until the relay had said so of every queue.
    pub(super) noticed_seconds: f64,
    /// From Redis' return until everything had been sent again, as the relay wrote it down.
    pub(super) put_back_seconds: f64,
    /// What `outboxd incident list` prints in the end.
    pub(super) incidents: String,
}

impl Tasks {
    /// Compares what was committed with what was executed; when Redis came back with and without its data in seconds
    /// since 1970.
    pub(super) fn count(committed: &HashSet<Uuid>, ledger: &Ledger, restarted: f64, lost: f64) -> Self {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let mut tasks = Self { committed: number(committed.len()), executions: ledger.executions(), ..Self::default() };
        for (id, runs) in ledger.runs() {
            if !committed.contains(id) {
                tasks.rolled_back_but_executed += 1;
                continue;
            }
            tasks.executed += 1;
            tasks.executed_more_than_once += u64::from(runs.len() > 1);
            for run in runs.iter().skip(1) {
                tasks.repeated.add(*run, restarted, lost);
            }
        }
        tasks.missing = tasks.committed - tasks.executed;
        tasks
    }
}

impl Repeated {
    fn add(&mut self, run: Run, restarted: f64, lost: f64) {
        if run.redelivered {
            self.by_the_worker += 1;
        } else if run.at >= lost {
            self.after_the_loss += 1;
        } else if run.at >= restarted {
            self.after_the_restart += 1;
        } else {
            self.otherwise += 1;
        }
    }
}

impl Report {
    /// For people.
    pub(super) fn text(&self) -> String {
        let (orders, tasks, loss) = (&self.orders, &self.tasks, &self.redis_loss);
        let mut lines = vec![
            ("orders placed", orders.placed, String::new()),
            ("  rolled back", orders.rolled_back, String::new()),
            ("  committed", orders.committed, "one task each".to_owned()),
            ("tasks executed", tasks.executed, format!("by {}", self.worker)),
            ("  missing", tasks.missing, "committed, but not executed".to_owned()),
            ("  from a rollback", tasks.rolled_back_but_executed, "executed, but not committed".to_owned()),
            ("  more than once", tasks.executed_more_than_once, tasks.repeated.reasons()),
        ];
        let seen = format!(
            "one per queue: {} in Redis, then {}; noticed after {:.1} s",
            many(loss.tasks_before, "task"),
            thousands(loss.tasks_after),
            loss.noticed_seconds
        );
        let why = tasks.repeated.why();
        lines.push(("losses seen", loss.losses + loss.losses_earlier, seen));
        let lines: Vec<String> = lines
            .into_iter()
            .map(|(what, n, note)| format!("  {what:<18}{:>9}   {note}", thousands(n)).trim_end().to_owned())
            .collect();
        let verdict = if self.ok {
            "Every committed task was executed, and none of a rolled-back order."
        } else {
            "This is not what outboxd promises. Please report it with the logs."
        };
        let kept = self.folder.as_ref().map_or_else(String::new, |folder| format!("\nLogs and data are in {folder}"));
        let incidents: Vec<String> = loss.incidents.lines().map(|line| format!("  {line}")).collect();
        format!(
            "\n{}\n{why}\nIncidents, as `outboxd incident list` shows them:\n{}\n\n{verdict} {:.0} s in all.{kept}",
            lines.join("\n"),
            incidents.join("\n"),
            self.seconds
        )
    }
}

impl Repeated {
    /// What somebody asks who sees the number of tasks that were executed more than once; empty if there are none.
    fn why(&self) -> String {
        if self.after_the_loss + self.after_the_restart == 0 {
            return String::new();
        }
        format!(
            "\n  More than once: after a restart of Redis, with or without its data, whatever was executed after the last\n  \
             checkpoint is sent again, because nothing proves that Redis still knew of it. That is the last {GRACE_SECONDS} s here\n  \
             (confirm_grace, 60s by default) and 1 to 2 s more. Workers must be idempotent: docs/delivery.md.\n"
        )
    }

    fn reasons(&self) -> String {
        let reasons = [
            (self.after_the_loss, "sent again after the loss"),
            (self.after_the_restart, "sent again after the restart"),
            (self.by_the_worker, "delivered again by the worker's transport"),
            (self.otherwise, "for another reason"),
        ];
        let told: Vec<String> =
            reasons.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{} {why}", thousands(*n))).collect();
        told.join(", ")
    }
}
