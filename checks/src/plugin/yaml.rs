//! YAML or JSON that a plugin printed, as a tree. Whatever the text, the work and the memory that it can cause are bounded (R56).

use monchero_core::node::{Key, Node, Span, Value};
use monchero_core::text;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, Spanned};

/// How deep maps and lists may stand in each other. The native format is four deep.
const MAX_DEPTH: usize = 16;
/// How many parts there may be, aliases expanded: a thousand services with twenty parts each.
const MAX_NODES: usize = 20_000;

/// Reads one document. Scalars keep the text that was written; control characters are gone from all of them.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
        max_nodes: MAX_NODES,
        max_events: 3 * MAX_NODES,
        max_documents: 1,
        max_aliases: 1_000,
        max_anchors: 1_000,
        max_merge_keys: 100,
        max_recorded_anchor_events: MAX_NODES,
        max_recorded_anchor_bytes: text.len().saturating_mul(2),
    };
    let options = serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    let tree: Tree = serde_saphyr::from_str_with_options(text, options).map_err(|why| in_our_words(&why))?;
    let mut left = MAX_NODES;
    tree.into_node(text, &mut left)
}

/// What a plugin's author has to know, on one line.
fn in_our_words(why: &Error) -> String {
    let line = why.location().map_or_else(String::new, |at| format!(" in line {}", at.line()));
    match why {
        Error::DuplicateMappingKey { key, .. } => {
            format!("the key `{}` stands twice{line}", key.as_deref().unwrap_or_default())
        }
        Error::Budget { .. } => format!("it is more than one document{line}, or more than a result can hold"),
        other => {
            let words = other.to_string();
            let words = words.lines().next().unwrap_or_default();
            // The most frequent mistake of a plugin that prints YAML: `message: free: 5%`.
            let help = if words.starts_with("mapping values are not allowed") {
                "; a text with `: ` in it stands in quotes"
            } else {
                ""
            };
            format!("{words}{help}")
        }
    }
}

/// A part with its place in the text, because a plain scalar that looks like a number is handed over as a number only.
struct Tree(Spanned<Part>);

enum Part {
    Null,
    /// A number or truth value: its text stands at the place.
    Plain(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Part>::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PartVisitor;
        impl<'de> Visitor<'de> for PartVisitor {
            type Value = Part;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Part, E> {
                Ok(Part::Null)
            }

            fn visit_none<E: de::Error>(self) -> Result<Part, E> {
                Ok(Part::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Part, E> {
                Ok(Part::Plain(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Part, E> {
                Ok(Part::Plain(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Part, E> {
                Ok(Part::Plain(value.to_string()))
            }

            fn visit_u128<E: de::Error>(self, value: u128) -> Result<Part, E> {
                Ok(Part::Plain(value.to_string()))
            }

            fn visit_i128<E: de::Error>(self, value: i128) -> Result<Part, E> {
                Ok(Part::Plain(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Part, E> {
                Ok(Part::Plain(value.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Part, E> {
                Ok(Part::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Part, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Part::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Part::Map(entries))
            }
        }
        deserializer.deserialize_any(PartVisitor)
    }
}

impl Tree {
    fn into_node(self, source: &str, left: &mut usize) -> Result<Node, String> {
        *left = left.checked_sub(1).ok_or_else(|| format!("aliases in it expand to more than {MAX_NODES} values"))?;
        let at = self.0.defined.span();
        let place = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let start = place(at.byte_offset());
        let span = Span { file: 0, start, end: start.saturating_add(place(at.byte_len())) };
        let value = match self.0.value {
            Part::Null => Value::Null,
            Part::Plain(number) => {
                let written =
                    source.get(span.start as usize..span.end as usize).map(str::trim).filter(|text| !text.is_empty());
                Value::Scalar { text: clean(written.unwrap_or(&number)), quoted: false }
            }
            Part::Text(text) => Value::Scalar { text: clean(&text), quoted: true },
            Part::List(items) => {
                Value::List(items.into_iter().map(|item| item.into_node(source, left)).collect::<Result<_, _>>()?)
            }
            Part::Map(entries) => {
                let entry =
                    |(key, tree): (String, Tree)| Ok((Key { span, name: clean(&key) }, tree.into_node(source, left)?));
                Value::Map(entries.into_iter().map(entry).collect::<Result<_, String>>()?)
            }
        };
        Ok(Node { span, value })
    }
}

/// An escape such as `"\e"` makes control characters of harmless bytes.
fn clean(scalar: &str) -> Box<str> {
    text::clean(scalar.as_bytes()).into_boxed_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(document: &str, key: &str) -> String {
        parse(document).unwrap().get(key).and_then(Node::as_text).unwrap_or("(none)").to_owned()
    }

    #[test]
    fn scalars_keep_what_was_written() {
        for written in
            ["1.10", "010", "1_000", "yes", "true", "0x1F", "10.0", "1e3", "2026-01-02", "-5", "99999999999999999999"]
        {
            assert_eq!(text(&format!("a: 1\nx: {written}\nb: [2]"), "x"), written);
            assert_eq!(text(&format!("{{a: \"ü\", x: {written} , b: 2}}"), "x"), written);
        }
        assert_eq!(text("x: 'it''s'", "x"), "it's");
        assert_eq!(text("x: |\n  a\n  b\n", "x"), "a\nb\n");
        assert_eq!(parse("x: null").unwrap().get("x").unwrap().value, Value::Null);
        assert_eq!(parse("").unwrap().value, Value::Null);
    }

    #[test]
    fn json_is_read_too() {
        assert_eq!(text("{\"x\": \"a\\/b \\u00fc \\ud83d\\ude00\"}", "x"), "a/b ü 😀");
        assert_eq!(text("{\n\t\"a\": 1.50,\n\t\"x\": -1.5e-3\n}", "x"), "-1.5e-3");
    }

    #[test]
    fn escapes_make_no_control_characters() {
        assert_eq!(text("x: \"\\e[2J\\0\"", "x"), "\u{fffd}[2J\u{fffd}");
    }

    #[test]
    fn aliases_work_within_limits() {
        let node = parse("- &a {x: 5}\n- *a\n").unwrap();
        assert!(
            matches!(&node.value, Value::List(items) if items.iter().all(|item| item.get("x").and_then(Node::as_text) == Some("5")))
        );
    }

    #[test]
    fn bombs_are_refused() {
        let laughs = (1..10).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
            let before = format!("*a{},", i - 1).repeat(9);
            text + &format!("a{i}: &a{i} [{before}]\n")
        });
        let wide = "- x\n".repeat(MAX_NODES + 1);
        let anchors = (0..5_000).fold(String::new(), |text, i| text + &format!("- &a{i} x\n"));
        for bomb in [
            laughs,
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(20_000),
            wide,
            anchors,
            "&a [*a]".to_owned(),
        ] {
            let begin = std::time::Instant::now();
            assert!(parse(&bomb).is_err(), "{bomb:.40}");
            assert!(begin.elapsed().as_secs() < 5, "{bomb:.40} took {:?}", begin.elapsed());
        }
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        for (text, expected) in [
            ("a: 'open", "unclosed quote at line 1, column 4"),
            ("a: 1\na: 2", "the key `a` stands twice in line 2"),
            ("a: 1\n---\nb: 2", "it is more than one document in line 2, or more than a result can hold"),
            (
                "message: free: 5%",
                "mapping values are not allowed in this context at line 1, column 14; a text with `: ` in it stands in quotes",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        for text in ["{a", "%x", "@", "[1"] {
            assert!(!parse(text).unwrap_err().is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[-a:{}\\[\\],'\"&*|>!%#\n 0-9.~]{0,60}") {
            let _ = parse(&text);
        }
    }
}
