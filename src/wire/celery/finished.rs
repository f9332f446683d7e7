//! Finished Celery messages (`outbox_enqueue_raw`): pushed as they are but for the row's id among their headers and a delivery
//! tag of its own, so checked first.
//!
//! Each rule stands for something that a worker did when the field was missing or wrong: exit and meet the same message
//! again, reconnect for ever, or lose the message without a word. Rules that are stricter than a worker protect the
//! guarantee: a restored message must come back to the queue it was sent to, also after Redis was emptied.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::opaque::{self, Content};
use super::{check_shape, headers, typed};
use crate::wire::identity::{self, OUTBOX_ID, Seen, Whose};
use crate::wire::json;

/// What the relay needs to know of a finished message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// `headers.id`: what the worker will call the task.
    pub id: String,
    /// The level, 0 to 9, by which a worker that restores the message chooses its list.
    pub priority: u8,
}

/// Checks a finished message for the queue that workers know by this name. Fails with a sentence for the producer.
pub fn check(message: &[u8], queue: &str) -> Result<Finished, String> {
    let text = std::str::from_utf8(message).map_err(|e| format!("body is not UTF-8: {e}"))?;
    check_shape("the message's fields", text)?;
    let value: Value = serde_json::from_str(text).map_err(|e| format!("body is not a JSON message: {e}"))?;
    typed::check("the message's fields", &value)?;
    let message = value.as_object().ok_or("body must be a JSON object with body, headers and properties")?;
    let headers = object(message, "headers", "headers")?;
    let content = opaque::content(message, headers)?;
    let id = check_headers(headers)?;
    let properties = object(message, "properties", "properties")?;
    let priority = check_properties(properties, queue)?;
    let body = text_of(message, "body", "body")?;
    match content {
        Content::Json => check_body(body, properties)?,
        Content::Opaque { text } => opaque::check(body, properties, text)?,
    }
    Ok(Finished { id: id.to_owned(), priority })
}

/// What of a message is the row's affair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks<'a> {
    /// The row's id: the first of the headers, or in the place of another row's if the message was copied from Redis.
    pub(super) row: i64,
    /// The key under which workers hold the message.
    pub(super) delivery_tag: &'a str,
    /// When an operator's retry goes out: an expiry that has passed by then no longer counts.
    pub(super) retried_at: Option<Timestamp>,
}

/// The message with the row's marks; nothing else changes. `message` has passed [`check`].
pub(super) fn mark(message: &[u8], marks: Marks<'_>) -> Result<Vec<u8>, String> {
    // JSON lets a name stand twice, and readers differ in which one counts: then nothing tells the row for certain.
    let twice = || "headers, properties, or a name in one of them, stand twice in the message: leave one".to_owned();
    let outer: Outer<'_> = serde_json::from_slice(message).map_err(|_| twice())?;
    let headers: OwnHeaders<'_> = serde_json::from_str(outer.headers.get()).map_err(|_| twice())?;
    let properties: OwnProperties<'_> = serde_json::from_str(outer.properties.get()).map_err(|_| twice())?;
    let range = |part: &RawValue| {
        let start = part.get().as_ptr() as usize - message.as_ptr() as usize;
        start..start + part.get().len()
    };
    let mut tag = Vec::new();
    json::string(&mut tag, marks.delivery_tag);
    let mut edits = vec![(range(properties.delivery_tag), tag)];
    edits.push(if let Some(id) = headers.outbox_id {
        (range(id), marks.row.to_string().into_bytes())
    } else {
        let start = range(outer.headers).start + 1;
        (start..start, format!("\"{OUTBOX_ID}\":{},", marks.row).into_bytes())
    });
    if let (Some(now), Some(expires)) = (marks.retried_at, headers.expires)
        && serde_json::from_str::<String>(expires.get()).is_ok_and(|at| may_have_passed(&at, now))
    {
        let null = |part: &RawValue| (range(part), b"null".to_vec());
        edits.extend([Some(expires), properties.expiration].into_iter().flatten().map(null));
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut marked = Vec::with_capacity(message.len() + 128);
    let mut copied = 0;
    for (range, text) in edits {
        marked.extend_from_slice(&message[copied..range.start]);
        marked.extend_from_slice(&text);
        copied = range.end;
    }
    marked.extend_from_slice(&message[copied..]);
    let whose = identity::of_celery(Seen::Element(&marked));
    if whose == (Whose::Row { id: marks.row, task_id: None }) { Ok(marked) } else { Err(twice()) }
}

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    headers: &'a RawValue,
    #[serde(borrow)]
    properties: &'a RawValue,
}

#[derive(Deserialize)]
struct OwnHeaders<'a> {
    #[serde(borrow, default)]
    outbox_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    expires: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OwnProperties<'a> {
    #[serde(borrow)]
    delivery_tag: &'a RawValue,
    #[serde(borrow, default)]
    expiration: Option<&'a RawValue>,
}

/// Whether a worker may take a time for passed. One without an offset is a local time of the worker's, so it may be
/// anywhere within 14 hours.
fn may_have_passed(at: &str, now: Timestamp) -> bool {
    const EASTMOST: SignedDuration = SignedDuration::from_hours(14);
    let earliest = at.parse::<Timestamp>().or_else(|_| {
        let local: civil::DateTime = at.parse()?;
        local.to_zoned(TimeZone::UTC)?.timestamp().checked_sub(EASTMOST)
    });
    earliest.map_or(true, |earliest| earliest <= now)
}

/// Returns the task's id.
fn check_headers(fields: &Map<String, Value>) -> Result<&str, String> {
    text_of(fields, "task", "headers.task")?;
    let id = text_of(fields, "id", "headers.id")?;
    for name in ["eta", "expires"] {
        match fields.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(at)) if is_time(at) => {}
            Some(_) => {
                return Err(format!("headers.{name} must be an ISO-8601 time or null, or workers drop the task"));
            }
        }
    }
    for (name, value) in fields {
        headers::check_known(name, &value.to_string())?;
    }
    Ok(id)
}

/// Returns the level.
fn check_properties(fields: &Map<String, Value>, queue: &str) -> Result<u8, String> {
    text_of(fields, "delivery_tag", "properties.delivery_tag")?;
    let delivery = object(fields, "delivery_info", "properties.delivery_info")?;
    if delivery.get("exchange").and_then(Value::as_str) != Some("") {
        return Err("properties.delivery_info.exchange must be \"\": with another one a restored message is dropped \
                    once Redis has lost its bindings"
            .to_owned());
    }
    if delivery.get("routing_key").and_then(Value::as_str) != Some(queue) {
        return Err(format!(
            "properties.delivery_info.routing_key must be the queue, {queue:?}: a restored message goes there"
        ));
    }
    match fields.get("priority") {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(level)) if level.as_f64().is_some_and(f64::is_finite) => Ok(clamp_level(level)),
        Some(_) => Err("properties.priority must be a number from 0 to 9, or null".to_owned()),
    }
}

/// As kombu does: cut to a whole number, and into 0 to 9.
fn clamp_level(level: &serde_json::Number) -> u8 {
    let level = level.as_f64().unwrap_or(0.0);
    (1..=9_u8).rev().find(|whole| level >= f64::from(*whole)).unwrap_or(0)
}

/// `[args, kwargs, embed]`; `Infinity` and `NaN` are let through, since Celery's own client writes them.
fn check_body(body: &str, properties: &Map<String, Value>) -> Result<(), String> {
    let decoded = match properties.get("body_encoding") {
        None | Some(Value::Null) => body.to_owned(),
        Some(Value::String(name)) if name == "utf-8" => body.to_owned(),
        Some(Value::String(name)) if name == "base64" => BASE64
            .decode(body)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("body is not base64 of UTF-8 text, as properties.body_encoding says")?,
        Some(_) => return Err("properties.body_encoding must be \"base64\", \"utf-8\" or null".to_owned()),
    };
    check_shape("the body's arguments", &decoded)?;
    typed::check_text("the body's arguments", &without_constants(&decoded))?;
    let wanted = "body must hold a JSON array of three: args (an array), kwargs (an object) and embed (an object or \
                  null), or the worker exits";
    let strict = without_constants(&decoded);
    let parts: [&RawValue; 3] = serde_json::from_str(&strict).map_err(|_| wanted)?;
    let [args, kwargs, embed] = parts.map(RawValue::get);
    if args.starts_with('[') && kwargs.starts_with('{') && (embed.starts_with('{') || embed == "null") {
        return Ok(());
    }
    Err(wanted.to_owned())
}

/// The text with Python's `NaN` and `Infinity`, which are not JSON, replaced outside of strings. For checking only.
fn without_constants(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, part) in split_strings(text).enumerate() {
        if at % 2 == 0 && (part.contains("NaN") || part.contains("Infinity")) {
            out.push_str(&part.replace("NaN", "0").replace("Infinity", "0"));
        } else {
            out.push_str(part);
        }
    }
    out
}

/// Splits a JSON text into what is outside of strings (even parts) and strings with their quotes (odd parts).
fn split_strings(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    let mut inside = false;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = if inside { end_of_string(rest) } else { rest.find('"').unwrap_or(rest.len()) };
        let (part, after) = rest.split_at(end);
        inside = !inside;
        rest = after;
        Some(part)
    })
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What Celery reads as a time: with an offset, or without one. A time zone in brackets is jiff's own addition.
fn is_time(text: &str) -> bool {
    !text.contains('[') && (text.parse::<Timestamp>().is_ok() || text.parse::<civil::DateTime>().is_ok())
}

fn object<'a>(fields: &'a Map<String, Value>, name: &str, path: &str) -> Result<&'a Map<String, Value>, String> {
    fields
        .get(name)
        .and_then(Value::as_object)
        .ok_or_else(|| format!("{path} must be an object: workers lose the message without it"))
}

fn text_of<'a>(fields: &'a Map<String, Value>, name: &str, path: &str) -> Result<&'a str, String> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(|| {
        format!("{path} must be a string with content: workers stop, loop or lose the message without it")
    })
}
