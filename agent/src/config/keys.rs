//! Which settings a struct has.

use monchero_core::order;
use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// The names of a struct's settings, in alphabetical order. Its own `Deserialize` says them: making its schema for that
/// would take a daemon more memory than all that it does later.
pub(super) fn keys_of<'de, T: Deserialize<'de>>() -> Vec<&'static str> {
    let mut asked = Asked(&[]);
    // It always fails: what counts is what was asked for.
    let _ = T::deserialize(&mut asked);
    let mut keys = asked.0.to_vec();
    order::sort(&mut keys);
    keys
}

/// What stands in for a document, and hears which fields are expected in it.
struct Asked(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Asked {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        self.0 = fields;
        Err(Error::custom("nothing is there"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing is there"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::keys_of;

    #[test]
    fn the_names_are_those_that_are_written() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[expect(dead_code, reason = "only the names count")]
        struct Some {
            of_two_words: u8,
            #[serde(rename = "if")]
            condition: Option<String>,
        }
        assert_eq!(keys_of::<Some>(), ["if", "of-two-words"]);
        assert!(keys_of::<u8>().is_empty());
    }
}
