//! "Did you mean": what to say about a key or a name that does not exist.

use super::origin::{Key, Origin};
use super::schema::{Kind, Shape};

/// The sentence about `key`, of which the segment at `depth` is unknown.
pub(super) fn unknown_key(root: Shape<'_>, key: &Key, depth: usize, origin: &Origin) -> String {
    let parent = Key(key.0[..depth].to_vec());
    let wrong = key.0[depth].as_str();
    let Ok(shape) = root.find(&parent) else { return "unknown key".to_owned() };
    if !matches!(shape.kind(), Kind::Section | Kind::Names) {
        return format!("{parent} is a value, not a table: it has no key {wrong:?}");
    }
    if parent.0 == ["defaults"] && wrong == "key" {
        return "a key belongs to one queue: set it under [queues.NAME]".to_owned();
    }
    let what = if depth == 0 && key.0.len() > 1 { "section" } else { "key" };
    let spell = |suggestion: &Key| match origin {
        Origin::Variable(_) => suggestion.variable(),
        _ => suggestion.to_string(),
    };
    // In a file the section itself is misspelt, once; elsewhere the whole key stands in the message.
    let below = if matches!(origin, Origin::File(_)) { &[] } else { &key.0[depth + 1..] };
    let rest = |found: Key| Key(found.0.into_iter().chain(below.iter().cloned()).collect());
    if let Some(similar) = nearest(wrong, shape.keys()) {
        return format!("unknown {what}; did you mean {}?", spell(&rest(parent.child(similar))));
    }
    if let Some(section) = elsewhere(root, wrong).filter(|_| depth > 0) {
        return format!("unknown {what}; did you mean {}?", spell(&Key::of(&[section, wrong])));
    }
    let known = shape.keys().collect::<Vec<_>>().join(", ");
    format!("unknown {what}; known here: {known}")
}

/// A fixed section that has the key, when another one does not.
fn elsewhere<'a>(root: Shape<'a>, key: &str) -> Option<&'a str> {
    root.keys().find(|section| {
        root.child(section).is_some_and(|shape| shape.kind() == Kind::Section && shape.child(key).is_some())
    })
}

/// The candidate most like `wrong`, if one is like it.
pub(crate) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wrong.to_lowercase();
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        // Below this, a suggestion is more often wrong than right.
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?`, or the known names, for the end of a sentence about an unknown name.
pub(super) fn hint<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, candidates.clone()) {
        Some(name) => format!("did you mean {name:?}?"),
        None => format!("known: {}", candidates.collect::<Vec<_>>().join(", ")),
    }
}
