//! The syntax of Monit: words, quoted texts and braces; a statement begins with a keyword.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::{Files, Lost, Place, Text};

/// How many statements are read, included ones each time: files may include each other many times.
const MAX_STATEMENTS: usize = 100_000;
/// How deep files include each other.
const MAX_DEPTH: usize = 16;

/// A word or a quoted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Token {
    pub(super) fn lower(&self) -> String {
        if self.quoted { String::new() } else { self.text.to_lowercase() }
    }
}

/// A statement without the words that mean nothing to Monit either.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) tokens: Vec<Token>,
    pub(super) place: Place,
}

impl Statement {
    /// The word at a position as it is written; nothing if there is none.
    pub(super) fn word(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &token.text)
    }

    /// Where a keyword stands.
    pub(super) fn find(&self, keyword: &str) -> Option<usize> {
        self.tokens.iter().position(|token| token.lower() == keyword)
    }

    /// What follows a keyword, an equals sign between them left out.
    pub(super) fn after(&self, keyword: &str) -> Option<&str> {
        let index = self.find(keyword)? + 1;
        let skip = usize::from(matches!(self.word(index), "=" | "=="));
        self.tokens.get(index + skip).map(|token| token.text.as_str())
    }

    /// The whole on one line.
    pub(super) fn text(&self) -> String {
        let words =
            self.tokens.iter().map(|token| if token.quoted { format!("{:?}", token.text) } else { token.text.clone() });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Words that a statement of a line of its own begins with.
const BEGIN: [&str; 16] = [
    "set", "check", "include", "if", "start", "stop", "restart", "group", "depend", "depends", "every", "not", "mode",
    "onreboot", "alert", "noalert",
];
/// Words that Monit reads over.
const NOISE: [&str; 12] = ["is", "as", "are", "has", "the", "than", "usage", "was", "using", "use", "only", "program"];

/// Reads files; one that is included several times is read once.
#[derive(Default)]
pub(super) struct Reader {
    known: BTreeMap<PathBuf, Vec<Statement>>,
    count: usize,
    depth: usize,
}

impl Reader {
    /// The statements of a file, included ones in their place.
    pub(super) fn file(
        &mut self,
        path: &Path,
        files: &mut Files,
        lost: &mut Vec<Lost>,
    ) -> Result<Vec<Statement>, String> {
        if let Some(known) = self.known.get(path) {
            let known = known.clone();
            self.room(known.len())?;
            return Ok(known);
        }
        let Some(text) = files.read(path)? else { return Err("it includes itself".to_owned()) };
        let mut all = Vec::new();
        for statement in statements(&text, lost) {
            if statement.word(0) != "include" {
                self.room(1)?;
                all.push(statement);
                continue;
            }
            let refuse =
                |lost: &mut Vec<Lost>, why: &str| lost.push(Lost::new(&statement.place, &statement.text(), why));
            if self.depth >= MAX_DEPTH {
                refuse(lost, &format!("files are included {MAX_DEPTH} deep"));
                continue;
            }
            self.depth += 1;
            for path in included(Path::new(statement.word(1)), path, files) {
                match self.file(&path, files, lost) {
                    Ok(more) => all.extend(more),
                    Err(why) => refuse(lost, &why),
                }
            }
            self.depth -= 1;
        }
        self.known.insert(path.to_owned(), all.clone());
        Ok(all)
    }

    fn room(&mut self, more: usize) -> Result<(), String> {
        self.count += more;
        if self.count > MAX_STATEMENTS {
            Err(format!("more than {MAX_STATEMENTS} statements are too many"))
        } else {
            Ok(())
        }
    }
}

/// The files that a pattern names, which may have `*` and `?` in the last part.
fn included(pattern: &Path, from: &Path, files: &mut Files) -> Vec<PathBuf> {
    let pattern = from.parent().unwrap_or(Path::new("")).join(pattern);
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains(['*', '?']) {
        return vec![pattern];
    }
    let directory = pattern.parent().unwrap_or(Path::new(""));
    // A pattern that fits nothing, in a directory that is not there, includes nothing.
    if !directory.is_dir() {
        return Vec::new();
    }
    let found = files.find(directory, &|file| monchero_core::text::glob(&name, file));
    found.into_iter().filter(|path| path.parent() == Some(directory)).collect()
}

/// Takes a text apart.
fn statements(text: &Text, lost: &mut Vec<Lost>) -> Vec<Statement> {
    let mut all: Vec<Statement> = Vec::new();
    let mut braces = 0_usize;
    let mut line_before = 0;
    for (token, line) in tokens(text, lost) {
        let word = token.lower();
        let first = line != line_before;
        line_before = line;
        let word_before =
            all.last().and_then(|statement| statement.tokens.last()).map(Token::lower).unwrap_or_default();
        let of_action = matches!(word_before.as_str(), "then" | "else" | "succeeded");
        let begins = braces == 0
            && !of_action
            && (word == "if" || first && BEGIN.contains(&word.as_str()) && word_before != "if");
        match word.as_str() {
            "{" => braces += 1,
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
        if begins || all.is_empty() {
            all.push(Statement { tokens: Vec::new(), place: text.place(line) });
        }
        // `check program` names what is looked at; elsewhere the word means nothing.
        let noise = NOISE.contains(&word.as_str()) && word_before != "check";
        if let Some(statement) = all.last_mut().filter(|_| !noise) {
            statement.tokens.push(token);
        }
    }
    all.retain(|statement| !statement.tokens.is_empty());
    for statement in &mut all {
        if let Some(first) = statement.tokens.first_mut().filter(|token| !token.quoted) {
            first.text.make_ascii_lowercase();
        }
    }
    all
}

/// Words, texts, and the signs `{ } = == != < > <= >= ,`, each with its line.
fn tokens(text: &Text, lost: &mut Vec<Lost>) -> Vec<(Token, usize)> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut chars = text.text.chars().peekable();
    while let Some(c) = chars.next() {
        let at = line;
        match c {
            '\n' => line += 1,
            c if c.is_whitespace() || c == ',' || c == ';' => {}
            '#' => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            '"' | '\'' => {
                let mut inner = String::new();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        // A backslash only keeps a quote from ending the text.
                        Some('\\') if chars.peek() == Some(&c) => inner.extend(chars.next()),
                        Some(c) => {
                            line += usize::from(c == '\n');
                            inner.push(c);
                        }
                        None => {
                            lost.push(Lost::new(&text.place(at), "", "a quote is opened here and never closed"));
                            return found;
                        }
                    }
                }
                found.push((Token { text: inner, quoted: true }, at));
            }
            '{' | '}' => found.push((Token { text: c.to_string(), quoted: false }, at)),
            '=' | '<' | '>' | '!' => {
                let mut sign = c.to_string();
                sign.extend(chars.next_if_eq(&'='));
                found.push((Token { text: sign, quoted: false }, at));
            }
            c => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"{}=<>!,;\"'".contains(*c)) {
                    word.push(c);
                }
                // Whole paths and addresses may hold what else is a sign: `http://host/?a=b`.
                if word.contains("://") || word.starts_with('/') {
                    while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                        word.push(c);
                    }
                }
                found.push((Token { text: word, quoted: false }, at));
            }
        }
    }
    found
}
