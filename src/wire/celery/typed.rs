//! Values of other types than JSON has: `{"__type__": .., "__value__": ..}`, as kombu writes them.
//!
//! kombu turns such an object into a Python object wherever it reads JSON. A type that it does not know, or a value that
//! the type does not take, ends the worker process if it stands in the headers, and loses the task if it stands in the
//! body. So only what kombu itself writes passes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::civil;
use serde_json::{Map, Value};
use uuid::Uuid;

/// The longest text of a decimal, and the longest exponent.
const MAX_DECIMAL: usize = 4300;
const MAX_EXPONENT: usize = 6;

/// Checks every typed value in a text that is JSON. What cannot be read here is left to the other checks.
pub(super) fn check_text(what: &str, text: &str) -> Result<(), String> {
    if !text.contains("__type__") {
        return Ok(());
    }
    serde_json::from_str::<Value>(text).map_or(Ok(()), |value| check(what, &value))
}

/// Checks every typed value within a value.
pub(super) fn check(what: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            if let Some((kind, typed)) = typed(fields) {
                refuse(what, kind, typed)?;
            }
            fields.values().try_for_each(|inner| check(what, inner))
        }
        Value::Array(items) => items.iter().try_for_each(|inner| check(what, inner)),
        _ => Ok(()),
    }
}

/// Whether the worker sees something else than an object.
pub(super) fn is_typed(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| typed(fields).is_some())
}

fn typed(fields: &Map<String, Value>) -> Option<(&Value, &Value)> {
    if fields.len() != 2 {
        return None;
    }
    fields.get("__type__").zip(fields.get("__value__"))
}

fn refuse(what: &str, kind: &Value, value: &Value) -> Result<(), String> {
    let wanted = match kind.as_str() {
        Some("datetime") => (is_text(value, is_datetime), "an ISO-8601 time such as \"2026-11-22T12:59:01+00:00\""),
        Some("date") => (is_text(value, |text| is_date(text) || is_datetime(text)), "a date such as \"2026-11-22\""),
        Some("time") => (is_text(value, is_time), "a time such as \"12:59:01\""),
        Some("decimal") => (is_text(value, is_decimal), "a decimal number as text, such as \"1.50\""),
        Some("uuid") => (is_uuid(value), "{\"hex\": \"<32 hexadecimal digits>\"}"),
        Some("bytes") => (value.is_string(), "a string"),
        Some("base64") => (is_text(value, |text| BASE64.decode(text).is_ok()), "base64 text"),
        _ => {
            return Err(format!(
                "{what} hold an object with the __type__ {kind}, which workers do not know: use datetime, date, time, \
                 decimal, uuid, bytes or base64, or pass the value as text"
            ));
        }
    };
    match wanted {
        (true, _) => Ok(()),
        (false, wanted) => {
            Err(format!("{what} hold an object with the __type__ {kind}: its __value__ must be {wanted}"))
        }
    }
}

fn is_text(value: &Value, fits: impl Fn(&str) -> bool) -> bool {
    value.as_str().is_some_and(fits)
}

/// `2026-11-22`, which every Python reads.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && has_shape(text, b"0000-00-00")
        && !text.starts_with("0000")
        && text.parse::<civil::Date>().is_ok()
}

/// A date, or a date and a time with any one character between them.
fn is_datetime(text: &str) -> bool {
    let (Some(date), Some(rest)) = (text.get(..10), text.get(10..)) else { return false };
    is_date(date) && (rest.is_empty() || rest.strip_prefix(['T', ' ']).is_some_and(is_time))
}

/// `12:59`, `12:59:01`, with three or six digits of a second, each with an offset or without.
fn is_time(text: &str) -> bool {
    let (clock, offset) = match text.find(['+', '-']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    is_clock(clock) && (offset.is_empty() || offset.get(1..).is_some_and(is_clock))
}

fn is_clock(text: &str) -> bool {
    let shapes: [&[u8]; 4] = [b"00:00", b"00:00:00", b"00:00:00.000", b"00:00:00.000000"];
    let part = |from: usize| text.get(from..from + 2).and_then(|digits| digits.parse::<u8>().ok());
    shapes.iter().any(|shape| has_shape(text, shape))
        && part(0).is_some_and(|hours| hours < 24)
        && part(3).is_some_and(|minutes| minutes < 60)
        && (text.len() == 5 || part(6).is_some_and(|seconds| seconds < 60))
}

/// Digits where the shape has a zero, and the shape's own characters elsewhere.
fn has_shape(text: &str, shape: &[u8]) -> bool {
    let fits = |(byte, wanted): (u8, &u8)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == *wanted };
    text.len() == shape.len() && text.bytes().zip(shape).all(fits)
}

fn is_decimal(text: &str) -> bool {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(number, "NaN" | "sNaN" | "Infinity") {
        return true;
    }
    let (digits, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    text.len() <= MAX_DECIMAL
        && all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && (1..=MAX_EXPONENT).contains(&exponent.len())
        && all_digits(exponent)
}

fn is_uuid(value: &Value) -> bool {
    let Some(fields) = value.as_object() else { return false };
    fields.len() == 1
        && fields.get("hex").is_some_and(|hex| is_text(hex, |text| text.len() == 32 && Uuid::try_parse(text).is_ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(kind: &str, value: &Value) -> Result<(), String> {
        check("headers", &json!({"at": [{"__type__": kind, "__value__": value}]}))
    }

    #[test]
    fn what_kombu_writes_passes() {
        for (kind, value) in [
            ("datetime", json!("2026-11-22T12:59:01.359858+00:00")),
            ("datetime", json!("2026-11-22T12:59:01")),
            ("datetime", json!("2026-11-22T12:59:01.359-05:30")),
            ("date", json!("2026-02-28")),
            ("time", json!("12:59:01.000001")),
            ("time", json!("12:59")),
            ("decimal", json!("-1.50")),
            ("decimal", json!("1E+5")),
            ("decimal", json!("NaN")),
            ("uuid", json!({"hex": "0190b0a47e4f7c1e8d3f1234567890ab"})),
            ("bytes", json!("caf\u{e9}")),
            ("base64", json!("/w==")),
        ] {
            assert_eq!(told(kind, &value), Ok(()), "{kind} {value}");
        }
    }

    #[test]
    fn what_a_worker_could_not_read_is_refused() {
        for (kind, value) in [
            ("nope", json!(1)),
            ("datetime", json!(5)),
            ("datetime", json!("tomorrow")),
            ("datetime", json!("2026-13-22T12:59:01")),
            ("datetime", json!("2026-11-22T12:59:60")),
            ("datetime", json!("2026-11-22T12:59:01Z")),
            ("date", json!("0000-01-01")),
            ("time", json!("24:00")),
            ("time", json!("12:59:01+24:00")),
            ("decimal", json!("1.5.2")),
            ("decimal", json!("1e9999999")),
            ("decimal", json!("")),
            ("decimal", json!(".")),
            ("uuid", json!("0190b0a47e4f7c1e8d3f1234567890ab")),
            ("uuid", json!({"hex": "12"})),
            ("uuid", json!({"hex": "0190b0a47e4f7c1e8d3f1234567890ab", "version": 4})),
            ("bytes", json!([1])),
            ("base64", json!("/w")),
        ] {
            assert!(told(kind, &value).is_err_and(|said| said.contains("__type__")), "{kind} {value}");
        }
        assert!(check("headers", &json!({"__type__": 1, "__value__": 2})).is_err());
        assert_eq!(check("headers", &json!({"__type__": 1, "__value__": 2, "more": 3})), Ok(()));
    }
}
