//! YAML of other systems, read as our own is: with bounds, and knowing where everything stands.

use monchero_core::node::{Node, Value};

use super::{Files, Lost, Place, Text};
use crate::config::yaml;

/// A file of YAML.
pub(super) struct Document {
    pub(super) text: Text,
    pub(super) root: Node,
    /// Where lines begin.
    starts: Vec<usize>,
}

impl Document {
    /// Reads a file. None if it was read before; what is wrong with it as YAML is noted.
    pub(super) fn read(
        path: &std::path::Path,
        files: &mut Files,
        lost: &mut Vec<Lost>,
    ) -> Result<Option<Self>, String> {
        let Some(text) = files.read(path)? else { return Ok(None) };
        let starts: Vec<usize> =
            std::iter::once(0).chain(text.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut document = Self { text, root: Node::empty_map(monchero_core::node::Span::default()), starts };
        match yaml::parse(&document.text.text, 0) {
            Ok(parsed) => {
                for error in parsed.doubled {
                    lost.push(Lost::new(&document.at(error.span.start), "", &error.message));
                }
                if !matches!(parsed.root.value, Value::Map(_) | Value::Null) {
                    return Err(format!("{} stands where a map of settings is expected", parsed.root.describe()));
                }
                document.root = parsed.root;
            }
            Err(error) => return Err(format!("{}: {}", document.at(error.span.start), error.message)),
        }
        Ok(Some(document))
    }

    fn at(&self, position: u32) -> Place {
        self.text.place(self.starts.partition_point(|start| *start <= position as usize))
    }

    /// Where a part stands.
    pub(super) fn place(&self, node: &Node) -> Place {
        self.at(node.span.start)
    }
}

/// The items of a list; none of anything else.
pub(super) fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// The text of an entry.
pub(super) fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.get(key).and_then(Node::as_text)
}

/// Whether an entry says `true`.
pub(super) fn truth(node: &Node, key: &str) -> Option<bool> {
    text(node, key).and_then(|text| text.parse().ok())
}
