//! The Redis side: one atomic script that publishes, one way back in, and the looks that notice loss.
//!
//! This is the only folder that names the `redis` crate. Nothing here retries, reconnects or decides what a queue
//! does next: every uncertain event is returned as a [`Fault`](crate::fault::Fault) and the relay opens again.
//!
//! - [`Target`] is a server as the configuration names it, [`Link`] one connection to it;
//! - [`append`] moves a queue from one position of its ledger to a later one, messages and marker together;
//! - [`observe`] and [`open()`] are the way back in after anything uncertain;
//! - [`signs()`] tells other relays that this one looks, and which of them do;
//! - [`look()`] reads all markers of a server and its health at once, [`depth()`] counts what stands in a queue;
//! - [`snapshot()`] tells which rows stand somewhere in Redis, marker and messages of one instant; [`evidence`] judges
//!   from two of them whether absence may be believed;
//! - [`receipts`] drains the stream that workers write receipts to;
//! - [`decide`] holds the rules as pure functions, for the relay and for the models.

mod connect;
pub mod decide;
mod depth;
pub mod evidence;
mod faults;
mod greet;
mod info;
mod inspect;
mod look;
mod marker;
mod open;
mod publish;
pub mod receipts;
mod scripts;
mod sentinel;
mod signs;
mod snapshot;
mod tls;
mod told;
mod url;

pub use connect::{Link, Protection, Target};
pub use depth::{depth, known_depth};
pub use faults::nothing_applied;
pub use info::{Incarnation, Role, Server};
pub use inspect::{Inspection, Kept, inspect, kept};
pub use look::{Look, Spot, look};
pub use marker::{Found, field, marker_key, remove_marker};
pub use open::{Observed, Opened, observe, open};
pub use publish::{Appended, Batch, append, most_rows};
pub use signs::signs;
pub use snapshot::{Present, Snapshot, SnapshotAsk, snapshot};
