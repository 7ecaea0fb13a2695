//! Single values out of a JSON text. By keys, without building the whole: a hostile text of 1 MiB costs no more memory than that. By
//! RFC 9535, from a tree whose size is bounded.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::settings::excerpt;

/// How many values a text may have that is searched with a path of RFC 9535: each needs up to 150 bytes of memory in the tree, and 8 MiB
/// are enough for a check (R73).
const MAX_VALUES: usize = 50_000;

/// Where values stand in a JSON text.
#[derive(Debug, Clone)]
pub(super) struct Path {
    text: String,
    /// None if it is a list of keys.
    query: Option<JsonPath>,
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let query = if text.starts_with('$') {
            let query = JsonPath::parse(text);
            Some(query.map_err(|error| format!("`{}` is no JSON path (RFC 9535): {error}", excerpt(text)))?)
        } else if text.split('.').any(str::is_empty) {
            return Err(format!("`{}` is no path: keys are joined by single dots", excerpt(text)));
        } else {
            None
        };
        Ok(Self { text: text.to_owned(), query })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", excerpt(&self.text))
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Path {
    fn schema_name() -> Cow<'static, str> {
        "Path".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Keys and positions joined by dots (`queue.length`, `nodes.0.state`), or a JSON path of RFC 9535 (`$.nodes[*].state`)." })
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A text, number, truth value or null, as a text.
    Scalar(String),
    /// An object or a list, and how many entries it has.
    Whole(&'static str, usize),
}

/// Why nothing can be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is no JSON.
    NotJson(String),
    /// It is too much.
    TooLarge,
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Self::NotJson(error.to_string())
    }
}

/// What stands at each of the paths: nothing, one thing or, with a path of RFC 9535, several.
pub(super) fn look(text: &[u8], paths: &[&Path]) -> Result<Vec<Vec<Found>>, Unreadable> {
    let keys: Vec<&str> = paths.iter().filter(|path| path.query.is_none()).map(|path| path.text.as_str()).collect();
    let mut by_keys = pick(text, &keys)?.into_iter();
    let tree = if paths.iter().any(|path| path.query.is_some()) { tree(text)? } else { Value::Null };
    let found = paths.iter().map(|path| match &path.query {
        None => by_keys.next().flatten().into_iter().collect(),
        Some(query) => query.query(&tree).iter().map(|value| Found::from(*value)).collect(),
    });
    Ok(found.collect())
}

fn tree(text: &[u8]) -> Result<Value, Unreadable> {
    // Each value but the first has one of these before it; that some stand within texts makes the bound no looser.
    if text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() >= MAX_VALUES {
        return Err(Unreadable::TooLarge);
    }
    Ok(serde_json::from_slice(text)?)
}

impl From<&Value> for Found {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Scalar(text.clone()),
            Value::Array(list) => Self::Whole("a list", list.len()),
            Value::Object(map) => Self::Whole("an object", map.len()),
            other => Self::Scalar(other.to_string()),
        }
    }
}

/// What stands at each of the paths, which are keys joined by dots.
fn pick(text: &[u8], paths: &[&str]) -> Result<Vec<Option<Found>>, serde_json::Error> {
    let keys: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
    let mut found = vec![None; paths.len()];
    let wanted = keys.iter().enumerate().map(|(index, keys)| Sought { index, keys }).collect();
    let mut json = serde_json::Deserializer::from_slice(text);
    Pick { wanted, found: &mut found }.deserialize(&mut json)?;
    json.end()?;
    Ok(found)
}

/// A path, from where we are.
#[derive(Clone, Copy)]
struct Sought<'a> {
    /// Its number in the list of paths.
    index: usize,
    /// What is left of it.
    keys: &'a [&'a str],
}

struct Pick<'a, 'f> {
    wanted: Vec<Sought<'a>>,
    found: &'f mut [Option<Found>],
}

impl<'a> Pick<'a, '_> {
    /// Keeps this for the paths that end here.
    fn keep(self, what: &Found) {
        for wanted in self.wanted.iter().filter(|wanted| wanted.keys.is_empty()) {
            if let Some(slot) = self.found.get_mut(wanted.index) {
                *slot = Some(what.clone());
            }
        }
    }

    fn scalar(self, text: impl fmt::Display) {
        self.keep(&Found::Scalar(text.to_string()));
    }

    /// The paths that go on with this key.
    fn below(&self, key: &str) -> Vec<Sought<'a>> {
        let next = |wanted: &Sought<'a>| {
            let (first, keys) = wanted.keys.split_first()?;
            (*first == key).then_some(Sought { index: wanted.index, keys })
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
        let mut count = 0;
        loop {
            let wanted = self.below(&count.to_string());
            let more = if wanted.is_empty() {
                list.next_element::<IgnoredAny>()?.is_some()
            } else {
                list.next_element_seed(Pick { wanted, found: &mut *self.found })?.is_some()
            };
            if !more {
                break;
            }
            count += 1;
        }
        self.keep(&Found::Whole("a list", count));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            count += 1;
            let wanted = self.below(&key);
            if wanted.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Pick { wanted, found: &mut *self.found })?;
            }
        }
        self.keep(&Found::Whole("an object", count));
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
        let scalar = |text: &str| Some(Found::Scalar(text.to_owned()));
        let found = pick(text, &paths).unwrap();
        let expected = [
            scalar("2"),
            scalar("yA"),
            Some(Found::Whole("an object", 1)),
            Some(Found::Whole("a list", 2)),
            scalar("true"),
            scalar("1.5"),
            None,
            None,
            None,
        ];
        assert_eq!(found, expected);
    }

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn paths_of_rfc_9535() {
        let text = br#"{"nodes": [{"up": true, "load": 1.5}, {"up": false}], "queue": {"length": 7}}"#;
        let paths = [
            "$.queue.length",
            "$.nodes[*].up",
            "$.nodes",
            "$['queue']",
            "queue.length",
            "$.gone",
            "$.nodes[?@.load > 1].up",
            "$..load",
        ]
        .map(path);
        let paths: Vec<&Path> = paths.iter().collect();
        let scalar = |text: &str| Found::Scalar(text.to_owned());
        let expected = [
            vec![scalar("7")],
            vec![scalar("true"), scalar("false")],
            vec![Found::Whole("a list", 2)],
            vec![Found::Whole("an object", 1)],
            vec![scalar("7")],
            vec![],
            vec![scalar("true")],
            vec![scalar("1.5")],
        ];
        assert_eq!(look(text, &paths), Ok(expected.to_vec()));
        for wrong in ["$.", "$[", "a..b", "", ".a"] {
            assert!(wrong.parse::<Path>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tree_stays_small() {
        let many = format!("[{}1]", "1,".repeat(MAX_VALUES));
        assert_eq!(look(many.as_bytes(), &[&path("$[0]")]), Err(Unreadable::TooLarge));
        assert_eq!(look(many.as_bytes(), &[&path("0")]), Ok(vec![vec![Found::Scalar("1".to_owned())]]));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{} x", "nope", "[1,]", "\u{feff}{}"] {
            assert!(pick(text.as_bytes(), &["a"]).is_err(), "{text}");
            assert!(matches!(look(text.as_bytes(), &[&path("$.a")]), Err(Unreadable::NotJson(_))), "{text}");
        }
        let deep = "[".repeat(40_000);
        assert!(pick(deep.as_bytes(), &["0.0"]).is_err());
        assert!(look(deep.as_bytes(), &[&path("$[0][0]")]).is_err());
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_whole_tree(keys in prop::collection::vec("[ab]", 1..4), value in 0_i64..100) {
            let tree = keys.iter().rev().fold(serde_json::json!(value), |inner, key| serde_json::json!({ key: inner, "z": [inner] }));
            let found = pick(tree.to_string().as_bytes(), &[&keys.join("."), "z.0.z.0"]).unwrap();
            prop_assert_eq!(&found[0], &Some(Found::Scalar(value.to_string())));
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = look(&bytes, &[&path("a.b"), &path("$..a")]);
        }
    }
}
