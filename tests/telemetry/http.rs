//! The HTTP listener, asked over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outboxd::config::HttpSettings;
use outboxd::telemetry::http::{Limits, Server, Surface};
use outboxd::telemetry::{Health, Metrics};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    server: Server,
    address: SocketAddr,
    health: Health,
    metrics: Arc<Metrics>,
    status: watch::Sender<Value>,
    stop: CancellationToken,
}

impl Site {
    async fn start(limits: Limits) -> Self {
        let (health, metrics, stop) = (Health::new(), Arc::new(Metrics::new()), CancellationToken::new());
        let (status, receiver) = watch::channel(json!({ "queues": [] }));
        let surface = Surface { health: health.clone(), metrics: Arc::clone(&metrics), status: receiver };
        let server = Server::start_within(limits, &listen("127.0.0.1:0"), surface, stop.clone()).await.unwrap();
        Self { address: server.address().unwrap(), server, health, metrics, status, stop }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Status code, head and body of one request.
    async fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = self.connect().await;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let answer = rest(&mut stream).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }
}

fn listen(address: &str) -> HttpSettings {
    HttpSettings { listen: address.to_owned(), ..HttpSettings::default() }
}

/// Everything until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset is as much an end as a close; a time-out means that nobody closed.
    let _end = read.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn readiness_follows_the_relay_and_ends_first() {
    let site = Site::start(Limits::default()).await;
    let (code, _, body) = site.get("/readyz").await;
    assert_eq!((code, body.as_str()), (503, "starting\n"));
    site.health.ready();
    let (code, head, body) = site.get("/readyz").await;
    assert_eq!((code, body.as_str()), (200, "ok\n"));
    assert!(head.contains("cache-control: no-store"));
    site.health.postgres(false);
    assert_eq!(site.get("/readyz").await.0, 200);
    site.health.draining();
    let (code, _, body) = site.get("/readyz").await;
    assert_eq!((code, body.as_str()), (503, "stopping\n"));
    assert_eq!(site.get("/livez").await.0, 200);
}

#[tokio::test]
async fn metrics_and_the_newest_status_are_served() {
    let site = Site::start(Limits::default()).await;
    site.metrics.published("mail", 2, 10);
    let (code, head, body) = site.get("/metrics").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("outboxd_dispatched_total{queue=\"mail\"} 2"));
    site.status.send_replace(json!({ "queues": [{ "queue": "mail" }] }));
    let (code, head, body) = site.get("/api/v1/status").await;
    assert!(code == 200 && head.contains("content-type: application/json"));
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["queues"][0]["queue"], "mail");
    assert_eq!(site.get("/nothing").await.0, 404);
    assert_eq!(site.get("/never/seen").await.0, 404);
    let text = site.metrics.render();
    for line in [
        "outboxd_http_requests_total{code=\"200\",route=\"/metrics\"} 1",
        "outboxd_http_requests_total{code=\"404\",route=\"other\"} 2",
        "outboxd_http_request_duration_seconds_count{route=\"/api/v1/status\"} 1",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_cut_off_and_delays_nobody() {
    let site = Site::start(Limits { head: Duration::from_secs(2), ..Limits::default() }).await;
    let mut slow = site.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(site.get("/livez").await.0, 200);
    rest(&mut slow).await;
    let mut silent = site.connect().await;
    rest(&mut silent).await;
    let mut idle = site.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_that_never_comes_holds_a_connection_for_its_time_only() {
    let limits =
        Limits { connection: Duration::from_secs(2), farewell: Duration::from_millis(100), ..Limits::default() };
    let site = Site::start(limits).await;
    let mut slow = site.connect().await;
    slow.write_all(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
    assert!(rest(&mut slow).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_at_once() {
    let site = Site::start(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = site.connect().await;
    first.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(rest(&mut site.connect().await).await, "");
}

#[tokio::test]
async fn a_stopping_relay_is_watched_to_its_end_and_slow_clients_do_not_hold_it_up() {
    let site = Site::start(Limits { farewell: Duration::from_secs(2), ..Limits::default() }).await;
    site.health.ready();
    let mut slow = site.connect().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    assert_eq!(site.get("/readyz").await.0, 200);
    site.stop.cancel();
    // The stop reaches the probes through another task.
    let stopping = async {
        while site.get("/readyz").await.0 == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, stopping).await.unwrap();
    assert_eq!(site.get("/livez").await.0, 200);
    assert_eq!(site.get("/metrics").await.0, 200);
    tokio::time::timeout(PATIENCE, site.server.stopped()).await.unwrap();
    assert!(TcpStream::connect(site.address).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_setting() {
    let site = Site::start(Limits::default()).await;
    let start = async |address: &str| {
        let (_, status) = watch::channel(Value::Null);
        let metrics = Arc::new(Metrics::new());
        Server::start(&listen(address), metrics, Health::new(), status, CancellationToken::new()).await
    };
    let address = site.address.to_string();
    let fault = start(&address).await.unwrap_err();
    let message = &fault.reason().message;
    assert!(message.starts_with(&format!("cannot listen on {address:?} (")), "{message}");
    assert!(message.contains("http.listen (OUTBOXD_HTTP__LISTEN)") && message.contains("switch it off"), "{message}");

    let off = start("").await.unwrap();
    assert_eq!(off.address(), None);
    off.stopped().await;
}
