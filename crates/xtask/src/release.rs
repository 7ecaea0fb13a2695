//! The program as it is released.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::run::{cargo, command_with, output};

/// Which functions the daemon calls: they are put together. See [`crate::hot`].
pub(crate) const HOT: &str = "packaging/hot.ld";

/// What everything is built with. Names of functions say all their types, so that `packaging/hot.ld` can name each of them. The linker
/// packs relocations into the form that glibc reads since 2.36 (0.4 MiB), and keeps functions that came out alike once (0.13 MiB): see
/// `docs/decisions.md`.
const FLAGS: [&str; 3] =
    ["-Csymbol-mangling-version=v0", "-Clink-arg=-Wl,-z,pack-relative-relocs", "-Clink-arg=-Wl,--icf=all"];

/// Builds the program as it is packaged and measured.
pub(crate) fn build() -> Result<PathBuf> {
    build_with(&[&format!("-Clink-arg=-Wl,-T,{HOT}")])
}

/// Builds it with the names of its functions, those that the compiler takes for seldom called apart from the others.
pub(super) fn build_with_names() -> Result<PathBuf> {
    build_with(&["-Cstrip=none", "-Clink-arg=-Wl,-z,keep-text-section-prefix"])
}

/// No time is in the program; paths of this machine do not get into it, so that the same sources give the same program elsewhere.
/// `last` is for the program only, not for the libraries in it: cargo builds these elsewhere, where relative paths lead nowhere.
fn build_with(last: &[&str]) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let registry = std::env::var_os("CARGO_HOME").unwrap_or_else(|| Path::new(&home).join(".cargo").into_os_string());
    let tree = std::env::current_dir().context("finding out where we are")?;
    let mut flags = OsString::from("--remap-path-prefix=");
    flags.push(registry);
    flags.push("=cargo\u{1f}--remap-path-prefix=");
    flags.push(&tree);
    flags.push("=monchero");
    for flag in FLAGS {
        flags.push("\u{1f}");
        flags.push(flag);
    }
    let variables = [("CARGO_ENCODED_RUSTFLAGS", flags.as_os_str())];
    let mut words = vec!["rustc", "--release", "--locked", "--package", "monchero", "--bin", "monchero", "--"];
    words.extend(last);
    command_with(&cargo(), &words, &tree, &variables)?;
    Ok(target()?.join("release/monchero"))
}

/// Where cargo builds.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = output(&cargo(), &["metadata", "--format-version", "1", "--no-deps", "--offline"])?;
    let metadata: Value = serde_json::from_str(&metadata).context("reading what `cargo metadata` printed")?;
    let directory = metadata["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
    Ok(PathBuf::from(directory))
}
