//! One binary with everything that needs more than one function: real servers, the real program, real workers.
//!
//! One module per behaviour; `common` starts what they need.
#![expect(unreachable_pub, reason = "everything here is one binary; `pub` says that another module uses it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]
#![expect(clippy::print_stderr, reason = "a failed test shows the end of its servers' logs")]

mod broker;
mod common;
mod config;
mod connect;
mod consumption;
mod demo;
mod doorbell;
mod faults;
mod formats;
mod house;
mod interop;
mod matrix;
mod migrate;
mod model;
mod producers;
mod protocol;
mod reader;
mod sandbox;
mod segments;
mod surfaces;
mod telemetry;
mod torture;
mod wire;
