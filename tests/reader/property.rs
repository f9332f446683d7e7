//! Many random producers, planners that crash: none missing, none twice, none from a rollback, in order, and every batch
//! the same for ever.
//!
//! `OUTBOXD_READER_ROWS` sets how many rows are committed, `OUTBOXD_READER_SEED` repeats the choices of an earlier run
//! (not its interleaving, which is the machine's).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use outboxd::sandbox::{Postgres, Sandbox};

use super::driver::{Ledger, Message, Reader, number, read};
use super::writers::{Books, QUEUES, Writer};
use crate::common::{Database, options};

const WRITERS: u64 = 28;
const ROWS: i64 = 200_000;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_committed_row_is_planned_exactly_once_and_in_order() {
    let seed = setting("OUTBOXD_READER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rows = setting("OUTBOXD_READER_ROWS").unwrap_or(ROWS);
    eprintln!("OUTBOXD_READER_SEED={seed}");
    let options = options().with("max_prepared_transactions", "100");
    let database = Database::migrated_in(Postgres::start(&Sandbox::new().unwrap(), &options).unwrap());
    let database = Arc::new(database);
    let (books, ledger) = (Arc::new(Books::default()), Arc::new(Ledger::default()));
    let done = Arc::new(AtomicBool::new(false));
    let began = Instant::now();

    let mut writers = Vec::new();
    for n in 0..WRITERS {
        writers.push(tokio::spawn(Writer::new(&database, books.clone(), seed, n).await.run(rows)));
    }
    let segments = tokio::spawn(spread(database.clone(), done.clone(), seed));
    let planners: Vec<_> = (0..2)
        .map(|n| {
            tokio::spawn(plan(
                database.clone(),
                (ledger.clone(), books.clone()),
                done.clone(),
                Rng::with_seed(seed + 1000 + n),
            ))
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let written = began.elapsed();
    done.store(true, Ordering::SeqCst);
    segments.await.unwrap();
    let mut crashes = 0;
    for planner in planners {
        crashes += planner.await.unwrap();
    }
    let batches = Arc::into_inner(ledger).unwrap().take();
    eprintln!(
        "{} rows inserted, {} of them committed, in {written:.1?}, planned in {} batches by {:.1?}, {crashes} crashes",
        books.rows.load(Ordering::Relaxed),
        books.kept.load(Ordering::Relaxed),
        batches.len(),
        began.elapsed()
    );

    same_when_read_again(&database, &batches).await;
    exactly_what_committed(&database, &batches, rows).await;
    in_order(&database, &batches, &books).await;
}

/// Moves the producers from segment to segment: by the function while the ring has room, then at random.
async fn spread(database: Arc<Database>, done: Arc<AtomicBool>, seed: u64) {
    let (client, mut rng) = (database.connect().await, Rng::with_seed(seed));
    let mut full = false;
    while !done.load(Ordering::SeqCst) {
        if full {
            client.query("select setval('outbox_segment_seq', $1)", &[&rng.i64(0..8)]).await.unwrap();
        } else {
            let moved = client.query_one("select outbox_rotate('0', 0)", &[]).await.unwrap();
            full = moved.get::<_, Option<&str>>(0) == Some("full");
        }
        // The pace of the changes, not a wait for anything.
        tokio::time::sleep(Duration::from_millis(rng.u64(5..100))).await;
    }
}

/// One planner: any queue, any batch size, a crash now and then; ends when nothing was left after the writers' end.
async fn plan(
    database: Arc<Database>,
    (ledger, books): (Arc<Ledger>, Arc<Books>),
    done: Arc<AtomicBool>,
    mut rng: Rng,
) -> usize {
    let mut readers: HashMap<&str, Reader> = HashMap::new();
    let mut crashes = 0;
    let mut quiet = HashSet::new();
    while quiet.len() < 4 {
        let was_done = done.load(Ordering::SeqCst);
        let queue = QUEUES[rng.usize(..QUEUES.len())];
        if !readers.contains_key(queue) {
            readers.insert(queue, opened(&database, queue, &ledger).await);
        }
        let reader = readers.get_mut(queue).unwrap();
        let (kind, rows, bytes) = size(&mut rng);
        if rng.u32(..60) == 0 {
            // Before, between or after: the connection is gone, and the relay with it.
            crash(readers.remove(queue).unwrap(), kind, rows, bytes, &mut rng).await;
            crashes += 1;
            continue;
        }
        reader.client.batch_execute("begin isolation level read committed").await.unwrap();
        let planned = reader.ask(kind, rows, bytes).await;
        if rng.u32(..10) == 0 {
            // The other planner meets a queue that is taken, writers go on.
            tokio::time::sleep(Duration::from_millis(rng.u64(0..20))).await;
        }
        reader.client.batch_execute("commit").await.unwrap();
        match planned.status.as_str() {
            "planned" | "more" => {
                reader.last = planned.batch;
                books.planned.fetch_add(planned.messages.len().try_into().unwrap(), Ordering::Relaxed);
                ledger.note(queue, planned.batch, planned.messages);
                quiet.remove(queue);
            }
            "open" => {
                readers.remove(queue);
            }
            "idle" if was_done && kind == "log" => {
                if reader.plan_kind("ids", 1, 1).await.status == "idle" {
                    quiet.insert(queue);
                } else {
                    // Planned, and noted by whoever opens next.
                    readers.remove(queue);
                }
            }
            "idle" | "busy" => {}
            other => panic!("{other}"),
        }
    }
    crashes
}

fn size(rng: &mut Rng) -> (&'static str, i32, i64) {
    let kind = if rng.u32(..8) == 0 { "ids" } else { "log" };
    let rows = match rng.u32(..100) {
        0..20 => rng.i32(1..5),
        20..40 => rng.i32(5..100),
        _ => rng.i32(100..2000),
    };
    let bytes = match rng.u32(..100) {
        0..10 => rng.i64(1..1000),
        10..20 => rng.i64(1000..20_000),
        _ => i64::MAX,
    };
    (kind, rows, bytes)
}

/// Opens a queue and reads what the planner before may not have told.
async fn opened(database: &Database, queue: &str, ledger: &Ledger) -> Reader {
    let reader = Reader::open(database, queue).await;
    for batch in ledger.newest(queue) + 1..=reader.last {
        ledger.note(queue, batch, reader.read(batch).await);
    }
    reader
}

async fn crash(reader: Reader, kind: &str, rows: i32, bytes: i64, rng: &mut Rng) {
    let step = rng.u32(..3);
    if step > 0 {
        reader.client.batch_execute("begin isolation level read committed").await.unwrap();
        reader.ask(kind, rows, bytes).await;
    }
    if step == 2 {
        reader.client.batch_execute("commit").await.unwrap();
    }
    // Dropped: the server ends the session and rolls back what was open.
    drop(reader);
}

async fn same_when_read_again(database: &Database, batches: &BTreeMap<(String, i64), Vec<Message>>) {
    let client = database.connect().await;
    for ((queue, batch), rows) in batches {
        assert!(read(&client, queue, *batch).await == *rows, "batch {batch} of {queue} has changed");
    }
    let entries = number(&client, "select count(*) from outbox_batch where batch > 0").await;
    assert_eq!(entries, i64::try_from(batches.len()).unwrap(), "the ledger holds what nobody has planned");
}

async fn exactly_what_committed(database: &Database, batches: &BTreeMap<(String, i64), Vec<Message>>, rows: i64) {
    let client = database.connect().await;
    let committed = client.query("select queue, id from outbox", &[]).await.unwrap();
    assert!(i64::try_from(committed.len()).unwrap() >= rows, "only {} rows were committed", committed.len());
    let mut open: HashSet<(String, i64)> = committed.iter().map(|row| (row.get(0), row.get(1))).collect();
    for ((queue, batch), rows) in batches {
        for (id, task) in rows {
            assert!(!task.starts_with("drop"), "{queue}/{id} ({task}) in batch {batch} was rolled back");
            assert!(
                open.remove(&(queue.clone(), *id)),
                "{queue}/{id} ({task}) in batch {batch} is twice, or not there"
            );
        }
    }
    assert!(open.is_empty(), "{} rows are missing: {:?} ..", open.len(), open.iter().take(5).collect::<Vec<_>>());
}

/// By id inside a tick; and what had been inserted after another row's commit comes later.
async fn in_order(database: &Database, batches: &BTreeMap<(String, i64), Vec<Message>>, books: &Books) {
    let client = database.connect().await;
    let sql = "select queue, batch, kind, t_snap is not null from outbox_batch where batch > 0 order by queue, batch";
    let commits = books.commits();
    let (mut in_tick, mut last_id, mut latest_start, mut of) = (false, 0, 0, String::new());
    for entry in client.query(sql, &[]).await.unwrap() {
        let (queue, batch, kind): (String, i64, &str) = (entry.get(0), entry.get(1), entry.get(2));
        if queue != of {
            (in_tick, latest_start, of) = (false, 0, queue.clone());
        }
        if kind == "ids" {
            continue;
        }
        if !in_tick {
            last_id = 0;
        }
        for (id, task) in &batches[&(queue.clone(), batch)] {
            assert!(*id > last_id, "{queue}: {id} after {last_id} in the tick of batch {batch}");
            last_id = *id;
            let mut parts = task.split('.').skip(1).map(|part| part.parse::<i64>().unwrap());
            let (transaction, start) = (parts.next().unwrap(), parts.next().unwrap());
            let committed = commits[&transaction];
            assert!(committed >= latest_start, "{queue}/{id} ({task}) had committed before a row that came earlier");
            latest_start = latest_start.max(start);
        }
        in_tick = entry.get(3);
    }
}
