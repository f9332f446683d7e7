//! The little JSON that the formats need: splicing text, not parsing it.

use std::io::Write as _;

use jiff::Timestamp;

/// Appends `text` as a JSON string, quotes included.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// Appends `text` as the inside of a JSON string. UTF-8 passes as it is; only what JSON forbids is escaped.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= b' ' && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[clean..at]);
        clean = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let [high, low] = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    out.extend_from_slice(&bytes[clean..]);
}

/// The longest prefix of at most `limit` bytes that ends between two characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Appends a time with microseconds, in UTC with a `Z`: `2026-11-22T12:59:01.359858Z`.
pub(super) fn time(out: &mut Vec<u8>, at: Timestamp) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{at:.6}");
}

/// How deep a JSON text nests, and how many digits its longest integer has. Both have limits in Python.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The greatest number of brackets open at once.
    pub(super) depth: usize,
    /// The digits of the longest number without fraction and exponent.
    pub(super) digits: usize,
}

/// Measures a text that is known to be JSON, in one pass. Never panics on other text.
pub(super) fn shape(text: &str) -> Shape {
    let mut shape = Shape::default();
    let mut depth = 0_usize;
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                while let Some(inner) = bytes.next() {
                    match inner {
                        b'\\' => _ = bytes.next(),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                shape.depth = shape.depth.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'0'..=b'9' => {
                let mut digits = 1;
                let mut integer = true;
                while let Some(more) = bytes.next_if(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
                    digits += 1;
                    integer &= more.is_ascii_digit();
                }
                if integer {
                    shape.digits = shape.digits.max(digits);
                }
            }
            _ => {}
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_escaped_string_reads_back_as_itself(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn measuring_never_panics(text in any::<String>()) {
            shape(&text);
        }
    }

    #[test]
    fn every_control_character_is_escaped() {
        for code in 0..=0x7f_u8 {
            let text = char::from(code).to_string();
            let mut out = Vec::new();
            string(&mut out, &text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            assert!(out.iter().all(|byte| *byte >= b' '));
        }
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("ab", 9), "ab");
    }

    #[test]
    fn a_time_has_microseconds_and_a_z() {
        let mut out = Vec::new();
        time(&mut out, "2026-11-22T12:59:01.5Z".parse().unwrap());
        assert_eq!(out, b"2026-11-22T12:59:01.500000Z");
    }

    #[test]
    fn brackets_and_digits_inside_strings_do_not_count() {
        assert_eq!(shape(r#"["[[[\"[[123456", {"a": -12}]"#), Shape { depth: 2, digits: 2 });
        assert_eq!(shape("[1234.5678, 1e999999, 123]"), Shape { depth: 1, digits: 3 });
        assert_eq!(shape("null"), Shape::default());
    }
}
