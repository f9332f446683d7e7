//! The statements decide as the pure rules do: openings and boundaries over generated histories.
//!
//! Left out, because the two differ on purpose: queues that moved (what went to an earlier destination), the horizon of
//! `confirm = none`, a ledger that was trimmed, a queue without a single batch, and evidence that broke (the relay settles
//! that by `outbox_certify` with a base). With no marker at position 0 the statement may ask for one more look.
//! `OUTBOXD_RULES_SEED` repeats the histories of an earlier run.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fastrand::Rng;
use outboxd::batch::Marker;
use outboxd::relay::rules::{
    Cause, Checkpoint, Decision, Facts, Known, Opening, again_at_boundary, again_at_opening, opening,
};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::common::Database;

const CASES: usize = 1000;

/// A tenure as Postgres knows it.
#[derive(Debug)]
struct Tenure {
    token: Uuid,
    cap: Option<i64>,
    incarnation: &'static str,
    base: i64,
    certified: bool,
}

/// A row and the batches that hold it, in order.
#[derive(Debug)]
struct Row {
    id: i64,
    task_id: Uuid,
    in_log: bool,
    batches: Vec<i64>,
    /// Scheduled again, not planned yet.
    waits: bool,
    outstanding: bool,
}

impl Row {
    fn newest(&self) -> Option<i64> {
        if self.waits { None } else { self.batches.last().copied() }
    }
}

/// One queue's history.
#[derive(Debug)]
struct History {
    newest: i64,
    tenures: Vec<Tenure>,
    rows: Vec<Row>,
    /// Position, and what is consumed if that is tracked.
    checkpoint: Option<(i64, Option<i64>)>,
    seen: Option<Marker>,
    incarnation: &'static str,
    fresh_look: bool,
    confirm: &'static str,
}

impl History {
    fn any(rng: &mut Rng, log: &[(i64, Uuid)], confirm: &'static str) -> Self {
        let newest = rng.i64(1..=9);
        let mut rows: Vec<Row> = Vec::new();
        let mut log = log.iter();
        for batch in 1..=newest {
            if rng.bool() {
                for (id, task_id) in log.by_ref().take(rng.usize(0..4)) {
                    rows.push(Row::new(*id, *task_id, true, batch));
                }
            } else {
                for row in &mut rows {
                    if rng.u8(0..4) == 0 {
                        row.batches.push(batch);
                    }
                }
                for _ in 0..rng.usize(0..2) {
                    let id = 100_000 + i64::try_from(rows.len()).unwrap();
                    rows.push(Row::new(id, Uuid::new_v4(), false, batch));
                }
            }
        }
        let consumed = (confirm != "none" && rng.u8(0..5) > 0).then(|| rng.i64(0..=newest + 1));
        let checkpoint = (rng.u8(0..8) > 0).then(|| (rng.i64(consumed.unwrap_or(0)..=newest + 2), consumed));
        for row in &mut rows {
            row.waits = rng.u8(0..6) == 0;
            row.outstanding = checkpoint.is_some() && consumed.is_some() && rng.bool();
        }
        let tenures = tenures(rng, newest);
        let checkpoint = checkpoint.filter(|_| !tenures.is_empty());
        let token = match rng.u8(0..6) {
            0 => None,
            1 => Some(Uuid::new_v4()),
            _ => Some(rng.choice(&tenures).map_or_else(Uuid::new_v4, |tenure| tenure.token)),
        };
        let seen = token.map(|tenure| Marker { tenure, position: rng.i64(0..=newest + 2) });
        let incarnation = if rng.bool() { "a" } else { "b" };
        let mut history =
            Self { newest, tenures, rows, checkpoint, seen, incarnation, fresh_look: rng.bool(), confirm };
        if history.checkpoint.is_none() {
            history.rows.iter_mut().for_each(|row| row.outstanding = false);
            history.fresh_look = true;
        }
        history
    }

    fn facts(&self) -> Facts<'_> {
        let known = self.seen.and_then(|seen| self.tenures.iter().find(|tenure| tenure.token == seen.tenure));
        let (position, consumed) = self.checkpoint.unwrap_or_default();
        let number = i64::from(self.checkpoint.is_some());
        Facts {
            seen: self.seen,
            known: known.map(|tenure| Known {
                cap: tenure.cap,
                incarnation: tenure.incarnation,
                base: tenure.base,
                certified: tenure.certified,
            }),
            opened_before: !self.tenures.is_empty(),
            incarnation: self.incarnation,
            unbroken: true,
            looked_after: if self.fresh_look { number } else { 0 },
            checkpoint: Checkpoint { number, position, consumed: consumed.unwrap_or(0) },
            newest: self.newest,
            settled: 0,
            confirms: self.confirm != "none",
        }
    }

    /// The statements that write it down. The rows of the log are there already.
    fn sql(&self, snap: &str) -> String {
        let mut sql = String::from("insert into outbox_queue (queue) values ('q');");
        let mut tip = 0;
        for batch in 0..=self.newest {
            let members: Vec<&Row> = self.rows.iter().filter(|row| row.batches.contains(&batch)).collect();
            let fresh = members.iter().filter(|row| row.in_log && row.batches[0] == batch).map(|row| row.id).max();
            tip = fresh.unwrap_or(tip);
            let ids: Vec<String> = members.iter().map(|row| row.id.to_string()).collect();
            let (kind, ids) = match fresh {
                None if !ids.is_empty() => ("ids", format!("array[{}]", ids.join(","))),
                _ => ("log", "null".to_owned()),
            };
            let snap = if batch == 0 { "3:3:" } else { snap };
            let rows = members.len();
            write!(
                sql,
                "insert into outbox_batch (queue, batch, kind, snap, tip, prev_tip, floor, open_after, ids, rows, bytes, relay) \
                 values ('q', {batch}, '{kind}', '{snap}', {tip}, {tip}, {tip}, '{{}}', {ids}, {rows}, 0, 'test');"
            )
            .unwrap();
        }
        for (n, tenure) in self.tenures.iter().enumerate() {
            let Tenure { token, cap, incarnation, base, certified } = tenure;
            let (cap, closed) = cap.map_or(("null".into(), "null"), |cap| (cap.to_string(), "clock_timestamp()"));
            write!(
                sql,
                "insert into outbox_tenure (token, queue, destination, incarnation, cap, opened_batch, starts, base, certified, \
                                            relay, opened_at, closed_at) \
                 values ('{token}', 'q', 'here', '{incarnation}', {cap}, 0, 0, {base}, {certified}, 'test', \
                         clock_timestamp() - interval '1 h' + {n} * interval '1 s', {closed});"
            )
            .unwrap();
        }
        for row in self.rows.iter().filter(|row| row.waits || !row.in_log || row.batches.len() > 1) {
            let Row { id, task_id, batches, .. } = row;
            let batch = row.newest().map_or("null".to_owned(), |batch| batch.to_string());
            let incident = if row.waits || batches.len() > 1 { "999" } else { "null" };
            write!(
                sql,
                "insert into outbox_held (id, task_id, queue, task, args, kwargs, headers, created_at, due, batch, incident) \
                 values ({id}, '{task_id}', 'q', 't', '[]', '{{}}', '{{}}', now(), now(), {batch}, {incident});"
            )
            .unwrap();
        }
        if let Some((position, consumed)) = self.checkpoint {
            let outstanding: Vec<String> =
                self.rows.iter().filter(|row| row.outstanding).map(|row| row.id.to_string()).collect();
            let (consumed, outstanding) = match consumed {
                Some(consumed) => (consumed.to_string(), format!("array[{}]::bigint[]", outstanding.join(","))),
                None => ("null".to_owned(), "null".to_owned()),
            };
            write!(
                sql,
                "insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence) \
                 values ('q', {position}, {consumed}, {outstanding}, 'test');"
            )
            .unwrap();
        }
        sql
    }
}

impl Row {
    fn new(id: i64, task_id: Uuid, in_log: bool, batch: i64) -> Self {
        Self { id, task_id, in_log, batches: vec![batch], waits: false, outstanding: false }
    }
}

fn tenures(rng: &mut Rng, newest: i64) -> Vec<Tenure> {
    let count = rng.usize(0..4);
    let still_open = rng.u8(0..4) > 0;
    let tenure = |n: usize| Tenure {
        token: Uuid::new_v4(),
        cap: (n + 1 < count || !still_open).then(|| rng.i64(0..=newest + 1)),
        incarnation: if rng.bool() { "a" } else { "b" },
        base: rng.i64(0..=newest),
        certified: rng.bool(),
    };
    (0..count).map(tenure).collect()
}

/// A database whose log holds committed rows of the queue `q`; their ids, and a snapshot that sees them.
async fn stage() -> (Database, Client, Vec<(i64, Uuid)>, String) {
    let database = Database::migrated();
    let client = database.connect().await;
    let rows = client
        .query(
            "insert into outbox (queue, task) select 'q', 't' from generate_series(1, 40) returning id, task_id",
            &[],
        )
        .await
        .unwrap();
    let log = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let snap = client.query_one("select pg_current_snapshot()::text", &[]).await.unwrap().get(0);
    (database, client, log, snap)
}

fn seeded(name: &str) -> Rng {
    let seed = std::env::var("OUTBOXD_RULES_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{name}: OUTBOXD_RULES_SEED={seed}");
    Rng::with_seed(seed)
}

/// The rows that were scheduled since the history began.
async fn scheduled(client: &Client) -> BTreeSet<i64> {
    let rows = client
        .query("select id from outbox_held where batch is null and incident is distinct from 999", &[])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn number(client: &Client, sql: &str) -> Option<i64> {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::First => "first",
        Cause::Kept => "kept",
        Cause::RolledBack => "rolled_back",
        Cause::Missing => "missing",
        Cause::Unknown => "unknown",
    }
}

#[tokio::test]
async fn an_opening_decides_by_the_rules() {
    let (_database, client, log, snap) = stage().await;
    let mut rng = seeded("openings");
    let (mut began, mut looked_again, mut again) = (0, 0, 0);
    for _ in 0..CASES {
        let confirm = *rng.choice(&["observe", "receipt", "none"]).unwrap();
        let history = History::any(&mut rng, &log, confirm);
        client.batch_execute(&format!("begin; {}", history.sql(&snap))).await.unwrap();
        let newest_checkpoint = number(&client, "select max(checkpoint) from outbox_checkpoint").await;
        let looked = newest_checkpoint.map(|number| if history.fresh_look { number } else { number - 1 });
        let seen = history.seen;
        let answer = client
            .query_one(
                "select status, trusted, done, cause, scheduled, certified, \
                        (select base from outbox_tenure where token = $1), newest \
                   from outbox_open('q', $1, 'here', $2, $3, $4, 'test', '15 min', $5, $6)",
                &[
                    &Uuid::from_u128(7),
                    &history.incarnation,
                    &seen.map(|marker| marker.tenure),
                    &seen.map(|marker| marker.position),
                    &confirm,
                    &looked,
                ],
            )
            .await
            .unwrap();
        let status: String = answer.get(0);
        match opening(&history.facts()) {
            Opening::LookAgain => {
                assert_eq!(status, "again", "{history:#?}");
                looked_again += 1;
            }
            Opening::Begin(decision) if status == "again" => {
                let one_more = matches!(decision.cause, Cause::Missing | Cause::Unknown) && !history.fresh_look;
                assert!(one_more && decision.trusted == 0, "{history:#?}");
            }
            Opening::Begin(decision) => {
                assert_eq!(status, "opened", "{history:#?}");
                again += agrees(&client, &history, &decision, &answer).await;
                began += 1;
            }
        }
        client.batch_execute("rollback").await.unwrap();
    }
    eprintln!("{began} began, {looked_again} looked again, {again} rows scheduled");
    assert!(began > CASES / 3 && looked_again > 10 && again > 30, "the histories do not reach far enough");
}

/// Holds one opening against its decision; how many rows were scheduled.
async fn agrees(client: &Client, history: &History, decision: &Decision, answer: &tokio_postgres::Row) -> usize {
    let base: Option<i64> =
        number(client, &format!("select base from outbox_tenure where token = '{}'", Uuid::from_u128(7))).await;
    let told = (answer.get(1), answer.get(2), answer.get::<_, String>(3), answer.get(5), base);
    let rule =
        (decision.trusted, decision.done, name(decision.cause).to_owned(), decision.certified, Some(decision.base));
    assert_eq!(told, rule, "trusted, done, cause, certified, base of {history:#?}");
    let confirms = history.confirm != "none";
    let rule: BTreeSet<i64> = history
        .rows
        .iter()
        .filter(|row| again_at_opening(decision, row.newest(), row.outstanding && confirms))
        .map(|row| row.id)
        .collect();
    assert_eq!(scheduled(client).await, rule, "scheduled of {history:#?} by {decision:?}");
    assert_eq!(answer.get::<_, i64>(4), i64::try_from(rule.len()).unwrap());
    let left = number(
        client,
        "select cardinality(outstanding)::bigint from outbox_checkpoint order by checkpoint desc limit 1",
    );
    if let (Some(left), true) = (left.await, decision.cause != Cause::First) {
        let outstanding = history.rows.iter().filter(|row| row.outstanding).count();
        assert_eq!(usize::try_from(left).unwrap() + rule.len(), outstanding, "what is not scheduled stays outstanding");
    }
    rule.len()
}

#[tokio::test]
async fn a_boundary_schedules_by_the_rules() {
    let (_database, client, log, snap) = stage().await;
    let mut rng = seeded("boundaries");
    let mut again = 0;
    for _ in 0..CASES {
        let mut history = History::any(&mut rng, &log, "observe");
        let token = Uuid::from_u128(7);
        history.tenures.iter_mut().for_each(|tenure| tenure.cap = Some(tenure.cap.unwrap_or(history.newest)));
        let own_base = rng.i64(0..=history.newest);
        history.tenures.push(Tenure { token, cap: None, incarnation: "a", base: own_base, certified: false });
        client.batch_execute(&format!("begin; {}", history.sql(&snap))).await.unwrap();
        let base = rng.bool().then(|| rng.i64(0..=history.newest));
        let (mut present, mut task_ids, mut there) = (Vec::new(), Vec::new(), BTreeSet::new());
        for row in &history.rows {
            if rng.bool() {
                continue;
            }
            // Another database's row of the same number is not this one.
            let foreign = rng.u8(0..4) == 0;
            present.push(row.id);
            task_ids.push(rng.bool().then_some(row.task_id).or(foreign.then(Uuid::new_v4)));
            if task_ids.last().unwrap().is_none_or(|id| id == row.task_id) {
                there.insert(row.id);
            }
        }
        let answer: Option<i64> = client
            .query_one(
                "select outbox_certify('q', $1, $2, $3, $4, 'restart', '{}', '15 min')",
                &[&token, &base, &present, &task_ids],
            )
            .await
            .unwrap()
            .get(0);
        let consumed = history.checkpoint.and_then(|(_, consumed)| consumed).unwrap_or(0);
        let rule: BTreeSet<i64> = history
            .rows
            .iter()
            .filter(|row| {
                let base = base.unwrap_or(own_base);
                again_at_boundary(base, consumed, row.newest(), row.outstanding, there.contains(&row.id))
            })
            .map(|row| row.id)
            .collect();
        assert_eq!(scheduled(&client).await, rule, "base {base:?}, present {there:?} of {history:#?}");
        assert_eq!(answer, Some(i64::try_from(rule.len()).unwrap()));
        again += rule.len();
        client.batch_execute("rollback").await.unwrap();
    }
    eprintln!("{again} rows scheduled");
    assert!(again > CASES / 2, "the histories do not reach far enough");
}
