//! Which rows stand in lists, as of one instant: every place is looked at, nothing is missed in motion, much is not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outboxd::batch::{Entry, Push};
use outboxd::broker::evidence::{Break, judge};
use outboxd::broker::{Present, Snapshot, SnapshotAsk, Spot, marker_key, snapshot};
use outboxd::task::Task;
use outboxd::wire::{Format, FormatName, FormatSpec};
use redis::Value;
use uuid::Uuid;

use super::harness::{Admin, FIELD, Queue, Redis, tenure};

/// A queue, its format, and rows to publish.
pub(super) struct Lane {
    pub(super) queue: Queue,
    pub(super) format: Format,
}

impl Lane {
    pub(super) fn new(name: FormatName, spec: FormatSpec) -> Self {
        let format = Format::new(&FormatSpec { name, ..spec }, "emails").unwrap();
        let mut queue = Queue::new(format.keys().to_vec());
        queue.group = format.group().map(str::to_owned);
        Self { queue, format }
    }

    /// The rows' messages; every fifth has a task id of the caller's own.
    pub(super) fn pushes(&self, rows: impl IntoIterator<Item = i64>) -> Vec<Push> {
        rows.into_iter().map(|row| self.push(row, None)).collect()
    }

    pub(super) fn push(&self, row: i64, body: Option<&[u8]>) -> Push {
        let high = u64::try_from(((row >> 12) << 16) | 0x8000 | (row & 0xfff)).unwrap();
        let task = Task {
            id: row,
            task_id: if row % 5 == 0 { Uuid::from_u128(9) } else { Uuid::from_u64_pair(high, 2 << 62) },
            name: if body.is_some() { "" } else { "send" },
            args: "[1, \"two\"]",
            kwargs: "{}",
            headers: "{}",
            body,
            priority: Some(i16::try_from(row % 10).unwrap()),
            expires_at: None,
            retried_at: None,
            created_at: "2026-11-22T12:59:01.359858Z".parse().unwrap(),
        };
        self.format.encode(&task).unwrap()
    }

    pub(super) async fn look(&self, link: &outboxd::broker::Link, limit: u64) -> Snapshot {
        let marker = marker_key(&self.format.keys()[0].name).unwrap();
        let spot = Spot { marker: &marker, field: FIELD };
        snapshot(link, &SnapshotAsk { spot, format: &self.format, limit }).await.unwrap()
    }
}

/// Rows, unknown, others.
pub(super) fn seen(snapshot: &Snapshot) -> (Vec<i64>, u64, u64) {
    match &snapshot.present {
        Present::Rows { ids, task_ids, unknown, others } => {
            assert_eq!(ids.len(), task_ids.len());
            assert!(ids.iter().zip(task_ids).all(|(id, task_id)| task_id.is_none() == (id % 5 == 0)));
            (ids.clone(), *unknown, *others)
        }
        Present::TooMany(count) => panic!("too many: {count}"),
    }
}

fn celery() -> Lane {
    Lane::new(FormatName::Celery, FormatSpec::default())
}

fn processing() -> Lane {
    let spec = FormatSpec { processing: vec!["work:1".to_owned(), "work:2".to_owned()], ..FormatSpec::default() };
    Lane::new(FormatName::List, spec)
}

fn text(push: &Push) -> String {
    match &push.entry {
        Entry::Left(bytes) | Entry::Right(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Entry::Stream(_) => panic!("not a list"),
    }
}

#[tokio::test]
async fn celery_messages_are_seen_in_every_priority_list_and_in_the_hands_of_workers() {
    let redis = Redis::start(&[]).await;
    let (link, lane, mut admin) = (redis.link().await, celery(), redis.admin().await);
    lane.queue.open(&link, tenure(1), 0).await;
    assert_eq!(seen(&lane.look(&link, 100).await), (vec![], 0, 0), "nothing is there");
    lane.queue.append(&link, tenure(1), 0, 3, &lane.pushes(1..=40)).await.unwrap();
    for row in [50, 51] {
        let held = format!("[{}, \"\", \"emails\"]", text(&lane.push(row, None)));
        let _: i64 = admin.run(&["HSET", "unacked", &format!("tag-{row}"), &held]).await;
    }
    let _: i64 = admin.run(&["HSET", "unacked", "foreign", "[{\"headers\": {\"id\": \"x\"}}, \"\", \"other\"]"]).await;
    let _: i64 = admin.run(&["LPUSH", "emails", "no message at all"]).await;

    let look = lane.look(&link, 100).await;
    assert_eq!(seen(&look), ((1..=40).chain([50, 51]).collect(), 0, 2));
    assert_eq!(look.found.marker, lane.queue.marker(&link).await);
    assert_eq!((look.facts.length, look.facts.keys.len()), (41, 5));
    let kinds: Vec<_> = look.facts.keys.iter().map(|key| (key.found.as_str(), key.ttl)).collect();
    assert_eq!(kinds, [("list", None); 4].into_iter().chain([("hash", None)]).collect::<Vec<_>>());
    assert_eq!(look.facts.server.process_id, u64::from(redis.pid()));

    let _: i64 = admin.run(&["DEL", "emails", "unacked"]).await;
    let rest = (1..=40).filter(|row| row % 10 >= 3).collect();
    assert_eq!(seen(&lane.look(&link, 100).await), (rest, 0, 0));
}

#[tokio::test]
async fn a_prefix_and_another_name_of_the_hash_are_heeded() {
    let redis = Redis::start(&[]).await;
    let spec = FormatSpec { key_prefix: "{app}:".to_owned(), unacked_key: "held".to_owned(), ..FormatSpec::default() };
    let (link, lane, mut admin) = (redis.link().await, Lane::new(FormatName::Celery, spec), redis.admin().await);
    let held = format!("[{}, \"\", \"emails\"]", text(&lane.push(7, None)));
    let _: i64 = admin.run(&["HSET", "{app}:held", "tag", &held]).await;
    let _: i64 = admin.run(&["LPUSH", "{app}:emails", &text(&lane.push(8, None))]).await;
    assert_eq!(seen(&lane.look(&link, 100).await), (vec![7, 8], 0, 0));
}

#[tokio::test]
async fn bytes_that_tell_no_row_make_a_list_unknown_until_they_are_gone() {
    let redis = Redis::start(&[]).await;
    let (link, mut admin) = (redis.link().await, redis.admin().await);
    let lane = Lane::new(FormatName::List, FormatSpec::default());
    lane.queue.open(&link, tenure(1), 0).await;
    let pushes = [lane.push(1, None), lane.push(2, Some(b"{\"own\": 1}")), lane.push(3, Some(b"\xff\x00"))];
    lane.queue.append(&link, tenure(1), 0, 1, &pushes).await.unwrap();
    assert_eq!(seen(&lane.look(&link, 100).await), (vec![1], 2, 0));
    let _: String = admin.run(&["LTRIM", "emails", "-1", "-1"]).await;
    assert_eq!(seen(&lane.look(&link, 100).await), (vec![1], 0, 0));

    let raw = Lane::new(FormatName::Raw, FormatSpec { key: Some("bytes".to_owned()), ..FormatSpec::default() });
    assert_eq!(seen(&raw.look(&link, 1).await), (vec![], 0, 0), "an empty list proves that all is gone");
    let _: i64 = admin.run(&["LPUSH", "bytes", "a", "b"]).await;
    assert_eq!(seen(&raw.look(&link, 1).await), (vec![], 2, 0));
}

#[tokio::test]
async fn a_message_that_is_being_moved_is_never_missed() {
    let redis = Redis::start(&[]).await;
    let (link, lane) = (redis.link().await, processing());
    lane.queue.open(&link, tenure(1), 0).await;
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=60)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut movers = Vec::new();
    for (from, to) in [("emails", "work:1"), ("work:1", "work:2"), ("work:2", "emails")] {
        let (mut admin, stop) = (redis.admin().await, Arc::clone(&stop));
        movers.push(tokio::spawn(async move {
            let mut moved = 0;
            while !stop.load(Ordering::Relaxed) {
                let taken: Option<Vec<u8>> = admin.run(&["LMOVE", from, to, "RIGHT", "LEFT"]).await;
                moved += u64::from(taken.is_some());
            }
            moved
        }));
    }
    let mut places = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let look = lane.look(&link, 1000).await;
        assert_eq!(seen(&look), ((1..=60).collect(), 0, 0));
        places.insert(look.facts.length);
    }
    stop.store(true, Ordering::Relaxed);
    let mut moved = 0;
    for mover in movers {
        moved += mover.await.unwrap();
    }
    assert!(moved > 1000 && places.len() > 3, "nothing moved: {moved} times, lengths {places:?}");
}

/// Microseconds that the server spent on commands of this kind, and how often.
async fn spent(admin: &mut Admin, command: &str) -> (u64, u64) {
    let stats: String = admin.run(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:"))).unwrap_or_default();
    let field = |name: &str| {
        let value = line.split(',').find_map(|field| field.strip_prefix(&format!("{name}=")));
        value.map_or(0, |value| value.parse().unwrap())
    };
    (field("usec"), field("calls"))
}

#[tokio::test]
async fn a_million_messages_are_counted_and_not_read() {
    let redis = Redis::start(&[]).await;
    let (link, lane, mut admin) = (redis.link().await, celery(), redis.admin().await);
    let fill = "for i = 1, 1000 do redis.call('RPUSH', KEYS[1], unpack(ARGV)) end return redis.call('LLEN', KEYS[1])";
    let words: Vec<&str> = ["EVAL", fill, "1", "emails"].into_iter().chain(["short"; 1000]).collect();
    assert_eq!(admin.run::<u64>(&words).await, 1_000_000);
    let mut least = u64::MAX;
    // Redis measures by the clock on the wall, so a look that it was not interrupted in counts.
    for _ in 0..5 {
        let _: String = admin.run(&["CONFIG", "RESETSTAT"]).await;
        let look = lane.look(&link, 20_000).await;
        assert_eq!((look.present, look.facts.length), (Present::TooMany(1_000_000), 1_000_000));
        let mut total = 0;
        for command in ["hget", "info", "type", "pttl", "llen", "hlen", "memory|usage", "exec", "multi"] {
            total += spent(&mut admin, command).await.0;
        }
        least = least.min(total);
        assert_eq!(spent(&mut admin, "lrange").await.1, 0, "nothing is read");
    }
    // Measured: some 300 microseconds, two INFO included; reading them would take a second.
    assert!(least < 20_000, "{least} microseconds");
}

#[tokio::test]
async fn a_few_huge_messages_are_not_read_either() {
    let redis = Redis::start(&[]).await;
    let (link, lane, mut admin) = (redis.link().await, celery(), redis.admin().await);
    let huge = "x".repeat(1 << 20);
    for _ in 0..80 {
        let _: i64 = admin.run(&["LPUSH", "emails", &huge]).await;
    }
    assert_eq!(lane.look(&link, 20_000).await.present, Present::TooMany(80));
    let _: String = admin.run(&["LTRIM", "emails", "0", "9"]).await;
    assert_eq!(seen(&lane.look(&link, 20_000).await), (vec![], 0, 10));
}

#[tokio::test]
async fn a_list_that_grows_while_it_is_looked_at_is_not_half_read() {
    let redis = Redis::start(&[]).await;
    let (link, lane) = (redis.link().await, celery());
    let mut admin = redis.admin().await;
    let message = text(&lane.push(1, None));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (mut admin, message, stop) = (redis.admin().await, message.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let _: i64 = admin.run(&["LPUSH", "emails", &message]).await;
            }
        })
    };
    for _ in 0..200 {
        let look = lane.look(&link, 10).await;
        match look.present {
            Present::TooMany(count) => assert!(count > 10),
            Present::Rows { .. } => assert!(look.facts.length <= 10),
        }
        let _: String = admin.run(&["LTRIM", "emails", "0", "8"]).await;
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_key_of_another_type_is_told_and_nothing_is_known_to_be_absent() {
    let redis = Redis::start(&[]).await;
    let (link, lane, mut admin) = (redis.link().await, celery(), redis.admin().await);
    let before = lane.look(&link, 100).await;
    let _: String = admin.run(&["SET", "unacked", "x"]).await;
    let _: i64 = admin.run(&["LPUSH", "emails", &text(&lane.push(3, None))]).await;
    let after = lane.look(&link, 100).await;
    assert_eq!(seen(&after), (vec![3], 1, 0));
    let found = judge(&before.facts, &after.facts, 0).unwrap();
    assert_eq!(found, Break::WrongType { key: "unacked".to_owned(), found: "string".to_owned() });
    let _: i64 = admin.run(&["DEL", "unacked", "emails"]).await;
    let _: String = admin.run(&["SET", "emails", "x"]).await;
    assert_eq!(seen(&lane.look(&link, 100).await), (vec![], 1, 0));
}

#[tokio::test]
async fn a_deleted_or_purged_list_is_told_from_one_that_was_consumed() {
    let redis = Redis::start(&[]).await;
    let (link, lane, mut admin) = (redis.link().await, celery(), redis.admin().await);
    lane.queue.open(&link, tenure(1), 0).await;
    // A worker that waits already: its call is counted before the message comes.
    let mut worker = redis.admin().await;
    let waits = tokio::spawn(async move {
        let first: (String, Vec<u8>) = worker.run(&["BRPOP", "emails", "0"]).await;
        let mut all = vec![first.1];
        for _ in 0..9 {
            all.push(worker.run::<(String, Vec<u8>)>(&["BRPOP", "emails", "0"]).await.1);
        }
        all
    });
    admin.until_info("clients", "blocked_clients:1").await;
    let before = lane.look(&link, 20_000).await;
    let all: Vec<Push> = (1..=300).map(|row| lane.push(row * 10, None)).collect();
    lane.queue.append(&link, tenure(1), 0, 1, &all).await.unwrap();
    assert_eq!(waits.await.unwrap().len(), 10);
    let after = lane.look(&link, 20_000).await;
    assert_eq!((after.facts.length, judge(&before.facts, &after.facts, 300)), (290, None));

    let _: i64 = admin.run(&["DEL", "emails"]).await;
    let gone = lane.look(&link, 20_000).await;
    assert_eq!(seen(&gone), (vec![], 0, 0));
    assert_eq!(judge(&after.facts, &gone.facts, 0), Some(Break::Vanished { missing: 290, pops: 0 }));

    // `celery purge` is LLEN and DEL in one transaction for each list.
    lane.queue.append(&link, tenure(1), 1, 2, &all[..100]).await.unwrap();
    let full = lane.look(&link, 20_000).await;
    let _: (String, Vec<u8>) = admin.run(&["BRPOP", "emails", "1"]).await;
    let _: Value = admin.run(&["UNLINK", "emails"]).await;
    let purged = lane.look(&link, 20_000).await;
    let found = judge(&full.facts, &purged.facts, 0).unwrap();
    assert_eq!((found.class(), &found), ("vanished", &Break::Vanished { missing: 100, pops: 1 }));
    assert!(found.to_string().contains("100 messages vanished while clients took 1"), "{found}");
}

#[tokio::test]
async fn an_evicted_queue_and_one_that_expires_break_the_evidence() {
    let redis = Redis::start(&[]).await;
    let (link, lane, mut admin) = (redis.link().await, celery(), redis.admin().await);
    lane.queue.open(&link, tenure(1), 0).await;
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=50)).await.unwrap();
    let before = lane.look(&link, 100).await;
    let _: i64 = admin.run(&["PEXPIRE", "emails", "100000"]).await;
    let expires = lane.look(&link, 100).await;
    assert_eq!(judge(&before.facts, &expires.facts, 0).unwrap().class(), "expires");
    let _: i64 = admin.run(&["PERSIST", "emails"]).await;

    let _: String = admin.run(&["CONFIG", "SET", "maxmemory", "6mb", "maxmemory-policy", "allkeys-random"]).await;
    let policy = lane.look(&link, 100).await;
    assert_eq!(judge(&before.facts, &policy.facts, 0).unwrap().class(), "policy");
    let filler = "x".repeat(100_000);
    let until = Instant::now() + Duration::from_secs(20);
    for n in 0.. {
        let _ = admin.try_run(&["SET", &format!("filler-{n}"), &filler]).await;
        if admin.run::<String>(&["INFO", "stats"]).await.contains("evicted_keys:0") {
            assert!(Instant::now() < until, "nothing is evicted");
        } else {
            break;
        }
    }
    let evicted = lane.look(&link, 100).await;
    assert_eq!(judge(&policy.facts, &evicted.facts, 0).unwrap().class(), "evicted");
}

#[tokio::test]
async fn marker_and_messages_of_a_snapshot_belong_together() {
    let redis = Redis::start(&[]).await;
    let (link, lane) = (redis.link().await, celery());
    lane.queue.open(&link, tenure(1), 0).await;
    let publisher = async {
        let other = redis.link().await;
        for position in 0..150 {
            let pushes = lane.pushes([position * 2 + 1, position * 2 + 2]);
            lane.queue.append(&other, tenure(1), position, position + 1, &pushes).await.unwrap();
        }
    };
    let looker = async {
        let mut positions = std::collections::BTreeSet::new();
        loop {
            let look = lane.look(&link, 1000).await;
            let position = look.found.marker.unwrap().position;
            assert_eq!(seen(&look), ((1..=position * 2).collect(), 0, 0));
            positions.insert(position);
            if position == 150 {
                return positions.len();
            }
        }
    };
    let ((), positions) = tokio::join!(publisher, looker);
    assert!(positions > 5, "only {positions} positions were seen");
}
