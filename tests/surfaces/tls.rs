//! TLS to both servers, as the URLs ask for it.

use outboxd::sandbox::{Postgres, PostgresOptions, Redis, RedisOptions, Sandbox, TlsFiles};

use super::len;
use crate::common::{Database, Fixture, RelayProcess, SOON, config, eventually_blocking, options};

#[tokio::test]
async fn a_relay_speaks_tls_to_both_servers_and_checks_whom_it_speaks_to() {
    let sandbox = Sandbox::new().unwrap();
    let tls = TlsFiles::make(&sandbox).unwrap();
    let postgres = PostgresOptions { tls: Some(tls.clone()), ..options() };
    let postgres = Postgres::start(&sandbox, &postgres).unwrap();
    let redis = RedisOptions { tls: Some(tls.clone()), ..RedisOptions::default() };
    let redis = Redis::start(&sandbox, redis).unwrap();
    let fixture = Fixture { database: Database::migrated_in(postgres), redis, sandbox };
    let ca = tls.ca.display();
    let database = format!("{}?sslmode=verify-full&sslrootcert={ca}", fixture.database.url());
    let broker = format!("{}?ssl_ca_certs={ca}", fixture.redis.url(0));
    assert!(broker.starts_with("rediss://"));
    let relay = RelayProcess::ready(&fixture.sandbox, &config(&database, &broker, ""), &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    assert!(eventually_blocking(SOON, || len(&fixture, "a") == 1));
    let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'outboxd' and not ssl";
    assert_eq!(fixture.database.sql(plain), "0");
    drop(relay);

    let stranger = TlsFiles::make(&fixture.sandbox).unwrap().ca;
    let wrong = |url: &str| url.replace(&ca.to_string(), &stranger.display().to_string());
    let mut refused = RelayProcess::start(&fixture.sandbox, &config(&wrong(&database), &broker, ""), &[], &[]);
    assert_eq!(refused.wait(SOON).code(), Some(1));
    let events = refused.events();
    let reason = events.iter().find(|event| event.name() == "relay.failed").unwrap().text("reason");
    assert!(reason.contains("sslrootcert in database.url"), "{reason}");
    let mut halted = RelayProcess::ready(&fixture.sandbox, &config(&database, &wrong(&broker), ""), &[], &[]).await;
    fixture.database.sql("insert into outbox (queue, task) values ('a', 't')");
    let down = halted.wait_event("redis.down", |_| true, SOON).await;
    assert!(down.text("reason").contains("redis.default"), "{down:?}");
    assert_eq!(len(&fixture, "a"), 1);
}
