//! TLS to PostgreSQL: rustls with ring, and libpq's meaning of `sslmode`.
//!
//! `require` encrypts and verifies nothing, `verify-ca` verifies who signed the certificate, `verify-full` verifies
//! the name too. One thing is kinder than libpq: `verify-full` without `sslrootcert` trusts the machine's authorities.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, InconsistentKeys, version};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::dsn::{Mode, Roots, TlsParams};
use crate::tls::{Depth, Verifier};

/// Builds the connector. Reads the files that the parameters name; the error is a sentence that names the file.
pub(super) fn connector(params: &TlsParams) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(verifier(params, Arc::clone(&provider))?);
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

/// How the server's certificate is verified.
fn verifier(params: &TlsParams, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
    let depth = match params.mode {
        Mode::VerifyFull => Depth::IssuerAndName,
        Mode::VerifyCa => Depth::Issuer,
        // libpq: a root file makes `prefer` and `allow` no stricter, because both go on without TLS anyway.
        Mode::Disable | Mode::Allow | Mode::Prefer | Mode::Require => return Ok(Verifier::believing(provider)),
    };
    match &params.roots {
        Some(Roots::File(path)) => Ok(Verifier::of_file(depth, certificates(path, "sslrootcert")?, provider)),
        Some(Roots::System) | None => Verifier::of_system(depth, provider).ok_or_else(|| {
            "sslmode=verify-full found no trusted authority on this machine: install the package ca-certificates or give \
             sslrootcert=FILE"
                .into()
        }),
    }
}
