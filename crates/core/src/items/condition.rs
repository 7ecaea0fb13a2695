//! When values alert: conditions on numbers and texts, and the thresholds of a kind by field.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess};

use super::{Field, Value};
use crate::node::{self, Invalid};
use crate::order;
use crate::quantity::{self, Unit};
use crate::range::Range;

/// What a value is compared with: a range for a number; for a text one glob or several, any of which must fit. `*` stands for any
/// characters, `?` for one, and a `!` in front means all that do not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub(super) words: Box<[Box<str>]>,
    range: Option<Range>,
}

impl Condition {
    pub(super) fn new(words: Vec<String>) -> Result<Self, String> {
        if words.iter().any(|word| word.trim_start_matches('!').is_empty()) || words.is_empty() {
            return Err("an empty text fits nothing".to_owned());
        }
        let range = match words.as_slice() {
            [word] => Range::parse(word).ok(),
            _ => None,
        };
        Ok(Self { words: words.into_iter().map(String::into_boxed_str).collect(), range })
    }

    /// Whether a value is one of those that are meant.
    pub fn fits(&self, value: Value<'_>, unit: &Unit) -> bool {
        match value {
            Value::Number(number) => self.range.is_some_and(|range| match range.dimension() {
                quantity::Dimension::Plain => range.alerts(number),
                _ => range.alerts(unit.to_base(number)),
            }),
            Value::Text(text) => fits_globs(&self.words, text),
        }
    }

    /// Whether it can be compared with the values of a field.
    pub(super) fn judge(&self, field: &Field<'_>) -> Result<(), String> {
        let Some(unit) = field.unit else { return Ok(()) };
        let Some(range) = &self.range else {
            return Err(match &*self.words {
                [word] => Range::parse(word).err().unwrap_or_default(),
                _ => format!("`{}` is a number: it is compared with one range, not with a list", field.name),
            });
        };
        let (wanted, given) = (Unit::new(unit).dimension(), range.dimension());
        if given == quantity::Dimension::Plain || given == wanted {
            return Ok(());
        }
        Err(format!("`{}` is measured as {wanted}, the limit is {given}", field.name))
    }
}

/// Whether a text fits any of the globs that are not negated, or all that are there are negated, and none of the negated ones.
pub(super) fn fits_globs(words: &[Box<str>], text: &str) -> bool {
    let mut positive = words.iter().filter(|word| !word.starts_with('!')).peekable();
    let wanted = positive.peek().is_none() || positive.any(|word| crate::text::glob(word, text));
    wanted && !words.iter().filter_map(|word| word.strip_prefix('!')).any(|word| crate::text::glob(word, text))
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Condition;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a range such as `80%`, a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Condition, E> {
                Condition::new(vec![text.to_owned()]).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Condition, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element::<String>()? {
                    words.push(word);
                }
                Condition::new(words).map_err(de::Error::custom)
            }
        }
        // As a text, so that a scalar is taken as it is written; lists come all the same.
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let range = generator.subschema_for::<Range>();
        json_schema!({
            "description": "What a value is compared with: a number with a range (`> 90%`), a text with a glob (`nfs*`, `!running`) or a list of them.",
            "anyOf": [range, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}

/// When the values of a kind alert: one condition for its main field, or a map of conditions by field.
///
/// ```yaml
/// warning: 80%                         # the main field
/// bad: { used: "> 90%", inodes: 95% }  # by field
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// For the kind's main field.
    pub(super) main: Option<Condition>,
    /// By name of the field.
    pub(super) fields: BTreeMap<Box<str>, Condition>,
}

/// What a kind alerts about as long as the user says nothing about the field.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The field.
    pub field: &'static str,
    /// When it is a warning, as a user would write it, several texts with `|` between them; empty for never.
    pub warning: &'static str,
    /// When it is bad, written as `warning` is; empty for never.
    pub bad: &'static str,
}

impl Thresholds {
    /// Judges both settings of a kind as [`Thresholds::validate`] does, then fills in the kind's own limits, field by field: only where
    /// neither `warning` nor `bad` says anything about that field, so that a user's `warning: 95%` never meets a `bad` of 90%.
    pub fn settle(warning: &mut Self, bad: &mut Self, fields: &[Field<'_>], limits: &[Limit]) -> Result<(), Invalid> {
        warning.validate("warning", fields)?;
        bad.validate("bad", fields)?;
        for limit in limits {
            let is_main = fields.first().is_some_and(|field| field.name == limit.field);
            let says = |thresholds: &Self| {
                thresholds.fields.contains_key(limit.field) || (is_main && thresholds.main.is_some())
            };
            if says(warning) || says(bad) {
                continue;
            }
            for (thresholds, setting, text) in
                [(&mut *warning, "warning", limit.warning), (&mut *bad, "bad", limit.bad)]
            {
                if !text.is_empty() {
                    let words = text.split('|').map(str::to_owned).collect();
                    let condition = Condition::new(words).map_err(|why| Invalid::at(setting, why))?;
                    thresholds.fields.insert(limit.field.into(), condition);
                }
            }
        }
        Ok(())
    }

    /// The condition for a field of a kind whose main field is the first one.
    pub(super) fn condition(&self, field: &Field<'_>, is_main: bool) -> Option<&Condition> {
        self.fields.get(field.name).or(if is_main { self.main.as_ref() } else { None })
    }

    /// The range for a field of a kind whose main field is the first one.
    pub fn range(&self, field: &Field<'_>, is_main: bool) -> Option<Range> {
        self.condition(field, is_main).and_then(|condition| condition.range)
    }

    /// The fields that are named, for kinds whose fields are known only when they look.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(|name| &**name)
    }

    /// The same, but silent about some fields: while something is so that makes their values no matter.
    #[must_use]
    pub fn without(&self, fields: &[Field<'_>], silent: impl Fn(&str) -> bool) -> Self {
        let is_main_silent = fields.first().is_some_and(|field| silent(field.name));
        Self {
            main: self.main.clone().filter(|_| !is_main_silent),
            fields: order::tree(
                self.fields.iter().filter(|(name, _)| !silent(name)).map(|(n, c)| (n.clone(), c.clone())),
            ),
        }
    }

    /// Whether each name is a field of the kind and each condition fits it. `setting` is `warning` or `bad`.
    pub fn validate(&self, setting: &str, fields: &[Field<'_>]) -> Result<(), Invalid> {
        for (name, condition) in &self.fields {
            let Some(field) = fields.iter().find(|field| field.name == &**name) else {
                return Err(Invalid::at(format!("{setting}.{name}"), no_such_field(name, fields)));
            };
            condition.judge(field).map_err(|why| Invalid::at(format!("{setting}.{name}"), why))?;
        }
        match (&self.main, fields.first()) {
            (Some(condition), Some(field)) => {
                condition.judge(field).map_err(|why| Invalid::at(setting.to_owned(), why))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn no_such_field(name: &str, fields: &[Field<'_>]) -> String {
    let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
    format!("`{name}` is nothing that this kind measures; {}", node::suggest(name, &known))
}

impl<'de> Deserialize<'de> for Thresholds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Thresholds;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a range such as `80%`, or a map of ranges by field")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Thresholds, E> {
                let main = Condition::new(vec![text.to_owned()]).map_err(E::custom)?;
                Ok(Thresholds { main: Some(main), fields: BTreeMap::new() })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Thresholds, A::Error> {
                let main = Condition::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                Ok(Thresholds { main: Some(main), fields: BTreeMap::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Thresholds, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, condition)) = map.next_entry::<Box<str>, Condition>()? {
                    fields.insert(name, condition);
                }
                Ok(Thresholds { main: None, fields })
            }
        }
        // As a text, so that a scalar is taken as it is written; lists and maps come all the same.
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Thresholds {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Thresholds".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let condition = generator.subschema_for::<Condition>();
        json_schema!({
            "description": "When what is measured alerts: one condition for the main field (`80%`), or a map of conditions by field (`{ used: 80%, inodes: 90% }`).",
            "anyOf": [condition, { "type": "object", "additionalProperties": condition }],
        })
    }
}
