//! What differs between two configurations, and whether a running relay can take it over.

use std::collections::BTreeSet;

use super::Config;
use super::origin::Key;
use super::render;
use super::secret::Secret;

/// The keys that a reload would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(pub Vec<Change>);

/// One key that a reload would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, dotted.
    pub key: String,
    /// The value before and after; secrets redacted, `None` where it is not set.
    pub before: Option<String>,
    /// See `before`.
    pub after: Option<String>,
    /// Whether it takes effect only when the relay starts again.
    pub restart: bool,
}

impl Changes {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changes that a running relay cannot take over.
    pub fn needing_restart(&self) -> impl Iterator<Item = &Change> {
        self.0.iter().filter(|change| change.restart)
    }
}

pub(super) fn difference(old: &Config, new: &Config) -> Changes {
    let (before, after) = (render::leaves(old), render::leaves(new));
    let (old_secrets, new_secrets) = (old.secrets(), new.secrets());
    let secret =
        |all: &[(Key, &Secret)], key: &Key| all.iter().find(|(k, _)| k == key).map(|(_, secret)| (*secret).clone());
    let rotated = |key: &Key| {
        let (before, after) = (secret(&old_secrets, key), secret(&new_secrets, key));
        before.is_some() && after.is_some() && before != after
    };
    let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
    let changed = keys.into_iter().filter(|key| before.get(key) != after.get(key) || rotated(key));
    let shown = |value: Option<&serde_json::Value>| value.map(ToString::to_string);
    Changes(
        changed
            .map(|key| {
                // A secret that prints alike before and after changed in its credential alone: new connections use it.
                let credential = rotated(key) && before.get(key) == after.get(key);
                let restart = !credential && !reloads(key);
                Change { key: key.to_string(), before: shown(before.get(key)), after: shown(after.get(key)), restart }
            })
            .collect(),
    )
}

/// Whether a running relay takes a new value of this key over. It opens a queue again when something changes about
/// where its messages go or how they look; what the process is made of (its Postgres, its port, its name) stays.
fn reloads(key: &Key) -> bool {
    let path: Vec<&str> = key.0.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["log", "level"] | ["retention" | "defaults" | "queues" | "redis", ..] => true,
        // The secret is read through it; where the file lies does not matter.
        [.., file] if file.ends_with("_file") => true,
        ["relay", key] => *key != "id",
        _ => false,
    }
}
