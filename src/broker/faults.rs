//! Turns every error of Redis, of the network and of the client library into a [`Fault`].
//!
//! What the server says decides by its code (`LOADING`, `OOM`, ..). An error raised inside a script comes wrapped, and
//! differently in each generation of servers: the inner code decides.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use redis::{ErrorKind, RedisError};

use crate::fault::Fault;

/// What happens next, for the two kinds of server error.
enum Next {
    /// Wait and open again.
    Wait,
    /// Stop the queue until an operator acts.
    Stop,
}

/// One row per code that a server answers: its class, what follows, and what to tell people.
const CODES: &[(&str, &str, Next, &str)] = &[
    ("LOADING", "loading", Next::Wait, "it is loading its data; waiting until it is ready"),
    (
        "READONLY",
        "readonly",
        Next::Wait,
        "it is a replica; waiting for a failover to end, or point `url` at the primary",
    ),
    (
        "OOM",
        "oom",
        Next::Wait,
        "maxmemory is reached and nothing was stored; raise it or let workers drain, tasks wait in Postgres",
    ),
    ("MISCONF", "misconf", Next::Wait, "it cannot save to its disk and refuses writes; mend the disk"),
    (
        "NOREPLICAS",
        "noreplicas",
        Next::Wait,
        "fewer replicas than min-replicas-to-write are in reach; waiting for them",
    ),
    ("CLUSTERDOWN", "clusterdown", Next::Wait, "the cluster does not serve this slot; waiting until it does"),
    (
        "TRYAGAIN",
        "tryagain",
        Next::Wait,
        "the keys are being moved between cluster nodes; waiting until they have settled",
    ),
    ("MASTERDOWN", "masterdown", Next::Wait, "it is a replica without its primary; waiting for the failover to end"),
    ("BUSY", "busy", Next::Wait, "another client's script holds it up; waiting until that ends (SCRIPT KILL ends it)"),
    ("MOVED", "moved", Next::Wait, "the key lives on another cluster node; point `url` at that node"),
    ("ASK", "ask", Next::Wait, "the key is moving to another cluster node; waiting until it has settled"),
    ("NOGROUP", "no_group", Next::Wait, "the consumer group is gone"),
    ("NOSCRIPT", "noscript", Next::Wait, "it forgot the publish script; it is sent again"),
    (
        "WRONGTYPE",
        "wrongtype",
        Next::Stop,
        "a key of this queue holds another type; move it away or set another `key`, then resume the queue",
    ),
    ("NOAUTH", "noauth", Next::Stop, "it asks for a password; put one into `url`, then resume the queue"),
    (
        "WRONGPASS",
        "wrongpass",
        Next::Stop,
        "it refuses the user or password in `url`; correct it, then resume the queue",
    ),
    (
        "CROSSSLOT",
        "crossslot",
        Next::Stop,
        "the queue's keys lie in different cluster slots; give them a common {hash tag}, then resume the queue",
    ),
    ("DENIED", "denied", Next::Stop, "it is in protected mode; set a password or bind it, then resume the queue"),
];

/// Errors with the general code `ERR`, told apart by how their text begins.
const TEXTS: &[(&str, &str, Next, &str)] = &[
    ("max number of clients", "maxclients", Next::Wait, "it has no connection left; raise maxclients"),
    (
        "DB index is out of range",
        "db_index",
        Next::Stop,
        "it has no such database; correct the number in `url`, then resume the queue",
    ),
    (
        "invalid DB index",
        "db_index",
        Next::Stop,
        "it has no such database; correct the number in `url`, then resume the queue",
    ),
    (
        "SELECT is not allowed",
        "db_index",
        Next::Stop,
        "a cluster has only database 0; remove the number from `url`, then resume the queue",
    ),
    (
        "AUTH <password> called without any password",
        "wrongpass",
        Next::Stop,
        "`url` has a password and the server has none; correct one of them, then resume the queue",
    ),
    (
        "Client sent AUTH, but no password is set",
        "wrongpass",
        Next::Stop,
        "`url` has a password and the server has none; correct one of them, then resume the queue",
    ),
    (
        "Unknown Redis command called from script",
        "unknown_command",
        Next::Stop,
        "its scripts lack a command that outboxd needs (HGET HSET TYPE LPUSH RPUSH LLEN XADD XINFO XGROUP)",
    ),
    ("no such key", "no_key", Next::Wait, "the key is gone"),
    (
        "This Redis command is not allowed from script",
        "unknown_command",
        Next::Stop,
        "its scripts lack a command that outboxd needs (HGET HSET TYPE LPUSH RPUSH LLEN XADD INFO)",
    ),
];

/// Classes that say for certain that the command was not executed.
const CERTAIN: &[&str] = &[
    "refused",
    "connect",
    "dns",
    "tls",
    "loading",
    "readonly",
    "oom",
    "misconf",
    "noreplicas",
    "clusterdown",
    "tryagain",
    "masterdown",
    "busy",
    "moved",
    "ask",
    "noscript",
    "maxclients",
    "wrongtype",
    "noauth",
    "wrongpass",
    "crossslot",
    "denied",
    "db_index",
    "no_eval",
];

/// True if it is certain that a command answered by this fault changed nothing. False after a time-out, a lost
/// connection or an unexpected reply: it may have been executed, or may still be.
pub fn nothing_applied(fault: &Fault) -> bool {
    CERTAIN.contains(&fault.reason().class)
}

/// The fault that an error of the client library stands for. `place` names the server for people.
pub(super) fn fault(place: &str, error: &RedisError) -> Fault {
    if let Some(errors) = error.clone().into_server_errors() {
        let told = errors
            .iter()
            .map(|(_, it)| it)
            .find(|it| it.code() != "EXECABORT")
            .or_else(|| errors.iter().map(|(_, it)| it).next());
        if let Some(told) = told {
            return server(place, told.code(), told.details().unwrap_or_default());
        }
    }
    if let Some(cause) = io_cause(error) {
        return io(place, cause);
    }
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => io(place, &io::ErrorKind::TimedOut.into()),
        ErrorKind::Io if error.is_connection_dropped() => io(place, &io::ErrorKind::BrokenPipe.into()),
        ErrorKind::Io => Fault::retry("io", format!("{place}: {error}")),
        ErrorKind::Server(kind) => Fault::retry("server_error", format!("{place} answered {kind:?}")),
        _ => Fault::retry("protocol", format!("{place} sent something that is not Redis protocol: {error}")),
    }
}

/// The library hands its causes out behind an `Arc`.
fn io_cause(error: &RedisError) -> Option<&io::Error> {
    let cause = error.source()?;
    let inner = cause.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>();
    cause.downcast_ref().or_else(|| inner?.downcast_ref())
}

/// A reply that the script or command cannot give.
pub(super) fn protocol(place: &str, what: &str) -> Fault {
    Fault::retry("protocol", format!("{place} answered {what} with something unexpected; is a proxy in between?"))
}

/// A failure of the network, on an open connection or while one is made.
pub(super) fn io(place: &str, error: &io::Error) -> Fault {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::TimedOut | Kind::WouldBlock => Fault::retry(
            "timeout",
            format!("{place} did not answer within its `response_timeout`; whether the command ran is unknown"),
        ),
        Kind::ConnectionRefused | Kind::NotFound => Fault::retry(
            "refused",
            format!("{place} refuses connections; is it running, are host and port in `url` right?"),
        ),
        Kind::ConnectionReset | Kind::ConnectionAborted => {
            Fault::retry("reset", format!("{place} reset the connection; whether the command ran is unknown"))
        }
        Kind::BrokenPipe | Kind::UnexpectedEof | Kind::NotConnected => {
            Fault::retry("closed", format!("{place} closed the connection; whether the command ran is unknown"))
        }
        _ => Fault::retry("io", format!("{place}: {error}")),
    }
}

/// What the server said: the code of its error line and the text after it.
pub(super) fn server(place: &str, code: &str, detail: &str) -> Fault {
    let (code, detail) = unwrap_script(code, detail);
    // Of a command inside a script, a server before 7.0 says it without the code.
    if code == "NOPERM" || (code == "ERR" && detail.contains("user executing the script can't")) {
        return noperm(place, detail);
    }
    if let Some(command) = unknown_command(detail) {
        return no_command(place, &command);
    }
    let known = CODES.iter().find(|row| row.0 == code).or_else(|| TEXTS.iter().find(|row| detail.starts_with(row.0)));
    match known {
        Some((_, class, Next::Wait, advice)) => Fault::retry(class, format!("{place} answered {code}: {advice}")),
        Some((_, class, Next::Stop, advice)) => Fault::halt(class, format!("{place} answered {code}: {advice}")),
        None => Fault::retry("server_error", format!("{place} answered {code} {}", shorten(detail))),
    }
}

/// The code and text that a script's error carries inside.
///
/// 7.0 and later: `OOM command not allowed .. script: <sha>, on @user_script:52.`; before: `ERR Error running script
/// (call to f_<sha>): @user_script:52: OOM command not allowed ..`, with a `-` before the code at times.
fn unwrap_script<'a>(code: &'a str, detail: &'a str) -> (&'a str, &'a str) {
    let detail = detail.split_once(" script: ").map_or(detail, |(text, _)| text);
    if !(code == "ERR" && detail.contains("Error running script")) {
        return (code.trim_start_matches('-'), detail);
    }
    let inner = detail.rsplit_once("@user_script").map_or(detail, |(_, text)| text);
    let inner = inner.trim_start_matches(|c: char| c == ':' || c == ' ' || c == '-' || c.is_ascii_digit());
    match inner.split_once(' ') {
        Some((word, rest)) if word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase()) => (word, rest),
        _ => (code, inner),
    }
}

/// The command that the server does not know. What follows its name is cut off: it may hold arguments.
fn unknown_command(detail: &str) -> Option<String> {
    let rest = detail.strip_prefix("unknown command ").or_else(|| detail.strip_prefix("Unknown command "))?;
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '`' | '"'))?;
    Some(rest[1..].split(quote).next().unwrap_or_default().to_ascii_uppercase())
}

fn no_command(place: &str, command: &str) -> Fault {
    if command.starts_with("EVAL") {
        return no_eval(place, &format!("does not know {command}"));
    }
    Fault::halt(
        "unknown_command",
        format!(
            "{place} does not know {command}, which outboxd needs; enable it on the server or use another one, then resume the queue"
        ),
    )
}

fn no_eval(place: &str, what: &str) -> Fault {
    Fault::halt(
        "no_eval",
        format!(
            "{place} {what}: outboxd publishes by a Lua script, so that messages and their marker are stored together or \
             not at all; allow EVAL and EVALSHA (ACL: +eval +evalsha +script|load) or use a server that has them, then resume the queue"
        ),
    )
}

fn noperm(place: &str, detail: &str) -> Fault {
    if detail.contains("'eval") {
        return no_eval(place, "does not permit EVAL");
    }
    Fault::halt(
        "noperm",
        format!(
            "{place} answered NOPERM {}: grant the user in `url` its commands and keys \
             (ACL: ~<queue keys> ~outbox:m:* ~outbox:r:* +set +mget +eval +evalsha +script|load +info +hget +hmget +hset +type +lpush +rpush +llen \
             +xadd +xgroup|create +xinfo +xrange +xlen +multi +exec, and to confirm what was consumed: +pttl +lrange +hlen \
             +hvals +xpending +xdel +memory|usage ~<lists or hash of messages in flight>), then resume the queue",
            shorten(detail)
        ),
    )
}

/// The publish script asked beforehand and found a right missing.
pub(super) fn no_right(place: &str, command: &str, key: &str) -> Fault {
    noperm(place, &format!("('{command}' on {key:?}; nothing was stored)"))
}

/// The server says that it is a replica, whether it takes writes or not.
pub(super) fn replica(place: &str) -> Fault {
    let what = "it is a replica; waiting for a failover to end, or point `url` at the primary";
    Fault::retry("replica", format!("{place}: {what}"))
}

fn shorten(text: &str) -> &str {
    let text = text.split(", with args beginning with").next().unwrap_or(text);
    text.char_indices().nth(200).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: &str, detail: &str) -> (bool, &'static str) {
        let fault = server("redis", code, detail);
        (matches!(fault, Fault::Halt(_)), fault.reason().class)
    }

    #[test]
    fn every_generation_of_script_error_is_read_by_its_inner_code() {
        for (code, detail) in [
            ("OOM", "command not allowed when used memory > 'maxmemory'. script: 0f, on @user_script:52."),
            ("-OOM", "command not allowed when used memory > 'maxmemory'."),
            (
                "ERR",
                "Error running script (call to f_0f): @user_script:52: -OOM command not allowed when used memory > 'maxmemory'.",
            ),
            ("ERR", "Error running script (call to f_0f): @user_script: 52: OOM command not allowed when used memory"),
        ] {
            assert_eq!(class(code, detail), (false, "oom"), "{code} {detail}");
        }
        assert_eq!(
            class("ERR", "Error running script (call to f_0f): @user_script:3: attempt to index nil"),
            (false, "server_error")
        );
    }

    #[test]
    fn a_cluster_on_the_move_is_waited_for() {
        for (code, expected) in
            [("MOVED", "moved"), ("ASK", "ask"), ("TRYAGAIN", "tryagain"), ("CLUSTERDOWN", "clusterdown")]
        {
            assert_eq!(class(code, "3999 127.0.0.1:6381"), (false, expected));
        }
    }

    #[test]
    fn a_server_without_scripts_is_named_as_such() {
        assert_eq!(class("ERR", "unknown command 'EVALSHA', with args beginning with: 'x' "), (true, "no_eval"));
        assert_eq!(class("ERR", "unknown command `EVAL`, with args beginning with: "), (true, "no_eval"));
        assert_eq!(class("NOPERM", "this user has no permissions to run the 'evalsha' command"), (true, "no_eval"));
        let old =
            "The user executing the script can't run this command or subcommand script: 0a1b, on @user_script:37.";
        assert_eq!(class("ERR", old), (true, "noperm"));
        assert_eq!(class("NOPERM", "User x has no permissions to run the 'lpush' command"), (true, "noperm"));
    }

    #[test]
    fn arguments_that_a_server_echoes_are_not_repeated() {
        let fault = server("redis", "ERR", "unknown command 'AUTH', with args beginning with: 'hunter2' ");
        assert_eq!(fault.reason().class, "unknown_command");
        assert!(!fault.to_string().contains("hunter2"));
        let fault = server("redis", "ERR", "strange, with args beginning with: 'hunter2' ");
        assert!(!fault.to_string().contains("hunter2"));
    }

    #[test]
    fn a_lost_reply_is_never_taken_for_a_refusal() {
        for (kind, class) in [
            (io::ErrorKind::TimedOut, "timeout"),
            (io::ErrorKind::ConnectionReset, "reset"),
            (io::ErrorKind::BrokenPipe, "closed"),
            (io::ErrorKind::Other, "io"),
        ] {
            let fault = io("redis", &kind.into());
            assert_eq!(fault.reason().class, class);
            assert!(!nothing_applied(&fault));
        }
        assert!(nothing_applied(&server("redis", "LOADING", "Redis is loading the dataset in memory")));
    }
}
