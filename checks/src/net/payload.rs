//! What is sent to services and expected of them without knowing their protocol.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::settings::{TextMatch, excerpt};

/// Bytes that are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload(Vec<u8>);

impl Payload {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a reply must hold.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Text(TextMatch),
    /// These bytes, somewhere in it.
    Bytes(Vec<u8>),
}

impl Reply {
    pub(crate) fn matches(&self, reply: &[u8]) -> bool {
        match self {
            Self::Text(wanted) => wanted.matches(&String::from_utf8_lossy(reply)),
            Self::Bytes(bytes) => reply.windows(bytes.len()).any(|window| window == bytes),
        }
    }
}

/// As it follows "does not say".
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(wanted) => wanted.fmt(f),
            Self::Bytes(bytes) => write!(f, "the bytes {}", hex(bytes)),
        }
    }
}

/// What a service said, for a message.
pub(crate) fn said(reply: &[u8]) -> String {
    match std::str::from_utf8(reply) {
        Ok("") => "nothing".to_owned(),
        Ok(text) => format!("`{}`", excerpt(text)),
        Err(_) => format!("`{}`", excerpt(&reply.escape_ascii().to_string())),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    excerpt(&digits.join(" "))
}

/// Bytes from pairs of hexadecimal digits, with blanks and colons between them where one likes.
fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    match digits {
        Some(digits) if !digits.is_empty() && digits.len().is_multiple_of(2) => {
            Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
        }
        _ => Err(format!("`{}` are no bytes: write two hexadecimal digits for each, as in `00 ff`", excerpt(text))),
    }
}

/// The map that stands for bytes, or for a regular expression where that has a meaning.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Form {
    Hex(String),
    Regex(String),
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or `{ hex: .. }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Payload, E> {
                Ok(Payload(text.as_bytes().to_vec()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Payload, A::Error> {
                match Form::deserialize(MapAccessDeserializer::new(map))? {
                    Form::Hex(text) => unhex(&text).map(Payload).map_err(de::Error::custom),
                    Form::Regex(_) => Err(de::Error::custom("a regular expression cannot be sent")),
                }
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Reply;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, `{ regex: .. }` or `{ hex: .. }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reply, E> {
                TextMatch::deserialize(de::value::StrDeserializer::new(text)).map(Reply::Text)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Reply, A::Error> {
                match Form::deserialize(MapAccessDeserializer::new(map))? {
                    Form::Hex(text) => unhex(&text).map(Reply::Bytes).map_err(de::Error::custom),
                    Form::Regex(text) => TextMatch::regex(&text).map(Reply::Text).map_err(de::Error::custom),
                }
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

fn hex_schema() -> Schema {
    json_schema!({
        "type": "object",
        "properties": { "hex": { "type": "string", "description": "Bytes, two hexadecimal digits for each: `00 ff`." } },
        "required": ["hex"],
        "additionalProperties": false,
    })
}

impl JsonSchema for Payload {
    fn schema_name() -> Cow<'static, str> {
        "Payload".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text, or bytes as `{ hex: .. }`.",
            "anyOf": [{ "type": ["string", "number", "boolean"] }, hex_schema()],
        })
    }
}

impl JsonSchema for Reply {
    fn schema_name() -> Cow<'static, str> {
        "Reply".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<TextMatch>();
        json_schema!({
            "description": "What must be said: a text, `{ regex: .. }`, or bytes as `{ hex: .. }`.",
            "anyOf": [text, hex_schema()],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_written_as_pairs() {
        assert_eq!(unhex("00 ff:7F"), Ok(vec![0, 255, 127]));
        for wrong in ["", "0", "00f", "gg", "0x00"] {
            assert!(unhex(wrong).is_err(), "{wrong}");
        }
        assert!(Reply::Bytes(vec![1, 2]).matches(&[0, 1, 2, 3]) && !Reply::Bytes(vec![1, 2]).matches(&[1, 3, 2]));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_written(bytes in prop::collection::vec(any::<u8>(), 1..30)) {
            prop_assert_eq!(unhex(&hex(&bytes)), Ok(bytes));
        }
    }
}
