//! A server as the configuration names it, and one connection to it.
//!
//! A [`Link`] is one connection: it is never re-established and no command on it is ever repeated. After a [`Fault`]
//! drop it and connect again; what the lost command did is found out by opening.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::faults;
use super::greet::{Greeting, greet};
use super::sentinel::Sentinels;
use super::tls::{Tls, server_name};
use super::told::Told;
use super::url::{self, Parsed};
use crate::fault::Fault;
use crate::telemetry::Metrics;

/// A Redis server as the configuration names it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Target(Arc<Inner>, Told);

#[derive(Debug)]
pub(super) struct Inner {
    /// For people: `redis "default" at broker:6379/1`.
    pub(super) place: Arc<str>,
    address: Address,
    db: i64,
    username: Option<String>,
    password: Option<SecretString>,
    tls: Option<Tls>,
    connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

#[derive(Debug)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
    /// Whichever server is the primary of that name when a connection is made.
    Sentinel(Sentinels),
}

/// How connections to a target are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// By TLS.
    pub encrypted: bool,
    /// Whether the server's certificate and its name are checked.
    pub checked: bool,
    /// Whether the address itself says that the server is on this machine: a Unix socket, `localhost` or a loopback
    /// address. Where sentinels name the server, it may be anywhere.
    pub local: bool,
}

impl Target {
    /// Reads a URL: `redis://[user][:password]@host[:port][/db]`, `rediss://` for TLS, `unix:///path?db=1&user=..&pass=..`.
    ///
    /// Of the query counts `db` (`virtual_host`), and with `rediss://` `ssl_ca_certs` (a PEM file that replaces the
    /// system's authorities), `ssl_certfile` with `ssl_keyfile` (a client certificate) and `ssl_cert_reqs=none`, which,
    /// like the fragment `#insecure`, encrypts without checking who answers; anything else is refused. Certificates are
    /// checked otherwise, and read once per target.
    ///
    /// `name` is the target's name in the configuration. `connect_timeout` bounds reaching the server and TLS,
    /// `response_timeout` every reply, from the call on. The error is a [`Fault::Halt`] of class `config`.
    pub fn new(
        name: &str,
        url: &SecretString,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Result<Self, Fault> {
        let wrong = |what: &str| {
            Fault::halt(
                "config",
                format!("`url` of redis.{name}: {what}; expected redis://[user:password@]host[:port][/db]"),
            )
        };
        let Parsed { address, db, username, password, tls } =
            url::read(url.expose_secret()).map_err(|what| wrong(&what))?;
        Ok(Self(
            Arc::new(Inner {
                place: format!("redis.{name} at {}", describe(&address, db)).into(),
                username,
                password,
                address,
                db,
                tls: tls.map(Tls::new),
                connect_timeout,
                response_timeout,
            }),
            Told::default(),
        ))
    }

    /// The same target, whose host is the name of a primary that these sentinels (host and port) know. The error is a
    /// [`Fault::Halt`] of class `config`.
    pub fn with_sentinels(
        self,
        addresses: Vec<(String, u16)>,
        username: Option<String>,
        password: Option<SecretString>,
    ) -> Result<Self, Fault> {
        let inner = &*self.0;
        let Address::Tcp(name, _) = &inner.address else {
            let what =
                "with `sentinels`, `url` must be redis:// or rediss:// with the primary's name in place of a host";
            return Err(Fault::halt("config", format!("{}: {what}", inner.place)));
        };
        let target = inner.place.split(" at ").next().unwrap_or_default();
        let address = Address::Sentinel(Sentinels { name: name.clone(), addresses, username, password });
        Ok(Self(
            Arc::new(Inner {
                place: format!("{target} at {}", describe(&address, inner.db)).into(),
                address,
                db: inner.db,
                username: inner.username.clone(),
                password: inner.password.clone(),
                tls: inner.tls.as_ref().map(Tls::again),
                connect_timeout: inner.connect_timeout,
                response_timeout: inner.response_timeout,
            }),
            self.1,
        ))
    }

    /// Whether both were made from the same settings at the same time: clones of one target.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same target, whose connections and failures are counted under that name.
    #[must_use]
    pub fn counted(self, name: &str, metrics: Arc<Metrics>) -> Self {
        Self(self.0, Told::new(name, metrics))
    }

    /// Server and database without credentials, such as `broker:6379/1` or `unix:/run/redis.sock/0`: with a queue's key
    /// the destination that a tenure names. Equal for URLs that differ in user, password or TLS only.
    pub fn describe(&self) -> String {
        describe(&self.0.address, self.0.db)
    }

    /// How connections are protected, by the URL.
    pub fn protection(&self) -> Protection {
        let local = match &self.0.address {
            Address::Unix(_) => true,
            Address::Tcp(host, _) => {
                host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Address::Sentinel(_) => false,
        };
        let tls = self.0.tls.as_ref();
        Protection { encrypted: tls.is_some(), checked: tls.is_some_and(Tls::checks), local }
    }

    /// Makes a new connection, identifies itself, selects the database.
    ///
    /// [`Fault::Retry`] if the server cannot be reached or is not ready, [`Fault::Halt`] if it refuses the user, the
    /// password or the database.
    pub async fn connect(&self) -> Result<Link, Fault> {
        let mut link = self.1.connected(self.reach().await)?;
        link.told = self.1.clone();
        Ok(link)
    }

    async fn reach(&self) -> Result<Link, Fault> {
        let inner = &*self.0;
        let late = |bound: Duration, what: &str, setting: &str| {
            Fault::retry("connect", format!("{} {what} within {bound:?} (`{setting}`)", inner.place))
        };
        let mut stream = timeout(inner.connect_timeout, inner.reach())
            .await
            .map_err(|_| late(inner.connect_timeout, "is not reached", "connect_timeout"))??;
        let password = inner.password.as_ref().map(ExposeSecret::expose_secret);
        let greeting = Greeting { username: inner.username.as_deref(), password, db: inner.db };
        timeout(inner.response_timeout, greet(&inner.place, &mut stream, &greeting))
            .await
            .map_err(|_| late(inner.response_timeout, "accepts but does not answer", "response_timeout"))??;
        link(stream, inner.response_timeout, Arc::clone(&inner.place)).await
    }
}

/// Hands a connection on which all is said to the library: no credentials and no database for it.
pub(super) async fn link(stream: Box<dyn Stream>, response: Duration, place: Arc<str>) -> Result<Link, Fault> {
    let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(response));
    let (connection, driver) = MultiplexedConnection::new_with_config(&silent, stream, config)
        .await
        .map_err(|error| faults::fault(&place, &error))?;
    Ok(Link { connection, driver: tokio::spawn(driver), place, told: Told::default() })
}

fn describe(address: &Address, db: i64) -> String {
    match address {
        Address::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}/{db}"),
        Address::Tcp(host, port) => format!("{host}:{port}/{db}"),
        Address::Unix(path) => format!("unix:{}/{db}", path.display()),
        Address::Sentinel(sentinels) => format!("{}/{db}", sentinels.name),
    }
}

/// What the library needs of a transport.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Inner {
    /// The transport, TLS included.
    async fn reach(&self) -> Result<Box<dyn Stream>, Fault> {
        match &self.address {
            Address::Tcp(host, port) => self.reach_tcp(host, *port).await,
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| faults::io(&self.place, &error))?;
                Ok(Box::new(stream))
            }
            Address::Sentinel(sentinels) => {
                let (host, port) = sentinels.primary(self).await?;
                self.reach_tcp(&host, port).await
            }
        }
    }

    pub(super) async fn reach_tcp(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, Fault> {
        let addresses: Vec<_> =
            tokio::net::lookup_host((host, port)).await.map_err(|error| self.unresolved(&error))?.collect();
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| faults::io(&self.place, &error))?;
        stream.set_nodelay(true).map_err(|error| faults::io(&self.place, &error))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let config = tls.config().await.map_err(|what| self.tls_fault(&what))?;
        let name = server_name(host).map_err(|error| self.tls_fault(&error.to_string()))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| self.tls_fault(&error.to_string()))?))
    }

    fn unresolved(&self, error: &io::Error) -> Fault {
        Fault::retry("dns", format!("{}: the host name is not found ({error}); is it right in `url`?", self.place))
    }

    fn tls_fault(&self, what: &str) -> Fault {
        Fault::retry(
            "tls",
            format!(
                "{}: no TLS connection: {what}; are the host, the port and `ssl_ca_certs` in `url` right?",
                self.place
            ),
        )
    }
}

/// One connection. Commands may be in flight several deep: they reach the server in the order in which their futures
/// are first polled. Dropping it closes the connection at once, with whatever was only half sent.
#[derive(Debug)]
pub struct Link {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    place: Arc<str>,
    told: Told,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    /// Which server, for messages to people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The fault of a command, or of all that were sent with it.
    fn failed(&self, error: &RedisError) -> Fault {
        let fault = faults::fault(&self.place, error);
        self.told.failed(&fault);
        fault
    }

    /// Sends one command; every error reply, however deep inside, is a fault.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, Fault> {
        let mut connection = self.connection.clone();
        let reply = connection.send_packed_command(command).await.and_then(Value::extract_error);
        reply.map_err(|error| self.failed(&error))
    }

    /// Sends commands in one write; each has its own reply or fault. Fails as a whole if the connection does.
    pub(super) async fn pipeline(&self, pipeline: &Pipeline) -> Result<Vec<Result<Value, Fault>>, Fault> {
        let mut connection = self.connection.clone();
        let replies = connection.send_packed_commands(pipeline, 0, pipeline.len()).await;
        let replies = replies.map_err(|error| self.failed(&error))?;
        let each =
            replies.into_iter().map(|reply| reply.extract_error().map_err(|error| faults::fault(&self.place, &error)));
        Ok(each.collect())
    }

    /// Sends commands between MULTI and EXEC; each has its own reply or fault. Fails as a whole if one is not even queued.
    pub(super) async fn transaction_each(&self, commands: Vec<Cmd>) -> Result<Vec<Result<Value, Fault>>, Fault> {
        let mut pipeline = Pipeline::with_capacity(commands.len() + 2);
        pipeline.cmd("MULTI");
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.cmd("EXEC");
        let mut connection = self.connection.clone();
        let fault = |error| faults::fault(&self.place, &error);
        let replies = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await;
        let mut replies = replies.map_err(|error| self.failed(&error))?;
        let executed = replies.pop();
        for queued in replies {
            queued.extract_error().map_err(fault)?;
        }
        match executed {
            Some(Value::Array(each)) => {
                Ok(each.into_iter().map(|reply| reply.extract_error().map_err(fault)).collect())
            }
            Some(other) => Err(other.extract_error().map_err(fault).err().unwrap_or_else(|| self.odd("EXEC"))),
            None => Err(self.odd("EXEC")),
        }
    }

    fn odd(&self, what: &str) -> Fault {
        faults::protocol(&self.place, what)
    }

    /// Sends commands between MULTI and EXEC; any error reply is a fault of the whole.
    pub(super) async fn transaction(&self, pipeline: &mut Pipeline) -> Result<Vec<Value>, Fault> {
        let mut connection = self.connection.clone();
        let replies = pipeline.atomic().query_async::<Vec<Value>>(&mut connection).await;
        replies.map_err(|error| self.failed(&error))
    }
}
