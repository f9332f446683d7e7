//! A primary that Redis Sentinel replaces: the relay asks where it is, and follows.

use std::fs;
use std::path::PathBuf;

use outboxd::sandbox::{Port, Process, ProcessSpec, Redis, RedisOptions, Sandbox};

use super::ledger::Writer;
use super::stage::{QUICK, count, ready, said};
use crate::common::{Fixture, RelayProcess, SOON, config, eventually};

/// A sentinel that alone decides.
struct Sentinel {
    port: Port,
    _process: Process,
}

impl Sentinel {
    fn start(sandbox: &Sandbox, primary: &Redis, more: &str) -> Self {
        let port = Port::free().unwrap();
        let folder = sandbox.subfolder("sentinel").unwrap();
        let file = folder.join("sentinel.conf");
        let monitored = primary.port();
        let text = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor orders 127.0.0.1 {monitored} 1\n\
             sentinel down-after-milliseconds orders 2000\nsentinel failover-timeout orders 2000\n{more}",
            port.number()
        );
        fs::write(&file, text).unwrap();
        let spec = ProcessSpec::new(PathBuf::from("/usr/bin/env"), &folder, folder.join("log"));
        let spec = spec.args(["redis-server"]).args([&file]).args(["--sentinel"]);
        Self { port, _process: Process::start(&spec).unwrap() }
    }

    /// The configuration of a target behind it.
    fn target(&self, more: &str) -> String {
        // The first one does not answer.
        format!("sentinels = [\"127.0.0.1:1\", \"127.0.0.1:{}\"]\n{more}", self.port.number())
    }
}

async fn relay(fixture: &Fixture, target: &str) -> RelayProcess {
    let url = format!("redis://orders/0\"\n{target}connect_timeout = \"5s");
    ready(&fixture.sandbox, &fixture.database.url(), &url, "", &[]).await
}

#[tokio::test]
async fn a_primary_that_sentinel_replaces_is_followed_and_nothing_is_lost() {
    let fixture = Fixture::new();
    let replica = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
    replica.replica_of(fixture.redis.port()).unwrap();
    let sentinel = Sentinel::start(&fixture.sandbox, &fixture.redis, "");
    let mut relay = relay(&fixture, &sentinel.target("")).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit_each(5).await;
    writer.exact(&fixture.redis).await;
    let copied = || async { replica.cmd(["LLEN", "jobs"]).is_ok_and(|length| length.int() == Some(5)) };
    assert!(eventually(SOON, copied).await);
    fixture.redis.kill();
    writer.commit_each(5).await;
    let promoted = || async { replica.info("role").is_ok_and(|role| role.as_deref() == Some("master")) };
    assert!(eventually(SOON, promoted).await, "the sentinel promotes nobody");
    writer.exact(&replica).await;
    assert_eq!(count(&relay, "queue.halted") + count(&relay, "queue.loss"), 0);
    // What another incarnation may have cost is known once a look has settled it.
    let open = "select count(*) from outbox_tenure where cap is null and not certified";
    let settled = || async { fixture.database.sql(open).trim() == "0" };
    assert!(eventually(SOON, settled).await, "nobody looked whether anything is absent");
    let incidents = fixture.database.sql("select cause, scheduled, evidence from outbox_incident");
    assert_eq!(incidents.trim(), "", "nothing was lost, and an incident says otherwise");
    writer.exact(&replica).await;
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_sentinel_that_asks_for_a_password_gets_its_own() {
    let fixture = Fixture::new();
    let sentinel = Sentinel::start(&fixture.sandbox, &fixture.redis, "requirepass other\n");
    let mut relay = relay(&fixture, &sentinel.target("sentinel_password = \"other\"\n")).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(3).await;
    writer.exact(&fixture.redis).await;
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_sentinel_with_users_is_asked_as_one_of_them() {
    let fixture = Fixture::new();
    let users = "user default off\nuser asks on >other +@connection +sentinel|get-master-addr-by-name\n";
    let sentinel = Sentinel::start(&fixture.sandbox, &fixture.redis, users);
    let asks = "sentinel_username = \"asks\"\nsentinel_password = \"other\"\n";
    let mut relay = relay(&fixture, &sentinel.target(asks)).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(2).await;
    writer.exact(&fixture.redis).await;
    assert!(relay.stop().success());
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_told_with_the_setting() {
    let fixture = Fixture::new();
    let sentinel = Sentinel::start(&fixture.sandbox, &fixture.redis, "");
    let url =
        format!("redis://other/0\"\nsentinels = [\"127.0.0.1:{}\"]\nconnect_timeout = \"5s", sentinel.port.number());
    let text = config(&fixture.database.url(), &url, QUICK);
    let relay = RelayProcess::ready(&fixture.sandbox, &text, &[], &[]).await;
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.commit(1).await;
    said(&relay, "queue.retry", 1).await;
    let told = |event: &crate::common::Event| event.text("reason").contains("knows no primary named \"other\"");
    assert!(eventually(SOON, || async { relay.events().iter().any(told) }).await);
}
