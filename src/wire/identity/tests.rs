//! A message tells its row, whatever its task id, its format and the worker that has held it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::batch::Entry;
use crate::wire::{Format, FormatName, FormatSpec};

fn format(name: FormatName) -> Format {
    Format::new(&FormatSpec { name, ..FormatSpec::default() }, "emails").unwrap()
}

fn task(id: i64, task_id: Uuid, body: Option<&[u8]>) -> Task<'_> {
    Task {
        id,
        task_id,
        name: if body.is_some() { "" } else { "send" },
        args: "[1]",
        kwargs: "{}",
        headers: "{}",
        body,
        priority: None,
        expires_at: None,
        retried_at: None,
        created_at: "2026-11-22T12:59:01.359858Z".parse().unwrap(),
    }
}

/// As `outbox_task_id` in SQL.
fn made(id: i64, random: u64) -> Uuid {
    let high = ((id >> 12) << 16) | 0x8000 | (id & 0xfff);
    Uuid::from_u64_pair(u64::try_from(high).unwrap(), random & !(3 << 62) | (2 << 62))
}

/// What the format reads out of what it wrote.
fn read_back(format: &Format, task: &Task<'_>) -> Whose {
    match format.encode(task).unwrap().entry {
        Entry::Left(bytes) | Entry::Right(bytes) => format.row_of(Seen::Element(&bytes)),
        Entry::Stream(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
            format.row_of(Seen::Fields(&fields))
        }
    }
}

fn bytes(format: &Format, task: &Task<'_>) -> Vec<u8> {
    match format.encode(task).unwrap().entry {
        Entry::Left(bytes) => bytes,
        other => panic!("not an LPUSH: {other:?}"),
    }
}

/// A finished Celery message with these headers besides `task` and `id`.
fn finished(id: &str, more: &Value) -> Vec<u8> {
    tagged(id, id, more)
}

fn tagged(id: &str, tag: &str, more: &Value) -> Vec<u8> {
    let mut headers = more.clone();
    headers["task"] = json!("send");
    headers["id"] = json!(id);
    let properties = json!({"delivery_tag": tag, "delivery_info": {"exchange": "", "routing_key": "emails"}});
    let message = json!({
        "body": "[[1], {}, null]", "content-type": "application/json", "headers": headers, "properties": properties,
    });
    message.to_string().into_bytes()
}

fn any_row() -> impl Strategy<Value = i64> {
    prop_oneof![1..100_000_i64, 1..=(i64::MAX >> 4)]
}

proptest! {
    #[test]
    fn a_row_is_told_whatever_its_task_id(row in any_row(), chosen in any::<u128>(), random in any::<u64>()) {
        for name in [FormatName::Celery, FormatName::List, FormatName::Stream] {
            let format = format(name);
            let task_id = made(row, random);
            let told = read_back(&format, &task(row, task_id, None));
            prop_assert_eq!(told, Whose::Row { id: row, task_id: Some(task_id) });
            // A caller may choose anything, another row's task id included.
            for chosen in [Uuid::from_u128(chosen), made(row + 1, random)] {
                let told = read_back(&format, &task(row, chosen, None));
                let wanted = if embedded(chosen) == Some(row) { Some(chosen) } else { None };
                prop_assert_eq!(told, Whose::Row { id: row, task_id: wanted });
            }
        }
    }

    #[test]
    fn a_task_id_of_the_database_adds_nothing_to_the_message(row in any_row(), random in any::<u64>()) {
        for name in [FormatName::Celery, FormatName::List] {
            let message = bytes(&format(name), &task(row, made(row, random), None));
            prop_assert!(!String::from_utf8(message).unwrap().contains(OUTBOX_ID));
        }
    }

    #[test]
    fn a_finished_message_keeps_everything_and_tells_its_row(
        row in any_row(), id in "[a-z0-9-]{1,40}", spaces in 0..3_usize, header in any::<String>(),
    ) {
        let body = finished(&id, &json!({"note": header}));
        let spaced = String::from_utf8(body).unwrap().replace("\"headers\":{", &format!("\"headers\":{}{{", " ".repeat(spaces)));
        let task = task(row, Uuid::from_u128(7), Some(spaced.as_bytes()));
        let format = format(FormatName::Celery);
        prop_assert_eq!(read_back(&format, &task), Whose::Row { id: row, task_id: None });
        let marked = String::from_utf8(bytes(&format, &task)).unwrap();
        let tag = format!("\"delivery_tag\":\"{}:{row}\"", task.task_id);
        let unmarked = marked.replacen(&format!("\"outbox_id\":{row},"), "", 1);
        prop_assert_eq!(unmarked.replacen(&tag, &format!("\"delivery_tag\":\"{id}\""), 1), spaced);
    }

    #[test]
    fn a_worker_that_holds_or_restores_a_message_does_not_hide_its_row(row in any_row(), chosen in any::<u128>()) {
        let format = format(FormatName::Celery);
        let wanted = Whose::Row { id: row, task_id: None };
        prop_assume!(embedded(Uuid::from_u128(chosen)) != Some(row));
        // As Python writes it: other order, other spaces, `redelivered` added.
        let mut message: Value =
            serde_json::from_slice(&bytes(&format, &task(row, Uuid::from_u128(chosen), None))).unwrap();
        message["headers"]["redelivered"] = json!(true);
        let restored = serde_json::to_string_pretty(&message).unwrap();
        prop_assert_eq!(format.row_of(Seen::Element(restored.as_bytes())), wanted);
        for held in [json!([message, "", "emails"]), json!([message, "", "emails", "more"]), json!([message])] {
            prop_assert_eq!(format.row_of(Seen::Unacked(held.to_string().as_bytes())), wanted);
        }
    }

    #[test]
    fn anything_at_all_can_be_looked_at(message in prop::collection::vec(any::<u8>(), 0..60), text in any::<String>()) {
        for bytes in [&message[..], text.as_bytes()] {
            prop_assert_eq!(format(FormatName::Celery).row_of(Seen::Element(bytes)), Whose::Other);
            prop_assert_eq!(format(FormatName::Celery).row_of(Seen::Unacked(bytes)), Whose::Other);
            prop_assert_eq!(format(FormatName::List).row_of(Seen::Element(bytes)), Whose::Unknown);
            prop_assert_eq!(format(FormatName::Raw).row_of(Seen::Element(bytes)), Whose::Unknown);
            prop_assert_eq!(format(FormatName::Stream).row_of(Seen::Fields(&[(bytes, bytes)])), Whose::Other);
        }
    }
}

#[test]
fn a_task_id_of_the_database_embeds_its_row() {
    // select outbox_task_id(5), outbox_task_id(4096), outbox_task_id(1234567890)
    for (task_id, row) in [
        ("00000000-0000-8005-a3b1-0f6c0e9b1d22", Some(5)),
        ("00000000-0001-8000-a3b1-0f6c0e9b1d22", Some(4096)),
        ("00000004-9960-82d2-a3b1-0f6c0e9b1d22", Some(1_234_567_890)),
        ("0190b0a4-7e4f-7c1e-8d3f-1234567890ab", None),
        ("80000000-0000-8005-a3b1-0f6c0e9b1d22", None),
    ] {
        assert_eq!(embedded(task_id.parse().unwrap()), row, "{task_id}");
    }
}

#[test]
fn a_celery_message_of_somebody_else_is_nobodys_row() {
    let format = format(FormatName::Celery);
    let foreign = finished("0190b0a4-7e4f-7c1e-8d3f-1234567890ab", &json!({}));
    assert_eq!(format.row_of(Seen::Element(&foreign)), Whose::Other);
}

#[test]
fn what_would_make_two_readers_disagree_about_the_row_is_refused() {
    let format = format(FormatName::Celery);
    let text = String::from_utf8(finished("a", &json!({}))).unwrap();
    let twice = text.replacen("\"headers\":", "\"headers\":{\"id\":\"b\",\"task\":\"t\"},\"headers\":", 1);
    let id_twice = text.replacen("\"id\":\"a\"", "\"id\":\"b\",\"id\":\"a\"", 1);
    let none = String::from_utf8(finished("a", &json!({"outbox_id": null}))).unwrap();
    for body in [twice, id_twice, none] {
        let fault = format.encode(&task(7, Uuid::from_u128(7), Some(body.as_bytes()))).unwrap_err();
        assert!(fault.reason().message.contains("stand twice"), "{body}: {fault}");
    }
    let headers = Task { headers: r#"{"outbox_id": 9}"#, ..task(7, Uuid::from_u128(7), None) };
    assert!(format.encode(&headers).unwrap_err().reason().message.contains("outbox_id"));
}

#[test]
fn a_finished_message_that_was_copied_from_redis_becomes_its_new_rows() {
    let format = format(FormatName::Celery);
    let copied = finished("a", &json!({"outbox_id": 9, "z": "z"}));
    let marked = bytes(&format, &task(7, Uuid::from_u128(7), Some(&copied)));
    let tag = format!("{}:7", Uuid::from_u128(7));
    assert_eq!(marked, tagged("a", &tag, &json!({"outbox_id": 7, "z": "z"})));
}

#[test]
fn bytes_on_a_list_that_look_like_another_row_are_refused_and_others_pass() {
    let format = format(FormatName::List);
    let copied = bytes(&format, &task(7, made(7, 1), None));
    let elsewhere = String::from_utf8(copied.clone()).unwrap().replace("emails", "other");
    assert_eq!(format.row_of(Seen::Element(elsewhere.as_bytes())), Whose::Other);
    for body in [&copied[..], elsewhere.as_bytes()] {
        let fault = format.encode(&task(8, made(8, 1), Some(body))).unwrap_err();
        assert!(fault.reason().message.contains("another row's"), "{fault}");
    }
    for body in [&b"{\"id\": 1}"[..], b"", b"{\"id\":\"00000000-0000-8005-a3b1-0f6c0e9b1d22\",\"queue\":\"emails\"}"] {
        assert_eq!(bytes(&format, &task(8, made(8, 1), Some(body))), body);
    }
}
