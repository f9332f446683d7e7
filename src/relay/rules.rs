//! The rules of consumption as pure functions: what an opening sends again, what a snapshot proves, what a boundary is.
//!
//! The database decides by the same rules under the queue's lock, and the exhaustive model of the protocol calls these
//! functions: one wording for all three. Numbers are ledger numbers, except where a line says otherwise. Every rule
//! errs to one side: a task too many is sent again, none too few.

use uuid::Uuid;

use crate::batch::Marker;
use crate::broker::decide;

/// What Postgres knows of the tenure that the observed marker names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// The newest number when it was closed; `None` while it is the queue's current tenure.
    pub cap: Option<i64>,
    /// The incarnation in which it was opened.
    pub incarnation: &'a str,
    /// What stands at or below, and not in Redis, may have been lost when its incarnation began.
    pub base: i64,
    /// Whether a snapshot has settled that.
    pub certified: bool,
}

/// The newest checkpoint: every row whose newest batch is at or below `consumed` is consumed, except the outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Its own number, 0 if there is none yet.
    pub number: i64,
    /// How far the marker had come.
    pub position: i64,
    /// How far consumption is proven.
    pub consumed: i64,
}

/// Everything that an opening is decided by, read under the queue's lock, except what was observed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The marker in Redis; `None` if there is none, or none that this protocol wrote.
    pub seen: Option<Marker>,
    /// What Postgres knows of its tenure, for this queue and destination.
    pub known: Option<Known<'a>>,
    /// Whether any tenure of this queue is known.
    pub opened_before: bool,
    /// The incarnation that was observed together with the marker.
    pub incarnation: &'a str,
    /// False if this incarnation shows that messages vanished without a consumer since the evidence that the seen
    /// tenure stored: keys were evicted, more vanished than pops were made.
    pub unbroken: bool,
    /// The number of the newest checkpoint, as it was read **before** the marker was observed.
    pub looked_after: i64,
    /// The newest checkpoint now.
    pub checkpoint: Checkpoint,
    /// The newest ledger number.
    pub newest: i64,
    /// Batches at or below need no messages here, whatever this dataset lacks: 0, or what is older than the horizon
    /// (`confirm = none`), or what went to an earlier destination.
    pub settled: i64,
    /// Whether consumption is confirmed at all (`confirm` is not `none`).
    pub confirms: bool,
}

/// Why the trusted position is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The queue was never opened before.
    First,
    /// The marker is at or above all that was known of it.
    Kept,
    /// The marker is known and stands lower than a checkpoint says it did.
    RolledBack,
    /// No marker.
    Missing,
    /// A marker of a tenure that this database does not know.
    Unknown,
}

/// What an opening does, in the one transaction that inserts the tenure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The position at which the marker is set; batches above are sent, in order.
    pub trusted: i64,
    /// Batches above `trusted` up to here are passed without messages.
    pub done: i64,
    /// Outstanding rows whose newest batch lies above this ..
    pub schedule_above: i64,
    /// .. and at or below this are scheduled again. See [`again_at_opening`].
    pub schedule_to: i64,
    /// The new tenure's base.
    pub base: i64,
    /// Whether the new tenure is certified.
    pub certified: bool,
    /// For people.
    pub cause: Cause,
}

/// How an opening ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A checkpoint was written after the marker was observed, and it says more than the marker does: another relay
    /// may have moved it on since. Write nothing; read the checkpoint's number, observe, and ask again.
    LookAgain,
    /// Begin the tenure.
    Begin(Decision),
}

/// Decides an opening.
///
/// A tenure that was inserted and never reached Redis says nothing about a dataset. So whether this dataset's
/// incarnation is settled is asked of the tenure that its **marker** names, never of the tenure inserted last: all that
/// was pushed here above that tenure's base was pushed in its incarnation.
pub fn opening(facts: &Facts<'_>) -> Opening {
    let cap = facts.known.map(|known| known.cap.unwrap_or(facts.newest).min(facts.newest));
    let trusted = decide::trusted(facts.seen, cap);
    let consumed = facts.checkpoint.consumed.min(facts.newest);
    let back = trusted < facts.checkpoint.position.max(consumed);
    if back && facts.looked_after != facts.checkpoint.number {
        return Opening::LookAgain;
    }
    let cause = match (facts.seen, facts.known) {
        _ if !facts.opened_before => Cause::First,
        (None, _) => Cause::Missing,
        (Some(_), None) => Cause::Unknown,
        (Some(_), Some(_)) if back => Cause::RolledBack,
        (Some(_), Some(_)) => Cause::Kept,
    };
    let same = facts.known.filter(|known| known.incarnation == facts.incarnation && facts.unbroken);
    let base = same.map_or(trusted, |known| known.base.min(trusted));
    Opening::Begin(Decision {
        trusted,
        done: trusted.max(consumed).max(facts.settled.min(facts.newest)),
        schedule_above: trusted,
        schedule_to: consumed,
        base,
        // With nothing trusted, all that is not consumed is sent again in this incarnation: nothing is left to settle.
        certified: same.is_some_and(|known| known.certified) || base == 0 || !facts.confirms,
        cause,
    })
}

/// Whether an opening schedules a row again. `newest` is the row's newest batch, `None` if it is scheduled already or
/// was never planned.
///
/// What is outstanding at or below the trusted position is still in Redis, or a matter of the boundary; what is above
/// `schedule_to` is sent again with its batch.
pub fn again_at_opening(decision: &Decision, newest: Option<i64>, outstanding: bool) -> bool {
    outstanding && newest.is_some_and(|newest| newest > decision.schedule_above && newest <= decision.schedule_to)
}

/// One atomic look at Redis, as far as it matters whether it can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot<'a> {
    /// The marker.
    pub marker: Option<Marker>,
    /// The incarnation.
    pub incarnation: &'a str,
    /// As in [`Facts::unbroken`], against the evidence stored with the current tenure.
    pub unbroken: bool,
}

/// The queue's current tenure, read under the queue's lock in the transaction that acts upon a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure<'a> {
    /// Its token.
    pub token: Uuid,
    /// Its incarnation.
    pub incarnation: &'a str,
    /// Whether its boundary is settled.
    pub certified: bool,
    /// The newest number when it was inserted: catching up ends there.
    pub opened_at: i64,
    /// The newest number now.
    pub newest: i64,
}

/// What a snapshot is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing: another tenure or incarnation, still catching up, or a ledger that went back.
    No,
    /// Messages vanished without a consumer: [`broken`] must be stored, and nothing counts until it is settled.
    Breaks,
    /// Absent rows may have been lost at the boundary: those of [`again_at_boundary`] are scheduled, and the tenure is
    /// certified, in one transaction. The checkpoint stays as it is.
    Settles,
    /// Absent rows whose newest batch is at or below the snapshot's marker are consumed.
    Counts,
}

/// Judges a snapshot.
pub fn accept(snapshot: &Snapshot<'_>, tenure: &Tenure<'_>) -> Accepted {
    let Some(marker) = snapshot.marker else { return Accepted::No };
    let own = marker.tenure == tenure.token && snapshot.incarnation == tenure.incarnation;
    // A position above the newest number is from before Postgres went back: those numbers will mean other rows.
    if !own || marker.position < tenure.opened_at || marker.position > tenure.newest {
        return Accepted::No;
    }
    match (snapshot.unbroken, tenure.certified) {
        (false, _) => Accepted::Breaks,
        (true, false) => Accepted::Settles,
        (true, true) => Accepted::Counts,
    }
}

/// The base of a tenure inside whose incarnation the evidence broke: whatever stands at or below the marker of the
/// snapshot that shows it is open to doubt. The tenure is no longer certified, and the snapshot's evidence is stored.
pub fn broken(marker: Marker) -> i64 {
    marker.position
}

/// Whether a snapshot that [settles](Accepted::Settles) a boundary schedules a row again. `newest` as in
/// [`again_at_opening`], `consumed` the checkpoint's.
///
/// What is above the base was pushed in this incarnation: if it is absent, a consumer has it.
pub fn again_at_boundary(base: i64, consumed: i64, newest: Option<i64>, outstanding: bool, present: bool) -> bool {
    !present && newest.is_some_and(|newest| newest <= base && (newest > consumed || outstanding))
}

/// Whether a checkpoint says that a row is consumed. `newest` as in [`again_at_opening`].
pub fn is_consumed(consumed: i64, newest: Option<i64>, outstanding: bool) -> bool {
    !outstanding && newest.is_some_and(|newest| newest <= consumed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Uuid = Uuid::from_u128(0xa0);
    const KNOWN: Known<'_> = Known { cap: None, incarnation: "a", base: 2, certified: true };
    const FACTS: Facts<'_> = Facts {
        seen: Some(Marker { tenure: TOKEN, position: 7 }),
        known: Some(KNOWN),
        opened_before: true,
        incarnation: "a",
        unbroken: true,
        looked_after: 1,
        checkpoint: Checkpoint { number: 1, position: 7, consumed: 5 },
        newest: 9,
        settled: 0,
        confirms: true,
    };

    fn begin(facts: &Facts<'_>) -> Decision {
        match opening(facts) {
            Opening::Begin(decision) => decision,
            Opening::LookAgain => panic!("looks again"),
        }
    }

    #[test]
    fn a_relay_that_starts_on_an_unchanged_redis_sends_only_what_is_above_the_marker() {
        let it = begin(&FACTS);
        assert_eq!((it.trusted, it.done, it.base, it.certified, it.cause), (7, 7, 2, true, Cause::Kept));
        assert!((1..=9).all(|batch| !again_at_opening(&it, Some(batch), true)));
    }

    #[test]
    fn a_flush_sends_what_is_above_the_checkpoint_and_schedules_what_it_leaves_out() {
        let it = begin(&Facts { seen: None, known: None, ..FACTS });
        assert_eq!((it.trusted, it.done, it.base, it.certified, it.cause), (0, 5, 0, true, Cause::Missing));
        assert!(again_at_opening(&it, Some(5), true));
        assert!(!again_at_opening(&it, Some(5), false));
        assert!(!again_at_opening(&it, Some(6), true));
        assert!(!again_at_opening(&it, None, true));
    }

    #[test]
    fn a_dataset_that_went_back_is_trusted_as_far_as_it_goes() {
        let it = begin(&Facts { seen: Some(Marker { tenure: TOKEN, position: 3 }), ..FACTS });
        assert_eq!((it.trusted, it.done, it.cause), (3, 5, Cause::RolledBack));
        assert!(again_at_opening(&it, Some(4), true));
        assert!(!again_at_opening(&it, Some(3), true));
    }

    #[test]
    fn a_marker_seen_before_the_newest_checkpoint_proves_no_loss() {
        let behind = Facts { seen: Some(Marker { tenure: TOKEN, position: 3 }), looked_after: 0, ..FACTS };
        assert_eq!(opening(&behind), Opening::LookAgain);
        assert!(matches!(opening(&Facts { looked_after: 0, ..FACTS }), Opening::Begin(_)));
    }

    #[test]
    fn another_incarnation_or_broken_evidence_puts_all_that_is_trusted_in_doubt() {
        for facts in [Facts { incarnation: "b", ..FACTS }, Facts { unbroken: false, ..FACTS }] {
            let it = begin(&facts);
            assert_eq!((it.trusted, it.base, it.certified), (7, 7, false));
            assert!(begin(&Facts { confirms: false, ..facts }).certified);
        }
    }

    #[test]
    fn a_boundary_that_is_not_settled_goes_on_in_the_next_tenure() {
        let known = Some(Known { certified: false, ..KNOWN });
        let it = begin(&Facts { known, ..FACTS });
        assert_eq!((it.trusted, it.base, it.certified), (7, 2, false));
        // What was pushed since is not in doubt; what a checkpoint proves is not, either.
        assert!(again_at_boundary(6, 5, Some(6), false, false));
        assert!(!again_at_boundary(6, 5, Some(7), true, false));
        assert!(!again_at_boundary(6, 5, Some(5), false, false));
        assert!(again_at_boundary(6, 5, Some(5), true, false));
        assert!(!again_at_boundary(6, 5, Some(6), false, true));
    }

    #[test]
    fn a_postgres_that_went_back_believes_no_number_that_it_has_lost() {
        let it = begin(&Facts { newest: 4, checkpoint: Checkpoint::default(), looked_after: 0, ..FACTS });
        assert_eq!((it.trusted, it.done), (4, 4));
        let capped = Some(Known { cap: Some(6), ..KNOWN });
        assert_eq!(begin(&Facts { known: capped, ..FACTS }).trusted, 6);
        let lost = Facts { known: None, ..FACTS };
        assert_eq!((begin(&lost).trusted, begin(&lost).cause), (0, Cause::Unknown));
    }

    #[test]
    fn what_a_horizon_or_an_earlier_destination_settled_is_passed_without_messages() {
        let it = begin(&Facts { seen: None, known: None, settled: 8, ..FACTS });
        assert_eq!((it.done, it.schedule_to), (8, 5));
    }

    #[test]
    fn a_snapshot_counts_only_under_its_own_tenure_and_incarnation() {
        let tenure = Tenure { token: TOKEN, incarnation: "a", certified: true, opened_at: 5, newest: 9 };
        let at = |position| Some(Marker { tenure: TOKEN, position });
        let snapshot = Snapshot { marker: at(7), incarnation: "a", unbroken: true };
        assert_eq!(accept(&snapshot, &tenure), Accepted::Counts);
        assert_eq!(accept(&snapshot, &Tenure { certified: false, ..tenure }), Accepted::Settles);
        assert_eq!(accept(&Snapshot { unbroken: false, ..snapshot }, &tenure), Accepted::Breaks);
        let foreign = Some(Marker { tenure: Uuid::from_u128(1), position: 7 });
        for marker in [None, foreign, at(4), at(10)] {
            assert_eq!(accept(&Snapshot { marker, ..snapshot }, &tenure), Accepted::No);
        }
        assert_eq!(accept(&Snapshot { incarnation: "b", ..snapshot }, &tenure), Accepted::No);
    }
}
