//! What a look leaves in Postgres for the relay that opens the queue next, and what that one can tell from it.
//!
//! Two looks of one relay are compared as they are. Between the last look of one tenure and the first of the next, only
//! what is written here is left of the former: enough to tell that something other than a consumer removed messages.

use serde::{Deserialize, Serialize};

use crate::broker::evidence::{Break, EntryId, Facts, Pops, StreamFacts, judge};

/// Stored as JSON with the newest checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Baseline {
    incarnation: String,
    /// Where the marker stood.
    position: i64,
    length: u64,
    /// Calls that take one message at most, and calls that take any number; none: the server does not tell.
    pops: Option<(u64, u64)>,
    blocked_clients: u64,
    evicted_keys: u64,
    entries_added: Option<u64>,
    last_entry: Option<String>,
    /// How many messages were pushed between that look and the position from which the tenure goes on, at the least;
    /// Postgres counts them when it opens. `None`: too many.
    #[serde(skip_serializing)]
    pushed: Option<u64>,
}

impl Baseline {
    /// Of a look.
    pub(crate) fn new(position: i64, facts: &Facts) -> Self {
        Self {
            incarnation: facts.server.incarnation.to_string(),
            position,
            length: facts.length,
            pops: facts.pops.map(|pops| (pops.single, pops.many)),
            blocked_clients: facts.server.blocked_clients,
            evicted_keys: facts.server.evicted_keys,
            entries_added: facts.stream.and_then(|stream| stream.added),
            last_entry: facts.stream.map(|stream| stream.last_generated.to_string()),
            pushed: None,
        }
    }

    /// As it is stored.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Of what was stored, if it can be read: by a version that stored something else it cannot.
    pub(crate) fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether the marker stands elsewhere now.
    pub(crate) fn is_behind(&self, position: i64) -> bool {
        self.position != position
    }

    /// Whether so many messages may have been taken since that the loss of half the queue would pass for that.
    pub(crate) fn is_worn(&self, facts: &Facts) -> bool {
        let pops = facts.pops.map_or(0, |pops| pops.single).saturating_sub(self.pops.map_or(0, |(single, _)| single));
        facts.length > 0 && pops > facts.length / 2
    }

    /// What breaks the evidence between the stored look and the first one of a tenure under which `pushed` messages were
    /// pushed by then. The server's policy may have changed in between: that shows from now on.
    pub(crate) fn judge(&self, now: &Facts, pushed: u64) -> Option<Break> {
        if self.incarnation != now.server.incarnation.to_string() {
            return None;
        }
        let mut server = now.server.clone();
        (server.blocked_clients, server.evicted_keys) = (self.blocked_clients, self.evicted_keys);
        let counted = self.pops.filter(|_| self.pushed.is_some());
        let pops = counted.map(|(single, many)| Pops { single, many });
        let before =
            Facts { server, keys: now.keys.clone(), length: self.length, pops, stream: self.stream(now.stream) };
        self.younger(now).or_else(|| judge(&before, now, pushed + self.pushed.unwrap_or(0)))
    }

    /// The stream then, as far as it was stored.
    fn stream(&self, now: Option<StreamFacts>) -> Option<StreamFacts> {
        let added = self.entries_added.filter(|added| *added > 0)?;
        let last_generated = self.last()?;
        Some(StreamFacts { exists: true, last_generated, added: Some(added), ..now? })
    }

    /// Nothing was ever removed from the stream, and it does not go back so far: it is another one.
    fn younger(&self, now: &Facts) -> Option<Break> {
        let (stream, last) = (now.stream?, self.last()?);
        let another = self.entries_added? > 0
            && stream.added == Some(now.length)
            && stream.first.is_some_and(|first| first > last);
        another.then_some(Break::StreamGone)
    }

    fn last(&self) -> Option<EntryId> {
        self.last_entry.as_ref()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Server;

    fn facts(length: u64, pops: u64) -> Facts {
        Facts { length, pops: Some(Pops { single: pops, many: 0 }), ..Facts::default() }
    }

    fn stored(length: u64, pops: u64, pushed: Option<u64>) -> Baseline {
        let stored = Baseline::new(7, &facts(length, pops)).to_json();
        let mut read: serde_json::Value = serde_json::from_str(&stored).unwrap();
        read["pushed"] = serde_json::json!(pushed);
        Baseline::from_json(&read.to_string()).unwrap()
    }

    #[test]
    fn messages_that_vanished_between_two_tenures_are_missed_by_the_second() {
        let before = stored(10, 3, Some(4));
        assert_eq!(before.judge(&facts(12, 5), 0), None, "4 came and 2 were taken");
        assert_eq!(before.judge(&facts(4, 5), 0), Some(Break::Vanished { missing: 10, pops: 2 }));
        assert_eq!(before.judge(&facts(12, 5), 6), Some(Break::Vanished { missing: 8, pops: 2 }));
    }

    #[test]
    fn nothing_is_claimed_when_nobody_counted_or_the_server_began_another_life() {
        assert_eq!(stored(10, 3, None).judge(&facts(0, 3), 0), None);
        let mut reborn = facts(0, 3);
        reborn.server = Server {
            incarnation: crate::broker::Incarnation { run_id: "b".into(), ..reborn.server.incarnation },
            ..Server::default()
        };
        assert_eq!(stored(10, 3, Some(0)).judge(&reborn, 0), None);
    }

    #[test]
    fn what_was_stored_by_another_version_is_read_as_far_as_it_goes() {
        let old = Baseline::from_json(r#"{"incarnation": "/", "evicted_keys": 0, "new": 1}"#).unwrap();
        assert_eq!(old.judge(&facts(0, 3), 5), None);
        assert!(Baseline::from_json("7").is_none());
    }

    #[test]
    fn a_stored_look_is_worn_when_half_of_what_stands_there_could_have_been_taken() {
        let before = Baseline::new(7, &facts(10, 3));
        assert!(!before.is_worn(&facts(10, 8)));
        assert!(before.is_worn(&facts(10, 9)));
        assert!(!before.is_worn(&facts(0, 9)), "there is nothing to lose");
        assert!(before.is_behind(8) && !before.is_behind(7));
    }
}
