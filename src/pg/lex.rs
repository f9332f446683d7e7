//! Finds the statements of an SQL file: enough to name the line of an error and to see what a file creates.
//!
//! Nothing is executed by these cuts; a file always goes to the server whole.

/// One statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// The line on which its first word stands, from 1.
    pub(super) line: usize,
    /// Its text without comments, with runs of blanks squeezed to one.
    pub(super) bare: String,
}

/// The statements of a file.
pub(super) fn statements(text: &str) -> Vec<Statement> {
    let (mut found, mut bare, mut line, mut start) = (Vec::new(), String::new(), 1, 1);
    let mut rest = text;
    while !rest.is_empty() {
        let (token, length) = token(rest);
        let piece = &rest[..length];
        match token {
            Token::Comment | Token::Blank if bare.is_empty() || bare.ends_with(' ') => {}
            Token::Comment | Token::Blank => bare.push(' '),
            Token::End => {
                push(&mut found, start, &mut bare);
            }
            Token::Text | Token::Quoted => {
                if bare.is_empty() {
                    start = line;
                }
                bare.push_str(piece);
            }
        }
        line += piece.matches('\n').count();
        rest = &rest[length..];
    }
    push(&mut found, start, &mut bare);
    found
}

/// The characters of a text that stand outside comments, strings and quoted names.
pub(super) fn outside_quotes(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let (token, length) = token(&text[at..]);
            let start = at;
            at += length;
            if matches!(token, Token::Text | Token::Blank | Token::End) {
                return Some((start, &text[start..at]));
            }
        }
        None
    })
    .flat_map(|(start, piece)| piece.char_indices().map(move |(at, c)| (start + at, c)))
}

/// The line of a character position (from 1) as the server counts, from 1.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    1 + text.chars().take(position.saturating_sub(1)).filter(|c| *c == '\n').count()
}

fn push(found: &mut Vec<Statement>, line: usize, bare: &mut String) {
    let text = std::mem::take(bare);
    let text = text.trim_end();
    if !text.is_empty() {
        found.push(Statement { line, bare: text.to_owned() });
    }
}

enum Token {
    Blank,
    Comment,
    Quoted,
    Text,
    /// A semicolon.
    End,
}

/// The token at the beginning of a text that is not empty, and its length in bytes.
fn token(text: &str) -> (Token, usize) {
    let until = |mark: &str, from: usize| text[from..].find(mark).map_or(text.len(), |at| from + at + mark.len());
    let first = text.chars().next().unwrap_or(' ');
    match first {
        ';' => (Token::End, 1),
        c if c.is_whitespace() => (Token::Blank, text.find(|c: char| !c.is_whitespace()).unwrap_or(text.len())),
        '-' if text.starts_with("--") => (Token::Comment, until("\n", 2)),
        '/' if text.starts_with("/*") => (Token::Comment, block_comment(text)),
        '\'' | '"' => (Token::Quoted, quoted(text, first, false)),
        'e' | 'E' if text[1..].starts_with('\'') => (Token::Quoted, 1 + quoted(&text[1..], '\'', true)),
        '$' => match dollar_tag(text) {
            Some(tag) => (Token::Quoted, until(tag, tag.len())),
            None => (Token::Text, 1),
        },
        c if c.is_alphanumeric() || c == '_' => {
            let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
            (Token::Text, text.find(|c| !word(c)).unwrap_or(text.len()))
        }
        c => (Token::Text, c.len_utf8()),
    }
}

/// Comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// A doubled quote is read as two quoted pieces, which comes to the same.
fn quoted(text: &str, quote: char, backslash: bool) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if backslash && c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// `$$` or `$tag$`; not `$1`.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 1;
    let name = &text[1..end];
    let word = |c: char| c.is_alphanumeric() || c == '_';
    (name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())).then(|| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::{line_of, statements};

    #[test]
    fn semicolons_in_strings_comments_and_bodies_do_not_end_a_statement() {
        let text = "-- a; b\nselect ';', \"x;\", E'\\';' /* ; /* ; */ ; */ ;\n\ncreate function f() as $x$ a; $$ b; $$ $x$;\nselect $1;";
        let found = statements(text);
        let lines: Vec<usize> = found.iter().map(|s| s.line).collect();
        assert_eq!(lines, [2, 4, 5]);
        assert_eq!(found[0].bare, "select ';', \"x;\", E'\\';'");
    }

    #[test]
    fn a_position_becomes_a_line() {
        assert_eq!(line_of("ä\nb\nc", 1), 1);
        assert_eq!(line_of("ä\nb\nc", 3), 2);
        assert_eq!(line_of("ä\nb\nc", 5), 3);
    }
}
