//! The configuration: precedence, errors all at once, secrets, reload.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outboxd::config::{Config, ConfigErrors, FormatName, Sources, render};

mod pages;
mod urls;
use pages::command;

/// The two variables that are enough to run.
const ENOUGH: [(&str, &str); 2] = [("DATABASE_URL", "postgres://app@db/app"), ("REDIS_URL", "redis://broker/1")];

/// A file that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("outboxd-config-{}-{:x}", std::process::id(), fastrand::u64(..)));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with(extra: &[(&str, &str)]) -> Sources {
    Sources::environment(ENOUGH.iter().chain(extra).copied())
}

fn sets(sources: Sources, sets: &[&str]) -> Sources {
    Sources { sets: sets.iter().map(|s| (*s).to_owned()).collect(), ..sources }
}

fn file(sources: Sources, file: &Scratch) -> Sources {
    Sources { file: Some(file.path().to_owned()), ..sources }
}

fn load(sources: &Sources) -> Config {
    Config::load(sources).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The problems, one line each.
fn problems(sources: &Sources) -> Vec<String> {
    let ConfigErrors(problems) = Config::load(sources).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

fn only_problem(sources: &Sources) -> String {
    let problems = problems(sources);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

#[test]
fn two_variables_are_enough_and_every_queue_is_celery() {
    let config = load(&with(&[]));
    let queue = config.queue("emails");
    assert_eq!((queue.format, queue.redis.as_str(), queue.key), (FormatName::Celery, "default", None));
    assert_eq!(queue.priority_steps, [0, 3, 6, 9]);
    assert_eq!((queue.window, queue.max_message.bytes()), (10_000, 16 << 20));
    assert_eq!(config.relay.poll_interval.get(), Duration::from_secs(1));
    assert_eq!(config.database.listen().expose(), "postgres://app@db/app");
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
}

#[test]
fn a_stronger_source_wins_and_each_value_knows_its_origin() {
    let toml = Scratch::new(
        "[relay]\nbatch_size = 1\nlinger = \"1s\"\npoll_interval = \"1s\"\nidle_look = \"7s\"\n[http]\nlisten = \"127.0.0.1:1\"\n",
    );
    let env = [
        ("OUTBOXD_RELAY__LINGER", "2s"),
        ("OUTBOXD_RELAY__POLL_INTERVAL", "2s"),
        ("OUTBOXD_HTTP__LISTEN", "127.0.0.1:2"),
    ];
    let sources =
        sets(file(with(&env), &toml), &["relay.poll_interval=3s", "http.listen=127.0.0.1:3", "relay.poll_interval=4s"]);
    let config = load(&sources.flag("--listen", "http.listen", "127.0.0.1:4"));
    assert_eq!(config.relay.batch_size, 1);
    assert_eq!(config.relay.linger.to_string(), "2s");
    assert_eq!(config.relay.poll_interval.to_string(), "4s");
    assert_eq!(config.http.listen, "127.0.0.1:4");

    let shown = render::json(&config, true);
    let origin = |key: &str| shown[key]["origin"].as_str().unwrap().to_owned();
    assert_eq!(origin("relay.batch_size"), toml.path().display().to_string());
    assert_eq!(origin("relay.linger"), "OUTBOXD_RELAY__LINGER");
    assert_eq!(origin("relay.poll_interval"), "--set");
    assert_eq!(origin("http.listen"), "--listen");
    assert_eq!(origin("database.url"), "DATABASE_URL");
    assert_eq!(origin("relay.retry_max"), "default");
}

#[test]
fn the_well_known_names_rank_above_the_file_and_below_our_own_variables() {
    let toml = Scratch::new("[database]\nurl = \"postgres://file/app\"\n");
    assert_eq!(load(&file(with(&[]), &toml)).database.url.expose(), "postgres://app@db/app");
    let own = [("OUTBOXD_DATABASE__URL", "postgres://own/app"), ("OUTBOXD_REDIS__DEFAULT__URL", "rediss://own/2")];
    let config = load(&file(with(&own), &toml));
    assert_eq!(config.database.url.expose(), "postgres://own/app");
    assert_eq!(config.redis["default"].url.expose(), "rediss://own/2");
    let empty = Sources::environment([("DATABASE_URL", ""), ("REDIS_URL", "redis://broker/1")]);
    assert_eq!(load(&file(empty, &toml)).database.url.expose(), "postgres://file/app");
}

#[test]
fn the_file_is_named_by_the_flag_or_by_a_variable() {
    let (flag, variable) = (Scratch::new("[relay]\nbatch_size = 1\n"), Scratch::new("[relay]\nbatch_size = 2\n"));
    let sources = with(&[("OUTBOXD_CONFIG", variable.path().to_str().unwrap())]);
    assert_eq!(load(&sources).relay.batch_size, 2);
    assert_eq!(load(&file(sources, &flag)).relay.batch_size, 1);
    let missing = only_problem(&with(&[("OUTBOXD_CONFIG", "/nowhere/outboxd.toml")]));
    assert!(missing.starts_with("/nowhere/outboxd.toml: cannot be read"), "{missing}");
}

#[test]
fn text_from_the_environment_is_read_by_the_type_of_its_key() {
    let config = load(&with(&[
        ("OUTBOXD_DATABASE__URL", "postgres://app:0123@db/app"),
        ("OUTBOXD_DATABASE__SCHEMA", "0123"),
        ("OUTBOXD_DATABASE__POOL_SIZE", "8"),
        ("OUTBOXD_QUEUES__EVENTS__FORMAT", "stream"),
        ("OUTBOXD_QUEUES__EVENTS__KEY", "[a,b]"),
        ("OUTBOXD_QUEUES__MAIL__PRIORITY_STEPS", "0, 5"),
        ("OUTBOXD_QUEUES__MAIL__MAX_MESSAGE", "64KiB"),
        ("OUTBOXD_REDIS__BLUE__URL", "redis://blue/0"),
        ("OUTBOXD_QUEUES__MAIL__REDIS", "blue"),
        ("OUTBOXD_HTTP__LISTEN", ""),
        ("OUTBOXD_QUEUES__JOBS__PROCESSING", "jobs:1, jobs:2"),
    ]));
    assert_eq!(config.queue("jobs").processing, ["jobs:1", "jobs:2"]);
    assert_eq!((config.database.schema.as_str(), config.database.pool_size), ("0123", 8));
    assert_eq!(
        (config.queue("events").format, config.queue("events").key.as_deref()),
        (FormatName::Stream, Some("[a,b]"))
    );
    let mail = config.queue("mail");
    assert_eq!((mail.priority_steps, mail.max_message.bytes(), mail.redis.as_str()), (vec![0, 5], 65_536, "blue"));
    assert_eq!(config.http.listen, "");
}

#[test]
fn a_queue_with_a_dot_in_its_name_can_be_set_by_quotes() {
    let config = load(&sets(with(&[]), &["queues.\"mail.eu\".key=a=b"]));
    assert_eq!(config.queue("mail.eu").key.as_deref(), Some("a=b"));
}

#[test]
fn variables_that_kubernetes_injects_are_ignored() {
    let config = load(&with(&[
        ("OUTBOXD_SERVICE_HOST", "10.0.0.1"),
        ("OUTBOXD_PORT", "tcp://10.0.0.1:14187"),
        ("OUTBOXD_PORT_14187_TCP_ADDR", "10.0.0.1"),
    ]));
    assert!(config.warnings().is_empty());
}

#[test]
fn a_variable_with_one_underscore_too_few_is_warned_about() {
    let config = load(&with(&[("OUTBOXD_RELAY_BATCH_SIZE", "5")]));
    let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["OUTBOXD_RELAY_BATCH_SIZE: ignored; did you mean OUTBOXD_RELAY__BATCH_SIZE?"]);
}

#[test]
fn all_errors_are_told_at_once_each_with_its_place() {
    let toml = Scratch::new(
        "[databse]\nurl = \"x\"\nschema = \"y\"\n[relay]\nbatch_size = 0\npoll_interval = 5\npool_size = 3\n\
         [queues.events]\nredis = \"defualt\"\nwindow = \"many\"\npriority_steps = [3]\n",
    );
    let env =
        [("OUTBOXD_RELAY__BATCHSIZE", "5"), ("OUTBOXD_LOG__LEVEL", "inof"), ("OUTBOXD_DATABASE__POOL_SIZE", "lots")];
    let found = problems(&sets(file(with(&env), &toml), &["http.lsten=x", "defaults.format=celry"]));
    let path = toml.path().display().to_string();
    for expected in [
        format!("{path}: databse: unknown section; did you mean database?"),
        format!("{path}: relay.batch_size: 0 is out of range: use 1 to 10000"),
        format!("{path}: relay.poll_interval: \"5\" has no unit: write \"5s\" for seconds or \"5ms\" for milliseconds"),
        format!("{path}: relay.pool_size: unknown key; did you mean database.pool_size?"),
        format!("{path}: queues.events.window: expected a whole number, found a string"),
        format!(
            "{path}: queues.events.priority_steps: priority steps ascend from 0 and are each 0 to 9, such as [0, 3, 6, 9]; [0] for none"
        ),
        format!(
            "{path}: queues.events.redis: no Redis target is named \"defualt\"; did you mean \"default\"? (targets are the [redis.NAME] tables)"
        ),
        "OUTBOXD_RELAY__BATCHSIZE: relay.batchsize: unknown key; did you mean OUTBOXD_RELAY__BATCH_SIZE?".to_owned(),
        "OUTBOXD_DATABASE__POOL_SIZE: database.pool_size: \"lots\" is not a whole number".to_owned(),
        "--set: http.lsten: unknown key; did you mean http.listen?".to_owned(),
        "--set: defaults.format: \"celry\" is none of celery, list, stream, raw; did you mean \"celery\"?".to_owned(),
    ] {
        assert!(found.contains(&expected), "missing: {expected}\nin {found:#?}");
    }
    assert!(found.iter().any(|line| line.starts_with("OUTBOXD_LOG__LEVEL: log.level: \"inof\" is not a level")));
    assert_eq!(found.len(), 12, "{found:#?}");
}

#[test]
fn a_value_that_is_wrong_is_complained_about_once() {
    let line = only_problem(&with(&[("OUTBOXD_DATABASE__URL_FILE", "/nowhere/url"), ("DATABASE_URL", "")]));
    assert!(line.starts_with("OUTBOXD_DATABASE__URL_FILE: database.url_file: /nowhere/url cannot be read"), "{line}");
    let toml = Scratch::new("database = 5\n");
    assert!(only_problem(&file(with(&[]), &toml)).contains("database: this is a table, not a value"));
    let toml = Scratch::new("[database]\nurl = 5\n");
    let line = only_problem(&file(Sources::environment([ENOUGH[1]]), &toml));
    assert!(line.ends_with("database.url: expected a string, found a whole number"), "{line}");
}

#[test]
fn without_urls_the_message_names_every_way_to_set_them() {
    let found = problems(&Sources::environment::<&str, &str>([]));
    assert_eq!(
        found,
        [
            "database.url: it is not set: set DATABASE_URL or OUTBOXD_DATABASE__URL, or `url` in [database] of the configuration file",
            "redis.default.url: it is not set: set REDIS_URL or OUTBOXD_REDIS__DEFAULT__URL, or `url` in [redis.default] of the configuration file",
        ]
    );
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    for (set, expected) in [
        (
            "relay.replay_horizon=2h",
            "--set: relay.replay_horizon: retention.min (1h) is below relay.replay_horizon (2h)",
        ),
        ("retention.max=10m", "--set: retention.max: retention.max (10m) is below retention.min (1h)"),
        ("relay.retry_max=1ms", "--set: relay.retry_max: retry_max (1ms) is below retry_min (100ms)"),
        ("http.listen=:14187", "--set: http.listen: \":14187\" is not an address with a port"),
        ("database.url=http://db/app", "--set: database.url: has the scheme \"http\": it must begin with postgres://"),
        ("redis.default.url=broker:6379", "--set: redis.default.url: is not a URL: it must begin with redis://"),
        ("defaults.redis=blue", "--set: defaults.redis: no Redis target is named \"blue\"; known: default"),
        ("defaults.max_message=1B", "--set: defaults.max_message: 1B is out of range"),
        ("defaults.sep=", "--set: defaults.sep: it must have 1 to 20 bytes and no digit"),
        ("queues.unacked.window=1", "queues.unacked.key: queue \"unacked\": its key \"unacked\" is where"),
        ("queues.a.key=_kombu.binding.a", "--set: queues.a.key: queue \"a\": its key"),
        ("queues.a.key=unacked_index", "--set: queues.a.key: queue \"a\": its key"),
        ("queues.a.key=outbox:m:{default}", "--set: queues.a.key: queue \"a\": its key"),
        ("queues.a.key=outbox:receipts", "--set: queues.a.key: queue \"a\": its key"),
        ("queues.a.key=a}b", "--set: queues.a.key: queue \"a\": the key \"a}b\" has a lone }"),
        ("defaults.key=x", "--set: defaults.key: a key belongs to one queue: set it under [queues.NAME]"),
        ("database.statement_timeout=0s", "--set: database.statement_timeout: 0s is too short"),
        ("queues=x", "--set: queues: this is a table of names: write [queues.NAME]"),
        ("log.level.x=info", "--set: log.level.x: log.level is a value, not a table"),
    ] {
        let line = only_problem(&sets(with(&[]), &[set]));
        assert!(line.starts_with(expected), "{set}: {line}");
    }
}

#[test]
fn a_secret_comes_from_a_file_without_its_last_newline_and_is_read_again() {
    let secret = Scratch::new("postgres://app:first@db/app\n");
    let sources = Sources::environment([("OUTBOXD_DATABASE__URL_FILE", secret.path().to_str().unwrap()), ENOUGH[1]]);
    let first = load(&sources);
    assert_eq!(first.database.url.expose(), "postgres://app:first@db/app");
    std::fs::write(secret.path(), "postgres://app:second@db/app\r\n").unwrap();
    let second = load(&sources);
    assert_eq!(second.database.url.expose(), "postgres://app:second@db/app");
    let changes = first.difference(&second);
    assert_eq!(changes.0.len(), 1);
    assert_eq!((changes.0[0].key.as_str(), changes.0[0].restart), ("database.url", false));
    assert!(!format!("{changes:?}").contains("second"));
    let origin = &render::json(&second, true)["database.url"]["origin"];
    assert_eq!(*origin, format!("{} (named by OUTBOXD_DATABASE__URL_FILE)", secret.path().display()));
}

#[test]
fn a_secret_and_its_file_exclude_each_other_in_one_source_and_replace_each_other_across_sources() {
    let secret = Scratch::new("postgres://file/app");
    let path = secret.path().to_str().unwrap();
    let both = with(&[("OUTBOXD_DATABASE__URL", "postgres://own/app"), ("OUTBOXD_DATABASE__URL_FILE", path)]);
    let line = only_problem(&both);
    assert_eq!(
        line,
        "OUTBOXD_DATABASE__URL_FILE: database.url_file: both this and database.url are set (by OUTBOXD_DATABASE__URL): keep one"
    );
    let toml = Scratch::new(&format!("[database]\nurl = \"postgres://x/x\"\nurl_file = {path:?}\n"));
    assert!(problems(&file(Sources::environment([ENOUGH[1]]), &toml))[0].contains("keep one"));
    let stronger = with(&[("OUTBOXD_DATABASE__URL_FILE", path)]);
    assert_eq!(load(&stronger).database.url.expose(), "postgres://file/app");
    let toml = Scratch::new(&format!("[database]\nurl_file = {path:?}\n"));
    assert_eq!(load(&file(with(&[]), &toml)).database.url.expose(), "postgres://app@db/app");
}

#[test]
fn a_reload_tells_what_changed_and_what_needs_a_restart() {
    let old = load(&with(&[("OUTBOXD_QUEUES__EVENTS__WINDOW", "5")]));
    let new = load(&sets(
        with(&[("OUTBOXD_QUEUES__EVENTS__WINDOW", "6")]),
        &["log.level=debug", "http.listen=", "database.schema=app", "queues.mail.format=list", "relay.batch_size=7"],
    ));
    assert!(old.difference(&old.clone()).is_empty());
    let changes = old.difference(&new);
    let told: Vec<_> = changes.0.iter().map(|change| (change.key.as_str(), change.restart)).collect();
    assert_eq!(
        told,
        [
            ("database.schema", true),
            ("http.listen", true),
            ("log.level", false),
            ("queues.events.window", false),
            ("queues.mail.format", false),
            ("relay.batch_size", false),
        ]
    );
    assert_eq!((changes.0[3].before.as_deref(), changes.0[3].after.as_deref()), (Some("5"), Some("6")));
    assert_eq!(changes.needing_restart().count(), 2);
    let restarts = |key: &str| {
        let moved = load(&sets(with(&[]), &[key]));
        load(&with(&[])).difference(&moved).0.iter().map(|change| change.restart).collect::<Vec<_>>()
    };
    assert_eq!(restarts("redis.default.url=redis://:pw@other/1"), [false]);
    assert_eq!(restarts("database.url=postgres://app:pw@other/app"), [true]);
}

#[test]
fn a_planted_secret_is_nowhere_to_be_seen() {
    let urls = [
        ("DATABASE_URL", "postgres://app:plantedsecret@db/app?sslmode=require&sslpassword=plantedsecret"),
        ("REDIS_URL", "rediss://:plantedsecret@broker:6380/1"),
        ("OUTBOXD_DATABASE__LISTEN_URL", "postgres://app:plantedsecret@direct/app"),
    ];
    let config = load(&Sources::environment(urls));
    let mut seen = format!("{config:?}{config:#?}{}{}", render::toml(&config, true), render::json(&config, true));
    seen += &render::json(&config, false).to_string();
    for arguments in [["config", "show", "--origin"], ["config", "show", "--json"], ["config", "validate", "--json"]] {
        let (_, out, err) = command(&arguments, Sources::environment(urls));
        seen = seen + &out + &err;
    }
    assert!(seen.contains("postgres://app:***@db/app?sslmode=require&sslpassword=***"));

    let toml = Scratch::new(
        "database = \"postgres://app:plantedsecret@db/app\"\n[redis.default]\nurl = \"redis://:plantedsecret@b/1\nx",
    );
    seen += &problems(&file(Sources::environment(urls), &toml)).join("\n");
    let toml = Scratch::new(
        "database = \"postgres://app:plantedsecret@db/app\"\n[redis]\ndefault = \"redis://:plantedsecret@b/1\"\n",
    );
    seen += &problems(&file(Sources::environment(urls), &toml)).join("\n");
    let broken = [
        ("DATABASE_URL", "postgres://app:planted/secret@db/app"),
        ("REDIS_URL", "plantedsecret"),
        ("OUTBOXD_DATABASE__URLS", "plantedsecret"),
        ("OUTBOXD_REDIS__BLUE", "plantedsecret"),
    ];
    let sources =
        sets(Sources::environment(broken), &["postgres://app:plantedsecret@db", "database.ulr=plantedsecret"]);
    seen += &problems(&sources).join("\n");
    assert!(!seen.contains("plantedsecret") && !seen.contains("planted/"), "{seen}");
}

#[test]
fn broken_toml_is_told_by_line_and_column() {
    let toml = Scratch::new("[relay]\nbatch_size = = 5\n");
    let line = only_problem(&file(with(&[]), &toml));
    assert!(line.starts_with(&format!("{}: line 2, column 14: not TOML: ", toml.path().display())), "{line}");
}

#[test]
fn options_without_effect_and_idle_targets_are_warned_about() {
    let config =
        load(&sets(with(&[]), &["queues.a.format=stream", "queues.a.push=left", "redis.blue.url=redis://blue"]));
    let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["--set: redis.blue.url: no queue uses this target", "--set: queues.a.push: no effect with format stream"]
    );
}

#[test]
fn a_relay_without_a_name_gets_a_new_one() {
    let config = load(&with(&[]));
    assert_ne!(config.relay_id(), config.relay_id());
    assert!(config.relay_id().contains(&format!("-{}-", std::process::id())));
    assert_eq!(load(&sets(with(&[]), &["relay.id=r1"])).relay_id(), "r1");
}

#[test]
fn settings_of_confirmation_have_defaults_bounds_and_warnings() {
    let config = load(&with(&[]));
    let queue = config.queue("any");
    assert_eq!((queue.confirm_limit, queue.unacked_key.as_str(), queue.processing.len()), (20_000, "unacked", 0));
    assert_eq!((queue.confirm_grace.to_string(), queue.receipt_timeout.to_string()), ("1m".into(), "10m".into()));
    assert_eq!(config.redis["default"].receipts, "outbox:receipts");

    for (set, wanted) in [
        ("queues.a.confirm_grace=1ms", "1ms is too short: use 100ms or more"),
        ("queues.a.confirm_limit=0", "0 is out of range: use 1 to 1000000"),
        ("defaults.receipt_timeout=0s", "is too short"),
        ("queues.a.processing=a", "\"a\" is the queue's own key"),
        ("queues.a.unacked_key=", "it must have 1 to 200 bytes"),
        ("redis.default.receipts=", "it must have 1 to 200 bytes"),
    ] {
        let problem = only_problem(&sets(with(&[]), &[set]));
        assert!(problem.contains(wanted), "{set}: {problem}");
    }
    for (set, wanted) in [
        ("queues.a.processing=b", "queues.a.processing: no effect with format celery"),
        ("queues.a.window=20001", "queues.a.window: the window (20001) is above confirm_limit (20000)"),
        ("queues.a.confirm_limit=9999", "queues.a.confirm_limit: the window (10000) is above"),
        ("defaults.window=30000", "defaults.window: the window (30000) is above"),
    ] {
        let config = load(&sets(with(&[]), &[set]));
        let [warning] = config.warnings() else { panic!("{set}: {:?}", config.warnings()) };
        assert!(warning.to_string().contains(wanted), "{set}: {warning}");
    }
    let config = load(&sets(with(&[]), &["defaults.window=30000", "defaults.confirm=none"]));
    assert!(config.warnings().is_empty());
}
