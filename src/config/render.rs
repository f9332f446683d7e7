//! A configuration as text: what is in force, with origins if asked, and the commented example. Secrets are redacted by their type.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value};

use super::origin::Key;
use super::schema::{self, Kind, Shape};
use super::{Config, fields};

/// The configuration in force as TOML; with `origins`, each line tells where its value came from.
pub fn toml(config: &Config, origins: bool) -> String {
    let mut text = String::new();
    let mut table = Key::default();
    for (key, value) in in_order(leaves(config)) {
        if key.parent() != table || text.is_empty() {
            table = key.parent();
            let gap = if text.is_empty() { "" } else { "\n" };
            line(&mut text, format_args!("{gap}[{table}]"));
        }
        let setting = format!("{} = {}", Key::of(&[key.last()]), toml_value(&value));
        if origins {
            line(&mut text, format_args!("{setting:<44} # {}", config.origins.of(&key)));
        } else {
            line(&mut text, format_args!("{setting}"));
        }
    }
    text
}

/// The configuration in force as JSON; with `origins`, a flat object `key: {value, origin}`.
pub fn json(config: &Config, origins: bool) -> Value {
    if !origins {
        return as_json(config);
    }
    let entries = leaves(config).into_iter().map(|(key, value)| {
        let origin = config.origins.of(&key).to_string();
        (key.to_string(), serde_json::json!({ "value": value, "origin": origin }))
    });
    Value::Object(entries.collect())
}

/// A TOML file that names every key with its meaning and its default. Keys without a default, and tables of names, are commented out.
pub fn example() -> String {
    let schema = schema::json_schema();
    let root = Shape(&schema);
    let mut text = String::from(
        "# outboxd: every key with its default. `#key = value` is not set: an example.\n\
         # Stronger than this file: environment OUTBOXD_SECTION__KEY, then --set section.key=value, then flags.\n\
         # Durations need a unit (\"500ms\", \"5s\", \"15m\", \"7d\"), and so do sizes (\"64KiB\", \"1MiB\").\n",
    );
    for section in fields::sections() {
        let Some(shape) = root.child(section) else { continue };
        text.push('\n');
        comment(&mut text, shape.description());
        if shape.kind() == Kind::Names {
            let name = if *section == "redis" { "default" } else { "events" };
            line(&mut text, format_args!("#[{section}.{name}]"));
            keys_of(&mut text, section, Shape(&shape.0["additionalProperties"]), true);
        } else {
            line(&mut text, format_args!("[{section}]"));
            keys_of(&mut text, section, shape, false);
        }
    }
    text
}

fn keys_of(text: &mut String, section: &str, shape: Shape<'_>, inactive: bool) {
    for key in fields::keys(section) {
        let Some(field) = shape.child(key) else { continue };
        comment(text, field.description());
        let default = field.default();
        let mark = if inactive || default.is_none() { "#" } else { "" };
        if let Some(value) = default.or(field.example()) {
            line(text, format_args!("{mark}{key} = {}", toml_value(value)));
        }
    }
}

/// Every value by its key; lists are values.
pub(super) fn leaves(config: &Config) -> BTreeMap<Key, Value> {
    let mut found = BTreeMap::new();
    if let Value::Object(root) = as_json(config) {
        collect(&Key::default(), root, &mut found);
    }
    found
}

fn collect(at: &Key, table: Map<String, Value>, found: &mut BTreeMap<Key, Value>) {
    for (segment, value) in table {
        match value {
            Value::Object(inner) => collect(&at.child(&segment), inner, found),
            value => {
                found.insert(at.child(&segment), value);
            }
        }
    }
}

/// Sections and keys as declared, names alphabetically.
fn in_order(leaves: BTreeMap<Key, Value>) -> Vec<(Key, Value)> {
    let rank = |key: &Key| {
        let section = key.0[0].as_str();
        let section_rank = fields::sections().iter().position(|name| *name == section);
        (section_rank, key.parent(), fields::keys(section).iter().position(|name| *name == key.last()))
    };
    let mut leaves: Vec<_> = leaves.into_iter().collect();
    leaves.sort_by_key(|(key, _)| rank(key));
    leaves
}

/// Every key whose name is fixed, those of the target `default` included.
pub(super) fn fixed_keys() -> Vec<Key> {
    let keys = fields::sections().iter().filter(|section| **section != "queues").flat_map(|section| {
        let table = if *section == "redis" { Key::of(&["redis", "default"]) } else { Key::of(&[section]) };
        fields::keys(section).iter().map(move |key| table.child(key))
    });
    keys.collect()
}

/// A choice as it is written: `celery`.
pub(super) fn plain(choice: &impl Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

fn as_json(config: &Config) -> Value {
    // Keys are strings and no value refuses to serialize, so this cannot fail.
    serde_json::to_value(config).unwrap_or_default()
}

fn toml_value(value: &Value) -> String {
    toml::Value::try_from(value).map(|value| value.to_string()).unwrap_or_default()
}

fn comment(text: &mut String, description: &str) {
    for part in description.lines() {
        line(text, format_args!("# {}", part.trim()));
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}
