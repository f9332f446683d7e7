//! The stream of receipts: what workers write is read in order, and dropped only when told.

use outboxd::broker::receipts::{Failure, Said, done, read};

use super::harness::Redis;

const KEY: &[u8] = b"outbox:receipts";

#[tokio::test]
async fn receipts_are_read_in_order_until_they_are_dropped() {
    let redis = Redis::start(&[]).await;
    let (link, mut admin) = (redis.link().await, redis.admin().await);
    assert_eq!(read(&link, KEY, None, 10).await.unwrap(), []);
    let none: [&str; 0] = [];
    done(&link, KEY, &none).await.unwrap();

    let ids: Vec<String> = (1..=1200).map(|n| uuid::Uuid::from_u128(n).to_string()).collect();
    for id in &ids {
        let _: String = admin.run(&["XADD", "outbox:receipts", "*", "task_id", id]).await;
    }
    let failed =
        ["XADD", "outbox:receipts", "*", "error_class", "ValueError", "error", "no \0 value", "task_id", &ids[0]];
    let _: String = admin.run(&failed).await;
    let _: String = admin.run(&["XADD", "outbox:receipts", "*", "task", "send"]).await;

    let first = read(&link, KEY, None, 1000).await.unwrap();
    assert_eq!(read(&link, KEY, None, 1000).await.unwrap(), first, "reading drops nothing");
    let read_ids: Vec<_> = first.iter().map(|receipt| receipt.said.as_ref().unwrap().task_id.to_string()).collect();
    assert_eq!(read_ids, ids[..1000]);
    let entries: Vec<_> = first.iter().map(|receipt| &receipt.entry).collect();
    done(&link, KEY, &entries).await.unwrap();
    done(&link, KEY, &entries).await.unwrap();

    let rest = read(&link, KEY, None, 1000).await.unwrap();
    assert_eq!(rest.len(), 202);
    let failure = Failure { class: "ValueError".to_owned(), message: "no \u{fffd} value".to_owned() };
    assert_eq!(
        rest[200].said,
        Some(Said { task_id: ids[0].parse().unwrap(), outbox_id: None, failure: Some(failure) })
    );
    assert_eq!(rest[201].said, None, "of no use, but it can be dropped");
    let entries: Vec<_> = rest.iter().map(|receipt| &receipt.entry).collect();
    done(&link, KEY, &entries).await.unwrap();
    assert_eq!(admin.run::<i64>(&["XLEN", "outbox:receipts"]).await, 0);
}

#[tokio::test]
async fn a_key_of_another_type_and_a_missing_right_are_told_by_name() {
    let redis = Redis::start(&[]).await;
    let (link, mut admin) = (redis.link().await, redis.admin().await);
    let _: String = admin.run(&["SET", "outbox:receipts", "x"]).await;
    let reading = read(&link, KEY, None, 10).await.unwrap_err();
    let dropping = done(&link, KEY, &["1-0"]).await.unwrap_err();
    for fault in [reading, dropping] {
        assert_eq!(fault.reason().class, "wrongtype");
        assert!(fault.reason().message.contains("`receipts`"), "{fault}");
    }
    let _: String = admin.run(&["ACL", "SETUSER", "default", "-xrange"]).await;
    assert_eq!(read(&link, KEY, None, 10).await.unwrap_err().reason().class, "noperm");
}
