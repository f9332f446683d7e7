//! Where the bell cannot be used: behind a pooler in transaction mode, and where transactions are prepared.

use std::time::Duration;

use outboxd::sandbox::{PgBouncer, RedisOptions};

use super::{NO_POLL, arrive, dozes, insert, relay_by, text};
use crate::common::{Fixture, SOON};

#[tokio::test]
async fn through_a_pooler_the_bell_works_with_a_listen_url() {
    let fixture = Fixture::new();
    let pooler = PgBouncer::start(&fixture.sandbox, &fixture.database.postgres, &[("default_pool_size", "4")]).unwrap();
    let config = format!(
        "listen_url = \"{}\"\n[redis.default]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{NO_POLL}{}",
        fixture.database.url(),
        fixture.redis.url(0),
        super::LIST
    );
    let config = format!("[database]\nurl = \"{}\"\n{config}", pooler.url(&fixture.database.name));
    let relay = crate::common::RelayProcess::ready(&fixture.sandbox, &config, &[], &[]).await;
    // The producers go through the pooler, too.
    let (client, connection) =
        tokio_postgres::connect(&pooler.url(&fixture.database.name), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    for n in 1..=3 {
        dozes(&relay).await;
        client.batch_execute("insert into outbox (queue, task) values ('q', 't')").await.unwrap();
        let waited = arrive(&fixture.redis, "q", n, SOON).await;
        eprintln!("through a pooler, with listen_url: {waited:.1?}");
    }
    assert!(relay.events().iter().all(|event| event.name() != "bell.deaf"));
}

#[tokio::test]
async fn through_a_pooler_alone_the_relay_says_once_that_it_is_deaf_and_polls() {
    let fixture = Fixture::new();
    let pooler = PgBouncer::start(&fixture.sandbox, &fixture.database.postgres, &[("default_pool_size", "4")]).unwrap();
    let mut relay = relay_by(&fixture.sandbox, &pooler.url(&fixture.database.name), &fixture.redis, "").await;
    relay.wait_event("bell.deaf", |_| true, SOON).await;
    let client = fixture.database.connect().await;
    let mut waits = Vec::new();
    for n in 1..=10 {
        insert(&client, "q").await;
        waits.push(arrive(&fixture.redis, "q", n, SOON).await);
        // Lets it become quiet again: deaf, it never says that it sleeps.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    eprintln!("deaf: {waits:.1?}");
    let said = relay.events().iter().filter(|event| event.name() == "bell.deaf").count();
    assert_eq!(said, 1);
    let bell = text(&client, "select pg_sequence_last_value('outbox_bell_seq')::text").await;
    assert_eq!(bell, "1", "nobody rings for a relay that cannot hear");
}

#[tokio::test]
async fn where_transactions_are_prepared_the_bell_is_not_used_unless_asked_for() {
    let fixture = Fixture::with_own_postgres(&[("max_prepared_transactions", "10")], RedisOptions::default());
    let url = fixture.database.url();
    let mut relay = relay_by(&fixture.sandbox, &url, &fixture.redis, "").await;
    let said = relay.events();
    assert!(said.iter().any(|event| event.name() == "bell.unused"), "{said:?}");
    let client = fixture.database.connect().await;
    for n in 1..=5 {
        let sql = format!("begin; insert into outbox (queue, task) values ('q', 't'); prepare transaction 'p{n}'");
        client.batch_execute(&sql).await.unwrap();
        client.batch_execute(&format!("commit prepared 'p{n}'")).await.unwrap();
        arrive(&fixture.redis, "q", n, SOON).await;
    }
    assert_eq!(text(&client, "select pg_sequence_last_value('outbox_bell_seq')::text").await, "1");
    assert!(relay.stop().success());

    // Asked for: it rings, and a transaction that rang cannot be prepared. That is why it is off.
    let config = format!(
        "[database]\nurl = \"{url}\"\ndoorbell = \"on\"\n[redis.default]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{NO_POLL}{}",
        fixture.redis.url(0),
        super::LIST
    );
    let relay = crate::common::RelayProcess::ready(&fixture.sandbox, &config, &[], &[]).await;
    dozes(&relay).await;
    insert(&client, "q").await;
    arrive(&fixture.redis, "q", 6, SOON).await;
    dozes(&relay).await;
    let refused = client
        .batch_execute("begin; insert into outbox (queue, task) values ('q', 't'); prepare transaction 'p'")
        .await
        .unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "0A000");
}
