//! The serde side of the tree: structs are read from nodes, and errors learn on their way up where they happened.

mod errors;

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use errors::{ReadError, Trouble};

use super::{Key, MAYBE_SECRET_TOKEN, Node, SECRET_TOKEN, SecretSource, Secrets, SettingsError, Value, suggest};
use crate::text::{escape_controls, quote};

/// How deep settings may nest. None of ours go beyond ten; types that take any tree would else need as much stack as somebody writes.
const MAX_DEPTH: u32 = 64;

/// Reads a value of any type that serde knows.
pub(super) fn read<T: DeserializeOwned>(node: &Node, secrets: &dyn Secrets) -> Result<T, SettingsError> {
    T::deserialize(Reader { node, secrets, depth: 0 }).map_err(|error| {
        let Trouble { span, path, message, help, .. } = *error.within(node).0;
        let path = path.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".");
        SettingsError { span: span.unwrap_or(node.span), path, message, help }
    })
}

/// Reads serde types from a node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    secrets: &'a dyn Secrets,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// A reader of a part of this node.
    fn part(self, node: &'a Node) -> Result<Self, ReadError> {
        if self.depth >= MAX_DEPTH {
            return Err(ReadError::new(format!("settings nest deeper than {MAX_DEPTH} levels")).at(node.span));
        }
        Ok(Self { node, secrets: self.secrets, depth: self.depth + 1 })
    }

    fn error(self, message: impl Into<String>) -> ReadError {
        ReadError::new(message).at(self.node.span)
    }

    /// A number or truth value, if the plain text is one; a text otherwise.
    fn visit_plain<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, ReadError> {
        match plain(text) {
            de::Unexpected::Bool(truth) => visitor.visit_bool(truth),
            de::Unexpected::Unsigned(number) => visitor.visit_u64(number),
            de::Unexpected::Signed(number) => visitor.visit_i64(number),
            de::Unexpected::Float(number) => visitor.visit_f64(number),
            _ => visitor.visit_str(text),
        }
    }

    /// What is read into a struct or a map: a map and nothing else. Neither this nor [`Self::list`] goes by way of `deserialize_any`, which
    /// would make code for every type to be read from everything else, only to refuse it.
    fn map<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Value::Map(entries) => {
                visitor.visit_map(MapReader { reader: self, entries: entries.iter(), current: None })
            }
            _ => Err(self.refuse(&visitor)),
        };
        result.map_err(|error| error.within(self.node))
    }

    /// What is read into a list: a list and nothing else.
    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Value::List(items) => visitor.visit_seq(ListReader { reader: self, items: items.iter(), index: 0 }),
            _ => Err(self.refuse(&visitor)),
        };
        result.map_err(|error| error.within(self.node))
    }

    /// What stands here is not what is expected.
    fn refuse(self, expected: &dyn de::Expected) -> ReadError {
        let found = match &self.node.value {
            Value::Null => de::Unexpected::Unit,
            Value::List(_) => de::Unexpected::Seq,
            Value::Map(_) => de::Unexpected::Map,
            Value::Scalar { text, quoted: true } => de::Unexpected::Str(text),
            Value::Scalar { text, quoted: false } => plain(text),
        };
        de::Error::invalid_type(found, expected)
    }

    /// A whole number in a range of its type.
    fn whole<T: std::str::FromStr + fmt::Display>(self, all: &RangeInclusive<T>) -> Result<T, ReadError> {
        let number = self.node.as_text().and_then(|text| text.trim().parse().ok());
        let (least, most) = (all.start(), all.end());
        number
            .ok_or_else(|| self.error(format!("{} is not a whole number from {least} to {most}", self.node.describe())))
    }

    /// A finite number.
    fn real(self) -> Result<f64, ReadError> {
        let number = self.node.as_text().and_then(|text| text.trim().parse::<f64>().ok());
        number
            .filter(|number| number.is_finite())
            .ok_or_else(|| self.error(format!("{} is not a number", self.node.describe())))
    }

    fn secret(self) -> Result<String, ReadError> {
        let wrong = || self.error("a secret is a text, `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`");
        let source = match &self.node.value {
            Value::Scalar { text, .. } => SecretSource::Text(text, self.node.span),
            Value::Map(entries) => {
                let [(key, node)] = entries.as_slice() else { return Err(wrong()) };
                let kind: fn(&'a str) -> SecretSource<'a> = match &*key.name {
                    "file" => SecretSource::File,
                    "env" => SecretSource::Env,
                    "credential" => SecretSource::Credential,
                    other => {
                        let error = ReadError::new(format!("unknown source of a secret {}", quote(other))).at(key.span);
                        return Err(error.help(suggest(other, &["file", "env", "credential"])));
                    }
                };
                let text = node.as_text().filter(|text| !text.is_empty());
                kind(text.ok_or_else(|| {
                    ReadError::new(format!("`{}` names {}, not a text", key.name, node.describe())).at(node.span)
                })?)
            }
            Value::Null | Value::List(_) => return Err(wrong()),
        };
        self.secrets.fetch(source).map_err(|why| self.error(why))
    }
}

/// What a plain text is, in serde's words.
fn plain(text: &str) -> de::Unexpected<'_> {
    match text {
        "true" => return de::Unexpected::Bool(true),
        "false" => return de::Unexpected::Bool(false),
        _ if !looks_like_number(text) => return de::Unexpected::Str(text),
        _ => {}
    }
    if let Ok(number) = text.parse::<u64>() {
        return de::Unexpected::Unsigned(number);
    }
    if let Ok(number) = text.parse::<i64>() {
        return de::Unexpected::Signed(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => de::Unexpected::Float(number),
        _ => de::Unexpected::Str(text),
    }
}

/// Whether a plain text is meant as a number: `007` and `+5` are texts that happen to have digits, `-inf` has none.
fn looks_like_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut chars = digits.strip_prefix('.').unwrap_or(digits).chars();
    let first_is_digit = chars.next().is_some_and(|c| c.is_ascii_digit());
    let padded = digits.starts_with('0') && chars.next().is_some_and(|c| c.is_ascii_digit());
    first_is_digit && !padded
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let number = self.whole(&($type::MIN..=$type::MAX))?;
            visitor.$visit(number).map_err(|error: ReadError| error.at(self.node.span))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Scalar { text, quoted: true } => visitor.visit_str(text),
            Value::Scalar { text, quoted: false } => Self::visit_plain(text, visitor),
            Value::List(items) => visitor.visit_seq(ListReader { reader: self, items: items.iter(), index: 0 }),
            Value::Map(entries) => {
                visitor.visit_map(MapReader { reader: self, entries: entries.iter(), current: None })
            }
        };
        result.map_err(|error| error.within(self.node))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar { text, .. } => visitor.visit_str(text).map_err(|error: ReadError| error.at(self.node.span)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
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
            _ => return Err(self.error(format!("{} is neither `true` nor `false`", self.node.describe()))),
        })
    }

    whole_numbers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_f64(self.real()?).map_err(|error: ReadError| error.at(self.node.span))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Scalar { text, .. } if name == MAYBE_SECRET_TOKEN => visitor.visit_str(text),
            _ if name == SECRET_TOKEN || name == MAYBE_SECRET_TOKEN => {
                let text = self.secret()?;
                visitor.visit_newtype_struct(IntoDeserializer::<ReadError>::into_deserializer(text))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        // serde would take the items of a list for the settings, by their order.
        if matches!(self.node.value, Value::List(_)) {
            return Err(self.error("a list stands where a map of settings is expected"));
        }
        self.map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.list(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let (variant, at, value) = match &self.node.value {
            Value::Scalar { text, .. } => (&**text, self.node.span, None),
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => (&*key.name, key.span, Some(node)),
                _ => return Err(self.error("a map with one key is expected")),
            },
            Value::Null | Value::List(_) => {
                return Err(self.error(format!("{} stands where a word is expected", self.node.describe())));
            }
        };
        visitor.visit_enum(VariantReader { reader: self, variant, value }).map_err(|error| error.at(at))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit_struct tuple_struct identifier
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
        // People count from one.
        self.index += 1;
        seed.deserialize(self.reader.part(node)?).map(Some).map_err(|error| error.under(&self.index.to_string(), node))
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
        seed.deserialize(IntoDeserializer::<ReadError>::into_deserializer(&*key.name))
            .map(Some)
            .map_err(|error| error.at(key.span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let Some((key, node)) = self.current else { return Err(ReadError::new("a value without a key")) };
        seed.deserialize(self.reader.part(node)?).map_err(|error| error.under(&key.name, node))
    }
}

struct VariantReader<'a> {
    reader: Reader<'a>,
    variant: &'a str,
    value: Option<&'a Node>,
}

impl<'a> VariantReader<'a> {
    /// The reader of what the variant holds, which must be there.
    fn content(&self, what: &str) -> Result<Reader<'a>, ReadError> {
        let Some(node) = self.value else {
            return Err(ReadError::new(format!("`{}` needs {what}", escape_controls(self.variant))));
        };
        self.reader.part(node)
    }

    fn under(&self, error: ReadError) -> ReadError {
        error.under(self.variant, self.value.unwrap_or(self.reader.node))
    }
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
            Some(node) if node.value != Value::Null => {
                Err(ReadError::new(format!("`{}` takes no settings", self.variant)).at(node.span))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.content("a value")?).map_err(|error| self.under(error))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.content("a list")?.list(visitor).map_err(|error| self.under(error))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, ReadError> {
        self.content("a map of settings")?.map(visitor).map_err(|error| self.under(error))
    }
}
