//! Text to tree: the only place that knows YAML.
//!
//! The tree is built from the events of the parser, not by serde, because it keeps what serde loses: where each part stands, the text of plain
//! scalars as it was written (`010`, `yes`, `1_000`), and every doubled key instead of the first. Whatever the text, the work and the memory that
//! it can cause are bounded (R56).

use std::collections::{HashMap, HashSet};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};
use monchero_core::node::{Key, Node, SettingsError, Span, Value};
use monchero_core::text::quote;

/// The largest file, in bytes. Ten thousand checks of a hundred bytes each fit; more belongs into a second file.
pub const MAX_FILE: usize = 1 << 20;
/// How deep maps and lists may stand in each other, aliases expanded. Settings of a kind are four deep; every walk over the tree may recurse.
const MAX_DEPTH: usize = 64;
/// How many parts a file may have: three times what ten thousand checks have, and about 20 MiB at worst.
const MAX_NODES: usize = 250_000;
/// How many parts aliases and merge keys may copy. Nobody who writes by hand comes near; a "billion laughs" file does at once.
const MAX_COPIED: usize = 100_000;
/// How many doubled keys of one file are told; more of them are one mistake.
const MAX_DOUBLED: usize = 50;
/// From this many keys on, doubled ones are found with a table instead of by comparing each with each.
const MANY_KEYS: usize = 12;

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The tree; `Null` if there is nothing but comments.
    pub(crate) root: Node,
    /// Keys that stand twice in a map. The first of each is in the tree.
    pub(crate) doubled: Vec<SettingsError>,
    /// Where the values stand that are not in the tree because of that: nothing else says whether they are secret.
    pub(crate) dropped: Vec<Span>,
}

/// Reads one document. The error is the first place where the text stops being YAML that monchero understands.
pub(crate) fn parse(text: &str, file: u32) -> Result<Parsed, SettingsError> {
    if text.len() > MAX_FILE {
        let message = format!("the file has {} bytes, the limit is {MAX_FILE}", text.len());
        return Err(error(Span { file, start: 0, end: 0 }, message, Some("split it into several files")));
    }
    // A byte order mark is no content; positions stay those of the file.
    let content = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new(file, text, text.len() - content.len());
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    for event in Parser::new_from_str_with_options(content, options) {
        let (event, span) = event.map_err(|why| builder.syntax_error(&why))?;
        let span = builder.span(&span);
        builder.take(event, span)?;
    }
    let root = builder.root.unwrap_or(Node { span: Span { file, start: 0, end: 0 }, value: Value::Null });
    Ok(Parsed { root, doubled: builder.doubled, dropped: builder.dropped })
}

fn error(span: Span, message: impl Into<String>, help: Option<&str>) -> SettingsError {
    SettingsError { span, path: String::new(), message: message.into(), help: help.map(str::to_owned) }
}

/// A map or list that has begun and not ended.
struct Open {
    start: u32,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key>, merged: Vec<Node> },
}

/// A part that `&name` stands before.
struct Anchored {
    node: Node,
    size: usize,
    depth: usize,
}

struct Builder<'t> {
    file: u32,
    text: &'t str,
    /// Where the content begins in the file.
    offset: usize,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    copied: usize,
    documents: usize,
    root: Option<Node>,
    doubled: Vec<SettingsError>,
    dropped: Vec<Span>,
}

impl<'t> Builder<'t> {
    fn new(file: u32, text: &'t str, offset: usize) -> Self {
        Self {
            file,
            text,
            offset,
            stack: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            copied: 0,
            documents: 0,
            root: None,
            doubled: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// A position in the file; files are at most [`MAX_FILE`] long, so 32 bits hold it.
    fn position(&self, offset: usize) -> u32 {
        u32::try_from(offset + self.offset).unwrap_or(u32::MAX)
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let start = self.position(span.start.byte_offset().unwrap_or(0));
        let end = self.position(span.end.byte_offset().unwrap_or(0));
        Span { file: self.file, start, end: end.max(start) }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SettingsError> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let help = "put what follows into a file of its own";
                    return Err(error(span, "a second document begins here; a file holds one", Some(help)));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(span)?;
                let as_text = Self::tag(tag.as_deref(), span)?;
                let quoted = as_text || style != ScalarStyle::Plain;
                let value = if !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Scalar { text: Box::from(text), quoted }
                };
                self.complete(Node { span, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => self.open(span, anchor, tag.as_deref(), Content::List(Vec::new())),
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), key: None, merged: Vec::new() };
                self.open(span, anchor, tag.as_deref(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn count(&mut self, span: Span) -> Result<(), SettingsError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the file has more than {MAX_NODES} values");
            return Err(error(span, message, Some("split it into several files")));
        }
        Ok(())
    }

    /// Counts parts that are copied, before they are: a bomb is refused, not defused.
    fn copy(&mut self, size: usize, span: Span) -> Result<(), SettingsError> {
        self.copied += size;
        if self.copied > MAX_COPIED {
            return Err(error(span, format!("aliases in this file expand to more than {MAX_COPIED} values"), None));
        }
        Ok(())
    }

    fn deeper(&self, by: usize, span: Span) -> Result<(), SettingsError> {
        if self.stack.len() + by > MAX_DEPTH {
            return Err(error(span, format!("maps and lists stand more than {MAX_DEPTH} deep in each other"), None));
        }
        Ok(())
    }

    /// Whether a tag makes a text of what follows. Other tags mean nothing here, and what means nothing is refused.
    fn tag(tag: Option<&Tag>, span: Span) -> Result<bool, SettingsError> {
        match tag {
            None => Ok(false),
            Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(true),
            Some(tag) => {
                let message = format!("the tag {} means nothing here", quote(&tag.original()));
                Err(error(
                    span,
                    message,
                    Some("a text that begins with `!` stands in quotes; secrets are written `{ env: NAME }`"),
                ))
            }
        }
    }

    fn open(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, content: Content) -> Result<(), SettingsError> {
        self.count(span)?;
        Self::tag(tag, span)?;
        self.deeper(1, span)?;
        self.stack.push(Open { start: span.start, anchor, content });
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), SettingsError> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        // A block ends where the next thing begins, comments and all; what it shows ends with its last part.
        let end_of = |last: Option<u32>| if span.end > span.start { span.end } else { last.unwrap_or(span.start) };
        let (value, end) = match open.content {
            Content::List(mut items) => {
                items.shrink_to_fit();
                let end = end_of(items.last().map(|node| node.span.end));
                (Value::List(items), end)
            }
            Content::Map { mut entries, merged, .. } => {
                let end = end_of(entries.last().map(|(key, node)| node.span.end.max(key.span.end)));
                self.refuse_doubled(&mut entries);
                Self::merge(&mut entries, merged)?;
                entries.shrink_to_fit();
                (Value::Map(entries), end)
            }
        };
        let span = Span { file: self.file, start: open.start, end: end.max(open.start) };
        self.complete(Node { span, value }, open.anchor)
    }

    /// Keeps the first of each key and notes the others.
    fn refuse_doubled(&mut self, entries: &mut Vec<(Key, Node)>) {
        let mut doubled: Vec<usize> = Vec::new();
        if entries.len() < MANY_KEYS {
            for (i, (key, _)) in entries.iter().enumerate() {
                if entries.iter().take(i).any(|(earlier, _)| earlier.name == key.name) {
                    doubled.push(i);
                }
            }
        } else {
            let mut seen = HashSet::with_capacity(entries.len());
            doubled.extend(entries.iter().enumerate().filter(|(_, (key, _))| !seen.insert(&*key.name)).map(|(i, _)| i));
        }
        if doubled.is_empty() {
            return;
        }
        for (key, _) in
            doubled.iter().filter_map(|i| entries.get(*i)).take(MAX_DOUBLED.saturating_sub(self.doubled.len()))
        {
            let first = entries
                .iter()
                .find(|(earlier, _)| earlier.name == key.name)
                .map_or(0, |(earlier, _)| earlier.span.start);
            let line = self.text.bytes().take(first as usize).filter(|byte| *byte == b'\n').count() + 1;
            let message = format!("the key {} stands here again", quote(&key.name));
            self.doubled.push(error(
                key.span,
                message,
                Some(&format!("it stands in line {line} already: remove one of them")),
            ));
        }
        self.dropped.extend(doubled.iter().filter_map(|i| entries.get(*i)).map(|(_, value)| value.span));
        let mut index = 0;
        let mut next = doubled.into_iter().peekable();
        entries.retain(|_| {
            let again = next.next_if_eq(&index).is_some();
            index += 1;
            !again
        });
    }

    /// Adds what `<<` refers to, as far as the map does not say it itself; of several, the first counts.
    fn merge(entries: &mut Vec<(Key, Node)>, merged: Vec<Node>) -> Result<(), SettingsError> {
        if merged.is_empty() {
            return Ok(());
        }
        let mut known: HashSet<Box<str>> = entries.iter().map(|(key, _)| key.name.clone()).collect();
        for node in merged {
            let span = node.span;
            let maps = match node.value {
                Value::List(items) => items,
                value => vec![Node { span, value }],
            };
            for map in maps {
                let Value::Map(inherited) = map.value else {
                    let message = format!("`<<` merges maps, and this is {}", map.describe());
                    return Err(error(map.span, message, Some("write `<<: *name`, where `&name` stands before a map")));
                };
                entries.extend(inherited.into_iter().filter(|(key, _)| known.insert(key.name.clone())));
            }
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), SettingsError> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(error(span, "the alias stands inside of what it refers to", None));
        };
        let (size, depth) = (anchored.size, anchored.depth);
        self.copy(size, span)?;
        self.deeper(depth, span)?;
        let node = self.anchors.get(&anchor).map(|anchored| anchored.node.clone());
        node.map_or(Ok(()), |node| self.put(node, span))
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), SettingsError> {
        let span = node.span;
        if anchor != 0 {
            let (size, depth) = measure(&node);
            self.copy(size, span)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size, depth });
        }
        self.put(node, span)
    }

    /// Puts a finished part where it belongs: into the list, or as key or value into the map. `at` is where it is used.
    fn put(&mut self, node: Node, at: Span) -> Result<(), SettingsError> {
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key, merged }) => match key.take() {
                None => *key = Some(as_key(node, at)?),
                // A quoted "<<" cannot be told from a plain one here, and nobody names a setting so.
                Some(key) if &*key.name == "<<" => merged.push(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }

    fn syntax_error(&self, why: &ScanError) -> SettingsError {
        let start = self.position(why.marker().byte_offset().unwrap_or(0));
        let span = Span { file: self.file, start, end: start };
        let (message, help) = in_our_words(why.kind());
        error(span, message, help)
    }
}

fn as_key(node: Node, at: Span) -> Result<Key, SettingsError> {
    match node.value {
        Value::Scalar { text, .. } => Ok(Key { span: at, name: text }),
        Value::Null => Err(error(at, "a key is missing before the colon", None)),
        _ => {
            let help = "a text that begins with `{` or `[` stands in quotes";
            Err(error(at, format!("{} stands where a key is expected", node.describe()), Some(help)))
        }
    }
}

/// How many parts there are, and how deep they stand.
fn measure(node: &Node) -> (usize, usize) {
    let sum = |parts: &mut dyn Iterator<Item = &Node>| {
        parts.map(measure).fold((1, 0), |(size, depth), (more, deeper)| (size + more, depth.max(deeper)))
    };
    match &node.value {
        Value::List(items) => {
            let (size, depth) = sum(&mut items.iter());
            (size, depth + 1)
        }
        Value::Map(entries) => {
            let (size, depth) = sum(&mut entries.iter().map(|(_, node)| node));
            (size, depth + 1)
        }
        _ => (1, 0),
    }
}

/// The mistakes that people make, in words that say what to do; the parser's own words for the rest.
fn in_our_words(kind: &ErrorKind) -> (String, Option<&'static str>) {
    use ErrorKind as K;
    let (message, help) = match kind {
        K::TabNotAllowed | K::TabInBlockIndentation | K::TabInIndentation | K::TabInPlainScalar => {
            ("a tab stands where only blanks may", "indent with blanks")
        }
        K::UnclosedQuotedScalar => {
            ("a quote is opened here and never closed", "close it, or put the whole text into the other kind of quotes")
        }
        K::InvalidQuotedScalarIndent => (
            "a text in quotes goes on in this line without being indented",
            "probably the closing quote is missing in a line above",
        ),
        K::InvalidTrailingSingleQuotedScalar => {
            ("something follows the closing quote", "inside of '..' a quote is written twice: ''")
        }
        K::InvalidTrailingDoubleQuotedScalar => {
            ("something follows the closing quote", "inside of \"..\" a quote is written \\\"")
        }
        K::UnknownQuotedScalarEscape => (
            "unknown escape after the backslash",
            "in \"..\" a backslash is written \\\\; in '..' it stands for itself",
        ),
        K::MappingValueNotAllowed | K::MappingKeyNotAllowed | K::InvalidColonPlacement => (
            "a `key: value` stands where none is expected",
            "check the indentation of this line, or put a text that holds `: ` into quotes",
        ),
        K::SimpleKeyExpected | K::InvalidSimpleKey => (
            "this line is neither a `key: value` nor part of a list",
            "a colon and a blank stand behind a key: `interval: 30s`",
        ),
        K::ExpectedBlockMappingKey | K::ExpectedBlockSequenceEntry | K::InvalidIndentation => (
            "the indentation fits neither this block nor the one around it",
            "keys of one map stand in the same column",
        ),
        K::BlockSequenceEntryNotAllowed => {
            ("a list item stands where none is expected", "check the indentation of this `- `")
        }
        K::UnclosedFlowCollection { open } => {
            return (format!("the bracket `{open}` is never closed"), Some("add the closing bracket"));
        }
        K::UnexpectedEofFlowMapping | K::UnexpectedEofImplicitFlowMapping => {
            ("the bracket `{` is never closed", "add `}`")
        }
        K::UnexpectedEofFlowSequence => ("the bracket `[` is never closed", "add `]`"),
        K::ExpectedFlowMappingSeparator => {
            ("`,` or `}` is expected here", "a text that holds one of `,[]{}` stands in quotes")
        }
        K::ExpectedFlowSequenceSeparator => {
            ("`,` or `]` is expected here", "a text that holds one of `,[]{}` stands in quotes")
        }
        K::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("`{open}` is closed by `{close}`"), Some("close the inner bracket first"));
        }
        K::MisplacedFlowCollectionEnd => {
            ("a bracket is closed that was never opened", "a text that holds a bracket stands in quotes")
        }
        K::UnknownAnchor => (
            "the alias refers to nothing",
            "a text that begins with `*` stands in quotes; `&name` must come before `*name`",
        ),
        K::UnexpectedCharacter { character: '%' | '@' | '`' } => {
            ("a text cannot begin with this character", "put the text into quotes")
        }
        K::RecursionLimitExceeded => {
            return (format!("maps and lists stand more than {MAX_DEPTH} deep in each other"), None);
        }
        other => return (other.to_string(), None),
    };
    (message.to_owned(), Some(help))
}
