//! Whether a message's absence from Redis may be believed. Pure.
//!
//! A snapshot carries [`Facts`] beside the messages. Two of them, one after the other, may show that something other
//! than a consumer removed messages: then absence proves nothing, and what is absent must be sent again.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::info::Server;

/// What a snapshot saw beside messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// What the server says about itself, at the instant of the snapshot.
    pub server: Server,
    /// The queue's keys and then those of messages in flight, in the format's order.
    pub keys: Vec<KeyFacts>,
    /// Messages in the queue's own lists, or entries in its stream; what consumers hold in other keys is not counted.
    pub length: u64,
    /// How often clients took from any list of the server. `None` if it does not tell.
    pub pops: Option<Pops>,
    /// The stream, if the queue is one.
    pub stream: Option<StreamFacts>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// The whole key.
    pub key: String,
    /// The type that it must have: `list`, `stream` or `hash`.
    pub wanted: &'static str,
    /// The type that it has; `none` if there is no such key.
    pub found: String,
    /// What is left until the server drops it.
    pub ttl: Option<Duration>,
}

impl KeyFacts {
    /// Whether it holds something that the format cannot use.
    pub fn is_wrong(&self) -> bool {
        self.found != "none" && self.found != self.wanted
    }
}

/// Calls of commands that take from lists, since the process started or its statistics were reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pops {
    /// Calls that take one message at most.
    pub single: u64,
    /// Calls that may take any number.
    pub many: u64,
}

impl Pops {
    /// LREM among them: consumers acknowledge with it, and no two messages are equal. Where callers' own bytes are, it may
    /// take several, and what then seems to have vanished is sent again.
    const SINGLE: [&str; 7] = ["brpop", "blpop", "brpoplpush", "rpoplpush", "lmove", "blmove", "lrem"];
    const MANY: [&str; 5] = ["lpop", "rpop", "lmpop", "blmpop", "ltrim"];

    /// Reads `INFO commandstats`.
    pub(super) fn parse(info: &str) -> Option<Self> {
        let mut pops = Self::default();
        let mut told = false;
        for line in info.lines() {
            let Some((name, calls)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls=")) else {
                continue;
            };
            told = true;
            let calls = calls.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or(0);
            if Self::SINGLE.contains(&name) {
                pops.single += calls;
            } else if Self::MANY.contains(&name) {
                pops.many += calls;
            }
        }
        told.then_some(pops)
    }
}

/// A stream's entry id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId(pub u64, pub u64);

impl FromStr for EntryId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, number) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self(time.parse()?, number.parse()?))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// A stream as it says about itself. Servers before 7.0 tell less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamFacts {
    /// There is such a key.
    pub exists: bool,
    /// The newest id it ever gave out.
    pub last_generated: EntryId,
    /// The highest id that was deleted by name (XDEL).
    pub max_deleted: Option<EntryId>,
    /// How many entries were ever added.
    pub added: Option<u64>,
    /// The oldest entry.
    pub first: Option<EntryId>,
    /// Entries that were trimmed away before the group that lags most had read them, as far as the server can tell.
    pub unread_trimmed: u64,
    /// An entry was deleted that some group has not read.
    pub unread_deleted: bool,
}

/// Why absence cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// A key holds something else. Lasts as long as it does.
    WrongType {
        /// The key.
        key: String,
        /// What it holds.
        found: String,
    },
    /// The server will drop a key by itself. Lasts as long as the key can expire.
    Expires {
        /// The key.
        key: String,
        /// What is left.
        ttl: Duration,
    },
    /// From now on the server may drop any key.
    Policy(String),
    /// The server dropped keys since the last look.
    Evicted(u64),
    /// More messages vanished than clients took.
    Vanished {
        /// Messages that are gone.
        missing: u64,
        /// The most that can have been taken.
        pops: u64,
    },
    /// The stream was deleted, or replaced by a younger one.
    StreamGone,
    /// Entries were removed before some group had read them.
    StreamTrimmed,
}

impl Break {
    /// The name of the kind, for metrics and incidents.
    pub fn class(&self) -> &'static str {
        match self {
            Self::WrongType { .. } => "wrongtype",
            Self::Expires { .. } => "expires",
            Self::Policy(_) => "policy",
            Self::Evicted(_) => "evicted",
            Self::Vanished { .. } => "vanished",
            Self::StreamGone => "stream_gone",
            Self::StreamTrimmed => "stream_trimmed",
        }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongType { key, found } => {
                write!(f, "the key {key:?} holds a {found}; move it away, or set another key for this queue")
            }
            Self::Expires { key, ttl } => write!(
                f,
                "the key {key:?} expires in {} s and takes its messages with it; remove the expiry (PERSIST; with kombu the \
                 queue argument x-expires)",
                ttl.as_secs()
            ),
            Self::Policy(policy) => write!(
                f,
                "maxmemory-policy is now {policy}, by which the server may drop a queue; set it to noeviction, or use \
                 confirm = \"receipt\""
            ),
            Self::Evicted(keys) => write!(
                f,
                "the server dropped {keys} keys for want of memory, perhaps of this queue; raise maxmemory, or set \
                 maxmemory-policy to noeviction"
            ),
            Self::Vanished { missing, pops } => write!(
                f,
                "{missing} messages vanished while clients took {pops} at most; did somebody delete or purge the queue?"
            ),
            Self::StreamGone => f.write_str("the stream was deleted; did somebody delete or purge the queue?"),
            Self::StreamTrimmed => f.write_str(
                "entries were removed from the stream before every group had read them; trim behind the groups \
                 (XTRIM MINID), not by length",
            ),
        }
    }
}

/// What breaks the evidence between two snapshots of one queue, worst first. `None`: absence may be believed as far as
/// can be told.
///
/// `pushed` counts what the relay itself put into the queue between the markers of the two. What others pushed only
/// makes fewer messages seem to vanish. Across a restart or failover nothing is claimed but what holds now.
pub fn judge(before: &Facts, after: &Facts, pushed: u64) -> Option<Break> {
    let lasting = || {
        let wrong = after.keys.iter().find(|key| key.is_wrong());
        let wrong = wrong.map(|key| Break::WrongType { key: key.key.clone(), found: key.found.clone() });
        wrong.or_else(|| {
            let (key, ttl) = after.keys.iter().find_map(|key| Some((key.key.clone(), key.ttl?)))?;
            Some(Break::Expires { key, ttl })
        })
    };
    let policy = || match (unsafe_policy(&before.server), unsafe_policy(&after.server)) {
        (None, Some(policy)) => Some(Break::Policy(policy.to_owned())),
        _ => None,
    };
    let same = before.server.incarnation == after.server.incarnation;
    let since =
        || evicted(before, after).or_else(|| stream(before, after, pushed)).or_else(|| vanished(before, after, pushed));
    lasting().or_else(policy).or_else(|| if same { since() } else { None })
}

/// The eviction policy, if by it the server may drop any key: then absence never proves anything.
pub fn unsafe_policy(server: &Server) -> Option<&str> {
    let policy = server.maxmemory_policy.as_str();
    // Other servers have policies of their own (Dragonfly: `eviction`): what is not known to be harmless is not.
    let harmless = policy.is_empty() || policy == "noeviction" || policy.starts_with("volatile-");
    (server.maxmemory > 0 && !harmless).then_some(policy)
}

/// Under a `volatile-*` policy only keys that can expire are dropped, and ours cannot, or [`Break::Expires`] says so.
fn evicted(before: &Facts, after: &Facts) -> Option<Break> {
    let volatile = |facts: &Facts| facts.server.maxmemory_policy.starts_with("volatile");
    let keys = after.server.evicted_keys.saturating_sub(before.server.evicted_keys);
    (keys > 0 && !(volatile(before) && volatile(after))).then_some(Break::Evicted(keys))
}

/// A stream counts what was ever added to it: one that was deleted and filled again, as much as it held before, lacks
/// what the relay has added since.
fn stream(before: &Facts, after: &Facts, pushed: u64) -> Option<Break> {
    let (before, after) = (before.stream?, after.stream?);
    let wanted = if before.exists { before.added } else { Some(0) }.map(|added| added + pushed);
    let fewer = wanted.zip(after.added).is_some_and(|(wanted, added)| added < wanted);
    let gone = (before.exists || pushed > 0) && !after.exists;
    if gone || fewer || after.last_generated < before.last_generated {
        return Some(Break::StreamGone);
    }
    let deleted = after.unread_deleted && after.max_deleted > before.max_deleted;
    (deleted || after.unread_trimmed > before.unread_trimmed).then_some(Break::StreamTrimmed)
}

/// A client that was blocked at the first look takes one message by a call that was counted before it.
fn vanished(before: &Facts, after: &Facts, pushed: u64) -> Option<Break> {
    if after.stream.is_some() {
        return None;
    }
    let missing = (before.length + pushed).saturating_sub(after.length);
    let (first, second) = (before.pops?, after.pops?);
    if second.many.cmp(&first.many) != Ordering::Equal || second.single < first.single {
        return None;
    }
    let pops = second.single - first.single + before.server.blocked_clients;
    (missing > pops).then_some(Break::Vanished { missing, pops })
}

#[cfg(test)]
mod tests;
