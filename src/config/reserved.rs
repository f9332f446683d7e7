//! Keys in Redis that a queue cannot use, because they are something else already.
//!
//! Producers choose the names of queues, and a queue's name is its key unless its settings say otherwise. A message that
//! is pushed to a key of another kind stops whoever uses that key: workers, when it is their `unacked`.

use super::{Config, QueueSettings};
use crate::wire::{Format, FormatName, InFlightKind};

/// What the keys begin with under which relays keep their markers.
const MARKERS: &str = "outbox:m:";

/// What the keys of kombu's bindings begin with, in all its versions.
const BINDINGS: &str = "_kombu.binding";

impl Config {
    /// Why the queue cannot use the keys that its name and its settings give it: a sentence that names the other use.
    pub fn reserved(&self, queue: &str) -> Option<String> {
        let settings = self.queue(queue);
        let format = Format::new(&settings.spec(), queue).ok()?;
        let names = format.keys().iter().map(|key| (key.name.as_slice(), false));
        let processing = format.in_flight().iter().filter(|key| key.kind == InFlightKind::Processing);
        let names: Vec<(&[u8], bool)> = names.chain(processing.map(|key| (key.name.as_slice(), true))).collect();
        let used = names.iter().find_map(|(name, _)| Some((*name, self.taken(&settings, name)?)));
        let (name, by) = used.or_else(|| self.of_another(&settings, &names))?;
        Some(format!(
            "its key {:?} is {by}: rename the queue, or give [queues.{queue:?}] another `key` or `key_prefix`",
            String::from_utf8_lossy(name)
        ))
    }

    /// What relays and workers keep under a key.
    fn taken(&self, settings: &QueueSettings, name: &[u8]) -> Option<String> {
        if name.starts_with(MARKERS.as_bytes()) {
            return Some("where relays keep the marker of a queue".to_owned());
        }
        let target = self.redis.get(&settings.redis);
        if target.is_some_and(|target| target.receipts.as_bytes() == name) {
            return Some(format!("the stream of the workers' receipts (redis.{}.receipts)", settings.redis));
        }
        let named = self.queues.keys().map(|queue| self.queue(queue));
        let celery = named.chain([self.queue("")]).filter(|other| self.shares(settings, other));
        celery.filter(|other| other.format == FormatName::Celery).find_map(|other| {
            let local = name.strip_prefix(other.key_prefix.as_bytes())?;
            let keys = [
                ("unacked_key", &other.unacked_key),
                ("unacked_index_key", &other.unacked_index_key),
                ("unacked_mutex_key", &other.unacked_mutex_key),
            ];
            if local.starts_with(BINDINGS.as_bytes()) {
                return Some("where Celery's workers keep their bindings".to_owned());
            }
            let key = keys.into_iter().find(|(_, key)| key.as_bytes() == local)?;
            Some(format!("where Celery's workers keep what they hold ({})", key.0))
        })
    }

    /// A queue of the configuration that uses one of the keys. Several may share one list for what consumers work on.
    fn of_another<'a>(&self, settings: &QueueSettings, names: &[(&'a [u8], bool)]) -> Option<(&'a [u8], String)> {
        let others = self.queues.keys().filter(|other| **other != settings.queue).map(|other| self.queue(other));
        others.filter(|other| self.shares(settings, other)).find_map(|other| {
            let format = Format::new(&other.spec(), &other.queue).ok()?;
            let is_key = |name: &[u8]| format.keys().iter().any(|key| key.name == name);
            let works_on = |name: &[u8]| {
                format.in_flight().iter().any(|key| key.kind == InFlightKind::Processing && key.name == name)
            };
            let (name, _) = names.iter().find(|(name, processing)| is_key(name) || (!processing && works_on(name)))?;
            Some((*name, format!("a key of the queue {:?}, too", other.queue)))
        })
    }

    /// Whether two queues are published to one server.
    fn shares(&self, one: &QueueSettings, other: &QueueSettings) -> bool {
        let url = |settings: &QueueSettings| self.redis.get(&settings.redis).map(|target| target.url.expose());
        one.redis == other.redis || url(one) == url(other)
    }
}
