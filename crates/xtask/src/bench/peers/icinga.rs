//! Icinga 2. What it finds is asked over its API, which needs certificates and a user: its status is not measured.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Load, Peer, SATURATION};

pub(super) const PEER: Peer = Peer {
    name: "Icinga 2",
    configure,
    start: |folder, _| command(folder),
    validate: |folder, _| {
        let mut command = command(folder);
        command.arg("--validate");
        command
    },
    status: None,
    saturation: SATURATION,
};

/// Where it writes.
const DIRECTORIES: &[(&str, &str)] =
    &[("DataDir", "data"), ("LogDir", "log.d"), ("CacheDir", "cache"), ("SpoolDir", "spool"), ("InitRunDir", "run")];

fn command(folder: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/icinga2");
    command.args(["daemon", "--config"]).arg(folder.join("icinga2.conf"));
    for (name, directory) in DIRECTORIES {
        command.args(["--define", &format!("{name}={}", folder.join(directory).display())]);
    }
    for definition in ["RunAsUser=root", "RunAsGroup=root"] {
        command.args(["--define", definition]);
    }
    command
}

fn configure(folder: &Path, load: &Load) -> Result<()> {
    for (_, directory) in DIRECTORIES {
        std::fs::create_dir_all(folder.join(directory))?;
    }
    let mut text = format!(
        "include <itl>
object CheckerComponent \"checker\" {{}}
object CheckCommand \"stamp\" {{
  command = [ \"{}\", \"{}\", \"$number$\" ]
}}
object Host \"bench\" {{
  check_command = \"dummy\"
  enable_active_checks = false
}}
",
        load.plugin,
        load.stamps.display()
    );
    for i in 0..load.checks {
        let interval = load.interval.as_secs();
        text += &format!(
            "object Service \"s{i}\" {{
  host_name = \"bench\"
  check_command = \"stamp\"
  check_interval = {interval}s
  retry_interval = {interval}s
  vars.number = \"{i}\"
}}
"
        );
    }
    Ok(std::fs::write(folder.join("icinga2.conf"), text)?)
}
