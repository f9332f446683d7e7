//! A transactional outbox relay: from a commit in PostgreSQL to an unmodified worker behind Redis.
pub mod batch;
pub mod broker;
pub mod cli;
pub mod config;
pub mod fault;
pub mod pg;
pub mod sandbox;
pub mod task;
pub mod wire;
