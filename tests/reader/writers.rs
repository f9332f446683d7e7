//! Random producers. Each row's task says whether it was rolled back, in which transaction and when it was inserted:
//! `keep.17.204` or `drop.17.204`, on a clock that all of them share.

use std::fmt::Write as _;
use std::io::Cursor;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use futures_util::SinkExt;
use tokio_postgres::Client;

use crate::common::Database;

/// The queues, uneven in use.
pub const QUEUES: [&str; 5] = ["a", "a", "b", "c", "d"];

/// So many rows may wait for the planners.
const BACKLOG: i64 = 10_000;

/// What the producers share.
#[derive(Default)]
pub struct Books {
    /// Ticks at every beginning of an insert and at every end of a commit.
    clock: AtomicI64,
    transactions: AtomicI64,
    /// Rows inserted so far, rolled back or not.
    pub rows: AtomicI64,
    /// Those among them that stay: committed, or about to be,
    pub kept: AtomicI64,
    /// and how many of these the planners have met.
    pub planned: AtomicI64,
    /// When a transaction's commit had returned. One that rolled back is not in it.
    commits: Mutex<Vec<(i64, i64)>>,
}

impl Books {
    fn tick(&self) -> i64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn backlog(&self) -> i64 {
        self.kept.load(Ordering::Relaxed) - self.planned.load(Ordering::Relaxed)
    }

    /// When the commit of each transaction had returned.
    pub fn commits(&self) -> std::collections::HashMap<i64, i64> {
        self.commits.lock().unwrap().iter().copied().collect()
    }
}

/// One producer.
pub struct Writer {
    books: Arc<Books>,
    client: Client,
    rng: Rng,
    number: u64,
}

impl Writer {
    pub async fn new(database: &Database, books: Arc<Books>, seed: u64, number: u64) -> Self {
        Self { books, client: database.connect().await, rng: Rng::with_seed(seed ^ (number << 32)), number }
    }

    /// Writes until all of them have committed so many rows.
    pub async fn run(mut self, total: i64) {
        while self.books.kept.load(Ordering::Relaxed) < total {
            if self.books.backlog() > BACKLOG {
                // So that the planners meet open transactions to the end, and not a heap of finished ones.
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            let transaction = self.books.transactions.fetch_add(1, Ordering::Relaxed);
            match self.rng.u32(..100) {
                0..30 => self.single(transaction).await,
                30..40 => self.whole_rollback(transaction).await,
                40..48 => self.prepared(transaction).await,
                _ => self.several(transaction).await,
            }
        }
    }

    /// One statement, committed by itself.
    async fn single(&mut self, transaction: i64) {
        self.insert("keep", transaction).await;
        self.committed(transaction);
    }

    /// A few statements on several queues, with savepoints, and now and then open for seconds.
    async fn several(&mut self, transaction: i64) {
        self.exec("begin").await;
        for _ in 0..self.rng.u32(1..5) {
            if self.rng.u32(..4) == 0 {
                self.exec("savepoint s").await;
                let lost = self.rng.bool();
                self.insert(if lost { "drop" } else { "keep" }, transaction).await;
                self.exec(if lost { "rollback to s" } else { "release s" }).await;
            } else {
                self.insert("keep", transaction).await;
            }
        }
        self.linger().await;
        self.exec("commit").await;
        self.committed(transaction);
    }

    async fn whole_rollback(&mut self, transaction: i64) {
        self.exec("begin").await;
        self.insert("drop", transaction).await;
        self.linger().await;
        self.exec("rollback").await;
    }

    async fn prepared(&mut self, transaction: i64) {
        let keep = self.rng.u32(..3) > 0;
        self.exec("begin").await;
        self.insert(if keep { "keep" } else { "drop" }, transaction).await;
        let name = format!("p{}_{transaction}", self.number);
        self.exec(&format!("prepare transaction '{name}'")).await;
        self.linger().await;
        self.exec(&format!("{} prepared '{name}'", if keep { "commit" } else { "rollback" })).await;
        if keep {
            self.committed(transaction);
        }
    }

    /// How long a transaction stays open after its last insert.
    async fn linger(&mut self) {
        let pause = match self.rng.u32(..100) {
            0..3 => self.rng.u64(500..4000),
            3..60 => self.rng.u64(0..60),
            _ => return,
        };
        // What is tested: a transaction that stays open.
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// One statement of one to 5,000 rows.
    async fn insert(&mut self, mark: &str, transaction: i64) {
        let rows = match self.rng.u32(..100) {
            0..80 => self.rng.i64(1..6),
            80..95 => self.rng.i64(6..200),
            95..99 => self.rng.i64(200..1000),
            _ => self.rng.i64(1000..=5000),
        };
        let queue = QUEUES[self.rng.usize(..QUEUES.len())];
        let start = self.books.tick();
        let task = format!("{mark}.{transaction}.{start}");
        match self.rng.u32(..10) {
            0..2 => self.copy(queue, &task, rows).await,
            2 if rows < 100 => self.values(queue, &task, rows).await,
            3 if rows < 200 => {
                let sql = format!("select count(outbox_enqueue('{queue}', '{task}')) from generate_series(1, {rows})");
                self.exec(&sql).await;
            }
            4 if rows < 200 => {
                // Delayed, and due already.
                let sql = "insert into outbox (queue, task, deliver_at) select";
                self.exec(&format!("{sql} '{queue}', '{task}', now() from generate_series(1, {rows})")).await;
            }
            _ => {
                let sql = "insert into outbox (queue, task, args) select";
                self.exec(&format!("{sql} '{queue}', '{task}', '[1, \"x\"]' from generate_series(1, {rows})")).await;
            }
        }
        self.books.rows.fetch_add(rows, Ordering::Relaxed);
        if mark == "keep" {
            self.books.kept.fetch_add(rows, Ordering::Relaxed);
        }
    }

    async fn values(&self, queue: &str, task: &str, rows: i64) {
        let list = vec![format!("('{queue}', '{task}')"); usize::try_from(rows).unwrap()].join(", ");
        self.exec(&format!("insert into outbox (queue, task) values {list}")).await;
    }

    async fn copy(&self, queue: &str, task: &str, rows: i64) {
        let mut text = String::new();
        for row in 0..rows {
            writeln!(text, "{queue}\t{task}\t[{row}]").unwrap();
        }
        let sink = self.client.copy_in("copy outbox (queue, task, args) from stdin").await.unwrap();
        let mut sink = pin!(sink);
        sink.send(Cursor::new(text.into_bytes())).await.unwrap();
        sink.finish().await.unwrap();
    }

    async fn exec(&self, sql: &str) {
        let done = self.client.batch_execute(sql).await;
        assert!(done.is_ok(), "{done:?}: {sql:.200}");
    }

    fn committed(&self, transaction: i64) {
        let at = self.books.tick();
        self.books.commits.lock().unwrap().push((transaction, at));
    }
}
