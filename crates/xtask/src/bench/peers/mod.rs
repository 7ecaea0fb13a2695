//! `cargo xtask bench --peers`: Nagios, Icinga 2, Monit and monchero on the same machine, each with the same checks, one after the other.
//!
//! Each runs as a child of the bench, in the foreground, on a directory of its own: no system service is touched. The plugin (`stamp.c`) writes down
//! when it ran, so runs and lateness are counted by it and not by who is measured.

mod family;
mod icinga;
mod monchero;
mod monit;
mod nagios;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::median;
use super::programs::Programs;
use family::Family;

/// How many checks there are, and how often each is due.
const CHECKS: usize = 1_000;
const INTERVAL: Duration = Duration::from_secs(10);
/// More than any of them can do in a second, except for Monit, which takes minutes for so many.
const SATURATION: usize = 5_000;
/// How long a program runs before it is measured: first looks are spread over up to one interval, then everything has run twice.
const WARM_UP: Duration = Duration::from_secs(25);
/// How long it is measured: three intervals.
const WINDOW: Duration = Duration::from_secs(30);
/// The same at saturation.
const SATURATION_WARM_UP: Duration = Duration::from_secs(8);
const SATURATION_WINDOW: Duration = Duration::from_secs(15);
/// How long a program may take until its first check runs, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often memory is looked at: a child that is about to become a plugin counts as another copy of the daemon, so the least is what is held.
const MEMORY_LOOKS: usize = 9;
const BETWEEN_LOOKS: Duration = Duration::from_millis(30);
/// How often a configuration is judged.
const VALIDATIONS: u32 = 10;
/// How often something short is repeated.
const REPEATED: usize = 5;

/// A program that runs checks.
struct Peer {
    name: &'static str,
    /// Writes its configuration into a folder.
    configure: fn(&Path, &Load) -> Result<()>,
    /// What runs it in the foreground, on that folder.
    start: fn(&Path, &Path) -> Command,
    /// What judges the configuration, and ends with 0.
    validate: fn(&Path, &Path) -> Command,
    /// What shows the state of all checks, if there is such a command.
    status: Option<fn(&Path, &Path) -> Command>,
    /// How many checks it is saturated with.
    saturation: usize,
}

/// What is to be run.
struct Load {
    checks: usize,
    interval: Duration,
    plugin: String,
    stamps: PathBuf,
}

/// What was found about one.
#[derive(Default)]
struct Found {
    own_ms: f64,
    all_ms: f64,
    per_second: f64,
    jitter_p50: f64,
    jitter_p99: f64,
    saturated_per_second: f64,
    pss: f64,
    validation: f64,
    start: f64,
    status: Option<f64>,
}

/// Measures all of them and prints a table in Markdown.
pub(crate) fn bench(binary: Option<&str>) -> Result<()> {
    crate::packages::provide_for_peers()?;
    if binary.is_none() {
        crate::release::build()?;
    }
    let binary = binary.unwrap_or("target/release/monchero");
    let binary = std::fs::canonicalize(binary).with_context(|| format!("finding `{binary}`"))?;
    let programs = Programs::compile()?;
    let start = Instant::now();
    let mut found = Vec::new();
    for peer in [&monchero::PEER, &nagios::PEER, &icinga::PEER, &monit::PEER] {
        eprintln!("xtask: {}", peer.name);
        found.push((peer.name, measure(peer, &binary, &programs).with_context(|| format!("measuring {}", peer.name))?));
    }
    print(&found);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nTook {} s; load averages at the end: {}", start.elapsed().as_secs(), load.trim());
    Ok(())
}

fn measure(peer: &Peer, binary: &Path, programs: &Programs) -> Result<Found> {
    let usual = |stamps: PathBuf| Load { checks: CHECKS, interval: INTERVAL, plugin: programs.stamp(), stamps };
    let mut found = Found { validation: validation(peer, binary, &usual)?, ..Found::default() };
    let mut starts = Vec::new();
    for _ in 1..REPEATED {
        starts.push(Running::start(peer, binary, &usual)?.first_run.as_secs_f64());
    }
    let running = Running::start(peer, binary, &usual)?;
    starts.push(running.first_run.as_secs_f64());
    found.start = median(&mut starts);
    std::thread::sleep(WARM_UP);
    let before = running.look()?;
    std::thread::sleep(WINDOW);
    let after = running.look()?;
    let runs = (after.runs - before.runs) as f64;
    if runs < 1.0 {
        bail!("no check ran within {} s; {}", WINDOW.as_secs(), running.log());
    }
    found.own_ms = (after.own.saturating_sub(before.own)).as_secs_f64() * 1e3 / runs;
    found.all_ms = (after.all.saturating_sub(before.all)).as_secs_f64() * 1e3 / runs;
    found.per_second = runs / WINDOW.as_secs_f64();
    found.pss = running.pss()?;
    (found.jitter_p50, found.jitter_p99) = jitter(&running.stamps(), INTERVAL)?;
    if let Some(status) = peer.status {
        let mut times = Vec::new();
        for _ in 0..REPEATED {
            let begin = Instant::now();
            ended(&mut status(&running.folder(), binary))?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        found.status = Some(median(&mut times));
    }
    drop(running);
    let most =
        |stamps| Load { checks: peer.saturation, interval: Duration::from_secs(1), plugin: programs.stamp(), stamps };
    let running = Running::start(peer, binary, &most)?;
    std::thread::sleep(SATURATION_WARM_UP);
    let (begin, before) = (Instant::now(), running.runs());
    std::thread::sleep(SATURATION_WINDOW);
    found.saturated_per_second = (running.runs() - before) as f64 / begin.elapsed().as_secs_f64();
    Ok(found)
}

/// The CPU time that judging the configuration takes, in seconds: the mean, since one run takes about as long as the kernel's clock ticks.
fn validation(peer: &Peer, binary: &Path, load: &dyn Fn(PathBuf) -> Load) -> Result<f64> {
    let folder = folder()?;
    (peer.configure)(folder.path(), &load(folder.path().join("stamps")))?;
    let before = super::daemon::children_cpu(std::process::id())?;
    for _ in 0..VALIDATIONS {
        ended(&mut (peer.validate)(folder.path(), binary))?;
    }
    Ok((super::daemon::children_cpu(std::process::id())? - before).as_secs_f64() / f64::from(VALIDATIONS))
}

/// A folder that goes when this does. monchero runs no program that others could replace, so `/tmp` will not do.
fn folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir_in(std::env::current_dir()?.join("target")).context("making a folder for a peer")
}

/// Runs a command that shows or judges something; 0 to 3 tell the worst state.
#[expect(
    clippy::disallowed_methods,
    reason = "a developer's tool waits for the programs that it runs, however long they take"
)]
fn ended(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {command:?}"))?;
    if output.status.code().is_none_or(|status| status > 3) {
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {said}", output.status);
    }
    Ok(())
}

/// A peer that runs. It ends when this does.
struct Running {
    child: Child,
    folder: tempfile::TempDir,
    /// How long it took until the first check ran.
    first_run: Duration,
}

/// What a peer has used so far.
struct Look {
    runs: usize,
    own: Duration,
    all: Duration,
}

impl Running {
    #[expect(clippy::disallowed_methods, reason = "the bench starts the peer itself and ends it by its pid")]
    fn start(peer: &Peer, binary: &Path, load: &dyn Fn(PathBuf) -> Load) -> Result<Self> {
        let folder = folder()?;
        (peer.configure)(folder.path(), &load(folder.path().join("stamps")))?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = (peer.start)(folder.path(), binary);
        let begin = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("starting {command:?}"))?;
        let mut running = Self { child, folder, first_run: Duration::ZERO };
        while running.runs() == 0 {
            if begin.elapsed() > PATIENCE || running.child.try_wait()?.is_some() {
                bail!("no check ran; {}", running.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        running.first_run = begin.elapsed();
        Ok(running)
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        format!(
            "its log:\n{}",
            log.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        )
    }

    /// What the plugins wrote.
    fn stamps(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stamps")).unwrap_or_default()
    }

    /// How many checks ran so far.
    fn runs(&self) -> usize {
        self.stamps().lines().count()
    }

    fn look(&self) -> Result<Look> {
        let (own, all) = Family::of(self.child.id())?.cpu();
        Ok(Look { runs: self.runs(), own, all })
    }

    /// The memory that it holds, in MiB.
    fn pss(&self) -> Result<f64> {
        let mut least = f64::INFINITY;
        for _ in 0..MEMORY_LOOKS {
            least = least.min(Family::of(self.child.id())?.pss()?);
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(least)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = Family::of(self.child.id()).map(|family| family.pids).unwrap_or_default();
        let signal = |signal: &str, pid: u32| crate::run::succeeds("kill", &[signal, &pid.to_string()], |_| true);
        signal("-TERM", self.child.id());
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in family {
            signal("-KILL", pid);
        }
        if let Err(error) = self.child.wait() {
            eprintln!("xtask: cannot end the process {}: {error}", self.child.id());
        }
    }
}

/// By how much intervals differ from what they should be: half of them by less than the first, all but one in a hundred by less than the second, in ms.
fn jitter(stamps: &str, interval: Duration) -> Result<(f64, f64)> {
    let mut by_check: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (check, at) in stamps.lines().filter_map(|line| line.split_once(' ')) {
        by_check.entry(check).or_default().push(at.parse::<f64>().context("reading what the plugins wrote")? / 1e3);
    }
    let wanted = interval.as_secs_f64() * 1e3;
    // The first interval of a check is its splay's, not its grid's.
    let mut off: Vec<f64> = by_check
        .values()
        .flat_map(|times| times.windows(2).skip(1).map(|pair| (pair[1] - pair[0] - wanted).abs()))
        .collect();
    off.sort_by(f64::total_cmp);
    let at = |percent: usize| off.get(off.len() * percent / 100).copied().unwrap_or(f64::NAN);
    Ok((at(50), at(99)))
}

fn print(found: &[(&str, Found)]) {
    type Figure = (&'static str, fn(&Found) -> Option<f64>, usize, &'static str);
    const FIGURES: [Figure; 10] = [
        ("own CPU per check (daemon and workers)", |f| Some(f.own_ms), 3, "ms"),
        ("all CPU per check (with the plugin)", |f| Some(f.all_ms), 3, "ms"),
        ("checks per second, of 100", |f| Some(f.per_second), 1, ""),
        ("jitter of the interval, p50", |f| Some(f.jitter_p50), 1, "ms"),
        ("jitter of the interval, p99", |f| Some(f.jitter_p99), 1, "ms"),
        ("checks per second at saturation", |f| Some(f.saturated_per_second), 0, ""),
        ("memory (PSS)", |f| Some(f.pss), 1, "MiB"),
        ("judging the configuration, CPU", |f| Some(f.validation), 3, "s"),
        ("from start to the first check", |f| Some(f.start), 3, "s"),
        ("status of all checks", |f| f.status, 1, "ms"),
    ];
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    println!("| {CHECKS} checks every {} s | {} |", INTERVAL.as_secs(), names.join(" | "));
    println!("| --- |{}", " --- |".repeat(found.len()));
    for (what, figure, digits, unit) in FIGURES {
        let reference = found.first().and_then(|(_, found)| figure(found));
        let cells = found.iter().enumerate().map(|(column, (_, found))| {
            let Some(value) = figure(found) else { return "-".to_owned() };
            let ratio = reference.filter(|_| column > 0).map_or(String::new(), |base| ratio(value / base));
            format!("{value:.digits$} {unit}").trim_end().to_owned() + &ratio
        });
        println!("| {what} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// How many times as much it is, with two digits or three.
fn ratio(ratio: f64) -> String {
    if ratio < 10.0 { format!(" ({ratio:.2} x)") } else { format!(" ({ratio:.0} x)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_that_of_each_check_without_its_first_interval() {
        let stamps = "0 1000000\n1 1500000\n0 2000000\n1 2500000\n0 12004000\n1 12500000\n0 22004000\n";
        assert_eq!(jitter(stamps, Duration::from_secs(10)).unwrap(), (0.0, 4.0));
    }
}
