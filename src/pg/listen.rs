//! The LISTEN session: hears the doorbell, and finds out whether it can be heard at all.
//!
//! Through a pooler in transaction mode LISTEN succeeds and nothing ever arrives. Asking the same session does not
//! tell (`pg_listening_channels()` and a notification to oneself both work while the pooler happens to hand out the
//! same backend), so a second session through the same URL rings while the first one is silent.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Row};
use uuid::Uuid;

use super::connect::{Connector, Wire};
use super::error::{PgFault, sent};
use super::session::{BEGIN_WRITE, Param, Session};
use crate::fault::Fault;

const LISTEN: &str = include_str!("../../sql/listen/listen.sql");
const UNLISTEN: &str = include_str!("../../sql/listen/unlisten.sql");
const BACKEND: &str = include_str!("../../sql/listen/backend.sql");
const RING: &str = include_str!("../../sql/listen/ring.sql");
const TRY_LOCK: &str = include_str!("../../sql/listen/try_lock.sql");
const UNLOCK: &str = include_str!("../../sql/listen/unlock.sql");

/// Events that wait for a slow reader. A bell that rings while one waits is the same bell.
const ROOM: usize = 64;
/// The probe's notification takes a round trip; a server that needs longer than this is of no use as a bell either.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the session heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody rang. Under a flood some are left out: the news is that there is news.
    Notified {
        /// The channel.
        channel: String,
        /// What was sent with it.
        payload: String,
    },
    /// The session has ended; no event follows. Connect again, then look for work: bells were missed meanwhile.
    Lost(PgFault),
}

/// Whether notifications reach this session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// They do, and locks held by the session stay with it.
    Live,
    /// They do not: something between pools transactions. The sentence says how that showed.
    Pooler(String),
}

/// A session that listens.
#[derive(Debug)]
pub struct Listener {
    session: Session,
    delivery: Delivery,
    limit: Duration,
}

impl Listener {
    /// Connects, listens on `channels` and finds out whether notifications arrive. `limit` bounds each statement.
    ///
    /// Opens a second session for an instant. Dropping the listener ends the session and with it its locks.
    pub async fn connect(
        connector: &Connector,
        channels: &[&str],
        limit: Duration,
    ) -> Result<(Self, mpsc::Receiver<Event>), PgFault> {
        let (client, wire) = Box::pin(connector.connect()).await?;
        let (heard, events) = mpsc::channel(ROOM);
        let (probe_heard, mut probed) = mpsc::channel(ROOM);
        let probe = format!("outbox_probe_{}", Uuid::new_v4().simple());
        let ears = Ears { heard, probe: probe.clone(), probe_heard, setting: connector.setting() };
        let session = Session::new(client, connector.clone(), tokio::spawn(ears.drive(wire)));
        for channel in channels.iter().copied().chain([probe.as_str()]) {
            listen(&session, channel, limit).await?;
        }
        let delivery = detect(&session, &probe, &mut probed, limit).await?;
        session.statement("unlisten", &UNLISTEN.replace("/*channel*/", &quoted(&probe)), &[], limit).await?;
        Ok((Self { session, delivery, limit }, events))
    }

    /// Whether notifications arrive. Decided once, when connecting.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Runs one short statement on this very session, in a transaction that ends with it: a listener that stays inside
    /// one makes the server keep every notification of the cluster.
    pub async fn statement(&self, name: &str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, PgFault> {
        self.session.transaction(name, sql, params, self.limit).await
    }

    /// Takes an advisory lock that lasts as long as this session, unless somebody else holds it.
    ///
    /// Taking it twice needs releasing it twice. Means nothing unless the delivery is [`Delivery::Live`].
    pub async fn try_lock(&self, key: i64) -> Result<bool, PgFault> {
        flag(&self.statement("try_lock", TRY_LOCK, &[(&key, Type::INT8)]).await?)
    }

    /// Releases an advisory lock; false if this session did not hold it.
    pub async fn unlock(&self, key: i64) -> Result<bool, PgFault> {
        flag(&self.statement("unlock", UNLOCK, &[(&key, Type::INT8)]).await?)
    }

    /// Whether the session has ended, or a statement on it was given up half-way: connect anew.
    pub fn is_lost(&self) -> bool {
        self.session.is_unfit()
    }
}

/// The task behind a listener.
struct Ears {
    heard: mpsc::Sender<Event>,
    probe: String,
    probe_heard: mpsc::Sender<String>,
    setting: &'static str,
}

impl Ears {
    async fn drive(self, mut wire: Wire) {
        let mut messages = poll_fn(move |cx| wire.poll_message(cx));
        let mut end = None;
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(n)) if n.channel() == self.probe => {
                    drop(self.probe_heard.try_send(n.payload().to_owned()));
                }
                Ok(AsyncMessage::Notification(n)) => {
                    let (channel, payload) = (n.channel().to_owned(), n.payload().to_owned());
                    // Full: the reader will wake up anyway. Closed: nobody listens.
                    drop(self.heard.try_send(Event::Notified { channel, payload }));
                }
                Ok(_) => {}
                Err(error) => {
                    end = Some(sent(&error, "listening for notifications", self.setting));
                    break;
                }
            }
        }
        // Closes the socket before the news is out, so that the session's locks are free when it is read.
        drop(messages);
        let closed = || PgFault::refused(Fault::retry("connection", "the listening session was closed"));
        drop(self.heard.send(Event::Lost(end.unwrap_or_else(closed))).await);
    }
}

async fn listen(session: &Session, channel: &str, limit: Duration) -> Result<(), PgFault> {
    session.statement("listen", &LISTEN.replace("/*channel*/", &quoted(channel)), &[], limit).await.map(drop)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Rings for a silent session from another one.
async fn detect(
    session: &Session,
    probe: &str,
    probed: &mut mpsc::Receiver<String>,
    limit: Duration,
) -> Result<Delivery, PgFault> {
    let ringer = Session::open(session.connector(), Arc::new(AtomicU64::new(0))).await?;
    let own = backend(session, limit).await?;
    if backend(&ringer, limit).await? == own {
        return Ok(Delivery::Pooler("two sessions at a time were served by one backend".into()));
    }
    // While the other session keeps a backend to itself, a pooler has to give this one another.
    ringer.script("begin", BEGIN_WRITE, limit).await?;
    ringer.statement("backend", BACKEND, &[], limit).await?;
    if backend(session, limit).await? != own {
        return Ok(Delivery::Pooler("the backend changed between two statements".into()));
    }
    let token = Uuid::new_v4().to_string();
    ringer.statement("ring", RING, &[(&probe, Type::TEXT), (&token, Type::TEXT)], limit).await?;
    ringer.statement("commit", "commit", &[], limit).await?;
    match timeout(PROBE_TIMEOUT, probed.recv()).await {
        Ok(Some(heard)) if heard == token => Ok(Delivery::Live),
        Ok(_) => Err(PgFault::refused(Fault::retry("connection", "the listening session ended while it was tested"))),
        Err(_) => Ok(Delivery::Pooler(format!("a notification had not arrived after {PROBE_TIMEOUT:?}"))),
    }
}

async fn backend(session: &Session, limit: Duration) -> Result<i32, PgFault> {
    let rows = session.transaction("backend", BACKEND, &[], limit).await?;
    rows.first().and_then(|row| row.try_get(0).ok()).ok_or_else(strange)
}

fn flag(rows: &[Row]) -> Result<bool, PgFault> {
    rows.first().and_then(|row| row.try_get(0).ok()).ok_or_else(strange)
}

fn strange() -> PgFault {
    PgFault::refused(Fault::halt("internal", "the server's answer has an unexpected shape; please report it"))
}
