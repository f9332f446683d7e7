//! A chore's own connection to a Redis target, beside those of the lanes.
//!
//! A connection may outlive its purpose: the settings name another server by now, or a failover behind a proxy or a host
//! name has put another one in its place while the old one goes on answering. So it is given up when the target is made
//! anew, when a lane has opened a queue in another life of the dataset, and when what its server says of itself is not
//! what was expected. The last is told from news about the server by connecting once more.

use std::time::{Duration, Instant};

use super::shared::{Shared, of_redis};
use crate::broker::{Link, Target};
use crate::fault::Fault;

/// A connection as young as this was made where the target is now: another one would lead to the same server.
const YOUNG: Duration = Duration::from_secs(1);

/// The connection of one chore to one target; made when it is asked for.
#[derive(Default)]
pub(crate) struct SideLink(Option<Standing>);

struct Standing {
    target: Target,
    /// The life in which a lane had opened a queue last when the connection was made.
    life: Option<String>,
    made: Instant,
    link: Link,
}

impl SideLink {
    /// The connection to the target of that name, by the configuration and the openings of this moment.
    pub(crate) async fn get(&mut self, shared: &Shared, name: &str) -> Result<&Link, Fault> {
        let target = shared.targets.get(name, &shared.config(), &shared.metrics)?;
        let life = shared.targets.life(name);
        let standing = self.0.take().filter(|it| it.target.is(&target) && it.life == life);
        let standing = match standing {
            Some(standing) => standing,
            None => Standing { link: of_redis(target.connect().await)?, target, life, made: Instant::now() },
        };
        Ok(&self.0.insert(standing).link)
    }

    /// Something failed on it.
    pub(crate) fn drop(&mut self) {
        self.0 = None;
    }

    /// Its server is not what was expected. `true`: the connection is given up, and the question is to be asked again
    /// over another. `false`: it was made just now, so that is what there is to know.
    pub(crate) fn gave_up(&mut self) -> bool {
        self.0.take_if(|it| it.made.elapsed() >= YOUNG).is_some()
    }
}

/// Whether the server says that it is a replica.
pub(crate) fn is_replica(fault: &Fault) -> bool {
    fault.reason().class == "replica"
}
