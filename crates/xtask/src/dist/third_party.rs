//! Names, licences and notices of the libraries that are linked into the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How the files are called that a library has its licence in.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The whole text. It depends on `Cargo.lock` alone.
pub(crate) fn text() -> Result<String> {
    let metadata = super::metadata()?;
    let linked = linked(&metadata);
    let mut list = String::from("monchero contains these libraries, and SQLite, which is in the public domain.\n\n");
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    let mut third: Vec<&Value> = packages
        .iter()
        .filter(|package| !package["source"].is_null() && package["id"].as_str().is_some_and(|id| linked.contains(id)))
        .collect();
    third.sort_by_key(|package| (text_of(&package["name"]), text_of(&package["version"])));
    for package in third {
        let name = format!("{} {}", text_of(&package["name"]), text_of(&package["version"]));
        list.push_str(&format!("{name}: {}\n", text_of(&package["license"])));
        let directory = Path::new(package["manifest_path"].as_str().unwrap_or_default()).parent().map(Path::to_owned);
        for text in texts_in(&directory.unwrap_or_default())? {
            texts.entry(text).or_default().insert(name.clone());
        }
    }
    for (text, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        list.push_str(&format!("\n{}\n{}\n\n{}\n", "-".repeat(72), names.join(", "), text.trim_end()));
    }
    Ok(list)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or("not said").to_owned()
}

/// What the program depends on, directly or not, other than to be built or tested.
fn linked(metadata: &Value) -> BTreeSet<String> {
    let none = Vec::new();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap_or(&none);
    let root = text_of(&metadata["resolve"]["root"]);
    let mut linked = BTreeSet::from([root.clone()]);
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let found = nodes.iter().find(|node| node["id"].as_str() == Some(&id));
        let dependencies = found.and_then(|node| node["deps"].as_array()).unwrap_or(&none);
        for dependency in dependencies {
            let kinds = dependency["dep_kinds"].as_array().unwrap_or(&none);
            let next = text_of(&dependency["pkg"]);
            if kinds.iter().any(|kind| kind["kind"].is_null()) && linked.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    linked
}

fn texts_in(directory: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("listing `{}`", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        if entry.file_type()?.is_file() && NAMES.iter().any(|known| name.starts_with(known)) {
            texts.push(
                fs::read_to_string(entry.path()).with_context(|| format!("reading `{}`", entry.path().display()))?,
            );
        }
    }
    Ok(texts)
}
