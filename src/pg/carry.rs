//! Our own faults inside errors of the driver: the pool lets nothing else through.
//!
//! The driver makes its errors itself. One that holds a given cause comes from a TLS handshake that fails with it, so
//! that is what happens here, over a stream that leads nowhere.

use std::error::Error as _;
use std::future::{Ready, ready};

use tokio::io::{Empty, empty};
use tokio_postgres::config::{Config, SslMode, SslNegotiation};
use tokio_postgres::tls::{NoTlsStream, TlsConnect};
use tokio_postgres::{Client, Connection, Error};

use super::error::PgFault;

/// A handshake that fails with this fault.
struct Refusal(PgFault);

impl TlsConnect<Empty> for Refusal {
    type Stream = NoTlsStream;
    type Error = PgFault;
    type Future = Ready<Result<NoTlsStream, PgFault>>;

    fn connect(self, _: Empty) -> Self::Future {
        ready(Err(self.0))
    }
}

/// Fails with the driver's error that has this fault as its source. No I/O; never `Ok`.
pub(super) async fn carry(fault: PgFault) -> Result<(Client, Connection<Empty, NoTlsStream>), Error> {
    let mut config = Config::new();
    // Straight to the handshake, without a word to the server before it.
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    config.connect_raw(empty(), Refusal(fault)).await
}

/// The fault that an error carries.
pub(super) fn carried(error: &Error) -> Option<&PgFault> {
    error.source()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::{carried, carry};
    use crate::fault::Fault;
    use crate::pg::error::PgFault;

    #[tokio::test]
    async fn a_fault_comes_back_as_it_was_and_not_another() {
        let fault = |n: usize| PgFault {
            code: Some("28P01".into()),
            ..PgFault::refused(Fault::halt("auth", format!("check the password of user {n}"))).uncertain()
        };
        let (first, second) = tokio::join!(carry(fault(1)), carry(fault(2)));
        assert_eq!(carried(&first.map(drop).unwrap_err()), Some(&fault(1)));
        assert_eq!(carried(&second.map(drop).unwrap_err()), Some(&fault(2)));
    }
}
