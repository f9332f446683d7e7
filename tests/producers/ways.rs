//! Every way in makes the same row.

use std::pin::pin;

use futures_util::SinkExt;
use outboxd::pg::{Connector, Schemas, migrate};
use uuid::Uuid;

use super::{Stage, run};
use crate::common::Database;

async fn copy(stage: &Stage, head: &'static str, rows: &'static [u8]) {
    let sink = stage.client.copy_in::<_, &'static [u8]>(head).await.unwrap();
    let mut sink = pin!(sink);
    sink.send(rows).await.unwrap();
    sink.close().await.unwrap();
}

#[tokio::test]
async fn every_way_in_makes_the_same_row() {
    let stage = Stage::new().await;
    stage.run("create table src as select 'q'::text q, 't'::text t, '[1]'::jsonb a, '{\"k\": 2}'::jsonb k").await;
    stage.run("insert into outbox (queue, task, args, kwargs) values ('q', 't', '[1]', '{\"k\": 2}')").await;
    stage
        .run("insert into outbox (queue, task, args, kwargs) values ('q', 't', '[1]', '{\"k\": 2}'), ('q', 't', '[1]', '{\"k\": 2}')")
        .await;
    stage.run("insert into outbox (queue, task, args, kwargs) select * from src").await;
    stage.run("select outbox_enqueue('q', 't', '[1]', '{\"k\": 2}')").await;
    stage.run("select outbox_enqueue('q', 't', '[1]', kwargs => '{\"k\": 2}', dedupe_key => 'x')").await;
    stage.run("select outbox_enqueue_many('q', 't', array['[1]']::jsonb[], array['{\"k\": 2}']::jsonb[])").await;
    copy(&stage, "copy outbox (queue, task, args, kwargs) from stdin", b"q\tt\t[1]\t{\"k\": 2}\n").await;
    let different = "select count(*) from (select distinct queue, task, args, kwargs, headers, body, priority,
                     deliver_at, expires_at, segment from outbox) d";
    assert_eq!(stage.count(different).await, 1);
    assert_eq!(stage.count("select count(*) from outbox where outbox_row_id(task_id) = id").await, 8);
    assert_eq!(stage.count("select count(distinct id) from outbox").await, 8);
    assert_eq!(stage.count("select count(*) from outbox where created_at > now() - interval '1 min'").await, 8);
}

#[tokio::test]
async fn a_row_carries_the_xid_of_its_whole_transaction_in_and_after_savepoints() {
    let stage = Stage::new().await;
    let rows = "insert into outbox (queue, task) values ('q', 't'); select outbox_enqueue('q', 't')";
    stage.run(&format!("begin; {rows}; savepoint a; {rows}; rollback to a; savepoint b; {rows}; release b")).await;
    assert_eq!(stage.count("select count(*) from outbox where xid = pg_current_xact_id()").await, 4);
    stage.run("commit").await;
    assert_eq!(stage.count("select count(*) from outbox").await, 4);
}

#[tokio::test]
async fn a_rolled_back_row_is_gone_whatever_the_way_in() {
    let stage = Stage::new().await;
    stage.run("begin").await;
    let task = stage.id("select outbox_enqueue('q', 't', dedupe_key => 'k')").await;
    stage
        .run("insert into outbox (queue, task) values ('q', 't'); select outbox_enqueue_raw('q', 'x'); rollback")
        .await;
    assert_eq!(stage.count("select count(*) from outbox").await, 0);
    assert_eq!(stage.status(task).await, None);
}

#[tokio::test]
async fn an_argument_that_enqueues_does_not_mix_up_task_ids() {
    let stage = Stage::new().await;
    stage
        .run(
            "create function inner_plain() returns jsonb language plpgsql as $$ declare t uuid; begin
               insert into outbox (queue, task) values ('q', 'inner') returning task_id into t;
               return jsonb_build_array(t); end $$;
             create function inner_function() returns jsonb language sql
               as $$ select jsonb_build_array(outbox_enqueue('q', 'inner')) $$",
        )
        .await;
    for inner in ["inner_plain()", "inner_function()", "(select inner_plain())"] {
        stage
            .run(&format!(
                "insert into outbox (queue, task, args) values ('q', 'outer', {inner});
                 insert into outbox (queue, task, args) values ('q', 'outer', {inner}), ('q', 'outer', {inner});
                 insert into outbox (queue, task, args) select 'q', 'outer', {inner} from generate_series(1, 3);
                 select outbox_enqueue('q', 'outer', {inner});
                 select outbox_enqueue_many('q', 'outer', array[{inner}, {inner}])"
            ))
            .await;
    }
    assert_eq!(stage.count("select count(*) from outbox where outbox_row_id(task_id) is distinct from id").await, 0);
    assert_eq!(stage.count("select count(*) from outbox where task = 'outer'").await, 27);
    let named = "select count(*) from outbox o where task = 'outer'
                 and not exists (select from outbox i where i.task = 'inner' and i.task_id::text = o.args->>0)";
    assert_eq!(stage.count(named).await, 0);
}

#[tokio::test]
async fn many_are_enqueued_and_answered_in_the_order_of_the_input() {
    let stage = Stage::new().await;
    let sql = "select outbox_enqueue_many('q', 't', (select array_agg(jsonb_build_array(n) order by n)
               from generate_series(1, 5000) n))";
    let answered: Vec<Uuid> = stage.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let sql = "select task_id, (args->>0)::int from outbox order by id";
    let rows = stage.client.query(sql, &[]).await.unwrap();
    assert_eq!(answered, rows.iter().map(|row| row.get(0)).collect::<Vec<Uuid>>());
    assert!(rows.iter().map(|row| row.get::<_, i32>(1)).eq(1..=5000));
    let none = stage.client.query("select outbox_enqueue_many('q', 't', '{}')", &[]).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_task_id_of_the_callers_own_is_used_as_it_is_and_found_again() {
    let stage = Stage::new().await;
    let own = Uuid::new_v4();
    stage.client.execute("select outbox_enqueue('q', 't', task_id => $1)", &[&own]).await.unwrap();
    assert_eq!(stage.status(own).await.as_deref(), Some("pending"));
    let plain = Uuid::new_v4();
    stage.client.execute("insert into outbox (queue, task, task_id) values ('q', 't', $1)", &[&plain]).await.unwrap();
    assert_eq!(stage.status(plain).await.as_deref(), Some("pending"));
    stage.client.execute("select outbox_enqueue('q', 't', task_id => $1)", &[&own]).await.unwrap();
    assert_eq!(stage.count(&format!("select count(*) from outbox where task_id = '{own}'")).await, 2);
}

#[tokio::test]
async fn a_row_id_survives_the_way_through_its_task_id() {
    let stage = Stage::new().await;
    let wrong =
        "select count(*) from (select (random() * 576460752303423487)::bigint as id from generate_series(1, 2000)
                 union all values (1), (4095), (4096), (576460752303423487)) r
                 where outbox_row_id(outbox_task_id(id)) is distinct from id";
    assert_eq!(stage.count(wrong).await, 0);
    assert!(stage.yes("select outbox_row_id(gen_random_uuid()) is null and outbox_row_id(null) is null").await);
    assert!(stage.yes("select uuid_send(outbox_task_id(77)) <> uuid_send(outbox_task_id(77))").await);
}

#[tokio::test]
async fn producers_write_to_the_current_segment_and_rows_are_found_in_all() {
    let stage = Stage::new().await;
    let mut tasks = Vec::new();
    for segment in 0..8 {
        stage.run(&format!("select setval('outbox_segment_seq', {segment})")).await;
        tasks.push(stage.id("select outbox_enqueue('q', 't')").await);
    }
    assert_eq!(stage.count("select count(distinct segment) from outbox").await, 8);
    for task in tasks {
        assert_eq!(stage.status(task).await.as_deref(), Some("pending"));
    }
}

#[tokio::test]
async fn arguments_that_come_compressed_out_of_another_table_are_stored_unpacked() {
    let stage = Stage::new().await;
    stage.run("create table src as select jsonb_build_array(repeat('x', 200000)) as a, jsonb_build_object('k', repeat('y', 200000)) as k").await;
    assert!(stage.yes("select pg_column_compression(a) is not null and pg_column_size(a) < 50000 from src").await);
    stage.run("insert into outbox (queue, task, args, kwargs, headers) select 'q', 't', a, k, k from src").await;
    stage.run("select outbox_enqueue('q', 't', a, k, k) from src").await;
    let packed = "select count(*) from outbox, src where pg_column_compression(args) is not null
                  or pg_column_size(args) < 200000 or pg_column_size(kwargs) < 200000 or pg_column_size(headers) < 200000
                  or args <> a or kwargs <> k";
    assert_eq!(stage.count(packed).await, 0);
}

#[tokio::test]
async fn another_schema_and_a_hostile_search_path_change_nothing() {
    let database = Database::empty();
    let connector = Connector::new("database.url", &database.url(), "test").unwrap();
    migrate::up(&connector, &Schemas::new("My \"Schema\"", "Its \"machinery\""), std::time::Duration::from_secs(60))
        .await
        .unwrap();
    let client = database.connect().await;
    run(
        &client,
        r"create schema evil;
           create function evil.octet_length(text) returns int language sql as 'select 1';
           create function evil.jsonb_typeof(jsonb) returns text language sql as $$ select 'array'::text $$;
           create function evil.pg_sequence_last_value(regclass) returns bigint language sql as 'select 1::bigint';
           create function evil.lies(text, text) returns boolean language sql as 'select false';
           create operator evil.= (leftarg = text, rightarg = text, function = evil.lies);
           create operator evil.<> (leftarg = text, rightarg = text, function = evil.lies);
           create table evil.outbox_dedupe (queue text, key text, task_id uuid, expires_at timestamptz);
           create temp table outbox (queue text, task text);
           create temp table outbox_held (id int);
           set search_path = evil, pg_temp, pg_catalog",
    )
    .await;
    for wrong in [
        r#"insert into "My ""Schema""".outbox (queue, task, args) values ('q', 't', '{}')"#,
        r#"select "My ""Schema""".outbox_enqueue('q', 't', '{}')"#,
        r#"select "My ""Schema""".outbox_enqueue('q', '', '[]')"#,
    ] {
        assert_eq!(super::refused(&client, wrong).await.0, "22023", "{wrong}");
    }
    let sql = r#"select "My ""Schema""".outbox_enqueue('q', 't', deliver_at => now() + '1 h', dedupe_key => 'k')"#;
    let task: Uuid = client.query_one(sql, &[]).await.unwrap().get(0);
    let status: String =
        client.query_one(r#"select "My ""Schema""".outbox_status($1)"#, &[&task]).await.unwrap().get(0);
    assert_eq!(status, "held");
    let cancelled: bool =
        client.query_one(r#"select "My ""Schema""".outbox_cancel($1)"#, &[&task]).await.unwrap().get(0);
    assert!(cancelled);
    let strays = "select (select count(*) from pg_temp.outbox) + (select count(*) from evil.outbox_dedupe)";
    assert_eq!(super::count(&client, strays).await, 0);
}
