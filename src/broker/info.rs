//! What a server says about itself in `INFO`, reduced to what the relay looks at.

use std::fmt;

/// One life of one Redis dataset in one process.
///
/// Both ids change at every restart and neither changes at a FLUSHALL: an incarnation proves nothing alone, the marker
/// does. A server that hides an id shows it as empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Incarnation {
    /// `run_id`: the process.
    pub run_id: String,
    /// `master_replid`: the history of the dataset; it changes under an open connection when a server resynchronises.
    pub replid: String,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run_id, self.replid)
    }
}

/// What part a server plays in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It takes writes.
    #[default]
    Primary,
    /// It follows another server.
    Replica,
}

/// What a server says about itself. A field that it does not show is zero, empty or false.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Server {
    /// Which life of which dataset.
    pub incarnation: Incarnation,
    /// Primary or replica.
    pub role: Role,
    /// The version of the Redis protocol it speaks (`redis_version`; a Valkey server shows its compatible version).
    pub version: String,
    /// The process id, to tell two servers on one port apart.
    pub process_id: u64,
    /// It is loading its dataset and answers from a part of it, or from the one before.
    pub loading: bool,
    /// Bytes in use.
    pub used_memory: u64,
    /// The limit in bytes; 0 is none.
    pub maxmemory: u64,
    /// What it does at that limit; anything but `noeviction` and `volatile-*` may drop a queue.
    pub maxmemory_policy: String,
    /// Keys evicted since the process started or its statistics were reset.
    pub evicted_keys: u64,
    /// Keys expired since then.
    pub expired_keys: u64,
    /// Clients that wait in a blocking command such as BRPOP.
    pub blocked_clients: u64,
    /// The append-only file is on.
    pub aof_enabled: bool,
    /// The last background save and the last append-only write went well.
    pub persistence_ok: bool,
}

impl Server {
    /// Reads the text of `INFO`.
    pub(super) fn parse(info: &str) -> Self {
        let mut server = Self { persistence_ok: true, ..Self::default() };
        for line in info.lines() {
            let Some((name, value)) = line.trim_end().split_once(':') else { continue };
            let number = || value.parse().unwrap_or(0);
            match name {
                "run_id" => value.clone_into(&mut server.incarnation.run_id),
                "master_replid" => value.clone_into(&mut server.incarnation.replid),
                "role" if value == "slave" => server.role = Role::Replica,
                "redis_version" => value.clone_into(&mut server.version),
                "process_id" => server.process_id = number(),
                "loading" | "async_loading" => server.loading |= value == "1",
                "used_memory" => server.used_memory = number(),
                "maxmemory" => server.maxmemory = number(),
                "maxmemory_policy" => value.clone_into(&mut server.maxmemory_policy),
                "evicted_keys" => server.evicted_keys = number(),
                "expired_keys" => server.expired_keys = number(),
                "blocked_clients" => server.blocked_clients = number(),
                "aof_enabled" => server.aof_enabled = value == "1",
                "rdb_last_bgsave_status" | "aof_last_write_status" => server.persistence_ok &= value == "ok",
                _ => {}
            }
        }
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replication_id_of_the_past_is_not_taken_for_the_present_one() {
        let server = Server::parse(
            "# Server\r\nrun_id:abc\r\nrole:slave\r\nmaster_replid:def\r\nmaster_replid2:000\r\nmaxmemory:12\r\n\
             maxmemory_human:12B\r\naof_last_write_status:err\r\n",
        );
        assert_eq!(server.incarnation.to_string(), "abc/def");
        assert_eq!((server.role, server.maxmemory, server.persistence_ok), (Role::Replica, 12, false));
    }
}
