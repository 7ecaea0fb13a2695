//! The resolved configuration, for people: every setting with its value and where that comes from (`monchero config show`). Secrets are not
//! shown (R67).

use std::fmt::Write as _;

use monchero_core::Name;
use monchero_core::action::ActionKind;
use monchero_core::definition::{ActionDefinition, Definition};
use monchero_core::duration;
use monchero_core::hold::Shut;
use monchero_core::node::{Node, Span, Value};
use monchero_core::order;
use schemars::SchemaGenerator;
use serde_json::{Value as Json, json};

use super::checks::{Fate, Layer};
use super::load::{Loaded, Loader};
use super::problem::{MASK, hide_user_info};
use super::secrets::SecretFinder;
use super::settings::ActionSettings;

/// Where a value comes from if nobody wrote it.
const BUILT_IN: &str = "default";
/// Where the comments begin.
const COMMENT_COLUMN: usize = 44;

/// A check or an action with all its settings.
#[derive(Clone, Debug)]
pub struct Shown {
    /// `checks`, `actions` or `downtimes`.
    pub section: &'static str,
    /// The name.
    pub name: String,
    /// Where it is written.
    pub source: String,
    /// Its kind; of a downtime, what says when it begins.
    pub kind: &'static str,
    /// The settings of its kind.
    pub settings: Entry,
    /// The general settings: name, value and origin.
    pub general: Vec<(String, Entry)>,
}

/// A value and where it is written.
#[derive(Clone, Debug)]
pub struct Entry {
    value: Shape,
    origin: String,
}

#[derive(Clone, Debug)]
enum Shape {
    Null,
    Text { text: String, quoted: bool },
    List(Vec<Entry>),
    Map(Vec<(String, Entry)>),
}

impl Shown {
    pub(crate) fn of_check(
        loader: &Loader<'_>,
        check: &Definition,
        settings: &Node,
        layers: [&Layer; 3],
        fate: Fate,
    ) -> Self {
        let kind = loader.options.kinds.checks.iter().find(|kind| kind.name == check.kind);
        let schema = kind.map(|kind| document(|generator| kind.schema(generator).to_value()));
        let settings = tree(loader, settings, schema.as_ref(), kind.and_then(|kind| kind.short_for));
        let from = |key: &str| {
            let nodes = layers.into_iter().filter_map(|layer| layer.node.as_ref()?.get(key));
            nodes.map(|node| loader.sources.place(node.span)).next().unwrap_or_else(|| BUILT_IN.to_owned())
        };
        let plain = |key: &'static str, text: String| {
            (key.to_owned(), Entry { value: Shape::Text { text, quoted: false }, origin: from(key) })
        };
        let mut general = vec![
            plain("interval", duration::format(check.interval)),
            plain("timeout", duration::format(check.timeout)),
            plain("retries", check.policy.max_attempts.saturating_sub(1).to_string()),
            plain("retry_interval", duration::format(check.retry_interval)),
            plain("recover_after", check.policy.recover_after.to_string()),
            plain("on_timeout", check.on_timeout.to_string()),
            plain("weight", check.weight.to_string()),
        ];
        let flapping = match check.policy.flapping {
            None => Shape::Text { text: "false".to_owned(), quoted: false },
            Some(policy) => {
                let text =
                    |text: String| Entry { value: Shape::Text { text, quoted: false }, origin: from("flapping") };
                let (window, enter, exit) =
                    (duration::format(policy.window), policy.enter.to_string(), policy.exit.to_string());
                Shape::Map(vec![
                    ("window".to_owned(), text(window)),
                    ("enter".to_owned(), text(enter)),
                    ("exit".to_owned(), text(exit)),
                ])
            }
        };
        general.push(("flapping".to_owned(), Entry { value: flapping, origin: from("flapping") }));
        let labels = check.labels.iter().map(|(key, value)| {
            let written = layers.into_iter().find_map(|layer| layer.node.as_ref()?.get("labels")?.get(key));
            let origin = written.map_or_else(|| BUILT_IN.to_owned(), |node| loader.sources.place(node.span));
            (key.clone(), Entry { value: Shape::Text { text: value.clone(), quoted: false }, origin })
        });
        general.push(("labels".to_owned(), Entry { value: Shape::Map(labels.collect()), origin: from("labels") }));
        for (key, names) in [("depends_on", &check.depends_on), ("actions", &check.actions)] {
            let origin = if names.is_empty() { BUILT_IN.to_owned() } else { from(key) };
            let names = names.iter().map(|name| Entry {
                value: Shape::Text { text: name.to_string(), quoted: false },
                origin: origin.clone(),
            });
            general.push((key.to_owned(), Entry { value: Shape::List(names.collect()), origin: origin.clone() }));
        }
        if fate == Fate::Disabled {
            general.push(plain("enabled", "false".to_owned()));
        }
        Self {
            section: "checks",
            name: check.name.to_string(),
            source: check.source.to_string(),
            kind: check.kind,
            settings,
            general,
        }
    }

    pub(crate) fn of_action(
        loader: &Loader<'_>,
        action: &ActionDefinition,
        kind: &ActionKind,
        settings: &Node,
        own: &Node,
    ) -> Self {
        let schema = document(|generator| kind.schema(generator).to_value());
        let settings = tree(loader, settings, Some(&schema), kind.short_for);
        let foreign = ActionSettings::foreign(kind.tells);
        let keys = loader.action_keys.iter().filter(|key| !foreign.contains(key));
        let general = keys
            .map(|key| match own.get(key) {
                Some(node) => ((*key).to_owned(), tree(loader, node, None, None)),
                None => ((*key).to_owned(), by_default(action, key)),
            })
            .collect();
        Self {
            section: "actions",
            name: action.name.to_string(),
            source: action.source.to_string(),
            kind: action.kind,
            settings,
            general,
        }
    }
}

/// What is in force of a setting of an action that nobody wrote; null if it is off.
fn by_default(action: &ActionDefinition, key: &str) -> Entry {
    let text = |text: String| Shape::Text { text, quoted: false };
    let words = |words: Vec<String>| {
        let entry = |word| Entry { value: text(word), origin: BUILT_IN.to_owned() };
        Shape::List(words.into_iter().map(entry).collect())
    };
    let value = match key {
        "timeout" => text(duration::format(action.timeout)),
        "states" => words(action.wants.states.iter().map(ToString::to_string).collect()),
        "on" => words(action.on.iter().map(|trigger| format!("{trigger:?}").to_lowercase()).collect()),
        "group" => text(duration::format(action.group)),
        "rate" => text(action.rate.to_string()),
        "default" => text("false".to_owned()),
        _ => Shape::Null,
    };
    Entry { value, origin: BUILT_IN.to_owned() }
}

impl Shown {
    /// A downtime that recurs: all of it as it is written.
    pub(crate) fn of_downtime(loader: &Loader<'_>, name: &Name, node: &Node) -> Self {
        let begins = ["cron", "calendar"].into_iter().find_map(|key| Some((key, node.get(key)?)));
        let (kind, begins) = begins.map_or(("cron", None), |(key, node)| (key, Some(node)));
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        let general = entries.iter().filter(|(key, _)| *key.name != *kind);
        Self {
            section: "downtimes",
            name: name.to_string(),
            source: loader.sources.place(node.span),
            kind,
            settings: begins
                .map_or(Entry { value: Shape::Null, origin: String::new() }, |node| shape(loader, node, &[])),
            general: general.map(|(key, value)| (key.name.to_string(), shape(loader, value, &[]))).collect(),
        }
    }

    /// Adds an action of a check that is written somewhere else.
    pub(crate) fn add_action(&mut self, name: &Name, source: &str) {
        let found = self.general.iter_mut().find(|(key, _)| key == "actions");
        let Some((_, Entry { value: Shape::List(names), origin })) = found else { return };
        let value = Shape::Text { text: name.to_string(), quoted: false };
        names.push(Entry { value, origin: source.to_owned() });
        *origin = if origin == BUILT_IN { source.to_owned() } else { format!("{origin}, {source}") };
    }
}

/// A schema with what it refers to.
fn document(schema: impl FnOnce(&mut SchemaGenerator) -> Json) -> Json {
    let mut generator = SchemaGenerator::default();
    let schema = schema(&mut generator);
    json!({ "schema": schema, "$defs": generator.take_definitions(true) })
}

/// Settings as they are written, secrets masked.
fn tree(loader: &Loader<'_>, node: &Node, document: Option<&Json>, short_for: Option<&'static str>) -> Entry {
    let mut hidden = Vec::new();
    if let Some(document) = document {
        let mut finder = SecretFinder::new(document);
        if let Some(schema) = document.get("schema") {
            finder.walk_settings(node, schema, short_for);
        }
        hidden = finder.found;
    }
    shape(loader, node, &hidden)
}

fn shape(loader: &Loader<'_>, node: &Node, hidden: &[Span]) -> Entry {
    let value = match &node.value {
        Value::Null => Shape::Null,
        Value::Scalar { .. } if hidden.contains(&node.span) => Shape::Text { text: MASK.to_owned(), quoted: false },
        Value::Scalar { text, quoted } => Shape::Text { text: hide_user_info(text), quoted: *quoted },
        Value::List(items) => Shape::List(items.iter().map(|item| shape(loader, item, hidden)).collect()),
        Value::Map(entries) => Shape::Map(
            entries.iter().map(|(key, value)| (key.name.to_string(), shape(loader, value, hidden))).collect(),
        ),
    };
    Entry { value, origin: loader.sources.place(node.span) }
}

/// The whole as YAML, each value with its origin behind it.
pub fn text(loaded: &Loaded) -> String {
    let mut out = String::new();
    let configuration = &loaded.configuration;
    let _ = writeln!(out, "host: {}", scalar(&configuration.host, false));
    let _ = writeln!(out, "concurrency: {}", configuration.concurrency);
    let _ = writeln!(out, "sysroot: {}", scalar(&configuration.sysroot.to_string_lossy(), false));
    if let Some(gate) = &configuration.gate {
        let names = |names: &mut dyn Iterator<Item = &Name>| {
            names.map(|name| scalar(name.as_str(), false)).collect::<Vec<_>>().join(", ")
        };
        let mut held: Vec<&Name> = gate.holds.iter().collect();
        order::sort(&mut held);
        let shut = if gate.shut == Shut::All { "all" } else { "any" };
        let _ = writeln!(out, "gate:\n  checks: [{}]\n  shut: {shut}", names(&mut gate.checks.iter()));
        let _ = writeln!(out, "  holds: {{ checks: [{}] }}", names(&mut held.into_iter()));
    }
    for section in ["actions", "downtimes", "checks"] {
        let mut shown: Vec<&Shown> = loaded.shown.iter().filter(|shown| shown.section == section).collect();
        order::sort_by(&mut shown, |a, b| a.name.cmp(&b.name));
        if shown.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{section}:");
        for shown in shown {
            line(&mut out, 1, &format!("{}:", scalar(&shown.name, false)), &shown.source);
            write_entry(&mut out, 2, shown.kind, &shown.settings);
            for (key, entry) in &shown.general {
                write_entry(&mut out, 2, key, entry);
            }
        }
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str, origin: &str) {
    let start = "  ".repeat(depth) + text;
    if origin.is_empty() {
        let _ = writeln!(out, "{start}");
    } else {
        let _ = writeln!(out, "{start:<COMMENT_COLUMN$} # {origin}");
    }
}

fn write_entry(out: &mut String, depth: usize, key: &str, entry: &Entry) {
    let key = scalar(key, false);
    match &entry.value {
        Shape::Map(entries) if !entries.is_empty() => {
            line(out, depth, &format!("{key}:"), "");
            for (key, inner) in entries {
                write_entry(out, depth + 1, key, inner);
            }
        }
        Shape::List(items) if items.iter().any(|item| !matches!(item.value, Shape::Text { .. })) => {
            line(out, depth, &format!("{key}:"), "");
            for item in items {
                line(out, depth + 1, &format!("- {}", flow(item)), &item.origin);
            }
        }
        Shape::Text { text, .. } if text.contains('\n') && !text.starts_with([' ', '\n']) => {
            line(out, depth, &format!("{key}: |{}", if text.ends_with('\n') { "" } else { "-" }), &entry.origin);
            for part in text.lines() {
                line(out, depth + 1, &monchero_core::text::escape_controls(part), "");
            }
        }
        _ => line(out, depth, &format!("{key}: {}", flow(entry)), &entry.origin),
    }
}

/// A value in one line.
fn flow(entry: &Entry) -> String {
    match &entry.value {
        Shape::Null => "null".to_owned(),
        Shape::Text { text, quoted } => scalar(text, *quoted),
        Shape::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Shape::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Shape::Map(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", scalar(key, false), flow(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A text as YAML that reads back the same: plain if that is safe, in quotes otherwise. JSON's quotes are YAML's double quotes.
fn scalar(text: &str, quoted: bool) -> String {
    let safe_start = text.starts_with(|c: char| c.is_alphanumeric() || "/_.+".contains(c)) || text == MASK;
    let safe = |c: char| c.is_alphanumeric() || " -_./+:@=()%*".contains(c);
    let plain = safe_start
        && text.chars().all(safe)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !matches!(text, "null" | "Null" | "NULL" | "true" | "false");
    if plain && !(quoted && text.starts_with(|c: char| c.is_ascii_digit() || ".+".contains(c))) && (text != MASK) {
        text.to_owned()
    } else {
        let mut out = Json::from(text).to_string();
        // JSON leaves some control characters as they are; a terminal must not.
        if out.chars().any(|c| c.is_control() || !c.is_ascii()) {
            out = monchero_core::text::escape_controls(&out);
        }
        out
    }
}

/// The whole as JSON: `{"host", "concurrency", "sysroot", "gate", "actions": {NAME: {"kind", "source", "settings", GENERAL..}}, "downtimes": {..}, "checks": {..}}`, where
/// each setting is `{"value", "source"}`.
pub fn json(loaded: &Loaded) -> Json {
    let section = |section: &str| -> serde_json::Map<String, Json> {
        let shown = loaded.shown.iter().filter(|shown| shown.section == section);
        order::tree(shown.map(|shown| (shown.name.clone(), shown_json(shown))))
    };
    let configuration = &loaded.configuration;
    json!({
        "host": &*configuration.host,
        "concurrency": configuration.concurrency,
        "sysroot": configuration.sysroot,
        "gate": configuration.gate.as_ref().map(|gate| {
            let mut holds: Vec<&str> = gate.holds.iter().map(Name::as_str).collect();
            order::sort(&mut holds);
            let checks: Vec<&str> = gate.checks.iter().map(Name::as_str).collect();
            json!({ "checks": checks, "shut": gate.shut, "holds": holds })
        }),
        "actions": section("actions"),
        "downtimes": section("downtimes"),
        "checks": section("checks"),
    })
}

fn shown_json(shown: &Shown) -> Json {
    let mut map = serde_json::Map::new();
    map.insert("kind".to_owned(), json!(shown.kind));
    map.insert("source".to_owned(), json!(shown.source));
    map.insert("settings".to_owned(), entry_json(&shown.settings));
    for (key, entry) in &shown.general {
        map.insert(key.clone(), entry_json(entry));
    }
    Json::Object(map)
}

fn entry_json(entry: &Entry) -> Json {
    json!({ "value": value_json(entry), "source": entry.origin })
}

fn value_json(entry: &Entry) -> Json {
    match &entry.value {
        Shape::Null => Json::Null,
        Shape::Text { text, quoted: false } if matches!(text.as_str(), "true" | "false") => Json::Bool(text == "true"),
        Shape::Text { text, quoted: false } => match text.parse::<serde_json::Number>() {
            // `010` and `1e400` stay the texts that they are.
            Ok(number) if number.to_string() == *text => Json::Number(number),
            _ => json!(text),
        },
        Shape::Text { text, .. } => json!(text),
        Shape::List(items) => Json::Array(items.iter().map(value_json).collect()),
        Shape::Map(entries) => {
            Json::Object(order::tree(entries.iter().map(|(key, value)| (key.clone(), value_json(value)))))
        }
    }
}
