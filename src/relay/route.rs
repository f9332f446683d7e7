//! Where a queue's messages go: its target, its keys, its marker.

use std::sync::Arc;

use crate::batch::{Marker, Push};
use crate::broker::{self, Batch, Spot, Target};
use crate::config::{Config, QueueSettings};
use crate::fault::Fault;
use crate::wire::Format;

use super::shared::Shared;

/// One queue's way into Redis, by one configuration.
pub(crate) struct Route {
    /// The resolved settings.
    pub(crate) settings: QueueSettings,
    /// The server.
    pub(crate) target: Target,
    /// The encoder.
    pub(crate) format: Format,
    /// Server, DB and key, as a tenure names them.
    pub(crate) destination: String,
    marker: Vec<u8>,
    field: String,
    config: Arc<Config>,
}

impl Route {
    /// By the configuration of this moment. A setting that cannot work halts this queue alone.
    pub(crate) fn new(shared: &Shared, queue: &str) -> Result<Self, Fault> {
        let config = shared.config();
        let settings = config.queue(queue);
        let target = shared.targets.get(&settings.redis, &config, &shared.metrics)?;
        let format = Format::new(&settings.spec(), queue)
            .map_err(|message| Fault::halt("config", format!("queue {queue:?}: {message}")))?;
        if let Some(why) = config.reserved(queue) {
            return Err(Fault::halt("reserved_name", format!("queue {queue:?} is not published: {why}")));
        }
        let key = &format.keys()[0].name;
        let marker = broker::marker_key(key)?;
        let destination = format!("{}/{}", target.describe(), String::from_utf8_lossy(key));
        let field = broker::field(shared.installation, queue);
        Ok(Self { settings, target, format, destination, marker, field, config })
    }

    /// Whether the configuration has changed in what this route is made of.
    pub(crate) fn is_stale(&self, now: &Config) -> bool {
        let redis = &self.settings.redis;
        now.queue(&self.settings.queue) != self.settings || now.redis.get(redis) != self.config.redis.get(redis)
    }

    /// Where the marker lies.
    pub(crate) fn spot(&self) -> Spot<'_> {
        Spot { marker: &self.marker, field: &self.field }
    }

    /// A publication under a marker: from its position to another.
    pub(crate) fn batch<'a>(&'a self, at: Marker, to: i64, pushes: &'a [Push]) -> Batch<'a> {
        Batch {
            marker: &self.marker,
            field: &self.field,
            tenure: at.tenure,
            from: at.position,
            to,
            keys: self.format.keys(),
            pushes,
            group: self.format.group(),
        }
    }
}
