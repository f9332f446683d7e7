//! Names of keys, and where their values came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The path of a key: `["queues", "events", "format"]`. Printed dotted, with quotes where TOML needs them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Key(pub(super) Vec<String>);

impl Key {
    pub(super) fn of(segments: &[&str]) -> Self {
        Self(segments.iter().map(|s| (*s).to_owned()).collect())
    }

    pub(super) fn child(&self, segment: &str) -> Self {
        let mut path = self.0.clone();
        path.push(segment.to_owned());
        Self(path)
    }

    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    pub(super) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    /// Reads the dotted form; a segment with other characters than letters, digits, `_` and `-` stands in double quotes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut path = Vec::new();
        let mut rest = text.trim();
        loop {
            let segment = if let Some(quoted) = rest.strip_prefix('"') {
                let (segment, after) = quoted.split_once('"').ok_or("a quote in its key is not closed")?;
                rest = after;
                segment
            } else {
                let end = rest.find('.').unwrap_or(rest.len());
                let (segment, after) = rest.split_at(end);
                rest = after;
                segment.trim()
            };
            if segment.is_empty() {
                return Err("its key has an empty part: write section.key=value".to_owned());
            }
            path.push(segment.to_owned());
            if rest.is_empty() {
                return Ok(Self(path));
            }
            rest = rest.strip_prefix('.').ok_or("something follows a closing quote in its key")?;
        }
    }

    /// The environment variable that sets this key.
    pub(super) fn variable(&self) -> String {
        format!("OUTBOXD_{}", self.0.join("__").to_uppercase())
    }
}

/// Whether a segment needs no quotes in TOML.
fn is_bare(segment: &str) -> bool {
    !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if is_bare(segment) { f.write_str(segment)? } else { write!(f, "{segment:?}")? }
        }
        Ok(())
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A TOML file.
    File(PathBuf),
    /// An environment variable, by its real name.
    Variable(String),
    /// `--set key=value`.
    Set,
    /// A flag of the command line, such as `--listen`.
    Flag(String),
    /// The file that a `*_file` key names, and where that key came from.
    SecretFile(PathBuf, Box<Origin>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
            Self::Set => f.write_str("--set"),
            Self::SecretFile(path, named_by) => write!(f, "{} (named by {named_by})", path.display()),
        }
    }
}

/// Where each value that is no default came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(pub(super) BTreeMap<Key, Origin>);

impl Origins {
    /// Where the value of `key` came from; [`Origin::Default`] if nothing sets it.
    pub fn of(&self, key: &Key) -> &Origin {
        // A list is set as a whole: an element's origin is that of the list.
        (1..=key.0.len())
            .rev()
            .find_map(|length| self.0.get(&Key(key.0[..length].to_vec())))
            .unwrap_or(&Origin::Default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_it_was_printed() {
        for text in ["relay.batch_size", "queues.\"a.b c\".format", "redis.blue-1.url"] {
            assert_eq!(Key::parse(text).unwrap().to_string(), text);
        }
        assert!(Key::parse("relay..x").is_err());
        assert!(Key::parse("queues.\"a.b").is_err());
        assert!(Key::parse("queues.\"a\"b").is_err());
        assert!(Key::parse("").is_err());
    }
}
