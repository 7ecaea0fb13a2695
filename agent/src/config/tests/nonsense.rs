//! Nonsense for the reader of YAML: it is understood or refused at a place, quickly and within bounds.

#[path = "../../../../crates/core/tests/support/fuzz.rs"]
mod fuzz;

use std::path::Path;

use monchero_core::node::{Node, Value};

use crate::config::yaml::parse;

/// How many inputs are tried, unless the environment says otherwise.
const INPUTS: u64 = 5_000;
/// How deep a tree may be (see the reader).
const MAX_DEPTH: usize = 70;

#[test]
fn any_text_is_a_tree_or_a_mistake_with_a_place() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent/tests/corpus/yaml");
    fuzz::fuzz("yaml", &corpus, INPUTS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match parse(&text, 0) {
            Err(mistake) => {
                assert!(mistake.span.start as usize <= text.len(), "{:?} lies outside", mistake.span);
                assert!(!mistake.message.is_empty() && !mistake.message.chars().any(char::is_control), "{mistake:?}");
            }
            Ok(parsed) => {
                stands_in(&parsed.root, text.len(), 0);
                let again = parse(&text, 0).expect("it was understood a moment ago");
                assert_eq!(again.root, parsed.root);
                for doubled in &parsed.doubled {
                    assert!(doubled.span.end as usize <= text.len(), "{doubled:?}");
                }
            }
        }
    });
}

/// Each part stands where its file has text.
fn stands_in(node: &Node, length: usize, depth: usize) {
    assert!(depth <= MAX_DEPTH);
    assert!(node.span.start <= node.span.end && node.span.end as usize <= length, "{:?}", node.span);
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| stands_in(item, length, depth + 1)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| stands_in(value, length, depth + 1)),
        Value::Null | Value::Scalar { .. } => {}
    }
}
