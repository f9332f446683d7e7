//! What reading the log costs: index ranges merged without a sort, hardly any WAL, a plan per batch in well under the
//! time of its publication.

use std::fs;
use std::time::Instant;

use outboxd::sandbox::{Postgres, Sandbox};
use tokio_postgres::Client;

use super::driver::{Reader, number};
use crate::common::{Database, SOON, eventually_blocking, options};

const BATCH: i32 = 500;

fn own_cluster(settings: &[(&str, &str)]) -> Database {
    let options = settings.iter().fold(options(), |options, (name, value)| options.with(name, value));
    Database::migrated_in(Postgres::start(&Sandbox::new().unwrap(), &options).unwrap())
}

/// `OUTBOXD_READER_LOG` rows, in all eight segments.
fn log_rows() -> i64 {
    std::env::var("OUTBOXD_READER_LOG").ok().and_then(|rows| rows.parse().ok()).unwrap_or(40_000)
}

async fn fill_all_segments(client: &Client, rows: i64) {
    for segment in 0..8_i64 {
        client.query("select setval('outbox_segment_seq', $1)", &[&segment]).await.unwrap();
        let sql = "insert into outbox (queue, task, args) select case n % 3 when 0 then 'q' else 'r' end, 't', '[1]' \
                   from generate_series(1, $1::bigint) n";
        client.execute(sql, &[&(rows / 8)]).await.unwrap();
    }
}

#[tokio::test]
async fn every_range_is_an_index_scan_merged_without_a_sort_with_and_without_statistics() {
    let database = own_cluster(&[
        ("shared_preload_libraries", "auto_explain"),
        ("auto_explain.log_nested_statements", "on"),
        ("autovacuum", "off"),
    ]);
    let mut reader = Reader::open(&database, "q").await;
    let slow = database.connect().await;
    slow.batch_execute("begin; insert into outbox (queue, task) values ('q', 'far')").await.unwrap();
    fill_all_segments(&reader.client, log_rows()).await;
    for statistics in [false, true] {
        if statistics {
            reader.client.batch_execute("analyze").await.unwrap();
            fill_all_segments(&reader.client, log_rows()).await;
        }
        // A session of its own, so that nothing is planned before the statistics are there.
        reader = Reader::open(&database, "q").await;
        reader.drain(5000).await;
        reader
            .client
            .batch_execute("insert into outbox (queue, task) values ('q', 'one'), ('q', 'two')")
            .await
            .unwrap();
        if statistics {
            slow.batch_execute("commit").await.unwrap();
        }
        let from = fs::metadata(database.postgres.log()).unwrap().len();
        reader.client.batch_execute("set auto_explain.log_min_duration = 0").await.unwrap();
        let began = Instant::now();
        let planned = reader.plan(1).await;
        eprintln!("statistics: {statistics}, one plan of {} in {:?}", planned.ids().len(), began.elapsed());
        reader.client.batch_execute("set auto_explain.log_min_duration = -1").await.unwrap();
        let log = || fs::read_to_string(database.postgres.log()).unwrap()[usize::try_from(from).unwrap()..].to_owned();
        assert!(eventually_blocking(SOON, || log().contains("auto_explain.log_min_duration = -1")
            || log().contains("outbox_plan(")));
        check_plans(&log(), statistics);
    }
}

fn check_plans(log: &str, far: bool) {
    let reads = |plan: &&str| plan.contains(".outbox o") || plan.contains("from outbox_log(");
    let plans: Vec<&str> = log.split("LOG:  duration:").filter(reads).collect();
    assert!(plans.len() >= 2, "A with B, and C: {log}");
    assert!(!far || plans.iter().any(|plan| plan.contains("(v_far, o.xid)")), "the far range: {log}");
    for plan in plans {
        for bad in ["Seq Scan", "Bitmap", "Materialize"] {
            assert!(!plan.contains(bad), "{bad} in {plan}");
        }
        // What two ordered scans found, each cut at the batch's size, may be sorted; what a scan finds may not.
        let sorts = plan.matches("->  Sort  (").count();
        assert!(sorts == 0 || (sorts == 1 && plan.matches("->  Limit  (").count() == 2), "{plan}");
        // Whether there is any row at all needs no order.
        assert!(plan.contains("exists (") || plan.contains("Merge Append"), "{plan}");
        let scans =
            plan.matches("Index Scan using outbox_s").count() + plan.matches("Index Only Scan using outbox_s").count();
        let ours = plan.matches("_queue on outbox_s").count();
        assert!(scans >= 8 && scans == ours, "{plan}");
        let conditions = plan.lines().filter(|line| line.contains("Index Cond:"));
        for condition in conditions {
            assert!(condition.contains("queue =") && condition.contains("id >"), "{condition}");
        }
        // Whose rows a scan wants is told by the index, where the text asks for it.
        if plan.contains("o.xid >=") {
            assert_eq!(plan.matches("AND (xid >=").count(), scans, "{plan}");
        }
    }
}

#[tokio::test]
async fn draining_full_batches_writes_less_than_one_byte_of_wal_per_row() {
    const ROWS: i64 = 200_000;
    let database = own_cluster(&[("autovacuum", "off"), ("max_wal_size", "4GB")]);
    let mut reader = Reader::open(&database, "q").await;
    let sql = "insert into outbox (queue, task, args) select 'q', 'send', jsonb_build_array(repeat('x', 300), n) \
               from generate_series(1, $1::bigint) n";
    reader.client.execute(sql, &[&ROWS]).await.unwrap();
    let position = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
    let (before, began) = (number(&reader.client, position).await, Instant::now());
    let (ids, batches) = reader.drain(BATCH).await;
    let (took, wal) = (began.elapsed(), number(&reader.client, position).await - before);
    assert_eq!(i64::try_from(ids.len()).unwrap(), ROWS);
    eprintln!(
        "{batches} batches in {took:.2?}: {:?} per batch; {wal} bytes of WAL: {} per 1000 rows",
        took / u32::try_from(batches).unwrap(),
        wal * 1000 / ROWS
    );
    assert!(wal < ROWS, "{wal} bytes of WAL for {ROWS} rows");
}
