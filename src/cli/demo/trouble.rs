//! Why the demo could not be played to its end.

use crate::fault::Fault;
use crate::pg::PgFault;
use crate::pg::migrate::MigrateError;
use crate::sandbox::SandboxError;

/// What ended the demo early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Whoever watches has seen enough: Ctrl-C, or SIGTERM.
    Interrupted,
    /// A sentence that says what went wrong.
    Failed(String),
}

impl Trouble {
    pub(super) fn failed(sentence: impl Into<String>) -> Self {
        Self::Failed(sentence.into())
    }
}

impl From<SandboxError> for Trouble {
    fn from(error: SandboxError) -> Self {
        Self::Failed(error.0)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.reason().message.clone())
    }
}

impl From<PgFault> for Trouble {
    fn from(fault: PgFault) -> Self {
        fault.fault.into()
    }
}

impl From<MigrateError> for Trouble {
    fn from(error: MigrateError) -> Self {
        Fault::from(error).into()
    }
}
