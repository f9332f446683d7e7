//! A TCP proxy before a private server: it cuts, stalls, delays, swallows, loses replies and holds commands back.
//!
//! It runs on a thread of its own, so that a test may block while bytes flow. Methods return when their effect holds
//! for every byte that arrives from then on.

mod link;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Port, Result, failure, poll_until};
use link::Link;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the clients to the server.
    Requests,
    /// From the server to the clients.
    Replies,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyStats {
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections open now.
    pub open: usize,
    /// Connections open now whose requests are held back.
    pub held: usize,
    /// Replies swallowed by [`Proxy::drop_reply_once`].
    pub dropped_replies: u64,
    /// Bytes delivered to the server.
    pub request_bytes: u64,
    /// Bytes delivered to the clients.
    pub reply_bytes: u64,
}

/// A port before a server; everything on it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
    runtime: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free loopback port and passes everything on to another one.
    pub fn start(target: u16) -> Result<Self> {
        let port = Port::free()?;
        let shared = Arc::new(Shared::new(loopback(target)));
        let stop = CancellationToken::new();
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| failure(format!("The proxy's runtime cannot be made: {e}.")))?;
        let handle = runtime.handle().clone();
        let (number, ours, until) = (port.number(), Arc::clone(&shared), stop.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async { until.run_until_cancelled(listen(number, &ours)).await });
        });
        let proxy = Self { port, shared, runtime: handle, stop, thread: Some(thread) };
        proxy.wait_listening(true)?;
        Ok(proxy)
    }

    /// The port its clients use.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A server's URL, led through the proxy.
    pub fn through(&self, url: &str) -> String {
        let target = lock(&self.shared.target).port();
        url.replacen(&format!("127.0.0.1:{target}"), &format!("127.0.0.1:{}", self.port()), 1)
    }

    /// Back to normal: accepts, passes everything on, without delay. Connections that lost bytes are reset.
    pub fn pass(&self) -> Result<()> {
        self.shared.rules.send_replace(Rules::default());
        self.release();
        self.shared.cut(Link::lost_bytes);
        self.wait_listening(true)
    }

    /// Resets every open connection. New ones are accepted.
    pub fn cut(&self) {
        self.shared.cut(|_| true);
        poll_until(PATIENCE, || lock(&self.shared.links).values().all(|link| !link.is_cut()));
    }

    /// Refuses new connections, as if nothing listened; open ones stay.
    pub fn refuse(&self) -> Result<()> {
        self.shared.rules.send_modify(|rules| rules.refuse = true);
        self.wait_listening(false)
    }

    /// Accepts, takes every byte and lets none through, in either direction.
    pub fn black_hole(&self) {
        self.shared.rules.send_modify(|rules| rules.swallow = true);
    }

    /// Delivers every byte this much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.shared.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Keeps what arrives in one direction until [`Proxy::resume`], on old and new connections.
    pub fn pause(&self, direction: Direction) {
        self.shared.rules.send_modify(|rules| rules.paused[direction as usize] = true);
    }

    /// Delivers what was kept.
    pub fn resume(&self, direction: Direction) {
        self.shared.rules.send_modify(|rules| rules.paused[direction as usize] = false);
    }

    /// Lets the next request that contains `needle` through, swallows what the server says next on that connection,
    /// and resets it: done, but nobody was told.
    pub fn drop_reply_once(&self, needle: &[u8]) {
        *lock(&self.shared.drop_after) = Some(needle.to_vec());
    }

    /// Holds back the next `needle` among the requests, and what follows on that connection, until [`Proxy::release`],
    /// even if the client has gone by then. What came before it is delivered. Other connections go on.
    pub fn hold_once(&self, needle: &[u8]) {
        *lock(&self.shared.hold_at) = Some(needle.to_vec());
    }

    /// Delivers all requests that were held back, late.
    pub fn release(&self) {
        for link in lock(&self.shared.links).values() {
            link.hold(false);
        }
    }

    /// Another server from now on. Open connections are reset, or, if `keep`, go on with the new server behind them,
    /// which knows nothing of what was said before.
    pub fn point_to(&self, target: u16, keep: bool) -> Result<()> {
        *lock(&self.shared.target) = loopback(target);
        if !keep {
            self.cut();
            return Ok(());
        }
        let links: Vec<Arc<Link>> = lock(&self.shared.links).values().cloned().collect();
        let shared = Arc::clone(&self.shared);
        let (done, switched) = mpsc::channel();
        self.runtime.spawn(async move {
            for link in links {
                let result = link.switch_to(&shared, loopback(target)).await;
                if result.is_err() && done.send(result).is_err() {
                    return;
                }
            }
            let _ = done.send(Ok(()));
        });
        match switched.recv_timeout(PATIENCE) {
            Ok(result) => result.map_err(|e| failure(format!("The proxy cannot reach port {target}: {e}."))),
            Err(_) => Err(failure(format!("The proxy did not reach port {target} in time."))),
        }
    }

    /// Another server for new connections; open ones stay with theirs, as behind a host name that changes.
    pub fn lead_to(&self, target: u16) {
        *lock(&self.shared.target) = loopback(target);
    }

    /// What has happened so far.
    pub fn stats(&self) -> ProxyStats {
        let links = lock(&self.shared.links);
        ProxyStats {
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            open: links.len(),
            held: links.values().filter(|link| link.is_held()).count(),
            dropped_replies: self.shared.dropped_replies.load(Ordering::Relaxed),
            request_bytes: self.shared.request_bytes.load(Ordering::Relaxed),
            reply_bytes: self.shared.reply_bytes.load(Ordering::Relaxed),
        }
    }

    /// Waits until the numbers are as wanted; blocks the thread. `false` after `timeout`.
    pub fn wait(&self, timeout: Duration, wanted: impl Fn(ProxyStats) -> bool) -> bool {
        poll_until(timeout, || wanted(self.stats()))
    }

    fn wait_listening(&self, wanted: bool) -> Result<()> {
        if poll_until(PATIENCE, || self.shared.listening.load(Ordering::Acquire) == wanted) {
            return Ok(());
        }
        Err(failure(format!("The proxy cannot listen on port {}.", self.port())))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Longer than any step inside one machine takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, Default)]
struct Rules {
    refuse: bool,
    swallow: bool,
    paused: [bool; 2],
    delay: Duration,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    rules: watch::Sender<Rules>,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    drop_after: Mutex<Option<Vec<u8>>>,
    hold_at: Mutex<Option<Vec<u8>>>,
    listening: AtomicBool,
    accepted: AtomicU64,
    dropped_replies: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
}

impl Shared {
    fn new(target: SocketAddr) -> Self {
        Self {
            target: Mutex::new(target),
            rules: watch::Sender::new(Rules::default()),
            links: Mutex::default(),
            drop_after: Mutex::default(),
            hold_at: Mutex::default(),
            listening: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            dropped_replies: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            reply_bytes: AtomicU64::new(0),
        }
    }

    fn cut(&self, which: impl Fn(&Link) -> bool) {
        for link in lock(&self.links).values().filter(|link| which(link)) {
            link.cut();
        }
    }
}

/// Accepts until the proxy is dropped; closes the port while connections are to be refused.
async fn listen(port: u16, shared: &Arc<Shared>) {
    let mut rules = shared.rules.subscribe();
    loop {
        if rules.wait_for(|rules| !rules.refuse).await.is_err() {
            return;
        }
        let Ok(listener) = TcpListener::bind(loopback(port)).await else { return };
        shared.listening.store(true, Ordering::Release);
        tokio::select! {
            () = accept(&listener, shared) => {}
            _ = rules.wait_for(|rules| rules.refuse) => {}
        }
        drop(listener);
        shared.listening.store(false, Ordering::Release);
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        // A client that is gone before it is accepted is no concern of the proxy.
        let Ok((client, _)) = listener.accept().await else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(Link::new());
        lock(&shared.links).insert(number, Arc::clone(&link));
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            serve(client, &link, &shared).await;
            lock(&shared.links).remove(&number);
        });
    }
}

async fn serve(mut client: TcpStream, link: &Arc<Link>, shared: &Arc<Shared>) {
    if link.run(&mut client, shared).await.is_err() {
        // Without this a close would look orderly to the client.
        let _ = client.set_zero_linger();
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
