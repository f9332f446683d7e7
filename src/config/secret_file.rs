//! Files that hold a secret each: read into the configuration, and watched, because they are replaced without a signal.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// More than any connection URL; less than what would hurt.
const LIMIT: u64 = 64 * 1024;

/// The files that a configuration was read from, and what they held, as a number that does not tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretFiles(BTreeMap<PathBuf, u64>);

impl SecretFiles {
    pub(super) fn add(&mut self, path: &Path, text: &str) {
        self.0.insert(path.to_owned(), mark(text));
    }

    /// The files that hold something else by now, as they are now; blocks on the disk. A file that cannot be read, or is
    /// empty, is being replaced, and counts when it can.
    #[must_use]
    pub fn changed(&self) -> Self {
        let now = self.0.keys().filter_map(|path| Some((path.clone(), mark(&read(path).ok()?))));
        Self(now.filter(|(path, mark)| self.0.get(path) != Some(mark)).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn mark(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What a file holds, without the line end; the error is what is wrong with it. Blocks on the disk.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let unreadable =
        |error: std::io::Error| format!("cannot be read ({error}): it must be a file that this process may read");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > LIMIT {
        return Err("is larger than 64 KiB: it must hold the URL and nothing else".to_owned());
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text =
        String::from_utf8(bytes).map_err(|_| "is not UTF-8: it must hold the URL and nothing else".to_owned())?;
    let trimmed = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if trimmed.is_empty() { Err("is empty: it must hold the URL".to_owned()) } else { Ok(trimmed.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_as_changed_when_it_holds_something_else_and_not_while_it_is_gone() {
        let folder = std::env::temp_dir().join(format!("outboxd-secret-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("url");
        std::fs::write(&path, "one\n").unwrap();
        let mut files = SecretFiles::default();
        files.add(&path, &read(&path).unwrap());
        assert!(files.changed().is_empty());
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(files.changed(), files.changed());
        assert!(!files.changed().is_empty());
        std::fs::remove_file(&path).unwrap();
        assert!(files.changed().is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
