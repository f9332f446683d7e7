//! How commands reach Postgres.

use std::time::Duration;

use super::exit::Exit;
use super::{migrate, say};
use crate::config::{Config, Sources};
use crate::fault::Fault;
use crate::pg::{Connector, Database, Outbox, PoolSettings, Schemas};

/// How long a migration that is no command of its own waits for another one, and for transactions that keep a table locked.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(60);

/// A pool as the configuration says.
pub(super) fn database(config: &Config) -> Result<Database, Fault> {
    let settings = &config.database;
    let connector = Connector::new("database.url", settings.url.expose(), &settings.application_name)?
        .connect_timeout(settings.connect_timeout.get());
    let pool = PoolSettings {
        size: settings.pool_size,
        statement_timeout: settings.statement_timeout.get(),
        wait_timeout: settings.statement_timeout.get(),
    };
    Database::new(connector, &pool)
}

/// Where the outbox is in the database.
pub(super) fn schemas(config: &Config) -> Schemas {
    Schemas::new(&config.database.schema, &config.database.internal_schema)
}

/// Where notifications are heard.
pub(super) fn listener(config: &Config) -> Result<Connector, Fault> {
    let settings = &config.database;
    let setting = if settings.listen_url.is_some() { "database.listen_url" } else { "database.url" };
    Ok(Connector::new(setting, settings.listen().expose(), &settings.application_name)?
        .connect_timeout(settings.connect_timeout.get()))
}

/// The outbox of a command that asks Postgres a few things and ends.
pub(super) fn outbox(sources: &Sources) -> Result<Outbox, Exit> {
    Ok(outbox_and_config(sources)?.0)
}

/// [`outbox`] for a command that goes by other settings, too.
pub(super) fn outbox_and_config(sources: &Sources) -> Result<(Outbox, Config), Exit> {
    let config = super::load(&Sources { partial: true, ..sources.clone() })?;
    if config.database.url.is_empty() {
        say(&format!("outboxd: {}", migrate::NO_DATABASE));
        return Err(Exit::Config);
    }
    match database(&config) {
        Ok(database) => Ok((Outbox::new(database, &schemas(&config)), config)),
        Err(fault) => Err(failed(&fault)),
    }
}

/// Says what went wrong and with which exit code the command ends.
pub(super) fn failed(fault: &Fault) -> Exit {
    say(&format!("outboxd: {}", fault.reason().message));
    exit(fault)
}

/// With which exit code a command ends that has said already what went wrong.
pub(super) fn exit(fault: &Fault) -> Exit {
    match fault {
        Fault::Retry(_) => Exit::Unreachable,
        Fault::Halt(reason) if reason.class == "config" => Exit::Config,
        Fault::Halt(_) | Fault::Reject(_) => Exit::Failure,
    }
}

/// What `outboxd migrate` needs: it works without any Redis, and `sql` without any database.
pub(super) fn migrate_settings(sources: &Sources) -> Result<migrate::MigrateSettings, Exit> {
    let config = super::load(&Sources { partial: true, ..sources.clone() })?;
    let url = config.database.url.expose();
    Ok(migrate::MigrateSettings { url: (!url.is_empty()).then(|| url.to_owned().into()), schemas: schemas(&config) })
}
