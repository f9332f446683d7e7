//! Reads a connection string, as a URL or as `key=value` pairs, with libpq's meaning.
//!
//! It exists because the driver knows neither `sslrootcert` nor half of `sslmode`, and bounds only one step of
//! connecting. Errors name keys and never values: a value may be a password.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, Config, LoadBalanceHosts, TargetSessionAttrs};

/// How long one attempt to reach one address may take, TLS and authentication included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is probed after this time, so that a server that vanished is noticed in seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
/// Sent bytes that nobody acknowledges for this time end the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Where Debian, Ubuntu, Fedora and the official image keep the server's socket.
const SOCKET_FOLDER: &str = "/var/run/postgresql";

/// A connection string, understood.
#[derive(Debug, Clone)]
pub(super) struct Dsn {
    /// User, password, database, options and keep-alives; no hosts.
    pub(super) base: Config,
    /// In the order in which they are tried.
    pub(super) endpoints: Vec<Endpoint>,
    /// Try the hosts in random order.
    pub(super) shuffle: bool,
    pub(super) connect_timeout: Duration,
    /// Whether the connection string says so itself.
    pub(super) connect_timeout_given: bool,
    pub(super) tls: TlsParams,
}

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) place: Place,
    pub(super) port: u16,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder with a Unix socket.
    Unix(PathBuf),
    /// A name for resolving and for the certificate, and an address that saves resolving.
    Tcp { name: String, addr: Option<IpAddr> },
}

/// `sslmode`, with libpq's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// `sslrootcert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// The authorities that the machine trusts.
    System,
    File(PathBuf),
}

/// Everything about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsParams {
    pub(super) mode: Mode,
    pub(super) roots: Option<Roots>,
    /// `sslcert` and `sslkey`.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
    pub(super) only_tls13: bool,
    pub(super) sni: bool,
    /// `sslnegotiation=direct` (PostgreSQL 17 and later).
    pub(super) direct: bool,
}

/// Reads a connection string. The error is a sentence without any value of the string.
pub(super) fn parse(text: &str) -> Result<Dsn, String> {
    let mut params = Params(pairs(text.trim())?);
    let tls = params.tls()?;
    let endpoints = params.endpoints()?;
    let several = endpoints.len() > 1;
    let shuffle = match params.take("load_balance_hosts").as_deref() {
        None | Some("disable") => false,
        Some("random") => true,
        Some(_) => return Err("load_balance_hosts must be disable or random".into()),
    };
    let connect_timeout = params.seconds("connect_timeout")?;
    let connect_timeout_given = connect_timeout.is_some();
    let connect_timeout = connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let base = params.base(several)?;
    params.finish()?;
    Ok(Dsn { base, endpoints, shuffle, connect_timeout, connect_timeout_given, tls })
}

/// Keys with the last value given for each.
struct Params(Vec<(String, String)>);

impl Params {
    /// Removes a key. An empty value counts as absent, as in libpq.
    fn take(&mut self, key: &str) -> Option<String> {
        let mut found = None;
        self.0.retain_mut(|(k, v)| {
            let hit = k == key;
            if hit {
                found = Some(std::mem::take(v));
            }
            !hit
        });
        found.filter(|v| !v.is_empty())
    }

    fn number(&mut self, key: &str) -> Result<Option<u32>, String> {
        let parse = |v: String| v.parse().map_err(|_| format!("{key} must be a whole number"));
        self.take(key).map(parse).transpose()
    }

    /// Zero means "not set", as in libpq.
    fn seconds(&mut self, key: &str) -> Result<Option<Duration>, String> {
        Ok(self.number(key)?.filter(|n| *n > 0).map(|n| Duration::from_secs(n.into())))
    }

    fn tls(&mut self) -> Result<TlsParams, String> {
        if self.take("sslpassword").is_some() {
            return Err(
                "sslpassword is not supported: decrypt the key once with `openssl pkey -in KEY -out PLAIN` and \
                        give the plain file as sslkey"
                    .into(),
            );
        }
        let roots = self.take("sslrootcert").map(|v| match v.as_str() {
            "system" => Roots::System,
            _ => Roots::File(v.into()),
        });
        let mode = match (self.take("sslmode").as_deref(), &roots) {
            (None, Some(Roots::System)) => Mode::VerifyFull,
            (None, _) => Mode::Prefer,
            (Some(word), _) => mode(word)?,
        };
        if roots == Some(Roots::System) && mode != Mode::VerifyFull {
            return Err("sslrootcert=system needs sslmode=verify-full: any name has a certificate of some public \
                        authority, so that a weaker mode would verify nothing"
                .into());
        }
        if mode == Mode::VerifyCa && roots.is_none() {
            return Err("sslmode=verify-ca needs sslrootcert=FILE, the certificate of the authority that signed the \
                        server's"
                .into());
        }
        let identity = match (self.take("sslcert"), self.take("sslkey")) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            _ => return Err("sslcert and sslkey belong together: give both files or neither".into()),
        };
        let only_tls13 = match self.take("ssl_min_protocol_version").as_deref() {
            None | Some("TLSv1" | "TLSv1.1" | "TLSv1.2") => false,
            Some("TLSv1.3") => true,
            Some(_) => return Err("ssl_min_protocol_version must be TLSv1.2 or TLSv1.3".into()),
        };
        let direct = match self.take("sslnegotiation").as_deref() {
            None | Some("postgres") => false,
            Some("direct") if matches!(mode, Mode::Require | Mode::VerifyCa | Mode::VerifyFull) => true,
            Some("direct") => return Err("sslnegotiation=direct needs sslmode=require or stricter".into()),
            Some(_) => return Err("sslnegotiation must be postgres or direct".into()),
        };
        // libpq: a root file turns `require` into `verify-ca`.
        let mode = if mode == Mode::Require && roots.is_some() { Mode::VerifyCa } else { mode };
        let sni = self.take("sslsni").as_deref() != Some("0");
        Ok(TlsParams { mode, roots, identity, only_tls13, sni, direct })
    }

    fn endpoints(&mut self) -> Result<Vec<Endpoint>, String> {
        let list = |v: Option<String>| v.map(|v| v.split(',').map(str::to_owned).collect::<Vec<_>>());
        let (names, addrs) = (list(self.take("host")), list(self.take("hostaddr")));
        let ports = list(self.take("port")).unwrap_or_default();
        let count = names.as_ref().or(addrs.as_ref()).map_or(1, Vec::len);
        if addrs.as_ref().is_some_and(|a| a.len() != count) {
            return Err("host and hostaddr must list the same number of servers".into());
        }
        if ports.len() > 1 && ports.len() != count {
            return Err("port must be given once, or once for each host".into());
        }
        let at = |all: &Option<Vec<String>>, i: usize| all.as_ref().map(|v| v[i].clone()).filter(|v| !v.is_empty());
        let one = |i| -> Result<Endpoint, String> {
            let port = ports.get(i).or(ports.first()).map_or("", String::as_str);
            let port = if port.is_empty() { Ok(5432) } else { port.parse() };
            let port = port.map_err(|_| "port must be a number from 1 to 65535".to_owned())?;
            let addr = at(&addrs, i).map(|a| a.parse().map_err(|_| "hostaddr must be an IP address".to_owned()));
            Ok(Endpoint { place: place(at(&names, i), addr.transpose()?), port })
        };
        (0..count).map(one).collect()
    }

    /// What the driver understands by itself.
    fn base(&mut self, several: bool) -> Result<Config, String> {
        let mut config = Config::new();
        if let Some(user) = self.take("user") {
            config.user(user);
        }
        if let Some(password) = self.take("password") {
            config.password(password);
        }
        if let Some(database) = self.take("dbname") {
            config.dbname(database);
        }
        if let Some(options) = self.take("options") {
            config.options(options);
        }
        let fallback = self.take("fallback_application_name");
        if let Some(name) = self.take("application_name").or(fallback) {
            config.application_name(name);
        }
        config.target_session_attrs(self.session_attrs(several)?);
        match self.take("channel_binding").as_deref() {
            None | Some("prefer") => {}
            Some("disable") => drop(config.channel_binding(ChannelBinding::Disable)),
            Some("require") => drop(config.channel_binding(ChannelBinding::Require)),
            Some(_) => return Err("channel_binding must be disable, prefer or require".into()),
        }
        config.load_balance_hosts(LoadBalanceHosts::Disable);
        self.keepalives(&mut config)?;
        Ok(config)
    }

    fn session_attrs(&mut self, several: bool) -> Result<TargetSessionAttrs, String> {
        match self.take("target_session_attrs").as_deref() {
            // Among several hosts only the one that takes writes is of use here.
            None if several => Ok(TargetSessionAttrs::ReadWrite),
            None | Some("any") => Ok(TargetSessionAttrs::Any),
            Some("read-write" | "primary") => Ok(TargetSessionAttrs::ReadWrite),
            Some("read-only" | "standby" | "prefer-standby") => {
                Err("target_session_attrs must be read-write, primary or any: outboxd writes to the database".into())
            }
            Some(_) => Err("target_session_attrs must be read-write, primary or any".into()),
        }
    }

    fn keepalives(&mut self, config: &mut Config) -> Result<(), String> {
        config.keepalives(self.take("keepalives").as_deref() != Some("0"));
        config.keepalives_idle(self.seconds("keepalives_idle")?.unwrap_or(KEEPALIVE_IDLE));
        config.keepalives_interval(self.seconds("keepalives_interval")?.unwrap_or(KEEPALIVE_INTERVAL));
        let retries = self.number("keepalives_count")?;
        config.keepalives_retries(retries.filter(|n| *n > 0).unwrap_or(KEEPALIVE_RETRIES));
        // Milliseconds, as in libpq; the driver's own parser takes seconds.
        let unacknowledged = self.number("tcp_user_timeout")?.filter(|n| *n > 0);
        config.tcp_user_timeout(unacknowledged.map_or(TCP_USER_TIMEOUT, |ms| Duration::from_millis(ms.into())));
        Ok(())
    }

    /// Refuses what is left, except what changes nothing here.
    fn finish(self) -> Result<(), String> {
        let harmless = |k: &str, v: &str| match k {
            "gssencmode" => v != "require",
            "client_encoding" => matches!(v.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "auto"),
            "sslcompression" | "krbsrvname" | "gsslib" | "gssdelegation" => true,
            _ => v.is_empty(),
        };
        let unknown: Vec<String> =
            self.0.iter().filter(|(k, v)| !harmless(k, v)).map(|(k, _)| k.chars().take(40).collect()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let next = match unknown.first().map(String::as_str) {
            Some("schema" | "currentSchema") => ": set database.schema",
            Some("pgbouncer") => ": leave it out, every pooler will do",
            Some("passfile" | "service") => ": give the password in the URL, or the URL in url_file",
            _ => "",
        };
        Err(format!("the parameter {} is not supported here{next}", unknown.join(", ")))
    }
}

fn mode(word: &str) -> Result<Mode, String> {
    Ok(match word {
        "disable" => Mode::Disable,
        "allow" => Mode::Allow,
        "prefer" => Mode::Prefer,
        "require" => Mode::Require,
        "verify-ca" => Mode::VerifyCa,
        "verify-full" => Mode::VerifyFull,
        _ => return Err("sslmode must be disable, allow, prefer, require, verify-ca or verify-full".into()),
    })
}

fn place(name: Option<String>, addr: Option<IpAddr>) -> Place {
    match (name, addr) {
        (Some(name), None) if name.starts_with('/') => Place::Unix(name.into()),
        (Some(name), addr) => Place::Tcp { name, addr },
        (None, Some(addr)) => Place::Tcp { name: addr.to_string(), addr: Some(addr) },
        (None, None) if std::path::Path::new(SOCKET_FOLDER).is_dir() => Place::Unix(SOCKET_FOLDER.into()),
        (None, None) => Place::Tcp { name: "localhost".into(), addr: None },
    }
}

fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    match rest {
        Some(rest) => url_pairs(rest),
        None if text.contains("://") => Err("the scheme must be postgres:// or postgresql://".into()),
        None => keyword_pairs(text),
    }
}

fn url_pairs(rest: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut add = |key: &str, value: &str| -> Result<(), String> {
        found.push((key.to_owned(), percent_decode(value).ok_or(format!("{key} holds a wrong %-sequence"))?));
        Ok(())
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    add("user", user)?;
    add("password", password)?;
    add("dbname", database)?;
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or("an IPv6 host needs its closing bracket")?,
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(name);
        ports.push(port.strip_prefix(':').unwrap_or(port));
    }
    add("host", &names.join(","))?;
    // No port at all may still be given once, after the question mark.
    let ports = if ports.iter().all(|p| p.is_empty()) { String::new() } else { ports.join(",") };
    add("port", &ports)?;
    for part in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = part.split_once('=').ok_or("a parameter after ? needs the form key=value")?;
        // The name of JDBC's switch, which libpq takes too.
        match (key, value) {
            ("ssl", "true") => add("sslmode", "require")?,
            _ => add(key, value)?,
        }
    }
    Ok(found)
}

fn percent_decode(text: &str) -> Option<String> {
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        out.push(digit(bytes.next()?)? * 16 + digit(bytes.next()?)?);
    }
    String::from_utf8(out).ok()
}

fn keyword_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or("expected a URL (postgres://..) or key=value pairs")?;
        let (value, after) = keyword_value(after.trim_start())?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err("a key before = must be lower-case letters; quote values that hold spaces with '..'".into());
        }
        found.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(found)
}

/// A value, quoted or not, and what follows it.
fn keyword_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if quoted { Err("a quoted value lacks its closing quote".into()) } else { Ok((value, "")) }
}

#[cfg(test)]
mod tests;
