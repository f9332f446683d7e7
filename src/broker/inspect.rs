//! What an operator asks of a server before a relay depends on it.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::connect::Link;
use super::faults;
use super::info::Server;
use super::open::bytes;
use crate::fault::Fault;

const INSPECT: &str = include_str!("inspect.lua");

/// What a server says of itself, and what it lets this user do.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// As `INFO` tells.
    pub server: Server,
    /// Its clock, in seconds since 1970, if it tells.
    pub clock: Option<f64>,
    /// Whether it says what a user may do. Servers before 7.0 do not.
    pub tells_rights: bool,
    /// The commands out of those asked for that are refused; none if the server does not say.
    pub refused: Vec<Vec<String>>,
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// As TYPE says: `list`, `zset`; `none` if there is no such key.
    pub kind: String,
    /// After that time the server drops the key with all that is in it.
    pub expires: Option<Duration>,
}

/// What stands under each of these keys; `None` if the user may not ask.
pub async fn kept(link: &Link, keys: &[&[u8]]) -> Result<Vec<Option<Kept>>, Fault> {
    let mut pipeline = Pipeline::new();
    for key in keys {
        pipeline.cmd("TYPE").arg(*key).cmd("PTTL").arg(*key);
    }
    let mut replies = link.pipeline(&pipeline).await?.into_iter();
    let mut kept = Vec::with_capacity(keys.len());
    while let (Some(kind), Some(expires)) = (replies.next(), replies.next()) {
        kept.push(match (kind, expires) {
            (Ok(Value::SimpleString(kind)), Ok(Value::Int(ms))) => {
                Some(Kept { kind, expires: u64::try_from(ms).ok().map(Duration::from_millis) })
            }
            _ => None,
        });
    }
    Ok(kept)
}

/// Asks whether each of `commands` would be allowed, a command with its key and plausible arguments. Runs none of them;
/// fails if scripts are not allowed at all.
pub async fn inspect(link: &Link, commands: &[Vec<Vec<u8>>]) -> Result<Inspection, Fault> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("INFO").cmd("EVAL").arg(INSPECT).arg(0);
    for command in commands {
        pipeline.arg(command.len());
        for word in command {
            pipeline.arg(word);
        }
    }
    let odd = || faults::protocol(link.place(), "INFO and a script");
    let [info, script]: [Result<Value, Fault>; 2] = link.pipeline(&pipeline).await?.try_into().map_err(|_| odd())?;
    let info = bytes(info?).ok().flatten().ok_or_else(odd)?;
    let Value::Array(reply) = script? else { return Err(odd()) };
    let mut reply = reply.into_iter();
    let mut part = || -> Option<f64> {
        let text = bytes(reply.next()?).ok()??;
        String::from_utf8(text).ok()?.parse().ok()
    };
    let clock = part().zip(part()).map(|(seconds, micros)| seconds + micros / 1e6);
    let tells_rights = part().is_some();
    let refused = reply.filter_map(|number| match number {
        Value::Int(number) => commands.get(usize::try_from(number).ok()?.checked_sub(1)?),
        _ => None,
    });
    let refused = refused.map(|words| words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect());
    let server = Server::parse(&String::from_utf8_lossy(&info));
    Ok(Inspection { server, clock, tells_rights, refused: refused.collect() })
}
