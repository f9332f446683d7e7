//! Connection URLs and other secrets: kept out of every output, and printed only with their secret parts replaced.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// Query parameters that are never secret. All others are hidden: a parameter that a driver learns tomorrow may be one.
const HARMLESS: [&str; 23] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "db",
    "dbname",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "load_balance_hosts",
    "port",
    "protocol",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
    "virtual_host",
];

/// A value that may hold a credential. It has no `Display`; `Debug` and serialization give it redacted.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// The value as a folder that connects with it takes it.
    pub fn secret_string(&self) -> &SecretString {
        &self.0
    }

    /// The value itself: for the driver that connects with it, and for nothing else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// The value as a URL without its password and without secrets in its query; `***` if it is not a URL.
    pub fn redacted(&self) -> String {
        if self.is_empty() { String::new() } else { redact(self.expose()) }
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value.into())
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// A URL with its password and every query parameter that could be a secret replaced by `***`. What does not parse is hidden whole.
pub fn redact(text: &str) -> String {
    let Some(url) = Parts::of(text).filter(|parts| parts.fault().is_none()) else { return HIDDEN.to_owned() };
    let user = match url.credentials {
        None => String::new(),
        Some(credentials) => match credentials.split_once(':') {
            Some((user, "")) => format!("{user}:@"),
            Some((user, _)) => format!("{user}:{HIDDEN}@"),
            // redis://s3cret@host: a user name to the driver, a password to whoever wrote it.
            None if !url.scheme.starts_with("postgres") => format!("{HIDDEN}@"),
            None => format!("{credentials}@"),
        },
    };
    let mut shown = format!("{}://{user}{}{}", url.scheme, url.hosts, url.path);
    for (index, parameter) in url.query.unwrap_or_default().split('&').filter(|p| !p.is_empty()).enumerate() {
        shown.push(if index == 0 { '?' } else { '&' });
        let name = parameter.split('=').next().unwrap_or_default();
        if HARMLESS.contains(&name) {
            shown.push_str(parameter);
        } else if name.len() < parameter.len() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            shown.push_str(name);
            shown.push_str("=***");
        } else {
            shown.push_str(HIDDEN);
        }
    }
    if url.fragment == Some("insecure") {
        shown.push_str("#insecure");
    }
    shown
}

/// Checks that `text` is a URL with one of `schemes`. The answer is a sentence that never repeats the URL.
pub(super) fn check_url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let wanted = || schemes.iter().map(|s| format!("{s}://")).collect::<Vec<_>>().join(", ");
    let Some(parts) = Parts::of(text) else {
        return Err(format!("is not a URL: it must begin with {} (write \"key=value\" strings as a URL)", wanted()));
    };
    if !schemes.contains(&parts.scheme) {
        return Err(format!("has the scheme {:?}: it must begin with {}", parts.scheme, wanted()));
    }
    match parts.fault() {
        None => Ok(()),
        Some(fault) => Err(format!(
            "is not a valid URL ({fault}): a password must be percent-encoded, @ as %40, : as %3A, / as %2F, # as %23, ? as %3F, % as %25"
        )),
    }
}

/// A URL cut where the drivers cut it. `url` alone refuses several hosts (`a:5432,b:5432`), which Postgres allows.
struct Parts<'a> {
    scheme: &'a str,
    credentials: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) {
            return None;
        }
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        Some(Self { scheme, credentials, hosts, path, query, fragment })
    }

    /// Why this is no valid URL, told without its content.
    fn fault(&self) -> Option<String> {
        // An unescaped `/`, `?` or `#` in a password moves the `@` behind the authority.
        let behind = [Some(self.path), self.fragment].into_iter().flatten().any(|part| part.contains('@'));
        if behind || self.credentials.is_some_and(|c| c.contains('@')) {
            return Some("an @ where none can be".to_owned());
        }
        let user = self.credentials.map(|c| format!("{c}@")).unwrap_or_default();
        self.hosts.split(',').find_map(|host| {
            // A socket has no host, and redis-py writes its password all the same.
            let socket = ["unix", "redis+unix", "valkey+unix", "redis+socket"].contains(&self.scheme);
            let host = if socket && host.is_empty() { "localhost" } else { host };
            Url::parse(&format!("{}://{user}{host}{}", self.scheme, self.path)).err().map(|error| error.to_string())
        })
    }
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_and_unknown_parameters_are_never_printed() {
        for (url, shown) in [
            ("postgres://app:hunter2@db/app", "postgres://app:***@db/app"),
            (
                "postgres://app@db/app?sslmode=require&sslpassword=hunter2",
                "postgres://app@db/app?sslmode=require&sslpassword=***",
            ),
            ("postgres://app:hunter2@a:5432,b:5432/app", "postgres://app:***@a:5432,b:5432/app"),
            (
                "postgres:///app?host=/run/postgresql&password=hunter2",
                "postgres:///app?host=/run/postgresql&password=***",
            ),
            ("rediss://:hunter2@r:6380/1#insecure", "rediss://:***@r:6380/1#insecure"),
            ("redis://hunter2@r/0", "redis://***@r/0"),
            ("redis://r/0#hunter2", "redis://r/0"),
            ("unix:///run/redis.sock?db=1&pass=hunter2", "unix:///run/redis.sock?db=1&pass=***"),
            ("postgres://app:hun/ter2@db/app", "***"),
            ("postgres://app:hun?ter2@db/app", "***"),
            ("postgres://app:hun#ter2@db/app", "***"),
            ("postgres://app:123?ter2@db/app", "postgres://app:123?***"),
            ("host=db password=hunter2", "***"),
        ] {
            assert_eq!(redact(url), shown);
            assert!(!format!("{:?}", Secret::from(url)).contains("ter2"), "{url}");
        }
    }

    #[test]
    fn a_malformed_url_is_explained_without_its_content() {
        for url in [
            "postgres://app:hun/ter2@db/app",
            "http://hunter2@db",
            "host=db password=hunter2",
            "postgres://a:hun#ter2@b/c",
        ] {
            let sentence = check_url(url, &["postgres", "postgresql"]).unwrap_err();
            assert!(!sentence.contains("ter2") && !sentence.contains("hun/"), "{sentence}");
        }
        assert_eq!(check_url("postgresql://a,b:5433/app", &["postgres", "postgresql"]), Ok(()));
        assert_eq!(check_url("postgres://app@%2Frun%2Fpostgresql/app", &["postgres"]), Ok(()));
    }
}
