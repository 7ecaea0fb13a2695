//! Settings that several kinds share.

use std::borrow::Cow;
use std::fmt;

use monchero_core::quantity::{self, Dimension};
use monchero_core::text::{escape_controls, shorten};
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// How large a regular expression may become when it is compiled, in bytes: the engine is linear in the text, and this bounds the rest
/// (R74).
const MAX_REGEX: usize = 1024 * 1024;

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneOrMore<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de> + std::str::FromStr<Err: fmt::Display>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de> + std::str::FromStr<Err: fmt::Display>> Visitor<'de> for Visit<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(|value| OneOrMore(vec![value])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMore(values))
            }
        }
        // As a text, so that a scalar is taken as it is written; lists come all the same.
        deserializer.deserialize_str(Visit(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMore_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// What a text from outside must hold: a text, or a match of a regular expression.
#[derive(Debug, Clone)]
pub(crate) enum TextMatch {
    /// This text somewhere in it.
    Contains(String),
    /// A match somewhere in it; `^` and `$` are the start and end of the whole.
    Regex(Regex),
}

impl TextMatch {
    /// A match of a regular expression.
    pub(crate) fn regex(text: &str) -> Result<Self, String> {
        compile(text).map(Self::Regex)
    }

    /// Whether the text is as it must be.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// As it follows "does not contain".
impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contains(part) => write!(f, "`{}`", excerpt(part)),
            Self::Regex(regex) => write!(f, "a match of `{}`", excerpt(regex.as_str())),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RegexSetting {
    regex: String,
}

impl<'de> Deserialize<'de> for TextMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = TextMatch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or `{ regex: .. }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextMatch, E> {
                if text.is_empty() {
                    Err(E::custom("an empty text is contained in everything"))
                } else {
                    Ok(TextMatch::Contains(text.to_owned()))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextMatch, A::Error> {
                let setting = RegexSetting::deserialize(MapAccessDeserializer::new(map))?;
                TextMatch::regex(&setting.regex).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let regex = regex::RegexBuilder::new(text).size_limit(MAX_REGEX).build();
    regex.map_err(|why| format!("the regular expression cannot be used: {}", last_line(&why)))
}

/// A regular expression that must match somewhere in a text.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(pub(crate) Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(de::Error::custom("an empty regular expression matches everything"));
        }
        compile(&text).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A regular expression that must match somewhere in the text." })
    }
}

/// The sentence of a regex error; the lines before it draw a picture.
fn last_line(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => format!("it needs more than {} KiB when compiled", MAX_REGEX / 1024),
        other => {
            let text = other.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    }
}

impl JsonSchema for TextMatch {
    fn schema_name() -> Cow<'static, str> {
        "TextMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text that must be contained, or `{ regex: .. }`, a regular expression that must match somewhere; `^` and `$` stand for the start and the end of the whole text.",
            "anyOf": [
                { "type": ["string", "number", "boolean"] },
                {
                    "type": "object",
                    "properties": { "regex": { "type": "string", "description": "The regular expression." } },
                    "required": ["regex"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// One or several texts or regular expressions.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextMatches(Vec<TextMatch>);

impl std::ops::Deref for TextMatches {
    type Target = [TextMatch];

    fn deref(&self) -> &[TextMatch] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for TextMatches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = TextMatches;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, `{ regex: .. }` or a list of these")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextMatches, E> {
                TextMatch::deserialize(de::value::StrDeserializer::new(text)).map(|one| TextMatches(vec![one]))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextMatches, A::Error> {
                TextMatch::deserialize(MapAccessDeserializer::new(map)).map(|one| TextMatches(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TextMatches, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(TextMatches(all))
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for TextMatches {
    fn schema_name() -> Cow<'static, str> {
        "TextMatches".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<TextMatch>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// A number of bytes with its unit: `64KiB`, `1MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (value, dimension) = quantity::parse(&text).map_err(de::Error::custom)?;
        if dimension != Dimension::Bytes {
            return Err(de::Error::custom(format!(
                "`{text}` is no size: write a number with a unit, as in `64KiB` or `1MB`"
            )));
        }
        if !(1.0..=MAX_SIZE).contains(&value) {
            return Err(de::Error::custom(format!("`{text}` is not from 1B to 64MiB")));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was just seen to lie within 1 .. 64 Mi"
        )]
        Ok(Self(value as usize))
    }
}

/// The largest size that a setting may ask for, in bytes: so much is held in memory while a check runs.
const MAX_SIZE: f64 = 64.0 * 1024.0 * 1024.0;

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A number of bytes with its unit: `512B`, `64KiB`, `1MB`; at most 64MiB." })
    }
}

/// The start of a text from outside, fit for a message (R69).
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_EXCERPT: usize = 120;
    let mut start = text.trim().to_owned();
    monchero_core::text::truncate_at_char(&mut start, 4 * MAX_EXCERPT);
    shorten(&escape_controls(&start), MAX_EXCERPT)
}
