//! The application's side in SQL: both ways in, what is refused, dedupe keys, states, cancelling, receipts, rights.

mod cancel;
mod dedupe;
mod inputs;
mod receipts;
mod rights;
mod ring;
mod states;
mod ways;

use tokio_postgres::Client;
use uuid::Uuid;

use crate::common::{Database, SOON, eventually};

/// A database and a first connection to it.
struct Stage {
    database: Database,
    client: Client,
}

impl Stage {
    async fn new() -> Self {
        let database = Database::migrated();
        let client = database.connect().await;
        Self { database, client }
    }

    async fn run(&self, sql: &str) {
        run(&self.client, sql).await;
    }

    async fn id(&self, sql: &str) -> Uuid {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
    }

    async fn count(&self, sql: &str) -> i64 {
        count(&self.client, sql).await
    }

    async fn yes(&self, sql: &str) -> bool {
        yes(&self.client, sql).await
    }

    async fn status(&self, task: Uuid) -> Option<String> {
        self.client.query_one("select outbox_status($1)", &[&task]).await.unwrap().get(0)
    }

    async fn cancel(&self, task: Uuid) -> bool {
        cancel(&self.client, task).await
    }

    /// Opens queue `q` as a relay would.
    async fn open(&self) -> Relay<'_> {
        let tenure = Uuid::new_v4();
        let sql = "select newest from outbox_open('q', $1, 'here', 'inc', null, null, 'relay', '15 min', 'none', null)";
        let last = self.client.query_one(sql, &[&tenure]).await.unwrap().get(0);
        Relay { stage: self, tenure, last }
    }
}

/// The planner's side of queue `q`, with the relay's own functions.
struct Relay<'a> {
    stage: &'a Stage,
    tenure: Uuid,
    last: i64,
}

impl Relay<'_> {
    /// Plans one batch of this kind; its status and the ids of its messages.
    async fn plan(&mut self, kind: &str) -> (String, Vec<Uuid>) {
        let answer = plan(&self.stage.client, self.tenure, self.last, kind).await;
        if answer.0 == "planned" || answer.0 == "more" {
            self.last += 1;
        }
        answer
    }

    /// Says that Redis has come this far.
    async fn mark(&self, position: i64) {
        let sql = "select outbox_mark(array['q'], array[$1::uuid], array[$2::bigint])";
        self.stage.client.query_one(sql, &[&self.tenure, &position]).await.unwrap();
    }
}

async fn plan(client: &Client, tenure: Uuid, last: i64, kind: &str) -> (String, Vec<Uuid>) {
    let sql = "select status, task_id from outbox_plan('q', $1, $2, $3, 'relay', 500, 1000000)";
    let rows = client.query(sql, &[&tenure, &last, &kind]).await.unwrap();
    (rows[0].get(0), rows.iter().filter_map(|row| row.get(1)).collect())
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
}

async fn yes(client: &Client, sql: &str) -> bool {
    client.query_one(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}")).get(0)
}

async fn cancel(client: &Client, task: Uuid) -> bool {
    client.query_one("select outbox_cancel($1)", &[&task]).await.unwrap().get(0)
}

/// The code and the sentence with which a statement is refused.
async fn refused(client: &Client, sql: &str) -> (String, String) {
    let answer = client.batch_execute(sql).await;
    assert!(answer.is_err(), "accepted: {sql}");
    let error = answer.unwrap_err();
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

/// Returns once another session's statement waits for a transaction or a row.
async fn somebody_waits(stage: &Stage) {
    let sql = "select exists (select from pg_locks where not granted and (database is null or database =
               (select oid from pg_database where datname = current_database())))";
    assert!(eventually(SOON, || yes(&stage.client, sql)).await, "nobody waits");
}
