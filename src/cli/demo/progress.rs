//! What the demo says while it runs: plain lines; on a terminal also one line that is written over.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where progress goes: standard error.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    step: u8,
    /// Whether a line can be written over; not in a file, a pipe or a dumb terminal.
    live: bool,
    shown: String,
    /// When the last line was finished.
    said: Instant,
}

/// Where no line can be written over, nothing is said about progress more often than this.
const SILENCE: Duration = Duration::from_secs(3);

/// How many steps there are.
const STEPS: u8 = 6;

impl Progress {
    pub(super) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let live = io::stderr().is_terminal() && !dumb;
        let begun = Instant::now();
        Self { begun, step: 0, live, shown: String::new(), said: begun }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// A line of its own.
    pub(super) fn line(&mut self, text: &str) {
        let wipe = if self.shown.is_empty() { "" } else { "\r\x1b[K" };
        self.shown.clear();
        self.said = Instant::now();
        write(format_args!("{wipe}{text}\n"));
    }

    /// The next step, with what it is about to do.
    pub(super) fn step(&mut self, title: &str) {
        self.step += 1;
        let seconds = self.seconds();
        let step = self.step;
        self.line(&format!("{seconds:5.1} s  [{step}/{STEPS}] {title}"));
    }

    /// What came of it.
    pub(super) fn told(&mut self, text: &str) {
        let seconds = self.seconds();
        self.line(&format!("{seconds:5.1} s        {text}"));
    }

    /// How far it is.
    pub(super) fn live(&mut self, text: &str) {
        if !self.live {
            if self.said.elapsed() >= SILENCE {
                self.told(text);
            }
        } else if self.shown != text {
            // Short enough not to wrap: a wrapped line cannot be written over.
            write(format_args!("\r\x1b[K               {text:.63}"));
            text.clone_into(&mut self.shown);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.shown.is_empty() {
            write(format_args!("\r\x1b[K"));
        }
    }
}

/// Nobody may be reading: the demo goes on.
fn write(text: fmt::Arguments<'_>) {
    let mut err = io::stderr().lock();
    let _gone: io::Result<()> = err.write_fmt(text).and_then(|()| err.flush());
}

/// `1,500 orders`, `1 order`.
pub(super) fn many(n: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// `1,500`.
pub(super) fn thousands(n: u64) -> String {
    if n < 1_000 { n.to_string() } else { format!("{},{:03}", thousands(n / 1_000), n % 1_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_easy_to_read() {
        let texts = [0, 1, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "1", "999", "1,000", "1,234,567"]);
        assert_eq!((many(1, "task"), many(0, "task")), ("1 task".to_owned(), "0 tasks".to_owned()));
    }
}
