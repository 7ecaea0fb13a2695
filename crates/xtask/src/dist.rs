//! `cargo xtask dist`: the deb and the rpm, from one list of files.

pub(crate) mod boot;
pub(crate) mod check;
mod files;
mod stage;
mod third_party;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::packages;
use crate::release::{self, target};
use crate::run::{cargo, command, command_with, output};
use stage::Staged;

/// The version of everything.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The packages that were built.
pub(crate) struct Packages {
    deb: PathBuf,
    rpm: PathBuf,
}

/// Builds both packages into `target/dist`.
pub(crate) fn dist() -> Result<Packages> {
    packages::provide_for_dist()?;
    versions_agree()?;
    let epoch = stage::epoch()?;
    let program = release::build()?;
    let out = target()?.join("dist");
    let built = build_into(&out, &program, epoch)?;
    for file in [&program, &built.deb, &built.rpm] {
        eprintln!("xtask: {} ({:.1} MiB)", file.display(), fs::metadata(file)?.len() as f64 / 1024.0 / 1024.0);
    }
    Ok(built)
}

/// Builds the program and puts everything into a directory. For `debian/rules` and for others who make packages.
pub(crate) fn stage_into(directory: &str) -> Result<()> {
    let epoch = stage::epoch()?;
    let program = release::build()?;
    let staged = stage::stage(Path::new(directory), &program, epoch)?;
    let list = format!("{}.files", directory.trim_end_matches('/'));
    fs::write(&list, staged.rpm_list()).with_context(|| format!("writing `{list}`"))
}

/// Both packages of a program, in an empty directory `out`.
fn build_into(out: &Path, program: &Path, epoch: u64) -> Result<Packages> {
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("removing `{}`", out.display()))?;
    }
    let staged = stage::stage(&out.join("work/root"), program, epoch)?;
    let built = Packages { deb: deb(out, &staged, None)?, rpm: rpm(out, &staged, VERSION)? };
    fs::remove_dir_all(out.join("work"))?;
    Ok(built)
}

/// The deb, by dpkg-buildpackage in a directory of its own, so that nothing is written beside the tree. `newer` is put before the
/// changelog: the entry of a newer version.
fn deb(out: &Path, staged: &Staged, newer: Option<&str>) -> Result<PathBuf> {
    let tree = out.join("work/deb/monchero");
    copy_tree(Path::new("debian"), &tree.join("debian"))?;
    if let Some(entry) = newer {
        let changelog = tree.join("debian/changelog");
        let old = fs::read_to_string(&changelog)?;
        fs::write(&changelog, format!("{entry}\n\n{old}"))?;
    }
    let epoch = staged.epoch().to_string();
    let variables = [
        ("MONCHERO_STAGED", staged.root().as_os_str()),
        ("SOURCE_DATE_EPOCH", OsStr::new(&epoch)),
        // What a user wants from dpkg-buildpackage is not what a release is made with.
        ("DEB_BUILD_OPTIONS", OsStr::new("noautodbgsym")),
    ];
    command_with("dpkg-buildpackage", &["-b", "-us", "-uc"], &tree, &variables)?;
    take(&out.join("work/deb"), "deb", out)
}

/// The rpm, by rpmbuild. Debian's database of rpm knows no packages, hence `--nodeps`.
fn rpm(out: &Path, staged: &Staged, version: &str) -> Result<PathBuf> {
    let top = out.join("work/rpm");
    fs::create_dir_all(&top)?;
    let spec = top.join("monchero.spec");
    let text = fs::read_to_string("rpm/monchero.spec").context("reading `rpm/monchero.spec`")?;
    fs::write(&spec, text.replace(&format!("\nVersion: {VERSION}\n"), &format!("\nVersion: {version}\n")))?;
    let list = top.join("monchero.files");
    fs::write(&list, staged.rpm_list())?;
    let topdir = format!("_topdir {}", top.display());
    let root = format!("staged {}", staged.root().display());
    let files = format!("filelist {}", list.display());
    let spec = spec.display().to_string();
    let words = ["-bb", "--nodeps", "--quiet", "--define", &topdir, "--define", &root, "--define", &files, &spec];
    let epoch = staged.epoch().to_string();
    command_with("rpmbuild", &words, Path::new("."), &[("SOURCE_DATE_EPOCH", OsStr::new(&epoch))])?;
    let machine = output("uname", &["-m"])?;
    take(&top.join("RPMS").join(machine.trim()), "rpm", out)
}

/// Moves the one package of a directory.
fn take(from: &Path, extension: &str, to: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(from).with_context(|| format!("listing `{}`", from.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(extension)) {
            let target = to.join(path.file_name().unwrap_or_default());
            fs::rename(&path, &target).with_context(|| format!("moving `{}`", path.display()))?;
            return Ok(target);
        }
    }
    bail!("no {extension} was made in `{}`", from.display())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().unwrap_or(Path::new("."));
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(parent)?;
    command("cp", &["-a", &from.display().to_string(), &to.display().to_string()])
}

/// The version stands in three places, since three tools read it.
fn versions_agree() -> Result<()> {
    let changelog = fs::read_to_string("debian/changelog").context("reading `debian/changelog`")?;
    if !changelog.starts_with(&format!("monchero ({VERSION}) ")) {
        bail!("debian/changelog does not begin with version {VERSION}, which Cargo.toml says");
    }
    let spec = fs::read_to_string("rpm/monchero.spec").context("reading `rpm/monchero.spec`")?;
    if !spec.contains(&format!("\nVersion: {VERSION}\n")) || !spec.contains(&format!(" - {VERSION}-1\n")) {
        bail!(
            "rpm/monchero.spec does not have version {VERSION}, which Cargo.toml says, as `Version:` and in its changelog"
        );
    }
    Ok(())
}

/// What cargo knows about our packages and those that they depend on, on this machine.
fn metadata() -> Result<Value> {
    let host = output("rustc", &["--print", "host-tuple"])?;
    let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform", host.trim()];
    serde_json::from_str(&output(&cargo(), &words)?).context("reading what cargo says about the packages")
}

/// Where cargo puts what it builds.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_everywhere() {
        std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
        versions_agree().unwrap();
    }
}
