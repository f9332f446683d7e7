//! Two schemas: what applications name stands in theirs, everything else in one where nobody else can create.

use std::pin::pin;

use futures_util::SinkExt;
use outboxd::pg::migrate::{Standing, plan, up};
use outboxd::pg::{Connector, Schemas};
use tokio_postgres::Client;
use uuid::Uuid;

use super::{WAIT, at, connector, migrate, server};
use crate::common::{Database, Fixture, SOON, eventually};

async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get::<_, Option<String>>(0).unwrap_or_default()
}

#[tokio::test]
async fn an_application_with_the_default_search_path_can_do_all_that_it_does() {
    let database = Database::migrated();
    database.sql("create role plain_application login; grant outbox_producer, outbox_worker to plain_application");
    let client = database.connect_plainly().await;
    assert_eq!(text(&client, "show search_path").await, "\"$user\", public");
    client.batch_execute("set role plain_application").await.unwrap();
    let row = client.query_one("insert into outbox (queue, task) values ('q', 't') returning id, task_id", &[]).await;
    let task: Uuid = row.unwrap().get(1);
    let many =
        "insert into outbox (queue, task, args) values ('q', 'a', '[1]'), ('q', 'b', '[2]') returning id, task_id";
    assert_eq!(client.query(many, &[]).await.unwrap().len(), 2);
    client.batch_execute("insert into outbox (queue, task) select 'q', 't' from generate_series(1, 3)").await.unwrap();
    {
        let sink = client.copy_in::<_, &'static [u8]>("copy outbox (queue, task, args) from stdin").await.unwrap();
        let mut sink = pin!(sink);
        sink.send(b"q\tt\t[1]\nq\tt\t[2]\n".as_slice()).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);
    }
    for call in [
        "select outbox_enqueue('q', 't')",
        "select outbox_enqueue('q', 't', dedupe_key => 'k', deliver_at => now() + '1 h')",
        "select outbox_enqueue_raw('q', 'x')",
        "select outbox_enqueue_many('q', 't', array['[]']::jsonb[])",
    ] {
        client.query_one(call, &[]).await.unwrap();
    }
    let called = "select outbox_status($1) = 'pending' and not outbox_cancel($1) and outbox_ack($1)
                     and outbox_ack_many(array[$1]) = 0 and outbox_once($1) and outbox_fail($1, 'E', 'e')";
    assert!(client.query_one(called, &[&task]).await.unwrap().get::<_, bool>(0));
    client
        .batch_execute("reset role; grant outbox_reader to plain_application; set role plain_application")
        .await
        .unwrap();
    assert_eq!(text(&client, "select count(*) || ' ' || min(state) from outbox_rows").await, "12 dead");
    client.batch_execute("reset role; drop owned by plain_application; drop role plain_application").await.unwrap();
}

#[test]
fn a_list_of_an_applications_tables_shows_the_outbox_and_nothing_else() {
    let database = Database::migrated();
    // As psql lists them, and as what ORMs reflect: everything of a schema that is a table.
    assert_eq!(database.sql("\\dt public.*"), "public|outbox|partitioned table|postgres");
    let relations = "select string_agg(relkind::text || ' ' || relname, ', ' order by relname) from pg_class
                      where relnamespace = 'public'::regnamespace and relkind <> 'I'";
    assert_eq!(database.sql(relations), "p outbox, v outbox_rows");
    let functions =
        "select string_agg(proname, ' ' order by proname) from pg_proc where pronamespace = 'public'::regnamespace";
    assert_eq!(
        database.sql(functions),
        "outbox_ack outbox_ack_many outbox_cancel outbox_enqueue outbox_enqueue_many outbox_enqueue_raw outbox_fail \
         outbox_once outbox_status"
    );
}

#[test]
fn every_function_looks_for_names_in_the_machinery_alone() {
    let database = Database::migrated();
    let loose = "select coalesce(string_agg(p.proname, ' ' order by p.proname), '') from pg_proc p
        where p.pronamespace in ('public'::regnamespace, 'outboxd'::regnamespace)
          and not exists (select from unnest(p.proconfig) s where s in ('search_path=outboxd, pg_temp', 'search_path=\"outboxd\", pg_temp'))";
    // These have no path: every name in them is qualified (the triggers), or was looked up when they were made
    // (outbox_relay_lock), or the server puts their text into callers that have one.
    assert_eq!(
        database.sql(loose),
        "outbox_bytes outbox_log outbox_passed outbox_refuse outbox_relay_lock outbox_ring"
    );
    let definer = "select coalesce(string_agg(p.proname, ' ' order by p.proname), '') from pg_proc p
        where p.pronamespace in ('public'::regnamespace, 'outboxd'::regnamespace) and p.prosecdef and p.proconfig is null";
    assert_eq!(database.sql(definer), "outbox_ring");
}

/// Every function that runs as its owner, each called in the ways that take other paths through it.
const CALLS: [(&str, &str); 13] = [
    ("outbox_enqueue", "select outbox_enqueue('q', 't', '[1]')"),
    ("outbox_enqueue", "select outbox_enqueue('q', 't', dedupe_key => 'k')"),
    ("outbox_enqueue", "select outbox_enqueue('q', 't', task_id => gen_random_uuid(), priority => 3)"),
    (
        "outbox_enqueue_many",
        "select outbox_enqueue_many('q', 't', array['[1]', '[2]']::jsonb[], array['{}', '{}']::jsonb[])",
    ),
    ("outbox_enqueue_many", "select outbox_enqueue_many('q', 't', array[]::jsonb[])"),
    ("outbox_enqueue_raw", "select outbox_enqueue_raw('q', 'x', priority => 3)"),
    ("outbox_ack", "select outbox_ack(outbox_enqueue('q', 't'))"),
    ("outbox_ack_many", "select outbox_ack_many(array[gen_random_uuid(), gen_random_uuid()])"),
    ("outbox_once", "select outbox_once(gen_random_uuid())"),
    (
        "outbox_fail",
        "select outbox_fail(t, 'E', 'e'), outbox_fail(t, 'E', 'e') from (select outbox_enqueue('q', 't') as t) x",
    ),
    ("outbox_cancel", "select outbox_cancel(outbox_enqueue('q', 't', deliver_at => now() + '1 h'))"),
    ("outbox_status", "select outbox_status(outbox_enqueue('q', 't')), outbox_status(gen_random_uuid())"),
    ("outbox_ring", "insert into outbox (queue, task) values ('q', 't')"),
];

#[tokio::test]
async fn who_may_create_in_the_applications_schema_has_nothing_run_as_the_owner_of_the_outbox() {
    let database = Database::migrated_in(server());
    let client = database.connect_plainly().await;
    let roles = "create role mallory; create role application; grant create on schema public to mallory;
                 grant outbox_producer, outbox_worker to mallory, application; set role mallory";
    client.batch_execute(roles).await.unwrap();
    client.batch_execute(include_str!("hostile.sql")).await.unwrap();
    client.batch_execute("reset role; set role application").await.unwrap();
    for (_, call) in CALLS {
        client.batch_execute(call).await.unwrap_or_else(|e| panic!("{call}: {e:?}"));
    }
    // What they refuse, they refuse with functions of the catalogue, too.
    for call in [
        "select outbox_enqueue_many('q', 't', array['{}']::jsonb[])",
        "select outbox_enqueue_many('q', 't', array[array['[]'], array['[]']]::jsonb[])",
        "select outbox_ack_many(array[null]::uuid[])",
        "select outbox_fail(gen_random_uuid(), '', 'e')",
        "select outbox_enqueue('q', 't', dedupe_key => repeat('x', 501))",
        "select outbox_enqueue('q', 't', '{}')",
    ] {
        client.batch_execute(call).await.unwrap_err();
    }
    client.batch_execute("reset role").await.unwrap();
    // Who migrates has the server's default search_path.
    database.sql("update outboxd.outbox_migration set checksum = 'stale' where kind = 'repeatable'");
    assert!(!migrate(&database.url(), "public").await.unwrap().steps.is_empty());
    let caught = "select string_agg(distinct who || ' ' || what, ', ') from caught";
    assert_eq!(text(&client, caught).await, "");
    let mut called: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    called.dedup();
    called.sort_unstable();
    let there = "select string_agg(p.proname, ' ' order by p.proname collate \"C\") from pg_proc p
                  where p.pronamespace in ('public'::regnamespace, 'outboxd'::regnamespace) and p.prosecdef
                    and p.proowner = (select c.relowner from pg_class c where c.oid = 'outbox'::regclass::oid)";
    assert_eq!(text(&client, there).await, called.join(" "), "a function that runs as its owner needs its calls above");
    // The traps do work: what looks for names in the application's schema falls into them.
    client.batch_execute("select format('%s', 1::bigint), array_ndims(array['[]']::jsonb[])").await.unwrap();
    assert_ne!(text(&client, caught).await, "");
}

#[tokio::test]
async fn a_machinery_where_others_may_create_is_refused_with_their_names() {
    let database = Database::migrated_in(server());
    let url = database.url();
    database.sql("create role mallory; grant create on schema outboxd to mallory");
    for (sql, who) in [
        ("", "mallory"),
        ("grant create on schema outboxd to public", "PUBLIC, mallory"),
        ("revoke create on schema outboxd from mallory, public; alter schema outboxd owner to mallory", "mallory"),
    ] {
        database.sql(sql);
        let message = migrate(&url, "public").await.unwrap_err().to_string();
        assert!(message.contains(&format!("create in the schema outboxd ({who})")), "{message}");
        assert!(message.contains("database.internal_schema"), "{message}");
    }
    database.sql("alter schema outboxd owner to postgres");
    migrate(&url, "public").await.unwrap();
    // The schema public of PostgreSQL 14 and of every cluster that was upgraded from there.
    database.sql("create schema everybodys; grant create on schema everybodys to public");
    let shared = Schemas::new("shop", "everybodys");
    let message = up(&connector(&url), &shared, WAIT).await.unwrap_err().to_string();
    assert!(message.contains("(PUBLIC)"), "{message}");
    assert_eq!(database.sql("select count(*) from pg_class where relnamespace = 'everybodys'::regnamespace"), "0");
}

#[tokio::test]
async fn one_schema_for_everything_is_fine_where_nobody_else_may_create() {
    let database = Database::empty();
    let schemas = Schemas::new("shop", "shop");
    up(&connector(&database.url()), &schemas, WAIT).await.unwrap();
    assert_eq!(plan(&connector(&database.url()), &schemas).await.unwrap(), Standing::Current);
    database.sql("insert into shop.outbox (queue, task) values ('q', 't'); select shop.outbox_enqueue('q', 't')");
    assert_eq!(database.sql("select string_agg(distinct state, ' ') from shop.outbox_rows"), "pending");
}

#[tokio::test]
async fn one_machinery_does_not_serve_two_outboxes() {
    let database = Database::migrated();
    let wrong = Schemas::new("shop", "outboxd");
    let connector = Connector::new("database.url", &database.url(), "test").unwrap();
    for refused in [up(&connector, &wrong, WAIT).await.map(drop), plan(&connector, &wrong).await.map(drop)] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("outboxd belongs to the outbox in the schema public"), "{message}");
        assert!(message.contains("database.internal_schema"), "{message}");
    }
    up(&connector, &at("shop"), WAIT).await.unwrap();
    database.sql("insert into shop.outbox (queue, task) values ('q', 't')");
    assert_eq!(database.sql("select count(*) from public.outbox"), "0");
    assert_eq!(database.sql("select queue from shop_internal.outbox_known_in_log()"), "q");
}

#[tokio::test]
async fn a_schema_of_the_application_that_was_renamed_goes_on_under_its_new_name() {
    let database = Database::empty();
    let url = database.url();
    up(&connector(&url), &Schemas::new("old", "machinery"), WAIT).await.unwrap();
    database.sql("select old.outbox_enqueue('q', 't'); alter schema old rename to new");
    let renamed = Schemas::new("new", "machinery");
    up(&connector(&url), &renamed, WAIT).await.unwrap();
    database.sql("select new.outbox_enqueue('q', 't')");
    assert_eq!(database.sql("select count(*) from new.outbox_rows where state = 'pending'"), "2");
    assert_eq!(plan(&connector(&url), &renamed).await.unwrap(), Standing::Current);
}

#[tokio::test]
async fn a_schema_of_the_application_that_was_dropped_comes_back_without_its_rows() {
    let fixture = Fixture::new();
    let (database, url) = (&fixture.database, fixture.database.url());
    let more = "[defaults]\nformat = \"list\"\n";
    let mut relay = fixture.relay(more);
    relay.wait_event("relay.ready", |_| true, SOON).await;
    database.sql("select outbox_enqueue('q', 't')");
    assert!(arrived(&fixture, 1).await);
    assert!(relay.stop().success());
    let listed = super::listing::of(&url, "public").await;
    // One is copied to outbox_held, one is only in the log.
    database.sql(
        "select outbox_cancel(outbox_enqueue('q', 't', deliver_at => now() + '1 h')); select outbox_enqueue('q', 't')",
    );
    database.sql("drop schema public cascade; create schema public");

    let found = plan(&connector(&url), &at("public")).await.unwrap();
    let Standing::Behind(steps) = &found else { panic!("{found:?}") };
    assert_eq!(steps[0].name, "migrations/0001_tables.sql");
    let environment = [("DATABASE_URL", url.as_str())];
    let output = crate::common::outboxd(&["migrate", "up"], &environment, fixture.sandbox.folder());
    assert!(output.status.success(), "{}", output.stderr);
    assert!(output.stderr.contains("table public.outbox was gone, and with it every row"), "{}", output.stderr);
    assert!(output.stderr.contains("outboxd.outbox_held"), "{}", output.stderr);
    assert_eq!(plan(&connector(&url), &at("public")).await.unwrap(), Standing::Current);
    assert_eq!(super::listing::of(&url, "public").await, listed, "all that was there, and its rights");
    assert_eq!(database.sql("select count(*) from outbox"), "0");
    assert_eq!(database.sql("select count(*) from outbox_held"), "1");

    let mut relay = fixture.relay(more);
    relay.wait_event("relay.ready", |_| true, SOON).await;
    database.sql("select outbox_enqueue('q', 't')");
    assert!(arrived(&fixture, 2).await);
    assert!(relay.stop().success());
}

async fn arrived(fixture: &Fixture, messages: i64) -> bool {
    eventually(SOON, || async { fixture.redis.cmd(["LLEN", "q"]).unwrap().int().unwrap() == messages }).await
}
