//! What proves that a strike bit. It is taken in the strike's own step, or while nobody else reaches the server: a relay
//! puts things back at once.

use outboxd::sandbox::{Client, Redis, Value};

use super::standing::db;

/// What tells one life of a server from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    process: String,
    run: String,
}

impl Life {
    /// Of the server behind a connection.
    pub fn of(mut client: Client) -> Self {
        let text = client.cmd(["INFO", "server"]).unwrap().text().unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        Self { process: field("process_id:"), run: field("run_id:") }
    }

    /// Panics unless another process, with a run id of its own, is behind this connection.
    pub fn ended(&self, client: Client) -> String {
        let now = Self::of(client);
        assert!(now.process != self.process && now.run != self.run, "the same server answers: {self:?}, {now:?}");
        format!("process {} -> {}", self.process, now.process)
    }
}

/// A queue's marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    tenure: String,
    pub position: i64,
}

impl Mark {
    /// The only field of a marker key in database 1; `None` if there is none, or the server does not answer.
    pub fn of(redis: &Redis, key: &str) -> Option<Self> {
        let marker = db(redis, &["HVALS", key]).ok()?.texts();
        let (tenure, position) = marker.first()?.rsplit_once(':')?;
        Some(Self { tenure: tenure.to_owned(), position: position.parse().ok()? })
    }

    /// Whether what is found now is not what was written: nothing, another tenure's, or an earlier position.
    pub fn is_lost_in(&self, found: Option<&Self>) -> bool {
        found.is_none_or(|found| found.tenure != self.tenure || found.position < self.position)
    }
}

/// Commands in the broker's database, number 1, between which no other client comes. Panics if one is refused.
pub fn step(redis: &Redis, commands: &[&[&str]]) -> Vec<Value> {
    let mut client = redis.connect().unwrap();
    client.cmd(["SELECT", "1"]).unwrap();
    client.cmd(["MULTI"]).unwrap();
    for command in commands {
        client.cmd(*command).unwrap();
    }
    let answers = client.cmd(["EXEC"]).unwrap().items().to_vec();
    let refused = answers.iter().find(|answer| matches!(answer, Value::Error(_)));
    assert!(refused.is_none(), "{commands:?}: {refused:?}");
    answers
}

/// Empties the broker's database by a command: the keys that it had. Panics if any is left.
pub fn emptied(redis: &Redis, command: &[&str]) -> Vec<String> {
    let answers = step(redis, &[&["KEYS", "*"], command, &["DBSIZE"]]);
    assert_eq!(answers[2].int(), Some(0), "{command:?} left keys there");
    answers[0].texts()
}

/// Deletes a key: how much was in it, by a command that tells (LLEN, XLEN, HLEN). Panics if it is still there.
pub fn deleted(redis: &Redis, measure: &str, key: &str) -> i64 {
    let answers = step(redis, &[&[measure, key], &["DEL", key], &["EXISTS", key]]);
    let length = answers[0].int().unwrap();
    assert!(answers[1].int() == Some(1) || length == 0, "{key} with {length} in it was not deleted");
    assert_eq!(answers[2].int(), Some(0), "{key} is still there");
    length
}

/// Renames a key that has something in it: how much. Panics unless all of it is under the other name.
pub fn renamed(redis: &Redis, measure: &str, key: &str, to: &str) -> i64 {
    let answers = step(redis, &[&[measure, key], &["RENAME", key, to], &["EXISTS", key], &[measure, to]]);
    assert_eq!((answers[2].int(), &answers[3]), (Some(0), &answers[0]), "{key} is not {to} now");
    answers[0].int().unwrap()
}

/// Hears which keys of the broker's database a server evicts, from its own mouth.
pub struct Evictions(Client);

impl Evictions {
    pub fn listen(redis: &Redis) -> Self {
        let mut client = redis.connect().unwrap();
        client.cmd(["SUBSCRIBE", "__keyevent@1__:evicted"]).unwrap();
        redis.cmd(["CONFIG", "SET", "notify-keyspace-events", "Ee"]).unwrap();
        Self(client)
    }

    /// Those of which it has not been asked yet.
    pub fn heard(&mut self) -> Vec<String> {
        // Its answer comes after all that was said before.
        self.0.send(["PING"]).unwrap();
        let said = std::iter::from_fn(|| Some(self.0.read().unwrap().texts()).filter(|words| words[0] != "pong"));
        said.map(|words| words[2].clone()).collect()
    }
}
