//! The way to Postgres: connecting, TLS, the pool, and the session that listens.

mod hosts;
mod listen;
mod pool;
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use outboxd::pg::{Connector, PgFault, Session};
use tokio_postgres::types::FromSqlOwned;

/// For what is expected to be answered at once.
const LIMIT: Duration = Duration::from_secs(10);

fn connector(url: &str) -> Connector {
    Connector::new("database.url", url, "outboxd-test").unwrap()
}

async fn open(url: &str) -> Result<Session, PgFault> {
    Session::open(&connector(url), Arc::new(AtomicU64::new(0))).await
}

/// The first value of a statement.
async fn value<T: FromSqlOwned>(session: &Session, sql: &str) -> T {
    session.statement("value", sql, &[], LIMIT).await.unwrap()[0].get(0)
}
