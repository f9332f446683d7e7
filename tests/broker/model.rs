//! One list of commands, run against the pure rules and against a real server: the same answers, the same data.

use outboxd::batch::{Marker, Push};
use outboxd::broker::decide::{Verdict, may_open, verdict};
use outboxd::broker::{Appended, Link, Opened, observe, open};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

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
    /// After looking, or with what was seen one, two, .. openings ago.
    Open {
        tenure: u8,
        position: i64,
        stale: bool,
    },
    /// The command before this one once more: its reply was lost.
    Again,
    Flush,
    ScriptFlush,
    Rubbish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u8, 0..5_i64, 1..3_i64, 0..4_u8)
            .prop_map(|(tenure, from, length, messages)| Step::Append { tenure, from, length, messages }),
        3 => (0..3_u8, 0..4_i64, prop::bool::weighted(0.2))
            .prop_map(|(tenure, position, stale)| Step::Open { tenure, position, stale }),
        2 => Just(Step::Again),
        1 => Just(Step::Flush),
        1 => Just(Step::ScriptFlush),
        1 => Just(Step::Rubbish),
    ]
}

/// What a dataset holds, by the rules alone.
#[derive(Default)]
struct Model {
    value: Option<Vec<u8>>,
    seen: Option<Vec<u8>>,
    list: Vec<String>,
    answers: Vec<&'static str>,
}

struct World {
    link: Link,
    admin: Admin,
    queue: Queue,
}

impl World {
    async fn run(&mut self, model: &mut Model, number: usize, step: &Step) {
        match *step {
            Step::Append { tenure, from, length, messages } => {
                self.append(model, number, tenure, (from, from + length), messages).await;
            }
            Step::Open { tenure, position, stale } => self.open(model, tenure, position, stale).await,
            Step::Again => {}
            Step::Flush => {
                let _: String = self.admin.run(&["FLUSHALL"]).await;
                (model.value, model.list) = (None, Vec::new());
            }
            Step::ScriptFlush => {
                let _: String = self.admin.run(&["SCRIPT", "FLUSH"]).await;
            }
            Step::Rubbish => {
                let marker = String::from_utf8(self.queue.marker.clone()).unwrap();
                let _: i64 = self.admin.run(&["HSET", &marker, FIELD, "rubbish:1"]).await;
                model.value = Some(b"rubbish:1".to_vec());
            }
        }
        let list: Vec<String> = self.admin.run(&["LRANGE", "celery", "0", "-1"]).await;
        assert_eq!(list, model.list);
        let found = observe(&self.link, &self.queue.marker, FIELD).await.unwrap().found;
        assert_eq!(found.value, model.value);
    }

    async fn append(&mut self, model: &mut Model, number: usize, by: u8, (from, to): (i64, i64), messages: u8) {
        let by = tenure(by.into());
        let bodies: Vec<String> = (0..messages).map(|n| format!("{number}.{n}")).collect();
        let pushes: Vec<Push> = bodies.iter().map(|body| left(0, body)).collect();
        let expected = match verdict(model.value.as_deref(), by, from, to) {
            Verdict::Write => {
                model.list.splice(0..0, bodies.into_iter().rev());
                model.value = Some(Marker { tenure: by, position: to }.to_string().into_bytes());
                model.answers.push("ok");
                Appended::Ok { depth: model.list.len() as u64 }
            }
            Verdict::Already => {
                model.answers.push("already");
                Appended::Already
            }
            Verdict::Missing => Appended::Missing,
            Verdict::Foreign => {
                model.answers.push("foreign");
                Appended::Foreign(String::from_utf8(model.value.clone().unwrap()).unwrap())
            }
            Verdict::Gap(position) => {
                model.answers.push("gap");
                Appended::Gap(position)
            }
        };
        assert_eq!(self.queue.append(&self.link, by, from, to, &pushes).await.unwrap(), expected);
    }

    async fn open(&mut self, model: &mut Model, by: u8, position: i64, stale: bool) {
        let observed = if stale { model.seen.clone() } else { model.value.clone() };
        let new = Marker { tenure: tenure(by.into()), position };
        let answer = open(&self.link, &self.queue.marker, FIELD, observed.as_deref(), &new).await.unwrap();
        if may_open(model.value.as_deref(), observed.as_deref(), &new) {
            assert!(matches!(answer, Opened::Ok(_)), "{answer:?}");
            model.value = Some(new.to_string().into_bytes());
        } else {
            assert!(matches!(&answer, Opened::Stale(found) if found.value == model.value), "{answer:?}");
            model.answers.push("stale");
        }
        model.seen = observed;
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
    for wanted in ["ok", "already", "foreign", "gap", "stale"] {
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
    let mut before: Option<(usize, &Step)> = None;
    for (number, step) in steps.iter().enumerate() {
        let (number, step) = match (step, before) {
            (Step::Again, Some(before)) => before,
            _ => (number, step),
        };
        world.run(&mut model, number, step).await;
        before = Some((number, step));
    }
    model.answers
}
