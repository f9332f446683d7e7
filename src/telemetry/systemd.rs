//! What systemd is told: ready, reloading, alive, stopping. Without `NOTIFY_SOCKET` in the environment all of it is nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::Health;
use super::health::Verdict;

/// Says that the relay is ready once it is, and that it lives as often as `WatchdogSec=` asks, until it stops.
pub async fn run(health: Health, stop: CancellationToken) {
    say(&[NotifyState::Status("waiting for PostgreSQL")]);
    // Half of the time allowed: one beat may come late.
    let beat = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut ready = false;
    loop {
        tokio::select! {
            () = health.when_ready(), if !ready => {
                ready = true;
                say(&[NotifyState::Ready, NotifyState::Status("relaying")]);
            }
            () = tokio::time::sleep(beat.unwrap_or(Duration::MAX)) => {
                // A loop that hangs is not spoken for.
                if health.live() == Verdict::Well {
                    say(&[NotifyState::Watchdog]);
                }
            }
            () = stop.cancelled() => break,
        }
    }
}

/// The configuration is read again; [`reloaded`] follows.
pub fn reloading() {
    // `Type=notify-reload` wants to know when; other types leave it unread.
    let now = NotifyState::monotonic_usec_now().ok();
    say(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
}

/// It has been read again, whether or not it was taken up.
pub fn reloaded() {
    say(&[NotifyState::Ready]);
}

/// The relay lets go of its queues and ends.
pub fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn say(state: &[NotifyState<'_>]) {
    // Whoever started it may have gone; the relay works all the same.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(event = "systemd.deaf", reason = %error);
    }
}
