//! `outboxd health`: asks a running relay, for health checks of containers.

use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::config::SourceArgs;
use super::exit::Exit;
use super::{load, print, say};
use crate::config::Sources;

/// A check that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(3);

/// The arguments of `outboxd health`.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Ask whether it is alive, not whether it is ready
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    sources: SourceArgs,
}

/// Exit code 0 if the relay says yes, 1 if it says no, 69 if it does not answer.
pub(super) async fn run(args: &HealthArgs) -> Exit {
    // It must not fail because a secret is being replaced.
    let sources = Sources { partial: true, without_secrets: true, ..args.sources.clone().sources() };
    let config = match load(&sources) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let listen = config.http.listen;
    if listen.is_empty() {
        say("outboxd: http.listen is empty, so there is nothing to ask");
        return Exit::Config;
    }
    let path = if args.live { "/livez" } else { "/readyz" };
    match tokio::time::timeout(LIMIT, ask(&reachable(&listen), path)).await {
        Ok(Ok(reply)) if reply.starts_with("HTTP/1.1 200") || reply.starts_with("HTTP/1.0 200") => {
            print(body(&reply));
            Exit::Ok
        }
        Ok(Ok(reply)) => {
            print(body(&reply));
            Exit::Failure
        }
        Ok(Err(error)) => {
            say(&format!("outboxd: no relay answers at {listen} (http.listen): {error}"));
            Exit::Unreachable
        }
        Err(_) => {
            say(&format!("outboxd: the relay at {listen} (http.listen) did not answer within {LIMIT:?}"));
            Exit::Unreachable
        }
    }
}

/// An address that listens everywhere is reached on this machine.
fn reachable(listen: &str) -> String {
    listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

async fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or(reply, |(_, body)| body)
}
