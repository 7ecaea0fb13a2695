//! `monchero discover`: looks at the host and proposes a file of `conf.d`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use monchero_core::text::counted;

use super::exit::{Ended, Failed};
use super::screen::{self, Progress};
use crate::config::{self, LoadOptions, Paths, is_backup_name};
use crate::daemon;
use crate::discover::{LOOKS, Proposal, configured, covered, render};

/// Options of `monchero discover`.
#[derive(Args, Debug)]
pub(super) struct DiscoverArgs {
    /// Write the proposal to this file instead of printing it: a name in `conf.d`, or a path. A file that is there is not overwritten.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Looks, leaves out what is configured already, and prints or writes the rest.
pub(super) fn discover(paths: &Paths, args: &DiscoverArgs) -> Ended {
    let target = args.write.as_deref().map(|file| target(paths, file)).transpose()?;
    let options = LoadOptions { keep_settings: true, ..daemon::options(&paths.config, Vec::new()) };
    let loaded = config::load(&options);
    let known = configured(&config::show::json(&loaded));
    let (mut proposals, mut unseen) = (Vec::new(), Vec::new());
    let progress = Progress::new("looking around");
    for (what, look) in LOOKS {
        progress.show(&format!("looking at {what}"));
        match look(&loaded.configuration.sysroot) {
            Ok(found) => proposals.extend(found),
            Err(why) => unseen.push((what, why)),
        }
    }
    drop(progress);
    if !loaded.problems.is_empty() {
        let why = "it has problems, see `monchero config check`: what they hide may be proposed again".to_owned();
        unseen.push(("all of the configuration", why));
    }
    let new = proposals.into_iter().filter(|proposal| !covered(proposal, &known));
    let new: Vec<Proposal> = new.filter_map(Proposal::choose).collect();
    let text = render(&loaded.configuration.host, &new, &known, &unseen);
    match target {
        Some(target) if !new.is_empty() => {
            write(&target, &text)?;
            let shown = target.display();
            let checks = counted(new.len(), "check");
            screen::print(&format!("{checks} written to {shown}; read it, then `monchero reload`\n"))?;
        }
        // A file without checks would be of no use.
        _ => screen::print(&text)?,
    }
    Ok(0.into())
}

/// Where the file is written, if that is a place where it is read.
fn target(paths: &Paths, file: &Path) -> Result<PathBuf, Failed> {
    let is_name = file.components().count() == 1 && file.is_relative();
    let target = if is_name { paths.conf_d().join(file) } else { file.to_owned() };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_yaml = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if !is_yaml || is_backup_name(&name) {
        return Err(Failed::usage(format!("`{name}` is no name of a file of checks")).hint("name it `host.yaml`"));
    }
    if target.symlink_metadata().is_ok() {
        return Err(exists(&target));
    }
    Ok(target)
}

fn exists(target: &Path) -> Failed {
    Failed::new(format!("`{}` is there already, and is not overwritten", target.display()))
        .hint("name another file: what is configured is not proposed again")
}

fn write(target: &Path, text: &str) -> Result<(), Failed> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => exists(target),
        _ => Failed::new(format!("cannot write `{}`: {error}", target.display())),
    };
    if let Some(directory) = target.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(target).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
