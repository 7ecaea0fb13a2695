//! What a value is compared with.

use std::borrow::Cow;
use std::fmt;

use monchero_core::Range;
use monchero_core::text::glob;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::settings::{TextMatch, excerpt};

/// A value that is expected: one or several texts, a range of numbers, or a regular expression.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// Any of these, as it is written, with `*` and `?`; none of those with a `!` in front. `1` and `1.0` are the same number.
    Words(Vec<String>),
    /// A number that is in the range, and how that was written.
    Range(Range, String),
    /// A match of a regular expression.
    Match(TextMatch),
}

impl Wanted {
    /// Whether a value is one of those that are meant.
    pub(super) fn fits(&self, value: &str) -> bool {
        match self {
            Self::Words(words) => {
                let fits = |word: &str| word == value || same_number(word, value) || glob(word, value);
                let (none_of, any_of): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with('!'));
                (any_of.is_empty() || any_of.iter().any(|word| fits(word)))
                    && !none_of.iter().filter_map(|word| word.strip_prefix('!')).any(fits)
            }
            // Written as a comparison, a range holds what it names.
            Self::Range(range, _) => number(value).is_some_and(|number| range.alerts(number)),
            Self::Match(wanted) => wanted.matches(value),
        }
    }

    /// Whether a list or an object with so many entries is meant.
    pub(super) fn counts(&self, count: usize) -> bool {
        matches!(self, Self::Range(range, _) if range.alerts(count as f64))
    }

    fn new(text: &str) -> Result<Self, String> {
        if ["<", ">", "==", "!=", "@"].iter().any(|sign| text.starts_with(sign)) {
            let range = Range::parse(text).map_err(|why| {
                format!("{why}. A text that begins like a comparison is written as `{{ regex: .. }}`")
            })?;
            return Ok(Self::Range(range, text.to_owned()));
        }
        Ok(Self::Words(vec![text.to_owned()]))
    }
}

/// The number that a text is.
pub(super) fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

fn same_number(a: &str, b: &str) -> bool {
    matches!((number(a), number(b)), (Some(a), Some(b)) if (a - b).abs() <= f64::EPSILON * a.abs())
}

/// As it follows "expected".
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{}`", excerpt(word))).collect();
                f.write_str(&words.join(" or "))
            }
            Self::Range(_, text) => write!(f, "`{}`", excerpt(text)),
            Self::Match(wanted) => wanted.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Wanted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a text, a number, `true`, `false`, `null`, a comparison such as `< 10`, a list or `{ regex: .. }`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Wanted, E> {
                Wanted::new(text).map_err(E::custom)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Wanted, E> {
                Ok(Wanted::Words(vec!["null".to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Wanted, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element::<String>()? {
                    words.push(word);
                }
                if words.is_empty() {
                    Err(de::Error::custom("an empty list fits nothing"))
                } else {
                    Ok(Wanted::Words(words))
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Wanted, A::Error> {
                TextMatch::deserialize(MapAccessDeserializer::new(map)).map(Wanted::Match)
            }
        }
        // As a text, so that a scalar is taken as it is written; lists and maps come all the same.
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        "Wanted".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let matching = generator.subschema_for::<TextMatch>();
        json_schema!({
            "description": "The value that is expected: as it is written (`ok`, with `*` and `?`, or a list of those; a `!` in front means all that do not fit), a comparison of numbers (`< 10`, `@10:20` for 10 to 20), or `{ regex: .. }`.",
            "anyOf": [
                { "type": ["string", "number", "boolean", "null"] },
                { "type": "array", "items": { "type": ["string", "number", "boolean"] }, "minItems": 1 },
                matching,
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Wanted {
        Wanted::new(text).unwrap()
    }

    #[test]
    fn values_are_compared_as_written() {
        for (text, value) in [
            ("ok", "ok"),
            ("1", "1"),
            ("1", "1.0"),
            ("null", "null"),
            ("", ""),
            ("1.2*", "1.2.3"),
            ("!error", "fine"),
            ("< 10", "9"),
            (">= 3", "3"),
            ("@10:20", "20"),
            ("!= 0", "1"),
            ("< 1KiB", "1023"),
        ] {
            assert!(wanted(text).fits(value), "{text} {value}");
        }
        for (text, value) in [
            ("ok", "okay"),
            ("1", "true"),
            ("nan", "NaN"),
            ("inf", "1e999"),
            ("!error", "error"),
            ("< 10", "10"),
            ("< 10", "few"),
            ("@10:20", "21"),
            ("== 1", "2"),
        ] {
            assert!(!wanted(text).fits(value), "{text} {value}");
        }
        assert!(Wanted::new("< ten").unwrap_err().contains("regex"));
        let list = Wanted::Words(["a", "b*", "!bb"].map(str::to_owned).to_vec());
        assert!(list.fits("a") && list.fits("bc") && !list.fits("bb") && !list.fits("c"));
    }
}
