//! TLS, with an authority made for the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::harness::{Queue, Redis, lists, target, temp_dir, tenure};

fn openssl(dir: &Path, args: &[&str]) {
    let output = Command::new("openssl").args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority `ca.pem`, a server certificate for 127.0.0.1 and `name`, and a client certificate.
fn certificates() -> PathBuf {
    let dir = temp_dir();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let ca = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"];
    openssl(&dir, &[&ca[..], &key[..]].concat());
    for (name, extension) in
        [("server", "subjectAltName=IP:127.0.0.1,DNS:broker.test"), ("client", "extendedKeyUsage=clientAuth")]
    {
        let (key_file, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let signed = [
            "req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", &key_file, "-out", &pem, "-subj", &subject,
        ];
        openssl(
            &dir,
            &[&signed[..], &["-addext", "basicConstraints=critical,CA:FALSE", "-addext", extension], &key[..]].concat(),
        );
    }
    dir
}

async fn serve(certificates: &Path, clients: &str) -> (Redis, u16) {
    let file = |name: &str| certificates.join(name).to_str().unwrap().to_owned();
    let redis = Redis::start(&[
        "--port",
        "0",
        "--tls-port",
        "{port}",
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        clients,
    ])
    .await;
    let port = redis.port;
    (redis, port)
}

async fn works(url: &str) -> Result<(), &'static str> {
    let link = target(url).connect().await.map_err(|fault| fault.reason().class)?;
    Queue::new(lists(&["celery"])).open(&link, tenure(1), 0).await;
    Ok(())
}

#[tokio::test]
async fn the_servers_certificate_is_checked_against_the_authority_in_the_url() {
    let dir = certificates();
    let (_redis, port) = serve(&dir, "no").await;
    let ca = dir.join("ca.pem").display().to_string();
    assert_eq!(works(&format!("rediss://127.0.0.1:{port}?ssl_ca_certs={ca}")).await, Ok(()));
    assert_eq!(works(&format!("rediss://127.0.0.1:{port}?ssl_cert_reqs=required&ssl_ca_certs={ca}")).await, Ok(()));
    assert_eq!(works(&format!("rediss://localhost:{port}?ssl_ca_certs={ca}")).await, Err("tls"), "another name");
    assert_eq!(works(&format!("rediss://127.0.0.1:{port}")).await, Err("tls"), "an authority that nobody knows");
    assert_eq!(works(&format!("rediss://127.0.0.1:{port}?ssl_ca_certs={ca}.missing")).await, Err("tls"));
    assert_eq!(works(&format!("rediss://localhost:{port}#insecure")).await, Ok(()));
    assert_eq!(works(&format!("rediss://localhost:{port}?ssl_cert_reqs=none")).await, Ok(()));
    assert!(matches!(works(&format!("redis://127.0.0.1:{port}")).await, Err("closed" | "reset" | "protocol")));
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_it() {
    let dir = certificates();
    let (_redis, port) = serve(&dir, "yes").await;
    let url = format!("rediss://127.0.0.1:{port}?ssl_ca_certs={}", dir.join("ca.pem").display());
    let with = format!("{url}&ssl_certfile={0}/client.pem&ssl_keyfile={0}/client.key", dir.display());
    assert_eq!(works(&with).await, Ok(()));
    assert!(works(&url).await.is_err());
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown_by_the_next_connection() {
    let (dir, other) = (certificates(), certificates());
    let (_redis, port) = serve(&dir, "yes").await;
    let shown = |name: &str| dir.join(format!("shown.{name}"));
    for name in ["pem", "key"] {
        std::fs::copy(other.join(format!("client.{name}")), shown(name)).unwrap();
    }
    let target = target(&format!(
        "rediss://127.0.0.1:{port}?ssl_ca_certs={0}/ca.pem&ssl_certfile={0}/shown.pem&ssl_keyfile={0}/shown.key",
        dir.display()
    ));
    assert!(target.connect().await.is_err(), "another authority's");
    std::fs::copy(dir.join("client.pem"), shown("pem")).unwrap();
    assert!(target.connect().await.is_err(), "its key is still the old one");
    std::fs::copy(dir.join("client.key"), shown("key")).unwrap();
    let link = target.connect().await.unwrap();
    Queue::new(lists(&["celery"])).open(&link, tenure(1), 0).await;
    for dir in [dir, other] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_its_server_signed_itself_is_trusted_once_it_is_pinned() {
    let dir = certificates();
    let key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost";
    for (name, host) in [("server", "localhost"), ("other", "localhost")] {
        let line = format!("{key} -addext subjectAltName=DNS:{host} -keyout {name}.key -out {name}.pem");
        openssl(&dir, &line.split(' ').collect::<Vec<_>>());
    }
    let (_redis, port) = serve(&dir, "no").await;
    let with = |host: &str, file: &str| format!("rediss://{host}:{port}?ssl_ca_certs={}", dir.join(file).display());
    assert_eq!(works(&with("localhost", "server.pem")).await, Ok(()));
    assert_eq!(works(&with("127.0.0.1", "server.pem")).await, Err("tls"), "another name");
    assert_eq!(works(&with("localhost", "other.pem")).await, Err("tls"), "another certificate of that name");
    std::fs::remove_dir_all(dir).unwrap();
}
