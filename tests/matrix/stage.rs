//! The servers, relays and the consumer of one cell.

use std::cell::Cell as Flag;
use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use outboxd::sandbox::{Client, Proxy, Redis, RedisOptions};
use rustix::process::Signal;
use uuid::Uuid;

use super::cell::{Cell, Consumer, Loss, Relays};
use super::consumers::{Kind, Worker};
use super::loss;
use super::proof::Mark;
use super::standing::standing;
use crate::common::{Event, Fixture, RelayProcess, SOON, config};

/// Redis is DB 1 of the server; other databases have data, too.
pub struct Stage {
    pub proxy: Option<Proxy>,
    /// Between the first server and its replica.
    pub link: Option<Proxy>,
    /// The replica, or the server that takes the first one's place.
    pub other: Option<Redis>,
    switched: Flag<bool>,
    pub fixture: Fixture,
    consumer: Consumer,
    config: String,
}

/// Where the marker of the queue lies.
pub const MARKER_KEY: &str = "outbox:m:{jobs}";

/// Short waits. The lists are those of the consumers.
const QUICK: &str = r#"
[relay]
batch_size = 5
retry_min = "10ms"
retry_max = "200ms"
takeover_after = "300ms"
replay_settle = "50ms"
[log]
level = "info,outboxd=debug"
[queues.jobs]
"#;

/// Fails fast where a server does not answer.
const IMPATIENT: [(&str, &str); 2] =
    [("OUTBOXD_REDIS__DEFAULT__CONNECT_TIMEOUT", "500ms"), ("OUTBOXD_REDIS__DEFAULT__RESPONSE_TIMEOUT", "1s")];

/// How long a task takes.
const WORK: Duration = Duration::from_millis(20);

impl Stage {
    pub fn new(cell: Cell) -> Self {
        let redis = RedisOptions { persistence: cell.loss.persistence(), ..RedisOptions::default() };
        let fixture = Fixture::with_redis(redis);
        let (mut proxy, mut other) = (None, None);
        if cell.loss.is_of_the_address() {
            proxy = Some(Proxy::start(fixture.redis.port()).unwrap());
            other = Some(Redis::start(&fixture.sandbox, RedisOptions::default()).unwrap());
        }
        fixture.redis.cmd(["SET", "kept", "here"]).unwrap();
        let config = String::new();
        let (link, switched) = (None, Flag::new(false));
        let mut stage = Self { proxy, link, other, switched, fixture, consumer: cell.consumer, config };
        if cell.loss == Loss::Promoted {
            loss::replica(&mut stage);
        }
        stage.config = stage.configured(cell);
        stage
    }

    fn configured(&self, cell: Cell) -> String {
        let format = match cell.consumer {
            Consumer::Celery => "format = \"celery\"\nconfirm_grace = \"2s\"",
            Consumer::List => "format = \"list\"\npush = \"right\"\nprocessing = [\"jobs:busy\"]",
            Consumer::Stream => "format = \"stream\"\ngroup = \"workers\"",
            Consumer::Receipts => {
                "format = \"list\"\npush = \"right\"\nprocessing = [\"jobs:busy\"]\nconfirm = \"receipt\"\n\
                 receipt_timeout = \"2s\""
            }
        };
        // A relay that was killed is replaced in time; of two that live, neither takes what the other is busy with.
        let quick =
            if cell.relays == Relays::Two { QUICK.replace("takeover_after = \"300ms\"\n", "") } else { QUICK.into() };
        let more = format!("{quick}{format}\n");
        config(&self.fixture.database.url(), &self.url(), &more)
    }

    /// Lets only some messages stand in Redis from now on, so that a replay of more takes its time.
    pub async fn narrow(&mut self, relays: &mut [RelayProcess]) {
        self.config.push_str("window = 25\n");
        for relay in relays {
            fs::write(relay.log().with_file_name("outboxd.toml"), &self.config).unwrap();
            relay.signal(Signal::HUP);
            relay.wait_event("config.reloaded", |_| true, SOON).await;
        }
    }

    /// Where clients find the broker.
    fn url(&self) -> String {
        format!("redis://{}/1", self.address())
    }

    pub fn address(&self) -> SocketAddr {
        let port = self.proxy.as_ref().map_or(self.fixture.redis.port(), Proxy::port);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// A connection by the way that clients take.
    pub fn client(&self) -> Client {
        Client::connect(self.address(), SOON).unwrap()
    }

    pub fn relay(&self) -> RelayProcess {
        RelayProcess::start(&self.fixture.sandbox, &self.config, &IMPATIENT, &[])
    }

    /// The relays of a cell, ready.
    pub async fn relays(&self, relays: Relays) -> Vec<RelayProcess> {
        let mut started: Vec<_> = (0..if relays == Relays::Two { 2 } else { 1 }).map(|_| self.relay()).collect();
        for relay in &mut started {
            relay.wait_event("relay.ready", |_| true, SOON).await;
        }
        started
    }

    /// The consumer of a cell. A Celery worker whose network is cut loses what Redis had popped for it and could not
    /// deliver: nobody but a receipt can tell that from consumption. So there only the relays' network is cut.
    pub fn worker(&self, cell: Cell) -> Worker {
        let start = |kind| Worker::start(kind, "jobs", self.address(), 1, WORK);
        match self.consumer {
            Consumer::Celery if cell.loss == Loss::Cut => {
                Worker::celery(&self.fixture.sandbox, &self.fixture.redis.url(1), "jobs")
            }
            Consumer::Celery => Worker::celery(&self.fixture.sandbox, &self.url(), "jobs"),
            Consumer::List => start(Kind::List),
            Consumer::Stream => start(Kind::Stream),
            Consumer::Receipts => start(Kind::Receipts(self.fixture.database.url())),
        }
    }

    /// The server that clients reach now.
    pub fn server(&self) -> &Redis {
        if self.switched.get() { self.other.as_ref().unwrap() } else { &self.fixture.redis }
    }

    /// Clients reach the other server from now on.
    pub fn switch_to_other(&self) {
        self.switched.set(true);
        self.proxy.as_ref().unwrap().point_to(self.server().port(), false).unwrap();
    }

    /// Where the marker stands; `None` if there is none, or the server does not answer.
    pub fn position(&self) -> Option<i64> {
        Some(Mark::of(self.server(), MARKER_KEY)?.position)
    }

    /// How often a relay has looked at messages: nobody else asks for expiries.
    pub fn looks(&self) -> u64 {
        let text = self.server().cmd(["INFO", "commandstats"]).ok().and_then(|text| text.text()).unwrap_or_default();
        let calls =
            text.lines().find_map(|line| line.strip_prefix("cmdstat_pttl:calls=")?.split(',').next()?.parse().ok());
        calls.unwrap_or(0)
    }

    /// The tasks that stand in a server's database 1, waiting or taken.
    pub fn standing(&self, redis: &Redis) -> HashSet<Uuid> {
        standing(redis, self.consumer, "jobs")
    }

    /// How long the server may be before a receipt's absence tells.
    pub fn patience(&self) -> f64 {
        if self.consumer == Consumer::Receipts { 2.0 } else { 0.0 }
    }
}

/// The first word about a loss after a moment, in seconds since 1970.
pub fn noticed(relays: &[RelayProcess], after: f64) -> Option<f64> {
    first(relays, after, is_news)
}

/// The first opening after a moment that doubts what it found.
pub fn doubted(relays: &[RelayProcess], after: f64) -> Option<f64> {
    first(relays, after, |event| event.name() == "queue.opened" && event.field("certified") == false)
}

fn first(relays: &[RelayProcess], after: f64, wanted: impl Fn(&Event) -> bool) -> Option<f64> {
    let said = relays.iter().flat_map(RelayProcess::events).filter(|event| wanted(event)).map(|event| time(&event));
    said.filter(|at| *at >= after).min_by(f64::total_cmp)
}

fn is_news(event: &Event) -> bool {
    ["queue.loss", "queue.evidence_broken", "queue.scheduled_again"].contains(&event.name())
}

fn time(event: &Event) -> f64 {
    let at: jiff::Timestamp = event.text("timestamp").parse().unwrap();
    let nanos = i32::try_from(at.as_nanosecond() % 1_000_000_000).unwrap();
    f64::from(u32::try_from(at.as_second()).unwrap()) + f64::from(nanos) / 1e9
}
