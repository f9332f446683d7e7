//! What one batch asks of Redis, and where a queue stands there.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The kind of Redis structure that a queue's messages go to. The publish script checks it before it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A list.
    List,
    /// A stream.
    Stream,
}

/// One Redis key that a format writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The whole key, prefix included.
    pub name: Vec<u8>,
    /// What must be there, if anything is.
    pub kind: KeyKind,
}

/// One message and how it enters its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Index into the keys of the queue's format.
    pub key: usize,
    /// The bytes.
    pub entry: Entry,
}

/// How a message enters its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `LPUSH`: consumers take from the right.
    Left(Vec<u8>),
    /// `RPUSH`: consumers take from the left.
    Right(Vec<u8>),
    /// `XADD`, field and value in turn.
    Stream(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Entry {
    /// The payload's size in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Left(bytes) | Self::Right(bytes) => bytes.len(),
            Self::Stream(fields) => fields.iter().map(|(k, v)| k.len() + v.len()).sum(),
        }
    }
}

/// The value of a queue's marker field: how far down the ledger one Redis dataset has come, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Under which tenure it was written.
    pub tenure: Uuid,
    /// The newest ledger number that this dataset holds.
    pub position: i64,
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tenure.simple(), self.position)
    }
}

/// The text of a marker field that no relay of this protocol wrote.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a marker: {0:?}")]
pub struct NotAMarker(String);

impl FromStr for Marker {
    type Err = NotAMarker;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (tenure, position) = text.split_once(':')?;
            let position = position.parse().ok().filter(|p| *p >= 0)?;
            Some(Self { tenure: Uuid::try_parse(tenure).ok()?, position })
        };
        parse().ok_or_else(|| NotAMarker(text.to_owned()))
    }
}
