//! The JSON Schema of the configuration, made from its types; it decides which keys exist and how text is understood.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;
use super::origin::Key;

/// The JSON Schema (draft 2020-12) of the configuration file, with the doc comments as descriptions.
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    drop_null(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "outboxd configuration".into());
        root.insert("description".to_owned(), "The configuration file of outboxd, in TOML.".into());
    }
    schema
}

/// Takes `null` out of every type: an optional key is left out, and TOML has no null. A secret has no default.
fn drop_null(node: &mut Value) {
    match node {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(branches)) = map.get_mut("anyOf") {
                branches.retain(|branch| branch["type"] != "null");
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            if map.get("default").is_some_and(Value::is_null) || map.contains_key("writeOnly") {
                map.remove("default");
            }
            map.values_mut().for_each(drop_null);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_null),
        _ => {}
    }
}

/// What stands at a place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A section: a fixed set of keys.
    Section,
    /// A table whose keys are names of the operator's choice.
    Names,
    Integer,
    Boolean,
    /// A list of whole numbers.
    Integers,
    /// A list of strings.
    Texts,
    /// Text of any kind: strings, choices, durations, sizes, secrets.
    Text,
}

/// A place in the schema.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a>(pub(super) &'a Value);

impl<'a> Shape<'a> {
    pub(super) fn kind(self) -> Kind {
        match self.0["type"].as_str() {
            Some("object") if self.0["properties"].is_object() => Kind::Section,
            Some("object") => Kind::Names,
            Some("integer") => Kind::Integer,
            Some("boolean") => Kind::Boolean,
            Some("array") if self.0["items"]["type"] == "string" => Kind::Texts,
            Some("array") => Kind::Integers,
            _ => Kind::Text,
        }
    }

    pub(super) fn child(self, segment: &str) -> Option<Self> {
        match self.kind() {
            Kind::Section => self.0["properties"].get(segment).map(Self),
            Kind::Names => Some(Self(&self.0["additionalProperties"])),
            _ => None,
        }
    }

    /// The shape at `key`, or how many segments of it are known.
    pub(super) fn find(self, key: &Key) -> Result<Self, usize> {
        let mut here = self;
        for (depth, segment) in key.0.iter().enumerate() {
            here = here.child(segment).ok_or(depth)?;
        }
        Ok(here)
    }

    /// The keys of a section.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.0["properties"].as_object().into_iter().flat_map(|map| map.keys().map(String::as_str))
    }

    pub(super) fn description(self) -> &'a str {
        self.0["description"].as_str().unwrap_or_default()
    }

    /// The first example, for keys that have no default.
    pub(super) fn example(self) -> Option<&'a Value> {
        self.0["examples"].get(0)
    }

    pub(super) fn default(self) -> Option<&'a Value> {
        self.0.get("default")
    }

    /// The bounds of a whole number.
    pub(super) fn range(self) -> (i128, i128) {
        let bound = |name: &str| self.0[name].as_i64().map(i128::from);
        (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or_else(|| i128::from(i64::MAX)))
    }
}
