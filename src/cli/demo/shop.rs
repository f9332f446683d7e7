//! The application of the demo: a shop that stores an order and enqueues a task in one transaction.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{self, TryStreamExt};
use tokio::time::Instant;
use uuid::Uuid;

use super::trouble::Trouble;
use crate::cli::connect::LOCK_WAIT;
use crate::pg::{Connector, Database, PoolSettings, Schemas, migrate};

const ORDERS: &str = include_str!("../../../sql/demo/orders.sql");
const PLACE_ORDER: &str = include_str!("../../../sql/demo/place_order.sql");
const PLACE: &str = include_str!("../../../sql/demo/place.sql");
const COMMITTED: &str = include_str!("../../../sql/demo/committed.sql");
const CONSUMED: &str = include_str!("../../../sql/demo/consumed.sql");
const VERSION: &str = include_str!("../../../sql/demo/version.sql");

/// How many orders are placed at the same time.
pub(super) const CLIENTS: usize = 4;

/// The SQLSTATE of `raise exception`: the order that fails on purpose.
const RAISED: &str = "P0001";

/// The shop and its books.
#[derive(Debug)]
pub(super) struct Shop {
    database: Database,
    placed: AtomicU64,
    committed: AtomicU64,
    rolled_back: AtomicU64,
}

impl Shop {
    /// Brings the outbox's schema into the database, and the shop's own table.
    pub(super) async fn open(url: &str) -> Result<Self, Trouble> {
        let connector = Connector::new("the demo's database", url, "outboxd demo")?;
        Box::pin(migrate::up(&connector, &Schemas::new("public", "outboxd"), LOCK_WAIT)).await?;
        let database = Database::new(connector, &PoolSettings { size: CLIENTS + 1, ..PoolSettings::default() })?;
        database.transaction("demo/orders", ORDERS, &[]).await?;
        database.transaction("demo/place_order", PLACE_ORDER, &[]).await?;
        let [placed, committed, rolled_back] = [const { AtomicU64::new(0) }; 3];
        Ok(Self { database, placed, committed, rolled_back })
    }

    /// The version of PostgreSQL.
    pub(super) async fn version(&self) -> Result<String, Trouble> {
        let rows = self.database.statement("demo/version", VERSION, &[]).await?;
        Ok(rows.first().map(|row| row.get(0)).unwrap_or_default())
    }

    /// Places so many orders, one every `every` if the database keeps up. About one in ten is rolled back.
    pub(super) async fn place(&self, orders: u64, every: Duration) -> Result<(), Trouble> {
        let begun = Instant::now();
        let moment = |n: u64| begun + every.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
        let all = stream::iter((0..orders).map(Ok));
        all.try_for_each_concurrent(CLIENTS, |n| async move {
            tokio::time::sleep_until(moment(n)).await;
            self.order(None).await.map(drop)
        })
        .await
    }

    /// Places an order whose task keeps the worker busy for so long; answers the task's id.
    pub(super) async fn place_slow(&self, seconds: u64) -> Result<Uuid, Trouble> {
        let task = self.order(Some(seconds)).await?;
        task.ok_or_else(|| Trouble::failed("an order without a reason to fail was rolled back"))
    }

    /// One order in one transaction; `None` if it was rolled back.
    async fn order(&self, slow: Option<u64>) -> Result<Option<Uuid>, Trouble> {
        let number = self.placed.fetch_add(1, Ordering::Relaxed) + 1;
        let fail = slow.is_none() && number % 10 == 7;
        let sql = PLACE
            .replace("/*number*/", &number.to_string())
            .replace("/*fail*/", &fail.to_string())
            .replace("/*seconds*/", &slow.unwrap_or(0).to_string());
        match self.database.transaction("demo/place", &sql, &[]).await {
            Ok(rows) => {
                self.committed.fetch_add(1, Ordering::Relaxed);
                Ok(rows.first().map(|row| row.get(0)))
            }
            Err(fault) if fail && fault.is_code(RAISED) => {
                self.rolled_back.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// The tasks of the orders that are in the database.
    pub(super) async fn tasks(&self) -> Result<HashSet<Uuid>, Trouble> {
        let rows = self.database.statement("demo/committed", COMMITTED, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Whether the relay has written down that everything it published was consumed.
    pub(super) async fn all_consumed(&self) -> Result<bool, Trouble> {
        let rows = self.database.statement("demo/consumed", CONSUMED, &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Orders whose transaction has ended, one way or the other.
    pub(super) fn placed(&self) -> u64 {
        self.committed() + self.rolled_back()
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    pub(super) fn rolled_back(&self) -> u64 {
        self.rolled_back.load(Ordering::Relaxed)
    }
}
