//! `cargo xtask dist --check`: are the packages what they should be? Builds them twice, has them judged, and installs them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::boot::SUITE;
use super::{Packages, VERSION, build_into, deb, dist, rpm, stage, target};
use crate::packages;
use crate::run::{command, succeeds};

/// What a fresh Debian has besides the smallest set: what every host with systemd has.
const FRESH: &str = "systemd-sysv,dbus";
/// The budget of the program on disk.
const MAX_PROGRAM: u64 = 15 * 1024 * 1024;
/// The budget of a package.
const MAX_PACKAGE: u64 = 6 * 1024 * 1024;

pub(crate) fn check() -> Result<()> {
    if !succeeds("id", &["-u"], |output| output.trim() == "0") {
        bail!("packages can be installed only by root: run `cargo xtask dist --check` as root");
    }
    packages::provide_for_dist_check()?;
    let built = dist()?;
    let scratch = target()?.join("dist-check");
    let program = target()?.join("release/monchero");
    same(&built, &build_into(&scratch.join("again"), &program, stage::epoch()?)?)?;
    judge(&built)?;
    let newer = newer(&scratch, &program)?;
    let fresh = fresh_root(&target()?.join("fresh"))?;
    for (format, package, newer) in [("deb", &built.deb, &newer.deb), ("rpm", &built.rpm, &newer.rpm)] {
        install(format, package, newer, Path::new("/"))?;
        install(format, package, newer, &fresh)?;
    }
    fs::remove_dir_all(&scratch)?;
    small_enough(&program, MAX_PROGRAM)?;
    small_enough(&built.deb, MAX_PACKAGE)?;
    small_enough(&built.rpm, MAX_PACKAGE)?;
    eprintln!("xtask: the packages are as they should be");
    Ok(())
}

fn small_enough(file: &Path, limit: u64) -> Result<()> {
    let bytes = fs::metadata(file).with_context(|| format!("looking at `{}`", file.display()))?.len();
    if bytes > limit {
        bail!("`{}` has {bytes} bytes, more than its budget of {limit}", file.display());
    }
    Ok(())
}

/// Two builds of the same sources are the same, byte for byte.
fn same(one: &Packages, other: &Packages) -> Result<()> {
    for (one, other) in [(&one.deb, &other.deb), (&one.rpm, &other.rpm)] {
        if fs::read(one)? != fs::read(other)? {
            bail!("`{}` and `{}` differ, and were made of the same", one.display(), other.display());
        }
    }
    eprintln!("xtask: built twice, no byte differs");
    Ok(())
}

/// What the tools of the distributions say. What they may say stands with its reason in debian/monchero.lintian-overrides and rpm/rpmlint.toml.
fn judge(built: &Packages) -> Result<()> {
    let deb = built.deb.display().to_string();
    command("lintian", &["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", &deb])?;
    command("rpmlint", &["--strict", "--config", "rpm/rpmlint.toml", &built.rpm.display().to_string()])
}

/// Packages of a newer version that ships another `monchero.yaml` and another `host.yaml`.
pub(super) fn newer(scratch: &Path, program: &Path) -> Result<Packages> {
    let out = scratch.join("newer");
    let staged = stage::stage(&out.join("work/root"), program, stage::epoch()?)?;
    for shipped in ["monchero.yaml", "conf.d/host.yaml"] {
        let shipped = out.join("work/root/etc/monchero").join(shipped);
        let mut file =
            fs::OpenOptions::new().append(true).open(&shipped).context("changing the shipped configuration")?;
        file.write_all(b"# A newer version says more.\n")?;
    }
    let entry = format!(
        "monchero ({VERSION}+newer) unstable; urgency=medium\n\n  * A newer version.\n\n -- Nobody <nobody@monchero.example>  Thu, 01 Jan 2026 00:00:00 +0000"
    );
    Ok(Packages { deb: deb(&out, &staged, Some(&entry))?, rpm: rpm(&out, &staged, &format!("{VERSION}.1"))? })
}

/// The root directory of the Debian that the packages are for, with nothing but what they ask for; made once.
fn fresh_root(place: &Path) -> Result<PathBuf> {
    let root = place.join("root");
    let made_of = format!("{SUITE} {FRESH}");
    let stamp = place.join("made-of");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("removing `{}`", root.display()))?;
    }
    fs::create_dir_all(place)?;
    let include = format!("--include={FRESH}");
    command("mmdebstrap", &["--variant=minbase", &include, SUITE, &root.display().to_string()])?;
    fs::write(&stamp, made_of)?;
    Ok(root)
}

/// Installs on a copy of a root directory, in namespaces of their own: all that is done with a package on this host's, and only how long it
/// takes on another.
fn install(format: &str, package: &Path, newer: &Path, root: &Path) -> Result<()> {
    let (package, newer, root) =
        (package.display().to_string(), newer.display().to_string(), root.display().to_string());
    let words = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let script = ["sh", "packaging/tests/install.sh", format, &package, &newer, &root];
    command("unshare", &[&words[..], &script[..]].concat())
}
