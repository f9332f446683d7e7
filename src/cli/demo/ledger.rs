//! What the worker executed, as it wrote it down itself.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use uuid::Uuid;

use super::tail::Tail;

/// One line that the application writes for an execution.
#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    id: Uuid,
    at: f64,
    #[serde(default)]
    redelivered: bool,
}

/// One execution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// When it began, in seconds since 1970.
    pub(super) at: f64,
    /// Whether the worker's own transport had delivered the message before.
    pub(super) redelivered: bool,
}

/// All executions so far, by task.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    tail: Tail,
    runs: HashMap<Uuid, Vec<Run>>,
    ended: HashSet<Uuid>,
    executions: u64,
}

impl Ledger {
    pub(super) fn new(path: PathBuf) -> Self {
        let tail = Tail::new(path.clone());
        Self { path, tail, runs: HashMap::new(), ended: HashSet::new(), executions: 0 }
    }

    /// The file that the worker appends to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes in what was written since the last call.
    pub(super) fn read(&mut self) {
        for line in self.tail.lines().iter().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            if line.event == "run" {
                self.executions += 1;
                self.runs.entry(line.id).or_default().push(Run { at: line.at, redelivered: line.redelivered });
            } else {
                self.ended.insert(line.id);
            }
        }
    }

    /// How many different tasks were executed.
    pub(super) fn tasks(&self) -> u64 {
        u64::try_from(self.runs.len()).unwrap_or(u64::MAX)
    }

    /// How many executions there were.
    pub(super) fn executions(&self) -> u64 {
        self.executions
    }

    /// Whether a long task is being executed at this moment.
    pub(super) fn is_running(&self, task: Uuid) -> bool {
        self.runs.contains_key(&task) && !self.ended.contains(&task)
    }

    /// The executions of every task.
    pub(super) fn runs(&self) -> &HashMap<Uuid, Vec<Run>> {
        &self.runs
    }
}
