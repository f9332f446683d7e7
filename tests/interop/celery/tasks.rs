//! One task: its arguments, headers, times, id and result.

use serde_json::json;

use super::{Stage, ids, plain};
use crate::common::{SOON, until_some};

#[tokio::test]
async fn a_worker_runs_what_was_committed_in_order_and_nothing_that_was_rolled_back() {
    let stage = Stage::new().await;
    let results = json!({"result_backend": stage.fixture.redis.url(2), "task_ignore_result": false});
    let worker = stage.worker(&["default"], &results);
    let _relay = stage.relay("").await;
    let mut wanted = Vec::new();
    for n in 0..60 {
        stage.db.batch_execute("begin").await.unwrap();
        let id = stage.enqueue(&format!("'default', 'demo.echo', '[{n}]'")).await;
        let rolls_back = n % 5 == 4;
        stage.db.batch_execute(if rolls_back { "rollback" } else { "commit" }).await.unwrap();
        if !rolls_back {
            wanted.push((id, json!([n])));
        }
    }
    let many = "insert into outbox (queue, task, args) select 'default', 'demo.add', jsonb_build_array(n, 1)
                from generate_series(100, 599) n returning task_id::text, args::text";
    for row in stage.db.query(many, &[]).await.unwrap() {
        wanted.push((row.get(0), serde_json::from_str(row.get(1)).unwrap()));
    }

    let runs = worker.ran(wanted.len()).await;
    let ran: Vec<_> = ids(&runs).into_iter().zip(runs.iter().map(|run| run["args"].clone())).collect();
    assert_eq!(ran, wanted);
    assert!(runs.iter().all(|run| run["redelivered"] == false && run["retries"] == 0));

    let last = &wanted[wanted.len() - 1];
    let mut broker = stage.fixture.redis.connect().unwrap();
    broker.cmd(["SELECT", "2"]).unwrap();
    // The ledger has a task's beginning; its result comes after its end.
    let key = format!("celery-task-meta-{}", last.0);
    let result = until_some(SOON, || {
        let result = broker.cmd(["GET", &key]).unwrap().text();
        async { result }
    });
    let result: serde_json::Value = serde_json::from_str(&result.await.unwrap()).unwrap();
    assert_eq!((&result["status"], &result["result"]), (&json!("SUCCESS"), &json!(600)));
    assert!(broker.cmd(["KEYS", "outbox*"]).unwrap().texts().is_empty());
    assert!(stage.becomes(&last.0, "dispatched").await);
}

#[tokio::test]
async fn a_worker_sees_arguments_headers_and_the_id_as_the_application_wrote_them() {
    let stage = Stage::new().await;
    let _relay = stage.relay("").await;
    let odd = "say \\\"hi\\\" \\\\ back/slash \\b\\f\\n\\r\\t\\u0001\\u001f\u{7f} <>& \u{e9}\u{fc}\u{4e2d}\u{2028} \u{1f680}\u{1f469}\u{200d}\u{1f4bb}";
    let text: String = serde_json::from_str(&format!("\"{odd}\"")).unwrap();
    let trace = json!({
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "sentry-trace": "771a43a4-1234-1",
        "baggage": "tenant=acme,plan=gold", "tenant": {"id": [1, null, "\u{e9}"]},
    });
    let own = "0190b0a4-7e4f-7c1e-8d3f-1234567890ab";
    let calls = [
        format!("'default', 'demo.echo', $$[\"{odd}\", [\"{odd}\"]]$$, $${{\"k\u{e9}y \u{1f680}\": \"{odd}\"}}$$"),
        "'default', 'demo.echo', '[1, -1.5, 1e300, true, null, {}, 123456789012345678901234567890]'".to_owned(),
        "'default', 'demo.add', '[1]', '{\"y\": 2}'".to_owned(),
        format!("'default', 'demo.echo', headers => $${trace}$$"),
        format!("'default', 'demo.echo', task_id => '{own}'"),
        "'default', 'demo.echo', jsonb_build_array(repeat('x', 100000))".to_owned(),
        "'default', 'demo.echo', jsonb_build_array(repeat('\u{e9}', 524000))".to_owned(),
        "'default', 'demo.echo', expires_at => now() + interval '1 hour', priority => 7".to_owned(),
    ];
    let mut sent = Vec::new();
    for call in &calls {
        sent.push(stage.enqueue(call).await);
    }
    assert_eq!(sent[4], own);
    let runs = stage.worker(&["default"], &plain()).ran(calls.len()).await;
    assert_eq!(ids(&runs), sent);
    assert_eq!(runs[0]["args"], json!([text, [text]]));
    assert_eq!(runs[0]["kwargs"], json!({"k\u{e9}y \u{1f680}": text}));
    assert_eq!(runs[1]["args"][1], json!(-1.5));
    assert_eq!(runs[1]["args"][6].to_string(), "1.2345678901234568e+29", "a Python int of that value");
    assert_eq!(runs[2]["args"], json!([1, 2]));
    for (name, value) in trace.as_object().unwrap() {
        assert_eq!(runs[3]["headers"][name], *value, "{name}");
    }
    assert_eq!(runs[5]["args"][0].as_str().unwrap().len(), 100_000);
    assert_eq!(runs[6]["args"][0].as_str().unwrap().chars().count(), 524_000);
    assert_eq!((&runs[7]["priority"], &runs[0]["priority"]), (&json!(7), &json!(0)));
    assert!(runs[7]["expires"].as_str().is_some_and(|at| at.ends_with("+00:00")), "{}", runs[7]["expires"]);
}

#[tokio::test]
async fn an_expired_task_never_runs_and_a_delayed_one_not_before_its_time() {
    let stage = Stage::new().await;
    let worker = stage.worker(&["default"], &plain());
    let _relay = stage.relay("").await;
    let expired = stage.enqueue("'default', 'demo.echo', expires_at => now() - interval '1 second'").await;
    let now: f64 =
        stage.db.query_one("select extract(epoch from clock_timestamp())::float8", &[]).await.unwrap().get(0);
    // Late enough for everything else to be seen before.
    let late =
        stage.enqueue("'default', 'demo.echo', '[\"late\"]', deliver_at => clock_timestamp() + interval '6 s'").await;
    // Expires before it is due: it must be gone by then.
    let neither = stage
        .enqueue(
            "'default', 'demo.echo', deliver_at => now() + interval '800 ms', expires_at => now() + interval '700 ms'",
        )
        .await;
    let first = stage.enqueue("'default', 'demo.echo'").await;
    let runs = worker.ran(1).await;
    assert_eq!(ids(&runs), [first.as_str()]);
    assert_eq!(stage.status(&late).await.as_deref(), Some("held"));
    let runs = worker.ran(2).await;
    assert_eq!(ids(&runs), [first, late.clone()]);
    let waited = runs[1]["at"].as_f64().unwrap() - now;
    assert!(waited > 5.9, "it ran {waited} s after it was enqueued");
    assert!(stage.becomes(&late, "dispatched").await);
    assert!(stage.becomes(&expired, "expired").await, "{:?}", stage.status(&expired).await);
    assert!(stage.becomes(&neither, "expired").await, "{:?}", stage.status(&neither).await);
}
