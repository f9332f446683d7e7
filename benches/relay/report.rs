//! What a part of the run has to say: a section of its own, and how it compares with what was aimed for.

use std::fmt::Write as _;

/// The outcome of one part.
pub struct Part {
    /// A section in Markdown.
    pub text: String,
    pub aims: Vec<Aim>,
}

/// One figure against what was aimed for.
pub struct Aim {
    pub what: &'static str,
    pub wanted: &'static str,
    pub here: String,
    pub met: bool,
}

/// The last section.
pub fn compared(aims: &[Aim]) -> String {
    let mut text = String::from("## How these compare with what was aimed for\n\n| | aim | here |\n|---|---|---|\n");
    for Aim { what, wanted, here, met } in aims {
        let missed = if *met { "" } else { ": **missed**" };
        let _ = writeln!(text, "| {what} | {wanted} | {here}{missed} |");
    }
    text
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median, the 99th percentile and the maximum, in the unit of the values. Panics without any.
pub fn quantiles(values: &mut [f64]) -> [f64; 3] {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    [0.5, 0.99, 1.0].map(|share| values[((values.len() - 1) as f64 * share) as usize])
}

/// With thousands separated.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
