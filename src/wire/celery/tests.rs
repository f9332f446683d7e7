//! What the encoder promises for any row, and what each malformed finished message is refused for.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::wire::{Format, FormatName};

fn format(body_encoding: BodyEncoding) -> Format {
    let spec = FormatSpec { name: FormatName::Celery, body_encoding, ..FormatSpec::default() };
    Format::new(&spec, "emails").unwrap()
}

fn task<'a>(name: &'a str, args: &'a str, kwargs: &'a str, headers: &'a str) -> Task<'a> {
    Task {
        id: 7,
        task_id: Uuid::from_u128(0x0190_0000_0000_8000_8000_0000_0000_0007),
        name,
        args,
        kwargs,
        headers,
        body: None,
        priority: None,
        expires_at: None,
        retried_at: None,
        created_at: "2026-11-22T12:59:01.359858Z".parse().unwrap(),
    }
}

fn bytes(push: Push) -> Vec<u8> {
    match push.entry {
        Entry::Left(bytes) => bytes,
        other => panic!("not an LPUSH: {other:?}"),
    }
}

/// The message and its body, decoded as a worker does.
fn decode(push: Push) -> (Value, Value) {
    let message: Value = serde_json::from_slice(&bytes(push)).unwrap();
    let body = message["body"].as_str().unwrap();
    let body = match message["properties"]["body_encoding"].as_str() {
        Some("base64") => String::from_utf8(BASE64.decode(body).unwrap()).unwrap(),
        _ => body.to_owned(),
    };
    (message.clone(), serde_json::from_str(&body).unwrap())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\"\\\\\\x00-\\x1f\\x7f🚀é]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            any_object_of(inner).prop_map(Value::from_iter),
        ]
    })
}

fn any_object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = BTreeMap<String, Value>> {
    prop::collection::btree_map(any::<String>(), inner, 0..5)
}

fn any_encoding() -> impl Strategy<Value = BodyEncoding> {
    prop_oneof![Just(BodyEncoding::Base64), Just(BodyEncoding::Plain)]
}

proptest! {
    #[test]
    fn any_task_keeps_its_id_its_name_and_its_arguments(
        encoding in any_encoding(),
        name in prop_oneof![any::<String>(), "[\"\\\\\\x00-\\x1f🚀é]{1,20}"].prop_filter("named", |n| !n.is_empty()),
        args in prop::collection::vec(any_json(), 0..5),
        kwargs in any_object_of(any_json()),
        headers in any_object_of(any_json()),
        priority in prop::option::of(0..=9_i16),
    ) {
        let [args, kwargs, custom] = [json!(args), json!(kwargs), json!(headers)];
        let texts = [args.to_string(), kwargs.to_string(), custom.to_string()];
        let task = Task { priority, ..task(&name, &texts[0], &texts[1], &texts[2]) };
        let (message, body) = decode(format(encoding).encode(&task).unwrap());
        // Floats may be read back one step off, so texts are compared through the same reader.
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        prop_assert_eq!(&body[0], &read(&texts[0]));
        prop_assert_eq!(&body[1], &read(&texts[1]));
        prop_assert_eq!(&message["headers"]["task"], &json!(name));
        prop_assert_eq!(&message["headers"]["id"], &json!(task.task_id));
        prop_assert_eq!(&message["properties"]["delivery_tag"], &json!(format!("{}:7", task.task_id)));
        prop_assert_eq!(&message["properties"]["priority"], &json!(priority.unwrap_or(0)));
        for (name, value) in read(&texts[2]).as_object().unwrap() {
            prop_assert_eq!(&message["headers"][name], value);
        }
    }

    #[test]
    fn what_the_encoder_makes_it_would_accept_as_finished(
        encoding in any_encoding(), args in prop::collection::vec(any_json(), 0..5), priority in prop::option::of(0..=9_i16),
    ) {
        let args = json!(args).to_string();
        let task = Task { priority, ..task("demo.add", &args, "{}", "{}") };
        let message = bytes(format(encoding).encode(&task).unwrap());
        let level = u8::try_from(priority.unwrap_or(0)).unwrap();
        prop_assert_eq!(check(&message, "emails"), Ok(Finished { id: task.task_id.to_string(), priority: level }));
    }

    #[test]
    fn a_known_header_is_of_its_type_or_refused(
        name in prop::sample::select(vec![
            "lang", "origin", "argsrepr", "kwargsrepr", "shadow", "group", "root_id", "parent_id", "group_index", "retries",
            "replaced_task_nesting", "ignore_result", "stamped_headers", "stamps", "headers", "timelimit",
        ]),
        value in any_json(),
    ) {
        let headers = json!({ name: value }).to_string();
        if let Ok(push) = format(BodyEncoding::Base64).encode(&task("t", "[]", "{}", &headers)) {
            let message = bytes(push);
            prop_assert_eq!(check(&message, "emails").map(|f| f.priority), Ok(0));
            let sent: Value = serde_json::from_slice(&message).unwrap();
            prop_assert_eq!(&sent["headers"][name], &serde_json::from_str::<Value>(&headers).unwrap()[name]);
        }
    }

    #[test]
    fn checking_arbitrary_bytes_never_panics(message in any::<Vec<u8>>(), value in any_json()) {
        _ = check(&message, "emails");
        _ = check(value.to_string().as_bytes(), "emails");
        let mut wrapped = finished();
        wrapped["body"] = Value::from(String::from_utf8_lossy(&message));
        wrapped["properties"]["body_encoding"] = Value::Null;
        _ = check(wrapped.to_string().as_bytes(), "emails");
    }
}

#[test]
fn a_level_goes_to_the_largest_step_at_or_below_it() {
    let format = format(BodyEncoding::Base64);
    let names: Vec<_> = format.keys().iter().map(|key| String::from_utf8(key.name.clone()).unwrap()).collect();
    assert_eq!(names, ["emails", "emails\u{6}\u{16}3", "emails\u{6}\u{16}6", "emails\u{6}\u{16}9"]);
    let key_of = |priority| format.encode(&Task { priority, ..task("t", "[]", "{}", "{}") }).unwrap().key;
    assert_eq!((0..=9).map(|level| key_of(Some(level))).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
    assert_eq!(key_of(None), 0);
}

#[test]
fn priority_steps_must_ascend_from_zero_to_nine() {
    for steps in [vec![], vec![1, 3], vec![0, 3, 3], vec![0, 6, 3], vec![0, 10]] {
        let spec = FormatSpec { priority_steps: steps, ..FormatSpec::default() };
        assert!(Format::new(&spec, "emails").is_err_and(|e| e.contains("priority_steps")));
    }
    let spec = FormatSpec { priority_steps: vec![0], ..FormatSpec::default() };
    assert_eq!(Format::new(&spec, "emails").unwrap().keys().len(), 1);
}

#[test]
fn the_routing_key_is_the_queue_without_the_prefix() {
    let spec = FormatSpec { key: Some("mail".into()), key_prefix: "{app}:".into(), ..FormatSpec::default() };
    let format = Format::new(&spec, "emails").unwrap();
    assert_eq!(format.keys()[1].name, b"{app}:mail\x06\x163");
    let (message, _) = decode(format.encode(&task("t", "[]", "{}", "{}")).unwrap());
    assert_eq!(message["properties"]["delivery_info"], json!({"exchange": "", "routing_key": "mail"}));
}

fn refusal(headers: &str) -> String {
    let fault = format(BodyEncoding::Base64).encode(&task("t", "[]", "{}", headers)).unwrap_err();
    assert!(matches!(&fault, Fault::Reject(reason) if reason.class == "malformed"), "{fault}");
    fault.reason().message.clone()
}

#[test]
fn a_header_that_would_break_the_message_is_refused() {
    let names =
        ["id", "task", "eta", "expires", "compression", "callbacks", "errbacks", "chain", "chord", "get", "update"];
    for name in names {
        assert!(refusal(&json!({ name: null }).to_string()).contains("cannot be set here"), "{name}");
    }
    for headers in [
        r#"{"timelimit": [1]}"#,
        r#"{"timelimit": ["1", null]}"#,
        r#"{"timelimit": [1e300, null]}"#,
        r#"{"timelimit": [-1, null]}"#,
        r#"{"stamped_headers": 5}"#,
        r#"{"stamped_headers": [["a"]]}"#,
        r#"{"shadow": {}}"#,
        r#"{"retries": -1}"#,
        r#"{"headers": "x"}"#,
    ] {
        assert!(refusal(headers).contains("or it would stop the worker"), "{headers}");
    }
    assert!(refusal(r#"{"at": [{"__type__": "datetime", "__value__": 5}]}"#).contains("__type__"));
}

#[test]
fn an_object_that_only_looks_typed_passes() {
    for headers in
        [r#"{"a": {"__type__": 1, "__value__": 2, "c": 3}}"#, r#"{"a": "\"__type__\""}"#, r#"{"__type__": 1}"#]
    {
        format(BodyEncoding::Base64).encode(&task("t", "[]", "{}", headers)).unwrap();
    }
}

#[test]
fn what_a_worker_in_python_cannot_read_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let encode = |args: &str| format(BodyEncoding::Plain).encode(&task("t", args, "{}", "{}"));
    assert!(encode(&nested(MAX_DEPTH)).is_ok());
    assert!(encode(&nested(MAX_DEPTH + 1)).is_err_and(|e| e.reason().message.contains("args nest 201 levels")));
    assert!(encode(&format!("[{}]", "9".repeat(MAX_DIGITS))).is_ok());
    assert!(encode(&format!("[{}]", "9".repeat(MAX_DIGITS + 1))).is_err_and(|e| e.reason().message.contains("4301")));
    assert!(refusal(&format!("{{\"a\": {}}}", nested(MAX_DEPTH))).contains("headers nest"));
    assert!(refusal(&format!("{{\"a\": {}}}", "9".repeat(MAX_DIGITS + 1))).contains("headers hold an integer"));
}

#[test]
fn an_expiry_has_an_offset_that_every_python_reads() {
    let task = Task { expires_at: Some("2026-11-22T13:00:00Z".parse().unwrap()), ..task("t", "[]", "{}", "{}") };
    let (message, _) = decode(format(BodyEncoding::Base64).encode(&task).unwrap());
    assert_eq!(message["headers"]["expires"], "2026-11-22T13:00:00.000000+00:00");
}

#[test]
fn long_arguments_are_repeated_in_part() {
    let args = format!("[\"{}\"]", "é".repeat(400));
    let (message, body) = decode(format(BodyEncoding::Base64).encode(&task("t", &args, "{}", "{}")).unwrap());
    let shown = message["headers"]["argsrepr"].as_str().unwrap();
    assert!(shown.ends_with("é...") && shown.len() <= REPR_BYTES + 3, "{shown}");
    assert_eq!(body[0][0].as_str().unwrap().chars().count(), 400);
}

#[test]
fn a_row_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let encode = |limit| {
        let spec = FormatSpec { max_message_bytes: limit, ..FormatSpec::default() };
        Format::new(&spec, "emails").unwrap().encode(&task("t", "[1, 2]", "{}", "{}"))
    };
    assert!(encode(10).is_ok());
    assert!(encode(9).is_err_and(|fault| fault.reason().class == "too_large"));
}

/// A minimal finished message.
fn finished() -> Value {
    json!({
        "body": BASE64.encode(r#"[[5], {"b": 6}, {}]"#), "content-type": "application/json", "content-encoding": "utf-8",
        "headers": {"task": "demo.add", "id": "m-1"},
        "properties": {"delivery_info": {"exchange": "", "routing_key": "emails"}, "delivery_tag": "m-1", "body_encoding": "base64"},
    })
}

#[test]
fn a_finished_message_gets_only_its_row_and_goes_to_the_list_of_its_own_priority() {
    let mut message = finished();
    message["properties"]["priority"] = json!(7);
    let text = serde_json::to_string_pretty(&message).unwrap();
    let row = Task { body: Some(text.as_bytes()), priority: Some(1), ..task("", "[]", "{}", "{}") };
    let push = format(BodyEncoding::Base64).encode(&row).unwrap();
    let marked = text.replacen("\"headers\": {", "\"headers\": {\"outbox_id\":7,", 1);
    let marked = marked.replacen("\"delivery_tag\": \"m-1\"", &format!("\"delivery_tag\": \"{}:7\"", row.task_id), 1);
    assert_eq!(push, Push { key: 2, entry: Entry::Left(marked.into_bytes()) });
}

#[test]
fn a_finished_message_that_a_worker_can_read_is_accepted() {
    let with = |path: &str, value: Value| change(path, Some(value));
    let text = |encoding: Value, body: &str| {
        let mut message = with("properties/body_encoding", encoding);
        message["body"] = json!(body);
        message
    };
    for message in [
        finished(),
        change("content-encoding", None),
        with("content-encoding", json!("binary")),
        text(Value::Null, r#"[[NaN, -Infinity, "NaN \" Infinity"], {}, null]"#),
        text(json!("utf-8"), r#"[[1e400], {"a": 5}, {"callbacks": null, "chain": [{}]}]"#),
        with("headers/eta", json!("2035-01-02T03:04:05+02:00")),
        with("headers/expires", json!("2035-01-02T03:04:05.678901")),
        with("headers/timelimit", json!([null, 10.5])),
        with("headers/stamps", json!({"a": [1]})),
        with("properties/priority", Value::Null),
    ] {
        assert_eq!(check(message.to_string().as_bytes(), "emails").map(|f| f.id), Ok("m-1".into()), "{message}");
    }
    for (given, level) in [(json!(-1), 0), (json!(0), 0), (json!(3.9), 3), (json!(9), 9), (json!(1e300), 9)] {
        let message = with("properties/priority", given).to_string();
        assert_eq!(check(message.as_bytes(), "emails").map(|f| f.priority), Ok(level));
    }
}

/// The minimal message with one field changed or removed.
fn change(path: &str, value: Option<Value>) -> Value {
    let mut message = finished();
    let (parent, field) = path.rsplit_once('/').map_or(("", path), |(parent, field)| (parent, field));
    let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
    let fields = message.pointer_mut(&parent).and_then(Value::as_object_mut).unwrap();
    match value {
        Some(value) => _ = fields.insert(field.to_owned(), value),
        None => _ = fields.remove(field),
    }
    message
}

#[test]
fn each_malformed_field_of_a_finished_message_is_refused_by_name() {
    let body = |text: &str| Some(json!(BASE64.encode(text)));
    let rows: Vec<(&str, Option<Value>, &str)> = vec![
        ("body", None, "body must be a string"),
        ("body", Some(json!("")), "body must be a string"),
        ("body", Some(json!([[], {}, {}])), "body must be a string"),
        ("body", Some(json!("[[],{},{}]")), "not base64"),
        ("body", Some(json!("W10")), "not base64"),
        ("body", body("not json"), "array of three"),
        ("body", body("{}"), "array of three"),
        ("body", body("[]"), "array of three"),
        ("body", body("[[]]"), "array of three"),
        ("body", body("[[], {}]"), "array of three"),
        ("body", body("[[], {}, {}, {}]"), "array of three"),
        ("body", body("[{}, {}, {}]"), "array of three"),
        ("body", body("[[], [], {}]"), "array of three"),
        ("body", body("[[], {}, 5]"), "array of three"),
        ("body", body("[[], {}, {}"), "array of three"),
        ("body", Some(json!(BASE64.encode([0xff, 0xfe]))), "UTF-8"),
        ("body", body(&format!("[[{}],{{}},{{}}]", "9".repeat(4301))), "4301 digits"),
        ("body", body(&format!("[[{}{}],{{}},{{}}]", "[".repeat(300), "]".repeat(300))), "302 levels"),
        ("content-type", None, "content-type"),
        ("content-type", Some(json!("application/data")), "content-type"),
        ("content-type", Some(json!("application/x-other")), "content-type"),
        ("content-encoding", Some(json!(8)), "content-encoding"),
        ("headers", None, "headers must be an object"),
        ("headers", Some(Value::Null), "headers must be an object"),
        ("headers/task", None, "headers.task"),
        ("headers/task", Some(json!(["demo.add"])), "headers.task"),
        ("headers/task", Some(json!("")), "headers.task"),
        ("headers/id", None, "headers.id"),
        ("headers/id", Some(json!(5)), "headers.id"),
        ("headers/eta", Some(json!("tomorrow")), "headers.eta"),
        ("headers/eta", Some(json!("2035-01-02T03:04:05+00:00[UTC]")), "headers.eta"),
        ("headers/expires", Some(json!(3600)), "headers.expires"),
        ("headers/compression", Some(json!("snappy")), "headers.compression"),
        ("headers/timelimit", Some(json!([1])), "timelimit"),
        ("headers/stamped_headers", Some(json!(5)), "stamped_headers"),
        ("headers/x", Some(json!({"__type__": "x", "__value__": 1})), "__type__"),
        ("properties", None, "properties must be an object"),
        ("properties", Some(json!([])), "properties must be an object"),
        ("properties/delivery_tag", None, "properties.delivery_tag"),
        ("properties/delivery_tag", Some(json!(5)), "properties.delivery_tag"),
        ("properties/delivery_info", None, "properties.delivery_info must be an object"),
        ("properties/delivery_info/exchange", None, "exchange"),
        ("properties/delivery_info/exchange", Some(json!("direct")), "exchange"),
        ("properties/delivery_info/routing_key", None, "routing_key"),
        ("properties/delivery_info/routing_key", Some(json!("other")), "routing_key"),
        ("properties/body_encoding", Some(json!("BASE64")), "body_encoding"),
        ("properties/body_encoding", Some(json!(5)), "body_encoding"),
        ("properties/body_encoding", None, "array of three"),
        ("properties/priority", Some(json!("high")), "properties.priority"),
    ];
    for (path, value, wanted) in rows {
        let message = change(path, value);
        let refused = check(message.to_string().as_bytes(), "emails").unwrap_err();
        assert!(refused.contains(wanted), "{message}: {refused}");
    }
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    for message in ["", "{}", "[]", "null", "not json", "{\"body\":", "\u{feff}{}", "{\"headers\":{\"x\":\"\\ud800\"}}"]
    {
        assert!(check(message.as_bytes(), "emails").is_err(), "{message}");
    }
    assert!(check(&[0xff], "emails").is_err_and(|e| e.contains("UTF-8")));
}
