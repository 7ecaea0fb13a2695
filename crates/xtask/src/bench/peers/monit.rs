//! Monit. It runs one check after the other, and looks at what a program found a cycle later.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{CHECKS, Load, Peer};

pub(super) const PEER: Peer = Peer {
    name: "Monit",
    configure,
    start: |folder, _| command(folder, &["-I"]),
    validate: |folder, _| command(folder, &["-t"]),
    status: Some(|folder, _| command(folder, &["summary"])),
    // With 5,000, one cycle takes longer than the whole window.
    saturation: CHECKS,
};

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/monit");
    command.arg("-c").arg(folder.join("monitrc")).args(words);
    command
}

fn configure(folder: &Path, load: &Load) -> Result<()> {
    let mut text = format!(
        "set daemon {interval}
set log {folder}/monit.log
set pidfile {folder}/monit.pid
set idfile {folder}/monit.id
set statefile {folder}/monit.state
set httpd unixsocket {folder}/monit.sock
  allow bench:bench
",
        interval = load.interval.as_secs(),
        folder = folder.display()
    );
    for i in 0..load.checks {
        text += &format!(
            "check program s{i} with path \"{} {} {i}\"\n  if status != 0 then alert\n",
            load.plugin,
            load.stamps.display()
        );
    }
    let path = folder.join("monitrc");
    std::fs::write(&path, text)?;
    Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?)
}
