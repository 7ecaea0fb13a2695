//! The text of a template, taken apart: what stands literally, what is inserted, what steers.
//!
//! Done here and not by the engine, because everything that makes a template safe (which statements and filters there are, which
//! names exist, where in a shell script a value stands) has to see the parts, and the engine shows them to nobody.

/// What is wrong with a template, and in which of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the template: {message}")]
pub(crate) struct TemplateError {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl TemplateError {
    /// An error in a line.
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    /// The line in which it begins, from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) part: Part,
}

/// What a part of a template is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// Text that stands for itself.
    Text(String),
    /// `{{ .. }}`: a value to be inserted.
    Value(Tag),
    /// `{% .. %}`: a condition or loop.
    Statement(Statement, Tag),
}

/// What stands between the braces.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tag {
    /// The text, without braces and whitespace control.
    pub(crate) text: String,
    /// Its tokens.
    pub(crate) tokens: Vec<Token>,
}

/// The statements that there are. No assignments, includes, blocks or macros: a template of an action shows values, and what it
/// cannot do cannot go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// `if`
    If,
    /// `elif`
    Elif,
    /// `else`, of an `if` or a `for`
    Else,
    /// `endif`
    EndIf,
    /// `for`
    For,
    /// `endfor`
    EndFor,
    /// `break`
    Break,
    /// `continue`
    Continue,
}

const STATEMENTS: [(&str, Statement); 8] = [
    ("if", Statement::If),
    ("elif", Statement::Elif),
    ("else", Statement::Else),
    ("endif", Statement::EndIf),
    ("for", Statement::For),
    ("endfor", Statement::EndFor),
    ("break", Statement::Break),
    ("continue", Statement::Continue),
];

/// A token of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A name or keyword.
    Name(String),
    /// The inside of a string, as written.
    Text(String),
    /// A number.
    Number,
    /// An operator or bracket.
    Symbol(&'static str),
}

impl Token {
    /// Whether it is this name.
    pub(crate) fn is_name(&self, name: &str) -> bool {
        matches!(self, Self::Name(own) if own == name)
    }

    /// Whether it is this symbol.
    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(own) if *own == symbol)
    }
}

/// Longer ones first.
const SYMBOLS: [&str; 27] = [
    "//", "**", "==", "!=", ">=", "<=", "?.", "?[", "+", "-", "*", "/", "%", "!", ".", ",", ":", "~", "|", "=", ">",
    "<", "(", ")", "[", "]", "@",
];

const RAW_HINT: &str = "text that is not a template stands between `{% raw %}` and `{% endraw %}`";

/// Takes a template apart.
pub(crate) fn parse(source: &str) -> Result<Vec<Segment>, TemplateError> {
    let mut parser = Parser { rest: source, line: 1, trim_next: false, last: '\0', segments: Vec::new() };
    parser.run()?;
    balance(&parser.segments)?;
    Ok(parser.segments)
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    /// Whether the tag before ended with `-`, which removes the whitespace behind it.
    trim_next: bool,
    /// The last character of the text before.
    last: char,
    segments: Vec<Segment>,
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<(), TemplateError> {
        while !self.rest.is_empty() {
            let start = self.next_tag();
            let (text, behind) = self.rest.split_at(start);
            let trims = behind.as_bytes().get(2) == Some(&b'-');
            self.text(text, trims);
            self.rest = behind;
            if behind.is_empty() {
                break;
            }
            let opening = self.take(if trims { 3 } else { 2 });
            match opening.as_bytes().get(1) {
                Some(b'{') => self.value()?,
                Some(b'%') => self.statement()?,
                _ => self.comment()?,
            }
        }
        Ok(())
    }

    /// Where the next tag begins. `${#` is the length of a shell variable, not the beginning of a comment.
    fn next_tag(&self) -> usize {
        let bytes = self.rest.as_bytes();
        let opens = |(at, pair): (usize, &[u8])| match pair {
            b"{{" | b"{%" => true,
            b"{#" => at.checked_sub(1).map_or(self.last == '$', |before| bytes.get(before) == Some(&b'$')).eq(&false),
            _ => false,
        };
        bytes.windows(2).enumerate().position(opens).unwrap_or(bytes.len())
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn text(&mut self, text: &str, trim_end: bool) {
        let line = self.line;
        self.line += text.matches('\n').count();
        let mut kept = text;
        if std::mem::take(&mut self.trim_next) {
            kept = kept.trim_start();
        }
        if trim_end {
            kept = kept.trim_end();
        }
        let skipped = text.find(kept).map_or(0, |at| text.get(..at).map_or(0, |before| before.matches('\n').count()));
        self.last = text.chars().next_back().unwrap_or('\0');
        self.push_text(line + skipped, kept);
    }

    fn push_text(&mut self, line: usize, text: &str) {
        if !text.is_empty() {
            self.segments.push(Segment { line, part: Part::Text(text.to_owned()) });
        }
    }

    fn value(&mut self) -> Result<(), TemplateError> {
        let line = self.line;
        let tag = self.tag("}}")?;
        if tag.tokens.is_empty() {
            return Err(TemplateError::new(line, "`{{ }}` names no value"));
        }
        self.segments.push(Segment { line, part: Part::Value(tag) });
        Ok(())
    }

    fn statement(&mut self) -> Result<(), TemplateError> {
        let line = self.line;
        if let Some(length) = raw_tag(self.rest, "raw") {
            self.take(length);
            return self.raw(line);
        }
        let tag = self.tag("%}")?;
        let word = match tag.tokens.first() {
            Some(Token::Name(word)) => word.as_str(),
            _ => return Err(TemplateError::new(line, format!("`{{%` is followed by no statement; {RAW_HINT}"))),
        };
        let Some((_, statement)) = STATEMENTS.iter().find(|(name, _)| *name == word) else {
            let known = STATEMENTS.map(|(name, _)| name);
            let help = monchero_core::node::suggest(word, &known);
            return Err(TemplateError::new(line, format!("unknown statement `{word}`; {help}; {RAW_HINT}")));
        };
        self.segments.push(Segment { line, part: Part::Statement(*statement, tag) });
        Ok(())
    }

    /// From behind `{% raw %}` to behind `{% endraw %}`: text whatever it looks like.
    fn raw(&mut self, line: usize) -> Result<(), TemplateError> {
        let end = self.rest.match_indices("{%").find_map(|(at, _)| {
            let behind = self.rest.get(at + 2..)?;
            raw_tag(behind, "endraw").map(|length| (at, at + 2 + length))
        });
        let Some((end, behind)) = end else {
            return Err(TemplateError::new(line, "`{% raw %}` is not closed by `{% endraw %}`"));
        };
        let begins = self.line;
        let whole = self.take(behind);
        let text = whole.get(..end).unwrap_or_default();
        self.trim_next = false;
        self.last = text.chars().next_back().unwrap_or('\0');
        self.push_text(begins, text);
        Ok(())
    }

    fn comment(&mut self) -> Result<(), TemplateError> {
        let Some(end) = self.rest.find("#}") else {
            return Err(TemplateError::new(self.line, format!("the comment `{{#` is not closed by `#}}`; {RAW_HINT}")));
        };
        let comment = self.take(end + 2);
        self.trim_next = comment.strip_suffix("#}").is_some_and(|inside| inside.ends_with('-'));
        Ok(())
    }

    /// Reads tokens up to the end of the tag.
    fn tag(&mut self, end: &'static str) -> Result<Tag, TemplateError> {
        let begins = self.line;
        let mut text = String::new();
        let mut tokens = Vec::new();
        loop {
            let blank = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
            text.push_str(self.take(blank));
            if self.rest.is_empty() {
                return Err(TemplateError::new(begins, format!("a tag is not closed by `{end}`; {RAW_HINT}")));
            }
            self.trim_next = self.rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(end));
            if self.trim_next || self.rest.starts_with(end) {
                self.take(end.len() + usize::from(self.trim_next));
                return Ok(Tag { text, tokens });
            }
            let (token, length) = self.token()?;
            text.push_str(self.take(length));
            tokens.push(token);
        }
    }

    fn token(&self) -> Result<(Token, usize), TemplateError> {
        let wrong = |message: String| TemplateError::new(self.line, message);
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest.starts_with(**symbol)) {
            return Ok((Token::Symbol(symbol), symbol.len()));
        }
        let first = self.rest.chars().next().unwrap_or('\0');
        let length_of = |wanted: fn(char) -> bool| self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        match first {
            '"' | '\'' | '`' => {
                let length = string_length(self.rest, first)
                    .ok_or_else(|| wrong(format!("the string that {first} opens is not closed")))?;
                let inside = self.rest.get(1..length - 1).unwrap_or_default();
                Ok((Token::Text(inside.to_owned()), length))
            }
            c if c.is_ascii_digit() => Ok((Token::Number, length_of(|c| c.is_ascii_digit() || c == '.'))),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = length_of(|c| c.is_ascii_alphanumeric() || c == '_');
                Ok((Token::Name(self.rest.get(..length).unwrap_or_default().to_owned()), length))
            }
            c => {
                let shown = monchero_core::text::escape_controls(&c.to_string());
                Err(wrong(format!("`{shown}` has no meaning in a template; {RAW_HINT}")))
            }
        }
    }
}

/// How long the string with this delimiter is, both delimiters included. A backslash takes away the meaning of what follows it.
fn string_length(text: &str, delimiter: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        if std::mem::take(&mut escaped) {
            return None;
        }
        escaped = c == '\\';
        (c == delimiter).then_some(at + 1)
    })
}

/// How long the rest of the tag `{% name %}` is behind its `{%`, if it is that tag.
fn raw_tag(text: &str, name: &str) -> Option<usize> {
    let blank = |c: char| c.is_ascii_whitespace();
    let inside =
        text.strip_prefix('-').unwrap_or(text).trim_start_matches(blank).strip_prefix(name)?.trim_start_matches(blank);
    let behind = inside.strip_prefix('-').unwrap_or(inside).strip_prefix("%}")?;
    Some(text.len() - behind.len())
}

/// How deep conditions may stand in each other.
const MAX_DEPTH: usize = 16;

/// Whether every `if` and `for` is closed, and no loop stands in a loop: the values are bounded, so one loop is too.
fn balance(segments: &[Segment]) -> Result<(), TemplateError> {
    let mut open: Vec<(Statement, usize)> = Vec::new();
    for segment in segments {
        let Part::Statement(statement, tag) = &segment.part else { continue };
        let wrong = |message: String| Err(TemplateError::new(segment.line, message));
        let inner = open.last().map(|(statement, _)| *statement);
        let in_loop = open.iter().any(|(statement, _)| *statement == Statement::For);
        match statement {
            Statement::For if in_loop => return wrong("a loop stands inside of a loop".to_owned()),
            Statement::If | Statement::For if open.len() == MAX_DEPTH => {
                return wrong(format!("more than {MAX_DEPTH} conditions stand in each other"));
            }
            Statement::If | Statement::For => open.push((*statement, segment.line)),
            Statement::Elif if inner == Some(Statement::If) => {}
            Statement::Else if inner.is_some() => {}
            Statement::Break | Statement::Continue if in_loop => {}
            Statement::EndIf if inner == Some(Statement::If) => drop(open.pop()),
            Statement::EndFor if inner == Some(Statement::For) => drop(open.pop()),
            _ => return wrong(format!("`{}` stands where nothing is open that it belongs to", tag.text.trim())),
        }
    }
    match open.first() {
        None => Ok(()),
        Some((Statement::For, line)) => Err(TemplateError::new(*line, "`for` is not closed by `{% endfor %}`")),
        Some((_, line)) => Err(TemplateError::new(*line, "`if` is not closed by `{% endif %}`")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(source: &str) -> String {
        let parts = parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        parts
            .iter()
            .map(|segment| match &segment.part {
                Part::Text(text) => format!("{text:?}"),
                Part::Value(tag) => format!("<{}>", tag.text.trim()),
                Part::Statement(_, tag) => format!("[{}]", tag.text.trim()),
            })
            .collect()
    }

    #[test]
    fn parts_of_a_template() {
        assert_eq!(shown("a {{ b.c }} d"), "\"a \"<b.c>\" d\"");
        assert_eq!(shown("{% if a == \"}}\" %}x{% endif %}"), "[if a == \"}}\"]\"x\"[endif]");
        assert_eq!(shown("a \n{{- b -}}\n c"), "\"a\"<b>\"c\"");
        assert_eq!(shown("a {# no {{ b }} #}c"), "\"a \"\"c\"");
        assert_eq!(shown("${#x} {% raw %}{{ .State }}{% endraw %}!"), "\"${#x} \"\"{{ .State }}\"\"!\"");
        assert_eq!(shown("{{ 'it\\'s }}' }}"), "<'it\\'s }}'>");
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let parts = parse("1\n{#\n#}{{ a }}\n\n{{- b\n}}{% raw %}\n{% endraw %}{{ c }}").unwrap();
        let lines: Vec<usize> = parts.iter().filter(|s| matches!(s.part, Part::Value(_))).map(|s| s.line).collect();
        assert_eq!(lines, [3, 5, 7]);
    }

    #[test]
    fn what_a_template_cannot_do() {
        for (source, word) in [
            ("{% set x = 1 %}", "unknown statement"),
            ("{% include \"x\" %}", "unknown statement"),
            ("{% edif %}", "did you mean"),
            ("{{ a ", "not closed"),
            ("{{ 'a }}", "not closed"),
            ("{{ }}", "names no value"),
            ("{{ {\"a\": 1} }}", "no meaning"),
            ("awk '{{print $1}}'", "raw"),
            ("{% if a %}x", "endif"),
            ("{% for a in b %}{% for c in d %}{% endfor %}{% endfor %}", "inside of a loop"),
            ("{% endif %}", "nothing is open"),
            ("{% if a %}{% endfor %}", "nothing is open"),
            ("{% break %}", "nothing is open"),
            ("{# never", "not closed"),
            ("{% raw %} never", "not closed"),
            ("printf '{%s}'", "raw"),
        ] {
            let error = parse(source).expect_err(source);
            assert!(error.to_string().contains(word), "{source}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "([{}%#$'\"`|\\-\\\\ \n]|raw|endraw|if|for|x|\u{fc}){0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn text_without_braces_stays_itself(text in "[^{]{0,80}") {
            let whole: String = parse(&text).unwrap().into_iter().map(|s| match s.part {
                Part::Text(text) => text,
                _ => String::new(),
            }).collect();
            prop_assert_eq!(whole, text);
        }
    }
}
