//! One list of commands, run against the pure rules and against a real server: the same answers, the same data.

use outboxd::batch::{Marker, Push};
use outboxd::broker::decide::{Verdict, may_open, verdict};
use outboxd::broker::{Appended, Link, Opened, observe, open};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::harness::{Admin, FIELD, Queue, Redis, left, lists, tenure};

#[derive(Debug, Clone)]
enum Step {
    /// Any tenure, old ones included.
    Append {
        tenure: u8,
        from: i64,
        length: i64,
        messages: u8,
    },
    /// The batch that comes next, under the tenure that stands: what a healthy relay sends.
    Next {
        messages: u8,
    },
    /// After looking, or with what was seen one, two, .. openings ago.
    Open {
        tenure: u8,
        position: i64,
        stale: bool,
    },
    /// A command that was sent this many commands ago, once more: its reply was lost (0), or a copy of it was late.
    Again(usize),
    Flush,
    DeleteMarker,
    /// Remember the dataset as it is ..
    Save,
    /// .. and go back to that.
    RollBack,
    ScriptFlush,
    Rubbish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u8, 0..5_i64, 1..3_i64, 0..4_u8)
            .prop_map(|(tenure, from, length, messages)| Step::Append { tenure, from, length, messages }),
        4 => (0..4_u8).prop_map(|messages| Step::Next { messages }),
        3 => (0..3_u8, 0..4_i64, prop::bool::weighted(0.2))
            .prop_map(|(tenure, position, stale)| Step::Open { tenure, position, stale }),
        2 => Just(Step::Again(0)),
        2 => (1..8_usize).prop_map(Step::Again),
        1 => Just(Step::Flush),
        1 => Just(Step::DeleteMarker),
        1 => Just(Step::Save),
        1 => Just(Step::RollBack),
        1 => Just(Step::ScriptFlush),
        1 => Just(Step::Rubbish),
    ]
}

/// A command as it was sent, for sending it again.
#[derive(Debug, Clone)]
enum Command {
    Append { number: usize, tenure: Uuid, from: i64, to: i64, messages: u8 },
    Open { observed: Option<Vec<u8>>, new: Marker },
}

/// What a dataset holds.
#[derive(Default, Clone)]
struct Dataset {
    value: Option<Vec<u8>>,
    list: Vec<String>,
}

/// What the server holds, by the rules alone.
#[derive(Default)]
struct Model {
    now: Dataset,
    saved: Dataset,
    seen: Option<Vec<u8>>,
    sent: Vec<Command>,
    answers: Vec<&'static str>,
}

struct World {
    link: Link,
    admin: Admin,
    queue: Queue,
}

impl World {
    async fn run(&mut self, model: &mut Model, number: usize, step: &Step) {
        if let Some(command) = command(model, number, step) {
            model.sent.push(command.clone());
            self.send(model, command).await;
        } else {
            self.happen(model, step).await;
        }
        let list: Vec<String> = self.admin.run(&["LRANGE", "celery", "0", "-1"]).await;
        assert_eq!(list, model.now.list);
        let found = observe(&self.link, &self.queue.marker, FIELD).await.unwrap().found;
        assert_eq!(found.value, model.now.value);
    }

    /// What nobody sends.
    async fn happen(&mut self, model: &mut Model, step: &Step) {
        let marker = String::from_utf8(self.queue.marker.clone()).unwrap();
        match step {
            Step::Flush => {
                let _: String = self.admin.run(&["FLUSHDB"]).await;
                model.now = Dataset::default();
            }
            Step::DeleteMarker => {
                let _: i64 = self.admin.run(&["HDEL", &marker, FIELD]).await;
                model.now.value = None;
            }
            Step::Save => {
                let _: i64 = self.admin.run(&["COPY", "celery", "celery", "DB", "1", "REPLACE"]).await;
                let _: i64 = self.admin.run(&["COPY", &marker, &marker, "DB", "1", "REPLACE"]).await;
                model.saved = model.now.clone();
                self.drop_what_was_not_there(1, &marker, &model.saved).await;
            }
            Step::RollBack => {
                let _: String = self.admin.run(&["SELECT", "1"]).await;
                let _: i64 = self.admin.run(&["COPY", "celery", "celery", "DB", "0", "REPLACE"]).await;
                let _: i64 = self.admin.run(&["COPY", &marker, &marker, "DB", "0", "REPLACE"]).await;
                let _: String = self.admin.run(&["SELECT", "0"]).await;
                model.now = model.saved.clone();
                self.drop_what_was_not_there(0, &marker, &model.now).await;
            }
            Step::ScriptFlush => {
                let _: String = self.admin.run(&["SCRIPT", "FLUSH"]).await;
            }
            Step::Rubbish => {
                let _: i64 = self.admin.run(&["HSET", &marker, FIELD, "rubbish:1"]).await;
                model.now.value = Some(b"rubbish:1".to_vec());
            }
            Step::Append { .. } | Step::Next { .. } | Step::Open { .. } | Step::Again(_) => {}
        }
    }

    /// COPY leaves the target alone if there is nothing to copy.
    async fn drop_what_was_not_there(&mut self, db: u8, marker: &str, data: &Dataset) {
        let _: String = self.admin.run(&["SELECT", &db.to_string()]).await;
        if data.list.is_empty() {
            let _: i64 = self.admin.run(&["DEL", "celery"]).await;
        }
        if data.value.is_none() {
            let _: i64 = self.admin.run(&["DEL", marker]).await;
        }
        let _: String = self.admin.run(&["SELECT", "0"]).await;
    }

    async fn send(&mut self, model: &mut Model, command: Command) {
        match command {
            Command::Append { number, tenure, from, to, messages } => {
                self.append(model, number, tenure, (from, to), messages).await;
            }
            Command::Open { observed, new } => self.open(model, observed, new).await,
        }
    }

    async fn append(&mut self, model: &mut Model, number: usize, by: Uuid, (from, to): (i64, i64), messages: u8) {
        let bodies: Vec<String> = (0..messages).map(|n| format!("{number}.{n}")).collect();
        let pushes: Vec<Push> = bodies.iter().map(|body| left(0, body)).collect();
        let expected = match verdict(model.now.value.as_deref(), by, from, to) {
            Verdict::Write => {
                model.now.list.splice(0..0, bodies.into_iter().rev());
                model.now.value = Some(Marker { tenure: by, position: to }.to_string().into_bytes());
                model.answers.push("ok");
                Appended::Ok { depth: model.now.list.len() as u64 }
            }
            Verdict::Already => {
                model.answers.push("already");
                Appended::Already
            }
            Verdict::Missing => {
                model.answers.push("missing");
                Appended::Missing
            }
            Verdict::Foreign => {
                model.answers.push("foreign");
                Appended::Foreign(String::from_utf8(model.now.value.clone().unwrap()).unwrap())
            }
            Verdict::Gap(position) => {
                model.answers.push("gap");
                Appended::Gap(position)
            }
        };
        assert_eq!(self.queue.append(&self.link, by, from, to, &pushes).await.unwrap(), expected);
    }

    async fn open(&mut self, model: &mut Model, observed: Option<Vec<u8>>, new: Marker) {
        let answer = open(&self.link, &self.queue.marker, FIELD, observed.as_deref(), &new).await.unwrap();
        if may_open(model.now.value.as_deref(), observed.as_deref(), &new) {
            assert!(matches!(answer, Opened::Ok(_)), "{answer:?}");
            model.now.value = Some(new.to_string().into_bytes());
            model.answers.push("opened");
        } else {
            assert!(matches!(&answer, Opened::Stale(found) if found.value == model.now.value), "{answer:?}");
            model.answers.push("stale");
        }
        model.seen = observed;
    }
}

/// The command that a step sends, if it sends one.
fn command(model: &Model, number: usize, step: &Step) -> Option<Command> {
    match *step {
        Step::Append { tenure: by, from, length, messages } => {
            Some(Command::Append { number, tenure: tenure(by.into()), from, to: from + length, messages })
        }
        Step::Next { messages } => {
            let text = String::from_utf8(model.now.value.clone()?).unwrap();
            let Marker { tenure, position } = text.parse().ok()?;
            Some(Command::Append { number, tenure, from: position, to: position + 1, messages })
        }
        Step::Open { tenure: by, position, stale } => {
            let observed = if stale { model.seen.clone() } else { model.now.value.clone() };
            Some(Command::Open { observed, new: Marker { tenure: tenure(by.into()), position } })
        }
        Step::Again(back) => model.sent.iter().rev().nth(back).cloned(),
        _ => None,
    }
}

#[test]
fn the_rules_and_a_real_server_give_the_same_answers() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let redis = runtime.block_on(Redis::start(&[]));
    let mut answers = Vec::new();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() });
    let result = runner.run(&prop::collection::vec(step(), 1..60), |steps| {
        let seen = runtime.block_on(play(&redis, &steps));
        SEEN.with_borrow_mut(|all| all.extend(seen));
        Ok(())
    });
    result.unwrap();
    SEEN.with_borrow_mut(|all| answers.append(all));
    for wanted in ["ok", "already", "missing", "foreign", "gap", "opened", "stale"] {
        let count = answers.iter().filter(|answer| **answer == wanted).count();
        assert!(count > 20, "{wanted} came {count} times only: the test has become empty");
    }
}

thread_local! {
    static SEEN: std::cell::RefCell<Vec<&'static str>> = const { std::cell::RefCell::new(Vec::new()) };
}

async fn play(redis: &Redis, steps: &[Step]) -> Vec<&'static str> {
    let mut world =
        World { link: redis.link().await, admin: redis.admin().await, queue: Queue::new(lists(&["celery"])) };
    let _: String = world.admin.run(&["FLUSHALL"]).await;
    let mut model = Model::default();
    for (number, step) in steps.iter().enumerate() {
        world.run(&mut model, number, step).await;
    }
    model.answers
}
