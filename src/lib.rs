//! A transactional outbox relay: from a commit in PostgreSQL to an unmodified worker behind Redis.
//!
//! The walk of one row: a producer inserts it into `outbox`; the [`relay`] plans it into a batch of the ledger through
//! [`pg`], encodes it with [`wire`] and publishes it through [`broker`]. [`config`] says how, [`telemetry`] what
//! happened, [`cli`] is what people type. [`sandbox`] starts private servers, for the demo, the tests and the benchmarks.

pub mod batch;
pub mod broker;
pub mod cli;
pub mod config;
pub mod failpoint;
pub mod fault;
pub mod pg;
pub mod relay;
pub mod sandbox;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod wire;
