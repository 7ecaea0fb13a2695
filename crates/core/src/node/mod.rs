//! Settings as the user wrote them: a tree that knows where each of its parts stands.
//!
//! The tree knows nothing of YAML. Structs are read from it with serde; errors point at the exact node and name what was
//! probably meant. Scalars keep their source text, so `010` stays `010` where a text is wanted and `80` can be a threshold.

mod reader;

use std::fmt;

use serde::de::DeserializeOwned;

use crate::name::MAX_NAME;
use crate::text::quote;

/// Where something stands: a file (by its number in the list of files that were read) and a stretch of bytes in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Which file.
    pub file: u32,
    /// The first byte.
    pub start: u32,
    /// The byte behind the last.
    pub end: u32,
}

/// A part of the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// A text or number.
    Scalar {
        /// The text, without quotes.
        text: Box<str>,
        /// Whether it stood in quotes or in a block, so that it is a text whatever it looks like.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, without doubled keys.
    Map(Vec<(Key, Node)>),
}

/// The key of an entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Where it stands.
    pub span: Span,
    /// The text.
    pub name: Box<str>,
}

/// What is wrong with settings, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// Where.
    pub span: Span,
    /// The keys that lead there, joined by dots: `http.expect.status`.
    pub path: String,
    /// What is wrong: one sentence fragment.
    pub message: String,
    /// What was probably meant or what to do.
    pub help: Option<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for SettingsError {}

/// Fetches what `{ file: .. }`, `{ env: .. }` and `{ credential: .. }` refer to. Only the loader of the configuration can.
pub trait Secrets {
    /// The secret's text, or why it cannot be had.
    fn fetch(&self, source: SecretSource<'_>) -> Result<String, String>;
}

/// Where a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretSource<'a> {
    /// In the configuration itself, at this place: allowed if others cannot read that file.
    Text(&'a str, Span),
    /// In a file; a final newline is not part of it.
    File(&'a str),
    /// In an environment variable of the daemon.
    Env(&'a str),
    /// In systemd's credentials directory.
    Credential(&'a str),
}

/// The name of the newtype by which a [`crate::Secret`] asks the deserializer for its text.
pub(crate) const SECRET_TOKEN: &str = "$monchero::Secret";
/// The same for a [`crate::secret::MaybeSecret`], whose bare scalar is a plain text.
pub(crate) const MAYBE_SECRET_TOKEN: &str = "$monchero::MaybeSecret";

impl Node {
    /// A map without entries, for a kind whose settings are all optional.
    pub fn empty_map(span: Span) -> Self {
        Self { span, value: Value::Map(Vec::new()) }
    }

    /// The entry of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| &*k.name == key).map(|(_, node)| node)
    }

    /// The entries, if this is a map; none otherwise.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, if this is a scalar.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What this is, in words for a message.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar { text, .. } => quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Reads a struct. If `short_for` names a setting, a bare scalar or list is read as `{ setting: value }`.
    pub fn read<T: DeserializeOwned>(
        &self,
        short_for: Option<&'static str>,
        secrets: &dyn Secrets,
    ) -> Result<T, SettingsError> {
        let wrapped;
        let node = match (&self.value, short_for) {
            (Value::Scalar { .. } | Value::List(_), Some(setting)) => {
                let key = Key { span: self.span, name: Box::from(setting) };
                wrapped = Node { span: self.span, value: Value::Map(vec![(key, self.clone())]) };
                &wrapped
            }
            (Value::Null, _) => {
                wrapped = Node::empty_map(self.span);
                &wrapped
            }
            _ => self,
        };
        reader::read(node, secrets)
    }

    /// An error about the setting that a dotted path names (items of lists by number, from 1), or about what is nearest to it; about
    /// the whole if the path is empty.
    pub fn error_at(&self, path: &str, message: String) -> SettingsError {
        let mut node = self;
        for key in path.split('.').filter(|key| !key.is_empty()) {
            let inner = match &node.value {
                Value::List(items) => key.parse::<usize>().ok().and_then(|number| items.get(number.checked_sub(1)?)),
                _ => node.get(key),
            };
            let Some(inner) = inner else { break };
            node = inner;
        }
        SettingsError { span: node.span, path: path.to_owned(), message, help: None }
    }
}

/// What is wrong with a setting that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Which setting: a dotted path, as [`Node::error_at`] reads it.
    pub path: String,
    /// Why, as a sentence fragment for a person.
    pub why: String,
}

impl Invalid {
    /// This setting is wrong for this reason.
    pub fn at(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self { path: path.into(), why: why.into() }
    }
}

impl From<(&'static str, String)> for Invalid {
    fn from((path, why): (&'static str, String)) -> Self {
        Self::at(path, why)
    }
}

/// Words of other monitoring systems, and ours for the same.
const ELSEWHERE: [(&str, &str); 5] =
    [("critical", "bad"), ("crit", "bad"), ("ok", "okay"), ("down", "bad"), ("up", "okay")];

/// The known word nearest to what was written, if one is near: it differs in at most a third of the letters, begins alike, or is what
/// other systems say.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody who wrote more meant one of our names, and the distance costs time and memory by length squared.
    if word.len() > MAX_NAME {
        return None;
    }
    let word = word.to_lowercase();
    let rank = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        if ELSEWHERE.contains(&(word.as_str(), candidate.as_str())) {
            return Some(0);
        }
        let distance = strsim::damerau_levenshtein(&word, &candidate);
        let (long, short) = if word.len() > candidate.len() { (&word, &candidate) } else { (&candidate, &word) };
        let is_near = distance * 3 <= long.chars().count() || (short.len() >= 3 && long.starts_with(short.as_str()));
        is_near.then_some(distance)
    };
    known.into_iter().filter_map(|candidate| Some((rank(candidate)?, candidate))).min().map(|(_, candidate)| candidate)
}

/// How many known words a message lists; whoever needs more has the manual.
const MAX_LISTED: usize = 40;

/// What to do about a word that is not known: `did you mean ..?` or the list.
pub fn suggest(word: &str, known: &[&str]) -> String {
    if let Some(near) = nearest(word, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    if known.is_empty() {
        return "none is allowed here".to_owned();
    }
    let listed: Vec<String> = known.iter().take(MAX_LISTED).map(|word| format!("`{word}`")).collect();
    let more = known.len() - listed.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("known are {}{more}", listed.join(", "))
}
