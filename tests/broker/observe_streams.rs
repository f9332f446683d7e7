//! Which rows stand in a stream: unread by any group, or read and not acknowledged; and what removes them unread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outboxd::broker::evidence::judge;
use outboxd::broker::{Link, Present};
use outboxd::wire::{FormatName, FormatSpec};
use redis::Value;

use super::harness::{Admin, Redis, tenure};
use super::observe::{Lane, seen};

fn stream(group: Option<&str>) -> Lane {
    Lane::new(FormatName::Stream, FormatSpec { group: group.map(str::to_owned), ..FormatSpec::default() })
}

async fn stage(group: Option<&str>) -> (Redis, Link, Lane, Admin) {
    let redis = Redis::start(&[]).await;
    let (link, admin) = (redis.link().await, redis.admin().await);
    let lane = stream(group);
    lane.queue.open(&link, tenure(1), 0).await;
    (redis, link, lane, admin)
}

type Entries = Vec<(String, Vec<Vec<u8>>)>;

async fn take(admin: &mut Admin, group: &str, count: u32) -> Vec<String> {
    let count = count.to_string();
    let command = ["XREADGROUP", "GROUP", group, "w1", "COUNT", &count, "STREAMS", "emails", ">"];
    let streams: Option<Vec<(String, Entries)>> = admin.run(&command).await;
    streams.into_iter().flatten().flat_map(|(_, entries)| entries).map(|(id, _)| id).collect()
}

async fn acknowledge(admin: &mut Admin, group: &str, ids: &[String]) {
    let words: Vec<&str> = ["XACK", "emails", group].into_iter().chain(ids.iter().map(String::as_str)).collect();
    assert_eq!(admin.run::<usize>(&words).await, ids.len());
}

#[tokio::test]
async fn an_entry_is_present_until_every_group_has_acknowledged_it() {
    let (_redis, link, lane, mut admin) = stage(Some("workers")).await;
    let missing = lane.look(&link, 100).await;
    assert_eq!((seen(&missing), missing.facts.stream.unwrap().exists), ((vec![], 0, 0), false));
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=20)).await.unwrap();
    let _: String = admin.run(&["XGROUP", "CREATE", "emails", "audit", "0"]).await;
    let _: String = admin.run(&["XADD", "emails", "*", "id", "somebody else's"]).await;

    let taken = take(&mut admin, "workers", 21).await;
    acknowledge(&mut admin, "workers", &taken).await;
    assert_eq!(seen(&lane.look(&link, 100).await), ((1..=20).collect(), 0, 1), "audit has read nothing");
    let taken = take(&mut admin, "audit", 8).await;
    assert_eq!(seen(&lane.look(&link, 100).await), ((1..=20).collect(), 0, 1), "audit has acknowledged nothing");
    acknowledge(&mut admin, "audit", &taken[..5]).await;
    acknowledge(&mut admin, "audit", &taken[6..7]).await;
    let look = lane.look(&link, 100).await;
    assert_eq!(seen(&look), ([6].into_iter().chain(8..=20).collect(), 0, 1));
    let facts = look.facts.stream.unwrap();
    assert_eq!((look.facts.length, facts.exists, facts.added, facts.unread_trimmed), (21, true, Some(21), 0));
    assert_eq!(facts.first.unwrap().to_string(), taken[0]);

    let rest = take(&mut admin, "audit", 100).await;
    acknowledge(&mut admin, "audit", &rest).await;
    acknowledge(&mut admin, "audit", &[taken[5].clone(), taken[7].clone()]).await;
    let done = lane.look(&link, 100).await;
    assert_eq!((seen(&done), done.facts.length), ((vec![], 0, 0), 21), "history stays in a stream");
    assert_eq!(judge(&look.facts, &done.facts, 0), None);
}

#[tokio::test]
async fn without_any_group_every_entry_is_present() {
    let (_redis, link, lane, mut admin) = stage(None).await;
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=20)).await.unwrap();
    assert_eq!(seen(&lane.look(&link, 20).await), ((1..=20).collect(), 0, 0));
    assert_eq!(lane.look(&link, 19).await.present, Present::TooMany(20));
    // A group that begins at the end has nothing to read.
    let _: String = admin.run(&["XGROUP", "CREATE", "emails", "late", "$"]).await;
    assert_eq!(seen(&lane.look(&link, 19).await), (vec![], 0, 0));
}

#[tokio::test]
async fn what_was_removed_unread_or_unfinished_is_never_taken_for_consumed() {
    let (_redis, link, lane, mut admin) = stage(Some("workers")).await;
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=20)).await.unwrap();
    let taken = take(&mut admin, "workers", 4).await;
    let before = lane.look(&link, 100).await;
    let unread: Entries = admin.run(&["XRANGE", "emails", "-", "+"]).await;
    let _: i64 = admin.run(&["XDEL", "emails", &unread[9].0]).await;
    let deleted = lane.look(&link, 100).await;
    assert_eq!(seen(&deleted).0, (1..=20).filter(|row| *row != 10).collect::<Vec<_>>());
    assert_eq!(judge(&before.facts, &deleted.facts, 0).unwrap().class(), "stream_trimmed");
    let again = lane.look(&link, 100).await;
    assert_eq!(judge(&deleted.facts, &again.facts, 0), None, "told once");

    let _: i64 = admin.run(&["XDEL", "emails", &taken[1]]).await;
    let look = lane.look(&link, 100).await;
    assert_eq!(seen(&look).1, 1, "a consumer holds an entry that nobody can read any more");
    acknowledge(&mut admin, "workers", &taken).await;
    assert_eq!(seen(&lane.look(&link, 100).await).1, 0);
}

#[tokio::test]
async fn trimming_ahead_of_a_group_breaks_the_evidence_and_behind_it_does_not() {
    let (_redis, link, lane, mut admin) = stage(Some("workers")).await;
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=20)).await.unwrap();
    let taken = take(&mut admin, "workers", 10).await;
    acknowledge(&mut admin, "workers", &taken).await;
    let before = lane.look(&link, 100).await;
    let _: i64 = admin.run(&["XTRIM", "emails", "MAXLEN", "12"]).await;
    let behind = lane.look(&link, 100).await;
    assert_eq!((behind.facts.length, judge(&before.facts, &behind.facts, 0)), (12, None));
    let _: i64 = admin.run(&["XTRIM", "emails", "MAXLEN", "7"]).await;
    let ahead = lane.look(&link, 100).await;
    assert_eq!(seen(&ahead).0, (14..=20).collect::<Vec<_>>());
    assert_eq!(ahead.facts.stream.unwrap().unread_trimmed, 3);
    assert_eq!(judge(&behind.facts, &ahead.facts, 0).unwrap().class(), "stream_trimmed");
}

#[tokio::test]
async fn a_stream_that_was_deleted_or_replaced_is_told() {
    let (_redis, link, lane, mut admin) = stage(Some("workers")).await;
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=20)).await.unwrap();
    let before = lane.look(&link, 100).await;
    let _: i64 = admin.run(&["DEL", "emails"]).await;
    let gone = lane.look(&link, 100).await;
    assert_eq!(judge(&before.facts, &gone.facts, 0).unwrap().class(), "stream_gone");
    lane.queue.append(&link, tenure(1), 1, 2, &lane.pushes(21..=22)).await.unwrap();
    let replaced = lane.look(&link, 100).await;
    assert_eq!(judge(&before.facts, &replaced.facts, 2).unwrap().class(), "stream_gone");
    assert_eq!(judge(&gone.facts, &replaced.facts, 2), None);

    let _: i64 = admin.run(&["DEL", "emails"]).await;
    let _: i64 = admin.run(&["LPUSH", "emails", "x"]).await;
    let wrong = lane.look(&link, 100).await;
    assert_eq!((seen(&wrong), judge(&gone.facts, &wrong.facts, 0).unwrap().class()), ((vec![], 1, 0), "wrongtype"));
}

#[tokio::test]
async fn much_unread_is_counted_and_long_history_does_not_count() {
    let (_redis, link, lane, mut admin) = stage(Some("workers")).await;
    for position in 0..5 {
        let rows = position * 1000 + 1..=position * 1000 + 1000;
        lane.queue.append(&link, tenure(1), position, position + 1, &lane.pushes(rows)).await.unwrap();
    }
    assert_eq!(lane.look(&link, 1000).await.present, Present::TooMany(5000));
    // A hole ahead of the group: the server does not know the lag any more.
    let all: Entries = admin.run(&["XRANGE", "emails", "-", "+"]).await;
    let _: i64 = admin.run(&["XDEL", "emails", &all[4950].0]).await;
    let groups: Vec<Vec<Value>> = admin.run(&["XINFO", "GROUPS", "emails"]).await;
    assert_eq!(groups[0].last(), Some(&Value::Nil), "the fault must bite");
    assert_eq!(lane.look(&link, 1000).await.present, Present::TooMany(1001));

    let taken = take(&mut admin, "workers", 4900).await;
    acknowledge(&mut admin, "workers", &taken).await;
    let rest = (4901..=5000).filter(|row| *row != 4951).collect();
    assert_eq!(seen(&lane.look(&link, 1000).await), (rest, 0, 0));
}

#[tokio::test]
async fn entries_in_motion_between_groups_are_never_missed() {
    let (redis, link, lane, mut admin) = stage(Some("workers")).await;
    lane.queue.append(&link, tenure(1), 0, 1, &lane.pushes(1..=30)).await.unwrap();
    let _: String = admin.run(&["XGROUP", "CREATE", "emails", "audit", "0"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mover = {
        let (mut admin, stop) = (redis.admin().await, Arc::clone(&stop));
        tokio::spawn(async move {
            // Read, claimed by another, given back to the beginning: never acknowledged.
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                for group in ["workers", "audit"] {
                    let taken = take(&mut admin, group, 7).await;
                    reads += taken.len();
                    if taken.is_empty() {
                        let _: String = admin.run(&["XGROUP", "SETID", "emails", group, "0"]).await;
                    }
                }
                let _: Value = admin.run(&["XAUTOCLAIM", "emails", "workers", "w2", "0", "0", "COUNT", "5"]).await;
            }
            reads
        })
    };
    let mut complete = 0;
    for _ in 0..300 {
        // A look that is overtaken again and again says that it knows nothing; it never says less than there is.
        match seen(&lane.look(&link, 100).await) {
            (rows, 0, 0) => {
                assert_eq!(rows, (1..=30).collect::<Vec<_>>());
                complete += 1;
            }
            (rows, 1, 0) => assert!(rows.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let reads = mover.await.unwrap();
    assert!(reads > 300 && complete > 100, "{reads} reads, {complete} complete looks");
}
