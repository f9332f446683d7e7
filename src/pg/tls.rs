//! TLS to PostgreSQL: rustls with ring, and libpq's meaning of `sslmode`.
//!
//! `require` encrypts and verifies nothing, `verify-ca` verifies who signed the certificate, `verify-full` verifies
//! the name too. One thing is kinder than libpq: `verify-full` without `sslrootcert` trusts the machine's authorities.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, SignatureScheme, version};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::{Mode, Roots, TlsParams};

/// Builds the connector. Reads the files that the parameters name; the error is a sentence that names the file.
pub(super) fn connector(params: &TlsParams) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Verifier::new(params, Arc::clone(&provider))?);
    let versions: &[_] = if params.only_tls13 { &[&version::TLS13] } else { &[&version::TLS13, &version::TLS12] };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|e| format!("TLS: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &params.identity {
        Some((cert, key)) => builder.with_client_cert_resolver(Arc::new(identity(cert, key, &provider)?)),
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = params.sni;
    if params.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

/// Whether the connector reads files, which may be replaced while the program runs.
pub(super) fn reads_files(params: &TlsParams) -> bool {
    params.identity.is_some() || matches!(params.roots, Some(Roots::File(_)))
}

/// The client's certificate and its key.
fn identity(cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<SingleCertAndKey, String> {
    let unfit = |e: Error| format!("sslkey: {} is of no use: {e}", key.display());
    let signer = provider.key_provider.load_private_key(private_key(key)?).map_err(unfit)?;
    let certified = CertifiedKey::new(certificates(cert, "sslcert")?, signer);
    // Other errors only say that rustls cannot tell: it reads no certificate of version 1, which servers accept.
    match certified.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(format!("sslkey: {} is not the key of sslcert {}", key.display(), cert.display()))
        }
        _ => Ok(certified.into()),
    }
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match parsed {
        Ok(found) if found.is_empty() => Err(format!("{key}: {} holds no PEM certificate", path.display())),
        Ok(found) => Ok(found),
        Err(e) => Err(format!("{key}: cannot read {}: {e}", path.display())),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| {
        format!(
            "sslkey: cannot read {}: {e}; it must be a PEM key without a password (`openssl pkey -in KEY -out PLAIN`)",
            path.display()
        )
    })
}

/// How much of the server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Nothing,
    Issuer,
    IssuerAndName,
}

#[derive(Debug)]
struct Verifier {
    depth: Depth,
    roots: RootCertStore,
    /// The very certificates of `sslrootcert`: a server may present one of them itself (self-signed), which libpq
    /// accepts and rustls by itself does not.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(params: &TlsParams, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let depth = match params.mode {
            Mode::VerifyFull => Depth::IssuerAndName,
            Mode::VerifyCa => Depth::Issuer,
            // libpq: a root file makes `prefer` and `allow` no stricter, because both go on without TLS anyway.
            Mode::Disable | Mode::Allow | Mode::Prefer | Mode::Require => Depth::Nothing,
        };
        let mut verifier = Self { depth, roots: RootCertStore::empty(), pinned: Vec::new(), provider };
        match &params.roots {
            _ if depth == Depth::Nothing => {}
            Some(Roots::File(path)) => verifier.trust_file(path)?,
            Some(Roots::System) | None => verifier.trust_system()?,
        }
        Ok(verifier)
    }

    fn trust_file(&mut self, path: &Path) -> Result<(), String> {
        self.pinned = certificates(path, "sslrootcert")?;
        self.roots.add_parsable_certificates(self.pinned.iter().cloned());
        Ok(())
    }

    fn trust_system(&mut self) -> Result<(), String> {
        let loaded = rustls_native_certs::load_native_certs();
        let (added, _) = self.roots.add_parsable_certificates(loaded.certs);
        if added == 0 {
            return Err("sslmode=verify-full found no trusted authority on this machine: install the package \
                        ca-certificates or give sslrootcert=FILE"
                .into());
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.depth == Depth::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let cert = ParsedCertificate::try_from(end_entity)?;
        if !self.pinned.iter().any(|known| known == end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&cert, &self.roots, intermediates, now, algorithms)?;
        }
        if self.depth == Depth::IssuerAndName {
            verify_server_name(&cert, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    // Verified at every depth: SCRAM's channel binding relies on the server owning the key of its certificate.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
