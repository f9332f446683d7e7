//! Named places at which a test may kill or stop the relay; nothing at all unless built with `failpoints`.
//!
//! `OUTBOXD_FAILPOINTS=publish.sent=abort@3,plan.committed=stop` aborts the process the third time it comes to
//! `publish.sent`, and stops it (as SIGSTOP does) the first time it comes to `plan.committed`.

/// Comes to a named place.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &str) {}

/// Comes to a named place.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};

    static PLACES: LazyLock<Mutex<HashMap<String, (String, u32)>>> = LazyLock::new(|| {
        let text = std::env::var("OUTBOXD_FAILPOINTS").unwrap_or_default();
        let places = text.split(',').filter_map(|item| {
            let (name, action) = item.split_once('=')?;
            let (action, nth) = action.split_once('@').unwrap_or((action, "1"));
            Some((name.trim().to_owned(), (action.to_owned(), nth.parse().ok()?)))
        });
        Mutex::new(places.collect())
    });

    let Ok(mut places) = PLACES.lock() else { return };
    let Some((action, left)) = places.get_mut(name) else { return };
    *left = left.saturating_sub(1);
    if *left > 0 {
        return;
    }
    let action = action.clone();
    places.remove(name);
    drop(places);
    tracing::warn!(event = "failpoint.hit", place = name, action);
    match action.as_str() {
        "stop" => {
            // The signal takes effect a moment later: the child stays until it has, so that nothing runs on from here.
            let wait =
                "kill -STOP $0; i=0; until grep -q '^State:.T' /proc/$0/status || [ $i -gt 999 ]; do i=$((i+1)); done";
            let pid = std::process::id().to_string();
            let _stopped = std::process::Command::new("sh").args(["-c", wait, &pid]).status();
        }
        _ => std::process::abort(),
    }
}
