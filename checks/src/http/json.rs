//! Single values out of a JSON text, without building the whole: a hostile text of 1 MiB costs no more memory than that.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value that is expected, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar(String);

impl Scalar {
    /// Whether the value of a JSON text is this one. `1` and `1.0` are the same number.
    pub(super) fn equals(&self, value: &str) -> bool {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        self.0 == value
            || matches!((number(&self.0), number(value)), (Some(a), Some(b)) if (a - b).abs() <= f64::EPSILON * a.abs())
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::settings::excerpt(&self.0))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, `true`, `false` or `null`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Scalar, E> {
                Ok(Scalar("null".to_owned()))
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean", "null"], "description": "The value that is expected." })
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A text, number, truth value or null, as a text.
    Scalar(String),
    /// An object or a list.
    Whole(&'static str),
}

/// What stands at each of the paths.
pub(super) fn pick(text: &[u8], paths: &[&str]) -> Result<Vec<Found>, String> {
    let keys: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
    let mut found = vec![Found::Nothing; paths.len()];
    let wanted = keys.iter().enumerate().map(|(index, keys)| Wanted { index, keys }).collect();
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = Pick { wanted, found: &mut found }.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| error.to_string())?;
    Ok(found)
}

/// A path, from where we are.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// Its number in the list of paths.
    index: usize,
    /// What is left of it.
    keys: &'a [&'a str],
}

struct Pick<'a, 'f> {
    wanted: Vec<Wanted<'a>>,
    found: &'f mut [Found],
}

impl<'a> Pick<'a, '_> {
    /// Keeps this for the paths that end here.
    fn keep(self, what: &Found) {
        for wanted in self.wanted.iter().filter(|wanted| wanted.keys.is_empty()) {
            if let Some(slot) = self.found.get_mut(wanted.index) {
                *slot = what.clone();
            }
        }
    }

    fn scalar(self, text: impl fmt::Display) {
        self.keep(&Found::Scalar(text.to_string()));
    }

    /// The paths that go on with this key.
    fn below(&self, key: &str) -> Vec<Wanted<'a>> {
        let next = |wanted: &Wanted<'a>| {
            let (first, keys) = wanted.keys.split_first()?;
            (*first == key).then_some(Wanted { index: wanted.index, keys })
        };
        self.wanted.iter().filter_map(next).collect()
    }
}

impl<'de> DeserializeSeed<'de> for Pick<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar("null");
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for index in 0_u64.. {
            let wanted = self.below(&index.to_string());
            let more = if wanted.is_empty() {
                list.next_element::<IgnoredAny>()?.is_some()
            } else {
                list.next_element_seed(Pick { wanted, found: &mut *self.found })?.is_some()
            };
            if !more {
                break;
            }
        }
        self.keep(&Found::Whole("a list"));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            let wanted = self.below(&key);
            if wanted.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Pick { wanted, found: &mut *self.found })?;
            }
        }
        self.keep(&Found::Whole("an object"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_by_path() {
        let text = br#"{"a": {"b": [1, {"c": "x"}], "d": null}, "e": true, "f": 1.5, "": 0, "a": {"b": [2.0, {"c": "y\u0041"}]}}"#;
        let paths = ["a.b.0", "a.b.1.c", "a", "a.b", "e", "f", "g", "e.x", "a.b.2"];
        let scalar = |text: &str| Found::Scalar(text.to_owned());
        let found = pick(text, &paths).unwrap();
        let expected = [
            scalar("2"),
            scalar("yA"),
            Found::Whole("an object"),
            Found::Whole("a list"),
            scalar("true"),
            scalar("1.5"),
            Found::Nothing,
            Found::Nothing,
            Found::Nothing,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{} x", "nope", "[1,]", "\u{feff}{}"] {
            assert!(pick(text.as_bytes(), &["a"]).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(pick(deep.as_bytes(), &["0.0"]).is_err());
    }

    #[test]
    fn values_are_compared_as_written() {
        let scalar = |text: &str| Scalar(text.to_owned());
        assert!(
            scalar("ok").equals("ok")
                && scalar("1").equals("1")
                && scalar("1").equals("1.0")
                && scalar("null").equals("null")
        );
        assert!(
            !scalar("ok").equals("okay")
                && !scalar("1").equals("true")
                && !scalar("nan").equals("NaN")
                && !scalar("inf").equals("1e999")
        );
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_whole_tree(keys in prop::collection::vec("[ab]", 1..4), value in 0_i64..100) {
            let tree = keys.iter().rev().fold(serde_json::json!(value), |inner, key| serde_json::json!({ key: inner, "z": [inner] }));
            let found = pick(tree.to_string().as_bytes(), &[&keys.join("."), "z.0.z.0"]).unwrap();
            prop_assert_eq!(&found[0], &Found::Scalar(value.to_string()));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = pick(&bytes, &["a.b", "0"]);
        }
    }
}
