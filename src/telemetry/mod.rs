//! What an operator sees of a running relay: logs, metrics, health, and the HTTP listener that serves them.

pub mod health;
pub mod http;
pub mod journal;
pub mod logs;
pub mod metrics;
pub mod systemd;

pub use health::Health;
pub use http::Server;
pub use logs::Logs;
pub use metrics::Metrics;
