//! Proves the one-way arrows between crates, and that generic code names no kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Which of our crates each crate may use. Whoever adds an arrow changes this table and ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("monchero-core", &[]),
    ("monchero-exec", &["monchero-core"]),
    ("monchero-store", &["monchero-core"]),
    ("monchero-checks", &["monchero-core", "monchero-exec"]),
    ("monchero-actions", &["monchero-core", "monchero-exec"]),
    ("monchero-engine", &["monchero-core", "monchero-exec", "monchero-store"]),
    ("monchero-api", &["monchero-core", "monchero-store", "monchero-engine"]),
    (
        "monchero",
        &[
            "monchero-core",
            "monchero-exec",
            "monchero-store",
            "monchero-checks",
            "monchero-actions",
            "monchero-engine",
            "monchero-api",
        ],
    ),
    ("xtask", &["monchero", "monchero-api", "monchero-core"]),
];

/// Rooms whose code serves all kinds alike.
const GENERIC: &[&str] =
    &["crates/core/src", "crates/exec/src", "crates/store/src", "crates/engine/src", "crates/api/src"];

/// Proves both.
pub(crate) fn prove() -> Result<()> {
    let mut wrong = wrong_arrows()?;
    wrong.extend(named_kinds()?);
    if wrong.is_empty() {
        eprintln!("xtask: all arrows run one way, and no generic code names a kind");
        return Ok(());
    }
    bail!("arrows are wrong:\n  {}", wrong.join("\n  "));
}

fn wrong_arrows() -> Result<Vec<String>> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in metadata()?["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("`{name}` is not in the table of arrows"));
            continue;
        };
        // What only tests use may point anywhere: it is not part of the program.
        let uses =
            package["dependencies"].as_array().into_iter().flatten().filter(|d| d["kind"].as_str() != Some("dev"));
        for used in uses.filter_map(|dependency| dependency["name"].as_str()).filter(|used| allowed.contains_key(used))
        {
            if !may.contains(&used) {
                wrong.push(format!("`{name}` uses `{used}`, which it may not"));
            }
        }
    }
    Ok(wrong)
}

#[expect(clippy::disallowed_methods, reason = "a developer's tool waits for cargo, however long it takes")]
fn metadata() -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .stdin(Stdio::null())
        .output()
        .context("running `cargo metadata`")?;
    serde_json::from_slice(&output.stdout).context("reading the answer of `cargo metadata`")
}

/// Keys of kinds that are ordinary words as well: generic code says them about something else, such as the `file` of a secret.
const ORDINARY: &[&str] = &["file", "group", "log", "memory", "network", "time", "users"];

/// Files of generic rooms that have the key of a kind as a text. A kind is a file in `checks/src` or `actions/src`, so no list must be kept.
fn named_kinds() -> Result<Vec<String>> {
    let kinds = monchero::reference::kind_names().into_iter().filter(|name| !ORDINARY.contains(name));
    let kinds: Vec<String> = kinds.map(|name| format!("\"{name}\"")).collect();
    let mut wrong = Vec::new();
    for room in GENERIC {
        for file in rust_files(Path::new(room))? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading `{}`", file.display()))?;
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                wrong.extend(
                    kinds
                        .iter()
                        .filter(|kind| line.contains(*kind))
                        .map(|kind| format!("{}:{}: names the kind {kind}", file.display(), number + 1)),
                );
            }
        }
    }
    Ok(wrong)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading `{}`", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
