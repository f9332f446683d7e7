//! What is wrong with a configuration: all of it at once, each with the place it came from.

use std::fmt;

use serde::Serialize;

use super::origin::{Key, Origin};

/// One thing that is wrong, or that deserves a warning. It never repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The key in question, dotted; empty if the problem lies with a whole file or argument.
    pub key: String,
    /// The place: a file, an environment variable by its real name, `--set`, a flag, or `default`.
    pub origin: String,
    /// The cause and the next step, as one sentence about the key.
    pub message: String,
}

impl Problem {
    pub(super) fn new(key: &Key, origin: &Origin, message: impl Into<String>) -> Self {
        Self { key: key.to_string(), origin: origin.to_string(), message: message.into() }
    }

    pub(super) fn whole(origin: &Origin, message: impl Into<String>) -> Self {
        Self { key: String::new(), origin: origin.to_string(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), self.origin.as_str()) {
            ("", origin) => write!(f, "{origin}: {}", self.message),
            (key, "default") => write!(f, "{key}: {}", self.message),
            (key, origin) => write!(f, "{origin}: {key}: {}", self.message),
        }
    }
}

/// Every problem that was found, never only the first; at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} {}:", if count == 1 { "error" } else { "errors" })?;
        for problem in &self.0 {
            writeln!(f, "  {problem}")?;
        }
        f.write_str("`outboxd config example` prints every key with its meaning")
    }
}
