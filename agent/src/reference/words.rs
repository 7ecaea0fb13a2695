//! Schemas in words.

use std::fmt::Write as _;

use monchero_core::order;
use serde_json::Value as Json;

use super::SettingReference;

/// A truth value in words.
const BOOLEAN: &str = "`true` or `false`";
/// How deep settings are shown; none of ours stand deeper.
const MAX_DEPTH: usize = 5;

/// The settings of a struct whose schema stands under `schema` of a document, nested ones behind the one that they belong to.
pub(super) fn settings_of(document: &Json) -> Vec<SettingReference> {
    let mut found = Vec::new();
    if let Some(schema) = document.get("schema") {
        Walk { document, found: &mut found }.properties(schema, "", 0);
    }
    found
}

struct Walk<'a> {
    document: &'a Json,
    found: &'a mut Vec<SettingReference>,
}

impl<'a> Walk<'a> {
    fn properties(&mut self, schema: &'a Json, prefix: &str, depth: usize) {
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
        let required = |name: &str| {
            schema.get("required").and_then(Json::as_array).is_some_and(|all| all.iter().any(|one| one == name))
        };
        let mut names: Vec<&String> = properties.keys().collect();
        // What must be there comes first, what alerts comes last.
        let rank = |name: &str| {
            if required(name) {
                0
            } else {
                1 + ["warning", "bad"].iter().position(|n| *n == name).map_or(0, |at| at + 1)
            }
        };
        order::sort_by_key(&mut names, |name| (rank(name), *name));
        for name in names {
            let Some(property) = properties.get(name) else { continue };
            let full = format!("{prefix}{name}");
            self.found.push(SettingReference {
                name: full.clone(),
                value: self.describe(property, false, 0),
                required: required(name),
                default: default_of(property),
                description: self.description(property),
            });
            if depth < MAX_DEPTH {
                self.nested(property, &full, depth + 1);
            }
        }
    }

    /// The settings of the maps that a setting may be.
    fn nested(&mut self, property: &'a Json, name: &str, depth: usize) {
        for schema in self.alternatives(property) {
            if schema.get("properties").is_some() && !is_known(schema) {
                self.properties(schema, &format!("{name}."), depth);
            }
            if let Some(items) = schema.get("items") {
                for schema in self.alternatives(items).into_iter().filter(|schema| schema.get("properties").is_some()) {
                    self.properties(schema, &format!("{name}[]."), depth);
                }
            }
        }
    }

    /// What is said about a setting; for one of several words, what each of them means too.
    fn description(&self, property: &'a Json) -> String {
        let own = property.get("description").and_then(Json::as_str);
        let inner = || self.refer(property).and_then(|schema| schema.get("description")).and_then(Json::as_str);
        let mut text = own.or_else(inner).unwrap_or_default().to_owned();
        for schema in self.alternatives(property) {
            let word = schema.get("const").and_then(Json::as_str);
            let meaning = schema.get("description").and_then(Json::as_str);
            if let (Some(word), Some(meaning)) = (word, meaning) {
                text.push_str(if text.contains("\n\n- `") { "\n" } else { "\n\n" });
                let meaning = meaning.replace("\n\n", " ").replace('\n', " ");
                let _ = write!(text, "- `{word}`: {meaning}");
            }
        }
        text
    }

    fn refer(&self, schema: &'a Json) -> Option<&'a Json> {
        let at = schema.get("$ref")?.as_str()?;
        self.document.pointer(at.strip_prefix('#')?)
    }

    /// What a value may be: references followed, alternatives apart, `null` left out, since who does not want a setting does not write it.
    fn alternatives(&self, schema: &'a Json) -> Vec<&'a Json> {
        /// Alternatives of generated schemas are two or three deep.
        const MAX: usize = 32;
        let (mut open, mut all) = (vec![schema], Vec::new());
        for _ in 0..MAX {
            let Some(schema) = open.pop() else { break };
            if let Some(referred) = self.refer(schema).filter(|_| known(schema).is_none()) {
                open.push(referred);
            } else if let Some(inner) = ["anyOf", "oneOf", "allOf"]
                .iter()
                .find_map(|word| schema.get(*word)?.as_array())
                .filter(|_| !is_known(schema))
            {
                open.extend(inner.iter().rev());
            } else if schema.get("type").and_then(Json::as_str) != Some("null") {
                all.push(schema);
            }
        }
        all
    }

    /// The type in words; `many` for what a list or map has.
    fn describe(&self, schema: &'a Json, many: bool, depth: usize) -> String {
        let mut words: Vec<String> = Vec::new();
        for schema in self.alternatives(schema) {
            let word = self.one(schema, many, depth);
            for word in if word == BOOLEAN { vec!["`true`".to_owned(), "`false`".to_owned()] } else { vec![word] } {
                if !word.is_empty() && !words.contains(&word) {
                    words.push(word);
                }
            }
        }
        match words.split_last() {
            None => if many { "values" } else { "any value" }.to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, first)) => format!("{} or {last}", first.join(", ")),
        }
    }

    fn one(&self, schema: &'a Json, many: bool, depth: usize) -> String {
        let number = |one: &str, several: &str| if many { several.to_owned() } else { one.to_owned() };
        if let Some(known) = known(schema) {
            return number(known, &format!("{}s", known.replace("text ", "texts ")));
        }
        if let Some(word) = schema.get("const") {
            return format!("`{}`", plain(word));
        }
        if let Some(all) = schema.get("enum").and_then(Json::as_array) {
            let words: Vec<String> =
                all.iter().filter(|word| !word.is_null()).map(|word| format!("`{}`", plain(word))).collect();
            return match words.split_last() {
                Some((last, first)) if !first.is_empty() => format!("{} or {last}", first.join(", ")),
                _ => words.concat(),
            };
        }
        if depth > MAX_DEPTH {
            return number("value", "values");
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one.as_str()],
            Some(Json::Array(several)) => {
                several.iter().filter_map(Json::as_str).filter(|one| *one != "null").collect()
            }
            _ => Vec::new(),
        };
        // Every bare value is a text, so where a text may stand, a number is nothing else.
        let is_text = types.contains(&"string");
        let types = types.into_iter().filter(|one| !(is_text && ["integer", "number", "boolean"].contains(one)));
        let words = types.map(|one| match one {
            "string" if schema.get("format").is_some_and(|format| format == "duration") => {
                number("duration", "durations")
            }
            "string" => number("text", "texts"),
            "integer" => number("whole number", "whole numbers"),
            "number" => number("number", "numbers"),
            "boolean" => BOOLEAN.to_owned(),
            "array" => {
                let items = schema
                    .get("items")
                    .map_or_else(|| "values".to_owned(), |items| self.describe(items, true, depth + 1));
                format!("{} of {items}", number("list", "lists"))
            }
            "object" if schema.get("properties").is_some() => number("map of settings", "maps of settings"),
            "object" => {
                let inner = schema.get("additionalProperties").filter(|inner| inner.is_object());
                let inner = inner.map_or_else(|| "values".to_owned(), |inner| self.describe(inner, true, depth + 1));
                format!("{} of {inner}", number("map", "maps"))
            }
            _ => String::new(),
        });
        words.collect::<Vec<_>>().join(" or ")
    }
}

/// Types that have a word of their own.
fn known(schema: &Json) -> Option<&'static str> {
    match schema.get("$ref")?.as_str()?.rsplit('/').next()? {
        "Secret" => Some("secret"),
        "MaybeSecret" => Some("text or secret"),
        "Range" => Some("range"),
        _ => None,
    }
}

fn is_known(schema: &Json) -> bool {
    known(schema).is_some()
}

fn default_of(schema: &Json) -> Option<String> {
    let default = schema.get("default")?;
    let empty = match default {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
        _ => false,
    };
    (!empty).then(|| format!("`{}`", plain(default)))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first sentence of a text, in one line.
pub(super) fn first_sentence(text: &str) -> String {
    let first = paragraphs(text).into_iter().next().unwrap_or_default();
    // `e.g. x` is none of ours; a full stop before a blank and a capital letter ends a sentence.
    let end = first
        .match_indices(". ")
        .find(|(at, _)| first.get(at + 2..).is_some_and(|rest| rest.starts_with(char::is_uppercase)));
    end.map_or(first.clone(), |(at, _)| first.get(..=at).unwrap_or_default().to_owned())
}

/// The paragraphs of a text, each in one line; items of lists are paragraphs that begin with `- `.
pub fn paragraphs(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines().map(str::trim) {
        match all.last_mut() {
            _ if line.is_empty() => goes_on = false,
            Some(last) if goes_on && !line.starts_with("- ") => {
                last.push(' ');
                last.push_str(line);
            }
            _ => {
                all.push(line.to_owned());
                goes_on = true;
            }
        }
    }
    all
}

/// Breaks a line between words so that it fits, and indents each line. What stands between backticks stays together.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> String {
    /// Narrower than this nothing can be read.
    const NARROWEST: usize = 20;
    let width = width.max(NARROWEST);
    let hang = if text.starts_with("- ") { 2 } else { 0 };
    let mut out = " ".repeat(indent);
    let mut used = 0;
    for word in words(text, width) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent + hang));
            used = hang;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(&word);
        used += length;
    }
    out
}

/// The words of a line; several between backticks are one, unless it would not fit.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match all.last_mut() {
            Some(last)
                if last.matches('`').count() % 2 == 1 && last.chars().count() + 1 + word.chars().count() <= width =>
            {
                last.push(' ');
                last.push_str(word);
            }
            _ => all.push(word.to_owned()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described(schema: &Json) -> String {
        let document =
            json!({ "schema": { "properties": { "x": schema } }, "$defs": { "Mode": { "enum": ["a", "b"] } } });
        settings_of(&document).remove(0).value
    }

    #[test]
    fn types_are_said_in_words() {
        for (schema, words) in [
            (json!({ "type": "string" }), "text"),
            (json!({ "type": ["string", "null"] }), "text"),
            (json!({ "type": "string", "format": "duration" }), "duration"),
            (json!({ "type": "integer", "format": "uint16" }), "whole number"),
            (json!({ "type": "array", "items": { "type": "string" } }), "list of texts"),
            (json!({ "type": "object", "additionalProperties": { "$ref": "#/$defs/Secret" } }), "map of secrets"),
            (
                json!({ "anyOf": [{ "type": "boolean" }, { "type": "object", "properties": { "y": true } }] }),
                "`true`, `false` or map of settings",
            ),
            (json!({ "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] }), "`a` or `b`"),
            (
                json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
                "text or list of texts",
            ),
            (json!(true), "any value"),
        ] {
            assert_eq!(described(&schema), words, "{schema}");
        }
    }

    #[test]
    fn texts_are_cut_into_sentences_paragraphs_and_lines() {
        let text = "One line\nand more, v1.2 too. Another sentence.\n\nA list:\n- first\n  goes on\n- second\n";
        assert_eq!(first_sentence(text), "One line and more, v1.2 too.");
        assert_eq!(
            paragraphs(text),
            ["One line and more, v1.2 too. Another sentence.", "A list:", "- first goes on", "- second"]
        );
        assert_eq!(wrap("- aaaaaaaaaa bbbbbbbbbb cccccccccc", 20, 2), "  - aaaaaaaaaa\n    bbbbbbbbbb\n    cccccccccc");
    }
}
