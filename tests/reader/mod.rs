//! The reader of the log on a real server: what the proof (docs/proofs.md) and the model leave to Postgres.

mod cost;
mod driver;
mod far;
mod property;
mod rules;
mod writers;
