//! Plays the relay towards Postgres: opens queues, plans, reads batches again; ends its connection wherever a test likes.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::common::Database;

/// One message of a batch: the row's id and its task.
pub type Message = (i64, String);

/// Every batch that any planner has learned of, by queue and number.
#[derive(Default)]
pub struct Ledger(Mutex<BTreeMap<(String, i64), Vec<Message>>>);

impl Ledger {
    /// Notes a batch; one that is known must be the same.
    pub fn note(&self, queue: &str, batch: i64, rows: Vec<Message>) {
        let mut batches = self.0.lock().unwrap();
        if let Some(known) = batches.get(&(queue.to_owned(), batch)) {
            assert!(*known == rows, "batch {batch} of {queue} was {known:?} and is now {rows:?}");
        } else {
            batches.insert((queue.to_owned(), batch), rows);
        }
    }

    /// The newest number that is known of a queue.
    pub fn newest(&self, queue: &str) -> i64 {
        let batches = self.0.lock().unwrap();
        batches.keys().filter(|(of, _)| of == queue).map(|(_, batch)| *batch).max().unwrap_or(0)
    }

    pub fn take(self) -> BTreeMap<(String, i64), Vec<Message>> {
        self.0.into_inner().unwrap()
    }
}

/// The answer of a plan.
#[derive(Debug, Clone)]
pub struct Planned {
    pub status: String,
    pub batch: i64,
    pub messages: Vec<Message>,
}

impl Planned {
    /// The ids alone.
    pub fn ids(&self) -> Vec<i64> {
        self.messages.iter().map(|(id, _)| *id).collect()
    }
}

/// One queue, opened by one connection.
pub struct Reader {
    pub client: Client,
    pub queue: String,
    pub tenure: String,
    pub last: i64,
}

impl Reader {
    /// Connects and opens the queue.
    pub async fn open(database: &Database, queue: &str) -> Self {
        let client = database.connect().await;
        let mut reader = Self { client, queue: queue.to_owned(), tenure: String::new(), last: 0 };
        reader.reopen().await;
        reader
    }

    /// Begins a tenure.
    pub async fn reopen(&mut self) {
        let sql = "select t::text, o.newest from gen_random_uuid() t, \
             lateral outbox_open($1, t, 'here', 'one', null, null, 'test', '1 hour', 'none', (select max(checkpoint) from outbox_checkpoint where queue = $1)) o";
        let row = self.client.query_one(sql, &[&self.queue]).await.unwrap();
        self.tenure = row.get(0);
        self.last = row.get(1);
    }

    /// Plans inside a transaction that the caller has begun; does not move on.
    pub async fn ask(&self, kind: &str, rows: i32, bytes: i64) -> Planned {
        let sql = "select status, batch, id, task from outbox_plan($1, $2::text::uuid, $3, $4, 'test', $5, $6)";
        let params: [&(dyn ToSql + Sync); 6] = [&self.queue, &self.tenure, &self.last, &kind, &rows, &bytes];
        let rows = self.client.query(sql, &params).await.unwrap();
        let status: String = rows[0].get(0);
        let batch = rows[0].get::<_, Option<i64>>(1).unwrap_or(0);
        Planned { status, batch, messages: messages(&rows[1.min(rows.len())..], 2) }
    }

    /// Plans and commits.
    pub async fn plan_kind(&mut self, kind: &str, rows: i32, bytes: i64) -> Planned {
        self.client.batch_execute("begin isolation level read committed").await.unwrap();
        let planned = self.ask(kind, rows, bytes).await;
        self.client.batch_execute("commit").await.unwrap();
        if matches!(planned.status.as_str(), "planned" | "more") {
            self.last = planned.batch;
        }
        planned
    }

    /// Plans the next rows of the log and commits.
    pub async fn plan(&mut self, rows: i32) -> Planned {
        self.plan_kind("log", rows, i64::MAX).await
    }

    /// Plans until there is nothing left; the ids in the order of planning, and how many batches it took.
    pub async fn drain(&mut self, rows: i32) -> (Vec<i64>, usize) {
        let (mut ids, mut batches) = (Vec::new(), 0);
        loop {
            let planned = self.plan(rows).await;
            if planned.status == "idle" {
                return (ids, batches);
            }
            assert!(matches!(planned.status.as_str(), "planned" | "more"), "{planned:?}");
            ids.extend(planned.ids());
            batches += 1;
        }
    }

    /// A batch as the ledger has it now.
    pub async fn read(&self, batch: i64) -> Vec<Message> {
        read(&self.client, &self.queue, batch).await
    }

    /// One value of the newest ledger entry.
    pub async fn cursor(&self, column: &str) -> String {
        let sql = format!("select ({column})::text from outbox_batch where queue = $1 order by batch desc limit 1");
        self.client.query_one(&sql, &[&self.queue]).await.unwrap().get::<_, Option<String>>(0).unwrap_or_default()
    }
}

/// A batch as the ledger has it now; the header's count must be right as long as the log is whole.
pub async fn read(client: &Client, queue: &str, batch: i64) -> Vec<Message> {
    let rows = client.query("select id, task from outbox_read($1, $2)", &[&queue, &batch]).await.unwrap();
    assert!(!rows.is_empty(), "the ledger does not hold batch {batch} of {queue}");
    messages(&rows[1..], 0)
}

fn messages(rows: &[Row], first: usize) -> Vec<Message> {
    rows.iter().map(|row| (row.get(first), row.get(first + 1))).collect()
}

/// One number.
pub async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}
