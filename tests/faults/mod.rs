//! Everything that can go wrong around the relay, and that no committed row is missing, doubled or out of order for it.
//!
//! [`ledger`] holds what was committed against what stands in Redis; each other file is one kind of mishap.

mod another_server;
#[cfg(feature = "failpoints")]
mod crash;
mod defaults;
#[cfg(feature = "failpoints")]
mod goes_back;
mod isolation;
mod ledger;
mod moving;
mod poison;
mod postgres;
mod redis_faults;
mod redis_loss;
mod row_security;
mod sentinel;
mod sharing;
mod stage;
mod vanished;
mod window;
