//! What checks a host could have: pure functions from its files to proposals, and from proposals to a file of `conf.d`.
//!
//! [`LOOKS`] look; [`Proposal::choose`] keeps what this build knows and has read its settings; [`covered`] compares with what is configured;
//! [`render`] writes.

mod looks;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use monchero_core::node::{Key, Node, SecretSource, Secrets, Span, Value};
use monchero_core::order;
use serde_json::Value as Json;

pub(crate) use looks::LOOKS;

/// A check that could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    /// Its name, before it is made unique.
    pub(crate) name: String,
    /// Why it is proposed, and what to think of.
    pub(crate) comment: String,
    /// How it can be checked, the best first: what this build does not know, or would not take, is passed over.
    pub(crate) ways: Vec<Way>,
    /// Settings that stand beside the kind.
    pub(crate) beside: &'static [(&'static str, &'static str)],
}

/// A kind and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) kind: &'static str,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) same: Same,
}

/// Which check of a kind looks at the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Same {
    /// Any.
    Any,
    /// One that does not have this setting.
    Without(&'static str),
    /// One with any of these words in its settings.
    Naming(Vec<String>),
    /// One with this word in its settings, or one that does not have this setting and so looks at all that there is.
    NamingOrWithout(String, &'static str),
}

/// A check that is configured already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    name: String,
    kind: String,
    /// The settings that it has.
    keys: BTreeSet<String>,
    /// Every scalar in them.
    words: BTreeSet<String>,
}

/// What is configured, from the resolved configuration as `monchero config show --json` has it.
pub(crate) fn configured(shown: &Json) -> Vec<Configured> {
    let checks = shown.get("checks").and_then(Json::as_object);
    let one = |(name, check): (&String, &Json)| {
        let settings = check.pointer("/settings/value").unwrap_or(&Json::Null);
        let mut words = BTreeSet::new();
        scalars(settings, &mut words);
        let given = settings.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let mut keys: BTreeSet<String> = order::tree(given.map(|(key, _)| key.clone()));
        let kind = check.get("kind").and_then(Json::as_str).unwrap_or_default().to_owned();
        // `disk: /` is short for its `path`.
        if !settings.is_object() && !settings.is_null() {
            let short_for =
                monchero_checks::KINDS.iter().find(|known| known.name == kind).and_then(|kind| kind.short_for);
            keys.extend(short_for.map(str::to_owned));
        }
        Configured { name: name.clone(), kind, keys, words }
    };
    checks.into_iter().flatten().map(one).collect()
}

fn scalars(value: &Json, words: &mut BTreeSet<String>) {
    match value {
        Json::Null => {}
        Json::Array(items) => items.iter().for_each(|item| scalars(item, words)),
        Json::Object(map) => map.values().for_each(|item| scalars(item, words)),
        Json::String(text) => drop(words.insert(text.clone())),
        other => drop(words.insert(other.to_string())),
    }
}

/// Whether a check is there already that looks at the same thing.
pub(crate) fn covered(proposal: &Proposal, configured: &[Configured]) -> bool {
    let looks_at_it = |check: &Configured| {
        proposal.ways.iter().filter(|way| way.kind == check.kind).any(|way| match &way.same {
            Same::Any => true,
            Same::Without(setting) => !check.keys.contains(*setting),
            Same::Naming(words) => words.iter().any(|word| check.words.contains(word)),
            Same::NamingOrWithout(word, setting) => check.words.contains(word) || !check.keys.contains(*setting),
        })
    };
    configured.iter().any(looks_at_it)
}

impl Proposal {
    /// Leaves the first way that this build can go.
    pub(crate) fn choose(mut self) -> Option<Self> {
        let works = |way: &&Way| {
            let kind = monchero_checks::KINDS.iter().find(|kind| kind.name == way.kind);
            kind.is_some_and(|kind| kind.build(&way.node(), &NoSecrets).is_ok())
        };
        let way = self.ways.iter().find(works)?.clone();
        self.ways = vec![way];
        Some(self)
    }
}

/// No proposal has a secret in it.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn fetch(&self, _: SecretSource<'_>) -> Result<String, String> {
        Err("no secret is known here".to_owned())
    }
}

impl Way {
    fn node(&self) -> Node {
        let scalar = |text: &str| Value::Scalar { text: text.into(), quoted: !is_plain(text) };
        let node = |value: Value| Node { span: Span::default(), value };
        let entry = |(key, text): &(&'static str, String)| {
            (Key { span: Span::default(), name: (*key).into() }, node(scalar(text)))
        };
        node(Value::Map(self.settings.iter().map(entry).collect()))
    }

    /// Its settings as YAML on one line.
    fn yaml(&self) -> String {
        // Strings of JSON are strings of YAML.
        let scalar = |text: &str| if is_plain(text) { text.to_owned() } else { Json::from(text).to_string() };
        let entries: Vec<String> = self.settings.iter().map(|(key, text)| format!("{key}: {}", scalar(text))).collect();
        if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
    }
}

/// Whether YAML takes a text as it stands, and for a text (or for what is meant: `80%`, `true`).
fn is_plain(text: &str) -> bool {
    let rest_is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-%".contains(c));
    rest_is_plain
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && !["null", "no", "yes", "on", "off"].contains(&text)
}

/// The file of `conf.d`, with what could not be looked at. Names that are taken get a number.
pub(crate) fn render(
    host: &str,
    proposals: &[Proposal],
    configured: &[Configured],
    unseen: &[(&str, String)],
) -> String {
    let mut taken: BTreeSet<String> = order::tree(configured.iter().map(|check| check.name.clone()));
    let mut out = format!(
        "# Checks that `monchero discover` proposes for {}. Nobody is told anything until `actions` names somebody.\n",
        monchero_core::text::escape_controls(host)
    );
    if proposals.is_empty() {
        out += "# Nothing was found that no check looks at yet.\n";
    } else {
        out += "defaults:\n  interval: 1m\n\nchecks:\n";
    }
    for proposal in proposals {
        for line in proposal.comment.lines() {
            let _ = writeln!(out, "  # {}", monchero_core::text::escape_controls(line));
        }
        let _ = writeln!(out, "  {}:", unique(&proposal.name, &mut taken));
        for way in &proposal.ways {
            let _ = writeln!(out, "    {}: {}", way.kind, way.yaml());
        }
        for (key, value) in proposal.beside {
            let _ = writeln!(out, "    {key}: {value}");
        }
    }
    if !unseen.is_empty() {
        out += "\n# What could not be looked at:\n";
        for (what, why) in unseen {
            let _ = writeln!(out, "# - {what}: {}", monchero_core::text::escape_controls(why));
        }
    }
    out
}

/// A name for a check that no other has, of characters that need no quotes.
fn unique(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' };
    let base: String = wanted.chars().map(plain).take(60).collect();
    let base = base.trim_matches(['-', '.']);
    let base =
        if base.starts_with(|c: char| c.is_ascii_alphabetic()) { base.to_owned() } else { format!("check-{base}") };
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let name = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(base);
    taken.insert(name.clone());
    name
}
