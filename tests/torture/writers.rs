//! Applications: several rows in a transaction, savepoints, rollbacks, delays, and a database that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio_postgres::{Client, Error, NoTls};
use uuid::Uuid;

use super::scene::QUEUES;

/// What applications know of their tasks.
#[derive(Debug, Default)]
pub struct Books {
    pub committed: Vec<Uuid>,
    pub rolled_back: Vec<Uuid>,
    /// The server was gone before it answered COMMIT.
    pub unknown: Vec<Uuid>,
}

/// One application, until told to stop. It connects again whenever it must.
pub async fn write(url: String, mut rng: Rng, stopped: Arc<AtomicBool>) -> Books {
    let mut books = Books::default();
    while !stopped.load(Ordering::SeqCst) {
        let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
            // Between two attempts to reach a server that is away.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(connection);
        while !stopped.load(Ordering::SeqCst) {
            if transaction(&client, &mut rng, &mut books).await.is_err() {
                break;
            }
            // The application's own work.
            tokio::time::sleep(Duration::from_millis(rng.u64(5..80))).await;
        }
    }
    books
}

async fn transaction(client: &Client, rng: &mut Rng, books: &mut Books) -> Result<(), Error> {
    client.batch_execute("begin; set local synchronous_commit = on").await?;
    let mut tasks = Vec::new();
    for _ in 0..rng.usize(1..4) {
        if rng.u8(..) < 40 {
            client.batch_execute("savepoint s").await?;
            books.rolled_back.push(insert(client, rng).await?);
            client.batch_execute("rollback to savepoint s").await?;
        } else {
            tasks.push(insert(client, rng).await?);
        }
    }
    if rng.u8(..) < 40 {
        // Whether or not the server hears of it.
        books.rolled_back.extend(tasks);
        return client.batch_execute("rollback").await;
    }
    let committed = client.batch_execute("commit").await;
    if committed.is_ok() { &mut books.committed } else { &mut books.unknown }.extend(tasks);
    committed
}

async fn insert(client: &Client, rng: &mut Rng) -> Result<Uuid, Error> {
    let queue = QUEUES[rng.usize(..QUEUES.len())].0;
    let delay = if rng.u8(..) < 30 { rng.f64() * 3.0 } else { 0.0 };
    let row = "insert into outbox (queue, task, args, deliver_at) values ($1, 'demo.sleep', '[0.01]',
               case when $2::float8 > 0 then clock_timestamp() + $2 * interval '1 s' end) returning task_id";
    Ok(client.query_one(row, &[&queue, &delay]).await?.get(0))
}
