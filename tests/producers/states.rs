//! What `outbox_status` and `outbox_rows` say of a row, from its insert until it is forgotten.

use uuid::Uuid;

use super::Stage;

impl Stage {
    /// The state by the function, which the view must agree with.
    async fn state(&self, task: Uuid) -> String {
        let by_function = self.status(task).await.unwrap();
        let sql = "select state from outbox_rows where task_id = $1";
        let rows = self.client.query(sql, &[&task]).await.unwrap();
        assert_eq!(rows.len(), 1, "rows of the view");
        assert_eq!(rows[0].get::<_, String>(0), by_function);
        by_function
    }

    async fn dispatched_at(&self, task: Uuid) -> Option<i64> {
        let sql = "select batch from outbox_rows where task_id = $1 and dispatched_at > created_at";
        self.client.query_opt(sql, &[&task]).await.unwrap().map(|row| row.get(0))
    }
}

/// What an opening writes that finds Redis empty.
const LOSS: &str = "insert into outbox_checkpoint (queue, position, evidence) values ('q', 0, 'open: missing')";

#[tokio::test]
async fn a_row_is_pending_until_the_marker_has_passed_its_batch_and_again_after_a_loss() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't')").await;
    assert_eq!(stage.state(task).await, "pending");
    let mut relay = stage.open().await;
    assert_eq!(relay.plan("log").await.1, [task]);
    assert_eq!(stage.state(task).await, "pending");
    relay.mark(1).await;
    assert_eq!(stage.state(task).await, "dispatched");
    assert_eq!(stage.dispatched_at(task).await, Some(1));
    stage.run(LOSS).await;
    assert_eq!(stage.state(task).await, "pending");
    assert_eq!(stage.dispatched_at(task).await, None);
    relay.mark(1).await;
    stage.client.execute("select outbox_ack($1)", &[&task]).await.unwrap();
    assert_eq!(stage.state(task).await, "consumed");
}

#[tokio::test]
async fn rows_of_many_batches_are_found_in_the_one_that_took_them() {
    let stage = Stage::new().await;
    let mut relay = stage.open().await;
    let mut planned = Vec::new();
    for _ in 0..20 {
        stage.run("select outbox_enqueue('q', 't') from generate_series(1, 3)").await;
        let (_, tasks) = relay.plan("log").await;
        planned.extend(tasks.into_iter().map(|task| (task, relay.last)));
        relay.mark(relay.last).await;
    }
    assert_eq!(planned.len(), 60);
    for (task, batch) in planned {
        assert_eq!(stage.dispatched_at(task).await, Some(batch));
    }
    let order = "select bool_and(later) from (select dispatched_at >= lag(dispatched_at) over (order by id) as later from outbox_rows) x";
    assert!(stage.yes(order).await);
}

#[tokio::test]
async fn a_straggler_belongs_to_the_batch_that_came_after_its_commit() {
    let stage = Stage::new().await;
    let slow = stage.database.connect().await;
    slow.batch_execute("begin").await.unwrap();
    let task: Uuid = slow.query_one("select outbox_enqueue('q', 't')", &[]).await.unwrap().get(0);
    let mut relay = stage.open().await;
    let early = stage.id("select outbox_enqueue('q', 't')").await;
    assert_eq!(relay.plan("log").await.1, [early]);
    relay.mark(1).await;
    slow.batch_execute("commit").await.unwrap();
    assert_eq!(stage.state(task).await, "pending");
    assert_eq!(relay.plan("log").await.1, [task]);
    assert_eq!(stage.state(task).await, "pending");
    relay.mark(2).await;
    assert_eq!(stage.dispatched_at(task).await, Some(2));
    assert_eq!(stage.dispatched_at(early).await, Some(1));
}

#[tokio::test]
async fn inside_an_unfinished_tick_only_what_is_planned_counts_as_planned() {
    let stage = Stage::new().await;
    stage.run("select outbox_enqueue('q', 't') from generate_series(1, 5)").await;
    let relay = stage.open().await;
    let sql = "select status, task_id from outbox_plan('q', $1, 0, 'log', 'relay', 2, 1000000)";
    let rows = stage.client.query(sql, &[&relay.tenure]).await.unwrap();
    assert_eq!(rows[0].get::<_, String>(0), "more");
    relay.mark(1).await;
    let dispatched: Vec<Uuid> = rows.iter().filter_map(|row| row.get(1)).collect();
    let sql = "select task_id from outbox_rows where state = 'dispatched' order by id";
    let seen: Vec<Uuid> = stage.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(seen, dispatched);
    assert_eq!(stage.count("select count(*) from outbox_rows where state = 'pending' and batch is null").await, 3);
}

#[tokio::test]
async fn a_delayed_row_is_held_in_the_log_and_as_a_copy_until_it_is_planned() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now() + '1 h')").await;
    assert_eq!(stage.state(task).await, "held");
    let mut relay = stage.open().await;
    assert!(relay.plan("log").await.1.is_empty());
    relay.mark(1).await;
    assert_eq!(stage.state(task).await, "held");
    stage.run("update outbox_held set due = now()").await;
    assert_eq!(relay.plan("ids").await.1, [task]);
    assert_eq!(stage.state(task).await, "pending");
    relay.mark(2).await;
    assert_eq!(stage.dispatched_at(task).await, Some(2));
    stage.run("delete from outbox_held").await;
    assert_eq!(stage.state(task).await, "dispatched");
}

#[tokio::test]
async fn a_copy_outlives_its_row_in_the_log() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now() + '1 h')").await;
    let mut relay = stage.open().await;
    relay.plan("log").await;
    stage.run("truncate outbox").await;
    assert_eq!(stage.state(task).await, "held");
    assert!(stage.cancel(task).await);
    assert_eq!(stage.state(task).await, "cancelled");
}

#[tokio::test]
async fn a_row_whose_time_has_passed_is_expired() {
    let stage = Stage::new().await;
    let never = stage.id("select outbox_enqueue('q', 't', expires_at => now() - interval '1 s')").await;
    let soon = stage.id("select outbox_enqueue('q', 't', expires_at => now() + interval '1 h')").await;
    let held = "select outbox_enqueue('q', 't', deliver_at => now() + '1 h', expires_at => now() - interval '1 s')";
    let held = stage.id(held).await;
    assert_eq!(stage.state(never).await, "expired");
    assert_eq!(stage.state(held).await, "expired");
    let mut relay = stage.open().await;
    relay.plan("log").await;
    relay.mark(1).await;
    assert_eq!(stage.state(never).await, "expired");
    assert_eq!(stage.state(held).await, "expired");
    assert_eq!(stage.state(soon).await, "dispatched");
    // Planned before it expired: the message went out, and that does not change.
    stage.run("update outbox_batch set at = at - interval '2 h' where batch = 1").await;
    assert_eq!(stage.state(never).await, "dispatched");
}

#[tokio::test]
async fn a_row_that_could_not_be_published_is_dead_and_carries_its_error() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't')").await;
    let mut relay = stage.open().await;
    relay.plan("log").await;
    let bury = "select outbox_bury('q', 1, array[$1::bigint], array['too_large'], array['it is too large'])";
    let id: i64 = stage.client.query_one("select id from outbox", &[]).await.unwrap().get(0);
    stage.client.execute(bury, &[&id]).await.unwrap();
    relay.mark(1).await;
    assert_eq!(stage.state(task).await, "dead");
    assert!(stage.yes("select error = 'it is too large' and batch = 1 from outbox_rows").await);
    stage.run("truncate outbox").await;
    assert_eq!(stage.state(task).await, "dead");
    assert!(!stage.cancel(task).await);
}

#[tokio::test]
async fn what_a_trimmed_ledger_no_longer_tells_apart_counts_as_dispatched() {
    let stage = Stage::new().await;
    let mut relay = stage.open().await;
    let mut tasks = Vec::new();
    for batch in 1..=4 {
        tasks.push(stage.id("select outbox_enqueue('q', 't')").await);
        relay.plan("log").await;
        relay.mark(batch).await;
    }
    stage.run("delete from outbox_batch where batch < 2").await;
    stage.run(LOSS).await;
    let mut states = Vec::new();
    for task in &tasks {
        states.push(stage.state(*task).await);
    }
    assert_eq!(states, ["dispatched", "dispatched", "pending", "pending"]);
}

#[tokio::test]
async fn evidence_in_a_checkpoint_makes_a_row_consumed_unless_it_is_outstanding() {
    let stage = Stage::new().await;
    let done = stage.id("select outbox_enqueue('q', 't')").await;
    let left = stage.id("select outbox_enqueue('q', 't')").await;
    let mut relay = stage.open().await;
    relay.plan("log").await;
    let sql = "insert into outbox_checkpoint (queue, position, consumed, outstanding, evidence)
               values ('q', 1, 1, array[outbox_row_id($1)], 'test')";
    stage.client.execute(sql, &[&left]).await.unwrap();
    assert_eq!(stage.state(done).await, "consumed");
    assert_eq!(stage.state(left).await, "dispatched");
}

#[tokio::test]
async fn an_unknown_or_forgotten_task_has_no_state() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't')").await;
    stage.run("truncate outbox").await;
    for unknown in [task, Uuid::new_v4(), Uuid::nil(), Uuid::max()] {
        assert_eq!(stage.status(unknown).await, None);
    }
    assert!(stage.yes("select outbox_status(null) is null").await);
    // The right row, but another task: what is not embedded is compared.
    let task = stage.id("select outbox_enqueue('q', 't')").await;
    let other = Uuid::from_u128(task.as_u128() ^ 1);
    assert_eq!(stage.status(other).await, None);
    assert_eq!(stage.status(task).await.as_deref(), Some("pending"));
}

#[tokio::test]
async fn a_task_is_found_by_index_whoever_chose_its_id() {
    let stage = Stage::new().await;
    stage.run("insert into outbox_queue (queue) select 'q' || n from generate_series(0, 9) n").await;
    stage.run("insert into outbox (queue, task) select 'q' || n % 10, 't' from generate_series(1, 120000) n").await;
    stage.run("insert into outbox (queue, task, task_id) select 'q1', 't', gen_random_uuid() from generate_series(1, 10000)").await;
    stage.run("insert into outbox (queue, task) select 'unknown', 't' from generate_series(1, 10)").await;
    for which in [
        "queue = 'q1' and outbox_row_id(task_id) is not null",
        "queue = 'q1' and outbox_row_id(task_id) is null",
        "queue = 'unknown'",
    ] {
        let task = stage.id(&format!("select task_id from outbox where {which} limit 1")).await;
        let sql = format!("explain (analyze, buffers, timing off, summary off) select outbox_status('{task}')");
        stage.run(&format!("select outbox_status('{task}')")).await;
        let rows = stage.client.query(&sql, &[]).await.unwrap();
        let text: String = rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
        let pages = text.split("shared hit=").nth(1).and_then(|t| t.split(|c: char| !c.is_ascii_digit()).next());
        let pages: usize = pages.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
        assert!(pages < 1_000, "{which}: {pages} pages, where the log has some 2,500");
    }
}
