//! The Redis side against real servers: what the scripts answer, what is written, and what every fault is called.

mod append;
mod faults;
mod harness;
mod model;
mod network;
mod observe;
mod observe_streams;
mod open;
mod receipts;
mod streams;
mod tls;
