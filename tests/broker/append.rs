//! What the publish script answers, and that everything but OK writes nothing.

use futures_util::future::join_all;
use outboxd::batch::{Entry, Marker, Push};
use outboxd::broker::{Appended, depth};

use super::harness::{FIELD, Queue, Redis, left, lists, tenure};

/// Every key and the marker, to be compared before and after.
async fn dump(redis: &Redis, queue: &Queue) -> (Vec<Vec<u8>>, Option<Vec<u8>>, i64) {
    let mut admin = redis.admin().await;
    let mut bodies = Vec::new();
    for key in &queue.keys {
        let name = std::str::from_utf8(&key.name).unwrap();
        if admin.run::<String>(&["TYPE", name]).await == "list" {
            bodies.extend(admin.run::<Vec<Vec<u8>>>(&["LRANGE", name, "0", "-1"]).await);
        }
    }
    let marker = std::str::from_utf8(&queue.marker).unwrap();
    (bodies, admin.run(&["HGET", marker, FIELD]).await, admin.run(&["DBSIZE"]).await)
}

#[tokio::test]
async fn a_batch_and_its_marker_arrive_together_in_the_order_of_the_consumers() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery", "celery:3"])));
    queue.open(&link, tenure(1), 0).await;
    let right = Push { key: 1, entry: Entry::Right(b"r".to_vec()) };
    let pushes = [left(0, "a"), left(1, "x"), left(0, "b"), right, left(1, "y"), left(0, "c")];
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &pushes).await.unwrap(), Appended::Ok { depth: 6 });

    let mut admin = redis.admin().await;
    let first: Vec<String> = admin.run(&["LRANGE", "celery", "0", "-1"]).await;
    let second: Vec<String> = admin.run(&["LRANGE", "celery:3", "0", "-1"]).await;
    assert_eq!((first.concat(), second.concat()), ("cba".to_owned(), "yxr".to_owned()));
    assert_eq!(queue.marker(&link).await, Some(Marker { tenure: tenure(1), position: 1 }));
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap(), 6);
}

#[tokio::test]
async fn a_dataset_without_the_marker_takes_nothing() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap(), Appended::Missing);
    queue.open(&link, tenure(1), 0).await;
    let _: String = redis.admin().await.run(&["FLUSHALL"]).await;
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap(), Appended::Missing);
    assert_eq!(dump(&redis, &queue).await, (vec![], None, 0));
}

#[tokio::test]
async fn a_marker_of_another_tenure_or_rubbish_is_foreign_and_nothing_is_written() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(2), 5).await;
    let before = dump(&redis, &queue).await;
    let foreign = Appended::Foreign(Marker { tenure: tenure(2), position: 5 }.to_string());
    assert_eq!(queue.append(&link, tenure(1), 5, 6, &[left(0, "a")]).await.unwrap(), foreign);
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap(), foreign);
    assert_eq!(dump(&redis, &queue).await, before);

    let mut admin = redis.admin().await;
    for rubbish in ["", "rubbish", ":5", "abc:", &format!("{}:1e3", tenure(1).simple())] {
        let _: i64 = admin.run(&["HSET", std::str::from_utf8(&queue.marker).unwrap(), FIELD, rubbish]).await;
        let answer = queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap();
        assert_eq!(answer, Appended::Foreign(rubbish.to_owned()));
    }
    assert_eq!(depth(&link, &queue.keys, 10).await.unwrap(), 0);
}

#[tokio::test]
async fn a_gap_before_or_inside_the_batch_is_refused() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 4).await;
    let before = dump(&redis, &queue).await;
    assert_eq!(queue.append(&link, tenure(1), 5, 6, &[left(0, "a")]).await.unwrap(), Appended::Gap(4));
    assert_eq!(queue.append(&link, tenure(1), 2, 6, &[left(0, "a")]).await.unwrap(), Appended::Gap(4));
    assert_eq!(dump(&redis, &queue).await, before);
}

#[tokio::test]
async fn a_repeated_batch_is_answered_already_and_adds_no_copy() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 0).await;
    for position in 0..3 {
        queue.append(&link, tenure(1), position, position + 1, &[left(0, "a")]).await.unwrap();
    }
    let before = dump(&redis, &queue).await;
    assert_eq!(queue.append(&link, tenure(1), 2, 3, &[left(0, "a")]).await.unwrap(), Appended::Already);
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap(), Appended::Already);
    assert_eq!(dump(&redis, &queue).await, before);
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_nothing_is_written() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery", "celery:3"])));
    queue.open(&link, tenure(1), 0).await;
    let _: String = redis.admin().await.run(&["SET", "celery:3", "mine"]).await;
    let before = dump(&redis, &queue).await;
    let answer = queue.append(&link, tenure(1), 0, 1, &[left(0, "a"), left(1, "b")]).await.unwrap();
    assert_eq!(answer, Appended::WrongType { key: "celery:3".to_owned(), found: "string".to_owned() });
    assert_eq!(answer.fault(&link).unwrap().reason().class, "wrongtype");
    assert_eq!(dump(&redis, &queue).await, before);
}

#[tokio::test]
async fn a_batch_without_messages_only_moves_the_marker() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 3).await;
    assert_eq!(queue.append(&link, tenure(1), 3, 900, &[]).await.unwrap(), Appended::Ok { depth: 0 });
    assert_eq!(queue.marker(&link).await, Some(Marker { tenure: tenure(1), position: 900 }));
}

#[tokio::test]
async fn positions_stay_exact_up_to_the_last_one() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    let last = (1 << 53) - 1;
    for at in [(1 << 31) - 1, 1 << 31, 1_000_000_000_000_000, last - 2] {
        queue.open(&link, tenure(1), at).await;
        let gap = queue.append(&link, tenure(1), at + 1, at + 2, &[left(0, "a")]).await.unwrap();
        assert_eq!(gap, Appended::Gap(at));
        assert!(matches!(queue.append(&link, tenure(1), at, at + 1, &[]).await.unwrap(), Appended::Ok { .. }));
        assert_eq!(queue.append(&link, tenure(1), at, at + 1, &[]).await.unwrap(), Appended::Already);
        assert_eq!(queue.marker(&link).await, Some(Marker { tenure: tenure(1), position: at + 1 }));
    }
    assert!(matches!(queue.append(&link, tenure(1), last - 1, last, &[]).await.unwrap(), Appended::Ok { .. }));
    let beyond = queue.append(&link, tenure(1), last, last + 1, &[]).await.unwrap_err();
    assert_eq!(beyond.reason().class, "internal");
}

#[tokio::test]
async fn large_batches_and_large_binary_messages_arrive_byte_for_byte() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery", "celery:3"])));
    queue.open(&link, tenure(1), 0).await;
    let body = |n: usize| [format!("{n}:").as_bytes(), &vec![u8::try_from(n % 256).unwrap(); 600]].concat();
    let many: Vec<Push> = (0..5000).map(|n| left(n % 2, body(n))).collect();
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &many).await.unwrap(), Appended::Ok { depth: 5000 });
    let stored: Vec<Vec<u8>> = redis.admin().await.run(&["LRANGE", "celery:3", "0", "-1"]).await;
    let expected: Vec<Vec<u8>> = (0..5000).rev().filter(|n| n % 2 == 1).map(body).collect();
    assert!(stored == expected);

    let huge: Vec<u8> = (0..3 << 20).map(|n: u32| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
    let pushes = [left(0, &huge), left(0, b"\0\r\n$-1\r\n\xff"), left(0, b"")];
    assert_eq!(queue.append(&link, tenure(1), 1, 2, &pushes).await.unwrap(), Appended::Ok { depth: 5003 });
    let stored: Vec<Vec<u8>> = redis.admin().await.run(&["LRANGE", "celery", "0", "2"]).await;
    assert!(stored == vec![b"".to_vec(), b"\0\r\n$-1\r\n\xff".to_vec(), huge]);
}

#[tokio::test]
async fn a_batch_may_be_longer_than_what_lua_passes_to_one_command() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 0).await;
    let pushes: Vec<Push> = (0..20_001).map(|n| left(0, n.to_string())).collect();
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &pushes).await.unwrap(), Appended::Ok { depth: 20_001 });
    let stored: Vec<u32> = redis.admin().await.run(&["LRANGE", "celery", "0", "-1"]).await;
    assert!(stored.into_iter().rev().eq(0..20_001));
}

#[tokio::test]
async fn batches_in_flight_run_in_order_and_a_refused_one_refuses_the_later_ones() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 0).await;
    let bodies: Vec<[Push; 1]> = (0..10).map(|n| [left(0, n.to_string())]).collect();
    let send = |n: i64| queue.append(&link, tenure(1), n, n + 1, &bodies[usize::try_from(n).unwrap()]);
    let answers = join_all((0..5).map(send)).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Appended::Ok { .. }))), "{answers:?}");
    let answers = join_all((6..10).map(send)).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Appended::Gap(5))), "{answers:?}");
}

#[tokio::test]
async fn a_server_that_forgot_the_script_gets_it_again_without_a_trace() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 0).await;
    let mut admin = redis.admin().await;
    for position in 0..3 {
        let _: String = admin.run(&["SCRIPT", "FLUSH"]).await;
        let answer = queue.append(&link, tenure(1), position, position + 1, &[left(0, "a")]).await.unwrap();
        assert_eq!(answer, Appended::Ok { depth: u64::try_from(position + 1).unwrap() });
        assert_eq!(queue.append(&link, tenure(1), position, position + 1, &[]).await.unwrap(), Appended::Already);
    }
}
