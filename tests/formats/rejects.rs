//! A row that its format refuses goes to the dead rows, with a reason; its batch goes on.

use super::{stage, wait_len, wait_status};
use crate::common::{SOON, eventually_blocking};

#[tokio::test]
async fn a_refused_row_is_dead_with_a_reason_and_its_batch_goes_on() {
    let queues = "[defaults]\nformat = \"celery\"\n[queues.bytes]\nformat = \"raw\"\n\
                  [queues.small]\nformat = \"list\"\nmax_message = \"1KiB\"\n";
    let (fixture, relay) = stage(queues).await;
    let cases = [
        ("celery", "'t', '[]', headers => '{\"id\": \"x\"}'", "malformed", "task_id"),
        ("celery", "'t', '[]', headers => '{\"timelimit\": \"soon\"}'", "malformed", "timelimit"),
        ("bytes", "'t', '[1]'", "malformed", "outbox_enqueue_raw"),
        ("small", "'t', jsonb_build_array(repeat('x', 2000))", "too_large", "max_message"),
    ];
    let good = |queue: &str, n: i32| match queue {
        "bytes" => format!("outbox_enqueue_raw('bytes', 'payload-{n}')"),
        _ => format!("outbox_enqueue('{queue}', 't', '[\"payload-{n}\"]')"),
    };
    let mut dead = Vec::new();
    for (queue, call, class, word) in cases {
        let (before, after) = (good(queue, 1), good(queue, 2));
        let one = format!("begin; select {before}; select outbox_enqueue('{queue}', {call}); select {after}; commit");
        let ids = fixture.database.sql(&one);
        dead.push((ids.lines().nth(1).unwrap().to_owned(), queue, class, word));
    }
    for (id, queue, class, word) in &dead {
        let said = || {
            relay
                .events()
                .into_iter()
                .find(|event| event.name() == "row.rejected" && event.text("reason").contains(word))
        };
        assert!(eventually_blocking(SOON, || said().is_some()), "nothing was said about {word}");
        let rejected = said().unwrap();
        assert_eq!((rejected.text("queue"), rejected.text("class")), (*queue, *class));
        wait_status(&fixture, id, "dead");
        let row = fixture.database.sql(&format!(
            "select queue, error_class, error, attempts, batch is not null from outbox_dead where task_id = '{id}'"
        ));
        let fields: Vec<_> = row.split('|').collect();
        assert_eq!((fields[0], fields[1], fields[3], fields[4]), (*queue, *class, "1", "t"), "{row}");
        assert!(fields[2].contains(word), "{row}");
    }
    for (queue, count) in [("celery", 4), ("bytes", 2), ("small", 2)] {
        wait_len(&fixture, queue, count);
    }
    let count = fixture.database.sql("select count(*) from outbox_dead");
    assert_eq!(count, "4");
}
