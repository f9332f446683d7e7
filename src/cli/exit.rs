//! Exit codes, the same for every command.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It failed; the message says why.
    Failure = 1,
    /// The command line was not understood.
    Usage = 2,
    /// It worked and found something that needs attention.
    Findings = 3,
    /// Postgres or Redis cannot be reached.
    Unreachable = 69,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit as Self
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
