//! `sslmode` means what it means to libpq.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use outboxd::fault::Fault;
use outboxd::pg::{Connector, PgFault, Session};
use outboxd::sandbox::{Postgres, PostgresOptions, Sandbox, StopMode, TlsFiles};

use super::{open, value};
use crate::common::{Database, options};

const IN_USE: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

struct Stage {
    server: Postgres,
    tls: TlsFiles,
    sandbox: Sandbox,
}

impl Stage {
    fn new() -> Self {
        let sandbox = Sandbox::new().unwrap();
        let tls = TlsFiles::make(&sandbox).unwrap();
        let options = PostgresOptions { tls: Some(tls.clone()), ..options() };
        Self { server: Postgres::start(&sandbox, &options).unwrap(), tls, sandbox }
    }

    async fn open(&self, host: &str, params: &str) -> Result<Session, PgFault> {
        let port = self.server.port();
        open(&format!("postgres://postgres@{host}:{port}/postgres?hostaddr=127.0.0.1&connect_timeout=10&{params}"))
            .await
    }

    /// Replaces the server's rules of access and waits until they hold.
    fn access(&self, rules: &str) {
        fs::write(self.server.data().join("pg_hba.conf"), rules).unwrap();
        self.server.stop(StopMode::Fast).unwrap();
        self.server.start_again().unwrap();
    }

    /// Gives a file to the server's user.
    fn give(&self, from: &Path, name: &str) -> PathBuf {
        let (data, to) = (self.server.data().metadata().unwrap(), self.server.data().join(name));
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&to, Some(data.uid()), Some(data.gid())).unwrap();
        to
    }

    fn openssl(&self, line: &str) {
        let folder = self.tls.ca.parent().unwrap();
        let output = Command::new("openssl").args(line.split_whitespace()).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn beside_ca(&self, name: &str) -> PathBuf {
        self.tls.ca.with_file_name(name)
    }
}

fn root(path: &Path) -> String {
    format!("sslrootcert={}", path.display())
}

fn is_tls(fault: &PgFault) -> bool {
    matches!(&fault.fault, Fault::Halt(r) if r.class == "tls") && !fault.uncertain
}

#[tokio::test]
async fn verify_full_wants_the_right_authority_and_the_right_name() {
    let stage = Stage::new();
    let ca = root(&stage.tls.ca);
    for host in ["localhost", "127.0.0.1"] {
        let session = stage.open(host, &format!("sslmode=verify-full&{ca}")).await.unwrap();
        assert!(value::<bool>(&session, IN_USE).await);
    }
    let name = stage.open("other.example", &format!("sslmode=verify-full&{ca}")).await.unwrap_err();
    assert!(is_tls(&name) && name.to_string().contains("other.example"), "{name}");
    let other = TlsFiles::make(&stage.sandbox).unwrap();
    let wrong = stage.open("localhost", &format!("sslmode=verify-full&{}", root(&other.ca))).await.unwrap_err();
    assert!(is_tls(&wrong) && wrong.to_string().contains("sslrootcert"), "{wrong}");
    let system = stage.open("localhost", "sslmode=verify-full").await.map(drop);
    assert!(system.is_err(), "no authority of the machine signed it");
}

#[tokio::test]
async fn verify_ca_wants_the_right_authority_under_any_name() {
    let stage = Stage::new();
    let session = stage.open("other.example", &format!("sslmode=verify-ca&{}", root(&stage.tls.ca))).await.unwrap();
    assert!(value::<bool>(&session, IN_USE).await);
    let other = TlsFiles::make(&stage.sandbox).unwrap();
    assert!(is_tls(&stage.open("localhost", &format!("sslmode=verify-ca&{}", root(&other.ca))).await.unwrap_err()));
    // As in libpq, a root file makes `require` verify it.
    assert!(is_tls(&stage.open("localhost", &format!("sslmode=require&{}", root(&other.ca))).await.unwrap_err()));
}

#[tokio::test]
async fn require_encrypts_and_verifies_nothing() {
    let stage = Stage::new();
    let session = stage.open("other.example", "sslmode=require").await.unwrap();
    assert!(value::<bool>(&session, IN_USE).await);
    let session = stage.open("localhost", "sslmode=disable").await.unwrap();
    assert!(!value::<bool>(&session, IN_USE).await);
    let session = stage.open("localhost", "").await.unwrap();
    assert!(value::<bool>(&session, IN_USE).await, "prefer takes what it can get");
    let session = stage.open("localhost", "sslmode=allow").await.unwrap();
    assert!(!value::<bool>(&session, IN_USE).await);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_it_is_only_preferred() {
    let database = Database::empty();
    let session = open(&format!("{}?sslmode=prefer", database.url())).await.unwrap();
    assert!(!value::<bool>(&session, IN_USE).await);
    let fault = open(&format!("{}?sslmode=require", database.url())).await.unwrap_err();
    assert!(is_tls(&fault) && fault.to_string().contains("sslmode"), "{fault}");
}

#[tokio::test]
async fn prefer_and_allow_try_the_other_way_when_the_first_is_refused() {
    let stage = Stage::new();
    stage.access("hostnossl all all all trust\n");
    let session = stage.open("localhost", "sslmode=prefer").await.unwrap();
    assert!(!value::<bool>(&session, IN_USE).await);
    let refused = stage.open("localhost", "sslmode=require").await.unwrap_err();
    assert!(refused.is_code("28000") && refused.to_string().contains("pg_hba.conf"), "{refused}");
    stage.access("hostssl all all all trust\n");
    let session = stage.open("localhost", "sslmode=allow").await.unwrap();
    assert!(value::<bool>(&session, IN_USE).await);
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_root_file() {
    let stage = Stage::new();
    stage.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout self.key -out self.crt");
    stage.give(&stage.beside_ca("self.crt"), "self.crt");
    stage.give(&stage.beside_ca("self.key"), "self.key");
    stage.server.reload(&[("ssl_cert_file", "self.crt"), ("ssl_key_file", "self.key")]).unwrap();
    stage.server.stop(StopMode::Fast).unwrap();
    stage.server.start_again().unwrap();
    let own = root(&stage.beside_ca("self.crt"));
    let session = stage.open("localhost", &format!("sslmode=verify-full&{own}")).await.unwrap();
    assert!(value::<bool>(&session, IN_USE).await);
    assert!(is_tls(&stage.open("other.example", &format!("sslmode=verify-full&{own}")).await.unwrap_err()));
    stage.open("other.example", &format!("sslmode=verify-ca&{own}")).await.unwrap();
    assert!(is_tls(&stage.open("localhost", &format!("sslmode=verify-ca&{}", root(&stage.tls.ca))).await.unwrap_err()));
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_a_renewed_one_counts_at_once() {
    let stage = Stage::new();
    stage.give(&stage.tls.ca, "root.crt");
    let make = |user: &str| {
        stage.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={user} -keyout client.key -out client.csr"
        ));
        stage.openssl("x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 1 -out client.crt");
    };
    stage.server.reload(&[("ssl_ca_file", "root.crt")]).unwrap();
    stage.access("hostssl all all all cert\n");
    make("stranger");
    let (cert, key) = (stage.beside_ca("client.crt"), stage.beside_ca("client.key"));
    let port = stage.server.port();
    let params =
        format!("sslmode=verify-full&{}&sslcert={}&sslkey={}", root(&stage.tls.ca), cert.display(), key.display());
    let connector = Connector::new(
        "database.url",
        &format!("postgres://postgres@localhost:{port}/postgres?hostaddr=127.0.0.1&{params}"),
        "x",
    )
    .unwrap();
    let lost = std::sync::Arc::default();
    let fault = Session::open(&connector, std::sync::Arc::clone(&lost)).await.unwrap_err();
    assert!(matches!(fault.fault, Fault::Halt(_)), "{fault}");
    make("postgres");
    let session = Session::open(&connector, lost).await.unwrap();
    assert!(value::<bool>(&session, IN_USE).await);
    stage.open("localhost", &format!("sslmode=verify-full&{}", root(&stage.tls.ca))).await.unwrap_err();
}

#[test]
fn tls_parameters_that_do_not_make_sense_are_refused_with_a_sentence() {
    for (params, word) in [
        ("sslmode=verify-ca", "sslrootcert"),
        ("sslmode=require&sslrootcert=system", "verify-full"),
        ("sslcert=a", "sslkey"),
        ("sslpassword=x", "openssl pkey"),
        ("sslmode=verify-full&sslrootcert=/does/not/exist", "/does/not/exist"),
        ("sslnegotiation=direct", "sslmode=require"),
        ("sslcrl=x", "sslcrl"),
    ] {
        let fault = Connector::new("database.url", &format!("postgres://u@h/db?{params}"), "x").unwrap_err();
        assert!(fault.to_string().contains(word), "{params}: {fault}");
    }
}
