//! What `http` expects of an answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use monchero_core::Invalid;
use monchero_core::State;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::exchange::Answer;
use super::json::{self, Found};
use crate::settings::{TextMatch, excerpt};

/// What an answer must be like. Each thing that it is not like is bad.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// The status: a number, a range such as `200-299`, or a list of these. Default: `200-399`.
    #[serde(default)]
    status: Statuses,
    /// What the body must hold: a text, or `{ regex: .. }`.
    body: Option<TextMatch>,
    /// What the body must say as JSON: a map from paths to values. A path is a list of keys and of positions in lists (from 0), joined
    /// by dots: `status.code: 0`, `items.0.name: first`. Texts, numbers, `true`, `false` and `null` are compared as they are written.
    #[serde(default)]
    json: BTreeMap<String, json::Scalar>,
    /// What headers must hold: a map from names to a text or `{ regex: .. }`. Of a header that comes several times, one must hold it.
    #[serde(default)]
    header: BTreeMap<String, TextMatch>,
}

impl Expect {
    /// What cannot be meant.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        if let Some(path) = self.json.keys().find(|path| path.split('.').any(str::is_empty)) {
            return Err(Invalid::at("expect.json", format!("`{path}` is no path: keys are joined by single dots")));
        }
        match self.header.keys().find(|name| hyper::header::HeaderName::from_bytes(name.as_bytes()).is_err()) {
            Some(name) => Err(Invalid::at("expect.header", format!("`{name}` is no name of a header"))),
            None => Ok(()),
        }
    }

    /// Everything that is not as expected.
    pub(super) fn judge(&self, answer: &Answer) -> Vec<(State, String)> {
        let mut wrong = Vec::new();
        if !self.status.holds(answer.status) {
            wrong.push((State::Bad, format!("{}, expected {}", status_text(answer.status), self.status)));
        }
        for (name, expected) in &self.header {
            wrong.extend(judge_header(name, expected, &answer.headers).map(|why| (State::Bad, why)));
        }
        if let Some(expected) = &self.body
            && !expected.matches(&String::from_utf8_lossy(&answer.body))
        {
            // What was not looked at may hold it: then monchero does not know.
            wrong.push(if answer.is_cut {
                let kept = answer.kept();
                (State::Unknown, format!("the first {kept} of the body do not contain {expected}: raise `max_body`"))
            } else {
                (State::Bad, format!("the body does not contain {expected}"))
            });
        }
        if !self.json.is_empty() {
            self.judge_json(answer, &mut wrong);
        }
        wrong
    }

    fn judge_json(&self, answer: &Answer, wrong: &mut Vec<(State, String)>) {
        if answer.is_cut {
            return wrong.push((
                State::Unknown,
                format!("the body is larger than {} and cannot be read as JSON: raise `max_body`", answer.kept()),
            ));
        }
        let paths: Vec<&str> = self.json.keys().map(String::as_str).collect();
        let found = match json::pick(&answer.body, &paths) {
            Ok(found) => found,
            Err(why) => return wrong.push((State::Bad, format!("the body is not JSON: {why}"))),
        };
        for ((path, expected), found) in self.json.iter().zip(found) {
            let path = excerpt(path);
            match found {
                Found::Nothing => wrong.push((State::Bad, format!("`{path}` is missing, expected `{expected}`"))),
                Found::Whole(what) => wrong.push((State::Bad, format!("`{path}` is {what}, expected `{expected}`"))),
                Found::Scalar(value) if !expected.equals(&value) => {
                    wrong.push((State::Bad, format!("`{path}` is `{}`, expected `{expected}`", excerpt(&value))));
                }
                Found::Scalar(_) => {}
            }
        }
    }
}

fn judge_header(name: &str, expected: &TextMatch, headers: &HeaderMap) -> Option<String> {
    let values: Vec<Cow<'_, str>> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    match values.first() {
        None => Some(format!("the header `{name}` is missing")),
        Some(_) if values.iter().any(|value| expected.matches(value)) => None,
        Some(first) => Some(format!("the header `{name}` is `{}`, which does not contain {expected}", excerpt(first))),
    }
}

/// A status as people know it: `404 Not Found`.
pub(super) fn status_text(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// Ranges of statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statuses(Vec<(u16, u16)>);

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![(200, 399)])
    }
}

impl Statuses {
    fn holds(&self, status: StatusCode) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status.as_u16()))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

/// One status or range of them.
struct StatusRange(u16, u16);

impl std::str::FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=999).contains(status));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first, last)),
            _ => Err(format!("`{text}` is no status of HTTP and no range of them, as in `200` or `200-299`")),
        }
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status, a range such as `200-299`, or a list of these")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Statuses, E> {
                text.parse().map(|StatusRange(first, last)| Statuses(vec![(first, last)])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
                let mut ranges = Vec::new();
                while let Some(StatusRange(first, last)) = list.next_element()? {
                    ranges.push((first, last));
                }
                if ranges.is_empty() {
                    Err(de::Error::custom("a list without a status accepts nothing"))
                } else {
                    Ok(Statuses(ranges))
                }
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = json_schema!({ "type": ["integer", "string"] });
        json_schema!({
            "description": "A status (`200`), a range (`200-299`), or a list of these.",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }],
        })
    }
}
