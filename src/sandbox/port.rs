//! Loopback ports that two sandboxes never share, in one process or in several.
//!
//! A port is chosen outside the kernel's ephemeral range, so that no outgoing connection can take it while its server
//! is down, and its UDP twin is held for as long as the [`Port`] lives: a lock that leaves no file behind and that
//! the kernel releases when the owner is killed.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use super::{Result, failure};

/// A loopback port that belongs to its owner until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: UdpSocket,
}

impl Port {
    /// Finds a port on which nothing listens and that no other sandbox holds.
    pub fn free() -> Result<Self> {
        let ceiling = ephemeral_start().max(FLOOR + 1_000);
        for _ in 0..500 {
            let number = fastrand::u16(FLOOR..ceiling);
            let address = ("127.0.0.1", number);
            if let Ok(lock) = UdpSocket::bind(address)
                && TcpListener::bind(address).is_ok()
            {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err(failure(format!("No free port was found on 127.0.0.1 between {FLOOR} and {ceiling}.")))
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Below lie the ports of well-known services.
const FLOOR: u16 = 15_000;

/// Where the kernel's choice of ports for outgoing connections begins; Linux's default if it cannot be read.
fn ephemeral_start() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn a_held_port_is_not_given_twice() {
        let held: Vec<Port> = (0..50).map(|_| Port::free().unwrap()).collect();
        let mut numbers: Vec<u16> = held.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), held.len());
    }
}
