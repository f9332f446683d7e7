//! A private Redis.

use outboxd::sandbox::{Persistence, Process, ProcessSpec, Redis, RedisOptions, Sandbox, TlsFiles, Value};

use crate::common::{SOON, eventually_blocking};

fn start(persistence: Persistence) -> Redis {
    let sandbox = Sandbox::new().unwrap();
    Redis::start(&sandbox, RedisOptions { persistence, ..RedisOptions::default() }).unwrap()
}

#[test]
fn a_killed_redis_without_persistence_comes_back_empty_on_the_same_port() {
    let redis = start(Persistence::None);
    redis.cmd(["SET", "k", "v"]).unwrap();
    let (port, run) = (redis.port(), redis.info("run_id").unwrap());
    redis.kill();
    assert!(!redis.is_running());
    redis.cmd(["PING"]).unwrap_err();
    redis.start_again().unwrap();
    assert_eq!(redis.port(), port);
    assert_ne!(redis.info("run_id").unwrap(), run);
    assert_eq!(redis.cmd(["GET", "k"]).unwrap(), Value::Nil);
}

#[test]
fn an_append_only_file_survives_a_kill_and_a_snapshot_an_orderly_stop() {
    let redis = start(Persistence::AofAlways);
    redis.cmd(["RPUSH", "q", "a", "b"]).unwrap();
    redis.kill();
    redis.start_again().unwrap();
    assert_eq!(redis.cmd(["LRANGE", "q", "0", "-1"]).unwrap().texts(), ["a", "b"]);

    let redis = start(Persistence::Rdb);
    redis.cmd(["SET", "k", "saved"]).unwrap();
    redis.stop().unwrap();
    redis.start_again().unwrap();
    redis.cmd(["SET", "k", "not saved"]).unwrap();
    redis.kill();
    redis.start_again().unwrap();
    assert_eq!(redis.cmd(["GET", "k"]).unwrap().text().unwrap(), "saved");
}

#[test]
fn a_redis_that_lost_its_data_comes_back_empty_whatever_it_had_written() {
    for persistence in [Persistence::AofAlways, Persistence::Rdb] {
        let redis = start(persistence);
        redis.cmd(["SET", "k", "v"]).unwrap();
        redis.lose_data().unwrap_err();
        redis.stop().unwrap();
        redis.lose_data().unwrap();
        redis.start_again().unwrap();
        assert_eq!(redis.cmd(["GET", "k"]).unwrap(), Value::Nil, "{persistence:?}");
    }
}

#[test]
fn a_promoted_replica_keeps_what_it_received() {
    let (old, new) = (start(Persistence::None), start(Persistence::None));
    old.cmd(["SET", "k", "v"]).unwrap();
    new.replica_of(old.port()).unwrap();
    let refused = new.cmd(["SET", "k", "w"]).unwrap_err();
    assert!(refused.0.starts_with("READONLY"), "{refused}");
    old.kill();
    new.promote().unwrap();
    assert_eq!(new.cmd(["GET", "k"]).unwrap().text().unwrap(), "v");
    new.cmd(["SET", "k", "w"]).unwrap();
}

#[test]
fn an_acl_keeps_a_stranger_out_and_the_sandbox_in() {
    let sandbox = Sandbox::new().unwrap();
    let acl = vec!["user default off".to_owned(), "user app on >secret ~q* +@all -del".to_owned()];
    let redis = Redis::start(&sandbox, RedisOptions { acl, ..RedisOptions::default() }).unwrap();
    redis.cmd(["SET", "other", "1"]).unwrap();
    let mut app = redis.connect().unwrap();
    app.cmd(["AUTH", "app", "secret"]).unwrap();
    app.cmd(["RPUSH", "q", "1"]).unwrap();
    assert!(app.cmd(["DEL", "q"]).unwrap_err().0.starts_with("NOPERM"));
    assert!(app.cmd(["GET", "other"]).unwrap_err().0.starts_with("NOPERM"));
}

#[test]
fn a_leftover_server_on_the_port_is_not_taken_for_ours() {
    let redis = start(Persistence::None);
    redis.kill();
    let sandbox = Sandbox::new().unwrap();
    let spec = ProcessSpec::new("redis-server", sandbox.folder(), sandbox.folder().join("log"));
    let spec = spec.args(["--bind", "127.0.0.1", "--save", "", "--port", &redis.port().to_string()]);
    let leftover = Process::start(&spec).unwrap();
    assert!(eventually_blocking(SOON, || redis.cmd(["PING"]).is_ok()), "{}", leftover.log_tail());
    let error = redis.start_again().unwrap_err();
    assert!(error.0.contains(&format!("process {}", leftover.id())), "{error}");
}

#[test]
fn a_server_with_tls_speaks_nothing_else_on_its_port() {
    let sandbox = Sandbox::new().unwrap();
    let tls = TlsFiles::make(&sandbox).unwrap();
    let options = RedisOptions { tls: Some(tls.clone()), ..RedisOptions::default() };
    let redis = Redis::start(&sandbox, options).unwrap();
    assert!(redis.url(0).starts_with("rediss://"));
    redis.cmd(["SET", "k", "v"]).unwrap();
    let port = redis.port().to_string();
    let ask = |more: &[&str]| {
        let output = std::process::Command::new("redis-cli").args(["-p", &port]).args(more).args(["GET", "k"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(ask(&["--tls", "--cacert", tls.ca.to_str().unwrap()]).trim(), "v");
    assert_ne!(ask(&[]).trim(), "v");
}
