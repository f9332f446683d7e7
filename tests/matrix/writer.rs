//! Who commits and who rolls back, and the books about it.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::common::Database;

/// What was committed and what was not.
#[derive(Debug, Default)]
pub struct Books {
    pub committed: Vec<Uuid>,
    /// Task ids that must never be seen.
    pub rolled_back: Vec<Uuid>,
}

/// Inserts rows of one queue over a connection of its own.
pub struct Writer {
    pub client: Client,
    queue: String,
}

const INSERT: &str = "insert into outbox (queue, task, args) select $1, 'demo.sleep', '[0.02]' \
                      from generate_series(1, $2::int) returning task_id";

impl Writer {
    pub async fn new(database: &Database, queue: &str) -> Self {
        Self { client: database.connect().await, queue: queue.to_owned() }
    }

    async fn insert(&self, rows: i32) -> Vec<Uuid> {
        let ids = self.client.query(INSERT, &[&self.queue, &rows]).await.unwrap();
        ids.iter().map(|row| row.get(0)).collect()
    }
}

impl Books {
    /// One transaction.
    pub async fn commit(&mut self, writer: &Writer, rows: i32) {
        self.committed.extend(writer.insert(rows).await);
    }

    /// One transaction that takes ids for nothing.
    pub async fn roll_back(&mut self, writer: &mut Writer, rows: i32) {
        writer.client.batch_execute("begin").await.unwrap();
        self.rolled_back.extend(writer.insert(rows).await);
        writer.client.batch_execute("rollback").await.unwrap();
    }

    pub fn add(&mut self, other: Self) {
        self.committed.extend(other.committed);
        self.rolled_back.extend(other.rolled_back);
    }
}

/// A row every few milliseconds, every seventh for nothing, until told to stop.
pub async fn writes_until(mut writer: Writer, mut stopped: oneshot::Receiver<()>) -> Books {
    let mut books = Books::default();
    for n in 1.. {
        if n % 7 == 0 {
            books.roll_back(&mut writer, 1).await;
        } else {
            books.commit(&writer, 1).await;
        }
        tokio::select! {
            // The pace of the load.
            () = tokio::time::sleep(Duration::from_millis(15)) => {}
            _ = &mut stopped => break,
        }
    }
    books
}
