//! Liveness as safety: whether everything gets done if all faults stop at this moment.

use stateright::Model as _;

use super::relay::Move;
use super::state::{Command, FLIGHT, Sent, Stage, State};
use super::{Act, Bounds, CALM, Format, Protocol, Rules};

/// Nothing may happen any more, but opening.
const QUIET: Bounds = Bounds { rows: 0, tenures: u8::MAX, deaths: 0, ..CALM };

/// More steps than any settling needs.
const LIMIT: usize = 500;

impl Protocol {
    /// Whether either relay, alone and with what it knows now, brings every committed row to a worker.
    pub(super) fn settles(&self, state: &State) -> bool {
        let mut start = state.clone();
        start.left = QUIET;
        start.past.clear();
        start.flushed = 0;
        // Commands under way are lost: that they arrive first is another state.
        start.flight = [Sent::default(); FLIGHT];
        // Nothing happens between the two halves of a look any more.
        let whole = Self { rules: Rules { atomic: true, ..self.rules }, ..*self };
        for relay in &mut start.relays {
            relay.look = relay.look.filter(|look| look.whole);
        }
        for relay in 0..usize::from(self.bounds.relays) {
            // Relays that know nothing are alike.
            if (relay == 1 && start.relays[0] == start.relays[1]) || start.db.rows & !start.processed == 0 {
                continue;
            }
            if !whole.settles_with(start.clone(), relay) {
                return false;
            }
        }
        true
    }

    fn settles_with(&self, mut state: State, relay: usize) -> bool {
        // The other one has died; this one learns that its command was lost.
        state.close(1 - relay);
        let own = state.relays[relay];
        if own.stage == Stage::Opening || own.sent != own.position {
            state.close(relay);
        }
        state.tidy();
        for _ in 0..LIMIT {
            match self.next(&state) {
                Some(next) => state = next,
                None => return state.db.rows & !state.processed == 0,
            }
        }
        panic!("{LIMIT} steps and no end: {state:?}")
    }

    /// The next step of the only relay, or else of a worker.
    fn next(&self, state: &State) -> Option<State> {
        // Tidied states have the relay that knows more in front.
        let r = 0;
        if let Some(f) = (0..FLIGHT).find(|f| state.flight[*f].command != Command::None) {
            return self.next_state(state, Act::Arrive(f, 0));
        }
        let step = |step| self.next_state(state, Act::Relay(r, step));
        let steps: &[Move] = match state.relays[r].stage {
            Stage::Closed => &[Move::Observe],
            Stage::Observed { .. } => &[Move::Begin],
            Stage::Inserted { .. } | Stage::Opening => &[Move::SendOpen],
            Stage::Live => &[
                Move::Record,
                Move::Notice,
                Move::ScheduleLate,
                Move::SendAppend,
                Move::Plan(1),
                Move::PlanIds,
                Move::Look,
            ],
        };
        steps.iter().find_map(|one| step(*one)).or_else(|| self.works(state))
    }

    fn works(&self, state: &State) -> Option<State> {
        let mut acts = Vec::new();
        self.work(state, &mut acts);
        acts.retain(|act| !matches!(act, Act::Work(1, _)) && (self.format == Format::Celery || state.hole == 0));
        acts.first().and_then(|act| self.next_state(state, *act))
    }
}
