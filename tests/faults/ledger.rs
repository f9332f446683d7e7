//! What was committed, what stands in Redis, and the difference.

use std::collections::{HashMap, HashSet};

use outboxd::sandbox::Redis;
use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::common::{Database, SOON, eventually};

/// Commits rows of one queue, and remembers which.
pub struct Writer {
    client: Client,
    queue: String,
    /// Task ids in the order of their commits.
    pub committed: Vec<Uuid>,
    /// Task ids that must never be seen.
    pub rolled_back: Vec<Uuid>,
}

const INSERT: &str = "insert into outbox (queue, task, args) select $1, 'task', jsonb_build_array(n) \
                      from generate_series(1, $2::int) n returning task_id";

impl Writer {
    /// With a connection of its own.
    pub async fn new(database: &Database, queue: &str) -> Self {
        let client = database.connect().await;
        Self { client, queue: queue.to_owned(), committed: Vec::new(), rolled_back: Vec::new() }
    }

    /// Connects anew, after the server was gone.
    pub async fn reconnect(&mut self, database: &Database) {
        self.client = database.connect().await;
    }

    /// Its connection, for settings.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether Redis holds every committed row by now.
    pub fn is_complete(&self, redis: &Redis) -> bool {
        missing(&self.committed, redis, &self.queue) == 0
    }

    /// One transaction with so many rows.
    pub async fn commit(&mut self, rows: i32) {
        let ids = self.client.query(INSERT, &[&self.queue, &rows]).await.unwrap();
        self.committed.extend(ids.iter().map(|row| row.get::<_, Uuid>(0)));
    }

    /// So many transactions with one row each.
    pub async fn commit_each(&mut self, transactions: usize) {
        for _ in 0..transactions {
            self.commit(1).await;
        }
    }

    /// One transaction that takes ids and is rolled back.
    pub async fn roll_back(&mut self, rows: i32) {
        let transaction = self.client.transaction().await.unwrap();
        let ids = transaction.query(INSERT, &[&self.queue, &rows]).await.unwrap();
        self.rolled_back.extend(ids.iter().map(|row| row.get::<_, Uuid>(0)));
        transaction.rollback().await.unwrap();
    }

    /// Waits until Redis holds every committed row; says what is missing if it does not.
    pub async fn arrived(&self, redis: &Redis) {
        arrived(&self.committed, redis, &self.queue).await;
    }

    /// Redis holds every committed row exactly once and in order, and nothing else. Waits until the last is there.
    pub async fn exact(&self, redis: &Redis) {
        self.arrived(redis).await;
        let found = messages(redis, &self.queue);
        assert!(found.iter().all(|id| !self.rolled_back.contains(id)), "{}: a row from a rollback", self.queue);
        let verdict = compare(&self.committed, &found);
        assert!(verdict == Verdict::default(), "{}: {verdict}", self.queue);
    }

    /// Redis holds every committed row at least once, and none from a rollback.
    pub async fn complete(&self, redis: &Redis) -> Verdict {
        self.arrived(redis).await;
        let verdict = compare(&self.committed, &messages(redis, &self.queue));
        assert!(verdict.strange.is_empty(), "{}: {verdict}", self.queue);
        verdict
    }
}

/// Waits until Redis holds all these rows.
pub async fn arrived(committed: &[Uuid], redis: &Redis, queue: &str) {
    let there = eventually(SOON, || async { missing(committed, redis, queue) == 0 }).await;
    assert!(there, "{queue}: {} of {} rows are missing", missing(committed, redis, queue), committed.len());
}

fn missing(committed: &[Uuid], redis: &Redis, queue: &str) -> usize {
    // While the server is down or busy nothing is known.
    let Ok(found) = try_messages(redis, queue) else { return committed.len() };
    let found: HashSet<Uuid> = found.into_iter().collect();
    committed.iter().filter(|id| !found.contains(id)).count()
}

/// The rows that Postgres holds now, whoever wrote them, in the order of insertion.
pub fn in_postgres(database: &Database, queue: &str) -> Vec<Uuid> {
    let ids = database.sql(&format!("select task_id from outbox where queue = '{queue}' order by id"));
    ids.lines().map(|id| id.parse().unwrap()).collect()
}

/// How two lists of task ids differ; the default is not at all.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Committed and not in Redis.
    pub missing: Vec<Uuid>,
    /// Copies beyond the first.
    pub copies: usize,
    /// In Redis and not committed.
    pub strange: Vec<Uuid>,
    /// The first copies do not stand in the order of their commits.
    pub disordered: bool,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (missing, strange) = (self.missing.len(), self.strange.len());
        write!(f, "{missing} missing, {} copies, {strange} strange, disordered: {}", self.copies, self.disordered)
    }
}

/// Holds what was found against what was committed.
pub fn compare(committed: &[Uuid], found: &[Uuid]) -> Verdict {
    let place: HashMap<Uuid, usize> = committed.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let (mut seen, mut verdict, mut last) = (HashSet::new(), Verdict::default(), 0);
    for id in found {
        match place.get(id) {
            None => verdict.strange.push(*id),
            Some(_) if !seen.insert(*id) => verdict.copies += 1,
            Some(at) => {
                verdict.disordered |= *at < last;
                last = *at;
            }
        }
    }
    verdict.missing = committed.iter().filter(|id| !seen.contains(id)).copied().collect();
    verdict
}

/// The task ids in a queue's list or stream, oldest first.
pub fn messages(redis: &Redis, key: &str) -> Vec<Uuid> {
    try_messages(redis, key).unwrap()
}

fn try_messages(redis: &Redis, key: &str) -> outboxd::sandbox::Result<Vec<Uuid>> {
    let kind = redis.cmd(["TYPE", key])?.text().unwrap_or_default();
    if kind == "none" {
        // Asked again, it might have come to be one or the other.
        return Ok(Vec::new());
    }
    if kind == "stream" {
        let entries = redis.cmd(["XRANGE", key, "-", "+"])?;
        let fields = entries.items().iter().map(|entry| entry.items()[1].texts());
        return Ok(fields.map(|fields| field(&fields, "id").parse().unwrap()).collect());
    }
    let texts = redis.cmd(["LRANGE", key, "0", "-1"])?.texts();
    let read: Vec<(bool, Uuid)> = texts.iter().map(|text| id(text)).collect();
    // Celery's producers push on the left.
    let celery = read.first().is_some_and(|(celery, _)| *celery);
    let ids = read.into_iter().map(|(_, id)| id);
    Ok(if celery { ids.rev().collect() } else { ids.collect() })
}

fn field<'a>(fields: &'a [String], name: &str) -> &'a str {
    fields.chunks(2).find(|pair| pair[0] == name).map_or("", |pair| &pair[1])
}

/// Whether a message is Celery's, and its task id.
pub fn id(message: &str) -> (bool, Uuid) {
    let message: Value = serde_json::from_str(message).unwrap();
    let celery = message["headers"]["id"].as_str();
    (celery.is_some(), celery.or(message["id"].as_str()).unwrap().parse().unwrap())
}

#[test]
fn the_checker_sees_what_is_missing_doubled_strange_and_out_of_order() {
    let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
    assert_eq!(compare(&[a, b], &[a, b]), Verdict::default());
    assert_eq!(compare(&[a, b], &[b]).missing, [a]);
    assert_eq!(compare(&[a, b], &[a, b, a]).copies, 1);
    assert_eq!(compare(&[a, b], &[a, c, b]).strange, [c]);
    assert!(compare(&[a, b, c], &[a, c, b]).disordered);
}
