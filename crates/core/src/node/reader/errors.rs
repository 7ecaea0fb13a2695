//! What is wrong with settings, in the words of somebody who writes YAML.

use std::fmt;

use serde::de;

use super::super::{Node, Span, suggest};
use crate::text::quote;

/// An error on its way up through the tree; each map and list adds its key. In a box, because the code of every struct that is read
/// passes it on: that makes the program smaller by as much as a kind or two.
#[derive(Debug)]
pub(super) struct ReadError(pub(super) Box<Trouble>);

/// What went wrong, and where.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) span: Option<Span>,
    /// The keys that lead there, innermost first.
    pub(super) path: Vec<String>,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The key that is not known, if serde found that out when it had read the whole map.
    pub(super) unknown: Option<String>,
}

impl ReadError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Trouble { span: None, path: Vec::new(), message: message.into(), help: None, unknown: None }))
    }

    pub(super) fn help(mut self, help: String) -> Self {
        self.0.help = Some(help);
        self
    }

    /// The innermost place is the one that counts.
    pub(super) fn at(mut self, span: Span) -> Self {
        self.0.span.get_or_insert(span);
        self
    }

    /// Somewhere in this node; at the unknown key if there is one.
    pub(super) fn within(self, node: &Node) -> Self {
        let key = self.0.unknown.as_deref().and_then(|name| node.entries().iter().find(|(key, _)| *key.name == *name));
        let span = key.map_or(node.span, |(key, _)| key.span);
        self.at(span)
    }

    pub(super) fn under(mut self, key: &str, node: &Node) -> Self {
        self.0.path.push(key.to_owned());
        self.within(node)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::new(format!("unknown setting {}", quote(field))).help(suggest(field, expected));
        error.0.unknown = Some(field.to_owned());
        error
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown word {}", quote(variant))).help(suggest(variant, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the setting `{field}` is missing")).help(format!("add `{field}: ..`"))
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{} stands where {} is expected", found(&unexpected), wanted(expected)))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{} is not {}", found(&unexpected), wanted(expected)))
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::new(format!("a list of {length} stands where {} is expected", wanted(expected)))
    }
}

/// What was found, in the words of somebody who writes YAML.
fn found(unexpected: &de::Unexpected<'_>) -> String {
    match unexpected {
        de::Unexpected::Str(text) => quote(text),
        de::Unexpected::Map | de::Unexpected::StructVariant => "a map".to_owned(),
        de::Unexpected::Seq | de::Unexpected::TupleVariant => "a list".to_owned(),
        de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
        de::Unexpected::Bool(truth) => format!("`{truth}`"),
        de::Unexpected::Unsigned(number) => format!("`{number}`"),
        de::Unexpected::Signed(number) => format!("`{number}`"),
        de::Unexpected::Float(number) => format!("`{number}`"),
        other => other.to_string(),
    }
}

/// What was expected, likewise: serde speaks of sequences, strings and structs.
fn wanted(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    if let Some(size) = text.strip_prefix("a tuple of size ") {
        return format!("a list of {size}");
    }
    let is_struct = ["struct ", "tuple struct ", "struct variant "].iter().any(|prefix| text.starts_with(prefix));
    match text.as_str() {
        "a sequence" => "a list".to_owned(),
        "a string" | "a borrowed string" => "a text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        _ if is_struct => "a map of settings".to_owned(),
        _ => text,
    }
}
