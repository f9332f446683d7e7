//! Where values come from, from the weakest to the strongest: defaults, file, environment, `--set`, flags.
//!
//! Our own environment provider, because figment's guesses types and so corrupts a password such as `0123`: here
//! text stays text until the type of its key is known.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use super::origin::{Key, Origin};
use super::problem::Problem;

/// The file that is read if it exists and no other is named.
pub const DEFAULT_FILE: &str = "/etc/outboxd/outboxd.toml";

/// Everything that a configuration is made from.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--config`: this file, and no other. Without it `OUTBOXD_CONFIG`, and without that [`DEFAULT_FILE`] if it exists.
    pub file: Option<PathBuf>,
    /// `--set key=value`, in order; a later one wins.
    pub sets: Vec<String>,
    /// Flags that stand for a key, such as `--listen` for `http.listen`.
    pub flags: Vec<Flag>,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// A missing URL is no error: for commands that need only one of the servers, or none.
    pub partial: bool,
    /// No secret file is opened: for commands that need no secret, while one is being replaced.
    pub without_secrets: bool,
    /// Look at the file alone: a missing URL is no error, and no secret file is opened.
    pub file_only: bool,
}

/// One flag of the command line that sets a key.
#[derive(Clone)]
pub struct Flag {
    /// As typed, for messages: `--listen`.
    pub name: String,
    /// The key, dotted.
    pub key: String,
    /// Its value, understood as in the environment.
    pub value: String,
}

impl Sources {
    /// The environment of this process, and nothing else yet.
    pub fn process() -> Self {
        Self { env: std::env::vars_os().collect(), ..Self::default() }
    }

    /// The given environment, for tests.
    pub fn environment<K: Into<OsString>, V: Into<OsString>>(env: impl IntoIterator<Item = (K, V)>) -> Self {
        Self { env: env.into_iter().map(|(k, v)| (k.into(), v.into())).collect(), ..Self::default() }
    }

    /// Adds a flag.
    #[must_use]
    pub fn flag(mut self, name: &str, key: &str, value: impl Into<String>) -> Self {
        self.flags.push(Flag { name: name.to_owned(), key: key.to_owned(), value: value.into() });
        self
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        self.env.iter().find(|(k, v)| k == name && !v.is_empty()).map(|(_, v)| v)
    }

    /// The file to read, if any.
    fn chosen_file(&self) -> Option<PathBuf> {
        let named = self.file.clone().or_else(|| self.variable("OUTBOXD_CONFIG").map(PathBuf::from));
        named.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()))
    }

    /// All layers, the weakest first. A layer is a rank: within it, a key and its `*_file` exclude each other.
    pub(super) fn layers(&self, problems: &mut Vec<Problem>) -> Vec<Vec<Leaf>> {
        let file = self.chosen_file().map(|path| read_file(&path, problems)).unwrap_or_default();
        let sets = self.sets.iter().enumerate().filter_map(|(index, text)| match parse_set(text) {
            Ok(leaf) => Some(vec![leaf]),
            Err(why) => {
                // The text is not repeated: it may be a URL with a password.
                problems.push(Problem::whole(&Origin::Set, format!("argument {} {why}", index + 1)));
                None
            }
        });
        let sets: Vec<_> = sets.collect();
        let flags = self.flags.iter().map(|flag| {
            let key = Key(flag.key.split('.').map(str::to_owned).collect());
            vec![Leaf { key, raw: Raw::Text(flag.value.clone()), origin: Origin::Flag(flag.name.clone()) }]
        });
        let (aliases, variables) = if self.file_only { Default::default() } else { self.variables(problems) };
        [file, aliases, variables].into_iter().chain(sets).chain(flags).collect()
    }

    /// The environment's two ranks: well-known names, and our own.
    fn variables(&self, problems: &mut Vec<Problem>) -> (Vec<Leaf>, Vec<Leaf>) {
        let (mut aliases, mut own) = (Vec::new(), Vec::new());
        for (name, value) in &self.env {
            let Some(name) = name.to_str() else { continue };
            let alias = ALIASES.iter().find(|(alias, _)| *alias == name && !value.is_empty());
            let key = match (alias, name.strip_prefix("OUTBOXD_")) {
                (Some((_, path)), _) => Key::of(path),
                // Only names with `__` are keys: Kubernetes injects OUTBOXD_SERVICE_HOST and the like.
                (None, Some(rest)) if rest.contains("__") => Key(rest.split("__").map(str::to_lowercase).collect()),
                _ => continue,
            };
            let origin = Origin::Variable(name.to_owned());
            match value.to_str() {
                Some(text) => {
                    let leaf = Leaf { key, raw: Raw::Text(text.to_owned()), origin };
                    if alias.is_some() { aliases.push(leaf) } else { own.push(leaf) }
                }
                None => problems.push(Problem::new(&key, &origin, "its value is not UTF-8")),
            }
        }
        own.sort_by(|a, b| a.key.cmp(&b.key));
        (aliases, own)
    }

    /// Variables that were probably meant as keys: `OUTBOXD_DATABASE_URL` with one underscore.
    pub(super) fn near_misses(&self, known: &[Key], warnings: &mut Vec<Problem>) {
        if self.file_only {
            return;
        }
        for name in self.env.iter().filter_map(|(name, _)| name.to_str()).filter(|name| !name.contains("__")) {
            if let Some(key) = known.iter().find(|key| key.variable().replace("__", "_") == name) {
                let origin = Origin::Variable(name.to_owned());
                warnings.push(Problem::whole(&origin, format!("ignored; did you mean {}?", key.variable())));
            }
        }
    }
}

/// Names that many platforms set; the lowest rank of the environment. An empty value counts as not set.
const ALIASES: [(&str, &[&str]); 4] = [
    ("DATABASE_URL", &["database", "url"]),
    ("DATABASE_URL_FILE", &["database", "url_file"]),
    ("REDIS_URL", &["redis", "default", "url"]),
    ("REDIS_URL_FILE", &["redis", "default", "url_file"]),
];

/// One value on its way into the configuration.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) key: Key,
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// A value before its key's type is known.
#[derive(Clone)]
pub(super) enum Raw {
    /// From the environment or the command line.
    Text(String),
    /// From a file.
    Typed(Value),
}

fn parse_set(text: &str) -> Result<Leaf, String> {
    let quoted = text.char_indices().scan(false, |inside, (index, c)| {
        *inside ^= c == '"';
        Some((index, c, *inside))
    });
    let at = quoted.into_iter().find(|(_, c, inside)| *c == '=' && !inside).map(|(index, ..)| index);
    let (key, value) =
        at.map(|at| (&text[..at], &text[at + 1..])).ok_or("has no `=`: write --set section.key=value")?;
    Ok(Leaf { key: Key::parse(key)?, raw: Raw::Text(value.to_owned()), origin: Origin::Set })
}

/// Reads a TOML file into leaves. Its errors name line and column, never the line's text: it may hold a password.
fn read_file(path: &Path, problems: &mut Vec<Problem>) -> Vec<Leaf> {
    let origin = Origin::File(path.to_owned());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let next = "name an existing, readable file with --config or OUTBOXD_CONFIG";
            problems.push(Problem::whole(&origin, format!("cannot be read ({error}): {next}")));
            return Vec::new();
        }
    };
    let parsed = toml::from_str::<toml::Table>(&text);
    let dict = parsed
        .map_err(|error| explain(&text, &error))
        .and_then(|table| Value::serialize(table).map_err(|_| "holds a value that is no configuration".to_owned()));
    let mut leaves = Vec::new();
    match dict {
        Ok(Value::Dict(_, dict)) => flatten(&Key::default(), dict, &origin, &mut leaves),
        Ok(_) => {}
        Err(message) => problems.push(Problem::whole(&origin, message)),
    }
    leaves
}

fn explain(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: not TOML: {}", error.message().replace('\n', "; "))
}

fn flatten(at: &Key, dict: Dict, origin: &Origin, leaves: &mut Vec<Leaf>) {
    for (segment, value) in dict {
        let key = at.child(&segment);
        match value {
            // An empty table is kept: `[redis.blue]` without keys is a target without a URL, not nothing.
            Value::Dict(_, inner) if !inner.is_empty() => flatten(&key, inner, origin, leaves),
            value => leaves.push(Leaf { key, raw: Raw::Typed(value), origin: origin.clone() }),
        }
    }
}
