//! The session that listens: what it hears, how it learns that it is deaf, and that it says when it ends.

use outboxd::pg::{Delivery, Event, Listener, Session};
use outboxd::sandbox::{PgBouncer, Sandbox};

use super::{LIMIT, connector, value};
use crate::common::{self, SOON, eventually};

// Sleeps on the server, so that the statements of several sessions overlap.
const WARM: &str = "select pg_sleep(0.05)";

async fn hear(events: &mut tokio::sync::mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(SOON, events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_direct_session_hears_what_is_sent() {
    let database = common::Database::empty();
    let (listener, mut events) = Listener::connect(&connector(&database.url()), &["outbox"], LIMIT).await.unwrap();
    assert_eq!(*listener.delivery(), Delivery::Live);
    database.sql("select pg_notify('other', ''); select pg_notify('outbox', 'ring')");
    assert_eq!(hear(&mut events).await, Event::Notified { channel: "outbox".into(), payload: "ring".into() });
    let channels = listener.statement("channels", "select array(select pg_listening_channels())", &[]).await.unwrap();
    assert_eq!(channels[0].get::<_, Vec<String>>(0), ["outbox"], "the probe's channel is not kept");
}

#[tokio::test]
async fn behind_a_transaction_pooler_a_session_knows_that_it_is_deaf() {
    let database = common::Database::empty();
    for size in ["1", "3"] {
        let pooler =
            PgBouncer::start(&Sandbox::new().unwrap(), &database.postgres, &[("default_pool_size", size)]).unwrap();
        // Several server connections in use beforehand, so that any of them may be handed out.
        let warm = connector(&pooler.url(&database.name));
        let mut sessions = Vec::new();
        for _ in 0..4 {
            sessions.push(Session::open(&warm, std::sync::Arc::default()).await.unwrap());
        }
        let sleeps = sessions.iter().map(|s| s.statement("warm", WARM, &[], LIMIT));
        futures_util::future::join_all(sleeps).await;
        let (listener, _events) = Listener::connect(&warm, &["outbox"], LIMIT).await.unwrap();
        assert!(matches!(listener.delivery(), Delivery::Pooler(_)), "pool of {size}: {:?}", listener.delivery());
    }
    let session_mode = [("pool_mode", "session"), ("default_pool_size", "5")];
    let pooler = PgBouncer::start(&Sandbox::new().unwrap(), &database.postgres, &session_mode).unwrap();
    let (listener, mut events) =
        Listener::connect(&connector(&pooler.url(&database.name)), &["outbox"], LIMIT).await.unwrap();
    assert_eq!(*listener.delivery(), Delivery::Live);
    database.sql("notify outbox");
    assert!(matches!(hear(&mut events).await, Event::Notified { .. }));
}

#[tokio::test]
async fn a_session_that_ends_says_so_and_frees_its_lock() {
    let database = common::Database::empty();
    let connector = connector(&database.url());
    let (keeper, mut events) = Listener::connect(&connector, &["outbox"], LIMIT).await.unwrap();
    let (second, _ears) = Listener::connect(&connector, &["outbox"], LIMIT).await.unwrap();
    assert!(keeper.try_lock(42).await.unwrap());
    assert!(!second.try_lock(42).await.unwrap());
    let pid: i32 = keeper.statement("pid", "select pg_backend_pid()", &[]).await.unwrap()[0].get(0);
    database.sql(&format!("select pg_terminate_backend({pid})"));
    let Event::Lost(fault) = hear(&mut events).await else { panic!("an event before the end") };
    assert!(fault.is_code("57P01"), "{fault}");
    assert!(events.recv().await.is_none());
    assert!(keeper.is_lost());
    assert!(eventually(SOON, || async { second.try_lock(42).await.unwrap() }).await);
    assert!(second.unlock(42).await.unwrap());
}

#[tokio::test]
async fn a_dropped_listener_ends_its_session() {
    let database = common::Database::empty();
    let (listener, mut events) = Listener::connect(&connector(&database.url()), &["outbox"], LIMIT).await.unwrap();
    assert!(listener.try_lock(7).await.unwrap());
    drop(listener);
    assert!(tokio::time::timeout(SOON, events.recv()).await.unwrap().is_none());
    let free = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
    assert!(eventually(SOON, || async { database.sql(free) == "0" }).await);
}

#[tokio::test]
async fn a_flood_of_notifications_does_not_pile_up() {
    let database = common::Database::empty();
    let (listener, mut events) = Listener::connect(&connector(&database.url()), &["outbox"], LIMIT).await.unwrap();
    database.sql("select count(pg_notify('outbox', n::text)) from generate_series(1, 5000) n");
    // Statements still work while nobody reads the events.
    assert!(listener.try_lock(1).await.unwrap());
    assert!(matches!(hear(&mut events).await, Event::Notified { .. }));
    let mut waiting = 1;
    while events.try_recv().is_ok() {
        waiting += 1;
    }
    assert!(waiting < 1000, "{waiting}");
    let session = Session::open(&connector(&database.url()), std::sync::Arc::default()).await.unwrap();
    // The tail moves on when some session has read on: nobody says when.
    let empty = "select pg_notification_queue_usage() = 0";
    assert!(eventually(SOON, || async { value::<bool>(&session, empty).await }).await);
}
