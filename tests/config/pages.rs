//! What is made from the types: the example, the schema, the manual, and the commands that print them.

use clap::Parser;
use outboxd::cli::config::{ConfigArgs, run_over};
use outboxd::config::{Config, FormatName, Sources, json_schema, render};

use super::{Scratch, file, load, with};

#[test]
fn the_example_is_the_defaults_and_obeys_the_schema() {
    let example = render::example();
    let parsed: Config = toml::from_str(&example).unwrap();
    assert_eq!(parsed, Config::default());

    let schema = jsonschema::draft202012::new(&json_schema()).unwrap();
    let file: serde_json::Value = toml::from_str(&example).unwrap();
    assert!(schema.is_valid(&file));
    // Every commented key, made active, is valid too: the examples are real.
    let active: String = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect();
    let file: serde_json::Value = toml::from_str(&active).unwrap();
    assert_eq!(schema.iter_errors(&file).map(|error| error.to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(file["queues"]["events"]["key"], "events");
    assert!(!schema.is_valid(&serde_json::json!({ "relay": { "bach_size": 1 } })));
    assert!(!schema.is_valid(&serde_json::json!({ "relay": { "linger": 5 } })));
}

/// Every key of the schema under its table, with its default as TOML writes it.
fn documented_keys() -> Vec<(String, String, Option<String>)> {
    let schema = json_schema();
    let mut keys = Vec::new();
    for (section, shape) in schema["properties"].as_object().unwrap() {
        let (table, shape) = if shape["additionalProperties"].is_object() {
            (format!("{section}.NAME"), &shape["additionalProperties"])
        } else {
            (section.clone(), shape)
        };
        for (key, field) in shape["properties"].as_object().unwrap() {
            let default = field.get("default").map(|value| toml::Value::try_from(value).unwrap().to_string());
            keys.push((table.clone(), key.clone(), default));
        }
    }
    keys.sort();
    keys
}

fn manual() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap()
}

#[test]
fn the_manual_tells_every_key_in_its_section_with_its_default_and_no_other() {
    let mut described = Vec::new();
    let mut table = String::new();
    for line in manual().lines() {
        if let Some(heading) = line.strip_prefix("### `[") {
            table = heading.split(']').next().unwrap().to_owned();
        } else if line.starts_with('#') {
            table.clear();
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ([_, key, default, _, _], false) = (cells.as_slice(), table.is_empty())
            && let Some(key) = key.strip_prefix('`').and_then(|key| key.strip_suffix('`'))
        {
            described.push((table.clone(), key.to_owned(), (*default).to_owned()));
        }
    }
    described.sort();
    let wanted = documented_keys();
    let names =
        |keys: &[(String, String)]| keys.iter().map(|(table, key)| format!("[{table}] {key}")).collect::<Vec<_>>();
    let strip = |(table, key, _): &(String, String, String)| (table.clone(), key.clone());
    let told: Vec<_> = described.iter().map(strip).collect();
    let exist: Vec<_> = wanted.iter().map(|(table, key, _)| (table.clone(), key.clone())).collect();
    assert_eq!(names(&told), names(&exist));
    for ((table, key, told), (.., default)) in described.iter().zip(&wanted) {
        if let Some(default) = default {
            assert_eq!(*told, format!("`{default}`"), "[{table}] {key}");
        }
    }
}

#[test]
fn the_files_in_the_manual_are_valid() {
    let manual = manual();
    let block = manual.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let toml = Scratch::new(&block.replace("/run/secrets/redis_url", "/dev/null"));
    let (code, _, err) =
        command(&["config", "validate", "--no-environment", "--config", toml.path().to_str().unwrap()], with(&[]));
    assert_eq!((code, err.as_str()), (0, ""));
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs `outboxd config ..`: exit code, standard output, standard error.
pub(super) fn command(arguments: &[&str], sources: Sources) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run_over(Command::parse_from(arguments).config, sources, &mut out, &mut err);
    (exit.into(), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn validate_answers_by_exit_code_and_on_the_right_stream() {
    assert_eq!(
        command(&["config", "validate"], with(&[])),
        (0, "the configuration is valid\n".to_owned(), String::new())
    );
    let (code, out, err) = command(&["config", "validate"], Sources::environment::<&str, &str>([]));
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.starts_with("the configuration has 2 errors:\n  database.url: it is not set"), "{err}");
    let (code, out, _) = command(&["config", "validate", "--json"], Sources::environment::<&str, &str>([]));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["valid"], told["errors"][0]["key"].as_str()), (78, &false.into(), Some("database.url")));
}

#[test]
fn validate_can_look_at_the_file_alone_and_deny_warnings() {
    let toml = Scratch::new("[database]\nurl_file = \"/nowhere\"\n[queues.a]\nformat = \"stream\"\n");
    let path = toml.path().to_str().unwrap();
    let hostile = [("OUTBOXD_RELAY__BATCH_SIZE", "nonsense")];
    let (code, _, err) =
        command(&["config", "validate", "--no-environment", "--config", path], Sources::environment(hostile));
    assert_eq!((code, err.as_str()), (0, ""));
    let warned = ["config", "validate", "--set", "queues.a.push=right"];
    let (code, out, err) = command(&warned, with(&[]));
    assert_eq!((code, out.as_str()), (0, "the configuration is valid\n"));
    assert!(err.starts_with("warning: --set: queues.a.push: no effect"), "{err}");
    let (code, ..) = command(&[&warned[..], &["--deny-warnings"]].concat(), with(&[]));
    assert_eq!(code, 78);
}

#[test]
fn what_show_prints_can_be_read_again() {
    let (code, out, err) = command(&["config", "show"], with(&[("OUTBOXD_QUEUES__EVENTS__FORMAT", "stream")]));
    assert_eq!((code, err.as_str()), (0, ""));
    let again = Scratch::new(&out);
    let config = load(&file(Sources::environment::<&str, &str>([]), &again));
    assert_eq!(config.queue("events").format, FormatName::Stream);
    let (code, out, _) = command(&["config", "show", "--format", "json"], with(&[]));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["relay"]["batch_size"]), (0, &500.into()));
    let (_, out, _) = command(&["config", "schema"], with(&[]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), json_schema());
    assert_eq!(command(&["config", "example"], with(&[])).1, render::example());
}
