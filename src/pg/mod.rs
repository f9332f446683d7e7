//! PostgreSQL: the only folder that names the driver and the pool.
//!
//! [`connect`] opens sessions, [`pool`] runs the relay's statements, [`listen`] hears the doorbell, [`schema`] holds
//! the SQL that a database needs and [`migrate`] brings it there. What goes wrong leaves as a [`PgFault`].

mod compare;
pub mod connect;
mod dsn;
pub mod error;
mod lex;
pub mod listen;
pub mod migrate;
pub mod pool;
pub mod schema;
pub mod script;
pub mod session;
mod tls;

pub use connect::Connector;
pub use error::PgFault;
pub use listen::Listener;
pub use pool::{Database, PoolSettings};
pub use session::{Param, Session};
