//! What a server refuses: what it is called, that nothing was written, and that the same batch goes in afterwards.

use outboxd::batch::Marker;
use outboxd::broker::{Appended, Link, nothing_applied, observe, open};
use outboxd::fault::Fault;

use super::harness::{Admin, FIELD, Queue, Redis, left, lists, target, temp_dir, tenure};

/// A queue opened at 0 on a server with these arguments.
async fn opened(args: &[&str]) -> (Redis, Admin, Link, Queue) {
    let redis = Redis::start(args).await;
    let (admin, link, queue) = (redis.admin().await, redis.link().await, Queue::new(lists(&["celery", "celery:3"])));
    queue.open(&link, tenure(1), 0).await;
    (redis, admin, link, queue)
}

async fn publish(link: &Link, queue: &Queue) -> Result<Appended, Fault> {
    queue.append(link, tenure(1), 0, 1, &[left(0, "a"), left(1, "b")]).await
}

/// Waits that end by themselves; nothing was written.
fn refused(answer: Result<Appended, Fault>, class: &str) {
    let fault = answer.unwrap_err();
    assert!(matches!(fault, Fault::Retry(_)), "{fault}");
    assert_eq!(fault.reason().class, class, "{fault}");
    assert!(nothing_applied(&fault));
}

fn stopped<T: std::fmt::Debug>(answer: Result<T, Fault>, class: &str) -> String {
    let fault = answer.unwrap_err();
    assert!(matches!(fault, Fault::Halt(_)), "{fault}");
    assert_eq!(fault.reason().class, class, "{fault}");
    fault.to_string()
}

/// The fault is over: the very same batch is not in yet and goes in.
async fn goes_in(link: &Link, queue: &Queue, admin: &mut Admin) {
    for key in ["celery", "celery:3"] {
        assert_eq!(admin.run::<i64>(&["LLEN", key]).await, 0, "nothing was written");
    }
    assert_eq!(queue.marker(link).await, Some(Marker { tenure: tenure(1), position: 0 }));
    assert_eq!(publish(link, queue).await.unwrap(), Appended::Ok { depth: 2 });
}

#[tokio::test]
async fn a_full_server_refuses_the_whole_batch() {
    let (_redis, mut admin, link, queue) = opened(&[]).await;
    let _: String = admin.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    refused(publish(&link, &queue).await, "oom");
    refused(queue.append(&link, tenure(1), 0, 1, &[]).await, "oom");
    let new = Marker { tenure: tenure(2), position: 0 };
    let fault = open(&link, b"outbox:m:{x}", FIELD, None, &new).await.unwrap_err();
    assert_eq!(fault.reason().class, "oom");
    let _: String = admin.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    goes_in(&link, &queue, &mut admin).await;
}

#[tokio::test]
async fn a_server_that_became_a_replica_takes_nothing() {
    let (_redis, mut admin, link, queue) = opened(&[]).await;
    let _: String = admin.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    refused(publish(&link, &queue).await, "readonly");
    let _: String = admin.run(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
    refused(publish(&link, &queue).await, "masterdown");
    let _: String = admin.run(&["REPLICAOF", "NO", "ONE"]).await;
    goes_in(&link, &queue, &mut admin).await;
}

#[tokio::test]
async fn a_primary_without_enough_replicas_takes_nothing() {
    let (_redis, mut admin, link, queue) = opened(&[]).await;
    let _: String = admin.run(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    refused(publish(&link, &queue).await, "noreplicas");
    let _: String = admin.run(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    goes_in(&link, &queue, &mut admin).await;
}

#[tokio::test]
async fn a_server_that_cannot_save_takes_nothing() {
    let (redis, mut admin, link, queue) = opened(&[]).await;
    let _: String = admin.run(&["CONFIG", "SET", "save", "3600 1"]).await;
    std::fs::remove_dir_all(&redis.dir).unwrap();
    let _: String = admin.run(&["BGSAVE"]).await;
    admin.until_info("persistence", "rdb_last_bgsave_status:err").await;
    assert!(!observe(&link, &queue.marker, FIELD).await.unwrap().server.persistence_ok);
    refused(publish(&link, &queue).await, "misconf");
    let _: String = admin.run(&["CONFIG", "SET", "save", ""]).await;
    goes_in(&link, &queue, &mut admin).await;
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_waited_for() {
    let mut redis = Redis::start(&["--save", "3600 1"]).await;
    let mut admin = redis.admin().await;
    let _: String = admin.run(&["DEBUG", "POPULATE", "3000", "key", "100"]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery", "celery:3"])));
    queue.open(&link, tenure(1), 0).await;
    let _: String = admin.run(&["SAVE"]).await;
    redis.kill();
    let dir = std::mem::take(&mut redis.dir);
    std::fs::remove_file(dir.join("log")).unwrap();
    let slow = ["--save", "3600 1", "--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"];
    let redis = Redis::start_in(dir, &slow).await;
    let link = redis.link().await;
    refused(publish(&link, &queue).await, "loading");
    assert_eq!(observe(&link, &queue.marker, FIELD).await.unwrap_err().reason().class, "loading");
    let mut admin = redis.admin().await;
    // It has been seen to load: the rest may come at once.
    let _: String = admin.run(&["CONFIG", "SET", "key-load-delay", "0"]).await;
    admin.until_info("persistence", "\nloading:0").await;
    goes_in(&link, &queue, &mut admin).await;
}

#[tokio::test]
async fn a_server_held_up_by_a_script_is_waited_for() {
    let (redis, mut admin, link, queue) = opened(&["--lua-time-limit", "20"]).await;
    let mut hog = redis.admin().await;
    let script = tokio::spawn(async move { hog.try_run(&["EVAL", "while true do end", "0"]).await });
    while !matches!(admin.try_run(&["PING"]).await, Err(error) if error.code() == Some("BUSY")) {
        tokio::task::yield_now().await;
    }
    refused(publish(&link, &queue).await, "busy");
    let _: String = admin.run(&["SCRIPT", "KILL"]).await;
    script.await.unwrap().unwrap_err();
    goes_in(&link, &queue, &mut admin).await;
}

#[tokio::test]
async fn a_cluster_without_the_slot_is_waited_for() {
    let redis = Redis::start(&["--cluster-enabled", "yes"]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    refused(queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await, "clusterdown");
    let mut admin = redis.admin().await;
    let _: String = admin.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    while !admin.run::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok") {
        tokio::task::yield_now().await;
    }
    let across = Queue::new(lists(&["celery", "celery:3"]));
    stopped(publish(&link, &across).await, "crossslot");
    stopped(target(&format!("redis://127.0.0.1:{}/1", redis.port)).connect().await, "db_index");
}

#[tokio::test]
async fn credentials_that_are_missing_or_wrong_stop_and_are_not_printed() {
    let redis = Redis::start(&["--requirepass", "hunter2"]).await;
    let url = |user: &str| format!("redis://{user}127.0.0.1:{}/3", redis.port);
    stopped(target(&url("")).connect().await, "noauth");
    for user in [":hunter3@", "nobody:hunter3@"] {
        let text = stopped(target(&url(user)).connect().await, "wrongpass");
        assert!(!text.contains("hunter"), "{text}");
    }
    for user in [":hunter2@", "default:hunter2@", "default:h%75nter2@"] {
        let target = target(&url(user));
        let link = target.connect().await.unwrap();
        assert_eq!(target.describe(), format!("127.0.0.1:{}/3", redis.port));
        assert!(!format!("{target:?} {link:?}").contains("hunter"));
        Queue::new(lists(&["celery"])).open(&link, tenure(1), 0).await;
    }
    let open = Redis::start(&[]).await;
    stopped(target(&format!("redis://:hunter2@127.0.0.1:{}", open.port)).connect().await, "wrongpass");
    stopped(target(&format!("redis://127.0.0.1:{}/99", open.port)).connect().await, "db_index");
}

#[tokio::test]
async fn a_user_without_the_rights_stops_before_anything_is_written() {
    let (redis, mut admin, link, queue) = opened(&[]).await;
    let url = format!("redis://relay:pw@127.0.0.1:{}", redis.port);
    for (rights, class, told) in [
        ("~* +hget +info +multi +exec +select +auth", "no_eval", "EVAL"),
        ("~outbox:m:* ~celery +@all", "noperm", "NOPERM"),
        ("~* +@all -lpush", "noperm", "lpush"),
        ("~* +@all -hset", "noperm", "hset"),
        ("%R~celery:3 ~celery ~outbox:m:* +@all", "noperm", "NOPERM"),
    ] {
        let words = ["ACL", "SETUSER", "relay", "reset", "on", ">pw"];
        let _: String = admin.run(&words.into_iter().chain(rights.split(' ')).collect::<Vec<_>>()).await;
        let user = target(&url).connect().await.unwrap();
        let text = stopped(publish(&user, &queue).await, class);
        assert!(text.contains(told), "{rights}: {text}");
        assert_eq!(admin.run::<i64>(&["EXISTS", "celery", "celery:3"]).await, 0, "{rights}");
    }
    let words = "ACL SETUSER relay reset on >pw ~celery ~celery:3 ~outbox:m:* +eval +evalsha +info +hget +hmget +hset +type \
                 +lpush +rpush +llen +multi +exec";
    let _: String = admin.run(&words.split_whitespace().collect::<Vec<_>>()).await;
    let user = target(&url).connect().await.unwrap();
    queue.open(&user, tenure(1), 0).await;
    goes_in(&user, &queue, &mut admin).await;
    drop(link);
}

#[tokio::test]
async fn a_server_without_scripts_is_told_apart() {
    let redis = Redis::start(&["--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery", "celery:3"])));
    let text = stopped(publish(&link, &queue).await, "no_eval");
    assert!(text.contains("EVALSHA") && text.contains("Lua"), "{text}");
    let new = Marker { tenure: tenure(1), position: 0 };
    stopped(open(&link, &queue.marker, FIELD, None, &new).await, "no_eval");
}

#[tokio::test]
async fn a_marker_key_of_another_type_stops_the_queue() {
    let (_redis, mut admin, link, queue) = opened(&[]).await;
    let marker = std::str::from_utf8(&queue.marker).unwrap();
    let _: i64 = admin.run(&["DEL", marker]).await;
    let _: String = admin.run(&["SET", marker, "x"]).await;
    stopped(observe(&link, &queue.marker, FIELD).await, "wrongtype");
    stopped(publish(&link, &queue).await, "wrongtype");
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_waited_for() {
    let redis = Redis::start(&["--maxclients", "1", "--requirepass", "pw"]).await;
    let target = target(&format!("redis://:pw@127.0.0.1:{}", redis.port));
    let first = target.connect().await.unwrap();
    let fault = target.connect().await.unwrap_err();
    assert_eq!(fault.reason().class, "maxclients", "{fault}");
    assert!(matches!(fault, Fault::Retry(_)));
    drop(first);
    while let Err(fault) = target.connect().await {
        assert_eq!(fault.reason().class, "maxclients");
    }
}

#[tokio::test]
async fn a_unix_socket_and_a_database_are_taken_from_the_url() {
    let dir = temp_dir();
    let socket = dir.join("redis.sock");
    let redis = Redis::start_in(dir, &["--unixsocket", socket.to_str().unwrap()]).await;
    let target = target(&format!("unix://{}?db=2", socket.display()));
    assert_eq!(target.describe(), format!("unix:{}/2", socket.display()));
    let queue = Queue::new(lists(&["celery"]));
    let link = target.connect().await.unwrap();
    queue.open(&link, tenure(1), 0).await;
    let mut admin = redis.admin().await;
    assert!(admin.run::<String>(&["INFO", "keyspace"]).await.contains("db2:keys=1"));
    assert!(admin.run::<String>(&["CLIENT", "LIST"]).await.contains("name=outboxd"));
}
