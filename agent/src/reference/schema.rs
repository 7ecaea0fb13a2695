//! JSON schemas for editors, of a file in `conf.d` and of `monchero.yaml`.

use monchero_core::order;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use crate::config::Kinds;
use crate::config::SummarySettings;
use crate::config::settings::{ActionSettings, CheckSettings, DowntimeSettings, Settings};

/// The dialect of the schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What only a check has, not `defaults`: name, type in words, description.
pub(super) fn check_only() -> [(&'static str, &'static str, &'static str); 2] {
    [
        (
            "for_each",
            "map of one list",
            "Makes several checks of one entry, each with a state of its own: `for_each: { url: [http://a:3000, http://b:3000] }` puts each value \
             into the setting `url` of the kind (a dotted path leads into maps), and names the checks `NAME[a:3000]` and `NAME[b:3000]`. What \
             stands in brackets is host and port of a URL, and any other value as it is; a map instead of the list gives names: \
             `{ url: { one: http://a/1, two: http://a/2 } }`.",
        ),
        (
            "enabled",
            "`true` or `false`",
            "Whether the check runs. `true` by default. A check that does not run is read and judged all the same.",
        ),
    ]
}

/// The schema of a file in `conf.d`.
pub fn conf_d_schema() -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let defaults = generator.subschema_for::<CheckSettings>().to_value();
    let downtime = generator.subschema_for::<DowntimeSettings>().to_value();
    let summary = generator.subschema_for::<SummarySettings>().to_value();
    let kinds = Kinds::built_in();
    let mut definitions = Map::new();
    let mut checks = Vec::new();
    for kind in kinds.checks {
        let schema = with_short_form(kind.schema(&mut generator).to_value(), kind.short_for);
        definitions.insert(format!("check.{}", kind.name), schema);
        checks.push((kind.name, format!("#/$defs/check.{}", kind.name)));
    }
    let mut actions = Vec::new();
    for kind in kinds.actions {
        let schema = with_short_form(kind.schema(&mut generator).to_value(), kind.short_for);
        definitions.insert(format!("action.{}", kind.name), schema);
        actions.push((kind.name, format!("#/$defs/action.{}", kind.name)));
    }
    definitions.insert("check".to_owned(), check(&mut generator, &checks));
    definitions.insert("action".to_owned(), entry(properties_of::<ActionSettings>(&mut generator), &actions));
    definitions.extend(generator.take_definitions(true));
    let mut schema = json!({
        "$schema": DIALECT,
        "title": "monchero conf.d",
        "description": "Checks, actions, downtimes and summaries of monchero.",
        "type": ["object", "null"],
        "properties": {
            "defaults": defaults,
            "checks": {
                "description": "Checks by name.",
                "type": ["object", "null"],
                "additionalProperties": { "$ref": "#/$defs/check" },
            },
            "actions": {
                "description": "Actions by name.",
                "type": ["object", "null"],
                "additionalProperties": { "$ref": "#/$defs/action" },
            },
            "downtimes": {
                "description": "Downtimes that recur, by name.",
                "type": ["object", "null"],
                "additionalProperties": downtime,
            },
            "summaries": {
                "description": "Summaries that are sent again and again, by name.",
                "type": ["object", "null"],
                "additionalProperties": summary,
            },
        },
        "patternProperties": { "^x-": true },
        "additionalProperties": false,
        "$defs": definitions,
    });
    accept_scalars(&mut schema);
    schema
}

/// The schema of `monchero.yaml`.
pub fn settings_schema() -> Json {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Settings>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("monchero.yaml"));
    }
    accept_scalars(&mut schema);
    schema
}

fn properties_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Map<String, Json> {
    match T::json_schema(generator).to_value().get("properties") {
        Some(Json::Object(properties)) => properties.clone(),
        _ => Map::new(),
    }
}

/// An entry: general settings and exactly one kind.
fn entry(general: Map<String, Json>, kinds: &[(&str, String)]) -> Json {
    let mut properties = general;
    properties.extend(kinds.iter().map(|(name, at)| ((*name).to_owned(), json!({ "$ref": at }))));
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "oneOf": kinds.iter().map(|(name, _)| json!({ "required": [name] })).collect::<Vec<_>>(),
    })
}

/// An entry of `checks:`. With `for_each` a setting that must be there may come from the list, so the kind is not judged then.
fn check(generator: &mut SchemaGenerator, kinds: &[(&str, String)]) -> Json {
    let mut general = properties_of::<CheckSettings>(generator);
    let [(each, _, about_each), (enabled, _, about_enabled)] = check_only();
    let values = json!({ "type": ["array", "object"], "minItems": 1, "minProperties": 1 });
    let one = json!({ "description": about_each, "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": values });
    general.insert(each.to_owned(), one);
    general.insert(enabled.to_owned(), json!({ "description": about_enabled, "type": "boolean" }));
    let strict: Map<String, Json> =
        order::tree(kinds.iter().map(|(name, at)| ((*name).to_owned(), json!({ "$ref": at }))));
    let mut schema = entry(general, kinds);
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.extend(kinds.iter().map(|(name, _)| ((*name).to_owned(), Json::Bool(true))));
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("if".to_owned(), json!({ "required": [each] }));
        schema.insert("else".to_owned(), json!({ "properties": strict }));
    }
    schema
}

/// A kind whose settings are a map, or a bare value that is short for one of them, or nothing if none must be there.
fn with_short_form(schema: Json, short_for: Option<&str>) -> Json {
    let short = short_for.and_then(|setting| schema.get("properties")?.get(setting)).cloned();
    let nothing =
        schema.get("required").and_then(Json::as_array).is_none_or(Vec::is_empty).then(|| json!({ "type": "null" }));
    if short.is_none() && nothing.is_none() {
        return schema;
    }
    let description = schema.get("description").cloned();
    let alternatives: Vec<Json> = std::iter::once(schema).chain(short).chain(nothing).collect();
    json!({ "description": description, "anyOf": alternatives })
}

/// Every bare value has a text, so a number stands for a text too: `labels: { rack: 12 }`. Words of an enumeration stay what they are.
fn accept_scalars(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            let is_text = map.get("type").is_some_and(|of| of == "string")
                && !["enum", "const", "format", "pattern"].iter().any(|key| map.contains_key(*key));
            if is_text {
                map.insert("type".to_owned(), json!(["string", "number", "boolean"]));
            }
            // Who does not want a setting does not write it; `null` is no default that an editor should offer.
            if map.get("default").is_some_and(Json::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(accept_scalars);
        }
        Json::Array(items) => items.iter_mut().for_each(accept_scalars),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference of a schema leads somewhere.
    fn references(schema: &Json, root: &Json) -> usize {
        match schema {
            Json::Object(map) => {
                let own = map.get("$ref").and_then(Json::as_str).map_or(0, |at| {
                    assert!(root.pointer(at.strip_prefix('#').unwrap()).is_some(), "{at} leads nowhere");
                    1
                });
                own + map.values().map(|inner| references(inner, root)).sum::<usize>()
            }
            Json::Array(items) => items.iter().map(|inner| references(inner, root)).sum(),
            _ => 0,
        }
    }

    #[test]
    fn the_schemas_are_whole_and_name_every_kind() {
        let schema = conf_d_schema();
        let kinds = Kinds::built_in();
        assert!(references(&schema, &schema) >= kinds.checks.len() + kinds.actions.len());
        for kind in kinds.checks {
            assert!(schema["$defs"]["check"]["else"]["properties"].get(kind.name).is_some());
            assert!(schema["$defs"][format!("check.{}", kind.name)].get("description").is_some());
        }
        assert_eq!(schema["$defs"]["check"]["properties"]["interval"]["type"], "string");
        let settings = settings_schema();
        references(&settings, &settings);
        assert_eq!(settings["properties"]["host"]["type"], json!(["string", "number", "boolean"]));
    }
}
