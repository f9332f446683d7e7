//! A relay's own steps: observe, begin a tenure, plan, publish, look, record.

use outboxd::relay::rules::{
    Accepted, Decision, Facts, Opening, Snapshot, accept, again_at_boundary, again_at_opening, broken, is_consumed,
    opening,
};

use super::state::{
    Command, Look, Marker, OPEN, Postgres, Relay, Sent, Stage, State, Tenure, Window, each, name, token,
};
use super::{Format, Protocol, witness};

/// What a relay does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Move {
    /// Reads the newest checkpoint's number, then marker and incarnation.
    Observe,
    /// The opening's transaction.
    Begin,
    SendOpen,
    /// Plans this many of the oldest rows of the log.
    Plan(u32),
    /// Plans all rows that are scheduled.
    PlanIds,
    SendAppend,
    /// Takes a snapshot, or the second half of one.
    Look,
    /// Acts upon it, in Postgres.
    Record,
    /// The same, saying one batch less than it could.
    RecordLess,
    /// Sees that marker, newest number, tenure or incarnation are not as it left them.
    Notice,
    /// Schedules outstanding rows in a transaction of its own (a wrong variant).
    ScheduleLate,
    /// Dies, or gives up.
    Close,
}

/// What may be possible; [`Protocol::go`] decides.
pub(super) fn moves(state: &State, r: usize, mut offer: impl FnMut(Move)) {
    let relay = &state.relays[r];
    match relay.stage {
        Stage::Closed => offer(Move::Observe),
        Stage::Observed { .. } if state.left.tenures > 0 => offer(Move::Begin),
        Stage::Inserted { .. } => offer(Move::SendOpen),
        Stage::Observed { .. } | Stage::Opening => {}
        Stage::Live => {
            (1..=state.db.unplanned().count_ones()).for_each(|count| offer(Move::Plan(count)));
            [Move::Notice, Move::ScheduleLate, Move::PlanIds, Move::SendAppend, Move::Look, Move::Record]
                .into_iter()
                .for_each(&mut offer);
            if state.left.modest > 0 && relay.look.is_some() {
                offer(Move::RecordLess);
            }
        }
    }
    if relay.stage != Stage::Closed && state.left.deaths > 0 {
        offer(Move::Close);
    }
}

impl Protocol {
    /// Takes a step, if it is possible and changes anything.
    pub(super) fn go(&self, state: &mut State, r: usize, step: Move) -> Option<()> {
        let relay = state.relays[r];
        match step {
            Move::Observe => {
                let node = state.nodes[0];
                let (marker, incarnation, evidence) = (node.marker, node.incarnation, node.evidence);
                state.relays[r].stage = Stage::Observed { marker, incarnation, evidence, fresh: true };
            }
            Move::Begin => self.begin(state, r)?,
            Move::SendOpen => {
                let Stage::Inserted { expected } = relay.stage else { return None };
                let new = Marker { tenure: relay.tenure, position: relay.position };
                state.send(Sent { command: Command::Open { expected, new }, waits: u8::try_from(r).ok() })?;
                state.relays[r].stage = Stage::Opening;
            }
            Move::Plan(count) => self.plan(state, r, oldest(state.db.unplanned(), count), false)?,
            Move::PlanIds => self.plan(state, r, state.db.scheduled, true)?,
            Move::SendAppend => send_append(state, r)?,
            Move::Look => self.look(state, r)?,
            Move::Record => self.record(state, r, 0)?,
            Move::RecordLess => {
                state.left.modest -= 1;
                self.record(state, r, 1)?;
            }
            Move::Notice => {
                let idle = relay.sent == relay.position;
                (idle && sees_change(state, &relay)).then(|| state.close(r))?;
            }
            Move::ScheduleLate => {
                let owes = relay.owes & state.db.rows;
                (owes != 0).then_some(())?;
                state.commit(true, |db| db.scheduled |= owes);
                state.relays[r].owes = 0;
            }
            Move::Close => {
                state.left.deaths -= 1;
                state.close(r);
            }
        }
        Some(())
    }

    /// What an opening decides now. `None`: it has to look again.
    fn decide(
        &self,
        db: &Postgres,
        marker: Marker,
        incarnation: u8,
        (evidence, fresh): (u8, bool),
    ) -> Option<Decision> {
        let tenure = db.tenure(marker.tenure);
        let mut known = db.known(marker.tenure);
        if let Some(known) = known.as_mut().filter(|_| !self.rules.cap) {
            known.cap = None;
        }
        let facts = Facts {
            seen: marker.real(),
            known,
            opened_before: db.current().token != 0,
            incarnation: name(incarnation),
            unbroken: !self.rules.stored_evidence || tenure.is_none_or(|tenure| tenure.evidence == evidence),
            looked_after: i64::from(fresh || !self.rules.look_again),
            checkpoint: db.checkpoint(),
            newest: db.newest.into(),
            settled: 0,
            confirms: true,
        };
        let Opening::Begin(mut decision) = opening(&facts) else { return None };
        if !self.rules.of_marker {
            of_last(&mut decision, db, incarnation, known.is_some_and(|k| k.incarnation == name(incarnation)));
        }
        decision.certified |= !self.rules.boundary;
        Some(decision)
    }

    /// One transaction under the queue's lock.
    fn begin(&self, state: &mut State, r: usize) -> Option<()> {
        let Stage::Observed { marker, incarnation, evidence, fresh } = state.relays[r].stage else { return None };
        let db = state.db;
        let Some(decision) = self.decide(&db, marker, incarnation, (evidence, fresh)) else {
            witness::note(state, witness::LOOKED_AGAIN);
            state.relays[r].stage = Stage::Closed;
            return Some(());
        };
        let outstanding = |row| again_at_opening(&decision, db.batch_of(row), db.outstanding & row != 0);
        let again = each(db.rows).filter(|row| outstanding(*row)).fold(0, |all, row| all | row);
        if again != 0 {
            witness::note(state, witness::SCHEDULED);
        }
        if !decision.certified {
            witness::note(state, witness::BOUNDARY);
        }
        state.left.tenures = state.left.tenures.saturating_sub(1);
        state.tokens += 1;
        let base = small(decision.base);
        let (token, certified, opened_at) = (state.tokens, decision.certified, db.newest);
        let tenure = Tenure { token, incarnation, cap: OPEN, base, certified, evidence, opened_at };
        let with = self.rules.schedule_with;
        state.commit(true, |db| {
            db.scheduled |= if with { again } else { 0 };
            db.outstanding &= !again;
            db.succeed(tenure);
        });
        let trusted = small(decision.trusted);
        state.relays[r] = Relay {
            stage: Stage::Inserted { expected: marker },
            tenure: token,
            incarnation,
            position: trusted,
            sent: trusted,
            done: small(decision.done),
            last_seen: db.newest,
            look: None,
            window: None,
            owes: if with { 0 } else { again },
        };
        Some(())
    }

    fn plan(&self, state: &mut State, r: usize, rows: u8, ids: bool) -> Option<()> {
        let relay = state.relays[r];
        (rows != 0).then_some(())?;
        if self.rules.fence && (state.db.current().token != relay.tenure || state.db.newest != relay.last_seen) {
            state.close(r);
            return Some(());
        }
        let to = state.db.newest + 1;
        state.commit(false, |db| {
            db.newest = to;
            db.entries[usize::from(to)] = rows;
            if ids {
                db.scheduled &= !rows;
            }
        });
        state.relays[r].last_seen = to;
        Some(())
    }

    /// A snapshot that would make no difference is not worth a state.
    fn look(&self, state: &mut State, r: usize) -> Option<()> {
        let node = state.nodes[0];
        let relay = state.relays[r];
        let own = node.marker.tenure == relay.tenure;
        let found = Look {
            marker: node.marker,
            incarnation: node.incarnation,
            evidence: node.evidence,
            present: node.present(),
            holes: state.hole,
            aged: relay.window.is_some_and(|window| window.holes == 0 || !self.rules.grace),
            whole: true,
        };
        match relay.look {
            Some(first) if !first.whole => {
                state.relays[r].look = Some(Look { present: found.present, whole: true, ..first });
            }
            None if own && !self.rules.atomic => {
                state.relays[r].look = Some(Look { whole: false, present: 0, ..found });
            }
            None if own => {
                state.relays[r].look = Some(found);
                let mut after = state.clone();
                self.record(&mut after, r, 0)?;
                (after.db != state.db || after.relays[r].window != relay.window).then_some(())?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The transaction that acts upon a snapshot, and says so many batches less than it could.
    fn record(&self, state: &mut State, r: usize, less: u8) -> Option<()> {
        let look = state.relays[r].look.filter(|look| look.whole)?;
        state.relays[r].look = None;
        let current = state.db.current();
        let snapshot = Snapshot {
            marker: look.marker.real(),
            incarnation: name(look.incarnation),
            unbroken: look.evidence == current.evidence || !self.rules.boundary,
        };
        let tenure = outboxd::relay::rules::Tenure {
            token: token(current.token),
            incarnation: name(current.incarnation),
            certified: current.certified,
            opened_at: if self.rules.caught_up { current.opened_at.into() } else { 0 },
            newest: if self.rules.within_ledger { state.db.newest.into() } else { i64::MAX },
        };
        match accept(&snapshot, &tenure) {
            Accepted::No => {}
            Accepted::Breaks => {
                let base = look.marker.real().map_or(0, |marker| small(broken(marker)));
                state.commit(true, |db| {
                    let line = db.current_mut().unwrap();
                    (line.certified, line.base, line.evidence) = (false, base, look.evidence);
                });
                state.relays[r].window = None;
                witness::note(state, witness::BOUNDARY);
            }
            Accepted::Settles => settle_boundary(state, current.base, look.present),
            Accepted::Counts if self.format == Format::Exact => {
                self.checkpoint(state, r, (look.marker.position, less), look.present);
            }
            Accepted::Counts => self.count_absences(state, r, look, less),
        }
        Some(())
    }

    /// Celery: what is absent must have been so since a snapshot that is older than the time of grace.
    fn count_absences(&self, state: &mut State, r: usize, look: Look, less: u8) {
        let Look { marker: Marker { position, .. }, present, holes, .. } = look;
        let new = Window { consumed: position, outstanding: present, holes };
        let Some(window) = &mut state.relays[r].window else {
            state.relays[r].window = Some(new);
            return;
        };
        window.outstanding |= present;
        if look.aged {
            let outstanding = if self.rules.union { window.outstanding } else { present };
            let consumed = (window.consumed, less);
            self.checkpoint(state, r, consumed, outstanding);
            state.relays[r].window = Some(new);
        }
    }

    fn checkpoint(&self, state: &mut State, r: usize, (consumed, less): (u8, u8), mut outstanding: u8) {
        let mut consumed = if self.rules.covered { consumed } else { state.db.newest };
        if less > 0 {
            consumed = consumed.saturating_sub(less);
            // What surely lies above is left out.
            let below = |row: &u8| state.db.batch_of(*row).is_some_and(|batch| batch <= consumed.into());
            outstanding = each(outstanding).filter(below).fold(0, |all, row| all | row);
        }
        if (state.db.consumed, state.db.outstanding) != (consumed, outstanding) {
            state.commit(true, |db| (db.consumed, db.outstanding) = (consumed, outstanding));
            let db = &state.db;
            let counts = |row: &u8| is_consumed(db.consumed.into(), db.batch_of(*row), db.outstanding & row != 0);
            state.recorded |= each(db.rows).filter(counts).fold(0, |all, row| all | row);
            state.outdate(Some(r));
            witness::note(state, witness::CHECKPOINT);
        }
    }
}

fn settle_boundary(state: &mut State, base: u8, present: u8) {
    let db = state.db;
    let lost = |row| {
        let (outstanding, present) = (db.outstanding & row != 0, present & row != 0);
        again_at_boundary(base.into(), db.consumed.into(), db.batch_of(row), outstanding, present)
    };
    let again = each(db.rows).filter(|row| lost(*row)).fold(0, |all, row| all | row);
    state.commit(true, |db| {
        db.scheduled |= again;
        db.current_mut().unwrap().certified = true;
    });
    if again != 0 {
        witness::note(state, witness::GAP_FILLED);
    }
}

/// What was first proposed: what the tenure inserted last says, whether or not it ever reached this dataset.
fn of_last(decision: &mut Decision, db: &Postgres, incarnation: u8, of_incarnation: bool) {
    let last = db.current();
    let settled = last.certified && last.incarnation == incarnation && of_incarnation;
    let goes_on = last.token != 0 && !last.certified && last.incarnation == incarnation;
    let base = i64::from(last.base);
    decision.base = if goes_on || settled { base.min(decision.trusted) } else { decision.trusted };
    decision.certified = settled || last.token == 0;
}

fn send_append(state: &mut State, r: usize) -> Option<()> {
    let relay = state.relays[r];
    let (from, newest) = (relay.position, state.db.newest.min(relay.last_seen));
    let (to, rows) =
        if from < relay.done { (relay.done, 0) } else { (from + 1, *state.db.entries.get(usize::from(from) + 1)?) };
    (relay.sent == from && to <= newest).then_some(())?;
    let command = Command::Append { tenure: relay.tenure, from, to, rows };
    state.send(Sent { command, waits: u8::try_from(r).ok() })?;
    state.relays[r].sent = to;
    Some(())
}

/// The look of an idle relay.
fn sees_change(state: &State, relay: &Relay) -> bool {
    let (node, mine) = (state.nodes[0], Marker { tenure: relay.tenure, position: relay.position });
    node.marker != mine
        || node.incarnation != relay.incarnation
        || state.db.current().token != relay.tenure
        || state.db.newest != relay.last_seen
}

/// The lowest rows of a set.
fn oldest(mut rows: u8, count: u32) -> u8 {
    let all = rows;
    for _ in 0..count {
        rows &= rows.wrapping_sub(1);
    }
    all & !rows
}

fn small(number: i64) -> u8 {
    u8::try_from(number).unwrap()
}
