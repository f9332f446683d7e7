//! The corridor: a row's way from a commit in Postgres to a list in Redis, in walking order.
//!
//! [`wake`] notices that rows are there and hints their queue's [`lane`]. The lane [`open`]s the queue, then goes
//! [`forward`]: a plan in Postgres says what batch *n* is, for ever; [`encode`] turns its rows into messages;
//! [`publish`] moves Redis from *n-1* to *n* in one script, within the [`window`]. Nothing is written to Postgres
//! afterwards: [`mark`] copies the markers' positions there once a second. After anything uncertain the lane goes back
//! to [`open`], the only way in. Beside the corridor, [`look`] asks Redis once a second whether it still stands where it
//! was left, and whether its queues' holders look as well ([`sight`]), [`confirm`] what was consumed, by [`rules`] that decide what absence proves ([`receipts`] come from workers),
//! and [`incident`] tells what was lost; [`rotate`] empties segments, [`gauge`] counts, [`say`] tells operators what the
//! lanes are doing. [`drain`] is the end.

mod absence;
mod backoff;
mod baseline;
mod bell;
mod chore;
mod confirm;
pub(crate) mod drain;
mod encode;
mod forward;
mod gauge;
mod hint;
mod incident;
mod lane;
mod look;
mod mark;
mod open;
mod publish;
mod receipts;
mod refusals;
mod rotate;
mod route;
pub mod rules;
mod say;
mod shared;
mod side;
mod sight;
mod track;
mod wake;
mod window;

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Doorbell};
use crate::fault::{Fault, Origin};
use crate::pg::{Connector, Outbox};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
pub(crate) use shared::target;
use shared::{Board, Shared, Targets};
use wake::{Hints, Wake};

/// What a relay is made of.
pub struct Parts {
    /// The configuration; a new value is taken up while running.
    pub config: watch::Receiver<Arc<Config>>,
    /// Postgres.
    pub outbox: Outbox,
    /// Opens the session that listens; `None`: rows wait for the poll.
    pub listen: Option<Connector>,
    /// Numbers.
    pub metrics: Arc<Metrics>,
    /// Liveness and readiness.
    pub health: Health,
    /// This relay's name.
    pub id: String,
    /// What `/api/v1/status` shows.
    pub status: watch::Sender<serde_json::Value>,
    /// Ends the relay in good order: what `relay.drain` says is published, within `relay.drain_timeout`.
    pub stop: CancellationToken,
}

/// Relays until told to stop.
///
/// Fails only before it begins: if Postgres cannot be reached, or if this database is not the one that its ids are from.
pub async fn run(parts: Parts) -> Result<(), Fault> {
    let identity = parts.outbox.identity().await?;
    foreign_ids(identity.wrong.as_deref())?;
    let config = parts.config.borrow().clone();
    say_what_differs(&config, identity.max_prepared, parts.listen.is_some());

    let shared = Arc::new(Shared {
        config: parts.config.clone(),
        outbox: parts.outbox,
        metrics: parts.metrics,
        id: parts.id,
        installation: identity.installation,
        targets: Targets::default(),
        board: Board::default(),
        chores: chore::Chores::default(),
        kick: Notify::new(),
        back: Notify::new(),
        stop: CancellationToken::new(),
    });
    let hints = Arc::new(Hints::default());
    let lanes = TaskTracker::new();
    let wake = Wake {
        shared: shared.clone(),
        config: parts.config,
        lanes: lanes.clone(),
        health: parts.health.clone(),
        hints: hints.clone(),
        listen: parts.listen,
        bell_allowed: bell_allowed(&config, identity.max_prepared),
    };
    let chores = TaskTracker::new();
    chores.spawn(look::Looks { shared: shared.clone(), hints }.run());
    chores.spawn(mark::run(shared.clone()));
    chores.spawn(say::run(shared.clone()));
    chores.spawn(confirm::Confirms { shared: shared.clone() }.run());
    chores.spawn(receipts::run(shared.clone()));
    chores.spawn(rotate::run(shared.clone()));
    chores.spawn(gauge::run(shared.clone(), parts.status));
    chores.close();
    parts.health.ready();
    tracing::info!(event = "relay.ready", relay = shared.id, installation = %shared.installation);

    let ((), asked) = tokio::join!(wake.run(), drain::stop(&shared, parts.stop));
    lanes.close();
    let drained = drain::finish(&shared, asked, &lanes, &chores).await;
    tracing::info!(event = "relay.stopped", drained);
    Ok(())
}

/// Refuses a database whose stored transaction ids are another's.
fn foreign_ids(wrong: Option<&str>) -> Result<(), Fault> {
    wrong.map_or(Ok(()), |wrong| Err(foreign(wrong)))
}

fn foreign(wrong: &str) -> Fault {
    let message = format!(
        "{wrong}. Relaying would pass rows by or send them twice; run `outboxd repair` against this database first"
    );
    Fault::halt("postgres_identity", message).of(Origin::Postgres)
}

/// Asked again at every new session: a database may be replaced while the relay runs.
async fn identity(shared: &Shared) -> Result<(), Fault> {
    let identity = shared.outbox.identity().await?;
    foreign_ids(identity.wrong.as_deref())?;
    if identity.installation != shared.installation {
        return Err(Fault::halt(
            "postgres_identity",
            format!(
                "the database now holds the outbox {}, not {}; restart the relay if that is meant",
                identity.installation, shared.installation
            ),
        ));
    }
    Ok(())
}

fn bell_allowed(config: &Config, max_prepared: i64) -> bool {
    match config.database.doorbell {
        Doorbell::On => true,
        Doorbell::Off => false,
        Doorbell::Auto => max_prepared == 0,
    }
}

fn say_what_differs(config: &Config, max_prepared: i64, listening: bool) {
    if listening && !bell_allowed(config, max_prepared) {
        tracing::info!(
            event = "bell.unused",
            max_prepared_transactions = max_prepared,
            "the doorbell is not used (a transaction that has issued NOTIFY cannot be prepared); rows wait for the poll; \
             set database.doorbell = \"on\" if no producer uses PREPARE TRANSACTION"
        );
    }
}
