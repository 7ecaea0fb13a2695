//! Settings as the user wrote them: a tree that knows where each of its parts stands.
//!
//! The tree knows nothing of YAML. Structs are read from it with serde; errors point at the exact node and name what was
//! probably meant. Scalars keep their source text, so `010` stays `010` where a text is wanted and `80` can be a threshold.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor};

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
            Value::Scalar { text, .. } if text.len() > 40 => "a long text".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", crate::text::escape_controls(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Reads a struct. If `short_for` names a setting, a bare scalar or list is read as `{ setting: value }`.
    pub fn read<T: DeserializeOwned>(&self, short_for: Option<&'static str>, secrets: &dyn Secrets) -> Result<T, SettingsError> {
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
        T::deserialize(Reader { node, secrets }).map_err(|error| SettingsError {
            span: error.span.unwrap_or(node.span),
            path: error.path.iter().rev().map(String::as_str).collect::<Vec<_>>().join("."),
            message: error.message,
            help: error.help,
        })
    }

    /// An error about the setting that a dotted path names, or about the whole if there is none.
    pub fn error_at(&self, path: &str, message: String) -> SettingsError {
        let mut node = self;
        for key in path.split('.').filter(|key| !key.is_empty()) {
            match node.get(key) {
                Some(inner) => node = inner,
                None => break,
            }
        }
        SettingsError { span: node.span, path: path.to_owned(), message, help: None }
    }
}

/// The known word nearest to what was written, if one is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// What to do about a word that is not known: `did you mean ..?` or the list.
pub fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is allowed here".to_owned(),
        None => format!("known are {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// An error on its way up through the tree; each map and list adds its key.
#[derive(Debug)]
struct ReadError {
    span: Option<Span>,
    /// The keys that lead there, innermost first.
    path: Vec<String>,
    message: String,
    help: Option<String>,
    /// The key that is not known, so that the map can point at it.
    unknown: Option<String>,
}

impl ReadError {
    fn new(message: String) -> Self {
        Self { span: None, path: Vec::new(), message, help: None, unknown: None }
    }

    fn at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }

    fn under(mut self, key: &str, span: Span) -> Self {
        self.path.push(key.to_owned());
        self.at(span)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::new(format!("unknown setting `{}`", crate::text::escape_controls(field)));
        error.help = Some(suggest(field, expected));
        error.unknown = Some(field.to_owned());
        error
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mut error = Self::new(format!("unknown word `{}`", crate::text::escape_controls(variant)));
        error.help = Some(suggest(variant, expected));
        error
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::new(format!("the setting `{field}` is missing"));
        error.help = Some(format!("add `{field}: ..`"));
        error
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{} stands where {expected} is expected", in_words(&unexpected)))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("{} is not {expected}", in_words(&unexpected)))
    }
}

fn in_words(unexpected: &de::Unexpected<'_>) -> String {
    match unexpected {
        de::Unexpected::Str(text) => format!("`{}`", crate::text::escape_controls(&crate::text::shorten(text, 60))),
        de::Unexpected::Map | de::Unexpected::StructVariant => "a map".to_owned(),
        de::Unexpected::Seq => "a list".to_owned(),
        de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
        other => other.to_string(),
    }
}

/// Reads serde types from a node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    secrets: &'a dyn Secrets,
}

impl<'a> Reader<'a> {
    fn with(self, node: &'a Node) -> Self {
        Self { node, secrets: self.secrets }
    }

    /// A number or truth value, if the plain text is one; a text otherwise.
    fn visit_plain<'de, V: Visitor<'de>>(self, text: &str, visitor: V) -> Result<V::Value, ReadError> {
        match text {
            "true" => return visitor.visit_bool(true),
            "false" => return visitor.visit_bool(false),
            _ => {}
        }
        // `007` and `+5` are texts that happen to have digits.
        let canonical = !text.starts_with('+') && !(text.len() > 1 && text.starts_with('0') && text.as_bytes()[1].is_ascii_digit());
        if canonical {
            if let Ok(number) = text.parse::<u64>() {
                return visitor.visit_u64(number);
            }
            if let Ok(number) = text.parse::<i64>() {
                return visitor.visit_i64(number);
            }
            let numeric = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
            if let (true, Ok(number)) = (numeric, text.parse::<f64>()) {
                return visitor.visit_f64(number);
            }
        }
        visitor.visit_str(text)
    }

    fn number<T: std::str::FromStr>(self, what: &str) -> Result<T, ReadError> {
        let wrong = || ReadError::new(format!("{} is not {what}", self.node.describe())).at(self.node.span);
        self.node.as_text().ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())
    }

    fn secret(self) -> Result<String, ReadError> {
        let wrong = |message: String| ReadError::new(message).at(self.node.span);
        let source = match &self.node.value {
            Value::Scalar { text, .. } => SecretSource::Text(text, self.node.span),
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => {
                    let text = node.as_text().ok_or_else(|| wrong(format!("`{}` names {}, not a text", key.name, node.describe())))?;
                    match &*key.name {
                        "file" => SecretSource::File(text),
                        "env" => SecretSource::Env(text),
                        "credential" => SecretSource::Credential(text),
                        other => {
                            let mut error = ReadError::new(format!("unknown source of a secret `{other}`")).at(key.span);
                            error.help = Some(suggest(other, &["file", "env", "credential"]));
                            return Err(error);
                        }
                    }
                }
                _ => return Err(wrong("a secret is a text, `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`".to_owned())),
            },
            _ => return Err(wrong("a secret is a text, `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`".to_owned())),
        };
        self.secrets.fetch(source).map_err(wrong)
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let number: $type = self.number($what)?;
            visitor.$visit(number).map_err(|e: ReadError| e.at(self.node.span))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let span = self.node.span;
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar { text, quoted: true } => visitor.visit_str(text),
            Value::Scalar { text, quoted: false } => self.visit_plain(text, visitor),
            Value::List(items) => visitor.visit_seq(ListReader { reader: self, items: items.iter(), index: 0 }),
            Value::Map(entries) => {
                let result = visitor.visit_map(MapReader { reader: self, entries: entries.iter(), current: None });
                result.map_err(|error| match error.unknown.as_ref().and_then(|name| entries.iter().find(|(k, _)| *k.name == **name)) {
                    Some((key, _)) if error.span.is_none() => error.at(key.span),
                    _ => error,
                })
            }
        }
        .map_err(|error: ReadError| error.at(span))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar { text, .. } => visitor.visit_str(text).map_err(|e: ReadError| e.at(self.node.span)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_bool(match self.node.as_text() {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(ReadError::new(format!("{} is neither `true` nor `false`", self.node.describe())).at(self.node.span)),
        })
    }

    numbers! {
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number, 0 or more";
        deserialize_u64 visit_u64 u64, "a whole number, 0 or more";
        deserialize_i8 visit_i8 i8, "a whole number from -128 to 127";
        deserialize_i16 visit_i16 i16, "a whole number from -32768 to 32767";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        if name == SECRET_TOKEN {
            let text = self.secret()?;
            return visitor.visit_newtype_struct(IntoDeserializer::<ReadError>::into_deserializer(text));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, ReadError> {
        let span = self.node.span;
        let (variant, at, value) = match &self.node.value {
            Value::Scalar { text, .. } => (&**text, span, None),
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => (&*key.name, key.span, Some(node)),
                _ => return Err(ReadError::new("a map with one key is expected".to_owned()).at(span)),
            },
            _ => return Err(ReadError::new(format!("{} stands where a word is expected", self.node.describe())).at(span)),
        };
        visitor.visit_enum(VariantReader { reader: self, variant, value }).map_err(|error| match value {
            Some(_) if !error.path.is_empty() || error.span.is_some() => error,
            _ => error.at(at),
        })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit_struct seq tuple tuple_struct map struct identifier
    }
}

struct ListReader<'a> {
    reader: Reader<'a>,
    items: std::slice::Iter<'a, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for ListReader<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some(node) = self.items.next() else { return Ok(None) };
        self.index += 1;
        let key = self.index.to_string();
        seed.deserialize(self.reader.with(node)).map(Some).map_err(|error| error.under(&key, node.span))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct MapReader<'a> {
    reader: Reader<'a>,
    entries: std::slice::Iter<'a, (Key, Node)>,
    current: Option<&'a (Key, Node)>,
}

impl<'de> MapAccess<'de> for MapReader<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(IntoDeserializer::<ReadError>::into_deserializer(&*key.name)).map(Some).map_err(|error| error.at(key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, node)) = self.current else { return Err(ReadError::new("a value without a key".to_owned())) };
        seed.deserialize(self.reader.with(node)).map_err(|error| error.under(&key.name, node.span))
    }
}

struct VariantReader<'a> {
    reader: Reader<'a>,
    variant: &'a str,
    value: Option<&'a Node>,
}

impl<'de> EnumAccess<'de> for VariantReader<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let variant = seed.deserialize(IntoDeserializer::<ReadError>::into_deserializer(self.variant))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for VariantReader<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.value {
            None => Ok(()),
            Some(node) => Err(ReadError::new(format!("`{}` takes no settings", self.variant)).at(node.span)),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        match self.value {
            Some(node) => seed.deserialize(self.reader.with(node)).map_err(|error| error.under(self.variant, node.span)),
            None => Err(ReadError::new(format!("`{}` needs a value", self.variant))),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        match self.value {
            Some(node) => self.reader.with(node).deserialize_any(visitor).map_err(|error| error.under(self.variant, node.span)),
            None => Err(ReadError::new(format!("`{}` needs a list", self.variant))),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, ReadError> {
        self.tuple_variant(0, visitor)
    }
}
