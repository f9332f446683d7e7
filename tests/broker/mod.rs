//! The Redis side against real servers: what the scripts answer, what is written, and what every fault is called.

mod append;
mod faults;
mod harness;
mod model;
mod network;
mod open;
mod streams;
mod tls;
