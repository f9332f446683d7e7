//! The keys of a section in the order in which its type declares them: JSON objects do not keep it.

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{Config, RedisSettings, RelaySettings, RetentionSettings};
use super::{DatabaseSettings, HttpSettings, LogSettings, QueueDefaults, QueueOverride};

/// The sections, in the order of [`Config`].
pub(super) fn sections() -> &'static [&'static str] {
    declared::<Config>()
}

/// The keys of a section; of one entry, for a section of names.
pub(super) fn keys(section: &str) -> &'static [&'static str] {
    match section {
        "database" => declared::<DatabaseSettings>(),
        "redis" => declared::<RedisSettings>(),
        "defaults" => declared::<QueueDefaults>(),
        "queues" => declared::<QueueOverride>(),
        "relay" => declared::<RelaySettings>(),
        "retention" => declared::<RetentionSettings>(),
        "http" => declared::<HttpSettings>(),
        "log" => declared::<LogSettings>(),
        _ => &[],
    }
}

/// Asks a type to deserialize itself from a format that answers nothing and notes the field names it is asked for.
fn declared<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    let _refused = T::deserialize(Listener(&mut fields));
    fields
}

struct Listener<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(serde::de::Error::custom("only asked for names"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only asked for names"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_order_of_their_declaration() {
        assert_eq!(sections(), ["database", "redis", "defaults", "queues", "relay", "retention", "http", "log"]);
        assert_eq!(keys("database")[..3], ["url", "url_file", "listen_url"]);
        assert!(sections().iter().all(|section| !keys(section).is_empty()));
    }
}
