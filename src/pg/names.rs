//! The two schemas of an outbox, and how their names are written into SQL.

use std::fmt;

/// Where an outbox lives.
///
/// In the application's schema stands what applications name: the log `outbox`, the view `outbox_rows`, the public functions. Everything
/// else is in a schema of its own, in which nobody but its owner may create: it alone is in the `search_path` of our functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schemas {
    /// The application's (`database.schema`).
    pub app: String,
    /// The machinery's (`database.internal_schema`).
    pub internal: String,
}

impl Schemas {
    /// Both by name.
    pub fn new(app: &str, internal: &str) -> Self {
        Self { app: app.to_owned(), internal: internal.to_owned() }
    }

    /// SQL with the names in their places: `/*app.*/outbox`, `/*schema.*/outbox_batch`.
    pub(super) fn fill(&self, text: &str) -> String {
        text.replace("/*app.*/", &format!("{}.", identifier(&self.app)))
            .replace("/*schema.*/", &format!("{}.", identifier(&self.internal)))
    }

    /// An object as `File::objects` names it, with its schema.
    pub(super) fn place(&self, object: &str) -> String {
        let (kind, rest) = object.split_once(' ').unwrap_or(("", object));
        let bare = rest.strip_prefix("app.");
        let schema = if bare.is_some() { &self.app } else { &self.internal };
        format!("{kind} {schema}.{}", bare.unwrap_or(rest))
    }
}

/// For sentences: whoever set `database.schema` knows the outbox by that name.
impl fmt::Display for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.app)
    }
}

/// An identifier, quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever the session's settings are.
pub(super) fn literal(text: &str) -> String {
    let quoted = format!("'{}'", text.replace('\'', "''"));
    if text.contains('\\') { format!("E{}", quoted.replace('\\', "\\\\")) } else { quoted }
}

#[cfg(test)]
mod tests {
    use super::{Schemas, identifier, literal};

    #[test]
    fn names_and_strings_are_quoted() {
        assert_eq!(identifier("My \"Schema\""), "\"My \"\"Schema\"\"\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn each_name_goes_to_its_schema() {
        let schemas = Schemas::new("shop", "My \"Schema\"");
        let filled = schemas.fill("select /*schema.*/f() from /*app.*/outbox");
        assert_eq!(filled, "select \"My \"\"Schema\"\"\".f() from \"shop\".outbox");
        assert_eq!(schemas.place("function app.outbox_ack(uuid)"), "function shop.outbox_ack(uuid)");
        assert_eq!(schemas.place("view outbox_x"), "view My \"Schema\".outbox_x");
    }
}
