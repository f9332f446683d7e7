//! Defaults of the role and of the database that would change what a transaction is: the relay asks for its own.

use outboxd::sandbox::PgBouncer;

use crate::common::{Database, Fixture, outboxd};

use super::ledger::Writer;
use super::stage::{count, ready};

/// Every default that a transaction could inherit.
fn odd(database: &Database) {
    let set = |setting: &str| format!("alter database {} set default_transaction_{setting};", database.name);
    database.sql(&["isolation = 'serializable'", "read_only = on", "deferrable = on"].map(set).concat());
}

/// As an application that must write says it.
const WRITES: &str = "set default_transaction_read_only = off; set default_transaction_isolation = 'read committed'; \
                      set default_transaction_deferrable = off";

async fn relays(fixture: &Fixture, url: &str) {
    let mut writer = Writer::new(&fixture.database, "jobs").await;
    writer.client().batch_execute(WRITES).await.unwrap();
    let mut relay = ready(&fixture.sandbox, url, &fixture.redis.url(0), "", &[]).await;
    writer.commit_each(5).await;
    writer.exact(&fixture.redis).await;
    let env = [("DATABASE_URL", url), ("REDIS_URL", &fixture.redis.url(0))];
    for command in [["status"].as_slice(), &["queue", "pause", "jobs"], &["queue", "resume", "jobs"], &["dead", "list"]]
    {
        let output = outboxd(command, &env, fixture.sandbox.folder());
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    writer.commit_each(2).await;
    writer.exact(&fixture.redis).await;
    assert_eq!(count(&relay, "postgres.down"), 0);
    assert!(relay.stop().success());
}

#[tokio::test]
async fn defaults_of_serializable_and_read_only_change_nothing_for_a_relay() {
    let fixture = Fixture::new();
    odd(&fixture.database);
    relays(&fixture, &fixture.database.url()).await;
}

#[tokio::test]
async fn defaults_of_serializable_and_read_only_change_nothing_through_a_pooler() {
    let fixture = Fixture::new();
    odd(&fixture.database);
    let pooler = PgBouncer::start(&fixture.sandbox, &fixture.database.postgres, &[("default_pool_size", "4")]).unwrap();
    relays(&fixture, &pooler.url(&fixture.database.name)).await;
}

#[tokio::test]
async fn no_serializable_transaction_of_the_application_fails_because_of_a_relay() {
    let fixture = Fixture::new();
    fixture.database.sql("create table app (x int primary key, v int); insert into app select g, 0 from generate_series(1, 1000) g; analyze app");
    fixture
        .database
        .sql(&format!("alter database {} set default_transaction_isolation = 'serializable'", fixture.database.name));
    let mut relay = ready(&fixture.sandbox, &fixture.database.url(), &fixture.redis.url(0), "", &[]).await;
    let mut writer = Writer::new(&fixture.database, "looked").await;
    writer.client().batch_execute(WRITES).await.unwrap();
    for _ in 0..5 {
        let (first, second) = (fixture.database.connect().await, fixture.database.connect().await);
        first.batch_execute("begin isolation level serializable; select v from app where x = 1").await.unwrap();
        second.batch_execute("update app set v = v + 1 where x = 1").await.unwrap();
        // Once this is there, the relay has read the log after the update was committed.
        writer.commit(1).await;
        writer.arrived(&fixture.redis).await;
        first.batch_execute("select outbox_enqueue('jobs', 't')").await.unwrap();
        first.batch_execute("commit").await.unwrap();
    }
    assert!(relay.stop().success());
}
