//! Values of an answer. Reading one never panics: what a server sends is no fault of the program.

use std::error::Error;

use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::fault::{Fault, Origin};

/// The value of a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Fault> {
    row.try_get(column).map_err(|error| {
        let name = row.columns().get(column).map_or("?", tokio_postgres::Column::name);
        let message =
            format!("the value {name} of an answer cannot be read: {error}; is the schema of another version?");
        Fault::retry("protocol", message).of(Origin::Postgres)
    })
}

/// A time that people may have written: what lies beyond the calendar of the program, infinity too, becomes its end.
pub(super) struct Clamped(pub(super) Timestamp);

impl<'a> FromSql<'a> for Clamped {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        /// 2000-01-01, from which Postgres counts, in seconds since 1970.
        const EPOCH: i64 = 946_684_800;
        let micros = i64::from_be_bytes(raw.try_into()?);
        let since = SignedDuration::from_micros(micros).checked_add(SignedDuration::from_secs(EPOCH));
        let end = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Ok(Self(since.and_then(|since| Timestamp::from_duration(since).ok()).unwrap_or(end)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_calendar_becomes_its_end() {
        let read = |micros: i64| Clamped::from_sql(&Type::TIMESTAMPTZ, &micros.to_be_bytes()).unwrap().0;
        assert_eq!(read(i64::MAX), Timestamp::MAX);
        assert_eq!(read(i64::MIN), Timestamp::MIN);
        assert_eq!(read(0), "2000-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(read(-1), "1999-12-31T23:59:59.999999Z".parse().unwrap());
        // 294276, the last year of Postgres.
        assert_eq!(read(9_223_371_331_199_999_999), Timestamp::MAX);
    }
}
