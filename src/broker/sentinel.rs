//! Which server is the primary now, as Redis Sentinel knows it: asked before every connection.

use futures_util::future::select_ok;
use redis::Value;
use secrecy::{ExposeSecret, SecretString};

use super::connect::{Inner, Stream, link};
use super::faults;
use super::greet::{Greeting, greet};
use super::open::bytes;
use crate::fault::Fault;

/// The sentinels of one primary.
#[derive(Debug, Clone)]
pub(super) struct Sentinels {
    /// The primary's name.
    pub(super) name: String,
    /// Host and port of each.
    pub(super) addresses: Vec<(String, u16)>,
    /// As whom they are asked, and
    pub(super) username: Option<String>,
    /// with which password.
    pub(super) password: Option<SecretString>,
}

impl Sentinels {
    /// Where the primary is: the first answer counts, and a sentinel that hangs delays nothing.
    pub(super) async fn primary(&self, inner: &Inner) -> Result<(String, u16), Fault> {
        let asked = self.addresses.iter().map(|(host, port)| Box::pin(self.ask(inner, host, *port)));
        select_ok(asked).await.map(|(primary, _)| primary)
    }

    async fn ask(&self, inner: &Inner, host: &str, port: u16) -> Result<(String, u16), Fault> {
        let place = format!("sentinel {host}:{port} of {}", inner.place);
        let mut stream: Box<dyn Stream> = inner.reach_tcp(host, port).await?;
        let password = self.password.as_ref().map(ExposeSecret::expose_secret);
        let username = self.username.as_deref();
        greet(&place, &mut stream, &Greeting { username, password, db: 0 }).await?;
        let link = link(stream, inner.response_timeout, place.as_str().into()).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(&self.name);
        let unknown = || {
            let what = format!("{place} knows no primary named {:?}: is the host in `url` its name?", self.name);
            Fault::retry("sentinel", what)
        };
        let Value::Array(answer) = link.command(&command).await? else { return Err(unknown()) };
        let mut texts = answer.into_iter().map(|part| bytes(part).ok().flatten());
        let mut text = || texts.next().flatten().and_then(|text| String::from_utf8(text).ok());
        let (Some(host), Some(port)) = (text(), text()) else { return Err(unknown()) };
        let port = port.parse().map_err(|_| faults::protocol(&place, "SENTINEL get-master-addr-by-name"))?;
        Ok((host, port))
    }
}
