//! Objects that the user names.

use std::collections::BTreeMap;
use std::fmt;

use monchero_core::Invalid;
use monchero_core::items::NAME;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::object::ObjectId;
use super::plan::{Column, How, OwnField, Plan, Rows, Table};

/// The most objects that one check may name.
const MAX_NAMED: usize = 200;

/// Objects by the names that they shall have.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Objects(BTreeMap<String, Object>);

/// An object and how it is read.
#[derive(Debug)]
struct Object(ObjectMap);

/// An object and how it is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectMap {
    /// The object; in a table the column, without the index.
    oid: ObjectId,
    /// The unit of the number, after `scale`: `%`, `s`, `B`, `V`, `C` .. Default: none. Hundredths of seconds (`TimeTicks`) come as seconds.
    unit: Option<String>,
    /// What the number is multiplied with. Default: `1`.
    scale: Option<f64>,
    /// Words for numbers: `{ 1: unknown, 2: normal }`. The field is a text then.
    values: Option<BTreeMap<String, String>>,
    /// Whether it is a counter of which the growth in a second is wanted; `/s` is added to the unit. Default: `false`.
    #[serde(default)]
    rate: bool,
    /// Whether it is a text even if it looks like a number. Default: `false`.
    #[serde(default)]
    text: bool,
}

/// A table of objects.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TableSettings {
    /// The columns: a map from the names that they shall have to what they are, as in `get`, without the index of the row.
    columns: Objects,
    /// The column whose text names the rows: an object, or the name of one of `columns`. Default: the index.
    name: Option<String>,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object such as `1.3.6.1.2.1.1.3.0`, or a map with `oid`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Object, E> {
                let oid = text.parse().map_err(E::custom)?;
                Ok(Object(ObjectMap { oid, unit: None, scale: None, values: None, rate: false, text: false }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object, A::Error> {
                ObjectMap::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_str(Visit)
    }
}

impl JsonSchema for Object {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Object".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (id, map) = (generator.subschema_for::<ObjectId>(), generator.subschema_for::<ObjectMap>());
        json_schema!({ "description": "An object, or a map that says how it is read.", "anyOf": [id, map] })
    }
}

impl ObjectMap {
    fn how(&self) -> Result<How, String> {
        let scale = self.scale.unwrap_or(1.0);
        if !scale.is_finite() || scale == 0.0 {
            return Err("`scale` is a number other than 0".to_owned());
        }
        let is_number = self.unit.is_some() || self.scale.is_some();
        let ways = [self.rate, self.text, self.values.is_some()].into_iter().filter(|is| *is).count();
        if ways > 1 || (is_number && (self.text || self.values.is_some())) {
            return Err("a text (`text`, `values`) is no number (`unit`, `scale`, `rate`)".to_owned());
        }
        if let Some(values) = &self.values {
            let word = |(number, word): (&String, &String)| match number.trim().parse() {
                Ok(number) => Ok((number, word.clone())),
                Err(_) => Err(format!("`values` are words for numbers, `{number}` is none")),
            };
            return Ok(How::Words(values.iter().map(word).collect::<Result<_, _>>()?));
        }
        Ok(match (self.rate, self.text, is_number) {
            (true, ..) => How::Rate(scale),
            (_, true, _) => How::Text,
            (.., true) => How::Number(scale),
            _ => How::Auto,
        })
    }

    fn unit(&self, how: &How) -> Option<String> {
        let unit = || self.unit.clone().unwrap_or_default();
        match how {
            How::Rate(_) => Some(format!("{}/s", unit())),
            How::Number(_) | How::Unless(..) => Some(unit()),
            How::Auto | How::Text | How::Words(_) => None,
        }
    }
}

impl Objects {
    /// The names and the objects.
    pub(super) fn ids(&self) -> impl Iterator<Item = (&str, &ObjectId)> {
        self.0.iter().map(|(name, object)| (name.as_str(), &object.0.oid))
    }

    fn columns(&self, setting: &str) -> Result<(Vec<OwnField>, Vec<Column>), Invalid> {
        if self.0.is_empty() || self.0.len() > MAX_NAMED {
            return Err(Invalid::at(setting, format!("a check names 1 to {MAX_NAMED} objects")));
        }
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (name, Object(object)) in &self.0 {
            let place = format!("{setting}.{name}");
            if name == NAME || name.is_empty() || name.starts_with('_') || name.contains(char::is_whitespace) {
                return Err(Invalid::at(place, format!("`{name}` cannot be the name of a field")));
            }
            let how = object.how().map_err(|why| Invalid::at(place, why))?;
            fields.push(OwnField { name: name.clone(), unit: object.unit(&how) });
            columns.push(Column { name: name.clone(), id: object.oid.clone(), how });
        }
        Ok((fields, columns))
    }

    /// What is asked for with `get`.
    pub(super) fn plan(&self) -> Result<Plan, Invalid> {
        let (fields, columns) = self.columns("get")?;
        let table = Table { prefix: String::new(), rows: Rows::Single, names: Vec::new(), columns, derive: None };
        Ok(Plan { sort: "object".to_owned(), fields, tables: vec![table] })
    }
}

impl TableSettings {
    /// What is asked for with `table`.
    pub(super) fn plan(&self) -> Result<Plan, Invalid> {
        let (fields, mut columns) = self.columns.columns("table.columns")?;
        let mut names = Vec::new();
        if let Some(name) = &self.name {
            if columns.iter().any(|column| column.name == *name) {
                names.push(name.clone());
            } else {
                let id = name.parse().map_err(|_| {
                    Invalid::at("table.name", format!("`{name}` is neither an object nor one of `columns`"))
                })?;
                columns.push(Column { name: "_name".to_owned(), id, how: How::Text });
                names.push("_name".to_owned());
            }
        }
        let table = Table { prefix: String::new(), rows: Rows::Each, names, columns, derive: None };
        Ok(Plan { sort: "row".to_owned(), fields, tables: vec![table] })
    }
}

/// What is asked for with `walk`.
pub(super) fn walk(root: &ObjectId) -> Plan {
    let column = Column { name: "value".to_owned(), id: root.clone(), how: How::Auto };
    let table =
        Table { prefix: String::new(), rows: Rows::Each, names: Vec::new(), columns: vec![column], derive: None };
    let fields = vec![OwnField { name: "value".to_owned(), unit: None }];
    Plan { sort: "object".to_owned(), fields, tables: vec![table] }
}
