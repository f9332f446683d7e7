//! What types cannot tell: URLs, names that refer to each other, values that must fit together; and what deserves a warning.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use super::origin::{Key, Origin};
use super::problem::Problem;
use super::queues::{Confirm, QueueOverride};
use super::secret::{Secret, check_url};
use super::sources::Sources;
use super::units::{Period, Size};
use super::{Config, render, suggest};
use crate::wire::{Format, FormatName, MAX_MESSAGE};

const POSTGRES: [&str; 2] = ["postgres", "postgresql"];
const REDIS: [&str; 8] = ["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix", "redis+socket"];

/// Reports everything that is wrong with a configuration of the right types; keys in `bad` are reported already.
pub(super) fn check(config: &Config, bad: &BTreeSet<Key>, partial: bool, problems: &mut Vec<Problem>) {
    let mut checker = Checker { config, bad, partial, problems };
    checker.urls();
    checker.targets();
    checker.database();
    checker.relay();
    checker.retention();
    checker.queues();
    checker.http();
}

struct Checker<'a> {
    config: &'a Config,
    bad: &'a BTreeSet<Key>,
    partial: bool,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    /// Reports the first of `keys` that is set, unless one of them is known to be wrong: its default stands in for it here.
    fn fail(&mut self, keys: &[&[&str]], message: impl Into<String>) {
        let keys: Vec<Key> = keys.iter().map(|key| Key::of(key)).collect();
        let twin = |key: &Key| key.parent().child(&format!("{}_file", key.last()));
        if keys.iter().any(|key| self.bad.contains(key) || self.bad.contains(&twin(key))) {
            return;
        }
        let origins = &self.config.origins;
        let set = keys.iter().find(|key| *origins.of(key) != Origin::Default);
        if let Some(key) = set.or(keys.first()) {
            self.problems.push(Problem::new(key, origins.of(key), message));
        }
    }

    fn urls(&mut self) {
        let config = self.config;
        self.url(&["database", "url"], &config.database.url, &POSTGRES, &["DATABASE_URL"]);
        if let Some(url) = &config.database.listen_url {
            self.url(&["database", "listen_url"], url, &POSTGRES, &[]);
        }
        for (name, target) in &config.redis {
            let alias: &[&str] = if name == "default" { &["REDIS_URL"] } else { &[] };
            self.url(&["redis", name, "url"], &target.url, &REDIS, alias);
        }
    }

    fn url(&mut self, key: &[&str], url: &Secret, schemes: &[&str], alias: &[&str]) {
        if !url.is_empty() {
            if let Err(why) = check_url(url.expose(), schemes) {
                self.fail(&[key], why);
            }
        } else if !self.partial {
            self.fail(&[key], not_set(&Key::of(key), alias));
        }
    }

    /// Every queue's target must exist; `default` may come from the environment when only the file is looked at.
    fn targets(&mut self) {
        let config = self.config;
        let exists = |name: &str| config.redis.contains_key(name) || (self.partial && name == "default");
        let own = config.queues.iter().filter_map(|(queue, settings)| Some((queue, settings.redis.as_deref()?)));
        let missing: Vec<_> = own.filter(|(_, target)| !exists(target)).collect();
        let default = config.defaults.redis.as_str();
        if !exists(default) {
            if default == "default" && config.redis.is_empty() {
                self.fail(
                    &[&["redis", "default", "url"]],
                    not_set(&Key::of(&["redis", "default", "url"]), &["REDIS_URL"]),
                );
            } else {
                self.fail(&[&["defaults", "redis"]], self.no_target(default));
            }
        }
        for (queue, target) in missing {
            self.fail(&[&["queues", queue, "redis"]], self.no_target(target));
        }
    }

    fn no_target(&self, name: &str) -> String {
        let known = self.config.redis.keys().map(String::as_str);
        let hint =
            if self.config.redis.is_empty() { "none is configured".to_owned() } else { suggest::hint(name, known) };
        format!("no Redis target is named {name:?}; {hint} (targets are the [redis.NAME] tables)")
    }

    fn database(&mut self) {
        let database = &self.config.database;
        for (key, name) in [("schema", &database.schema), ("internal_schema", &database.internal_schema)] {
            self.text(&["database", key], name, 63);
            if name.contains('$') {
                self.fail(&[&["database", key]], "a dollar sign is not allowed here: take another name".to_owned());
            }
        }
        self.text(&["database", "application_name"], &database.application_name, 63);
        self.at_least(&["database", "connect_timeout"], database.connect_timeout, Period::from_millis(10));
        self.at_least(&["database", "statement_timeout"], database.statement_timeout, Period::from_millis(100));
        let config = self.config;
        for (name, target) in &config.redis {
            self.at_least(&["redis", name, "connect_timeout"], target.connect_timeout, Period::from_millis(10));
            self.at_least(&["redis", name, "response_timeout"], target.response_timeout, Period::from_millis(10));
            self.text(&["redis", name, "receipts"], &target.receipts, 200);
            if target.sentinels.is_empty() && !target.sentinel_password.is_empty() {
                let message = "nobody is asked with it: set `sentinels`, or remove it".to_owned();
                self.fail(&[&["redis", name, "sentinel_password"]], message);
            }
            if target.sentinel_username.is_some() && target.sentinel_password.is_empty() {
                let message = "a user needs a password: set `sentinel_password`, too".to_owned();
                self.fail(&[&["redis", name, "sentinel_username"]], message);
            }
            if !(1..=100).contains(&target.memory_percent) {
                let message = format!("{} is out of range: pass 1 to 100", target.memory_percent);
                self.fail(&[&["redis", name, "memory_percent"]], message);
            }
        }
    }

    fn relay(&mut self) {
        let relay = &self.config.relay;
        if let Some(id) = &relay.id {
            self.text(&["relay", "id"], id, 200);
        }
        for (key, value, min) in [
            ("poll_interval", relay.poll_interval, 10),
            ("idle_look", relay.idle_look, 100),
            ("linger", relay.linger, 1),
            ("takeover_after", relay.takeover_after, 100),
            ("drain_timeout", relay.drain_timeout, 100),
            ("retry_min", relay.retry_min, 1),
            ("replay_horizon", relay.replay_horizon, 1_000),
        ] {
            self.at_least(&["relay", key], value, Period::from_millis(min));
        }
        if relay.batch_bytes < Size::from_bytes(1024) {
            self.fail(&[&["relay", "batch_bytes"]], format!("{} is too small: use 1KiB or more", relay.batch_bytes));
        }
        if relay.retry_max < relay.retry_min {
            let message = format!("retry_max ({}) is below retry_min ({}): raise it", relay.retry_max, relay.retry_min);
            self.fail(&[&["relay", "retry_max"], &["relay", "retry_min"]], message);
        }
    }

    fn retention(&mut self) {
        let (retention, horizon) = (&self.config.retention, self.config.relay.replay_horizon);
        if retention.min < horizon {
            let message = format!(
                "retention.min ({}) is below relay.replay_horizon ({horizon}): after a loss, rows of that age must still be there to be sent again; raise retention.min",
                retention.min
            );
            self.fail(&[&["retention", "min"], &["relay", "replay_horizon"]], message);
        }
        if retention.max < retention.min {
            let message =
                format!("retention.max ({}) is below retention.min ({}): raise it", retention.max, retention.min);
            self.fail(&[&["retention", "max"], &["retention", "min"]], message);
        }
        if retention.segment_size < Size::from_bytes(1 << 20) {
            self.fail(
                &[&["retention", "segment_size"]],
                format!("{} is too small: use 1MiB or more", retention.segment_size),
            );
        }
    }

    fn queues(&mut self) {
        let config = self.config;
        self.steps(&["defaults", "priority_steps"], &config.defaults.priority_steps);
        self.message_size(&["defaults", "max_message"], config.defaults.max_message);
        if let Some(group) = &config.defaults.group {
            self.text(&["defaults", "group"], group, 200);
        }
        let defaults = &config.defaults;
        self.sep(&["defaults", "sep"], &defaults.sep);
        for (key, value) in [
            ("unacked_key", &defaults.unacked_key),
            ("unacked_index_key", &defaults.unacked_index_key),
            ("unacked_mutex_key", &defaults.unacked_mutex_key),
        ] {
            self.text(&["defaults", key], value, 200);
        }
        self.at_least(&["defaults", "confirm_grace"], config.defaults.confirm_grace, Period::from_millis(100));
        self.at_least(&["defaults", "receipt_timeout"], config.defaults.receipt_timeout, Period::from_millis(100));
        for (queue, own) in &config.queues {
            self.text(&["queues", queue], queue, 200);
            for (key, value) in [
                ("key", &own.key),
                ("group", &own.group),
                ("unacked_key", &own.unacked_key),
                ("unacked_index_key", &own.unacked_index_key),
                ("unacked_mutex_key", &own.unacked_mutex_key),
            ] {
                if let Some(value) = value {
                    self.text(&["queues", queue, key], value, 200);
                }
            }
            for (key, value) in [("confirm_grace", own.confirm_grace), ("receipt_timeout", own.receipt_timeout)] {
                if let Some(value) = value {
                    self.at_least(&["queues", queue, key], value, Period::from_millis(100));
                }
            }
            self.processing(queue, own);
            if let Some(steps) = &own.priority_steps {
                self.steps(&["queues", queue, "priority_steps"], steps);
            }
            if let Some(size) = own.max_message {
                self.message_size(&["queues", queue, "max_message"], size);
            }
            if let Some(sep) = &own.sep {
                self.sep(&["queues", queue, "sep"], sep);
            }
        }
        self.keys();
    }

    /// A queue whose key is something else already would stop whoever uses that.
    fn keys(&mut self) {
        let config = self.config;
        for queue in config.queues.keys() {
            let path = ["queues", queue, "key"];
            match Format::new(&config.queue(queue).spec(), queue) {
                Err(why) if why.contains("lone }") || why.contains("(sep)") => self.fail(&[&path], why),
                // Reported already, by the key that is wrong.
                Err(_) => {}
                Ok(_) => {
                    if let Some(why) = config.reserved(queue) {
                        self.fail(&[&path], format!("queue {queue:?}: {why}"));
                    }
                }
            }
        }
    }

    fn sep(&mut self, key: &[&str], sep: &str) {
        if sep.is_empty() || sep.len() > 20 || sep.contains(|c: char| c.is_ascii_digit()) {
            self.fail(&[key], "it must have 1 to 20 bytes and no digit, as the workers' transport option `sep`");
        }
    }

    /// A list that is both the queue and what consumers work on would count every message twice.
    fn processing(&mut self, queue: &str, own: &QueueOverride) {
        for list in own.processing.iter().flatten() {
            let path = ["queues", queue, "processing"];
            self.text(&path, list, 200);
            if list == own.key.as_deref().unwrap_or(queue) {
                self.fail(&[&path], format!("{list:?} is the queue's own key: name the list that consumers move to"));
            }
        }
    }

    fn steps(&mut self, key: &[&str], steps: &[u8]) {
        let ascending = steps.windows(2).all(|pair| pair[0] < pair[1]);
        if steps.first() != Some(&0) || !ascending || steps.iter().any(|step| *step > 9) {
            self.fail(&[key], "priority steps ascend from 0 and are each 0 to 9, such as [0, 3, 6, 9]; [0] for none");
        }
    }

    fn message_size(&mut self, key: &[&str], size: Size) {
        if !(Size::from_bytes(1 << 10)..=Size::from_bytes(MAX_MESSAGE as u64)).contains(&size) {
            self.fail(&[key], format!("{size} is out of range: use 1KiB to 16MiB"));
        }
    }

    fn http(&mut self) {
        let listen = self.config.http.listen.as_str();
        let port =
            listen.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>().is_ok());
        if !listen.is_empty() && port != Some(true) {
            self.fail(
                &[&["http", "listen"]],
                format!("{listen:?} is not an address with a port: write 127.0.0.1:14187, or \"\" for none"),
            );
        }
    }

    fn text(&mut self, key: &[&str], value: &str, limit: usize) {
        if value.is_empty() || value.len() > limit || value.chars().any(char::is_control) {
            self.fail(&[key], format!("it must have 1 to {limit} bytes and no control characters"));
        }
    }

    fn at_least(&mut self, key: &[&str], value: Period, min: Period) {
        if value < min {
            self.fail(&[key], format!("{value} is too short: use {min} or more"));
        }
    }
}

fn not_set(key: &Key, alias: &[&str]) -> String {
    let names = alias.iter().map(|name| (*name).to_owned()).chain([key.variable()]).collect::<Vec<_>>().join(" or ");
    format!("it is not set: set {names}, or `{}` in [{}] of the configuration file", key.last(), key.parent())
}

/// What is allowed and probably not meant.
pub(super) fn warnings(config: &Config, sources: &Sources) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let used: BTreeSet<&str> =
        config.queues.values().filter_map(|own| own.redis.as_deref()).chain([config.defaults.redis.as_str()]).collect();
    for name in config.redis.keys().filter(|name| !used.contains(name.as_str())) {
        let key = Key::of(&["redis", name, "url"]);
        warnings.push(Problem::new(&key, config.origins.of(&key), "no queue uses this target"));
    }
    for (queue, own) in &config.queues {
        let format = own.format.unwrap_or(config.defaults.format);
        for option in idle_options(own, format) {
            let key = Key::of(&["queues", queue, option]);
            warnings.push(Problem::new(
                &key,
                config.origins.of(&key),
                format!("no effect with format {}", render::plain(&format)),
            ));
        }
    }
    warnings.extend(unconfirmed(config));
    sources.near_misses(&render::fixed_keys(), &mut warnings);
    for (key, secret) in config.secrets() {
        let Origin::File(path) = config.origins.of(&key) else { continue };
        let readable = std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0);
        if readable && secret.redacted() != secret.expose() {
            let advice = format!("a secret in a file that everyone may read: chmod o-r, or use `{}_file`", key.last());
            warnings.push(Problem::new(&key, config.origins.of(&key), advice));
        }
    }
    warnings
}

/// Windows that let more into Redis than is looked at.
fn unconfirmed(config: &Config) -> Vec<Problem> {
    let defaults = &config.defaults;
    let mut found = vec![(Key::of(&["defaults", "window"]), defaults.confirm, defaults.window, defaults.confirm_limit)];
    for (queue, own) in config.queues.iter().filter(|(_, own)| own.window.or(own.confirm_limit).is_some()) {
        let settled = config.queue(queue);
        let option = if own.window.is_some() { "window" } else { "confirm_limit" };
        let key = Key::of(&["queues", queue, option]);
        found.push((key, settled.confirm, settled.window, settled.confirm_limit));
    }
    let wide = found.into_iter().filter(|(_, confirm, window, limit)| *confirm == Confirm::Observe && window > limit);
    wide.map(|(key, _, window, limit)| {
        let message = format!(
            "the window ({window}) is above confirm_limit ({limit}): while more messages than that stand in Redis, none is \
             confirmed, and a loss sends all of them again"
        );
        Problem::new(&key, config.origins.of(&key), message)
    })
    .collect()
}

/// Options that a queue sets and its format does not use.
fn idle_options(own: &QueueOverride, format: FormatName) -> Vec<&'static str> {
    let celery = format == FormatName::Celery;
    let list = matches!(format, FormatName::List | FormatName::Raw);
    [
        ("group", own.group.is_some() && format != FormatName::Stream),
        ("priority_steps", own.priority_steps.is_some() && !celery),
        ("body_encoding", own.body_encoding.is_some() && !celery),
        ("push", own.push.is_some() && !list),
        ("processing", own.processing.is_some() && format != FormatName::List),
        ("sep", own.sep.is_some() && !celery),
        ("unacked_key", own.unacked_key.is_some() && !celery),
        ("unacked_index_key", own.unacked_index_key.is_some() && !celery),
        ("unacked_mutex_key", own.unacked_mutex_key.is_some() && !celery),
        ("confirm_grace", own.confirm_grace.is_some() && !celery),
    ]
    .into_iter()
    .filter_map(|(option, idle)| idle.then_some(option))
    .collect()
}
