//! Puts everything that is installed into a directory, as it will stand on a host.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use super::files::{self, Sort};
use super::third_party;
use crate::run::{command_with, output};

/// A directory with everything in it, and what its files are.
pub(crate) struct Staged {
    root: PathBuf,
    epoch: u64,
    files: Vec<(String, Sort)>,
}

/// The time that is written into everything that is built: that of the last commit, unless `SOURCE_DATE_EPOCH` says another.
pub(crate) fn epoch() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => output("git", &["log", "-1", "--format=%ct"])
            .context("`SOURCE_DATE_EPOCH` is not set, and git cannot say when the last change was")?,
    };
    text.trim().parse().with_context(|| format!("`{}` is no number of seconds", text.trim()))
}

/// Puts all files into `root`, which must be empty or missing but for what others have put there.
pub(crate) fn stage(root: &Path, program: &Path, epoch: u64) -> Result<Staged> {
    let mut staged = Staged { root: root.to_owned(), epoch, files: Vec::new() };
    staged.copy(program, files::PROGRAM, Sort::Program)?;
    for one in files::FILES {
        for from in sources(one.from)? {
            staged.copy(&from, &destination(one, &from)?, one.sort)?;
        }
    }
    for (shell, to) in files::COMPLETIONS {
        let text = output(&program.display().to_string(), &["completions", shell])?;
        staged.write(to, text.as_bytes(), Sort::Data)?;
    }
    staged.write(files::THIRD_PARTY.trim_end_matches(".gz"), third_party::text()?.as_bytes(), Sort::Doc)?;
    staged.compress(files::THIRD_PARTY.trim_end_matches(".gz"))?;
    let pages: Vec<String> =
        staged.files.iter().filter(|(_, sort)| *sort == Sort::Manual).map(|(path, _)| path.clone()).collect();
    for page in pages {
        staged.compress(&page)?;
    }
    staged.files.sort_by(|one, other| one.0.cmp(&other.0));
    touch(root, epoch)?;
    Ok(staged)
}

/// A file, or the files of a directory in order.
fn sources(from: &str) -> Result<Vec<PathBuf>> {
    let Some(directory) = from.strip_suffix("/*") else { return Ok(vec![from.into()]) };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("listing `{directory}`"))? {
        found.push(entry?.path());
    }
    found.retain(|path| path.is_file());
    found.sort();
    if found.is_empty() {
        bail!("there are no files in `{directory}`");
    }
    Ok(found)
}

fn destination(one: &files::Installed, from: &Path) -> Result<String> {
    if !one.to.ends_with('/') {
        return Ok(one.to.to_owned());
    }
    let name = from.file_name().and_then(|name| name.to_str()).context("a file without a name")?;
    Ok(match (one.sort, from.extension().and_then(|section| section.to_str())) {
        (Sort::Manual, Some(section)) => format!("{}man{section}/{name}", one.to),
        _ => format!("{}{name}", one.to),
    })
}

impl Staged {
    fn copy(&mut self, from: &Path, to: &str, sort: Sort) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("reading `{}`", from.display()))?;
        self.write(to, &bytes, sort)
    }

    fn write(&mut self, to: &str, bytes: &[u8], sort: Sort) -> Result<()> {
        let path = self.root.join(to);
        let place = || format!("writing `{}`", path.display());
        fs::create_dir_all(path.parent().unwrap_or(&self.root)).with_context(place)?;
        fs::write(&path, bytes).with_context(place)?;
        fs::set_permissions(&path, Permissions::from_mode(sort.mode())).with_context(place)?;
        self.files.push((to.to_owned(), sort));
        Ok(())
    }

    /// gzip without name and time, at its best.
    fn compress(&mut self, path: &str) -> Result<()> {
        command_with("gzip", &["--no-name", "--best", "--force", path], &self.root, &[])?;
        for (known, _) in self.files.iter_mut().filter(|(known, _)| known == path) {
            known.push_str(".gz");
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The list of files as `%files -f` of an rpm reads it.
    pub(crate) fn rpm_list(&self) -> String {
        let mut list = String::new();
        for directory in files::OWN_DIRECTORIES {
            list.push_str(&format!("%dir /{directory}\n"));
        }
        for directory in files::CONFIG_DIRECTORIES {
            list.push_str(&format!("%dir %attr(0750,root,monchero) /{directory}\n"));
        }
        for (path, sort) in &self.files {
            list.push_str(&match sort {
                Sort::Config => format!("%config(noreplace) %attr(0640,root,monchero) /{path}\n"),
                Sort::Doc => format!("%doc /{path}\n"),
                Sort::Licence => format!("%license /{path}\n"),
                Sort::Program | Sort::Data | Sort::Manual => format!("/{path}\n"),
            });
        }
        list
    }
}

/// Gives everything below a directory, and itself, one time and the usual mode of directories.
fn touch(directory: &Path, epoch: u64) -> Result<()> {
    let time = UNIX_EPOCH + Duration::from_secs(epoch);
    for entry in fs::read_dir(directory).with_context(|| format!("listing `{}`", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            touch(&entry.path(), epoch)?;
        } else {
            File::open(entry.path())?.set_modified(time)?;
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    File::open(directory)?.set_modified(time)?;
    Ok(())
}
