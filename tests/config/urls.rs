//! What is called valid is what connects: `config validate` reads URLs by the code that uses them.

use std::path::Path;

use crate::common::outboxd;

const POSTGRES: &str = "postgres://app@db/app";
const REDIS: &str = "redis://broker/1";

fn validate(postgres: &str, redis: &str) -> (Option<i32>, String) {
    let output = outboxd(&["config", "validate"], &[("DATABASE_URL", postgres), ("REDIS_URL", redis)], Path::new("/"));
    (output.status.code(), output.stderr)
}

#[test]
fn what_no_connection_takes_is_not_called_valid() {
    for (url, words) in [
        ("redis://h/abc", "database"),
        ("redis://h/-1", "database"),
        ("redis://h1,h2", "one server"),
        ("redis://h?db=x", "`db` must be a number"),
        ("redis://h?ssl_ca_certs=ca.pem", "rediss://"),
        ("redis://h?socket_timeout=5", "response_timeout"),
        ("redis://h?protocol=resp3", "`protocol` is not supported"),
        ("rediss://h?ssl_check_hostname=false", "`ssl_check_hostname` is not supported"),
        ("rediss://h?ssl_certfile=a.pem", "go together"),
        ("unix://host/run/redis.sock", "after unix://"),
        ("unix:///run/redis.sock?virtual_host=x", "`db` must be a number"),
    ] {
        let (code, said) = validate(POSTGRES, url);
        assert!(code == Some(78) && said.to_lowercase().contains(words), "{url}: {said}");
    }
    for (query, words) in [
        ("pgbouncer=true", "pgbouncer"),
        ("schema=public", "database.schema"),
        ("sslmode=no-verify", "sslmode must be"),
        ("passfile=secret", "url_file"),
        ("sslmode=verify-ca", "sslrootcert"),
        ("connect_timeout=soon", "connect_timeout"),
    ] {
        let (code, said) = validate(&format!("{POSTGRES}?{query}"), REDIS);
        assert!(code == Some(78) && said.contains(words), "{query}: {said}");
    }
}

#[test]
fn the_urls_of_other_clients_are_valid() {
    for url in [
        "redis://h",
        "redis://user:p%40ss@h:6380/3",
        "rediss://h?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
        "rediss://h/0?ssl_cert_reqs=CERT_NONE",
        "unix://:s3cret@/run/redis.sock?db=2",
        "unix://user:s3cret@/run/redis.sock",
        "unix:///run/redis.sock?db=1&user=u&pass=p",
        "redis+socket:///run/redis.sock?virtual_host=1",
        "redis+unix:///run/redis.sock",
    ] {
        assert_eq!(validate(POSTGRES, url), (Some(0), String::new()), "{url}");
    }
}
