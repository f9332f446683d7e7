//! The command line: one file per command. Data goes to standard output, talk to standard error.

pub mod config;
pub mod exit;
pub mod migrate;
