//! What can go wrong on a row's way, reduced to what the corridor must decide.
//!
//! Drivers' errors are turned into a [`Fault`] at the edge (`pg`, `broker`, `wire`); the relay matches on nothing else.

use std::fmt;

/// All classes of faults: of Redis, of Postgres, of both and of the network, of the relay, of messages, of the start.
#[rustfmt::skip]
pub const CLASSES: [&str; 71] = [
    "ask", "busy", "clusterdown", "crossslot", "db_index", "denied", "key", "loading", "masterdown", "maxclients",
    "misconf", "moved", "no_eval", "no_group", "no_key", "noauth", "noperm", "noreplicas", "noscript", "oom",
    "readonly", "replica", "sentinel", "server_error", "tryagain", "unknown_command", "wrongpass", "wrongtype",
    "auth", "canceled", "database_missing", "deadlock", "lock_timeout", "permission", "pooler", "postgres_closed",
    "postgres_identity", "postgres_ledger", "read_only", "resources", "row_security", "schema", "serialization", "shutting_down",
    "starting_up", "statement", "too_many_connections", "transaction_state",
    "closed", "connect", "connection", "dns", "io", "protocol", "refused", "reset", "timeout", "tls",
    "config", "contended", "internal", "marker_doubt", "marker_foreign", "marker_gap", "marker_missing", "stopping",
    "reserved_name",
    "malformed", "too_large",
    "http_listen", "signals",
];

/// What the relay does about a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The server or the network is at fault: wait with back-off and open again. Burns nobody's attempts.
    Retry(Reason),
    /// One message is at fault: to `outbox_dead` with its reason; its batch goes on.
    Reject(Reason),
    /// Only an operator can mend it: this queue stops, loudly; the others go on.
    Halt(Reason),
}

/// Whose failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A message, a setting, or the protocol between relays.
    Relay,
    /// Postgres, or the way to it.
    Postgres,
    /// Redis, or the way to it.
    Redis,
}

/// Why: a class for metrics and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Whose failure it was.
    pub origin: Origin,
    /// One of [`CLASSES`]: a metric's label.
    pub class: &'static str,
    /// The cause, the setting and the next step; never a payload or a credential.
    pub message: String,
}

impl Fault {
    /// A failure of a server or the network.
    pub fn retry(class: &'static str, message: impl Into<String>) -> Self {
        Self::Retry(Reason::new(class, message.into()))
    }

    /// A message that cannot be published.
    pub fn reject(class: &'static str, message: impl Into<String>) -> Self {
        Self::Reject(Reason::new(class, message.into()))
    }

    /// A condition that waits for an operator.
    pub fn halt(class: &'static str, message: impl Into<String>) -> Self {
        Self::Halt(Reason::new(class, message.into()))
    }

    /// The same fault, said to be that server's.
    #[must_use]
    pub fn of(mut self, origin: Origin) -> Self {
        let (Self::Retry(reason) | Self::Reject(reason) | Self::Halt(reason)) = &mut self;
        reason.origin = origin;
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Retry(reason) | Self::Reject(reason) | Self::Halt(reason) => reason,
        }
    }
}

impl Reason {
    fn new(class: &'static str, message: String) -> Self {
        Self { origin: Origin::Relay, class, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason().class, self.reason().message)
    }
}

impl std::error::Error for Fault {}
