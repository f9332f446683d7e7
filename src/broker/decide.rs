//! The rules of the marker as pure functions: what the scripts answer, and what the relay may believe.
//!
//! The scripts are the law on the server; these functions say the same in Rust, so that the relay, the models and the
//! property test against a real server share one wording. No I/O here.

use uuid::Uuid;

use crate::batch::Marker;

/// The highest position: Lua compares positions as doubles, exact up to here.
pub const MAX_POSITION: i64 = (1 << 53) - 1;

/// How far down the ledger a dataset may be believed to have come.
///
/// `observed` is the marker that stands in Redis, if any that this protocol wrote; `known_cap` is what Postgres knows of
/// that marker's tenure (its cap, or the newest ledger number while it is open), `None` if Postgres does not know the
/// tenure for this queue and destination.
///
/// A missing marker is a lost dataset and an unknown tenure somebody else's history: nothing is believed, everything not
/// proven consumed is sent again. A marker above the cap was written under a Postgres that has gone back since: only
/// what Postgres still knows counts, or a different batch planned under the same number would be taken as published.
pub fn trusted(observed: Option<Marker>, known_cap: Option<i64>) -> i64 {
    match (observed, known_cap) {
        (Some(marker), Some(cap)) => marker.position.min(cap).max(0),
        _ => 0,
    }
}

/// What the publish script does with one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The marker stands right before the batch: push and move it.
    Write,
    /// The marker stands at or past the end of the batch: it is in, by an earlier execution of the same command.
    Already,
    /// No marker: the dataset was lost, or the queue never opened on it.
    Missing,
    /// The marker is another tenure's, or nothing of this protocol's.
    Foreign,
    /// The marker stands before the batch, or inside it: something between is not there.
    Gap(i64),
}

/// The answer of `append.lua` to a batch from `from` to `to` under `tenure`, given the value that stands in the field.
pub fn verdict(current: Option<&[u8]>, tenure: Uuid, from: i64, to: i64) -> Verdict {
    let Some(current) = current else { return Verdict::Missing };
    let own = Marker { tenure, position: 0 }.to_string();
    let own = own.trim_end_matches('0');
    let position = std::str::from_utf8(current)
        .ok()
        .and_then(|text| text.strip_prefix(own))
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse::<i64>().ok());
    match position {
        None => Verdict::Foreign,
        Some(position) if position >= to => Verdict::Already,
        Some(position) if position != from => Verdict::Gap(position),
        Some(_) => Verdict::Write,
    }
}

/// Whether `open.lua` accepts: the field holds what was observed, or already the new value (its own lost reply).
pub fn may_open(current: Option<&[u8]>, observed: Option<&[u8]>, new: &Marker) -> bool {
    current == observed || current == Some(new.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENURE: Uuid = Uuid::from_u128(0xa0);

    fn marker(position: i64) -> Marker {
        Marker { tenure: TENURE, position }
    }

    #[test]
    fn nothing_is_believed_of_a_missing_marker_or_an_unknown_tenure() {
        assert_eq!(trusted(None, Some(9)), 0);
        assert_eq!(trusted(Some(marker(9)), None), 0);
    }

    #[test]
    fn a_marker_is_believed_up_to_what_postgres_knows() {
        assert_eq!(trusted(Some(marker(7)), Some(9)), 7);
        assert_eq!(trusted(Some(marker(110)), Some(100)), 100);
    }

    #[test]
    fn a_tenure_that_ends_in_zeros_is_told_from_its_position() {
        let tenure = Uuid::from_u128(0xa000);
        let text = Marker { tenure, position: 100 }.to_string();
        assert_eq!(verdict(Some(text.as_bytes()), tenure, 100, 101), Verdict::Write);
    }

    #[test]
    fn only_the_exact_predecessor_lets_a_batch_in() {
        let at = |position: i64| marker(position).to_string().into_bytes();
        assert_eq!(verdict(Some(&at(4)), TENURE, 5, 6), Verdict::Gap(4));
        assert_eq!(verdict(Some(&at(5)), TENURE, 5, 6), Verdict::Write);
        assert_eq!(verdict(Some(&at(6)), TENURE, 5, 6), Verdict::Already);
        assert_eq!(verdict(Some(&at(6)), TENURE, 5, 8), Verdict::Gap(6));
        assert_eq!(verdict(None, TENURE, 5, 6), Verdict::Missing);
        assert_eq!(verdict(Some(b"rubbish"), TENURE, 5, 6), Verdict::Foreign);
        assert_eq!(verdict(Some(&at(5)), Uuid::from_u128(2), 5, 6), Verdict::Foreign);
    }
}
