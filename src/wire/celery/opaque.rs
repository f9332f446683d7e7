//! Which bodies of finished messages can be read here, and which are passed on unread.
//!
//! The content type and the compression are checked either way: with one that a worker does not know it exits, or drops
//! the task. Whether its `accept_content` allows the type, and whether it has the library, shows only there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

/// What Celery's serializers are called in a message.
const JSON: &str = "application/json";
const YAML: &str = "application/x-yaml";
const BINARY: [&str; 2] = ["application/x-python-serialize", "application/x-msgpack"];

/// kombu's compressions, by every name that it takes.
const COMPRESSIONS: [&str; 14] = [
    "application/x-gzip",
    "gzip",
    "zlib",
    "application/x-bz2",
    "bzip2",
    "bzip",
    "application/x-lzma",
    "lzma",
    "xz",
    "application/x-brotli",
    "brotli",
    "application/zstd",
    "zstd",
    "zstandard",
];

/// What can be said of a body before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON text: its arguments are checked.
    Json,
    /// Something else: passed on unread. Only what is text may stand there without base64.
    Opaque { text: bool },
}

/// By the message's content type and the compression in its headers.
pub(super) fn content(message: &Map<String, Value>, headers: &Map<String, Value>) -> Result<Content, String> {
    match message.get("content-encoding") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => return Err("content-encoding must be a string, such as \"utf-8\"".to_owned()),
    }
    let kind = match message.get("content-type").and_then(Value::as_str) {
        Some(JSON) => Content::Json,
        Some(YAML) => Content::Opaque { text: true },
        Some(kind) if BINARY.contains(&kind) => Content::Opaque { text: false },
        _ => {
            return Err(format!(
                "content-type must be {JSON:?}, {YAML:?}, {:?} or {:?}: with none, workers exit; with another one, they \
                 drop the task",
                BINARY[0], BINARY[1]
            ));
        }
    };
    match headers.get("compression") {
        None | Some(Value::Null) => Ok(kind),
        Some(Value::String(name)) if name.is_empty() => Ok(kind),
        Some(Value::String(name)) if COMPRESSIONS.contains(&name.as_str()) => Ok(Content::Opaque { text: false }),
        Some(other) => Err(format!(
            "headers.compression is {other}, which workers do not know and drop the task: use gzip, bzip2, lzma, brotli or \
             zstd, or leave it out"
        )),
    }
}

/// Checks what can be checked of a body that is not read.
pub(super) fn check(body: &str, properties: &Map<String, Value>, text: bool) -> Result<(), String> {
    match properties.get("body_encoding") {
        Some(Value::String(name)) if name == "base64" => {
            let fits = BASE64.decode(body).is_ok_and(|bytes| !bytes.is_empty());
            if fits { Ok(()) } else { Err("body is not base64, as properties.body_encoding says".to_owned()) }
        }
        None | Some(Value::Null) if text => Ok(()),
        Some(Value::String(name)) if name == "utf-8" && text => Ok(()),
        _ => {
            Err("properties.body_encoding must be \"base64\" for a body that is compressed, pickled or msgpack"
                .to_owned())
        }
    }
}
