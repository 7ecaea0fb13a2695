//! Values of an answer that become metrics.

use std::collections::BTreeMap;
use std::fmt;

use monchero_core::items::Field;
use monchero_core::{Report, State};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::exchange::Answer;
use super::expect::values;
use super::json::{Found, Path};
use super::wanted::number;
use crate::settings::excerpt;

/// How long the name of a metric may be, in characters.
const MAX_NAME: usize = 64;

/// A value of the body, and its unit.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    path: Path,
    unit: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Map {
    /// Where the value stands, as `expect.json` has it.
    path: Path,
    /// The unit of the value: `s`, `ms`, `B`, `%` or any other. Default: none.
    #[serde(default)]
    unit: String,
}

impl<'de> Deserialize<'de> for Measure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Measure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a map of `path` and `unit`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Measure, E> {
                text.parse().map(|path| Measure { path, unit: String::new() }).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Measure, A::Error> {
                let Map { path, unit } = Map::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Measure { path, unit })
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for Measure {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Measure".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (path, map) = (generator.subschema_for::<Path>(), generator.subschema_for::<Map>());
        json_schema!({ "description": "Where the value stands, or a map of `path` and `unit`.", "anyOf": [path, map] })
    }
}

/// Whether a metric can have this name beside the fields that are always there.
pub(super) fn validate_name(name: &str, fixed: &[Field<'_>]) -> Result<(), String> {
    if fixed.iter().any(|field| field.name == name) {
        return Err(format!("`{name}` is measured anyway: take another name"));
    }
    let is_plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.chars().count() > MAX_NAME || !name.chars().all(is_plain) {
        return Err(format!("a name has 1 to {MAX_NAME} letters, digits, `_`, `-` and `.`"));
    }
    Ok(())
}

/// The fields that are always there and those that are measured.
pub(super) fn fields<'a>(fixed: &[Field<'a>], measure: &'a BTreeMap<String, Measure>) -> Vec<Field<'a>> {
    let own = measure.iter().map(|(name, measure)| Field::number(name, &measure.unit, "a value of the answer"));
    fixed.iter().copied().chain(own).collect()
}

/// What is measured; what cannot be is a finding.
pub(super) fn measure<'a>(
    measure: &'a BTreeMap<String, Measure>,
    answer: &Answer,
    report: &mut Report,
) -> Vec<(&'a str, f64)> {
    if measure.is_empty() {
        return Vec::new();
    }
    let paths: Vec<&Path> = measure.values().map(|measure| &measure.path).collect();
    let found = match values(answer, &paths) {
        Ok(found) => found,
        Err((state, why)) => {
            // The expectations may have said so already.
            if !report.findings.iter().any(|finding| finding.text == why) {
                report.find(state, why);
            }
            return Vec::new();
        }
    };
    let mut measured = Vec::new();
    for ((name, Measure { path, .. }), found) in measure.iter().zip(found) {
        match found.as_slice() {
            [] => report.find(State::Bad, format!("{path} is missing, there is no `{name}` to measure")),
            [one] => match value(one) {
                Ok(value) => measured.push((name.as_str(), value)),
                Err(text) => report.find(State::Bad, format!("{path} is `{}`, which is no number", excerpt(text))),
            },
            many => report.find(
                State::Unknown,
                format!("{path} finds {} values, `{name}` can be only one: name it more closely", many.len()),
            ),
        }
    }
    measured
}

fn value(found: &Found) -> Result<f64, &str> {
    match found {
        Found::Whole(_, count) => Ok(*count as f64),
        Found::Scalar(text) => match text.as_str() {
            "true" => Ok(1.0),
            "false" => Ok(0.0),
            text => number(text).ok_or(text),
        },
    }
}
