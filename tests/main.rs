//! One binary with everything that needs more than one function: real servers, the real program, real workers.
//!
//! One module per behaviour; `common` starts what they need.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod config;
mod sandbox;
mod wire;
