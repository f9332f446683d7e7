//! The first words on a connection: user and password, database, name.
//!
//! Spoken here and not by the library, because a server may speak first ("max number of clients reached") and hang up:
//! the library drops that line, and reports a password that was never looked at as wrong.

use std::io;

use redis::Cmd;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::faults;
use crate::fault::Fault;

/// How the connection shows in the server's CLIENT LIST.
const CLIENT_NAME: &str = "outboxd";

/// The longest line that is read; servers answer these commands with less.
const LONGEST: u64 = 4096;

/// Who connects, and to which database.
pub(super) struct Greeting<'a> {
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) db: i64,
}

/// Says it all, one command after the other, and hears every answer.
pub(super) async fn greet<S>(place: &str, stream: &mut S, greeting: &Greeting<'_>) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    if let Some(password) = greeting.password {
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = greeting.username {
            auth.arg(username);
        }
        say(place, &mut stream, auth.arg(password)).await?;
    }
    if greeting.db != 0 {
        say(place, &mut stream, redis::cmd("SELECT").arg(greeting.db)).await?;
    }
    match say(place, &mut stream, redis::cmd("CLIENT").arg("SETNAME").arg(CLIENT_NAME)).await {
        // A courtesy to operators; a server or a user without it is fine.
        Err(fault) if matches!(fault.reason().class, "noperm" | "unknown_command" | "server_error") => Ok(()),
        other => other,
    }
}

async fn say<S>(place: &str, stream: &mut BufReader<S>, command: &Cmd) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A failure to write is kept until what the server said before it hung up is read.
    let sent = match stream.write_all(&command.get_packed_command()).await {
        Ok(()) => stream.flush().await,
        Err(error) => Err(error),
    };
    let mut line = Vec::new();
    let heard = (&mut *stream).take(LONGEST).read_until(b'\n', &mut line).await;
    if line.is_empty() {
        let error = sent.err().or(heard.err()).unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        return Err(faults::io(place, &error));
    }
    let line = String::from_utf8_lossy(&line);
    let line = line.trim_end();
    match line.strip_prefix('-') {
        Some(error) => {
            let (code, detail) = error.split_once(' ').unwrap_or((error, ""));
            Err(faults::server(place, code, detail))
        }
        None if line.starts_with('+') => Ok(()),
        None => Err(faults::protocol(place, "the first command")),
    }
}
