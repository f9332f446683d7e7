//! `log.level`: a level, and optionally levels for parts of the program.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The names of the levels, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level such as `info`, optionally followed by levels of modules: `info,outboxd::relay=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel {
    text: String,
}

impl LogLevel {
    /// The level of everything that [`parts`](Self::parts) does not name; one of `off error warn info debug trace`.
    pub fn base(&self) -> &str {
        self.text.split(',').find(|part| !part.contains('=')).unwrap_or("info")
    }

    /// Modules that have a level of their own, with that level.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split(',').filter_map(|part| part.split_once('='))
    }
}

impl Default for LogLevel {
    fn default() -> Self {
        Self { text: "info".to_owned() }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts: Vec<String> = Vec::new();
        let mut bases = 0;
        for part in text.split(',').map(str::trim) {
            let (module, level) = part.split_once('=').map_or((None, part), |(m, l)| (Some(m.trim()), l.trim()));
            let level = level.to_ascii_lowercase();
            if !LEVELS.contains(&level.as_str()) || module.is_some_and(str::is_empty) {
                return Err(format!(
                    "{part:?} is not a level: use one of {}, or a list such as \"info,outboxd::relay=debug\"",
                    LEVELS.join(", ")
                ));
            }
            bases += usize::from(module.is_none());
            parts.push(module.map_or(level.clone(), |module| format!("{module}={level}")));
        }
        if bases > 1 {
            return Err(format!("{text:?} names more than one level for everything: keep one"));
        }
        Ok(Self { text: parts.join(",") })
    }
}

impl Serialize for LogLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for LogLevel {
    fn schema_name() -> Cow<'static, str> {
        "LogLevel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_be_refined_for_modules() {
        let level: LogLevel = "WARN, outboxd::relay=Debug".parse().unwrap();
        assert_eq!((level.base(), level.parts().collect::<Vec<_>>()), ("warn", vec![("outboxd::relay", "debug")]));
        assert_eq!("outboxd=trace".parse::<LogLevel>().unwrap().base(), "info");
    }

    #[test]
    fn a_misspelt_level_is_refused_instead_of_becoming_the_name_of_a_module() {
        assert!("inof".parse::<LogLevel>().unwrap_err().starts_with("\"inof\" is not a level"));
        assert!("info,=debug".parse::<LogLevel>().is_err());
        assert!("info,debug".parse::<LogLevel>().unwrap_err().contains("more than one"));
    }
}
