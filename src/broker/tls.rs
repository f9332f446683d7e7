//! TLS to Redis, as the URL asks for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::sync::Mutex;

use crate::tls::{Depth, Verifier};

/// How the URL wants the server's certificate checked, and what it shows of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TlsSettings {
    /// `#insecure` or `ssl_cert_reqs=none`: encrypt, but accept any certificate.
    pub(super) accept_any: bool,
    /// `ssl_ca_certs`: trust these instead of the system's.
    pub(super) ca: Option<PathBuf>,
    /// `ssl_certfile` and `ssl_keyfile`: show this certificate.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// TLS of one target, with the certificates as they were read last.
#[derive(Debug)]
pub(super) struct Tls {
    settings: TlsSettings,
    read: Mutex<Option<(Vec<Stamp>, Arc<ClientConfig>)>>,
}

/// When a file was written, and its length; `None` if it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Tls {
    pub(super) fn new(settings: TlsSettings) -> Self {
        Self { settings, read: Mutex::default() }
    }

    /// Whether a server must prove who it is.
    pub(super) fn checks(&self) -> bool {
        !self.settings.accept_any
    }

    /// By the same settings, nothing read yet.
    pub(super) fn again(&self) -> Self {
        Self::new(self.settings.clone())
    }

    /// For one connection, by the files as they are now: whatever renews a certificate tells nobody. If they cannot be
    /// used and could before, one of a pair is still to be replaced, and the old ones go on.
    pub(super) async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut read = self.read.lock().await;
        let (settings, known) = (self.settings.clone(), read.clone());
        let now = move || {
            let stamps = settings.stamps();
            match known {
                Some((known, config)) if known == stamps => Ok((stamps, config)),
                _ => settings.load().map(|config| (stamps, Arc::new(config))),
            }
        };
        let loaded = tokio::task::spawn_blocking(now).await.unwrap_or_else(|error| Err(error.to_string()));
        match (loaded, &*read) {
            (Ok(now), _) => Ok(Arc::clone(&read.insert(now).1)),
            (Err(reason), Some((_, config))) => {
                tracing::warn!(
                    event = "redis.certificates_kept",
                    reason,
                    "new certificates cannot be used; connections go on with those that were read before"
                );
                Ok(Arc::clone(config))
            }
            (Err(reason), None) => Err(reason),
        }
    }
}

impl TlsSettings {
    /// Reads the files and makes the configuration; the error is a sentence. Blocks on the disk.
    pub(super) fn load(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(self.verifier(provider)?));
        let Some((cert, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(cert)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("the client certificate cannot be used: {error}"))
    }

    /// What tells that a file was replaced. The system's authorities are read once.
    fn stamps(&self) -> Vec<Stamp> {
        let pair = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        let stamp = |path: &PathBuf| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        self.ca.iter().chain(pair).map(stamp).collect()
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
        match &self.ca {
            _ if self.accept_any => Ok(Verifier::believing(provider)),
            Some(path) => Ok(Verifier::of_file(Depth::IssuerAndName, certificates(path)?, provider)),
            None => Verifier::of_system(Depth::IssuerAndName, provider)
                .ok_or_else(|| format!("the system has no certificate authorities; {CA_ADVICE}")),
        }
    }
}

const CA_ADVICE: &str = "install ca-certificates, set SSL_CERT_FILE, or add ?ssl_ca_certs=/path/ca.pem to `url`";

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate in PEM form", path.display()));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> String {
    format!("{} cannot be read as PEM: {error:?}", path.display())
}

/// The name that the certificate must be for.
pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
