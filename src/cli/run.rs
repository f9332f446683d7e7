//! `outboxd run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::config::SourceArgs;
use super::exit::Exit;
use super::{connect, load, rotation, say};
use crate::config::{Config, Sources};
use crate::fault::Fault;
use crate::pg::{Answered, Database, Outbox, migrate};
use crate::relay::{self, Parts};
use crate::telemetry::{Health, Logs, Metrics, Server, systemd};

/// The arguments of `outboxd run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Apply migrations first
    #[arg(long)]
    migrate: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
pub(super) async fn run(args: RunArgs) -> Exit {
    let sources = args.sources.clone().sources();
    let config = match load(&sources) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let logs = Logs::init(&config.log);
    end_at_a_panic();
    for warning in config.warnings() {
        tracing::warn!(event = "config.warning", "{warning}");
    }
    match Box::pin(serve(&args, sources, config, logs)).await {
        Ok(()) => Exit::Ok,
        Err(fault) => {
            let reason = fault.reason();
            tracing::error!(event = "relay.failed", class = reason.class, reason = %reason.message, "the relay cannot run");
            connect::exit(&fault)
        }
    }
}

/// A lane that panicked would leave its queue standing while everything looks well. The process ends instead: whatever
/// started it starts it again, and what was under way is safe in the ledger.
fn end_at_a_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // Not its words: they may quote data.
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            event = "relay.panicked",
            place,
            "a fault of outboxd, please report it; the relay ends at once"
        );
        std::process::abort();
    }));
}

async fn serve(args: &RunArgs, sources: Sources, config: Config, logs: Logs) -> Result<(), Fault> {
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::new());
    let health = Health::with_grace(config.http.ready_grace.get());
    let id = config.relay_id();
    tracing::info!(
        event = "relay.starting",
        relay = id,
        version = env!("CARGO_PKG_VERSION"),
        schema = config.database.schema,
        queues = config.queues.len()
    );

    let supervised = tokio::spawn(systemd::run(health.clone(), stop.clone()));
    let (status, shown) = watch::channel(serde_json::json!({ "relay": id }));
    let (changes, config_seen) = watch::channel(Arc::new(config));
    tokio::spawn(signals(sources, changes, logs, metrics.clone(), health.clone(), stop.clone())?);

    let config = config_seen.borrow().clone();
    let server = Server::start(&config.http, metrics.clone(), health.clone(), shown, stop.clone()).await?;
    if let Some(address) = server.address() {
        tracing::info!(event = "http.listening", %address);
    }
    let database = watched(connect::database(&config)?, &metrics);
    let ready = prepare(args, &config, &database, &health, &stop).await?;
    let outcome = if ready {
        let listen = connect::listener(&config)?;
        tokio::spawn(rotation::renew(config_seen.clone(), database.connector().clone(), listen.clone()));
        let parts = Parts {
            config: config_seen,
            outbox: Outbox::new(database, &connect::schemas(&config)),
            listen: Some(listen),
            metrics,
            health,
            id,
            status,
            stop: stop.clone(),
        };
        Box::pin(relay::run(parts)).await
    } else {
        Ok(())
    };
    stop.cancel();
    server.stopped().await;
    supervised.abort();
    outcome
}

/// Has every statement counted and timed.
fn watched(database: Database, metrics: &Arc<Metrics>) -> Database {
    let (sent, answered) = (Arc::clone(metrics), Arc::clone(metrics));
    let told = move |answer: Answered| {
        answered.statement_answered(answer.name, answer.took, answer.failed);
        answer.waited.into_iter().for_each(|waited| answered.pool_waited(waited));
    };
    database.on_statement(Arc::new(move |name| sent.statement(name))).on_answer(Arc::new(told))
}

/// Waits for Postgres, applies or checks the schema; `false` if the relay was told to stop meanwhile.
async fn prepare(
    args: &RunArgs,
    config: &Config,
    database: &Database,
    health: &Health,
    stop: &CancellationToken,
) -> Result<bool, Fault> {
    let mut pause = Duration::from_millis(100);
    let mut said = false;
    loop {
        let fault = match Box::pin(schema(args, config, database)).await {
            Ok(()) => return Ok(true),
            Err(Fault::Retry(reason)) => reason,
            // Mended in the database, like an outage; nobody has to start the relay again.
            Err(Fault::Halt(reason)) if reason.class == "row_security" => {
                health.unready(&reason.message);
                reason
            }
            Err(fault) => return Err(fault),
        };
        health.beat();
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(event = "postgres.down", class = fault.class, reason = %fault.message,
                "Postgres cannot be used yet; the relay tries again");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(false),
        }
        pause = (pause * 2).min(config.relay.retry_max.get());
    }
}

async fn schema(args: &RunArgs, config: &Config, database: &Database) -> Result<(), Fault> {
    let schemas = connect::schemas(config);
    if args.migrate {
        let report = migrate::up(database.connector(), &schemas, connect::LOCK_WAIT).await.map_err(Fault::from)?;
        if let Some(lost) = migrate::lost(&report.steps, &schemas) {
            tracing::warn!(event = "log.lost", reason = lost, "the log was dropped, and is made again");
        }
    }
    Outbox::new(database.clone(), &schemas).all_is_seen().await?;
    migrate::check(database.connector(), &schemas).await
}

/// Turns signals into what they ask for. Fails only if the process may not handle signals at all.
fn signals(
    sources: Sources,
    changes: watch::Sender<Arc<Config>>,
    logs: Logs,
    metrics: Arc<Metrics>,
    health: Health,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()>, Fault> {
    let on = |kind: SignalKind| -> Result<Signal, Fault> {
        signal(kind).map_err(|error| Fault::halt("signals", format!("cannot handle signals: {error}")))
    };
    let (mut term, mut int, mut hup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    Ok(async move {
        let mut tried = rotation::Tried::default();
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hup.recv() => reload(&sources, &changes, &logs, &metrics),
                () = rotation::rotated(&changes, &mut tried) => reload(&sources, &changes, &logs, &metrics),
                () = stop.cancelled() => return,
            }
        }
        tracing::info!(event = "relay.stopping");
        health.draining();
        systemd::stopping();
        stop.cancel();
        // Asked twice, it goes at once: what is under way is safe in the ledger.
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        say("outboxd: stopped at once");
        std::process::exit(130);
    })
}

/// A new configuration is taken up only if it is right as a whole.
fn reload(sources: &Sources, changes: &watch::Sender<Arc<Config>>, logs: &Logs, metrics: &Metrics) {
    systemd::reloading();
    // Files are read again; the environment of a process does not change.
    match super::config::load_usable(sources) {
        Ok(new) => {
            let difference = changes.borrow().difference(&new);
            for change in difference.needing_restart() {
                tracing::warn!(
                    event = "config.needs_restart",
                    key = change.key,
                    "this change takes effect at the next start"
                );
            }
            logs.set_level(&new.log);
            let keys: Vec<&str> = difference.0.iter().map(|change| change.key.as_str()).collect();
            tracing::info!(event = "config.reloaded", changed = keys.join(", "));
            metrics.config_reloaded(true);
            changes.send_replace(Arc::new(new));
        }
        Err(errors) => {
            metrics.config_reloaded(false);
            tracing::error!(
                event = "config.refused",
                "the configuration was not taken up, the old one goes on: {errors}"
            );
        }
    }
    systemd::reloaded();
}
