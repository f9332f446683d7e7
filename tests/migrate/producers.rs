//! A migration beside producers: it waits for those that are open, and the others hardly wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outboxd::pg::migrate::{Standing, plan, up};

use super::{at, connector, migrate};
use crate::common::{Database, SOON, eventually};

/// Has every function, view, trigger and the rights applied again.
const STALE: &str = "update outbox_migration set checksum = 'stale' where kind = 'repeatable'";

#[tokio::test(flavor = "multi_thread")]
async fn producers_go_on_while_a_migration_waits_for_one_that_stays_open() {
    let database = Database::migrated();
    let url = database.url();
    database.sql(&format!("drop trigger outbox_ring on outbox; {STALE}"));
    let open = database.connect_plainly().await;
    open.batch_execute("begin; insert into outbox (queue, task) values ('open', 't')").await.unwrap();

    let (stop, inserted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let producer = database.connect_plainly().await;
    // An insert that waited for as long as a whole try with its pause would fail.
    producer.batch_execute("set lock_timeout = '1500ms'").await.unwrap();
    let producing = tokio::spawn({
        let (stop, inserted) = (Arc::clone(&stop), Arc::clone(&inserted));
        async move {
            while !stop.load(Ordering::Relaxed) {
                producer.batch_execute("insert into outbox (queue, task) values ('q', 't')").await?;
                inserted.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, tokio_postgres::Error>(())
        }
    });
    let run = tokio::spawn({
        let url = url.clone();
        async move { migrate(&url, "public").await }
    });
    let watch = database.connect().await;
    let waits = "select count(*) from pg_locks where relation = 'outbox'::regclass and mode = 'ShareRowExclusiveLock' and not granted";
    let waiting = async |wanted: bool| {
        let found = || async { (watch.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0) == wanted };
        assert!(eventually(SOON, found).await, "{wanted}");
    };
    // It tries, gives up, and tries again.
    for wanted in [true, false, true, false] {
        waiting(wanted).await;
    }
    assert!(!run.is_finished());
    let before = inserted.load(Ordering::Relaxed);
    assert!(eventually(SOON, || async { inserted.load(Ordering::Relaxed) > before }).await);
    open.batch_execute("commit").await.unwrap();
    let report = run.await.unwrap().unwrap();
    assert_eq!(report.standing, Standing::Current);
    stop.store(true, Ordering::Relaxed);
    producing.await.unwrap().unwrap();
    let there = "select count(*) from pg_trigger where tgrelid = 'outbox'::regclass and tgname = 'outbox_ring'";
    assert_eq!(database.sql(there), "1");
    assert_eq!(plan(&connector(&url), &at("public")).await.unwrap(), Standing::Current);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_triggers_are_there_waits_for_no_producer() {
    let database = Database::migrated();
    database.sql(STALE);
    let before = database.sql("select string_agg(oid::text, ' ' order by oid) from pg_trigger");
    let open = database.connect_plainly().await;
    let all = "begin; insert into outbox (queue, task) values ('q', 't'); select outbox_enqueue('q', 't', dedupe_key => 'k');
               select outbox_ack(gen_random_uuid()); select outbox_cancel(outbox_enqueue('q', 't', deliver_at => now() + '1 h'))";
    open.batch_execute(all).await.unwrap();
    // No second try: nothing is locked.
    let report = up(&connector(&database.url()), &at("public"), Duration::from_millis(1)).await.unwrap();
    assert!(report.steps.iter().any(|step| step.name == "triggers/outbox_ring.sql"), "{report:?}");
    open.batch_execute("commit").await.unwrap();
    assert_eq!(
        database.sql("select string_agg(oid::text, ' ' order by oid) from pg_trigger"),
        before,
        "none was made anew"
    );
}
