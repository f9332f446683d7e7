//! Wrong input is refused in the application's statement, with the same sentence whatever the way in.

use super::{Stage, refused};

/// What is passed as (queue, task, args, kwargs, headers, priority, `deliver_at`, `expires_at`), and how the sentence begins.
const WRONG: &[(&str, &str)] = &[
    (
        "null, 't', '[]', '{}', '{}', null, null, null",
        "queue must be 1 to 200 bytes without control characters; got nothing",
    ),
    (
        "'', 't', '[]', '{}', '{}', null, null, null",
        "queue must be 1 to 200 bytes without control characters; got nothing",
    ),
    (
        "repeat('ä', 101), 't', '[]', '{}', '{}', null, null, null",
        "queue must be 1 to 200 bytes without control characters; got 202 bytes",
    ),
    (
        "E'a\\nb', 't', '[]', '{}', '{}', null, null, null",
        "queue must be 1 to 200 bytes without control characters; got a line break",
    ),
    (
        "E'a\\x7f', 't', '[]', '{}', '{}', null, null, null",
        "queue must be 1 to 200 bytes without control characters; got a line break",
    ),
    (
        "'q', null, '[]', '{}', '{}', null, null, null",
        "task must be 1 to 200 bytes without control characters; got nothing",
    ),
    (
        "'q', '', '[]', '{}', '{}', null, null, null",
        "task must be 1 to 200 bytes without control characters; got nothing",
    ),
    (
        "'q', repeat('t', 201), '[]', '{}', '{}', null, null, null",
        "task must be 1 to 200 bytes without control characters; got 201 bytes",
    ),
    (
        "'q', E't\\t', '[]', '{}', '{}', null, null, null",
        "task must be 1 to 200 bytes without control characters; got a line break",
    ),
    ("'q', 't', null, '{}', '{}', null, null, null", "args must be a JSON array, such as [1, 2]; got NULL"),
    ("'q', 't', 'null', '{}', '{}', null, null, null", "args must be a JSON array, such as [1, 2]; got a JSON null"),
    (
        "'q', 't', '{\"a\": 1}', '{}', '{}', null, null, null",
        "args must be a JSON array, such as [1, 2]; got a JSON object: named",
    ),
    (
        "'q', 't', '\"[1]\"', '{}', '{}', null, null, null",
        "args must be a JSON array, such as [1, 2]; got a JSON string: pass the JSON",
    ),
    (
        "'q', 't', '7', '{}', '{}', null, null, null",
        "args must be a JSON array, such as [1, 2]; got a JSON number: put it",
    ),
    ("'q', 't', '[]', null, '{}', null, null, null", "kwargs must be a JSON object, such as {\"id\": 1}; got NULL"),
    (
        "'q', 't', '[]', '[1]', '{}', null, null, null",
        "kwargs must be a JSON object, such as {\"id\": 1}; got a JSON array: positional",
    ),
    (
        "'q', 't', '[]', '\"{}\"', '{}', null, null, null",
        "kwargs must be a JSON object, such as {\"id\": 1}; got a JSON string: pass",
    ),
    ("'q', 't', '[]', '{}', null, null, null, null", "headers must be a JSON object, such as {\"k\": \"v\"}; got NULL"),
    (
        "'q', 't', '[]', '{}', '[]', null, null, null",
        "headers must be a JSON object, such as {\"k\": \"v\"}; got a JSON array",
    ),
    ("'q', 't', '[]', '{}', '{}', -1, null, null", "priority must be 0 (first) to 9 (last)"),
    ("'q', 't', '[]', '{}', '{}', 10, null, null", "priority must be 0 (first) to 9 (last)"),
    (
        "'q', 't', '[]', '{}', '{}', null, 'infinity', null",
        "deliver_at must lie between the years 1900 and 9000; got infinity",
    ),
    (
        "'q', 't', '[]', '{}', '{}', null, null, '-infinity'",
        "expires_at must lie between the years 1900 and 9000; got -infinity",
    ),
    (
        "'q', 't', jsonb_build_array(repeat('x', 1048576)), '{}', '{}', null, null, null",
        "a message must be at most 1048576 bytes (outbox.max_message); got 1048584 bytes",
    ),
    (
        "'q', 't', '[]', jsonb_build_object('k', repeat('x', 600000)), jsonb_build_object('k', repeat('x', 600000)), null, null, null",
        "a message must be at most 1048576 bytes (outbox.max_message); got 1200",
    ),
    // Twenty bytes each as jsonb, 128 KiB each as JSON.
    (
        "'q', 't', '[1e131071, 1e131071, 1e131071, 1e131071, 1e131071, 1e131071, 1e131071, 1e131071]', '{}', '{}', null, null, null",
        "a message must be at most 1048576 bytes (outbox.max_message)",
    ),
];

#[tokio::test]
async fn wrong_input_is_refused_with_the_same_sentence_whatever_the_way_in() {
    let stage = Stage::new().await;
    for (values, sentence) in WRONG {
        for sql in [
            format!(
                "insert into outbox (queue, task, args, kwargs, headers, priority, deliver_at, expires_at) values ({values})"
            ),
            format!(
                "select outbox_enqueue(q, t, a::jsonb, k::jsonb, h::jsonb, d::timestamptz, e::timestamptz, p::int)
                 from (values ({values})) v (q, t, a, k, h, p, d, e)"
            ),
        ] {
            let (code, message) = refused(&stage.client, &sql).await;
            assert_eq!(code, "22023", "{sql}: {message}");
            assert!(message.starts_with(sentence), "{sql}: {message}");
        }
    }
    assert_eq!(stage.count("select count(*) from outbox").await, 0);
}

#[tokio::test]
async fn what_lies_at_the_limits_is_accepted() {
    let stage = Stage::new().await;
    stage.run("select outbox_enqueue(repeat('q', 200), repeat('t', 200), priority => 0)").await;
    stage.run("select outbox_enqueue('ß ÿ €', 'läuft.ö', priority => 9)").await;
    stage
        .run("insert into outbox (queue, task, args) values ('q', 't', jsonb_build_array(repeat('x', 1048568)))")
        .await;
    stage.run("select outbox_enqueue('q', 't', deliver_at => '1900-01-01 00:00+00', expires_at => '8999-12-31')").await;
    stage.run("insert into outbox (queue, body) values ('q', '')").await;
    assert_eq!(stage.count("select count(*) from outbox").await, 5);
}

#[tokio::test]
async fn what_only_a_function_can_get_wrong_is_refused_with_a_sentence_too() {
    let stage = Stage::new().await;
    for (sql, sentence) in [
        ("select outbox_enqueue('q', 't', priority => 100000)", "priority must be 0 (first) to 9 (last)"),
        ("select outbox_enqueue_raw('q', null)", "body must be the finished message as bytea; got NULL"),
        (
            "select outbox_enqueue_raw('q', convert_to(repeat('x', 1048577), 'UTF8'))",
            "a message must be at most 1048576 bytes (outbox.max_message)",
        ),
        ("select outbox_enqueue_raw('', 'x')", "queue must be 1 to 200 bytes"),
        ("select outbox_enqueue_many('q', 't', null)", "args must be an array of JSON arrays"),
        (
            "select outbox_enqueue_many('q', 't', array['[]', '{}']::jsonb[])",
            "args[2] must be a JSON array, such as [1, 2]; got a JSON object",
        ),
        (
            "select outbox_enqueue_many('q', 't', array['[]', null]::jsonb[])",
            "args[2] must be a JSON array, such as [1, 2]; got NULL",
        ),
        (
            "select outbox_enqueue_many('q', 't', array['[]', '[]']::jsonb[], array['{}', '[]']::jsonb[])",
            "kwargs[2] must be a JSON object",
        ),
        (
            "select outbox_enqueue_many('q', 't', array['[]', '[]']::jsonb[], array['{}']::jsonb[])",
            "kwargs must have one JSON object per task: args has 2 elements, kwargs has 1",
        ),
        (
            "select outbox_enqueue_many('q', 't', array[array['[]'], array['[]']]::jsonb[])",
            "args and kwargs must be arrays of one dimension",
        ),
        ("select outbox_enqueue('q', 't', dedupe_key => '')", "dedupe_key must be 1 to 500 bytes; got 0"),
        (
            "select outbox_enqueue('q', 't', dedupe_key => repeat('k', 501))",
            "dedupe_key must be 1 to 500 bytes; got 501",
        ),
        ("select outbox_enqueue(null, 't', dedupe_key => 'k')", "queue must be 1 to 200 bytes"),
        (
            "set outbox.dedupe_ttl = '-1 s'; select outbox_enqueue('q', 't', dedupe_key => 'k')",
            "outbox.dedupe_ttl must be longer than nothing",
        ),
        ("select outbox_ack(null)", "task_id must be the id of a task; got NULL"),
        ("select outbox_once(null)", "task_id must be the id of a task; got NULL"),
        ("select outbox_ack_many(array[null]::uuid[])", "task_ids must be an array of ids of tasks"),
    ] {
        let (code, message) = refused(&stage.client, sql).await;
        assert_eq!(code, "22023", "{sql}: {message}");
        assert!(message.starts_with(sentence), "{sql}: {message}");
    }
    assert_eq!(stage.count("select count(*) from outbox").await, 0);
    assert_eq!(stage.count("select count(*) from outbox_dedupe").await, 0);
}
