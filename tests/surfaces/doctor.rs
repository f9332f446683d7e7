//! `outboxd doctor` on real servers: silent about what is well, with a next step for what is not.

use outboxd::sandbox::PgBouncer;
use serde_json::Value;

use crate::common::{Fixture, outboxd};

/// The exit code and every finding: what was looked at, and what to do.
fn findings(
    fixture: &Fixture,
    database: &str,
    redis: &str,
    more: &[(&str, &str)],
) -> (Option<i32>, Vec<(String, String)>) {
    let env = [[("DATABASE_URL", database), ("REDIS_URL", redis)].as_slice(), more].concat();
    let output = outboxd(&["doctor", "--json"], &env, fixture.sandbox.folder());
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    let found: Vec<_> = checks
        .filter(|check| check["state"] == "finding")
        .map(|check| {
            assert!(!text(check, "next").is_empty(), "{check} has no next step");
            (text(check, "name"), format!("{} | {}", text(check, "detail"), text(check, "next")))
        })
        .collect();
    assert_eq!(report["findings"], found.len());
    (output.status.code(), found)
}

fn of_fixture(fixture: &Fixture, more: &[(&str, &str)]) -> (Option<i32>, Vec<(String, String)>) {
    findings(fixture, &fixture.database.url(), &fixture.redis.url(0), more)
}

/// There is exactly one finding, and it says this.
fn one(found: (Option<i32>, Vec<(String, String)>), check: &str, words: &str) {
    let (code, found) = found;
    assert_eq!(code, Some(3), "{found:?}");
    assert!(matches!(found.as_slice(), [(of, says)] if of == check && says.contains(words)), "{found:?}");
}

#[test]
fn servers_that_are_well_give_no_finding() {
    let fixture = Fixture::new();
    fixture.database.sql("select outbox_enqueue('jobs', 't')");
    assert_eq!(of_fixture(&fixture, &[]), (Some(0), vec![]));
    let people = outboxd(
        &["doctor"],
        &[("DATABASE_URL", &fixture.database.url()), ("REDIS_URL", &fixture.redis.url(0))],
        fixture.sandbox.folder(),
    );
    assert!(people.stdout.contains("ok       postgres.notify: notifications arrive"), "{people:?}");
}

#[test]
fn a_policy_by_which_queues_can_go_is_found_unless_receipts_tell() {
    let fixture = Fixture::new();
    fixture.database.sql("select outbox_enqueue('jobs', 't')");
    for (name, value) in [("maxmemory", "1gb"), ("maxmemory-policy", "allkeys-lru")] {
        fixture.redis.cmd(["CONFIG", "SET", name, value]).unwrap();
    }
    one(of_fixture(&fixture, &[]), "redis.default.policy", "noeviction");
    assert_eq!(of_fixture(&fixture, &[("OUTBOXD_DEFAULTS__CONFIRM", "receipt")]).0, Some(0));
}

#[test]
fn a_right_that_is_missing_in_redis_is_found_by_command_and_key() {
    let fixture = Fixture::new();
    fixture.database.sql("select outbox_enqueue('celery', 't')");
    let rights = "ACL SETUSER outboxd on >secret ~outbox:m:* ~celery ~celery\x06\x16* ~unacked +eval +evalsha +script|load +multi \
                  +exec +info +hget +hmget +hset +type +pttl +lpush +llen +hlen +hvals +memory|usage +client|setname +select +time";
    fixture.redis.cmd(rights.split_whitespace()).unwrap();
    let url = fixture.redis.url(0).replace("redis://", "redis://outboxd:secret@");
    let found = findings(&fixture, &fixture.database.url(), &url, &[]);
    assert_eq!(found.0, Some(3));
    let keys = ["celery", "celery\u{6}\u{16}3", "celery\u{6}\u{16}6", "celery\u{6}\u{16}9"];
    assert_eq!(found.1.len(), keys.len(), "{found:?}");
    for (check, says) in &found.1 {
        assert!(check == "redis.default.rights" && says.contains("may not run lrange on \"celery"), "{says}");
    }
    fixture.redis.cmd(["ACL", "SETUSER", "outboxd", "+lrange"]).unwrap();
    assert_eq!(findings(&fixture, &fixture.database.url(), &url, &[]), (Some(0), vec![]));
}

#[test]
fn servers_that_do_not_answer_are_found_each_by_itself() {
    let fixture = Fixture::new();
    let nobody = "redis://127.0.0.1:1/0";
    one(findings(&fixture, &fixture.database.url(), nobody, &[]), "redis.default", "127.0.0.1:1");
    let nowhere = "postgres://127.0.0.1:1/none";
    one(findings(&fixture, nowhere, &fixture.redis.url(0), &[]), "postgres", "127.0.0.1:1");
}

#[test]
fn a_database_without_an_outbox_and_a_user_without_rights_are_found() {
    let fixture = Fixture::new();
    let elsewhere = [("OUTBOXD_DATABASE__SCHEMA", "elsewhere")];
    one(of_fixture(&fixture, &elsewhere), "postgres.schema", "migrate up");
    fixture.database.sql("create role doctor_guest login");
    fixture.database.sql("grant select on outbox_migration to doctor_guest");
    let url = fixture.database.url().replace("//postgres@", "//doctor_guest@");
    let (code, found) = findings(&fixture, &url, &fixture.redis.url(0), &[]);
    fixture.database.sql("create table outbox_letters (of_the_application int)");
    fixture.database.sql("grant outbox_relay to doctor_guest");
    let granted = findings(&fixture, &url, &fixture.redis.url(0), &[]);
    fixture.database.sql("drop owned by doctor_guest");
    fixture.database.sql("drop role doctor_guest");
    assert_eq!(
        granted,
        (Some(0), vec![]),
        "what the finding says is enough, and the application's own table is its own"
    );
    assert_eq!(code, Some(3));
    let rights = found.iter().find(|(check, _)| check == "postgres.rights").unwrap_or_else(|| panic!("{found:?}"));
    assert!(rights.1.contains("GRANT outbox_relay TO doctor_guest"), "{rights:?}");
}

#[test]
fn a_pooler_between_the_relay_and_its_notifications_is_found() {
    let fixture = Fixture::new();
    let settings = [("default_pool_size", "4")];
    let pooler = PgBouncer::start(&fixture.sandbox, &fixture.database.postgres, &settings).unwrap();
    let url = pooler.url(&fixture.database.name);
    one(findings(&fixture, &url, &fixture.redis.url(0), &[]), "postgres.notify", "database.listen_url");
    let direct = fixture.database.url();
    let more = [("OUTBOXD_DATABASE__LISTEN_URL", direct.as_str())];
    assert_eq!(findings(&fixture, &url, &fixture.redis.url(0), &more), (Some(0), vec![]));
}

#[test]
fn a_replica_is_found() {
    let fixture = Fixture::new();
    let replica = outboxd::sandbox::Redis::start(&fixture.sandbox, outboxd::sandbox::RedisOptions::default()).unwrap();
    replica.replica_of(fixture.redis.port()).unwrap();
    one(findings(&fixture, &fixture.database.url(), &replica.url(0), &[]), "redis.default.role", "primary");
}
