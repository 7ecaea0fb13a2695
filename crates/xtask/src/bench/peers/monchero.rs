//! monchero, measured as the others are.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Load, Peer, SATURATION};

pub(super) const PEER: Peer = Peer {
    name: "monchero",
    configure,
    start: |folder, binary| command(folder, binary, &["agent"]),
    validate: |folder, binary| command(folder, binary, &["config", "check"]),
    status: Some(|folder, binary| command(folder, binary, &["status"])),
    saturation: SATURATION,
};

fn configure(folder: &Path, load: &Load) -> Result<()> {
    let checks: String = (0..load.checks)
        .map(|i| format!("  s{i}: {{ plugin: {} {} {i} }}\n", load.plugin, load.stamps.display()))
        .collect();
    std::fs::create_dir(folder.join("conf.d"))?;
    let text = format!("defaults: {{ interval: {}s }}\nchecks:\n{checks}", load.interval.as_secs());
    Ok(std::fs::write(folder.join("conf.d/bench.yaml"), text)?)
}

fn command(folder: &Path, binary: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(words).arg("--config").arg(folder);
    command.arg("--state-dir").arg(folder.join("state")).arg("--socket").arg(folder.join("socket"));
    command
}
