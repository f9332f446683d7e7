//! Secrets that are replaced while the relay runs, with or without a signal to tell of it.
//!
//! Kubernetes swaps the files of a mounted Secret and tells nobody. Connections that are open go on; the next one uses
//! what the files hold. Certificates need none of this: each connection looks at their files.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Config, SecretFiles};
use crate::pg::Connector;

/// How often the files of secrets are compared with what is in force.
const SECRETS: Duration = Duration::from_secs(10);

/// Waits until a file of the configuration in force holds another secret, which was not tried before.
pub(super) async fn rotated(config: &watch::Sender<Arc<Config>>, tried: &mut SecretFiles) {
    loop {
        tokio::time::sleep(SECRETS).await;
        let files = config.borrow().secret_files().clone();
        if files.is_empty() {
            continue;
        }
        let Ok(now) = tokio::task::spawn_blocking(move || files.changed()).await else { continue };
        // What was refused once is refused again, and was told.
        if !now.is_empty() && now != *tried {
            *tried = now;
            tracing::info!(event = "config.secret_changed", "a file of a secret holds another one");
            return;
        }
    }
}

/// Hands changed passwords to whoever opens connections to Postgres, until the process ends.
pub(super) async fn renew(mut config: watch::Receiver<Arc<Config>>, work: Connector, listen: Connector) {
    while config.changed().await.is_ok() {
        let database = config.borrow_and_update().database.clone();
        for (connector, url) in [(&work, &database.url), (&listen, database.listen())] {
            // Another user, host or database needs a restart, which was said when the configuration was read.
            if let Err(fault) = connector.renew(url.expose()) {
                tracing::error!(event = "config.refused", reason = %fault);
            }
        }
    }
}
