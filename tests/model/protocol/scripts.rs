//! The two scripts, executed by the product's own rules, and what a relay makes of their answers.

use outboxd::broker::decide::{Verdict, may_open, verdict};

use super::state::{Command, Marker, Sent, Stage, State, token};
use super::{Format, Protocol, witness};

impl Protocol {
    /// A command arrives, at the node that everybody is led to or at the old one.
    pub(super) fn arrive(&self, state: &mut State, f: usize, node: usize) {
        let sent = std::mem::take(&mut state.flight[f]);
        let good = match sent.command {
            Command::Open { expected, new } => open(state, node, expected, new),
            Command::Append { tenure, from, to, rows } => self.append(state, node, (tenure, from, to), rows),
            Command::None => return,
        };
        let Sent { waits: Some(r), command } = sent else { return };
        let r = usize::from(r);
        let same = state.nodes[node].incarnation == state.relays[r].incarnation;
        let relay = &mut state.relays[r];
        match command {
            // Another process answered than the one that was observed: start over.
            Command::Open { .. } if good && same => relay.stage = Stage::Live,
            Command::Append { to, .. } if good => relay.position = relay.position.max(to),
            _ => state.close(r),
        }
    }

    fn append(&self, state: &mut State, node: usize, (tenure, from, to): (u8, u8, u8), rows: u8) -> bool {
        let marker = state.nodes[node].marker;
        let answer = verdict(marker.bytes().as_deref(), token(tenure), from.into(), to.into());
        match answer {
            Verdict::Write => {}
            Verdict::Gap(_) if !self.rules.gap => {}
            Verdict::Already => {
                witness::note(state, witness::ALREADY);
                return true;
            }
            Verdict::Foreign => {
                witness::note(state, witness::FOREIGN);
                return false;
            }
            Verdict::Gap(_) => {
                witness::note(state, witness::GAP);
                return false;
            }
            Verdict::Missing => return false,
        }
        let dataset = &mut state.nodes[node];
        // A restart may make an absent task be sent again, and Celery's may be absent and alive; never a present one.
        let again = if state.restarted { dataset.present() | state.recorded } else { state.pushed };
        let excused = state.lossy || (state.restarted && self.format == Format::Celery);
        state.twice |= !excused && again & rows != 0;
        dataset.queued |= rows;
        dataset.marker.position = to;
        if state.pushed & rows != 0 {
            witness::note(state, witness::REPLAYED);
        }
        state.pushed |= rows;
        true
    }
}

fn open(state: &mut State, node: usize, expected: Marker, new: Marker) -> bool {
    let dataset = &mut state.nodes[node];
    let Some(real) = new.real() else { return false };
    let accepted = may_open(dataset.marker.bytes().as_deref(), expected.bytes().as_deref(), &real);
    if accepted {
        dataset.marker = new;
    } else {
        witness::note(state, witness::STALE);
    }
    accepted
}
