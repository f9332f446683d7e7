//! Which Redis key a queue uses, and which keys cannot be used.

use super::spec::FormatSpec;
use super::{InFlight, InFlightKind};
use crate::batch::{Key, KeyKind};

/// The queue's name as the format spells it: without the prefix, which clients add by themselves.
pub(super) fn local_name<'a>(spec: &'a FormatSpec, queue: &'a str) -> &'a str {
    spec.key.as_deref().unwrap_or(queue)
}

/// A key of messages in flight, whole and checked.
pub(super) fn resolve_in_flight(
    spec: &FormatSpec,
    queue: &str,
    setting: &str,
    local: &str,
    kind: InFlightKind,
) -> Result<InFlight, String> {
    let name = format!("{}{local}", spec.key_prefix);
    if local.is_empty() || name.chars().any(char::is_control) {
        return Err(format!("queue {queue:?}: {setting} {local:?} is no key: name the Redis key, without key_prefix"));
    }
    Ok(InFlight { name: name.into_bytes(), kind })
}

/// The whole key, checked.
pub(super) fn resolve(spec: &FormatSpec, queue: &str, kind: KeyKind) -> Result<Key, String> {
    let local = local_name(spec, queue);
    if local.is_empty() {
        return Err(format!("queue {queue:?}: key is empty: name the Redis key, or leave `key` out"));
    }
    let name = format!("{}{local}", spec.key_prefix);
    if name.chars().any(char::is_control) {
        return Err(format!("queue {queue:?}: the key {name:?} has a control character: change key or key_prefix"));
    }
    if slot_tag(name.as_bytes()).is_none() {
        return Err(format!(
            "queue {queue:?}: the key {name:?} has a lone }}, so its marker would lie in another cluster slot: \
             change key or key_prefix, or use a hash tag such as {{app}}"
        ));
    }
    Ok(Key { name: name.into_bytes(), kind })
}

/// The part of a key that decides its cluster slot: its hash tag, or the whole key if it has none.
///
/// `None` if no marker key `outbox:m:{tag}` can lie in the same slot: the key has no hash tag, and a `}`.
pub fn slot_tag(key: &[u8]) -> Option<&[u8]> {
    let close = |from: usize| key.get(from..)?.iter().position(|b| *b == b'}').map(|at| from + at);
    if let Some(open) = key.iter().position(|b| *b == b'{')
        && let Some(close) = close(open + 1)
        && close > open + 1
    {
        return key.get(open + 1..close);
    }
    (!key.contains(&b'}')).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(key: Option<&str>, prefix: &str) -> Result<Vec<u8>, String> {
        let spec = FormatSpec { key: key.map(str::to_owned), key_prefix: prefix.to_owned(), ..FormatSpec::default() };
        resolve(&spec, "emails", KeyKind::List).map(|key| key.name)
    }

    #[test]
    fn the_key_is_the_queue_unless_it_is_named() {
        assert_eq!(named(None, ""), Ok(b"emails".to_vec()));
        assert_eq!(named(Some("other"), ""), Ok(b"other".to_vec()));
        assert_eq!(named(None, "{app}:"), Ok(b"{app}:emails".to_vec()));
    }

    #[test]
    fn a_key_whose_marker_would_lie_elsewhere_is_refused() {
        for bad in ["a}b", "}", "{}", "{}a", "a}{b"] {
            assert!(named(Some(bad), "").is_err_and(|e| e.contains("lone }")), "{bad}");
        }
        for good in ["a{b", "{a}", "x{a}y}z", "}{a}"] {
            assert!(named(Some(good), "").is_ok(), "{good}");
        }
    }

    #[test]
    fn an_empty_key_and_a_control_character_are_refused() {
        assert!(named(Some(""), "p:").is_err_and(|e| e.contains("key is empty")));
        assert!(named(Some("a\u{6}\u{16}3"), "").is_err_and(|e| e.contains("control character")));
        assert!(named(None, "a\n").is_err_and(|e| e.contains("control character")));
    }

    #[test]
    fn the_slot_tag_is_what_a_cluster_hashes() {
        assert_eq!(slot_tag(b"celery"), Some(&b"celery"[..]));
        assert_eq!(slot_tag(b"{app}:celery"), Some(&b"app"[..]));
        assert_eq!(slot_tag(b"{{a}b}"), Some(&b"{a"[..]));
        assert_eq!(slot_tag(b"a}"), None);
    }
}
