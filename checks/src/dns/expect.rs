//! What an answer of a name server must be.

use std::borrow::Cow;
use std::fmt;

use monchero_core::items::{Condition, Value};
use monchero_core::quantity::Unit;
use monchero_core::text::glob;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Look, shown};
use crate::settings::{OneOrMore, excerpt};

/// What the answer must be.
#[derive(Debug)]
pub(super) enum Expect {
    /// There is no such record.
    Nothing,
    /// There is one, and it is so.
    Answer(Box<Details>),
}

/// What the answer must be like. Values are globs: `*` stands for any characters, `?` for one. They are written without the dot at the
/// end of names, several parts of a record with blanks between: `10 mail.example.org`.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Details {
    /// Exactly these values, in any order: each fits an answer and each answer fits one.
    answers: Option<OneOrMore<String>>,
    /// Values each of which must be among the answers.
    contains: Option<OneOrMore<String>>,
    /// Values one of which must be among the answers.
    any: Option<OneOrMore<String>>,
    /// The code of the answer: `NOERROR`, `NXDOMAIN`, `SERVFAIL`, `REFUSED` .., or a list of those that will do. Default: `NOERROR`, and
    /// at least one record.
    rcode: Option<Condition>,
    /// Whether the server must say that it is responsible for the name. Default: either will do.
    authoritative: Option<bool>,
}

impl Default for Expect {
    fn default() -> Self {
        Self::Answer(Box::default())
    }
}

impl Expect {
    /// What is not as expected, as it follows the name of the server.
    pub(super) fn judge(&self, asked: &str, look: &Look) -> Vec<String> {
        match self {
            Self::Nothing if look.answers.is_empty() && ["NOERROR", "NXDOMAIN"].contains(&look.rcode.as_str()) => {
                Vec::new()
            }
            Self::Nothing => vec![format!("{asked} is {}, none is expected", shown(look))],
            Self::Answer(details) => details.judge(asked, look),
        }
    }
}

impl Details {
    fn judge(&self, asked: &str, look: &Look) -> Vec<String> {
        let mut wrong = Vec::new();
        let rcode_fits = match &self.rcode {
            Some(rcode) => rcode.fits(Value::Text(&look.rcode), &Unit::NONE),
            None => look.rcode == "NOERROR",
        };
        let values = [&self.answers, &self.contains, &self.any];
        if !rcode_fits {
            wrong.push(format!("{asked} is answered with {}", look.rcode));
        } else if look.answers.is_empty() && (self.rcode.is_none() || values.iter().any(|value| value.is_some())) {
            wrong.push(format!("{asked} has no answer"));
        } else if let Some(why) = self.compare(&look.answers) {
            wrong.push(format!("{asked} is {}, {why}", shown(look)));
        }
        match self.authoritative {
            Some(true) if !look.authoritative => wrong.push(format!("the answer to {asked} is not authoritative")),
            Some(false) if look.authoritative => wrong.push(format!("the answer to {asked} is authoritative")),
            _ => {}
        }
        wrong
    }

    fn compare(&self, answers: &[String]) -> Option<String> {
        let is_there = |pattern: &String| answers.iter().any(|answer| fits(pattern, answer));
        let list = |patterns: &[String]| {
            patterns.iter().map(|pattern| format!("`{}`", excerpt(pattern))).collect::<Vec<_>>().join(", ")
        };
        if let Some(OneOrMore(patterns)) = &self.answers
            && !(patterns.iter().all(is_there)
                && answers.iter().all(|answer| patterns.iter().any(|pattern| fits(pattern, answer))))
        {
            return Some(format!("not {}", list(patterns)));
        }
        if let Some(OneOrMore(patterns)) = &self.contains
            && let Some(missing) = patterns.iter().find(|pattern| !is_there(pattern))
        {
            return Some(format!("without {}", list(std::slice::from_ref(missing))));
        }
        match &self.any {
            Some(OneOrMore(patterns)) if !patterns.iter().any(is_there) => Some(format!("none of {}", list(patterns))),
            _ => None,
        }
    }
}

/// Whether an answer is one of those that are meant; the case of letters is the server's choice.
fn fits(pattern: &str, answer: &str) -> bool {
    let pattern = pattern.trim();
    glob(pattern, answer) || glob(&pattern.strip_suffix('.').unwrap_or(pattern).to_lowercase(), &answer.to_lowercase())
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Expect;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none`, a value, a list of values or a map")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expect, E> {
                Ok(match text {
                    "none" => Expect::Nothing,
                    _ => exactly(OneOrMore(vec![text.to_owned()])),
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Expect, A::Error> {
                let values = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                if values.is_empty() {
                    return Err(de::Error::custom(
                        "an empty list says nothing: write `none` if there must be no record",
                    ));
                }
                Ok(exactly(OneOrMore(values)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expect, A::Error> {
                Details::deserialize(MapAccessDeserializer::new(map)).map(|details| Expect::Answer(Box::new(details)))
            }
        }
        // As a text, so that a scalar is taken as it is written; lists and maps come all the same.
        deserializer.deserialize_str(Visit)
    }
}

fn exactly(answers: OneOrMore<String>) -> Expect {
    Expect::Answer(Box::new(Details { answers: Some(answers), ..Details::default() }))
}

impl JsonSchema for Expect {
    fn schema_name() -> Cow<'static, str> {
        "DnsExpect".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let details = generator.subschema_for::<Details>();
        json_schema!({
            "description": "`none` for no record, a value or a list of values that must be all there is, or a map.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }, details],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wrong(details: Details, rcode: &str, answers: &[&str]) -> String {
        let look = Look {
            time: Duration::ZERO,
            rcode: rcode.to_owned(),
            authoritative: false,
            answers: answers.iter().map(|answer| (*answer).to_owned()).collect(),
            ttl: None,
            serial: None,
        };
        Expect::Answer(Box::new(details)).judge("a A", &look).join("; ")
    }

    fn values(values: &[&str]) -> OneOrMore<String> {
        OneOrMore(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn sets_of_values() {
        let exactly = |patterns: &[&str]| Details { answers: Some(values(patterns)), ..Details::default() };
        assert_eq!(wrong(exactly(&["b", "A."]), "NOERROR", &["a", "b"]), "");
        assert_eq!(wrong(exactly(&["a"]), "NOERROR", &["a", "b"]), "a A is a, b, not `a`");
        assert_eq!(wrong(exactly(&["a", "b"]), "NOERROR", &["a"]), "a A is a, not `a`, `b`");
        assert_eq!(wrong(exactly(&["10.*"]), "NOERROR", &["10.0.0.1", "10.0.0.2"]), "");
        let contains = |patterns: &[&str]| Details { contains: Some(values(patterns)), ..Details::default() };
        assert_eq!(wrong(contains(&["a"]), "NOERROR", &["a", "b"]), "");
        assert_eq!(wrong(contains(&["a", "c"]), "NOERROR", &["a", "b"]), "a A is a, b, without `c`");
        let any = |patterns: &[&str]| Details { any: Some(values(patterns)), ..Details::default() };
        assert_eq!(wrong(any(&["x", "b"]), "NOERROR", &["a", "b"]), "");
        assert_eq!(wrong(any(&["x", "y"]), "NOERROR", &["a"]), "a A is a, none of `x`, `y`");
    }

    #[test]
    fn codes_and_flags() {
        assert_eq!(wrong(Details::default(), "SERVFAIL", &[]), "a A is answered with SERVFAIL");
        assert_eq!(wrong(Details::default(), "NOERROR", &[]), "a A has no answer");
        let authoritative = Details { authoritative: Some(true), ..Details::default() };
        assert_eq!(wrong(authoritative, "NOERROR", &["a"]), "the answer to a A is not authoritative");
    }
}
