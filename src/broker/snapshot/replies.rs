//! Replies read one after the other, in the order of their commands.

use redis::Value;

use crate::broker::connect::Link;
use crate::broker::faults;
use crate::broker::info::Server;
use crate::broker::open::{bytes, server};
use crate::fault::Fault;

/// The replies of one transaction.
pub(super) struct Replies<'a> {
    link: &'a Link,
    items: std::vec::IntoIter<Result<Value, Fault>>,
}

impl<'a> Replies<'a> {
    pub(super) fn new(link: &'a Link, items: Vec<Result<Value, Fault>>) -> Self {
        Self { link, items: items.into_iter() }
    }

    /// What no server answers.
    pub(super) fn odd(&self) -> Fault {
        faults::protocol(self.link.place(), "a look at a queue's messages")
    }

    pub(super) fn next(&mut self) -> Result<Value, Fault> {
        self.items.next().ok_or_else(|| self.odd())?
    }

    /// A string, or nothing.
    pub(super) fn text(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.next()?;
        bytes(value).map_err(|_| self.odd())
    }

    /// A string for people.
    pub(super) fn string(&mut self) -> Result<String, Fault> {
        let text = self.text()?.ok_or_else(|| self.odd())?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// What the server said of itself.
    pub(super) fn server(&mut self) -> Result<Server, Fault> {
        let info = self.next()?;
        server(self.link, info)
    }

    pub(super) fn number(&mut self) -> Result<i64, Fault> {
        match self.next()? {
            Value::Int(number) => Ok(number),
            _ => Err(self.odd()),
        }
    }

    /// A length. A key of another type has none, a missing one neither.
    pub(super) fn length(&mut self) -> Result<u64, Fault> {
        match self.about_key()? {
            Some(Value::Int(number)) => Ok(u64::try_from(number).unwrap_or(0)),
            None => Ok(0),
            Some(_) => Err(self.odd()),
        }
    }

    /// The elements of an array: none of a key of another type, or of no key.
    pub(super) fn elements(&mut self) -> Result<Vec<Value>, Fault> {
        match self.about_key()? {
            Some(Value::Array(items)) => Ok(items),
            None | Some(Value::Nil) => Ok(Vec::new()),
            Some(_) => Err(self.odd()),
        }
    }

    /// `None` if the key has another type or does not exist.
    fn about_key(&mut self) -> Result<Option<Value>, Fault> {
        match self.next() {
            Err(fault) if matches!(fault.reason().class, "wrongtype" | "no_key") => Ok(None),
            other => other.map(Some),
        }
    }
}
