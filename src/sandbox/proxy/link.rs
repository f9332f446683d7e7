//! One connection through the proxy: two directions that end independently, and a server that can be exchanged.
//!
//! Bytes are read as soon as they come and wait inside, not in the kernel's buffers: those are lost when a client
//! that was held back gives up and resets its connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Direction, Rules, Shared, lock};

#[derive(Debug)]
pub(super) struct Link {
    cut: CancellationToken,
    held: watch::Sender<bool>,
    drops_next_reply: AtomicBool,
    lost_bytes: AtomicBool,
    server: Mutex<Option<OwnedWriteHalf>>,
    reader: Mutex<Option<AbortHandle>>,
    replies: Mutex<Option<mpsc::UnboundedSender<Item>>>,
}

/// What waits for its delivery: bytes with the time of their arrival, the place from where on they are held back, or
/// the end.
#[derive(Debug)]
enum Item {
    Bytes(Instant, Vec<u8>),
    Hold,
    End,
}

/// The connection was cut, or the server could not be reached: the client is to see a reset.
#[derive(Debug)]
pub(super) struct Reset;

impl Link {
    pub(super) fn new() -> Self {
        Self {
            cut: CancellationToken::new(),
            held: watch::Sender::new(false),
            drops_next_reply: AtomicBool::new(false),
            lost_bytes: AtomicBool::new(false),
            server: Mutex::default(),
            reader: Mutex::default(),
            replies: Mutex::default(),
        }
    }

    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    pub(super) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub(super) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    pub(super) fn lost_bytes(&self) -> bool {
        self.lost_bytes.load(Ordering::Relaxed)
    }

    /// Passes bytes until both directions have ended.
    pub(super) async fn run(self: &Arc<Self>, client: &mut TcpStream, shared: &Arc<Shared>) -> Result<(), Reset> {
        let _ = client.set_nodelay(true);
        let (reply_sender, replies) = mpsc::unbounded_channel();
        *self.replies.lock().await = Some(reply_sender);
        if shared.rules.borrow().swallow {
            self.lost_bytes.store(true, Ordering::Relaxed);
        } else {
            let target = *lock(&shared.target);
            let reached = self.cut.run_until_cancelled(self.switch_to(shared, target)).await;
            reached.ok_or(Reset)?.map_err(|_| Reset)?;
        }
        let (from_client, to_client) = client.split();
        let (request_sender, requests) = mpsc::unbounded_channel();
        let all = async {
            tokio::join!(
                self.read_requests(from_client, &request_sender, shared),
                self.deliver_requests(requests, shared),
                deliver_replies(replies, to_client, shared),
            )
        };
        let ended = self.cut.run_until_cancelled(all).await;
        self.end_reader().await;
        ended.map(drop).ok_or(Reset)
    }

    /// Connects to a server and puts it in the place of the one before, if any.
    pub(super) async fn switch_to(self: &Arc<Self>, shared: &Arc<Shared>, target: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let (from_server, to_server) = stream.into_split();
        // Whoever writes sees the old server or the new one, never half of each.
        let mut server = self.server.lock().await;
        self.end_reader().await;
        *server = Some(to_server);
        let Some(replies) = self.replies.lock().await.clone() else { return Ok(()) };
        let (link, shared) = (Arc::clone(self), Arc::clone(shared));
        let reader = tokio::spawn(async move { link.read_replies(from_server, &replies, &shared).await });
        *self.reader.lock().await = Some(reader.abort_handle());
        Ok(())
    }

    async fn end_reader(&self) {
        if let Some(reader) = self.reader.lock().await.take() {
            reader.abort();
        }
    }

    async fn read_requests(&self, mut client: ReadHalf<'_>, out: &mpsc::UnboundedSender<Item>, shared: &Shared) {
        let mut buffer = vec![0; BUFFER];
        loop {
            // A client that resets has ended as well: what it sent before is still under way.
            let length = client.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                let _ = out.send(Item::End);
                return;
            }
            let mut bytes = &buffer[..length];
            if self.swallows(shared) {
                continue;
            }
            if springs(&shared.drop_after, bytes).is_some() {
                self.drops_next_reply.store(true, Ordering::Release);
            }
            if let Some(place) = springs(&shared.hold_at, bytes) {
                let _ = out.send(Item::Bytes(Instant::now(), bytes[..place].to_vec()));
                let _ = out.send(Item::Hold);
                bytes = &bytes[place..];
            }
            let _ = out.send(Item::Bytes(Instant::now(), bytes.to_vec()));
        }
    }

    async fn read_replies(&self, mut server: OwnedReadHalf, out: &mpsc::UnboundedSender<Item>, shared: &Shared) {
        let mut buffer = vec![0; BUFFER];
        loop {
            match server.read(&mut buffer).await {
                Ok(0) => {
                    let _ = out.send(Item::End);
                    return;
                }
                Ok(_) if self.swallows(shared) => {}
                Ok(_) if self.drops_next_reply.load(Ordering::Acquire) => {
                    shared.dropped_replies.fetch_add(1, Ordering::Relaxed);
                    return self.cut();
                }
                Ok(length) => {
                    let _ = out.send(Item::Bytes(Instant::now(), buffer[..length].to_vec()));
                }
                Err(_) => return self.cut(),
            }
        }
    }

    async fn deliver_requests(&self, mut items: mpsc::UnboundedReceiver<Item>, shared: &Shared) {
        let (mut rules, mut held) = (shared.rules.subscribe(), self.held.subscribe());
        while let Some(item) = items.recv().await {
            let arrived = item.arrived();
            wait_until_due(arrived, &mut rules, Direction::Requests).await;
            let _ = held.wait_for(|held| !held).await;
            let mut server = self.server.lock().await;
            let Some(server) = server.as_mut() else {
                // Born in a black hole: there is nobody to tell, and nothing to come back.
                self.cut();
                return;
            };
            // A server that has gone says so on its own side.
            let _ = match item {
                Item::Bytes(_, bytes) => {
                    shared.request_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    server.write_all(&bytes).await
                }
                Item::Hold => {
                    self.hold(true);
                    Ok(())
                }
                Item::End => {
                    let _ = server.shutdown().await;
                    return;
                }
            };
        }
    }

    fn swallows(&self, shared: &Shared) -> bool {
        let swallows = shared.rules.borrow().swallow;
        if swallows {
            self.lost_bytes.store(true, Ordering::Relaxed);
        }
        swallows
    }
}

async fn deliver_replies(mut items: mpsc::UnboundedReceiver<Item>, mut client: WriteHalf<'_>, shared: &Shared) {
    let mut rules = shared.rules.subscribe();
    while let Some(item) = items.recv().await {
        let arrived = item.arrived();
        wait_until_due(arrived, &mut rules, Direction::Replies).await;
        match item {
            Item::Bytes(_, bytes) => {
                // A client that has gone needs no reply, but the server's side goes on to its end.
                if client.write_all(&bytes).await.is_ok() {
                    shared.reply_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
            }
            Item::Hold => {}
            Item::End => {
                let _ = client.shutdown().await;
                return;
            }
        }
    }
}

impl Item {
    /// The end is due with the bytes before it.
    fn arrived(&self) -> Option<Instant> {
        match self {
            Self::Bytes(at, _) => Some(*at),
            Self::Hold | Self::End => None,
        }
    }
}

const BUFFER: usize = 64 * 1024;

/// Waits for the end of a pause, then for the delay counted from the arrival.
async fn wait_until_due(arrived: Option<Instant>, rules: &mut watch::Receiver<Rules>, way: Direction) {
    let delay = match rules.wait_for(|rules| !rules.paused[way as usize]).await {
        Ok(rules) => rules.delay,
        Err(_) => Duration::ZERO,
    };
    if let Some(arrived) = arrived
        && !delay.is_zero()
    {
        tokio::time::sleep_until(arrived + delay).await;
    }
}

/// Where in these bytes a trap is set, if one is; a trap springs once.
fn springs(trap: &std::sync::Mutex<Option<Vec<u8>>>, bytes: &[u8]) -> Option<usize> {
    let mut trap = lock(trap);
    let needle = trap.as_deref()?;
    let place = if needle.is_empty() { 0 } else { bytes.windows(needle.len()).position(|part| part == needle)? };
    *trap = None;
    Some(place)
}
