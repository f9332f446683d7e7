//! Opens a connection: hosts in turn, addresses in turn, each attempt bounded as a whole.
//!
//! The driver bounds the TCP handshake only; a server that accepts and then says nothing would hold it for ever.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{Config, SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::{self, Dsn, Endpoint, Mode, Place};
use super::error::{PgFault, connecting, is_tls};
use super::tls;
use crate::fault::{Fault, Origin};

/// The half of a connection that does the I/O.
pub(super) type Wire = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A request to cancel a statement is an attempt to be kind; it gets this long.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// Knows how to reach one database. Cheap to clone, and all clones see a renewed password; its `Debug` shows none.
#[derive(Clone)]
pub struct Connector {
    setting: &'static str,
    target: Arc<str>,
    access: Arc<RwLock<Arc<Access>>>,
}

/// How to get in.
struct Access {
    setting: &'static str,
    dsn: Dsn,
    tls: MakeRustlsConnect,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("setting", &self.setting)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// How connections by one connection string are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// `sslmode` as it is in force; `verify-ca` and `verify-full` check who answers, the others do not.
    pub mode: &'static str,
    /// Whether connections are encrypted; `None`: as the server likes.
    pub encrypted: Option<bool>,
    /// Whether the addresses themselves say that every host is this machine: Unix sockets, `localhost` and loopback.
    pub local: bool,
}

/// Where one attempt goes.
struct Attempt<'a> {
    endpoint: &'a Endpoint,
    addr: Option<IpAddr>,
    mode: SslMode,
}

impl Connector {
    /// Reads a connection string (`postgres://` or `key=value`), and the certificates that it names. No network.
    ///
    /// `setting` is where the string came from (`database.url`), for error messages. `application_name` is what
    /// `pg_stat_activity` shows unless the string names something else. The error is a [`Fault::Halt`].
    pub fn new(setting: &'static str, url: &str, application_name: &str) -> Result<Self, Fault> {
        let access = Access::read(setting, url, application_name)?;
        let target = describe(&access.dsn).into();
        Ok(Self { setting, target, access: Arc::new(RwLock::new(Arc::new(access))) })
    }

    /// Whether a connection string can be understood; a sentence if not. Reads no files.
    pub fn check(url: &str) -> Result<(), String> {
        dsn::parse(url).map(drop)
    }

    /// Uses another password, or other parameters, for connections from now on. False, and nothing is changed, if the
    /// connection string leads to another user, host or database.
    pub fn renew(&self, url: &str) -> Result<bool, Fault> {
        let old = self.access();
        let mut access = Access::read(self.setting, url, old.dsn.base.get_application_name().unwrap_or_default())?;
        if describe(&access.dsn) != *self.target {
            return Ok(false);
        }
        if !access.dsn.connect_timeout_given {
            access.dsn.connect_timeout = old.dsn.connect_timeout;
        }
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        Ok(true)
    }

    /// How long one attempt may take, unless the connection string says so itself.
    #[must_use]
    pub fn connect_timeout(self, limit: Duration) -> Self {
        // Nobody else holds it yet, right after `new`.
        if let Some(access) = Arc::get_mut(&mut self.access.write().unwrap_or_else(PoisonError::into_inner))
            && !access.dsn.connect_timeout_given
        {
            access.dsn.connect_timeout = limit;
        }
        self
    }

    /// As it is at this moment: an attempt to connect goes by one and the same from its beginning to its end.
    fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// `user@host:port/database`, for logs; without password and parameters.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How connections are protected, by the connection string.
    pub fn protection(&self) -> Protection {
        let access = self.access();
        let endpoints = &access.dsn.endpoints;
        // Nobody speaks TLS on a Unix socket, whatever the mode.
        let sockets = endpoints.iter().all(|endpoint| matches!(endpoint.place, Place::Unix(_)));
        let (mode, encrypted) = match access.dsn.tls.mode {
            Mode::Disable => ("disable", Some(false)),
            Mode::Allow => ("allow", None),
            Mode::Prefer => ("prefer", None),
            Mode::Require => ("require", Some(true)),
            Mode::VerifyCa => ("verify-ca", Some(true)),
            Mode::VerifyFull => ("verify-full", Some(true)),
        };
        let encrypted = if sockets { Some(false) } else { encrypted };
        Protection { mode, encrypted, local: endpoints.iter().all(is_local) }
    }

    /// The setting that the connection string came from.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// The longest that [`Connector::connect`] can take if every name resolves to one address.
    pub(super) fn patience(&self) -> Duration {
        let dsn = &self.access().dsn;
        let attempts = u32::try_from(dsn.endpoints.len()).unwrap_or(1);
        // Resolving and the second try of `prefer` and `allow` count too.
        dsn.connect_timeout.saturating_mul(attempts.saturating_mul(3))
    }

    /// Opens a connection to the first host that fits. The error is never uncertain.
    pub(super) async fn connect(&self) -> Result<(Client, Wire), PgFault> {
        self.access().connect().await
    }

    /// Asks the server to stop what the session is doing. Best effort.
    pub(super) async fn cancel(&self, token: CancelToken) {
        let tls = self.access().tls.clone();
        // Too late, or unreachable: either way there is nothing more to do.
        drop(timeout(CANCEL_TIMEOUT, token.cancel_query(tls)).await);
    }
}

impl Access {
    fn read(setting: &'static str, url: &str, application_name: &str) -> Result<Self, Fault> {
        let config_fault = |text: String| Fault::halt("config", format!("{setting}: {text}")).of(Origin::Postgres);
        let mut dsn = dsn::parse(url).map_err(config_fault)?;
        if dsn.base.get_application_name().is_none() {
            dsn.base.application_name(application_name);
        }
        let tls = tls::connector(&dsn.tls).map_err(config_fault)?;
        Ok(Self { setting, dsn, tls })
    }

    async fn connect(&self) -> Result<(Client, Wire), PgFault> {
        let tls = self.tls()?;
        let mut order: Vec<&Endpoint> = self.dsn.endpoints.iter().collect();
        if self.dsn.shuffle {
            fastrand::shuffle(&mut order);
        }
        let mut failures = Vec::new();
        for endpoint in order {
            match self.reach(endpoint, &tls).await {
                Ok(pair) => return Ok(pair),
                Err(fault) => failures.push(fault),
            }
        }
        Err(sum_up(failures))
    }

    /// Certificates are read again for each connection, so that renewed ones count without a restart.
    fn tls(&self) -> Result<MakeRustlsConnect, PgFault> {
        if !tls::reads_files(&self.dsn.tls) {
            return Ok(self.tls.clone());
        }
        let halt = |text| PgFault::refused(Fault::halt("tls", format!("{}: {text}", self.setting)));
        tls::connector(&self.dsn.tls).map_err(halt)
    }

    async fn reach(&self, endpoint: &Endpoint, tls: &MakeRustlsConnect) -> Result<(Client, Wire), PgFault> {
        let mut failures = Vec::new();
        for addr in self.resolve(endpoint).await? {
            match self.reach_address(endpoint, addr, tls).await {
                Ok(pair) => return Ok(pair),
                Err(fault) => failures.push(fault),
            }
        }
        Err(sum_up(failures))
    }

    /// The addresses of a host; `None` stands for a Unix socket.
    async fn resolve(&self, endpoint: &Endpoint) -> Result<Vec<Option<IpAddr>>, PgFault> {
        let name = match &endpoint.place {
            Place::Unix(_) => return Ok(vec![None]),
            Place::Tcp { addr: Some(addr), .. } => return Ok(vec![Some(*addr)]),
            Place::Tcp { name, addr: None } => name,
        };
        let doing = format!("resolving {name} ({})", self.setting);
        match timeout(self.dsn.connect_timeout, tokio::net::lookup_host((name.as_str(), endpoint.port))).await {
            Ok(Ok(found)) => Ok(found.map(|a: SocketAddr| Some(a.ip())).collect()),
            Ok(Err(e)) => Err(PgFault::refused(Fault::retry("connection", format!("{doing}: {e}")))),
            Err(_) => Err(PgFault::timeout(&doing, self.dsn.connect_timeout, "check the name and the DNS server")),
        }
    }

    /// libpq's order of TLS and plain text.
    async fn reach_address(
        &self,
        endpoint: &Endpoint,
        addr: Option<IpAddr>,
        tls: &MakeRustlsConnect,
    ) -> Result<(Client, Wire), PgFault> {
        let unix = matches!(endpoint.place, Place::Unix(_));
        let (first, second) = match self.dsn.tls.mode {
            // TLS is not spoken on Unix sockets, whatever sslmode says.
            _ if unix => (SslMode::Disable, None),
            Mode::Disable => (SslMode::Disable, None),
            Mode::Allow => (SslMode::Disable, Some(SslMode::Require)),
            Mode::Prefer => (SslMode::Prefer, Some(SslMode::Disable)),
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => (SslMode::Require, None),
        };
        let (fault, other_way) = match self.attempt(Attempt { endpoint, addr, mode: first }, tls).await {
            Ok(pair) => return Ok(pair),
            Err(failure) => failure,
        };
        match second.filter(|_| other_way) {
            Some(mode) => self.attempt(Attempt { endpoint, addr, mode }, tls).await.map_err(|(fault, _)| fault),
            None => Err(fault),
        }
    }

    /// One attempt. The flag of the error says whether the other of TLS and plain text may succeed.
    async fn attempt(&self, to: Attempt<'_>, tls: &MakeRustlsConnect) -> Result<(Client, Wire), (PgFault, bool)> {
        let doing = format!("connecting to {}", spell(to.endpoint));
        let limit = self.dsn.connect_timeout;
        let config = self.config(&to);
        match timeout(limit, config.connect(tls.clone())).await {
            Ok(Ok(pair)) => Ok(pair),
            Ok(Err(error)) => {
                let other_way = is_tls(&error) || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
                Err((connecting(&error, &doing, self.setting), other_way))
            }
            Err(_) => {
                let next = format!("check the host and the port in {} and the firewall", self.setting);
                Err((PgFault::timeout(&doing, limit, &next), false))
            }
        }
    }

    fn config(&self, to: &Attempt<'_>) -> Config {
        let mut config = self.dsn.base.clone();
        match &to.endpoint.place {
            Place::Unix(folder) => config.host_path::<&Path>(folder),
            Place::Tcp { name, .. } => config.host(name.as_str()),
        };
        if let Some(addr) = to.addr {
            config.hostaddr(addr);
        }
        if self.dsn.tls.direct && to.mode == SslMode::Require {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        config.port(to.endpoint.port).ssl_mode(to.mode).connect_timeout(self.dsn.connect_timeout);
        config
    }
}

/// Several failures as one: worth another try if any of them is.
fn sum_up(mut failures: Vec<PgFault>) -> PgFault {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let retry = failures.iter().find(|f| matches!(f.fault, Fault::Retry(_)));
    let Some(leading) = retry.or(failures.first()) else {
        return PgFault::refused(Fault::retry("connection", "the host name has no address"));
    };
    let message = failures.iter().map(|f| f.fault.reason().message.as_str()).collect::<Vec<_>>().join("; ");
    let class = leading.fault.reason().class;
    let fault = if retry.is_some() { Fault::retry(class, message) } else { Fault::halt(class, message) };
    PgFault { code: leading.code.clone(), ..PgFault::refused(fault) }
}

fn is_local(endpoint: &Endpoint) -> bool {
    match &endpoint.place {
        Place::Unix(_) => true,
        Place::Tcp { name, addr } => match addr.or_else(|| name.parse().ok()) {
            Some(addr) => addr.is_loopback(),
            None => name.eq_ignore_ascii_case("localhost"),
        },
    }
}

fn spell(endpoint: &Endpoint) -> String {
    match &endpoint.place {
        Place::Unix(folder) => format!("{}:{}", folder.display(), endpoint.port),
        Place::Tcp { name, .. } if name.contains(':') => format!("[{name}]:{}", endpoint.port),
        Place::Tcp { name, .. } => format!("{name}:{}", endpoint.port),
    }
}

fn describe(dsn: &Dsn) -> String {
    let hosts = dsn.endpoints.iter().map(spell).collect::<Vec<_>>().join(",");
    let user = dsn.base.get_user().map(|u| format!("{u}@")).unwrap_or_default();
    let database = dsn.base.get_dbname().map(|d| format!("/{d}")).unwrap_or_default();
    format!("{user}{hosts}{database}")
}
