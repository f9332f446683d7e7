//! PostgreSQL: the only folder that names the driver and the pool.
//!
//! [`connect`] opens sessions, [`pool`] runs statements, [`Outbox`] names those of the relay, [`listen`] hears the doorbell, [`schema`] holds
//! the SQL that a database needs and [`migrate`] brings it there. What goes wrong leaves as a [`PgFault`].

mod answers;
mod apply;
mod carry;
mod compare;
pub mod connect;
mod dead;
mod describe;
mod dsn;
pub mod error;
mod lex;
pub mod listen;
mod losses;
mod messages;
pub mod migrate;
mod names;
mod outbox;
pub mod pool;
pub mod schema;
pub mod script;
mod seen;
pub mod session;
mod sql;
mod standing;
mod tls;
mod value;

pub use answers::{
    Ask, Cause, Filtered, Identity, OpenRequest, Opened, Opening, Plan, PlanRequest, QueueGauge, QueueWork, Relays,
    ServerFacts, Work,
};
pub use connect::{Connector, Protection};
pub use dead::{DeadChoice, DeadDetail, DeadFilter, DeadGroup, DeadRetry, DeadRow};
pub use error::PgFault;
pub use listen::{Delivery, Event, Listener};
pub use losses::{Boundary, Certified, Incident, IncidentFilter, Receipted, Recovered, Replay, ReplayRequest};
pub use messages::{BatchRows, Header};
pub use names::Schemas;
pub use outbox::{Outbox, Session as WorkSession};
pub use pool::{Answered, Database, PoolSettings};
pub use session::{Param, Session};
pub use standing::{Purge, Purged, Said};
