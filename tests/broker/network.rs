//! The network: servers that are gone, silent or slow, replies that are lost, commands that come late.

use std::time::Duration;

use outboxd::batch::Marker;
use outboxd::broker::{Appended, nothing_applied};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::harness::{Queue, Redis, free_port, left, lists, target, target_within, tenure};

/// What is never answered is given up after this; the greeting must be over within it.
const SHORT: Duration = Duration::from_secs(1);

/// Forwards one connection after another; either direction can be held and let go.
struct Proxy {
    port: u16,
    requests: watch::Sender<bool>,
    replies: watch::Sender<bool>,
}

impl Proxy {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (requests, replies) = (watch::Sender::new(true), watch::Sender::new(true));
        let (up, down) = (requests.subscribe(), replies.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                tokio::spawn(forward(client_in, server_out, up.clone()));
                tokio::spawn(forward(server_in, client_out, down.clone()));
            }
        });
        Self { port: own, requests, replies }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

/// Reads on while it is held, so that what was sent is delivered later even if the sender hangs up.
async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut gate: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        if gate.wait_for(|open| *open).await.is_err() || to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_lost_reply_is_a_time_out_and_the_repetition_adds_no_copy() {
    let redis = Redis::start(&[]).await;
    let (proxy, queue) = (Proxy::to(redis.port).await, Queue::new(lists(&["celery"])));
    queue.open(&redis.link().await, tenure(1), 0).await;
    let link = target_within(&proxy.url(), SHORT).connect().await.unwrap();
    proxy.replies.send_replace(false);
    let fault = queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap_err();
    assert_eq!(fault.reason().class, "timeout");
    assert!(!nothing_applied(&fault));
    drop(link);
    let link = redis.link().await;
    assert_eq!(queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap(), Appended::Already);
    assert_eq!(redis.admin().await.run::<i64>(&["LLEN", "celery"]).await, 1);
}

#[tokio::test]
async fn a_late_command_of_an_old_tenure_does_nothing() {
    let redis = Redis::start(&[]).await;
    let (proxy, queue) = (Proxy::to(redis.port).await, Queue::new(lists(&["celery"])));
    let direct = redis.link().await;
    queue.open(&direct, tenure(1), 0).await;
    let old = target_within(&proxy.url(), SHORT).connect().await.unwrap();
    proxy.requests.send_replace(false);
    let fault = queue.append(&old, tenure(1), 0, 1, &[left(0, "late")]).await.unwrap_err();
    assert_eq!(fault.reason().class, "timeout");

    queue.open(&direct, tenure(2), 0).await;
    let mut admin = redis.admin().await;
    let _: String = admin.run(&["CONFIG", "RESETSTAT"]).await;
    proxy.requests.send_replace(true);
    admin.until_info("commandstats", "cmdstat_evalsha:calls=1").await;
    assert_eq!(admin.run::<i64>(&["LLEN", "celery"]).await, 0);
    assert_eq!(queue.marker(&direct).await, Some(Marker { tenure: tenure(2), position: 0 }));
    assert_eq!(queue.append(&direct, tenure(2), 0, 1, &[left(0, "now")]).await.unwrap(), Appended::Ok { depth: 1 });
}

#[tokio::test]
async fn a_server_that_is_gone_refuses_and_one_that_dies_closes() {
    let gone = target(&format!("redis://127.0.0.1:{}", free_port())).connect().await.unwrap_err();
    assert_eq!(gone.reason().class, "refused");
    assert!(nothing_applied(&gone));
    let gone = target("unix:///nonexistent/redis.sock").connect().await.unwrap_err();
    assert_eq!(gone.reason().class, "refused");

    let mut redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    redis.kill();
    let fault = queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap_err();
    assert!(matches!(fault.reason().class, "closed" | "reset"), "{fault}");
    assert!(!nothing_applied(&fault));
    let again = queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap_err();
    assert_eq!(again.reason().class, "closed", "a link never comes back by itself");
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_command_is_noticed() {
    let redis = Redis::start(&[]).await;
    let (link, queue) = (redis.link().await, Queue::new(lists(&["celery"])));
    queue.open(&link, tenure(1), 0).await;
    let mut admin = redis.admin().await;
    let _: i64 = admin.run(&["CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"]).await;
    let fault = queue.append(&link, tenure(1), 0, 1, &[left(0, "a")]).await.unwrap_err();
    assert!(matches!(fault.reason().class, "closed" | "reset"), "{fault}");
}

#[tokio::test]
async fn a_reset_while_greeting_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        // Closing with unread bytes makes the kernel send a reset.
        client.readable().await.unwrap();
    });
    let fault = target(&format!("redis://127.0.0.1:{port}")).connect().await.unwrap_err();
    assert!(matches!(fault.reason().class, "closed" | "reset"), "{fault}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_black_hole_is_left_within_the_bounds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fault = target_within(&format!("redis://127.0.0.1:{port}"), SHORT).connect().await.unwrap_err();
    assert_eq!(fault.reason().class, "connect");
    // With TLS the server's silence is noticed while connecting.
    let url = secrecy::SecretString::from(format!("rediss://127.0.0.1:{port}#insecure"));
    let target = outboxd::broker::Target::new("tls", &url, SHORT, Duration::from_secs(60)).unwrap();
    let fault = target.connect().await.unwrap_err();
    assert_eq!(fault.reason().class, "connect");
    assert!(nothing_applied(&fault));
}

#[tokio::test]
async fn what_is_not_redis_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = client.read(&mut [0; 1024]).await;
        std::future::pending::<()>().await;
    });
    let fault = target(&format!("redis://127.0.0.1:{port}")).connect().await.unwrap_err();
    assert_eq!(fault.reason().class, "protocol", "{fault}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_waited_for() {
    let fault = target("redis://redis.invalid:6379").connect().await.unwrap_err();
    assert!(matches!(fault.reason().class, "dns"), "{fault}");
}

#[test]
fn a_wrong_url_is_refused_without_repeating_it() {
    for url in [
        "hunter2",
        "http://:hunter2@h",
        "redis://:hunter2@h/x",
        "redis://:hunter2@h?db=x",
        "rediss://:hunter2@h?ssl_cert_reqs=perhaps",
        "rediss://:hunter2@h?ssl_certfile=/a",
        "rediss://:hunter2@h#what",
        "redis://:hunter2@0.0.0.0",
        "redis://:hunter2@h/-1",
    ] {
        let fault = outboxd::broker::Target::new("x", &secrecy::SecretString::from(url), SHORT, SHORT).unwrap_err();
        assert_eq!(fault.reason().class, "config");
        assert!(!fault.to_string().contains("hunter2"), "{fault}");
    }
    assert_eq!(target("redis://[::1]:1/2").describe(), "[::1]:1/2");
    assert_eq!(target("rediss://u:p@Broker?db=4&ssl_cert_reqs=CERT_NONE").describe(), "broker:6379/4");
}
