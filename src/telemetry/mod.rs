//! What an operator sees of a running relay: logs, metrics, health, and the HTTP listener that serves them.

pub mod health;
pub mod http;
pub mod logs;
pub mod metrics;
