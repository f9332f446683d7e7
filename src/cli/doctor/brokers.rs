//! Redis: every target reached, its version, role and policy, and whether the user may do what its queues need.

use std::collections::BTreeSet;

use super::Wire;
use super::report::Report;
use crate::batch::KeyKind;
use crate::broker::evidence::unsafe_policy;
use crate::broker::{Inspection, Kept, Link, Protection, Role, inspect, kept, marker_key};
use crate::config::{Config, Confirm, FormatName, QueueSettings, Side};
use crate::fault::Fault;
use crate::relay::target;
use crate::wire::{Format, InFlightKind};

/// Looks at every target, with the queues that the configuration or Postgres names.
pub(super) async fn examine(config: &Config, known: &[String], report: &mut Report) {
    let names: BTreeSet<&str> = config.queues.keys().chain(known).map(String::as_str).collect();
    let queues: Vec<QueueSettings> = names.into_iter().map(|name| config.queue(name)).collect();
    for (name, settings) in &config.redis {
        let check = format!("redis.{name}");
        let queues: Vec<&QueueSettings> = queues.iter().filter(|queue| queue.redis == *name).collect();
        let inspected = match target(name, settings) {
            Ok(target) => match target.connect().await {
                Ok(link) => {
                    protection(report, &check, target.protection());
                    let commands = needed(config, &queues, &settings.receipts, &check, report);
                    keys(&link, &check, &queues, report).await.and(inspect(&link, &commands).await)
                }
                Err(fault) => Err(fault),
            },
            Err(fault) => Err(fault),
        };
        match inspected {
            Ok(inspection) => describe(config, &check, &inspection, &queues, report),
            Err(fault) => {
                let next = "see that the server runs, and that the URL, the user and the rights are those of docs/configuration.md";
                report.finding(&check, &fault.reason().message, next);
            }
        }
    }
}

/// What stands under the queues' keys: what no worker of their format left there is a finding.
async fn keys(link: &Link, check: &str, queues: &[&QueueSettings], report: &mut Report) -> Result<(), Fault> {
    for queue in queues {
        // Settings that make no format are found beside the rights.
        let Ok(format) = Format::new(&queue.spec(), &queue.queue) else { continue };
        let wanted: Vec<(&[u8], &str)> =
            format.keys().iter().map(|key| (key.name.as_slice(), type_of(key.kind))).collect();
        let names: Vec<&[u8]> = wanted.iter().map(|(name, _)| *name).collect();
        let found = kept(link, &names).await?;
        for ((name, wanted), kept) in wanted.iter().zip(&found) {
            let Some(kept) = kept else { continue };
            if let Some((what, next)) = odd(queue, &String::from_utf8_lossy(name), wanted, kept) {
                report.finding(&format!("{check}.keys"), &what, &next);
            }
        }
        if let (FormatName::Celery, Some(key)) = (queue.format, sorted_set(link, queue, names[0]).await?) {
            let name = &queue.queue;
            let what = format!(
                "the key {key:?} is a sorted set: workers of queue {name:?} use celery-redis-plus or \
                 another transport than kombu's, and read no list"
            );
            let next = "outboxd cannot publish for them: give the workers kombu's own transport (a broker URL with redis://), or \
                        take another queue";
            report.finding(&format!("{check}.keys"), &what, next);
        }
    }
    Ok(())
}

/// A sorted set where celery-redis-plus keeps the messages of this queue, or under the queue's own name.
async fn sorted_set(link: &Link, queue: &QueueSettings, key: &[u8]) -> Result<Option<String>, Fault> {
    let key = String::from_utf8_lossy(key);
    let prefix = key.strip_suffix(queue.queue.as_str()).unwrap_or_default();
    let theirs = format!("{prefix}queue:{}", queue.queue);
    let found = kept(link, &[key.as_bytes(), theirs.as_bytes()]).await?;
    let mut found = [key.as_ref(), &theirs].into_iter().zip(found);
    Ok(found.find_map(|(key, kept)| (kept?.kind == "zset").then(|| key.to_owned())))
}

fn type_of(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::List => "list",
        KeyKind::Stream => "stream",
    }
}

/// What is wrong with a key, and what to do.
fn odd(queue: &QueueSettings, key: &str, wanted: &str, kept: &Kept) -> Option<(String, String)> {
    let name = &queue.queue;
    let found = &kept.kind;
    if found == "zset" && queue.format == FormatName::Celery {
        return None; // Told with the place where such workers usually keep it.
    }
    if found != "none" && found != wanted {
        return Some((
            format!("the key {key:?} of queue {name:?} holds a {found}, where its format keeps a {wanted}"),
            format!("move the key away, or set another `key` or `format` for queue {name:?}"),
        ));
    }
    let seconds = kept.expires?.as_secs();
    Some((
        format!(
            "the key {key:?} of queue {name:?} expires in {seconds} s and takes its messages with it; outboxd does not extend \
             that time when it publishes, and confirms nothing while it runs"
        ),
        "remove the expiry: declare the queue without `expires` (x-expires), then PERSIST its keys".to_owned(),
    ))
}

fn protection(report: &mut Report, check: &str, found: Protection) {
    let better = if found.encrypted {
        format!("without ssl_cert_reqs=none (or #insecure) in the url of {check} the certificate is checked")
    } else {
        format!("rediss:// in the url of {check} encrypts and checks")
    };
    let checks = if found.checked { "the certificate and its name are checked" } else { "" };
    let wire = Wire { encrypted: found.encrypted, checks, local: found.local, better: &better };
    super::protection(report, &format!("{check}.tls"), &wire);
}

fn describe(config: &Config, check: &str, inspection: &Inspection, queues: &[&QueueSettings], report: &mut Report) {
    let server = &inspection.server;
    let version: Vec<u32> = server.version.split('.').map_while(|part| part.parse().ok()).collect();
    if version.as_slice() < [6, 2].as_slice() {
        report.finding(check, &format!("its version is {:?}", server.version), "use Redis 6.2 or later, or Valkey");
    } else {
        report.ok(check, &format!("Redis {}, scripts are allowed", server.version));
    }
    if server.role == Role::Replica {
        let next = "name the primary in its url; outboxd never writes to a replica";
        report.finding(&format!("{check}.role"), "it is a replica and takes no writes", next);
    }
    let observes = if queues.is_empty() {
        config.defaults.confirm != Confirm::Receipt
    } else {
        queues.iter().any(|queue| queue.confirm != Confirm::Receipt)
    };
    match unsafe_policy(server) {
        Some(policy) if observes => report.finding(
            &format!("{check}.policy"),
            &format!("maxmemory-policy is {policy}: under memory pressure the server drops whole queues"),
            "set maxmemory-policy to noeviction, or confirm = \"receipt\" for the queues on it",
        ),
        Some(policy) => report.note(&format!("{check}.policy"), &format!("maxmemory-policy is {policy}")),
        None => report.ok(&format!("{check}.policy"), &format!("maxmemory-policy is {}", server.maxmemory_policy)),
    }
    let keeps = if server.aof_enabled { "an append-only file" } else { "no append-only file" };
    if server.persistence_ok {
        report.note(&format!("{check}.persistence"), &format!("{keeps}; whatever it loses comes back"));
    } else {
        let next = "free the disk it saves to, or correct its `dir`: it may refuse writes meanwhile";
        report.finding(&format!("{check}.persistence"), "its last save or append failed", next);
    }
    match inspection.clock {
        Some(clock) => super::clock(report, &format!("{check}.clock"), clock),
        None => report
            .note(&format!("{check}.clock"), "not checked: the user may not run TIME, which a relay does not need"),
    }
    rights(&format!("{check}.rights"), inspection, report);
}

fn rights(check: &str, inspection: &Inspection, report: &mut Report) {
    if !inspection.tells_rights {
        let todo = "not checked: this server does not say what a user may do (Redis does from 7.0 on); compare \
                    `ACL GETUSER` with `Rights in Redis` in docs/configuration.md, and see `ACL LOG` after a relay has run";
        report.note(check, todo);
    } else if inspection.refused.is_empty() {
        report.ok(check, "the user may do all that its queues need");
    }
    for words in &inspection.refused {
        report.finding(check, &refusal(words), "see `Rights in Redis` in docs/configuration.md");
    }
}

/// A command may have two words, and its key may stand behind something else.
fn refusal(words: &[String]) -> String {
    let (length, at) = match words[0].as_str() {
        "XINFO" | "XGROUP" => (2, 2),
        "EVALSHA" => (1, 3),
        _ => (1, 1),
    };
    let command = words[..length].join(" ").to_lowercase();
    let key = words.get(at).map(|key| format!(" on {key:?}")).unwrap_or_default();
    format!("the user may not run {command}{key}")
}

/// The commands that a relay runs for these queues, each once, with its key.
fn needed(
    config: &Config,
    queues: &[&QueueSettings],
    receipts: &str,
    check: &str,
    report: &mut Report,
) -> Vec<Vec<Vec<u8>>> {
    // What looks are made of; EVAL and INFO have run already.
    let sign = b"outbox:r:{database}/relay".to_vec();
    let mut commands = BTreeSet::from([
        vec![b"MULTI".to_vec()],
        vec![b"EXEC".to_vec()],
        vec![b"SET".to_vec(), sign.clone(), b"1".to_vec()],
        vec![b"MGET".to_vec(), sign],
    ]);
    let mut add = |words: &[&[u8]]| {
        commands.insert(words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
    };
    for queue in queues {
        let Some(format) = usable(config, queue, check, report) else { continue };
        if let Ok(marker) = marker_key(&format.keys()[0].name) {
            add(&[b"HGET", &marker, b"f"]);
            add(&[b"HMGET", &marker, b"f"]);
            add(&[b"HSET", &marker, b"f", b"v"]);
            add(&[b"EVALSHA", b"sha", b"1", &marker]);
        }
        for key in format.keys() {
            add(&[b"TYPE", &key.name]);
            add(&[b"PTTL", &key.name]);
            match key.kind {
                KeyKind::List => {
                    add(&[push(queue), &key.name, b"m"]);
                    add(&[b"LLEN", &key.name]);
                    add(&[b"LRANGE", &key.name, b"0", b"-1"]);
                }
                KeyKind::Stream => {
                    add(&[b"XADD", &key.name, b"*", b"f", b"v"]);
                    add(&[b"XLEN", &key.name]);
                    add(&[b"XRANGE", &key.name, b"-", b"+"]);
                    add(&[b"XINFO", b"STREAM", &key.name]);
                    add(&[b"XINFO", b"GROUPS", &key.name]);
                    add(&[b"XPENDING", &key.name, b"g", b"-", b"+", b"1"]);
                    if let Some(group) = &queue.group {
                        add(&[b"XGROUP", b"CREATE", &key.name, group.as_bytes(), b"0"]);
                    }
                }
            }
        }
        for key in format.in_flight() {
            let (count, all): (&[u8], &[&[u8]]) = match key.kind {
                InFlightKind::Processing => (b"LLEN", &[b"LRANGE", &key.name, b"0", b"-1"]),
                InFlightKind::Unacked => (b"HLEN", &[b"HVALS", &key.name]),
            };
            for words in [&[b"TYPE", &key.name[..]][..], &[b"PTTL", &key.name], &[count, &key.name], all] {
                add(words);
            }
        }
        if queue.confirm == Confirm::Receipt {
            add(&[b"XRANGE", receipts.as_bytes(), b"-", b"+"]);
            add(&[b"XDEL", receipts.as_bytes(), b"1-1"]);
        }
    }
    commands.into_iter().collect()
}

/// The queue's format, if a relay publishes the queue; else a finding.
fn usable(config: &Config, queue: &QueueSettings, check: &str, report: &mut Report) -> Option<Format> {
    match Format::new(&queue.spec(), &queue.queue) {
        Ok(format) => {
            let Some(why) = config.reserved(&queue.queue) else { return Some(format) };
            let text = format!("queue {:?} is not published: {why}", queue.queue);
            report.finding(check, &text, "give the queue a key of its own; its rows wait in PostgreSQL until then");
        }
        Err(why) => {
            report.finding(check, &format!("queue {:?}: {why}", queue.queue), "correct the queue's settings");
        }
    }
    None
}

fn push(queue: &QueueSettings) -> &'static [u8] {
    match (queue.format, queue.push) {
        (FormatName::List | FormatName::Raw, Side::Right) => b"RPUSH",
        _ => b"LPUSH",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Server;

    #[test]
    fn a_server_that_does_not_tell_rights_is_not_said_to_grant_them() {
        let mut report = Report::default();
        let old = Inspection { server: Server::default(), clock: None, tells_rights: false, refused: Vec::new() };
        rights("redis.default.rights", &old, &mut report);
        let text = report.to_text();
        assert!(text.starts_with("note ") && text.contains("not checked") && text.contains("ACL LOG"), "{text}");
        assert!(!report.has_findings());
    }
}
