//! Golden files decide the bytes: captures of the real Celery client, and our own stable formats.

use std::path::{Path, PathBuf};

use outboxd::batch::{Entry, KeyKind};
use outboxd::task::Task;
use outboxd::wire::{BodyEncoding, Format, FormatName, FormatSpec, Seen, Side, Whose, celery, embedded};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

/// An outbox row, as a golden file tells it.
#[derive(Deserialize)]
struct Row {
    task_id: Uuid,
    task: String,
    args: Box<RawValue>,
    kwargs: Box<RawValue>,
    headers: Box<RawValue>,
    #[serde(default)]
    body: Option<String>,
    priority: Option<i16>,
    expires_at: Option<String>,
}

impl Row {
    fn task(&self) -> Task<'_> {
        Task {
            // The row that made the task id.
            id: embedded(self.task_id).unwrap(),
            task_id: self.task_id,
            name: &self.task,
            args: self.args.get(),
            kwargs: self.kwargs.get(),
            headers: self.headers.get(),
            body: self.body.as_deref().map(str::as_bytes),
            priority: self.priority,
            expires_at: self.expires_at.as_ref().map(|at| at.parse().unwrap()),
            retried_at: None,
            created_at: "2026-11-22T12:59:01.359858Z".parse().unwrap(),
        }
    }
}

/// The settings that a golden file varies.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    key: Option<String>,
    key_prefix: String,
    group: Option<String>,
    push: Side,
    priority_steps: Option<Vec<u8>>,
    body_encoding: BodyEncoding,
}

impl Settings {
    fn format(self, name: FormatName, queue: &str) -> Format {
        let usual = FormatSpec::default();
        let spec = FormatSpec {
            name,
            key: self.key,
            key_prefix: self.key_prefix,
            group: self.group,
            push: self.push,
            priority_steps: self.priority_steps.unwrap_or(usual.priority_steps),
            body_encoding: self.body_encoding,
            ..usual
        };
        Format::new(&spec, queue).unwrap()
    }
}

fn golden<T: for<'a> Deserialize<'a>>(format: &str) -> Vec<(PathBuf, Vec<T>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format);
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let cases = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, cases)
    };
    paths.into_iter().map(read).collect()
}

/// One message of the real client.
#[derive(Deserialize)]
struct Capture {
    row: Row,
    spec: Settings,
    key: String,
    message: Value,
    decoded_body: Value,
}

#[test]
fn our_celery_message_is_the_one_that_celery_itself_writes() {
    for (path, captures) in golden::<Capture>("celery") {
        for (number, capture) in captures.into_iter().enumerate() {
            let place = format!("{}, capture {number}", path.display());
            let format = capture.spec.format(FormatName::Celery, "celery");
            let push = format.encode(&capture.row.task()).unwrap();
            let key = &format.keys()[push.key];
            assert_eq!((key.name.as_slice(), key.kind), (capture.key.as_bytes(), KeyKind::List), "{place}");
            let Entry::Left(bytes) = push.entry else { panic!("{place}: not an LPUSH") };
            let row = Whose::Row { id: capture.row.task().id, task_id: Some(capture.row.task_id) };
            assert_eq!(format.row_of(Seen::Element(&bytes)), row, "{place}");
            let mut ours: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(take_body(&mut ours), capture.decoded_body, "{place}");
            let mut theirs = capture.message;
            take_body(&mut theirs);
            even_out(&mut ours, &mut theirs, &serde_json::from_str(capture.row.headers.get()).unwrap());
            assert_eq!(ours, theirs, "{place}");
        }
    }
}

/// Takes the body out of a message and decodes it.
fn take_body(message: &mut Value) -> Value {
    use base64::Engine as _;
    let body = message["body"].take();
    let mut body = body.as_str().unwrap().as_bytes().to_vec();
    if message["properties"]["body_encoding"] == "base64" {
        body = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    }
    serde_json::from_slice(&body).unwrap()
}

/// Makes equal what may differ: where a message came from, its random tag, and texts for people, each of the same type.
fn even_out(ours: &mut Value, theirs: &mut Value, given: &Value) {
    for (part, name) in [
        ("headers", "origin"),
        ("headers", "argsrepr"),
        ("headers", "kwargsrepr"),
        ("properties", "reply_to"),
        ("properties", "delivery_tag"),
    ] {
        if given.get(name).is_some() {
            continue;
        }
        for message in [&mut *ours, &mut *theirs] {
            assert!(message[part][name].is_string(), "{part}.{name} is no string: {message}");
            message[part][name] = json!("any");
        }
    }
    let properties = theirs["properties"].as_object_mut().unwrap();
    // Milliseconds from the call to headers.expires; brokers with a message TTL read it, Redis has none.
    properties.remove("expiration");
    // The client repeats options of the call that it does not know as its own; no worker reads them there.
    properties.retain(|name, _| !matches!(name.as_str(), "argsrepr" | "kwargsrepr"));
}

#[test]
fn a_message_of_the_celery_client_is_accepted_as_finished() {
    for (path, captures) in golden::<Capture>("celery") {
        for capture in captures {
            let finished = celery::check(capture.message.to_string().as_bytes(), "celery");
            let finished = finished.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(finished.id, capture.row.task_id.to_string());
            assert_eq!(i16::from(finished.priority), capture.row.priority.unwrap_or(0));
        }
    }
}

/// One push of a format of our own.
#[derive(Deserialize)]
struct Own {
    row: Row,
    spec: Settings,
    key: String,
    group: Option<String>,
    push: Value,
}

#[test]
fn our_own_formats_keep_their_bytes() {
    for name in [FormatName::List, FormatName::Stream, FormatName::Raw] {
        for (path, cases) in golden::<Own>(&name.to_string()) {
            for (number, case) in cases.into_iter().enumerate() {
                let format = case.spec.format(name, "emails");
                let push = format.encode(&case.row.task()).unwrap();
                let place = format!("{}, case {number}", path.display());
                assert_eq!(format.keys()[push.key].name, case.key.as_bytes(), "{place}");
                assert_eq!(format.group(), case.group.as_deref(), "{place}");
                assert_eq!(told(&push.entry), case.push, "{place}");
            }
        }
    }
}

/// An entry as a golden file tells it.
fn told(entry: &Entry) -> Value {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match entry {
        Entry::Left(bytes) => json!({"left": text(bytes)}),
        Entry::Right(bytes) => json!({"right": text(bytes)}),
        Entry::Stream(fields) => json!({"stream": fields.iter().map(|(k, v)| [text(k), text(v)]).collect::<Vec<_>>()}),
    }
}

#[test]
fn a_row_without_a_body_is_refused_by_the_format_raw() {
    let [(_, cases)] = &golden::<Own>("raw")[..] else { panic!("one file") };
    let task = Task { name: "send", body: None, ..cases[0].row.task() };
    let fault = Settings::default().format(FormatName::Raw, "emails").encode(&task).unwrap_err();
    assert!(fault.reason().message.contains("outbox_enqueue_raw"), "{fault}");
}

#[test]
fn bytes_that_are_no_text_pass_the_formats_that_take_them_verbatim() {
    let [(_, cases)] = &golden::<Own>("raw")[..] else { panic!("one file") };
    let body: Vec<u8> = (0..=255).collect();
    let task = Task { body: Some(&body), ..cases[0].row.task() };
    for name in [FormatName::List, FormatName::Raw] {
        let push = Settings::default().format(name, "emails").encode(&task).unwrap();
        assert_eq!(push.entry, Entry::Left(body.clone()));
    }
    let push = Settings::default().format(FormatName::Stream, "emails").encode(&task).unwrap();
    let Entry::Stream(fields) = push.entry else { panic!("not an XADD") };
    assert!(fields.contains(&(b"body".to_vec(), body)));
}
