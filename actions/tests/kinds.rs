//! What every kind of action owes the manual.

use schemars::SchemaGenerator;
use serde_json::Value;

/// Every setting, with the words that describe it.
fn settings(path: &str, schema: &Value, definitions: &Value, found: &mut Vec<(String, String)>) {
    for alternative in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        settings(path, alternative, definitions, found);
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
        settings(path, &definitions[name], definitions, found);
    }
    for (name, setting) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        let words = setting.get("description").and_then(Value::as_str).unwrap_or_default();
        found.push((path.clone(), words.to_owned()));
        settings(&path, setting, definitions, found);
    }
}

#[test]
fn every_setting_is_described() {
    let mut generator = SchemaGenerator::default();
    let mut found = Vec::new();
    for kind in monchero_actions::KINDS {
        let schema = kind.schema(&mut generator).to_value();
        let words = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        assert!(words.len() > 100, "{} is described: {words}", kind.name);
        let definitions = Value::Object(generator.definitions().clone());
        settings(kind.name, &schema, &definitions, &mut found);
    }
    for expected in ["script.run", "script.secrets", "email.to", "email.smtp.tls", "email.timeout"] {
        assert!(found.iter().any(|(path, _)| path == expected), "{expected} in {found:?}");
    }
    for (path, words) in found {
        assert!(words.ends_with(['.', ')']) && words.len() > 20, "`{path}` is described in sentences: {words:?}");
    }
}

#[test]
fn kinds_have_names_of_their_own() {
    let names: Vec<&str> = monchero_actions::KINDS.iter().map(|kind| kind.name).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "{names:?}");
    assert!(monchero_actions::KINDS.iter().all(|kind| !kind.example.is_empty()));
}
