//! The two Lua scripts and how they are called.

use std::sync::LazyLock;

use redis::{Cmd, Value};

use super::connect::Link;
use crate::fault::Fault;

/// A script's text and the name by which the server knows it.
pub(super) struct Script {
    pub(super) body: &'static str,
    sha: LazyLock<String>,
}

pub(super) static APPEND: Script = Script {
    body: include_str!("append.lua"),
    sha: LazyLock::new(|| redis::Script::new(include_str!("append.lua")).get_hash().to_owned()),
};

pub(super) static OPEN: Script = Script {
    body: include_str!("open.lua"),
    sha: LazyLock::new(|| redis::Script::new(include_str!("open.lua")).get_hash().to_owned()),
};

impl Script {
    /// The name by which EVALSHA calls it.
    pub(super) fn sha(&self) -> &str {
        &self.sha
    }

    /// Runs a command that begins with `EVALSHA <sha>`. A server that does not have the script has not run it: the same
    /// command goes again with the text, which means the same and loads it.
    pub(super) async fn run(&self, link: &Link, command: &Cmd) -> Result<Value, Fault> {
        match link.command(command).await {
            Err(fault) if fault.reason().class == "noscript" => link.command(&self.with_body(command)).await,
            other => other,
        }
    }

    fn with_body(&self, command: &Cmd) -> Cmd {
        let mut eval = redis::cmd("EVAL");
        eval.arg(self.body);
        for arg in command.args_iter().skip(2) {
            if let redis::Arg::Simple(bytes) = arg {
                eval.arg(bytes);
            }
        }
        eval
    }
}
