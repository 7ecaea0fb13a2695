//! `for_each`: one entry, several checks, each with a state of its own.

use std::collections::HashMap;

use monchero_core::node::{Key, Node, SettingsError, Span, Value};
use monchero_core::text::escape_controls;

/// How many steps the path of a setting may have. Settings of a kind are four deep, and walks over the tree recurse.
const MAX_STEPS: usize = 8;

/// Which setting gets which values.
pub(crate) struct Each {
    /// The setting of the kind, as a dotted path.
    path: Key,
    /// What stands in brackets behind the name, and the value.
    pub(crate) values: Vec<(String, Node)>,
}

fn error(span: Span, message: impl Into<String>, help: &str) -> SettingsError {
    SettingsError { span, path: "for_each".to_owned(), message: message.into(), help: Some(help.to_owned()) }
}

impl Each {
    /// Reads `{ setting: [value, ..] }` or `{ setting: { label: value, .. } }`.
    pub(crate) fn read(node: Node) -> Result<Self, Vec<SettingsError>> {
        const FORM: &str = "write `for_each: { url: [http://a, http://b] }`, where `url` is a setting of the kind";
        let span = node.span;
        let Value::Map(entries) = node.value else {
            return Err(vec![error(span, format!("{} stands where a map is expected", node.describe()), FORM)]);
        };
        let count = entries.len();
        let mut entries = entries.into_iter();
        let (Some((path, values)), None) = (entries.next(), entries.next()) else {
            return Err(vec![error(span, format!("it names {count} settings, and it takes exactly one"), FORM)]);
        };
        if path.name.split('.').count() > MAX_STEPS {
            return Err(vec![error(path.span, format!("the path has more than {MAX_STEPS} steps"), FORM)]);
        }
        let named: Vec<(Option<Key>, Node)> = match values.value {
            Value::List(items) => items.into_iter().map(|item| (None, item)).collect(),
            Value::Map(entries) => entries.into_iter().map(|(key, value)| (Some(key), value)).collect(),
            _ => {
                return Err(vec![error(
                    values.span,
                    format!("{} stands where a list is expected", values.describe()),
                    FORM,
                )]);
            }
        };
        if named.is_empty() {
            return Err(vec![error(
                values.span,
                "the list is empty",
                "name at least one value, or write `enabled: false`",
            )]);
        }
        let mut errors = Vec::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        let mut values = Vec::with_capacity(named.len());
        for (key, value) in named {
            let Some(text) = value.as_text() else {
                errors.push(error(value.span, format!("{} stands where a text is expected", value.describe()), FORM));
                continue;
            };
            let label = key.as_ref().map_or_else(|| short(text).to_owned(), |key| key.name.to_string());
            if seen.insert(label.clone(), value.span).is_some() {
                let message = format!("two values give the same name `[{}]`", escape_controls(&label));
                let help = "name them: `for_each: { url: { one: http://a/1, two: http://a/2 } }`";
                errors.push(error(value.span, message, help));
            }
            values.push((label, value));
        }
        if errors.is_empty() { Ok(Self { path, values }) } else { Err(errors) }
    }

    /// The settings of one instance: those of the kind, with the value put in.
    pub(crate) fn settings(&self, kind: &Node, short_for: Option<&str>, value: &Node) -> Result<Node, SettingsError> {
        let mut root = match (&kind.value, short_for) {
            (Value::Null, _) => Node::empty_map(kind.span),
            (Value::Scalar { .. } | Value::List(_), Some(setting)) => {
                let key = Key { span: kind.span, name: Box::from(setting) };
                Node { span: kind.span, value: Value::Map(vec![(key, kind.clone())]) }
            }
            _ => kind.clone(),
        };
        let mut node = &mut root;
        let mut steps = self.path.name.split('.').peekable();
        while let Some(step) = steps.next() {
            let Value::Map(entries) = &mut node.value else {
                let message = format!("`{}` leads into something that is no map", escape_controls(&self.path.name));
                return Err(error(self.path.span, message, "name a setting of the kind"));
            };
            let found = entries.iter().position(|(key, _)| &*key.name == step);
            if found.is_some() && steps.peek().is_none() {
                let message =
                    format!("`{}` is set here and in the settings of the kind", escape_controls(&self.path.name));
                return Err(error(self.path.span, message, "remove one of them"));
            }
            let index = found.unwrap_or_else(|| {
                let inner = if steps.peek().is_none() { value.clone() } else { Node::empty_map(value.span) };
                entries.push((Key { span: self.path.span, name: Box::from(step) }, inner));
                entries.len() - 1
            });
            let Some((_, inner)) = entries.get_mut(index) else { break };
            node = inner;
        }
        Ok(root)
    }
}

/// What tells one value from another, short: `host:port` of a URL, any other text as it is.
fn short(value: &str) -> &str {
    let Some((_, rest)) = value.split_once("://") else { return value };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    if host.is_empty() { value } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shortened_to_host_and_port() {
        for (value, label) in [
            ("http://a:3000", "a:3000"),
            ("https://user:pw@b.example/health?x#y", "b.example"),
            ("tcp://[::1]:80/", "[::1]:80"),
            ("/mnt/data", "/mnt/data"),
            ("file:///etc", "file:///etc"),
            ("eth0", "eth0"),
        ] {
            assert_eq!(short(value), label);
        }
    }
}
