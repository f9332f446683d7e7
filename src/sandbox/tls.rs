//! Certificates for servers that speak TLS, signed by an authority that lives as long as the sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::find_in_path;
use super::{Process, ProcessSpec, Result, Sandbox, failure};

/// The files of a server that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signed the certificate; what a client's `sslrootcert` names.
    pub ca: PathBuf,
    /// The certificate for `localhost` and `127.0.0.1`.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Makes an authority and a certificate that are valid for a day.
    pub fn make(sandbox: &Sandbox) -> Result<Self> {
        let openssl = find_in_path("openssl")
            .ok_or_else(|| failure("openssl was not found in PATH; install it (Debian: apt-get install openssl)."))?;
        let folder = sandbox.subfolder("tls")?;
        let path = folder.join("extensions");
        fs::write(&path, EXTENSIONS).map_err(|e| failure(format!("{} cannot be written: {e}.", path.display())))?;
        for line in [AUTHORITY, REQUEST, CERTIFICATE] {
            run(&openssl, &folder, line)?;
        }
        Ok(Self { ca: folder.join("ca.crt"), cert: folder.join("server.crt"), key: folder.join("server.key") })
    }
}

const AUTHORITY: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=sandbox \
                         -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt";
const REQUEST: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
                       -keyout server.key -out server.csr";
const CERTIFICATE: &str = "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 \
                           -extfile extensions -out server.crt";
const EXTENSIONS: &str = "basicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth\n\
                          subjectAltName = DNS:localhost,IP:127.0.0.1\n";

fn run(openssl: &Path, folder: &Path, line: &str) -> Result<()> {
    let spec = ProcessSpec::new(openssl, folder, folder.join("log")).args(line.split_whitespace());
    Process::run(&spec, Duration::from_secs(20))
}
