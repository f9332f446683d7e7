//! The URL of a Redis server, read. What other clients put into theirs is obeyed or refused, never passed over.

use std::path::PathBuf;

use redis::{ConnectionAddr, IntoConnectionInfo};
use secrecy::SecretString;
use url::form_urlencoded;

use super::connect::Address;
use super::tls::TlsSettings;

/// Everything that a URL says.
pub(super) struct Parsed {
    pub(super) address: Address,
    pub(super) db: i64,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) tls: Option<TlsSettings>,
}

/// Schemes of Unix sockets: of the library, of redis-py, of Celery.
const SOCKETS: [&str; 4] = ["unix://", "redis+unix://", "valkey+unix://", "redis+socket://"];

/// Reads a URL; the error is a sentence without any value of it.
pub(super) fn read(text: &str) -> Result<Parsed, String> {
    match SOCKETS.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => socket(rest),
        None => server(text),
    }
}

fn server(text: &str) -> Result<Parsed, String> {
    let parsed = redis::parse_redis_url(text).ok_or("it is not a Redis URL")?;
    let mut query = Query(parsed.query_pairs().into_owned().collect());
    let mut plain = parsed.clone();
    plain.set_query(None);
    let info = plain.into_connection_info().map_err(|error| error.to_string())?;
    let (host, port, insecure) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => (host, *port, None),
        ConnectionAddr::TcpTls { host, port, insecure, .. } => (host, *port, Some(*insecure)),
        _ => return Err("outboxd cannot connect to such an address".to_owned()),
    };
    if host.contains(',') {
        return Err("it names one server; where sentinels know several, set `sentinels`".to_owned());
    }
    let address = Address::Tcp(host.to_ascii_lowercase(), port);
    let tls = insecure.map(|insecure| query.tls(insecure)).transpose()?;
    let settings = info.redis_settings();
    let db = query.db()?.unwrap_or(settings.db());
    query.finish()?;
    let (username, password) = (settings.username().map(str::to_owned), settings.password().map(SecretString::from));
    checked(Parsed { address, db, username, password, tls })
}

/// `unix://[[user]:password@]/path?db=1`, or with `user` (`username`) and `pass` (`password`) behind the question mark.
fn socket(rest: &str) -> Result<Parsed, String> {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let credentials = authority.strip_suffix('@').unwrap_or("");
    if path.len() < 2 || credentials.len() + 1 < authority.len() || !fragment.is_empty() {
        return Err("after unix:// comes the whole path of a socket, such as unix:///run/redis.sock".to_owned());
    }
    let mut query = Query(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
    let plain =
        redis::parse_redis_url(&format!("redis://{credentials}@localhost")).ok_or("its password is not encoded")?;
    let info = plain.into_connection_info().map_err(|error| error.to_string())?;
    let settings = info.redis_settings();
    let path = url::Url::parse(&format!("file://{path}")).ok().and_then(|url| url.to_file_path().ok());
    let path = path.ok_or("its path is not encoded")?;
    let username = query.take("user").or(query.take("username")).or(settings.username().map(str::to_owned));
    let password = query.take("pass").or(query.take("password")).or(settings.password().map(str::to_owned));
    let db = query.db()?.unwrap_or(0);
    query.finish()?;
    checked(Parsed {
        address: Address::Unix(path),
        db,
        username,
        password: password.map(SecretString::from),
        tls: None,
    })
}

fn checked(parsed: Parsed) -> Result<Parsed, String> {
    if parsed.db < 0 { Err("the database must not be negative".to_owned()) } else { Ok(parsed) }
}

/// What stands behind the question mark.
struct Query(Vec<(String, String)>);

impl Query {
    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }

    /// `virtual_host` is Celery's name for it.
    fn db(&mut self) -> Result<Option<i64>, String> {
        let Some(text) = self.take("db").or(self.take("virtual_host")) else { return Ok(None) };
        text.trim_start_matches('/').parse().map(Some).map_err(|_| "`db` must be a number".to_owned())
    }

    fn tls(&mut self, insecure: bool) -> Result<TlsSettings, String> {
        let reqs = self.take("ssl_cert_reqs").map(|text| text.to_ascii_lowercase());
        let accept_any = match reqs.as_deref().map(|text| text.trim_start_matches("cert_")) {
            None => insecure,
            Some("none") => true,
            Some("required" | "optional") => false,
            Some(_) => return Err("`ssl_cert_reqs` must be required or none".to_owned()),
        };
        let identity = match (self.take("ssl_certfile"), self.take("ssl_keyfile")) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            _ => return Err("`ssl_certfile` and `ssl_keyfile` go together".to_owned()),
        };
        Ok(TlsSettings { accept_any, ca: self.take("ssl_ca_certs").map(PathBuf::from), identity })
    }

    /// Refuses what is left.
    fn finish(self) -> Result<(), String> {
        let Some((key, _)) = self.0.first() else { return Ok(()) };
        let key: String = key.chars().take(40).collect();
        Err(match key.as_str() {
            "socket_timeout" => "`socket_timeout` is not taken from the URL: set `response_timeout`".to_owned(),
            "socket_connect_timeout" => {
                "`socket_connect_timeout` is not taken from the URL: set `connect_timeout`".to_owned()
            }
            key if key.starts_with("ssl_") => format!("`{key}` is not supported here; TLS needs rediss://"),
            key => format!("the parameter `{key}` is not supported here"),
        })
    }
}
