//! The messages of one batch, as Postgres sent them.
//!
//! A task borrows its text from the rows: forwarding copies nothing. The columns are those of `plan.sql` and `read.sql`.

use std::error::Error;

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

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
    pub(super) fn new(rows: Vec<Row>) -> Option<Self> {
        let header = Header::from_row(rows.first()?)?;
        Some(Self { header, rows })
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.rows.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The messages, in order.
    pub fn tasks(&self) -> impl Iterator<Item = Task<'_>> {
        self.rows[1..].iter().map(|row| Task {
            id: row.get(4),
            task_id: row.get(5),
            name: row.get(6),
            args: row.get::<_, Json<'_>>(7).0,
            kwargs: row.get::<_, Json<'_>>(8).0,
            headers: row.get::<_, Json<'_>>(9).0,
            body: row.get(10),
            priority: row.get(11),
            expires_at: row.get(12),
            created_at: row.get(13),
        })
    }
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
