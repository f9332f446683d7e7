//! From sources to a [`Config`]: merge the layers, read secret files, extract by type, check what belongs together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use figment::error::{Actual, Kind as Fault};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::origin::{Key, Origin, Origins};
use super::problem::{ConfigErrors, Problem};
use super::schema::{self, Kind, Shape};
use super::secret_file::{self, SecretFiles};
use super::sources::{Leaf, Raw, Sources};
use super::{Config, checks, suggest};

pub(super) fn load(sources: &Sources) -> Result<Config, ConfigErrors> {
    let schema = schema::json_schema();
    let mut tree = Tree {
        root: Shape(&schema),
        leaves: BTreeMap::new(),
        bad: BTreeSet::new(),
        problems: Vec::new(),
        secrets: SecretFiles::default(),
    };
    for layer in sources.layers(&mut tree.problems) {
        tree.apply(layer);
    }
    if !sources.file_only && !sources.without_secrets {
        tree.read_secret_files();
    }
    let Some(mut config) = tree.extract() else { return Err(ConfigErrors(tree.problems)) };
    config.origins = Origins(tree.leaves.into_iter().map(|(key, (_, origin))| (key, origin)).collect());
    config.secrets = tree.secrets;
    let mut problems = tree.problems;
    checks::check(&config, &tree.bad, sources.file_only || sources.partial, &mut problems);
    if !problems.is_empty() {
        return Err(ConfigErrors(problems));
    }
    config.warnings = checks::warnings(&config, sources);
    Ok(config)
}

/// The merged values, each with its origin. A list is one leaf.
struct Tree<'a> {
    root: Shape<'a>,
    leaves: BTreeMap<Key, (Value, Origin)>,
    /// Keys that are reported already: no further complaint about them.
    bad: BTreeSet<Key>,
    problems: Vec<Problem>,
    secrets: SecretFiles,
}

impl Tree<'_> {
    fn apply(&mut self, layer: Vec<Leaf>) {
        let here: BTreeMap<Key, Origin> = layer.iter().map(|leaf| (leaf.key.clone(), leaf.origin.clone())).collect();
        for leaf in layer {
            match self.understand(&leaf) {
                Ok(value) => {
                    self.exclude(&leaf, &here);
                    self.bad.remove(&leaf.key);
                    self.leaves.insert(leaf.key, (value, leaf.origin));
                }
                Err(problem) => {
                    self.bad.insert(leaf.key);
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem);
                    }
                }
            }
        }
    }

    /// Gives a leaf the type that its key asks for, as far as the schema tells it.
    fn understand(&self, leaf: &Leaf) -> Result<Value, Problem> {
        let shape = self.root.find(&leaf.key).map_err(|depth| {
            let known = Key(leaf.key.0[..=depth].to_vec());
            Problem::new(&known, &leaf.origin, suggest::unknown_key(self.root, &leaf.key, depth, &leaf.origin))
        })?;
        let fail = |message: String| Problem::new(&leaf.key, &leaf.origin, message);
        let value = match &leaf.raw {
            Raw::Typed(value) => value.clone(),
            Raw::Text(text) => coerce(shape.kind(), text).map_err(fail)?,
        };
        if matches!(shape.kind(), Kind::Section | Kind::Names) {
            return if matches!(value, Value::Dict(..)) { Ok(value) } else { Err(fail(is_a_table(shape, &leaf.key))) };
        }
        let (min, max) = shape.range();
        match value.to_i128().filter(|number| shape.kind() == Kind::Integer && !(min..=max).contains(number)) {
            None => Ok(value),
            Some(number) if max == i128::from(i64::MAX) => {
                Err(fail(format!("{number} is too small: use {min} or more")))
            }
            Some(number) => Err(fail(format!("{number} is out of range: use {min} to {max}"))),
        }
    }

    /// `url` and `url_file` exclude each other within a layer; across layers the stronger one replaces its twin.
    fn exclude(&mut self, leaf: &Leaf, here: &BTreeMap<Key, Origin>) {
        let Some(twin) = self.twin(&leaf.key) else { return };
        let is_file = leaf.key.last().ends_with("_file");
        match here.get(&twin) {
            Some(other) if is_file => {
                let message = format!("both this and {twin} are set (by {other}): keep one");
                self.problems.push(Problem::new(&leaf.key, &leaf.origin, message));
            }
            Some(_) => {}
            None => {
                self.leaves.remove(&twin);
            }
        }
    }

    /// `x_file` for the secret `x`, and the other way round.
    fn twin(&self, key: &Key) -> Option<Key> {
        let last = key.last();
        let other = last.strip_suffix("_file").map_or_else(|| format!("{last}_file"), str::to_owned);
        let twin = key.parent().child(&other);
        self.root.find(&twin).ok().map(|_| twin)
    }

    fn read_secret_files(&mut self) {
        let files: Vec<_> = self.leaves.iter().filter(|(key, _)| key.last().ends_with("_file")).collect();
        let mut found = Vec::new();
        for (key, (value, origin)) in files {
            let (Some(path), Some(twin)) = (value.as_str().map(Path::new), self.twin(key)) else { continue };
            match secret_file::read(path) {
                Ok(text) => {
                    self.secrets.add(path, &text);
                    let origin = Origin::SecretFile(path.to_owned(), Box::new(origin.clone()));
                    found.push((twin, (Value::from(text), origin)));
                }
                Err(why) => {
                    self.bad.insert(twin);
                    self.problems.push(Problem::new(key, origin, format!("{} {why}", path.display())));
                }
            }
        }
        self.leaves.extend(found);
    }

    /// Extracts by type. What figment refuses is noted and taken away, until the rest is accepted: so that all is told at once.
    fn extract(&mut self) -> Option<Config> {
        loop {
            let errors = match Figment::from(Merged(nest(&self.leaves))).extract::<Config>() {
                Ok(config) => return Some(config),
                Err(errors) => errors,
            };
            for error in errors {
                let path = Key(error.path.clone());
                let blamed = (1..=path.0.len()).rev().map(|length| Key(path.0[..length].to_vec()));
                let blamed = blamed.into_iter().find(|key| self.leaves.contains_key(key));
                let message = sentence(&error.kind);
                let Some((key, (_, origin))) = blamed.and_then(|key| self.leaves.remove_entry(&key)) else {
                    self.problems.push(Problem::new(&path, &Origin::Default, message));
                    return None;
                };
                self.problems.push(Problem::new(&path, &origin, message));
                self.bad.insert(key);
            }
        }
    }
}

/// Text from the environment or the command line, as the type of its key reads it.
fn coerce(kind: Kind, text: &str) -> Result<Value, String> {
    let integer =
        |text: &str| text.trim().parse::<i64>().map_err(|_| format!("{:?} is not a whole number", text.trim()));
    match kind {
        Kind::Integer => integer(text).map(Value::from),
        Kind::Boolean => match text.trim() {
            "true" => Ok(Value::from(true)),
            "false" => Ok(Value::from(false)),
            other => Err(format!("{other:?} is neither true nor false")),
        },
        Kind::Integers => {
            let numbers: Result<Vec<_>, _> =
                text.split(',').filter(|part| !part.trim().is_empty()).map(integer).collect();
            numbers.map(Value::from)
        }
        Kind::Texts => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::from(parts.collect::<Vec<_>>()))
        }
        Kind::Text | Kind::Section | Kind::Names => Ok(Value::from(text)),
    }
}

fn is_a_table(shape: Shape<'_>, key: &Key) -> String {
    match shape.kind() {
        Kind::Names => format!("this is a table of names: write [{key}.NAME]"),
        _ => format!("this is a table, not a value; its keys are {}", shape.keys().collect::<Vec<_>>().join(", ")),
    }
}

/// The merged values for figment.
struct Merged(Dict);

impl Provider for Merged {
    fn metadata(&self) -> Metadata {
        Metadata::named("merged sources")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

fn nest(leaves: &BTreeMap<Key, (Value, Origin)>) -> Dict {
    let mut root = Dict::new();
    for (key, (value, _)) in leaves {
        place(&mut root, &key.0, value);
    }
    root
}

fn place(table: &mut Dict, path: &[String], value: &Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value.clone());
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = inner {
                place(inner, rest, value);
            }
        }
    }
}

/// figment's refusal as a sentence. A string that was found is never repeated, for it may be a secret.
fn sentence(fault: &Fault) -> String {
    match fault {
        Fault::Message(message) => message.clone(),
        Fault::InvalidType(found, expected) | Fault::InvalidValue(found, expected) => {
            format!("expected {}, found {}", plain(expected), describe(found))
        }
        Fault::UnknownVariant(found, expected) => {
            format!("{found:?} is none of {}; {}", expected.join(", "), suggest::hint(found, expected.iter().copied()))
        }
        _ => "its value does not fit".to_owned(),
    }
}

fn plain(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        "enum" | "string" => "a string",
        "path string" => "a path",
        "a sequence" => "a list",
        other => other,
    }
}

fn describe(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a fraction",
        Actual::Str(_) | Actual::Char(_) => "a string",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_the_type_of_its_key_and_otherwise_left_alone() {
        assert_eq!(coerce(Kind::Text, "0123").unwrap().as_str(), Some("0123"));
        assert_eq!(coerce(Kind::Text, "[a,b]").unwrap().as_str(), Some("[a,b]"));
        assert_eq!(coerce(Kind::Integer, " 12 ").unwrap().to_i128(), Some(12));
        assert_eq!(coerce(Kind::Boolean, "true").unwrap().to_bool(), Some(true));
        assert_eq!(coerce(Kind::Integers, "0, 3,6").unwrap().as_array().map(<[_]>::len), Some(3));
        let keys = coerce(Kind::Texts, "a:1, b").unwrap();
        assert_eq!(keys.as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>(), ["a:1", "b"]);
        assert_eq!(coerce(Kind::Integer, "many").unwrap_err(), "\"many\" is not a whole number");
        assert_eq!(coerce(Kind::Boolean, "yes").unwrap_err(), "\"yes\" is neither true nor false");
    }
}
