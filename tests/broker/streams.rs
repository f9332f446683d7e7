//! Streams: entries, the consumer group, and how deep a stream stands.

use outboxd::batch::{Entry, Key, KeyKind, Push};
use outboxd::broker::{Appended, depth};
use redis::Value;

use super::harness::{Admin, Queue, Redis, tenure};

fn events(group: Option<&str>) -> Queue {
    let mut queue = Queue::new(vec![Key { name: b"events".to_vec(), kind: KeyKind::Stream }]);
    queue.group = group.map(str::to_owned);
    queue
}

fn entry(n: u32) -> Push {
    Push {
        key: 0,
        entry: Entry::Stream(vec![(b"n".to_vec(), n.to_string().into_bytes()), (b"\xff".to_vec(), vec![0, 13, 10])]),
    }
}

async fn read(admin: &mut Admin, count: u32) {
    let command = ["XREADGROUP", "GROUP", "workers", "w1", "COUNT", &count.to_string(), "STREAMS", "events", ">"];
    let _: Value = admin.run(&command).await;
}

#[tokio::test]
async fn entries_keep_their_order_and_the_group_reads_them_from_the_beginning() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, events(Some("workers")));
    queue.open(&link, tenure(1), 0).await;
    let entries: Vec<Push> = (0..2000).map(entry).collect();
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &entries).await.unwrap(), Appended::Ok { depth: 0 });
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap(), 2000);
    assert_eq!(queue.append(&link, tenure(1), 1, 2, &[entry(2000)]).await.unwrap(), Appended::Ok { depth: 0 });

    let mut admin = redis.admin().await;
    let stored: Vec<(String, Vec<Vec<u8>>)> = admin.run(&["XRANGE", "events", "-", "+"]).await;
    let numbers: Vec<u32> =
        stored.iter().map(|(_, fields)| String::from_utf8_lossy(&fields[1]).parse().unwrap()).collect();
    assert_eq!(numbers, (0..=2000).collect::<Vec<_>>());
    assert_eq!(stored[7].1[2..], [b"\xff".to_vec(), vec![0, 13, 10]]);
    let errors: String = admin.run(&["INFO", "errorstats"]).await;
    assert!(!errors.contains("BUSYGROUP"), "{errors}");
}

#[tokio::test]
async fn the_group_exists_after_every_publish_also_when_the_stream_was_lost() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, events(Some("workers")));
    let mut admin = redis.admin().await;
    for (n, loss) in [&["FLUSHALL"][..], &["DEL", "events"], &["XGROUP", "DESTROY", "events", "workers"], &["PING"]]
        .iter()
        .enumerate()
    {
        queue.open(&link, tenure(1), 0).await;
        queue.append(&link, tenure(1), 0, 1, &[entry(1)]).await.unwrap();
        assert!(depth(&link, &queue.keys, 10).await.unwrap() >= 1, "before loss {n}");
        let _: Value = admin.run(loss).await;
        queue.open(&link, tenure(1), 0).await;
        queue.append(&link, tenure(1), 0, 1, &[entry(2)]).await.unwrap();
        assert!(depth(&link, &queue.keys, 10).await.unwrap() >= 1, "after loss {n}");
    }
}

#[tokio::test]
async fn a_stream_is_as_deep_as_its_slowest_group() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, events(None));
    let mut admin = redis.admin().await;
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap(), 0, "no stream");
    queue.open(&link, tenure(1), 0).await;
    queue.append(&link, tenure(1), 0, 1, &(0..300).map(entry).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap(), 0, "no group: nobody whom a window could wait for");
    let _: String = admin.run(&["XGROUP", "CREATE", "events", "workers", "0"]).await;
    let _: String = admin.run(&["XGROUP", "CREATE", "events", "late", "$"]).await;
    read(&mut admin, 40).await;
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap(), 300, "260 unread and 40 unacknowledged");
    let pending: Vec<(String, Vec<Vec<u8>>)> = admin.run(&["XRANGE", "events", "-", "+", "COUNT", "30"]).await;
    let ids: Vec<&str> =
        ["XACK", "events", "workers"].into_iter().chain(pending.iter().map(|(id, _)| id.as_str())).collect();
    let _: i64 = admin.run(&ids).await;
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap(), 270);
}

#[tokio::test]
async fn an_unknown_lag_is_counted_up_to_the_limit() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, events(Some("workers")));
    let mut admin = redis.admin().await;
    queue.open(&link, tenure(1), 0).await;
    queue.append(&link, tenure(1), 0, 1, &(0..500).map(entry).collect::<Vec<_>>()).await.unwrap();
    read(&mut admin, 40).await;
    // A hole ahead of the group: the server does not know the lag any more.
    let stored: Vec<(String, Vec<Vec<u8>>)> = admin.run(&["XRANGE", "events", "-", "+"]).await;
    let _: i64 = admin.run(&["XDEL", "events", &stored[100].0]).await;
    let groups: Vec<Vec<Value>> = admin.run(&["XINFO", "GROUPS", "events"]).await;
    assert_eq!(groups[0].last(), Some(&Value::Nil), "the fault must bite");
    assert_eq!(depth(&link, &queue.keys, 1000).await.unwrap(), 459 + 40);
    assert_eq!(depth(&link, &queue.keys, 250).await.unwrap(), 250 + 40);
    assert_eq!(depth(&link, &queue.keys, 0).await.unwrap(), 40);
}

#[tokio::test]
async fn a_list_where_a_stream_is_expected_is_refused() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, events(Some("workers")));
    queue.open(&link, tenure(1), 0).await;
    let _: i64 = redis.admin().await.run(&["RPUSH", "events", "x"]).await;
    let answer = queue.append(&link, tenure(1), 0, 1, &[entry(1)]).await.unwrap();
    assert_eq!(answer, Appended::WrongType { key: "events".to_owned(), found: "list".to_owned() });
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap_err().reason().class, "wrongtype");
}
