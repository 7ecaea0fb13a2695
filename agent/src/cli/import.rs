//! `monchero import`: makes a file of `conf.d` of another system's configuration.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use monchero_core::text::counted;

use super::exit::{Ended, Failed};
use super::screen;
use crate::config::{self, Paths, is_backup_name};
use crate::daemon;
use crate::import::{Files, Format, Names, Taken, Written, write};

/// Something could not be translated.
const LOST: u8 = 1;
/// Nothing could be made.
const NOTHING: u8 = 2;

/// Options of `monchero import`.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// The system that the files are of
    format: Format,
    /// Its files, or directories of them. Files that they include are read too.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write to this file instead of standard output. A file that is there is not overwritten.
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    output: Option<PathBuf>,
    /// Write to `conf.d/FORMAT.yaml` of the configuration. A file that is there is not overwritten.
    #[arg(long)]
    write: bool,
}

/// Reads, writes, and lists what is to be done by hand.
pub(super) fn import(paths: &Paths, args: &ImportArgs) -> Ended {
    let format = args.format;
    let of_conf_d = args.write.then(|| paths.conf_d().join(format!("{}.yaml", format.name())));
    let target = of_conf_d.or_else(|| args.output.clone());
    if let Some(target) = &target {
        judge(target)?;
    }
    let written = make(paths, args)?;
    match &target {
        None => screen::print(&written.yaml)?,
        Some(target) => {
            create(target, &written.yaml)?;
            let shown = target.display();
            screen::print(&format!("{} written to {shown}; read it, then `monchero config check`\n", count(&written)))?;
        }
    }
    tell(&written)?;
    Ok(ExitCode::from(if written.lost.is_empty() { 0 } else { LOST }))
}

fn make(paths: &Paths, args: &ImportArgs) -> Result<Written, Failed> {
    let failed = |why: String| Failed { exit: NOTHING, ..Failed::new(format!("cannot import: {why}")) };
    let loaded = config::load(&daemon::options(&paths.config, Vec::new()));
    let mut taken = Taken {
        checks: Names::new(loaded.configuration.checks.iter().map(|check| check.name.as_str().to_owned())),
        actions: Names::new(loaded.configuration.actions.iter().map(|action| action.name.as_str().to_owned())),
    };
    let mut files = Files::new(paths.config.path.join("secrets"));
    let imported = args.format.read(&args.paths, &mut files, &mut taken).map_err(failed)?;
    if imported.checks.is_empty() && imported.actions.is_empty() && imported.lost.is_empty() {
        return Err(failed(format!("nothing was found that is a check or an action of {}", args.format.name())));
    }
    let from: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
    let title = format!("Made by `monchero import {}` of {}.", args.format.name(), from.join(", "));
    write(imported, &title).map_err(failed)
}

fn count(written: &Written) -> String {
    format!("{} and {}", counted(written.checks, "check"), counted(written.actions, "action"))
}

/// Says on standard error what is left to do.
fn tell(written: &Written) -> Result<(), Failed> {
    let mut out = String::new();
    for todo in &written.todo {
        let _ = writeln!(out, "to do: {todo}");
    }
    if !written.lost.is_empty() {
        let _ = writeln!(out, "not translated:");
    }
    for lost in &written.lost {
        let _ = writeln!(out, "{lost}");
    }
    std::io::stderr().lock().write_all(screen::block(&out).as_bytes()).map_err(Failed::from)
}

/// Whether a file may be made there.
fn judge(target: &Path) -> Result<(), Failed> {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_yaml = target.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if !is_yaml || is_backup_name(&name) {
        return Err(Failed::usage(format!("`{name}` is no name of a file of checks")).hint("name it `imported.yaml`"));
    }
    if target.symlink_metadata().is_ok() {
        return Err(exists(target));
    }
    Ok(())
}

fn exists(target: &Path) -> Failed {
    let error = format!("`{}` is there already, and is not overwritten", target.display());
    Failed { exit: NOTHING, ..Failed::new(error) }.hint("give another name with `--output`")
}

/// Makes the file, which others cannot read: commands of plugins may hold what they must not know.
fn create(target: &Path, text: &str) -> Result<(), Failed> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => exists(target),
        _ => Failed { exit: NOTHING, ..Failed::new(format!("cannot write `{}`: {error}", target.display())) },
    };
    let directory = target.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(target).map_err(failed)?;
    // The daemon, which may be another user, reads it as a member of the group that `conf.d` belongs to.
    if let Ok(metadata) = std::fs::metadata(directory.unwrap_or(Path::new("."))) {
        let _ = std::os::unix::fs::fchown(&file, None, Some(metadata.gid()));
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
