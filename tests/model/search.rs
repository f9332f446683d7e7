//! Exhaustive search: every state that a model can reach, breadth first, so that a counterexample is a shortest one.
//!
//! Visited states are kept as 64-bit fingerprints (hash compaction): among ten million states the chance that two share
//! one, and part of the space goes unseen, is about one in 400,000. Hashing is fixed, so counts repeat exactly.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// What is searched: a start, the steps from each state, and what must never be.
pub(crate) trait Model {
    /// Everything that decides what can happen next, and nothing else.
    type State: Copy + Eq + Hash;
    /// What happened, for people.
    type Step: Copy + Debug;

    /// The one state before anything happened.
    fn start(&self) -> Self::State;
    /// Appends every step that is possible in `state`, with the state after it.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Self::Step, Self::State)>);
    /// Says what is wrong with `state`, if anything.
    fn violation(&self, state: &Self::State) -> Option<String>;
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Report {
    /// Distinct states visited.
    pub(crate) states: usize,
    /// Where the search stopped, if not at the end.
    pub(crate) violation: Option<Violation>,
}

/// A state that must not be.
#[derive(Debug)]
pub(crate) struct Violation {
    /// What is wrong with it, in the model's words.
    pub(crate) what: String,
    fingerprint: u64,
}

/// Visits every reachable state, until all are seen or one is a violation.
pub(crate) fn explore<M: Model>(model: &M) -> Report {
    let start = model.start();
    let mut seen = Fingerprints::default();
    seen.insert(fingerprint(&start));
    let (mut level, mut below, mut next) = (vec![start], Vec::new(), Vec::new());
    while !level.is_empty() {
        for state in level.drain(..) {
            if let Some(what) = model.violation(&state) {
                let violation = Some(Violation { what, fingerprint: fingerprint(&state) });
                return Report { states: seen.len, violation };
            }
            model.steps(&state, &mut next);
            below.extend(next.drain(..).map(|(_, after)| after).filter(|after| seen.insert(fingerprint(after))));
        }
        std::mem::swap(&mut level, &mut below);
    }
    Report { states: seen.len, violation: None }
}

/// Searches again, now remembering where each state came from: the steps to a violation, one a line.
/// Kept apart so that the long searches, which find nothing, need not remember.
pub(crate) fn way_to<M: Model>(model: &M, violation: &Violation) -> String {
    let start = model.start();
    let mut from = HashMap::from([(fingerprint(&start), (0, String::from("start")))]);
    let (mut level, mut next) = (vec![start], Vec::new());
    while !from.contains_key(&violation.fingerprint) {
        let mut below = Vec::new();
        for state in level {
            model.steps(&state, &mut next);
            for (step, after) in next.drain(..) {
                from.entry(fingerprint(&after)).or_insert_with(|| {
                    below.push(after);
                    (fingerprint(&state), format!("{step:?}"))
                });
            }
        }
        level = below;
    }
    let (mut lines, mut at) = (vec![violation.what.clone()], violation.fingerprint);
    while let Some((before, step)) = from.get(&at) {
        lines.push(step.clone());
        at = *before;
    }
    lines.reverse();
    lines.join("\n  ")
}

/// A set of fingerprints: open addressing, eight bytes each, 0 for an empty place.
#[derive(Default)]
struct Fingerprints {
    places: Vec<u64>,
    len: usize,
}

impl Fingerprints {
    /// Adds one; false if it was there.
    fn insert(&mut self, fingerprint: u64) -> bool {
        if self.len * 2 >= self.places.len() {
            let larger = vec![0; (self.places.len() * 2).max(1 << 12)];
            let old = std::mem::replace(&mut self.places, larger);
            self.len = 0;
            for fingerprint in old.into_iter().filter(|f| *f != 0) {
                self.insert(fingerprint);
            }
        }
        let mask = self.places.len() - 1;
        let mut place = usize::try_from(fingerprint >> 20).unwrap_or(0) & mask;
        while self.places[place] != 0 {
            if self.places[place] == fingerprint {
                return false;
            }
            place = (place + 1) & mask;
        }
        self.places[place] = fingerprint;
        self.len += 1;
        true
    }
}

/// Never 0, which marks an empty place.
fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Mixer(0x9E37_79B9_7F4A_7C15);
    state.hash(&mut hasher);
    hasher.finish().max(1)
}

/// A fast, fixed hash: multiply and fold, eight bytes at a time.
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_mul(0xA24B_AED4_963E_E407);
        self.0 = (product ^ (product >> 29)).wrapping_add(self.0.rotate_left(23));
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }
    fn write_u16(&mut self, n: u16) {
        self.mix(n.into());
    }
    fn write_u32(&mut self, n: u32) {
        self.mix(n.into());
    }
    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.mix(0);
        last.mix(1);
        last.0
    }
}
