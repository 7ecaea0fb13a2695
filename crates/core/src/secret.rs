//! Secrets that never show themselves.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::node::{MAYBE_SECRET_TOKEN, SECRET_TOKEN};

/// A password, token or key. It has no `Display` and no `Serialize`, and its `Debug` hides it; only [`Secret::reveal`] gives it away,
/// so that a search for that word finds every use.
///
/// It is read from a [`crate::node::Node`], whose loader refuses one in a file that others can read. A type that serde buffers first
/// (`flatten`, `untagged`, an internal tag) would pass by that loader, so secrets stand in none.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Secret, D::Error> {
                String::deserialize(inner).map(Secret)
            }
        }
        deserializer.deserialize_newtype_struct(SECRET_TOKEN, Visitor)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret: `{ file: PATH }`, `{ env: NAME }`, `{ credential: NAME }` (systemd), or the text itself if nobody else can read the file.",
            "oneOf": [
                { "type": "string" },
                { "type": "object", "properties": { "file": { "type": "string" } }, "required": ["file"], "additionalProperties": false },
                { "type": "object", "properties": { "env": { "type": "string" } }, "required": ["env"], "additionalProperties": false },
                { "type": "object", "properties": { "credential": { "type": "string" } }, "required": ["credential"], "additionalProperties": false },
            ],
        })
    }
}

/// A text that may be a secret, such as the value of a header: a text that anybody may read, or a [`Secret`] that stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaybeSecret {
    /// A text as it stands in the configuration, whoever may read that.
    Plain(String),
    /// `{ file: .. }`, `{ env: .. }` or `{ credential: .. }`.
    Secret(Secret),
}

impl MaybeSecret {
    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }
}

impl<'de> Deserialize<'de> for MaybeSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = MaybeSecret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a secret")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<MaybeSecret, E> {
                Ok(MaybeSecret::Plain(text.to_owned()))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<MaybeSecret, D::Error> {
                String::deserialize(inner).map(Secret).map(MaybeSecret::Secret)
            }
        }
        deserializer.deserialize_newtype_struct(MAYBE_SECRET_TOKEN, Visitor)
    }
}

impl JsonSchema for MaybeSecret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaybeSecret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Secret::json_schema(generator);
        schema.insert(
            "description".to_owned(),
            "A text, or a secret that stands elsewhere: `{ file: PATH }`, `{ env: NAME }` or `{ credential: NAME }` (systemd).".into(),
        );
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
