//! Which items count: globs on names and conditions on fields.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess};

use super::condition::{Condition, fits_globs, no_such_field};
use super::{Field, NAME, Value};
use crate::node::Invalid;
use crate::quantity::Unit;

/// Which items are meant: globs on their names, maps of conditions by field (all of which must hold), or a list of those (any of which
/// is enough).
///
/// ```yaml
/// only: [/srv/*, { type: ext4, used: "> 5%" }]
/// except: { type: [tmpfs, overlay] }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter(pub(super) Vec<Rule>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    Name(Box<str>),
    Fields(BTreeMap<Box<str>, Condition>),
}

/// The value of a field, if the item has it.
fn value_of<'v>(name: &'v str, values: &[(&str, Value<'v>)], field: &str) -> Option<Value<'v>> {
    let found = values.iter().find(|(label, _)| *label == field).map(|(_, value)| *value);
    found.or(if field == NAME { Some(Value::Text(name)) } else { None })
}

impl Rule {
    /// Whether an item fits; `missing` is the answer for a field that it does not have.
    pub(super) fn fits(&self, fields: &[Field<'_>], name: &str, values: &[(&str, Value<'_>)], missing: bool) -> bool {
        match self {
            Self::Name(pattern) => fits_globs(std::slice::from_ref(pattern), name),
            Self::Fields(conditions) => conditions.iter().all(|(field, condition)| {
                let unit = fields.iter().find(|f| f.name == &**field).and_then(|f| f.unit).unwrap_or_default();
                value_of(name, values, field).map_or(missing, |value| condition.fits(value, &Unit::new(unit)))
            }),
        }
    }
}

impl Filter {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields that are named, for kinds whose fields are known only when they look.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let fields = self.0.iter().filter_map(|rule| match rule {
            Rule::Name(_) => None,
            Rule::Fields(conditions) => Some(conditions.keys().map(|name| &**name)),
        });
        fields.flatten()
    }

    /// Whether each name is a field of the kind and each condition fits it. `setting` is `only` or `except`.
    pub fn validate(&self, setting: &str, fields: &[Field<'_>]) -> Result<(), Invalid> {
        for (index, rule) in self.0.iter().enumerate() {
            let Rule::Fields(conditions) = rule else { continue };
            for (name, condition) in conditions {
                let place = if self.0.len() > 1 {
                    format!("{setting}.{}.{name}", index + 1)
                } else {
                    format!("{setting}.{name}")
                };
                if &**name == NAME {
                    continue;
                }
                let Some(field) = fields.iter().find(|field| field.name == &**name) else {
                    return Err(Invalid::at(place, no_such_field(name, fields)));
                };
                condition.judge(field).map_err(|why| Invalid::at(place, why))?;
            }
        }
        Ok(())
    }

    /// Whether an item is one of those that are meant; `missing` is the answer for a field that it does not have.
    pub(super) fn fits(&self, fields: &[Field<'_>], name: &str, values: &[(&str, Value<'_>)], missing: bool) -> bool {
        self.0.iter().any(|rule| rule.fits(fields, name, values, missing))
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Rule;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name such as `/srv/*`, or a map of conditions by field")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rule, E> {
                if text.trim_start_matches('!').is_empty() {
                    return Err(E::custom("an empty name fits nothing"));
                }
                Ok(Rule::Name(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rule, A::Error> {
                let mut conditions = BTreeMap::new();
                while let Some((name, condition)) = map.next_entry::<Box<str>, Condition>()? {
                    conditions.insert(name, condition);
                }
                Ok(Rule::Fields(conditions))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Filter;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name such as `/srv/*`, a map of conditions by field, or a list of those")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Filter, E> {
                let rule = Rule::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(Filter(vec![rule]))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Filter, A::Error> {
                Ok(Filter(vec![Rule::deserialize(de::value::MapAccessDeserializer::new(map))?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Filter, A::Error> {
                let mut rules = Vec::new();
                while let Some(rule) = list.next_element()? {
                    rules.push(rule);
                }
                Ok(Filter(rules))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Filter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let condition = generator.subschema_for::<Condition>();
        let rule = json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "object", "additionalProperties": condition, "minProperties": 1 }]
        });
        json_schema!({
            "description": "Which items are meant: a glob on the name (`/srv/*`), a map of conditions by field that must all hold (`{ type: nfs*, used: \"> 5%\" }`), or a list of those, any of which is enough.",
            "anyOf": [rule, { "type": "array", "items": rule, "minItems": 1 }],
        })
    }
}
