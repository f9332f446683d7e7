//! The HTTP listener: `/livez`, `/readyz`, `/metrics`, `/api/v1/status`. No authentication, no log lines, and no way for
//! a slow client to hold it up.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::health::{Health, Verdict};
use super::metrics::Metrics;
use super::metrics::labels::ROUTES;
use crate::config::HttpSettings;
use crate::fault::Fault;

/// How patient the listener is.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a whole request head, and between two requests of one connection.
    pub head: Duration,
    /// For one connection altogether; a client that is still there connects again.
    pub connection: Duration,
    /// For what is in flight when the listener stops or a connection's time is up.
    pub farewell: Duration,
    /// Connections at one time; a further one is closed at once.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            // Above the usual scrape intervals, so that Prometheus can reuse its connection.
            connection: Duration::from_secs(300),
            farewell: Duration::from_secs(2),
            connections: 256,
        }
    }
}

/// What the routes show.
#[derive(Clone)]
pub struct Surface {
    /// For the probes.
    pub health: Health,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/api/v1/status`: the newest value is served as it is.
    pub status: watch::Receiver<Value>,
}

/// The listener at work.
#[derive(Debug)]
pub struct Server {
    serving: Option<(JoinHandle<()>, SocketAddr)>,
    /// Ends it, at the latest when this is dropped.
    end: DropGuard,
}

impl Server {
    /// Binds to `http.listen` and serves; does nothing if that is empty. An address that cannot be bound is [`Fault::Halt`].
    ///
    /// `stop` makes readiness fail, and nothing else: probes and metrics are answered until [`stopped`](Self::stopped), so
    /// that a relay can be watched while it drains.
    pub async fn start(
        http: &HttpSettings,
        metrics: Arc<Metrics>,
        health: Health,
        status: watch::Receiver<Value>,
        stop: CancellationToken,
    ) -> Result<Self, Fault> {
        Self::start_within(Limits::default(), http, Surface { health, metrics, status }, stop).await
    }

    /// [`start`](Self::start) with other limits than usual.
    pub async fn start_within(
        limits: Limits,
        http: &HttpSettings,
        surface: Surface,
        stop: CancellationToken,
    ) -> Result<Self, Fault> {
        let end = CancellationToken::new();
        if http.listen.is_empty() {
            return Ok(Self { serving: None, end: end.drop_guard() });
        }
        let bound = TcpListener::bind(&http.listen).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| cannot_listen(&http.listen, &error))?;
        let health = surface.health.clone();
        let site = Site { listener, limits, routes: routes(surface), end: end.clone() };
        let serving = tokio::spawn(async move {
            tokio::select! {
                () = site.serve() => {}
                () = drain(health, stop) => {}
            }
        });
        Ok(Self { serving: Some((serving, address)), end: end.drop_guard() })
    }

    /// Where it listens: with the port that the system chose, if 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|(_, address)| *address)
    }

    /// Ends it: closes the port and waits, within bounds, for what is in flight.
    pub async fn stopped(self) {
        drop(self.end);
        if let Some((serving, _)) = self.serving {
            // A panic in there has been told; there is nothing left to wait for.
            let _ended = serving.await;
        }
    }
}

fn cannot_listen(listen: &str, error: &io::Error) -> Fault {
    let next = "set http.listen (OUTBOXD_HTTP__LISTEN) to a free address of this machine, or to \"\" to switch it off";
    Fault::halt("http_listen", format!("cannot listen on {listen:?} ({error}): {next}"))
}

/// Reports the stop to the probes, and never ends.
async fn drain(health: Health, stop: CancellationToken) {
    stop.cancelled().await;
    health.draining();
    std::future::pending::<()>().await;
}

/// A bound listener and what it serves.
struct Site {
    listener: TcpListener,
    limits: Limits,
    routes: Router,
    end: CancellationToken,
}

impl Site {
    /// Serves until its end, then lets what is in flight finish, within bounds.
    async fn serve(self) {
        let Self { listener, limits, routes, end } = self;
        let tasks = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(limits.connections));
        loop {
            let accepted = tokio::select! {
                () = end.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
                    let connection = converse(stream, routes.clone(), limits, end.clone());
                    tasks.spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                // No file descriptor left, or a client that went: neither gets better by trying at full speed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }
}

/// Speaks with one client until it leaves, its time is up, or the listener stops.
async fn converse(stream: TcpStream, routes: Router, limits: Limits, end: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)));
    tokio::select! {
        // An error of one connection is its client's affair.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(limits.connection) => {}
        () = end.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // Either it ends by itself or it is cut: both are the end.
    let _ended = tokio::time::timeout(limits.farewell, connection).await;
}

fn routes(surface: Surface) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .layer(from_fn_with_state(surface.clone(), counted))
        .with_state(surface)
}

/// Counts and times a request. Paths that are not served share one name, or a stranger could fill the metrics.
async fn counted(State(surface): State<Surface>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let route = ROUTES.into_iter().find(|route| *route == path).unwrap_or("other");
    let began = Instant::now();
    let response = next.run(request).await;
    surface.metrics.http_request(route, response.status().as_u16(), began.elapsed());
    response
}

async fn livez(State(surface): State<Surface>) -> Response {
    probe(surface.health.live())
}

async fn readyz(State(surface): State<Surface>) -> Response {
    probe(surface.health.readiness())
}

fn probe(verdict: Verdict) -> Response {
    match verdict {
        Verdict::Well => plain(StatusCode::OK, "ok\n".to_owned()),
        Verdict::Unwell(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(surface): State<Surface>) -> Response {
    let content_type = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    (content_type, surface.metrics.render()).into_response()
}

async fn status(State(surface): State<Surface>) -> Response {
    let body = surface.status.borrow().to_string();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

fn plain(status: StatusCode, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}
