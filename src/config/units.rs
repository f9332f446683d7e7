//! Durations and sizes as operators write them: "500ms", "64KiB". A bare number is refused, because nobody can tell its unit.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written with its unit: "500ms", "5s", "1h 30m", "7d".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

impl Period {
    /// A period of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A period of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The duration itself.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

/// The units of a printed period, with their length in nanoseconds.
const SPANS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        let mut gap = "";
        for (unit, length) in &SPANS {
            if rest >= *length {
                write!(f, "{gap}{}{unit}", rest / length)?;
                (rest, gap) = (rest % length, " ");
            }
        }
        Ok(())
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if is_number(text) {
            return Err(format!(
                "{text:?} has no unit: write \"{text}s\" for seconds or \"{text}ms\" for milliseconds"
            ));
        }
        humantime::parse_duration(text).map(Self).map_err(|_| {
            format!(
                "{text:?} is not a duration: write a number with its unit, such as \"500ms\", \"5s\", \"2m\" or \"7d\""
            )
        })
    }
}

/// An amount of memory or disk, written with its unit: "512B", "64KiB", "1MiB", "2GiB" (or "kB", "MB", "GB" for powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// The units, largest first within each family, so that printing finds the shortest exact form.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Size {
    /// A size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)).unwrap_or(&UNITS[6]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if is_number(text) {
            return Err(format!("{text:?} has no unit: write \"{text}B\" for bytes, or use KiB, MiB or GiB"));
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text[digits.len()..].to_ascii_lowercase();
        let factor = UNITS.iter().find(|(name, _)| name.to_ascii_lowercase() == unit).map(|(_, factor)| *factor);
        let size =
            digits.trim_end().parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        size.map(Self).ok_or_else(|| {
            format!(
                "{text:?} is not a size: write a whole number with its unit, such as \"64KiB\", \"1MiB\" or \"2GiB\""
            )
        })
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '+'))
}

/// Reads a type that is always written as text, and says so where a bare number stands instead.
struct Written<T>(&'static str, std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<T, E> {
        Err(E::invalid_type(Unexpected::Bool(flag), &self))
    }
}

/// The serde and schema side, alike for both: a string with a pattern.
macro_rules! written_as_text {
    ($name:ident, $what:literal, $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Written($what, std::marker::PhantomData))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

written_as_text!(Period, "a duration such as \"5s\"", r"^\s*(\d+\s*[A-Za-zµ]+\s*)+$");
written_as_text!(Size, "a size such as \"64KiB\"", r"^\s*\d+\s*([KkMmGg][Ii]?)?[Bb]\s*$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_back_as_it_was_printed() {
        for text in ["500ms", "5s", "1m 30s", "1h", "7d", "0s", "1d 1us"] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.to_string(), text);
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_the_two_likely_units() {
        let error = "5".parse::<Period>().unwrap_err();
        assert_eq!(error, "\"5\" has no unit: write \"5s\" for seconds or \"5ms\" for milliseconds");
        assert!("1.5".parse::<Period>().unwrap_err().contains("no unit"));
        assert!("64".parse::<Size>().unwrap_err().contains("no unit"));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        assert!("5 parsecs".parse::<Period>().unwrap_err().contains("\"500ms\""));
        assert!("".parse::<Period>().unwrap_err().contains("not a duration"));
        assert!("64 bananas".parse::<Size>().unwrap_err().contains("\"64KiB\""));
        assert!("99999999999GiB".parse::<Size>().unwrap_err().contains("not a size"));
    }

    #[test]
    fn a_size_knows_both_families_and_prints_the_shortest_exact_form() {
        for (text, bytes, printed) in [
            ("64KiB", 65_536, "64KiB"),
            ("64 kib", 65_536, "64KiB"),
            ("1MB", 1_000_000, "1MB"),
            ("1025B", 1_025, "1025B"),
            ("4MiB", 4_194_304, "4MiB"),
            ("0B", 0, "0B"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, printed));
        }
    }
}
