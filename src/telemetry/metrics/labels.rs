//! The values of labels whose series exist before their first event, so that `increase()` sees that one, too.
//!
//! `tests/telemetry/labels.rs` holds these lists equal to what the sources say. All series of one queue together are at
//! most [`SERIES_PER_QUEUE`].

/// The most series that a queue has from the moment when it is found; `docs/metrics.md` says what comes later.
pub const SERIES_PER_QUEUE: usize = 81;

/// Why a queue was opened.
pub const TENURES: [&str; 6] = ["first", "kept", "rolled_back", "missing", "unknown", "adopted"];

/// What was lost, or may have been: what an opening found, the boundaries, the breaks of evidence, and a suspension.
pub const INCIDENTS: [&str; 13] = [
    "rolled_back",
    "missing",
    "unknown",
    "restart",
    "no_receipt",
    "wrongtype",
    "expires",
    "policy",
    "evicted",
    "vanished",
    "stream_gone",
    "stream_trimmed",
    "suspended",
];

/// Why rows were scheduled again. Breaks of evidence follow an incident of the same cause: their series begin with it.
pub const SCHEDULED: [&str; 5] = ["rolled_back", "missing", "unknown", "restart", "no_receipt"];

/// What a look at consumption came to.
pub const CONFIRMS: [&str; 6] = ["confirmed", "unchanged", "too_many", "unknown", "refused", "failed"];

/// Why a row cannot be published.
pub const REJECTS: [&str; 2] = ["malformed", "too_large"];

/// How attempts fail first when a server goes away or comes back empty. The other classes of
/// [`fault::CLASSES`](crate::fault::CLASSES) begin with their first failure: with all of them a queue would have twice
/// as many series, and one failure is no alert.
pub const FAILURES: [&str; 5] = ["connection", "timeout", "refused", "closed", "marker_missing"];

/// How a Redis target fails in an ordinary outage; other classes as with [`FAILURES`].
pub const REDIS_ERRORS: [&str; 6] = ["timeout", "refused", "closed", "loading", "readonly", "oom"];

/// Why a sleeping relay woke up.
pub const WAKEUPS: [&str; 3] = ["bell", "kick", "timer"];

/// The paths that the listener serves; any other is `other`.
pub const ROUTES: [&str; 5] = ["/livez", "/readyz", "/metrics", "/api/v1/status", "other"];
