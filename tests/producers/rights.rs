//! Each role can do its part and nothing else; PUBLIC nothing at all.

use std::pin::pin;

use futures_util::SinkExt;

use super::{Stage, refused};

async fn denied(stage: &Stage, sql: &str) {
    let (code, message) = refused(&stage.client, sql).await;
    assert_eq!(code, "42501", "{sql}: {message}");
}

#[tokio::test]
async fn a_producer_can_enqueue_in_every_way() {
    let stage = Stage::new().await;
    stage.run("select setval('outbox_bell_seq', 9999999999); set role outbox_producer").await;
    stage
        .run(
            "insert into outbox (queue, task, args, kwargs, headers, priority, deliver_at, expires_at, task_id)
               values ('q', 't', '[]', '{}', '{}', 1, now(), now(), gen_random_uuid())",
        )
        .await;
    stage.id("insert into outbox (queue, body) values ('q', 'x') returning task_id").await;
    stage.run("insert into outbox (queue, task) values ('q', 'a'), ('q', 'b') returning id, task_id").await;
    stage.run("insert into outbox (queue, task) select 'q', 't' from generate_series(1, 3)").await;
    {
        let sink =
            stage.client.copy_in::<_, &'static [u8]>("copy outbox (queue, task, args) from stdin").await.unwrap();
        let mut sink = pin!(sink);
        sink.send(b"q\tt\t[1]\nq\tt\t[2]\n".as_slice()).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);
    }
    stage.id("select outbox_enqueue('q', 't', dedupe_key => 'k')").await;
    stage.id("select outbox_enqueue_raw('q', 'x', task_id => gen_random_uuid())").await;
    stage.run("select outbox_enqueue_many('q', 't', array['[]', '[]']::jsonb[])").await;
    stage.run("reset role").await;
    assert_eq!(stage.count("select count(*) from outbox").await, 13);
}

#[tokio::test]
async fn a_producer_can_do_nothing_else() {
    let stage = Stage::new().await;
    stage.run("select outbox_enqueue('q', 't'); select outbox_enqueue('q', 't', dedupe_key => 'k')").await;
    let functions = "select string_agg(p.oid::regprocedure::text, ' ') from pg_proc p
                     where p.pronamespace in ('public'::regnamespace, 'outboxd'::regnamespace) and p.proname like 'outbox\\_%'
                       and has_function_privilege('outbox_producer', p.oid, 'execute')";
    let may: String = stage.client.query_one(functions, &[]).await.unwrap().get(0);
    assert!(may.split("outbox_").skip(1).all(|name| name.starts_with("enqueue")), "{may}");
    stage.run("set role outbox_producer").await;
    for sql in [
        "select args from outbox",
        "select * from outbox_rows",
        "select * from outboxd.outbox_held",
        "select * from outboxd.outbox_dedupe",
        "select * from outboxd.outbox_meta",
        "select id from outbox for update",
        "update outbox set args = '[]'",
        "delete from outbox",
        "truncate outbox",
        "truncate outboxd.outbox_s3",
        "insert into outbox (queue, task, id) values ('q', 't', 1)",
        "insert into outbox (queue, task, xid) values ('q', 't', '3')",
        "insert into outbox (queue, task, segment) values ('q', 't', 1)",
        "insert into outbox (queue, task, created_at) values ('q', 't', now())",
        "insert into outboxd.outbox_s1 (queue, task) values ('q', 't')",
        "insert into outbox (queue, task) values ('q', 't') returning args",
        "insert into outboxd.outbox_held (id) values (1)",
        "select setval('outboxd.outbox_id_seq', 1)",
        "select nextval('outboxd.outbox_segment_seq')",
        "select setval('outboxd.outbox_segment_seq', 1)",
        "select nextval('outboxd.outbox_bell_seq')",
        "select last_value from outboxd.outbox_bell_seq",
        "do $$ begin lock table outbox in access exclusive mode; end $$",
        "alter table outbox disable trigger outbox_refuse",
        "create trigger t after insert on outbox execute function outboxd.outbox_ring()",
        "select outbox_status(gen_random_uuid())",
        "select outbox_cancel(gen_random_uuid())",
        "select outbox_ack(gen_random_uuid())",
        "select outboxd.outbox_put('q', 't', '[]', '{}', '{}', null, null, null, null, null, null)",
        "select * from outboxd.outbox_work(true, true, true, 1)",
        "select outboxd.outbox_truncate(1, '0 s', '0 s')",
        "select outboxd.outbox_find(gen_random_uuid())",
    ] {
        denied(&stage, sql).await;
    }
}

#[tokio::test]
async fn a_worker_can_ack_ask_and_cancel_and_nothing_else() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now() + '1 h')").await;
    stage.run("set role outbox_worker").await;
    assert_eq!(stage.status(task).await.as_deref(), Some("held"));
    assert!(stage.cancel(task).await);
    stage
        .run(&format!("select outbox_ack('{task}'), outbox_once('{task}'), outbox_ack_many(array['{task}'::uuid])"))
        .await;
    for sql in [
        "select outbox_enqueue('q', 't')",
        "select id from outbox",
        "select * from outboxd.outbox_receipt",
        "insert into outbox (queue, task) values ('q', 't')",
        "delete from outboxd.outbox_receipt",
        "select * from outbox_rows",
    ] {
        denied(&stage, sql).await;
    }
}

#[tokio::test]
async fn a_reader_sees_everything_and_changes_nothing() {
    let stage = Stage::new().await;
    stage.run("select outbox_enqueue('q', 't'); set role outbox_reader").await;
    for table in [
        "outbox",
        "outbox_s0",
        "outbox_rows",
        "outbox_held",
        "outbox_dead",
        "outbox_batch",
        "outbox_checkpoint",
        "outbox_meta",
    ] {
        stage.run(&format!("select * from {table}")).await;
    }
    assert!(stage.yes("select state = 'pending' and outbox_status(task_id) = 'pending' from outbox_rows").await);
    for sql in [
        "select outbox_enqueue('q', 't')",
        "delete from outbox",
        "truncate outbox_s0",
        "delete from outbox_meta",
        "select outbox_cancel(gen_random_uuid())",
        "select setval('outbox_bell_seq', 1)",
    ] {
        denied(&stage, sql).await;
    }
}

#[tokio::test]
async fn a_relay_may_do_what_the_relay_does_but_not_change_the_schema() {
    let stage = Stage::new().await;
    let task = stage.id("select outbox_enqueue('q', 't', deliver_at => now())").await;
    stage.run("set role outbox_relay").await;
    let mut relay = stage.open().await;
    relay.plan("log").await;
    assert_eq!(relay.plan("ids").await.1, [task]);
    relay.mark(2).await;
    stage
        .run(
            "select * from outbox_gauge(); select setval('outbox_bell_seq', 1); select setval('outbox_segment_seq', 1)",
        )
        .await;
    stage.run("begin; lock table outbox_s3 in access exclusive mode; truncate outbox_s3; commit").await;
    stage.run("select outbox_trim('1 h', '7 d', 100); select * from outbox_migration").await;
    for sql in [
        "drop table outbox_s3",
        "alter table outbox add column x int",
        "delete from outbox_migration",
        "create or replace trigger outbox_ring after insert on outbox execute function outbox_ring()",
    ] {
        denied(&stage, sql).await;
    }
}

#[tokio::test]
async fn public_may_execute_none_of_the_functions_and_read_none_of_the_tables() {
    let stage = Stage::new().await;
    let open = "select count(*) from pg_proc p where p.pronamespace in ('public'::regnamespace, 'outboxd'::regnamespace) and p.proname like 'outbox%'
                and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)";
    assert_eq!(stage.count(open).await, 0);
    let open = "select count(*) from pg_class c, aclexplode(c.relacl) a where c.relnamespace in ('public'::regnamespace, 'outboxd'::regnamespace)
                and c.relname like 'outbox%' and a.grantee = 0";
    assert_eq!(stage.count(open).await, 0);
}

#[test]
fn the_rights_name_every_function_and_no_other() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let files = std::fs::read_dir(folder.join("functions")).unwrap().map(|file| file.unwrap().path());
    let mut there: Vec<String> = files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    there.sort();
    let grants = std::fs::read_to_string(folder.join("grants.sql")).unwrap();
    let list = grants.split("v_functions constant name[] := array[").nth(1).unwrap().split(']').next().unwrap();
    let named: Vec<&str> = list.split('\'').skip(1).step_by(2).collect();
    assert_eq!(named, there, "v_functions in sql/grants.sql, in the order of the alphabet");
}
