//! A daemon and the workers that it keeps: processes of one program, what they used and what they hold.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bench::daemon::{children_cpu, own_cpu};

/// The processes of one daemon.
pub(super) struct Family {
    pub(super) pids: Vec<u32>,
}

impl Family {
    /// A process and those of its descendants that run the same program: what they started besides are plugins.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let program = program(pid).with_context(|| format!("looking at the process {pid}"))?;
        let mut pids = vec![pid];
        let mut at = 0;
        while let Some(parent) = pids.get(at).copied() {
            at += 1;
            pids.extend(children(parent).into_iter().filter(|child| self::program(*child).as_ref() == Some(&program)));
        }
        Ok(Self { pids })
    }

    /// Their own CPU time, and the same with that of the plugins that they waited for. Whoever is gone meanwhile was no worker.
    pub(super) fn cpu(&self) -> (Duration, Duration) {
        let (mut own, mut all) = (Duration::ZERO, Duration::ZERO);
        for pid in &self.pids {
            let Ok(cpu) = own_cpu(*pid) else { continue };
            own += cpu;
            all += cpu + children_cpu(*pid).unwrap_or_default();
        }
        (own, all)
    }

    /// Their proportional memory, in MiB.
    pub(super) fn pss(&self) -> Result<f64> {
        let mut total = 0.0;
        for pid in &self.pids {
            let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            let kib = text
                .lines()
                .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
            total += kib.context("there is no Pss in smaps_rollup")? / 1_024.0;
        }
        Ok(total)
    }
}

fn program(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>())
        .collect()
}
