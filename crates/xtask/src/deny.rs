//! What libraries may be: proves that `deny.toml` is kept, as cargo-deny would, which takes minutes to install and knows more than is asked here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::run::{cargo, output};

/// The part of `deny.toml` that is enforced; anything else in it is an error, so that nothing stands there in vain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: Level,
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: Level,
    unknown_git: Level,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Level {
    Allow,
    Warn,
    Deny,
}

/// The registry that is known.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Proves it for all libraries of all targets.
pub(crate) fn prove() -> Result<()> {
    let rules: Rules = toml::from_str(&std::fs::read_to_string("deny.toml")?).context("reading `deny.toml`")?;
    let mut words = vec!["metadata", "--format-version", "1", "--locked"];
    words.extend(rules.graph.targets.iter().flat_map(|target| ["--filter-platform", target]));
    let metadata: Value = serde_json::from_str(&output(&cargo(), &words)?)?;
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    let found = judge(&rules, packages)?;
    for warning in &found.warnings {
        eprintln!("xtask: {warning}");
    }
    ensure!(found.mistakes.is_empty(), "`deny.toml` is not kept:\n{}", found.mistakes.join("\n"));
    eprintln!("xtask: {} libraries are as `deny.toml` wants them", packages.len());
    Ok(())
}

#[derive(Default)]
struct Found {
    mistakes: Vec<String>,
    warnings: Vec<String>,
}

impl Found {
    fn add(&mut self, level: &Level, text: String) {
        match level {
            Level::Allow => {}
            Level::Warn => self.warnings.push(text),
            Level::Deny => self.mistakes.push(text),
        }
    }
}

fn judge(rules: &Rules, packages: &[Value]) -> Result<Found> {
    let mut found = Found::default();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        versions.entry(name).or_default().insert(version);
        let licence = text("license");
        if !allowed(licence, &rules.licenses.allow).with_context(|| format!("the licence of {name} {version}"))? {
            found.mistakes.push(format!("{name} {version}: the licence `{licence}` is not allowed"));
        }
        if let Some(ban) = rules.bans.deny.iter().find(|ban| ban.name == name) {
            found.mistakes.push(format!("{name} {version} is banned: {}", ban.reason));
        }
        match text("source") {
            "" | CRATES_IO => {}
            git if git.starts_with("git+") => found.add(&rules.sources.unknown_git, format!("{name} comes from {git}")),
            other => found.add(&rules.sources.unknown_registry, format!("{name} comes from {other}")),
        }
    }
    let twice = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let twice: Vec<String> = twice.map(|(name, versions)| format!("{name} ({})", join(versions))).collect();
    if !twice.is_empty() {
        found.add(&rules.bans.multiple_versions, format!("in several versions: {}", twice.join(", ")));
    }
    Ok(found)
}

fn join(words: &BTreeSet<&str>) -> String {
    words.iter().copied().collect::<Vec<_>>().join(", ")
}

/// Whether an SPDX expression can be satisfied with these licences. `/` is the `OR` of old manifests.
fn allowed(expression: &str, licences: &BTreeSet<String>) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "+WITH+");
    let mut words = spaced.split_whitespace().peekable();
    let result = any(&mut words, licences)?;
    ensure!(words.next().is_none(), "`{expression}` is no expression");
    Ok(result)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, licences: &BTreeSet<String>) -> Result<bool> {
    let mut result = all(words, licences)?;
    while words.next_if_eq(&"OR").is_some() {
        result |= all(words, licences)?;
    }
    Ok(result)
}

fn all(words: &mut Words<'_>, licences: &BTreeSet<String>) -> Result<bool> {
    let mut result = one(words, licences)?;
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words, licences)?;
    }
    Ok(result)
}

fn one(words: &mut Words<'_>, licences: &BTreeSet<String>) -> Result<bool> {
    match words.next() {
        Some("(") => {
            let result = any(words, licences)?;
            ensure!(words.next() == Some(")"), "a parenthesis is not closed");
            Ok(result)
        }
        None | Some(")" | "AND" | "OR") => bail!("there is no licence where one is expected"),
        Some(licence) => Ok(licences.contains(&licence.replace("+WITH+", " WITH "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        toml::from_str(include_str!("../../../deny.toml")).unwrap()
    }

    fn mistakes(package: &str) -> Vec<String> {
        judge(&rules(), &[serde_json::from_str(package).unwrap()]).unwrap().mistakes
    }

    #[test]
    fn expressions_are_read_as_spdx_does() {
        let licences = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned));
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(GPL-3.0 OR MIT) AND ISC", true),
            ("MIT OR GPL-3.0 AND GPL-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
        ] {
            assert_eq!(allowed(expression, &licences).unwrap(), expected, "{expression}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT ISC", "MIT )"] {
            assert!(allowed(broken, &licences).is_err(), "{broken}");
        }
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let good = r#"{ "name": "a", "version": "1.0.0", "license": "MIT", "source": null }"#;
        assert!(mistakes(good).is_empty());
        assert!(mistakes(&good.replace("MIT", "AGPL-3.0"))[0].contains("`AGPL-3.0` is not allowed"));
        assert!(mistakes(&good.replace("\"a\"", "\"openssl\""))[0].contains("one TLS implementation"));
        assert!(mistakes(&good.replace("null", "\"git+https://example.org/a\""))[0].contains("comes from git+"));
        assert!(
            mistakes(&good.replace("null", "\"registry+https://example.org/a\""))[0].contains("comes from registry+")
        );
    }

    /// The oldest Rust that is promised is the one that CI tests with, and the one that the documents name.
    #[test]
    fn one_oldest_rust_everywhere() {
        let rust = env!("CARGO_PKG_RUST_VERSION");
        for (file, text, times) in [
            ("README.md", include_str!("../../../README.md"), 1),
            ("ci.yml", include_str!("../../../.github/workflows/ci.yml"), 2),
        ] {
            let wanted = if file == "README.md" { format!("{rust} or later") } else { format!("rust:{rust}-") };
            assert_eq!(text.matches(&wanted).count(), times, "{file} does not say `{wanted}`");
        }
    }
}
