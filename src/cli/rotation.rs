//! Secrets that are replaced while the relay runs, with or without a signal to tell of it.
//!
//! Kubernetes swaps the files of a mounted Secret and tells nobody. Connections that are open go on; the next one uses
//! what the files hold. Certificates need none of this: each connection looks at their files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::{Config, SecretFiles};
use crate::pg::Connector;

/// How often the files of secrets are compared with what is in force.
const SECRETS: Duration = Duration::from_secs(10);

/// After how long secrets that were refused are tried again: perhaps something else was wrong, such as another file that
/// was being replaced.
const AGAIN: Duration = Duration::from_secs(60);

/// What was tried last, and when.
#[derive(Default)]
pub(super) struct Tried(Option<(SecretFiles, Instant)>);

impl Tried {
    /// Whether files that differ from what is in force are to be read; if so, they count as tried.
    fn is_due(&mut self, files: SecretFiles, now: Instant) -> bool {
        let recently = |(tried, at): &(SecretFiles, Instant)| *tried == files && now.duration_since(*at) < AGAIN;
        let due = !files.is_empty() && !self.0.as_ref().is_some_and(recently);
        if due {
            self.0 = Some((files, now));
        }
        due
    }
}

/// Waits until a file of the configuration in force holds another secret, which was not tried a moment ago.
pub(super) async fn rotated(config: &watch::Sender<Arc<Config>>, tried: &mut Tried) {
    loop {
        tokio::time::sleep(SECRETS).await;
        let files = config.borrow().secret_files().clone();
        if files.is_empty() {
            continue;
        }
        let Ok(now) = tokio::task::spawn_blocking(move || files.changed()).await else { continue };
        if tried.is_due(now, Instant::now()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_were_refused_are_tried_again_after_a_minute_and_others_at_once() {
        let folder = std::env::temp_dir().join(format!("outboxd-rotation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("url");
        let holding = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let env = [("DATABASE_URL_FILE", path.as_os_str()), ("REDIS_URL", "redis://127.0.0.1/1".as_ref())];
            Config::load(&crate::config::Sources::environment(env)).unwrap().secret_files().clone()
        };
        let (one, two) = (holding("postgres://a:one@h/d"), holding("postgres://a:two@h/d"));
        let (mut tried, now) = (Tried::default(), Instant::now());
        assert!(!tried.is_due(SecretFiles::default(), now), "nothing differs");
        assert!(tried.is_due(one.clone(), now));
        assert!(!tried.is_due(one.clone(), now + AGAIN / 2));
        assert!(tried.is_due(two, now + AGAIN / 2));
        assert!(tried.is_due(one.clone(), now + AGAIN / 2));
        assert!(tried.is_due(one, now + AGAIN * 2));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
