//! The messages of one batch, as Postgres sent them.
//!
//! A task borrows its text from the rows: forwarding copies nothing. The columns are those of `plan.sql` and `read.sql`.

use std::error::Error;

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::value::get;
use crate::fault::Fault;
use crate::task::Task;

/// One batch of the ledger with its messages, in order.
#[derive(Debug)]
pub struct BatchRows {
    /// Its number and time.
    pub header: Header,
    rows: Vec<Row>,
}

/// What the ledger says of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// Its number.
    pub batch: i64,
    /// When it was planned: what decides about expiry, at every reading.
    pub at: Timestamp,
    /// How many rows the plan counted, those that go out later by id included.
    pub rows: i32,
}

impl BatchRows {
    /// From a header and the messages behind it; `None` if there is no header.
    pub(super) fn new(rows: Vec<Row>) -> Result<Option<Self>, Fault> {
        let Some(first) = rows.first() else { return Ok(None) };
        let (batch, at) = (get::<Option<i64>>(first, 1)?, get::<Option<Timestamp>>(first, 2)?);
        let (Some(batch), Some(at)) = (batch, at) else { return Ok(None) };
        let header = Header { batch, at, rows: get(first, 3)? };
        Ok(Some(Self { header, rows }))
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.rows.len().saturating_sub(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The messages, in order. A row with a value that cannot be read is no message: its id, and why.
    pub fn tasks(&self) -> impl Iterator<Item = Result<Task<'_>, (i64, Fault)>> {
        self.rows.iter().skip(1).map(|row| {
            let id = get(row, 4).map_err(|fault| (0, fault))?;
            task(id, self.header.at, row).map_err(|reason| (id, Fault::reject("malformed", reason)))
        })
    }
}

/// One message; the error is a sentence.
fn task(id: i64, at: Timestamp, row: &Row) -> Result<Task<'_>, String> {
    if let Some(unreadable) = value::<Option<&str>>(row, 15)? {
        return Err(unreadable.to_owned());
    }
    Ok(Task {
        id,
        task_id: value(row, 5)?,
        name: value(row, 6)?,
        args: value::<Json<'_>>(row, 7)?.0,
        kwargs: value::<Json<'_>>(row, 8)?.0,
        headers: value::<Json<'_>>(row, 9)?.0,
        body: value(row, 10)?,
        priority: value(row, 11)?,
        expires_at: value(row, 12)?,
        created_at: value(row, 13)?,
        retried_at: value::<bool>(row, 14)?.then_some(at),
    })
}

/// A value that a producer wrote. The error does not quote it.
fn value<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, String> {
    row.try_get(column).map_err(|_| {
        let name = row.columns().get(column).map_or("?", tokio_postgres::Column::name);
        format!("the value of {name} cannot be read: it lies outside of what a message can say")
    })
}

/// The text of a jsonb column, unparsed: Postgres has validated it.
struct Json<'a>(&'a str);

impl<'a> FromSql<'a> for Json<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        // The binary form of jsonb is a version byte and the text.
        match raw.split_first() {
            Some((1, text)) => Ok(Self(std::str::from_utf8(text)?)),
            _ => Err("jsonb of an unknown version".into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}
