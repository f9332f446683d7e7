//! Logs, to the standard error output: JSON lines for machines, text on a terminal. Lines for systemd's journal begin
//! with their priority, which it takes off.
//!
//! Every event has a stable name in its field `event` (`event = "queue.published"`), given first at the call; a line without
//! one gets the name of its module. Fields of the enclosing spans are added. Payloads and credentials are never logged.

use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use super::journal::{is_journal, priority};
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Where lines go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A file, a pipe, a container's log.
    Plain,
    /// Somebody reads along: `log.format = "auto"` is text, with colours.
    Terminal,
    /// systemd's journal.
    Journal,
}

impl Output {
    /// What the standard error output of this process is.
    pub fn stderr() -> Self {
        let stderr = std::io::stderr();
        if is_journal(std::env::var_os("JOURNAL_STREAM").as_deref(), &stderr) {
            Self::Journal
        } else if stderr.is_terminal() {
            Self::Terminal
        } else {
            Self::Plain
        }
    }
}

/// Changes the level of a running program.
#[derive(Debug, Clone)]
pub struct Logs(reload::Handle<Targets, Registry>);

impl Logs {
    /// Sets up logging for the whole process. Once: what is set up already stays.
    pub fn init(settings: &LogSettings) -> Self {
        let (subscriber, logs) = subscriber(settings, Output::stderr(), std::io::stderr);
        let _first = tracing::subscriber::set_global_default(subscriber);
        logs
    }

    /// Uses the level of `settings` from now on. The format stays.
    pub fn set_level(&self, settings: &LogSettings) {
        // Fails only when the subscriber is gone, and nobody logs any more.
        let _changed = self.0.reload(targets(&settings.level));
    }
}

/// A subscriber that writes to `writer`; `output` decides what `auto` means.
pub fn subscriber<W>(settings: &LogSettings, output: Output, writer: W) -> (impl Subscriber + Send + Sync, Logs)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let terminal = output == Output::Terminal;
    let style = match settings.format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if !terminal => Style::Json,
        LogFormat::Auto | LogFormat::Text => {
            Style::Text { colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
        }
    };
    let (filter, handle) = reload::Layer::new(targets(&settings.level));
    (Registry::default().with(filter).with(Lines { style, journal: output == Output::Journal, writer }), Logs(handle))
}

fn targets(level: &LogLevel) -> Targets {
    let filter = |name: &str| name.parse().unwrap_or(LevelFilter::INFO);
    let parts = level.parts().map(|(module, level)| (module.to_owned(), filter(level)));
    Targets::new().with_default(filter(level.base())).with_targets(parts)
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Json,
    Text { colours: bool },
}

/// Writes one line per event.
struct Lines<W> {
    style: Style,
    journal: bool,
    writer: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                outer.0.iter().for_each(|(name, value)| fields.add_missing(name, value));
            }
        }
        let metadata = event.metadata();
        let name = fields.take("event").unwrap_or_else(|| metadata.target().replace("::", ".").into());
        let message = fields.take("message");
        let head = Head { time: Timestamp::now(), level: *metadata.level(), target: metadata.target(), name, message };
        let mut line = if self.journal { priority(head.level).to_owned() } else { String::new() };
        match self.style {
            Style::Json => json_line(&mut line, &head, &fields),
            Style::Text { colours } => text_line(&mut line, &head, &fields, colours),
        }
        // One write per line, so that lines of several threads do not mix. A closed stderr is nobody's to tell.
        let _told = self.writer.make_writer_for(metadata).write_all(line.as_bytes());
    }
}

/// What every line has.
struct Head<'a> {
    time: Timestamp,
    level: Level,
    target: &'a str,
    name: Value,
    message: Option<Value>,
}

fn json_line(line: &mut String, head: &Head<'_>, fields: &Fields) {
    let (time, level, name) = (head.time, head.level.as_str().to_ascii_lowercase(), &head.name);
    add(line, format_args!("{{\"timestamp\":\"{time:.6}\",\"level\":\"{level}\",\"event\":{name}"));
    if let Some(message) = &head.message {
        add(line, format_args!(",\"message\":{message}"));
    }
    for (name, value) in &fields.0 {
        // A field must not take the place of what every line has.
        let taken = matches!(*name, "timestamp" | "level" | "target");
        let name = Value::from(if taken { format!("{name}_") } else { (*name).to_owned() });
        add(line, format_args!(",{name}:{value}"));
    }
    add(line, format_args!(",\"target\":{}}}\n", Value::from(head.target)));
}

fn text_line(line: &mut String, head: &Head<'_>, fields: &Fields, colours: bool) {
    let (before, after) = if colours { (colour(head.level), "\u{1b}[0m") } else { ("", "") };
    let (time, level, name) = (head.time, head.level.as_str(), bare(&head.name));
    add(line, format_args!("{time:.3} {before}{level:<5}{after} {name}"));
    if let Some(message) = &head.message {
        // Escaped as JSON does it: a message must not forge a second line.
        let quoted = message.to_string();
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&quoted);
        add(line, format_args!(" {}", inner.replace("\\\"", "\"")));
    }
    for (name, value) in &fields.0 {
        add(line, format_args!(" {name}={}", bare(value)));
    }
    line.push('\n');
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        _ => "\u{1b}[2m",
    }
}

/// A value without quotes where it needs none.
fn bare(value: &Value) -> String {
    let simple = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "._-:/+@%".contains(c));
    value.as_str().filter(|text| simple(text)).map_or_else(|| value.to_string(), str::to_owned)
}

fn add(line: &mut String, what: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = line.write_fmt(what);
}

/// Fields in the order of their appearance.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, old)) => *old = value,
            None => self.0.push((field.name(), value)),
        }
    }

    fn add_missing(&mut self, name: &'static str, value: &Value) {
        if self.0.iter().all(|(known, _)| *known != name) {
            self.0.push((name, value.clone()));
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}
