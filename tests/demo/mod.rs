//! `outboxd demo`: its report adds up, and it leaves nothing behind, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outboxd::sandbox::{Process, ProcessSpec, Sandbox};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{celery_program, eventually_blocking};

/// Far beyond what a small demo takes.
const LIMIT: Duration = Duration::from_secs(120);

/// A demo in a temporary folder of its own, so that what it leaves can be counted.
struct Demo {
    process: Process,
    temporary: PathBuf,
    stdout: PathBuf,
    _sandbox: Sandbox,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let sandbox = Sandbox::new().unwrap();
        let temporary = sandbox.subfolder("tmp").unwrap();
        // Its servers run under another user if this is root.
        let stdout = sandbox.folder().join("stdout");
        let spec = ProcessSpec::new(env!("CARGO_BIN_EXE_outboxd"), sandbox.folder(), sandbox.folder().join("log"));
        let venv = celery_program().parent().unwrap().parent().unwrap().to_owned();
        let spec =
            spec.args(["demo"]).args(args).stdout(&stdout).env([("TMPDIR", &temporary), ("OUTBOXD_VENV", &venv)]);
        // The demo must neither use nor pass on what its caller's environment says about real servers.
        let real = "postgres://nobody@127.0.0.1:1/real";
        let spec = spec.env([("DATABASE_URL", real), ("OUTBOXD_DATABASE__URL", real), ("OUTBOXD_RELAY__ID", "real")]);
        let spec = spec.env([("REDIS_URL", "redis://127.0.0.1:1/0"), ("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")]);
        Self { process: Process::start(&spec).unwrap(), temporary, stdout, _sandbox: sandbox }
    }

    /// Waits for its end; its exit code, its report and what it said.
    fn end(&mut self) -> (i32, Value, String) {
        let status = self.process.wait(LIMIT);
        let said = fs::read_to_string(self.process.log()).unwrap();
        assert!(status.is_some(), "the demo did not end:\n{said}");
        let report = serde_json::from_str(&fs::read_to_string(&self.stdout).unwrap()).unwrap_or_default();
        (status.unwrap().code().unwrap(), report, said)
    }

    fn says(&self, text: &str) -> bool {
        fs::read_to_string(self.process.log()).is_ok_and(|said| said.contains(text))
    }

    fn assert_nothing_is_left(&self) {
        let left: Vec<_> = fs::read_dir(&self.temporary).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "the demo left {left:?}");
        let processes = || processes_that_name(&self.temporary);
        // A killed process is a zombie until somebody asks for it.
        assert!(
            eventually_blocking(Duration::from_secs(30), || processes().is_empty()),
            "still run: {:?}",
            processes()
        );
    }
}

/// Processes whose working folder, arguments or environment name this folder: all that the demo has started.
fn processes_that_name(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let named = |process: &Path| {
        let file = |name: &str| String::from_utf8_lossy(&fs::read(process.join(name)).unwrap_or_default()).into_owned();
        let works_there = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        works_there || file("cmdline").contains(folder) || file("environ").contains(folder)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let processes = processes.filter(|path| path.join("cmdline").exists() && named(path));
    processes
        .map(|path| format!("{}: {}", path.display(), fs::read_to_string(path.join("comm")).unwrap_or_default()))
        .collect()
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer} is not in {report:#}"))
}

/// What must hold of every demo that was played to its end.
fn assert_adds_up(report: &Value, orders: u64) {
    let n = |pointer| number(report, pointer);
    assert_eq!(n("/orders/placed"), orders);
    assert_eq!(n("/orders/committed") + n("/orders/rolled_back"), orders);
    assert!(n("/orders/rolled_back") > 0);
    assert_eq!(n("/tasks/committed"), n("/orders/committed"));
    assert_eq!(n("/tasks/executed"), n("/orders/committed"));
    assert_eq!((n("/tasks/missing"), n("/tasks/rolled_back_but_executed")), (0, 0));
    let repeated = n("/tasks/repeated/after_the_loss")
        + n("/tasks/repeated/after_the_restart")
        + n("/tasks/repeated/by_the_worker");
    assert_eq!(n("/tasks/repeated/otherwise"), 0);
    assert_eq!(n("/tasks/executions"), n("/tasks/executed") + repeated);
    assert!(n("/relay_kill/orders_meanwhile") > 0);
    assert!(n("/redis_restart/tasks_before") > 0);
    assert!(n("/redis_restart/orders_meanwhile") > 0);
    assert!(n("/redis_loss/tasks_before") > n("/redis_loss/tasks_after"));
    assert!(n("/redis_loss/orders_meanwhile") > 0);
    let incidents = report.pointer("/redis_loss/incidents").and_then(Value::as_str).unwrap();
    assert_eq!(incidents.lines().filter(|line| line.contains("missing") && line.contains("over after")).count(), 3);
    assert_eq!((n("/redis_loss/losses"), n("/redis_loss/losses_earlier")), (3, 0));
    let noticed = report.pointer("/redis_loss/noticed_seconds").and_then(Value::as_f64).unwrap();
    assert!(noticed < 15.0, "the relay noticed the loss after {noticed} s");
    assert_eq!(report["ok"], true);
}

#[test]
fn every_committed_task_is_executed_by_celery_and_the_report_adds_up() {
    let mut demo = Demo::start(&["--json", "--orders", "120"]);
    let (code, report, said) = demo.end();
    assert_eq!(code, 0, "{said}");
    assert_adds_up(&report, 120);
    assert!(report["worker"].as_str().unwrap().starts_with("Celery 5."), "{report:#}");
    assert!(report["folder"].is_null());
    assert!(!said.contains('\x1b') && !said.contains('\r'), "a file is no terminal:\n{said}");
    demo.assert_nothing_is_left();
}

#[test]
fn without_celery_a_plain_consumer_takes_its_place_and_the_output_says_so() {
    let mut demo = Demo::start(&["--json", "--orders", "60", "--without-celery", "--keep"]);
    let (code, report, said) = demo.end();
    assert_eq!(code, 0, "{said}");
    assert_adds_up(&report, 60);
    assert!(said.contains("a plain consumer built into outboxd (no Celery)"), "{said}");
    let kept = PathBuf::from(report["folder"].as_str().unwrap());
    assert!(kept.join("ledger.jsonl").is_file() && kept.join("relay-1/log").is_file(), "--keep kept too little");
    fs::remove_dir_all(kept).unwrap();
    demo.assert_nothing_is_left();
}

#[test]
fn an_interrupted_demo_ends_everything_and_leaves_nothing() {
    for (said_before, signal) in [("[2/6]", Signal::INT), ("[5/6]", Signal::TERM)] {
        let mut demo = Demo::start(&["--orders", "60", "--without-celery"]);
        assert!(eventually_blocking(LIMIT, || demo.says(said_before)), "{said_before} was not reached");
        assert!(!processes_that_name(&demo.temporary).is_empty());
        demo.process.signal(signal);
        let (code, _, said) = demo.end();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("interrupted; everything was ended"), "{said}");
        demo.assert_nothing_is_left();
    }
}

#[test]
fn a_demo_that_fails_says_why_and_keeps_its_logs() {
    let mut demo = Demo::start(&["--orders", "60", "--without-celery"]);
    assert!(eventually_blocking(LIMIT, || demo.says("[2/6]")), "[2/6] was not reached");
    let folder = fs::read_dir(&demo.temporary).unwrap().flatten().next().unwrap().path();
    let pid = fs::read_to_string(folder.join("postgres-1/data/postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, Signal::QUIT).unwrap();
    let (code, _, said) = demo.end();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("Logs and data are kept in {}", folder.display())), "{said}");
    assert!(folder.join("postgres-1/log").is_file());
    fs::remove_dir_all(folder).unwrap();
    demo.assert_nothing_is_left();
}
