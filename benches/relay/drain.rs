//! How fast a backlog goes from Postgres to Redis: the unsafe pump, the classic relay, outboxd.
//!
//! All three push the same Celery messages, made by the same encoder, in batches of the same size. The *unsafe pump*
//! marks nothing: `COPY` out, pipelined `LPUSH`. The *classic relay* is everybody's: `UPDATE .. FOR UPDATE SKIP LOCKED
//! .. RETURNING`, pipelined `LPUSH`, commit.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, pin_mut};
use jiff::Timestamp;
use outboxd::batch::Entry;
use outboxd::task::Task;
use outboxd::wire::{Format, FormatSpec};
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use super::report::{Aim, Part, median, thousands};
use super::setting;
use super::stage::Stage;

const BATCH: usize = 500;
const QUEUE: &str = "default";

struct Round {
    pump: f64,
    classic: f64,
    outboxd: f64,
    wal_classic: f64,
    wal_outboxd: Wal,
    memory: f64,
}

/// Bytes of WAL per row.
#[derive(Clone, Copy)]
struct Wal {
    total: f64,
    /// Without full-page images, which a page costs once after each checkpoint; if the server can tell.
    records: Option<f64>,
}

pub async fn run(stage: &Stage) -> Part {
    let rows = setting("OUTBOXD_BENCH_ROWS", 1_000_000);
    let rounds = setting("OUTBOXD_BENCH_ROUNDS", 3);
    let mut all = Vec::new();
    for _ in 0..rounds {
        stage.reset().await;
        fill(stage, rows).await;
        let pump = pump(stage, rows).await;
        let (classic, wal_classic) = classic(stage, rows).await;
        let (outboxd, wal_outboxd, memory) = outboxd(stage, rows).await;
        all.push(Round { pump, classic, outboxd, wal_classic, wal_outboxd, memory });
    }
    report(rows, &all)
}

fn report(rows: u64, all: &[Round]) -> Part {
    let of = |pick: fn(&Round) -> f64| median(all.iter().map(pick).collect());
    let ratio = |pick: fn(&Round) -> f64| {
        let ratios: Vec<f64> = all.iter().map(pick).collect();
        let (min, max) = ratios.iter().fold((f64::MAX, 0.0_f64), |(min, max), r| (min.min(*r), max.max(*r)));
        (median(ratios), min, max)
    };
    let (to_pump, to_classic) = (ratio(|r| r.outboxd / r.pump), ratio(|r| r.outboxd / r.classic));
    let spread = |(median, min, max): (f64, f64, f64)| format!("{median:.2} ({min:.2} to {max:.2})");
    let mut text = format!("## Draining a backlog of {} rows, batches of {BATCH}\n\n", thousands(rows as f64));
    text += "| | rows/s | WAL per row for dispatching |\n|---|---|---|\n";
    let _ = writeln!(text, "| (a) unsafe pump: `COPY` out, pipelined `LPUSH` | {} | 0 B |", thousands(of(|r| r.pump)));
    let _ = writeln!(
        text,
        "| (b) classic relay: `UPDATE .. SKIP LOCKED` | {} | {:.0} B |",
        thousands(of(|r| r.classic)),
        of(|r| r.wal_classic)
    );
    let records = match of(|r| r.wal_outboxd.records.unwrap_or(f64::NAN)) {
        told if told.is_nan() => String::new(),
        told => format!(", {told:.2} B without full-page images"),
    };
    let (speed, total) = (thousands(of(|r| r.outboxd)), of(|r| r.wal_outboxd.total));
    let _ = writeln!(text, "| (c) outboxd | {speed} | {total:.2} B{records} |\n");
    let _ = writeln!(text, "- (c) / (a): {}", spread(to_pump));
    let _ = writeln!(text, "- (c) / (b): {}", spread(to_classic));
    let _ = writeln!(text, "- resident memory of the relay at the end of the drain: {:.1} MB\n", of(|r| r.memory));
    let _ = writeln!(
        text,
        "Medians of {} rounds, minimum and maximum in brackets. The time of (c) includes the start of the process, its WAL \
         everything that it writes meanwhile, each round beginning right after a checkpoint.\n",
        all.len()
    );
    Part { text, aims: aims(to_pump.0, to_classic.0, total, of(|r| r.wal_outboxd.records.unwrap_or(f64::NAN))) }
}

/// A server that cannot tell its full-page images is held to the aim with them.
fn aims(to_pump: f64, to_classic: f64, wal: f64, records: f64) -> Vec<Aim> {
    let told = if records.is_nan() {
        format!("{wal:.2} B with full-page images")
    } else {
        format!("{records:.2} B of records; {wal:.2} B with the full-page images that follow each checkpoint")
    };
    vec![
        Aim {
            what: "drain, against the unsafe pump",
            wanted: "0.8 (0.5 as the first step)",
            here: format!("{to_pump:.2}"),
            met: to_pump >= 0.8,
        },
        Aim {
            what: "drain, against the classic relay",
            wanted: "3 (2 as the first step)",
            here: format!("{to_classic:.2}"),
            met: to_classic >= 3.0,
        },
        Aim { what: "WAL per row, full batches", wanted: "1 B", here: told, met: records.min(wal) <= 1.0 },
    ]
}

/// The same rows for everybody: in the outbox, and in a table of the classic kind.
async fn fill(stage: &Stage, rows: u64) {
    let client = stage.connect().await;
    let fill = format!(
        "insert into outbox (queue, task, args, kwargs)
           select '{QUEUE}', 'shop.tasks.send_receipt', jsonb_build_array(g, 'order-' || g),
                  jsonb_build_object('customer', g % 1000, 'note', repeat('x', 150), 'email', 'user' || g || '@example.org')
             from generate_series(1, {rows}) g;
         create table classic (
           id bigserial primary key, task_id uuid not null default gen_random_uuid(), queue text not null, task text not null,
           args jsonb not null, kwargs jsonb not null, created_at timestamptz not null default now(), dispatched_at timestamptz);
         create index on classic (id) where dispatched_at is null;
         insert into classic (queue, task, args, kwargs) select queue, task, args, kwargs from outbox order by id;
         analyze classic; checkpoint;"
    );
    client.batch_execute(&fill).await.unwrap();
}

async fn redis(stage: &Stage) -> MultiplexedConnection {
    let client = redis::Client::open(stage.redis.url(1)).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

fn message(format: &Format, task: &Task<'_>) -> Vec<u8> {
    match format.encode(task).unwrap().entry {
        Entry::Left(bytes) | Entry::Right(bytes) => bytes,
        Entry::Stream(_) => unreachable!("celery pushes to lists"),
    }
}

async fn push(connection: &mut MultiplexedConnection, messages: &mut Vec<Vec<u8>>) {
    let mut pipeline = redis::pipe();
    for message in messages.drain(..) {
        pipeline.lpush(QUEUE, message).ignore();
    }
    pipeline.query_async::<()>(connection).await.unwrap();
}

/// (a) Everything out in one `COPY`, pushed in pipelines; the next one is read while the last is under way.
async fn pump(stage: &Stage, rows: u64) -> f64 {
    let client = stage.connect().await;
    let format = Format::new(&FormatSpec::default(), QUEUE).unwrap();
    let mut connection = redis(stage).await;
    let started = Instant::now();
    let copy = client.copy_out("copy (select task_id, task, args, kwargs from outbox) to stdout").await.unwrap();
    pin_mut!(copy);
    let (sender, mut batches) = tokio::sync::mpsc::channel::<Vec<Vec<u8>>>(2);
    let pusher = tokio::spawn(async move {
        while let Some(mut batch) = batches.recv().await {
            push(&mut connection, &mut batch).await;
        }
    });
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(line) = copy.next().await {
        let line = line.unwrap();
        // No value of these rows needs COPY's escapes.
        let text = std::str::from_utf8(&line).unwrap().trim_end();
        let mut fields = text.split('\t');
        let mut field = || fields.next().unwrap_or_default();
        let (task_id, name, args, kwargs) = (field(), field(), field(), field());
        let task = plain(Uuid::parse_str(task_id).unwrap(), name, args, kwargs);
        batch.push(message(&format, &task));
        if batch.len() == BATCH {
            sender.send(std::mem::take(&mut batch)).await.unwrap();
            batch.reserve(BATCH);
        }
    }
    if !batch.is_empty() {
        sender.send(batch).await.unwrap();
    }
    drop(sender);
    pusher.await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(length_in_one(stage), rows);
    stage.redis.flushall().unwrap();
    rows as f64 / seconds
}

fn plain<'a>(task_id: Uuid, name: &'a str, args: &'a str, kwargs: &'a str) -> Task<'a> {
    let created_at = Timestamp::UNIX_EPOCH;
    Task {
        id: 0,
        task_id,
        name,
        args,
        kwargs,
        headers: "{}",
        body: None,
        priority: None,
        expires_at: None,
        retried_at: None,
        created_at,
    }
}

/// (b) Everybody's relay: row marks, one connection, the commit after the push.
async fn classic(stage: &Stage, rows: u64) -> (f64, f64) {
    let mut client = stage.connect().await;
    let format = Format::new(&FormatSpec::default(), QUEUE).unwrap();
    let mut connection = redis(stage).await;
    let claim = format!(
        "update classic set dispatched_at = now() where id in (
           select id from classic where dispatched_at is null order by id limit {BATCH} for update skip locked)
         returning task_id, task, args::text, kwargs::text"
    );
    let claim = client.prepare(&claim).await.unwrap();
    let wal = position(stage).await;
    let started = Instant::now();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let transaction = client.transaction().await.unwrap();
        let claimed = transaction.query(&claim, &[]).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        for row in &claimed {
            batch.push(message(&format, &plain(row.get(0), row.get(1), row.get(2), row.get(3))));
        }
        push(&mut connection, &mut batch).await;
        transaction.commit().await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(length_in_one(stage), rows);
    stage.redis.flushall().unwrap();
    (rows as f64 / seconds, (position(stage).await - wal) / rows as f64)
}

/// (c) The program as it is, with the window open: nobody consumes here.
async fn outboxd(stage: &Stage, rows: u64) -> (f64, Wal, f64) {
    let size = format!("relay.batch_size={BATCH}");
    stage.connect().await.batch_execute("checkpoint").await.unwrap();
    let wal = position(stage).await;
    let started = Instant::now();
    let relay = stage.relay(&["defaults.window=0", &size]).await;
    let mut seen = Instant::now();
    let mut before = 0;
    loop {
        let now = length_in_one(stage);
        if now == rows {
            break;
        }
        if now > before {
            (before, seen) = (now, Instant::now());
        }
        assert!(seen.elapsed() < Duration::from_secs(30), "the relay has stopped at {now}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // From the start of the process: finding the queue and opening it is part of the work.
    let seconds = started.elapsed().as_secs_f64();
    let memory = relay.memory("VmRSS");
    let wal = written(stage, wal, rows).await;
    relay.stop();
    (rows as f64 / seconds, wal, memory)
}

/// The length of the queue in DB 1.
fn length_in_one(stage: &Stage) -> u64 {
    let mut client = stage.redis.connect().unwrap();
    client.cmd(["SELECT", "1"]).unwrap();
    client.cmd(["LLEN", QUEUE]).unwrap().int().unwrap_or_default().unsigned_abs()
}

/// What was written to the WAL since a position.
async fn written(stage: &Stage, from: f64, rows: u64) -> Wal {
    let client = stage.connect().await;
    let to = position(stage).await;
    let images = "create extension if not exists pg_walinspect";
    let images = match client.batch_execute(images).await {
        Ok(()) => {
            let sql = "select sum(fpi_size)::float8 from pg_get_wal_stats('0/0'::pg_lsn + $1::numeric, '0/0'::pg_lsn + $2::numeric)";
            let sql = sql.replace("$1", &format!("{from:.0}")).replace("$2", &format!("{to:.0}"));
            // What is not flushed cannot be read, and the relay commits without waiting.
            client.batch_execute("checkpoint").await.unwrap();
            Some(client.query_one(&sql, &[]).await.unwrap().get::<_, f64>(0))
        }
        // Before PostgreSQL 15, or without the contrib modules.
        Err(_) => None,
    };
    let per_row = |bytes: f64| bytes / rows as f64;
    Wal { total: per_row(to - from), records: images.map(|images| per_row(to - from - images)) }
}

/// The server's position in its WAL, in bytes.
async fn position(stage: &Stage) -> f64 {
    let client = stage.connect().await;
    client.query_one("select (pg_current_wal_insert_lsn() - '0/0')::float8", &[]).await.unwrap().get(0)
}
