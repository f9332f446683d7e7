//! Nothing that a sandbox starts or writes outlives the program, however the program ends.

use std::path::Path;
use std::time::Duration;

use outboxd::sandbox::{Postgres, PostgresOptions, Process, ProcessSpec, Redis, RedisOptions, Sandbox};

use crate::common::{eventually_blocking, template};

const SOON: Duration = Duration::from_secs(60);
const ROLE: &str = "OUTBOXD_TEST_DOOMED_PARENT";

#[test]
fn the_folder_goes_with_the_last_server_in_it() {
    let sandbox = Sandbox::new().unwrap();
    let folder = sandbox.folder().to_owned();
    let redis = Redis::start(&sandbox, RedisOptions::default()).unwrap();
    drop(sandbox);
    assert!(folder.exists());
    redis.cmd(["PING"]).unwrap();
    drop(redis);
    assert!(!folder.exists());
}

/// The test starts itself again as the parent that is to be killed.
#[test]
fn servers_die_with_a_parent_that_is_killed() {
    if let Some(file) = std::env::var_os(ROLE) {
        return be_the_doomed_parent(Path::new(&file));
    }
    let sandbox = Sandbox::new().unwrap();
    let told = sandbox.folder().join("told");
    let spec = ProcessSpec::new(std::env::current_exe().unwrap(), sandbox.folder(), sandbox.folder().join("log"));
    let name = "sandbox::life::servers_die_with_a_parent_that_is_killed";
    let spec = spec.args([name, "--exact"]).env([(ROLE, &told)]);
    let mut parent = Process::start(&spec).unwrap();
    let ready = || std::fs::read_to_string(&told).is_ok_and(|text| text.ends_with("end"));
    assert!(eventually_blocking(SOON, ready), "{}", parent.log_tail());
    let text = std::fs::read_to_string(&told).unwrap();
    let [folder, postgres, redis, _] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(Path::new(folder).exists());
    parent.kill();
    for pid in [postgres, redis] {
        assert!(eventually_blocking(SOON, || !is_alive(pid)), "process {pid} outlived its parent");
    }
    // What the killed parent could not remove goes with the next start, here or in another test.
    assert!(eventually_blocking(SOON, || Sandbox::new().is_ok() && !Path::new(folder).exists()));
}

fn be_the_doomed_parent(file: &Path) {
    let sandbox = Sandbox::new().unwrap();
    let options = PostgresOptions { template: Some(template()), ..PostgresOptions::default() };
    let postgres = Postgres::start(&sandbox, &options).unwrap();
    let redis = Redis::start(&sandbox, RedisOptions::default()).unwrap();
    let pid = std::fs::read_to_string(postgres.data().join("postmaster.pid")).unwrap();
    let redis = redis.info("process_id").unwrap().unwrap();
    let text = format!("{} {} {redis} end", sandbox.folder().display(), pid.lines().next().unwrap());
    std::fs::write(file, text).unwrap();
    // Waits to be killed; the parent's death signal reaches this process too if the test itself is killed.
    loop {
        std::thread::park();
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
