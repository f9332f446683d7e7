//! The headers of a Celery message: Celery's own fields, and whatever the row's `headers` add or change.
//!
//! Most rows have no headers, and then nothing is parsed. A row's unknown headers pass through unchanged (that is how
//! trace headers travel). A known one replaces Celery's default if its type is right; a wrong type there stops the
//! worker process. Names that carry the row's identity or its columns, or that would make a worker do something
//! else, are refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{REPR_BYTES, check_shape, typed};
use crate::task::Task;
use crate::wire::identity::OUTBOX_ID;
use crate::wire::json;

/// The longest time limit that is passed on, in seconds (31 years). Workers lose a task with `1e300`.
const MAX_TIME_LIMIT: f64 = 1e9;

/// What a message's headers say beyond the task's name, id and expiry. JSON texts, ready to splice.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the names are Celery's")]
pub(super) struct Headers<'a> {
    lang: &'a str,
    shadow: &'a str,
    group: &'a str,
    group_index: &'a str,
    retries: &'a str,
    timelimit: &'a str,
    /// By default the task's own id.
    root_id: Option<&'a str>,
    parent_id: &'a str,
    /// By default the beginning of the arguments' text.
    argsrepr: Option<&'a str>,
    kwargsrepr: Option<&'a str>,
    origin: &'a str,
    ignore_result: &'a str,
    replaced_task_nesting: &'a str,
    stamped_headers: &'a str,
    stamps: &'a str,
    custom: Vec<(String, &'a str)>,
}

/// As `send_task` writes them.
impl Default for Headers<'_> {
    fn default() -> Self {
        Self {
            lang: "\"py\"",
            shadow: "null",
            group: "null",
            group_index: "null",
            retries: "0",
            timelimit: "[null,null]",
            root_id: None,
            parent_id: "null",
            argsrepr: None,
            kwargsrepr: None,
            origin: "\"outboxd\"",
            ignore_result: "null",
            replaced_task_nesting: "0",
            stamped_headers: "null",
            stamps: "{}",
            custom: Vec::new(),
        }
    }
}

impl<'a> Headers<'a> {
    /// Reads a row's `headers`. Fails with a sentence for the producer.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let mut headers = Self::default();
        if text == "{}" {
            return Ok(headers);
        }
        check_shape("headers", text)?;
        typed::check_text("headers", text)?;
        let fields: BTreeMap<String, &'a RawValue> =
            serde_json::from_str(text).map_err(|e| format!("headers cannot be read: {e}"))?;
        for (name, value) in fields {
            if let Some(instead) = reserved(&name) {
                return Err(format!("headers: {name:?} cannot be set here: {instead}"));
            }
            check_known(&name, value.get())?;
            headers.set(name, value.get());
        }
        Ok(headers)
    }

    fn set(&mut self, name: String, value: &'a str) {
        let field = match name.as_str() {
            "lang" => &mut self.lang,
            "shadow" => &mut self.shadow,
            "group" => &mut self.group,
            "group_index" => &mut self.group_index,
            "retries" => &mut self.retries,
            "timelimit" => &mut self.timelimit,
            "parent_id" => &mut self.parent_id,
            "origin" => &mut self.origin,
            "ignore_result" => &mut self.ignore_result,
            "replaced_task_nesting" => &mut self.replaced_task_nesting,
            "stamped_headers" => &mut self.stamped_headers,
            "stamps" => &mut self.stamps,
            "root_id" => return self.root_id = Some(value),
            "argsrepr" => return self.argsrepr = Some(value),
            "kwargsrepr" => return self.kwargsrepr = Some(value),
            _ => return self.custom.push((name, value)),
        };
        *field = value;
    }

    /// Appends the fields in Celery's order, without the braces around them.
    pub(super) fn write(&self, out: &mut Vec<u8>, task: &Task<'_>, id: &str) {
        field(out, "\"lang\":", self.lang);
        out.extend_from_slice(b",\"task\":");
        json::string(out, task.name);
        out.extend_from_slice(b",\"id\":\"");
        out.extend_from_slice(id.as_bytes());
        field(out, "\",\"shadow\":", self.shadow);
        out.extend_from_slice(b",\"eta\":null,\"expires\":");
        expiry(out, task);
        field(out, ",\"group\":", self.group);
        field(out, ",\"group_index\":", self.group_index);
        field(out, ",\"retries\":", self.retries);
        field(out, ",\"timelimit\":", self.timelimit);
        out.extend_from_slice(b",\"root_id\":");
        match self.root_id {
            Some(root) => out.extend_from_slice(root.as_bytes()),
            None => json::string(out, id),
        }
        field(out, ",\"parent_id\":", self.parent_id);
        out.extend_from_slice(b",\"argsrepr\":");
        repr(out, self.argsrepr, task.args);
        out.extend_from_slice(b",\"kwargsrepr\":");
        repr(out, self.kwargsrepr, task.kwargs);
        field(out, ",\"origin\":", self.origin);
        field(out, ",\"ignore_result\":", self.ignore_result);
        field(out, ",\"replaced_task_nesting\":", self.replaced_task_nesting);
        field(out, ",\"stamped_headers\":", self.stamped_headers);
        field(out, ",\"stamps\":", self.stamps);
        for (name, value) in &self.custom {
            out.push(b',');
            json::string(out, name);
            field(out, ":", value);
        }
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

fn repr(out: &mut Vec<u8>, given: Option<&str>, text: &str) {
    if let Some(given) = given {
        return out.extend_from_slice(given.as_bytes());
    }
    let shown = json::cut(text, REPR_BYTES);
    out.push(b'"');
    json::escape(out, shown);
    out.extend_from_slice(if shown.len() < text.len() { b"...\"" } else { b"\"" });
}

/// With an offset and not with `Z`, as Celery writes it: Python before 3.11 reads only this.
fn expiry(out: &mut Vec<u8>, task: &Task<'_>) {
    let Some(at) = task.expires_at else {
        return out.extend_from_slice(b"null");
    };
    out.push(b'"');
    json::time(out, at);
    out.pop();
    out.extend_from_slice(b"+00:00\"");
}

/// Why a row's headers cannot have this name, and what to use.
fn reserved(name: &str) -> Option<&'static str> {
    match name {
        "id" => Some("it is the row's task_id; pass task_id to outbox_enqueue"),
        "task" => Some("it is the row's task; pass task to outbox_enqueue"),
        "eta" => Some("tasks wait in the database until they are due; pass deliver_at to outbox_enqueue"),
        "expires" => Some("it is the row's expires_at; pass expires_at to outbox_enqueue"),
        "compression" => Some("the worker would try to decompress the body and drop the task; leave it out"),
        "callbacks" | "errbacks" | "chain" | "chord" => {
            Some("it belongs to the body; send a finished message with outbox_enqueue_raw")
        }
        OUTBOX_ID => Some("it is how the relay finds the row of a message; choose another name"),
        "get" | "update" | "clear" | "as_execution_options" => {
            Some("it would hide a method of the task's request; choose another name")
        }
        _ => None,
    }
}

/// Checks the type of a header that workers read themselves; any other name may hold anything.
pub(super) fn check_known(name: &str, value: &str) -> Result<(), String> {
    let (fits, wanted) = match name {
        "lang" | "origin" | "argsrepr" | "kwargsrepr" => (is::<String>(value), "a string"),
        "shadow" | "group" | "root_id" | "parent_id" => (is::<Option<String>>(value), "a string or null"),
        "group_index" => (is::<Option<u32>>(value), "a whole number or null"),
        "retries" | "replaced_task_nesting" => (is::<Option<u32>>(value), "a whole number from 0"),
        "ignore_result" => (is::<Option<bool>>(value), "true, false or null"),
        "stamped_headers" => (is::<Option<Vec<String>>>(value), "an array of strings or null"),
        "stamps" | "headers" => (is::<Option<BTreeMap<String, &RawValue>>>(value), "an object or null"),
        "timelimit" => (is_time_limit(value), "[hard, soft] in seconds, each a number from 0 to 1e9 or null"),
        _ => return Ok(()),
    };
    // The worker sees a time or the like, and no object.
    let fits = fits && !serde_json::from_str(value).is_ok_and(|value| typed::is_typed(&value));
    if fits { Ok(()) } else { Err(format!("headers: {name:?} must be {wanted}, or it would stop the worker")) }
}

fn is<'a, T: Deserialize<'a>>(value: &'a str) -> bool {
    serde_json::from_str::<T>(value).is_ok()
}

fn is_time_limit(value: &str) -> bool {
    let fits = |limit: &Option<f64>| limit.is_none_or(|seconds| (0.0..=MAX_TIME_LIMIT).contains(&seconds));
    serde_json::from_str::<Option<[Option<f64>; 2]>>(value).is_ok_and(|limits| limits.iter().flatten().all(fits))
}
