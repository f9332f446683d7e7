//! `outboxd doctor` on real servers: silent about what is well, with a next step for what is not.

use outboxd::sandbox::{PgBouncer, Postgres, PostgresOptions, Redis, RedisOptions, Sandbox, TlsFiles};
use serde_json::Value;

use crate::common::{Database, Fixture, SOON, eventually_blocking, options, outboxd};

/// State and text of one check.
fn said(fixture: &Fixture, database: &str, redis: &str, check: &str) -> (String, String) {
    let env = [("DATABASE_URL", database), ("REDIS_URL", redis)];
    let output = outboxd(&["doctor", "--json"], &env, fixture.sandbox.folder());
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let found = report["checks"].as_array().unwrap().iter().find(|found| found["name"] == check);
    let found = found.unwrap_or_else(|| panic!("nothing is said of {check}: {report}"));
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("state"), text("detail"))
}

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
    fixture.database.sql("insert into outbox_queue (queue) values ('jobs')");
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
    fixture.database.sql("insert into outbox_queue (queue) values ('jobs')");
    for (name, value) in [("maxmemory", "1gb"), ("maxmemory-policy", "allkeys-lru")] {
        fixture.redis.cmd(["CONFIG", "SET", name, value]).unwrap();
    }
    one(of_fixture(&fixture, &[]), "redis.default.policy", "noeviction");
    assert_eq!(of_fixture(&fixture, &[("OUTBOXD_DEFAULTS__CONFIRM", "receipt")]).0, Some(0));
}

#[test]
fn a_right_that_is_missing_in_redis_is_found_by_command_and_key() {
    let fixture = Fixture::new();
    fixture.database.sql("insert into outbox_queue (queue) values ('celery')");
    let rights = "ACL SETUSER outboxd on >secret ~outbox:m:* ~outbox:r:* ~celery ~celery\x06\x16* ~unacked +eval +evalsha +script|load +multi \
                  +exec +info +hget +hmget +hset +type +pttl +set +mget +lpush +llen +hlen +hvals +memory|usage +client|setname +select +time";
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
    let elsewhere = [("OUTBOXD_DATABASE__SCHEMA", "elsewhere"), ("OUTBOXD_DATABASE__INTERNAL_SCHEMA", "nowhere")];
    one(of_fixture(&fixture, &elsewhere), "postgres.schema", "migrate up");
    one(of_fixture(&fixture, &elsewhere[..1]), "postgres.schema", "database.internal_schema");
    fixture.database.sql("create role doctor_guest login");
    fixture
        .database
        .sql("grant usage on schema outboxd to doctor_guest; grant select on outbox_migration to doctor_guest");
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
fn a_machinery_where_others_may_create_is_found() {
    let fixture = Fixture::new();
    fixture.database.sql("grant create on schema outboxd to public");
    one(of_fixture(&fixture, &[]), "postgres.owner", "REVOKE CREATE ON SCHEMA outboxd");
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
    let replica = Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap();
    replica.replica_of(fixture.redis.port()).unwrap();
    one(findings(&fixture, &fixture.database.url(), &replica.url(0), &[]), "redis.default.role", "primary");
}

#[test]
fn it_is_said_how_every_connection_is_protected() {
    let fixture = Fixture::new();
    let (database, redis) = (fixture.database.url(), fixture.redis.url(0));
    for check in ["postgres.tls", "redis.default.tls"] {
        let here = said(&fixture, &database, &redis, check);
        assert!(here.0 == "ok" && here.1.contains("does not leave this machine"), "{check}: {here:?}");
        // A name that the resolver takes for this machine; nothing in it says so.
        let elsewhere = [&database, &redis].map(|url| url.replace("127.0.0.1", "127.1"));
        let plain = said(&fixture, &elsewhere[0], &elsewhere[1], check);
        assert!(plain.0 == "note" && plain.1.starts_with("not encrypted"), "{check}: {plain:?}");
        assert_eq!(findings(&fixture, &elsewhere[0], &elsewhere[1], &[]), (Some(0), vec![]));
    }

    let sandbox = Sandbox::new().unwrap();
    let tls = TlsFiles::make(&sandbox).unwrap();
    let postgres = Postgres::start(&sandbox, &PostgresOptions { tls: Some(tls.clone()), ..options() }).unwrap();
    let redis = Redis::start(&sandbox, RedisOptions { tls: Some(tls.clone()), ..RedisOptions::default() }).unwrap();
    let fixture = Fixture { database: Database::migrated_in(postgres), redis, sandbox };
    let ca = tls.ca.display();
    for (check, database, redis, words) in [
        ("postgres.tls", format!("?sslmode=verify-full&sslrootcert={ca}"), String::new(), "and its name are checked"),
        ("postgres.tls", format!("?sslmode=verify-ca&sslrootcert={ca}"), String::new(), "its name is not"),
        ("postgres.tls", "?sslmode=require".into(), String::new(), "nothing is checked"),
        ("postgres.tls", "?sslmode=disable".into(), String::new(), "not encrypted"),
        ("postgres.tls", String::new(), String::new(), "encrypted; nothing is checked"),
        ("redis.default.tls", String::new(), format!("?ssl_ca_certs={ca}"), "and its name are checked"),
        ("redis.default.tls", String::new(), "?ssl_cert_reqs=none".into(), "nothing is checked"),
    ] {
        let redis = format!("{}{redis}", fixture.redis.url(0));
        let found = said(&fixture, &format!("{}{database}", fixture.database.url()), &redis, check);
        assert!(found.0 == "ok" && found.1.contains(words), "{check} {database}: {found:?}");
    }
}

#[test]
fn the_version_of_redis_is_told_and_that_scripts_are_allowed() {
    let fixture = Fixture::new();
    let version = fixture.redis.info("redis_version").unwrap().unwrap();
    let told = said(&fixture, &fixture.database.url(), &fixture.redis.url(0), "redis.default");
    assert_eq!(told, ("ok".to_owned(), format!("Redis {}, scripts are allowed", version.trim())));
}

#[test]
fn a_user_who_may_not_run_scripts_is_found() {
    let fixture = Fixture::new();
    fixture.redis.cmd(["ACL", "SETUSER", "outboxd", "on", ">secret", "~*", "+@all", "-eval"]).unwrap();
    let url = fixture.redis.url(0).replace("redis://", "redis://outboxd:secret@");
    one(findings(&fixture, &fixture.database.url(), &url, &[]), "redis.default", "docs/configuration.md");
}

#[test]
fn a_consumer_group_that_may_not_be_made_is_found() {
    let fixture = Fixture::new();
    fixture.database.sql("insert into outbox_queue (queue) values ('events')");
    fixture.redis.cmd(["ACL", "SETUSER", "outboxd", "on", ">secret", "~*", "+@all", "-xgroup|create"]).unwrap();
    let url = fixture.redis.url(0).replace("redis://", "redis://outboxd:secret@");
    let mut more = vec![("OUTBOXD_QUEUES__EVENTS__FORMAT", "stream")];
    assert_eq!(findings(&fixture, &fixture.database.url(), &url, &more), (Some(0), vec![]), "no group is wanted");
    more.push(("OUTBOXD_QUEUES__EVENTS__GROUP", "workers"));
    one(
        findings(&fixture, &fixture.database.url(), &url, &more),
        "redis.default.rights",
        "xgroup create on \"events\"",
    );
}

#[test]
fn a_server_that_cannot_save_is_found() {
    let fixture = Fixture::new();
    fixture.redis.cmd(["SET", "k", "v"]).unwrap();
    // A snapshot cannot take the place of a folder that holds something.
    std::fs::create_dir_all(fixture.redis.data().join("dump.rdb/taken")).unwrap();
    fixture.redis.cmd(["BGSAVE"]).unwrap();
    let failed = || fixture.redis.info("rdb_last_bgsave_status").unwrap().as_deref().map(str::trim) == Some("err");
    assert!(eventually_blocking(SOON, failed));
    one(of_fixture(&fixture, &[]), "redis.default.persistence", "`dir`");
}

#[test]
fn a_queue_that_expires_or_belongs_to_another_kind_of_worker_is_found() {
    let fixture = Fixture::new();
    fixture.database.sql("insert into outbox_queue (queue) values ('celery')");
    let redis = |words: &[&str]| fixture.redis.cmd(words.iter().copied()).unwrap();
    redis(&["LPUSH", "celery", "m"]);
    assert_eq!(of_fixture(&fixture, &[]), (Some(0), vec![]));
    redis(&["PEXPIRE", "celery", "3600000"]);
    one(of_fixture(&fixture, &[]), "redis.default.keys", "x-expires");
    redis(&["DEL", "celery"]);
    redis(&["ZADD", "queue:celery", "1", "m"]);
    one(of_fixture(&fixture, &[]), "redis.default.keys", "celery-redis-plus");
    redis(&["RENAME", "queue:celery", "celery"]);
    one(of_fixture(&fixture, &[]), "redis.default.keys", "the key \"celery\" is a sorted set");
    one(of_fixture(&fixture, &[("OUTBOXD_DEFAULTS__FORMAT", "list")]), "redis.default.keys", "holds a zset");
    redis(&["DEL", "celery"]);
    assert_eq!(of_fixture(&fixture, &[]), (Some(0), vec![]));
}
