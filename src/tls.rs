//! Whether a server is who it should be: what the ways to PostgreSQL and to Redis have in common.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// How much of the server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Nothing: whoever answers is believed.
    Nothing,
    /// Who signed it.
    Issuer,
    /// Who signed it, and that it names the server.
    IssuerAndName,
}

/// Verifies servers' certificates.
#[derive(Debug)]
pub struct Verifier {
    depth: Depth,
    roots: RootCertStore,
    /// The very certificates of the file of authorities: a server may present one of them itself (self-signed), which
    /// OpenSSL accepts and rustls by itself does not.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Believes whoever answers.
    pub fn believing(provider: Arc<CryptoProvider>) -> Self {
        Self { depth: Depth::Nothing, roots: RootCertStore::empty(), pinned: Vec::new(), provider }
    }

    /// Trusts these authorities, and servers that present one of these certificates.
    pub fn of_file(depth: Depth, certificates: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        // One that is no authority's may still be a server's own.
        roots.add_parsable_certificates(certificates.iter().cloned());
        Self { depth, roots, pinned: certificates, provider }
    }

    /// Trusts the authorities that the machine trusts; `None` if there are none.
    pub fn of_system(depth: Depth, provider: Arc<CryptoProvider>) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        // One broken file among the system's must not lock everybody out.
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        (added > 0).then_some(Self { depth, roots, pinned: Vec::new(), provider })
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
