//! Settings as they are written: a small tree, and its YAML.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::Place;

/// How wide a line of YAML may be before a map or list is written over several.
const WIDTH: usize = 110;

/// A part of the settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Setting {
    /// What is no text for YAML, as it is written: a number, `true`.
    Plain(String),
    /// A text, quoted where YAML needs it.
    Text(String),
    /// A secret, which stands elsewhere.
    Secret(Secret),
    List(Vec<Setting>),
    Map(Vec<(String, Setting)>),
}

/// A secret of the old configuration. Its text is never written: it is known so that the new configuration can be judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Secret {
    /// It has to be put into a file.
    File { path: PathBuf, text: String, from: Place },
    /// It stands in a variable of the environment; `like` is what it may look like.
    Variable { name: String, like: String },
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Setting {
    fn from(number: u64) -> Self {
        Self::Plain(number.to_string())
    }
}

impl From<bool> for Setting {
    fn from(truth: bool) -> Self {
        Self::Plain(truth.to_string())
    }
}

impl From<Duration> for Setting {
    fn from(span: Duration) -> Self {
        Self::Plain(monchero_core::duration::format(span))
    }
}

impl<T: Into<Setting>> From<Vec<T>> for Setting {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Setting {
    /// A command of the kind `plugin`: one text where that is split into the same words, else a list.
    pub(crate) fn command(words: Vec<String>) -> Self {
        let special = |c: char| c.is_whitespace() || "'\"\\|&;<>#$*?~`()".contains(c);
        let simple = |word: &String| !word.is_empty() && !word.contains(special);
        if words.iter().all(simple) { words.join(" ").into() } else { words.into() }
    }

    /// A map of these settings.
    pub(crate) fn map<const N: usize>(entries: [(&str, Setting); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Sets an entry of a map; anything else becomes a map.
    pub(crate) fn insert(&mut self, key: &str, value: impl Into<Setting>) {
        if !matches!(self, Self::Map(_)) {
            *self = Self::Map(Vec::new());
        }
        if let Self::Map(entries) = self {
            let value = value.into();
            match entries.iter_mut().find(|(known, _)| known == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key.to_owned(), value)),
            }
        }
    }

    /// The entry of a map, made empty if it is not there.
    pub(crate) fn entry(&mut self, key: &str) -> &mut Setting {
        if !matches!(self, Self::Map(entries) if entries.iter().any(|(known, _)| known == key)) {
            self.insert(key, Self::Map(Vec::new()));
        }
        let index = match self {
            Self::Map(entries) => entries.iter().position(|(known, _)| known == key),
            _ => None,
        };
        match (self, index) {
            (Self::Map(entries), Some(index)) => &mut entries[index].1,
            (other, _) => other,
        }
    }

    /// All secrets in it.
    pub(crate) fn secrets<'a>(&'a self, found: &mut Vec<&'a Secret>) {
        match self {
            Self::Secret(secret) => found.push(secret),
            Self::List(items) => items.iter().for_each(|item| item.secrets(found)),
            Self::Map(entries) => entries.iter().for_each(|(_, value)| value.secrets(found)),
            Self::Plain(_) | Self::Text(_) => {}
        }
    }

    /// On one line.
    fn flow(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Text(text) => scalar(text),
            Self::Secret(Secret::File { path, .. }) => format!("{{ file: {} }}", scalar(&path.to_string_lossy())),
            Self::Secret(Secret::Variable { name, .. }) => format!("{{ env: {} }}", scalar(name)),
            Self::List(items) => format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", ")),
            Self::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Self::Map(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{}: {}", scalar(key), value.flow())).collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }

    /// Whether a part of it reads better as a block of lines.
    fn has_block(&self) -> bool {
        match self {
            Self::Text(text) => is_block(text),
            Self::List(items) => items.iter().any(Self::has_block),
            Self::Map(entries) => entries.iter().any(|(_, value)| value.has_block()),
            Self::Plain(_) | Self::Secret(_) => false,
        }
    }

    /// What follows `key:`, from the blank before it to the end of the line; the key stands `indent` columns in.
    pub(crate) fn yaml(&self, indent: usize) -> String {
        let pad = " ".repeat(indent + 2);
        match self {
            Self::Text(text) if is_block(text) => {
                let lines: String = text
                    .lines()
                    .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{pad}{line}\n") })
                    .collect();
                format!(" |\n{lines}")
            }
            Self::Map(entries) if !entries.is_empty() => {
                let flow = self.flow();
                if !self.has_block() && flow.len() + indent < WIDTH {
                    return format!(" {flow}\n");
                }
                let mut out = "\n".to_owned();
                for (key, value) in entries {
                    let _ = write!(out, "{pad}{}:{}", scalar(key), value.yaml(indent + 2));
                }
                out
            }
            Self::List(items) if !items.is_empty() && self.flow().len() + indent >= WIDTH => {
                let items: String = items.iter().map(|item| format!("{pad}- {}\n", item.flow())).collect();
                format!("\n{items}")
            }
            other => format!(" {}\n", other.flow()),
        }
    }
}

/// Whether a text is written as a block of lines: it has several, ends as lines do, and has nothing that a block cannot show.
fn is_block(text: &str) -> bool {
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && text.len() > 1
        && !text.starts_with([' ', '\n'])
        && text.chars().all(|c| c == '\n' || (!c.is_control() && !is_odd(c)))
}

/// Characters that YAML takes for line ends or refuses.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A text as YAML, the same in maps, in lists and on lines of its own.
pub(crate) fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || is_odd(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether YAML takes a text as it stands, and for a text (or for what is meant: `80%`, `true`).
fn is_plain(text: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || " /._-%=+@():$^;<>*&!?|~".contains(c);
    text.starts_with(|c: char| c.is_alphanumeric() || c == '/')
        && text.chars().all(inner)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !["null", "no", "yes", "on", "off", "true", "false", "y", "n"].contains(&text.to_lowercase().as_str())
}
