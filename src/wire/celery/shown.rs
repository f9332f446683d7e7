//! What a Celery message says to a person: its name, its arguments and its retries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A Celery message, as far as it can be read. Whether it is valid is another matter.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The task's name.
    pub task: String,
    /// What the worker calls the task.
    pub id: String,
    /// Which attempt it is, from 0.
    pub retries: u64,
    /// Positional arguments, as JSON text, if they can be read;
    pub args: Option<Box<RawValue>>,
    /// and keyword arguments.
    pub kwargs: Option<Box<RawValue>>,
    /// The type of a body that cannot be read here, its compression included, and its size in bytes.
    pub opaque: Option<(String, usize)>,
}

impl Shown {
    /// Reads a finished message; `None` if it is no Celery message.
    pub fn read(message: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(message).ok()?;
        let (headers, properties) = (value.get("headers")?, value.get("properties")?);
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let mut shown = Self {
            task: text(headers.get("task"))?,
            id: text(headers.get("id")).unwrap_or_default(),
            retries: headers.get("retries").and_then(Value::as_u64).unwrap_or(0),
            args: None,
            kwargs: None,
            opaque: None,
        };
        let body = value.get("body").and_then(Value::as_str)?;
        let encoded = properties.get("body_encoding").and_then(Value::as_str) == Some("base64");
        let bytes = if encoded { BASE64.decode(body).ok() } else { Some(body.as_bytes().to_vec()) };
        let kind = text(value.get("content-type")).unwrap_or_default();
        let compression = text(headers.get("compression")).filter(|name| !name.is_empty());
        let readable = kind == "application/json" && compression.is_none();
        let parts = bytes
            .as_deref()
            .filter(|_| readable)
            .and_then(|bytes| serde_json::from_slice::<[Box<RawValue>; 3]>(bytes).ok());
        if let Some([args, kwargs, _]) = parts {
            (shown.args, shown.kwargs) = (Some(args), Some(kwargs));
        } else {
            let kind = compression.map_or(kind.clone(), |compression| format!("{kind}, {compression}"));
            shown.opaque = Some((kind, bytes.map_or(body.len(), |bytes| bytes.len())));
        }
        Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(kind: &str, compression: &Value, body: &[u8]) -> Vec<u8> {
        let message = json!({
            "body": BASE64.encode(body), "content-type": kind,
            "headers": {"task": "app.add", "id": "m-1", "retries": 2, "compression": compression},
            "properties": {"body_encoding": "base64"},
        });
        message.to_string().into_bytes()
    }

    #[test]
    fn a_body_of_json_is_read_and_another_one_is_said_to_be_opaque() {
        let read = Shown::read(&message("application/json", &Value::Null, b"[[1, 2.50], {\"a\": 3}, null]")).unwrap();
        assert_eq!((read.task.as_str(), read.id.as_str(), read.retries), ("app.add", "m-1", 2));
        assert_eq!((read.args.unwrap().get(), read.kwargs.unwrap().get()), ("[1, 2.50]", "{\"a\": 3}"));
        assert_eq!(read.opaque, None);
        for (kind, compression, said) in [
            ("application/x-python-serialize", Value::Null, "application/x-python-serialize"),
            ("application/json", json!("application/x-gzip"), "application/json, application/x-gzip"),
        ] {
            let read = Shown::read(&message(kind, &compression, b"\x80\x04")).unwrap();
            assert_eq!((read.opaque, read.args.is_none()), (Some((said.to_owned(), 2)), true));
        }
    }

    #[test]
    fn what_is_no_celery_message_is_not_read() {
        for other in [&b"\xff\x00"[..], b"[]", b"{}", br#"{"headers": {}, "properties": {}, "body": "x"}"#] {
            assert!(Shown::read(other).is_none());
        }
    }
}
