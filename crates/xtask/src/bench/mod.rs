//! `cargo xtask bench`: what monchero costs, as ratios to a raw posix_spawn loop in the same run.
//!
//! Own CPU is the daemon's with its guard's, without the programs that it runs. Wall times on a busy machine say little: read CPU and
//! ratios. Every figure is the median of several windows or runs; the numbers of both stand beside it.

mod daemon;
mod kinds;
pub(crate) mod peers;
pub(crate) mod programs;
mod servers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use daemon::{Daemon, validate};
use programs::Programs;

/// One line of the report.
struct Line {
    what: String,
    found: f64,
    unit: &'static str,
    budget: Option<f64>,
    more_is_better: bool,
    how: String,
}

/// Measures everything and prints the report. `quick` shortens every window: for looking at a change, not for quoting.
pub(crate) fn bench(quick: bool) -> Result<()> {
    crate::release::build()?;
    let programs = Programs::compile()?;
    let window = Duration::from_secs(if quick { 10 } else { 30 });
    let mut report = Vec::new();
    let raw = raw_loop(&programs, quick, 0)?;
    let paced = raw_loop(&programs, quick, 9_500)?;
    report.push(Line::new(
        "raw loop: own CPU per run",
        raw.cpu_us / 1_000.0,
        "ms",
        None,
        "C, posix_spawn with a pipe, one after another",
    ));
    report.push(Line::new("raw loop: runs per second", raw.per_second, "/s", None, "the same"));
    report.push(Line::new(
        "raw loop, 100 a second: own CPU per run",
        paced.cpu_us / 1_000.0,
        "ms",
        None,
        "the same with a pause: what sleeping and waking cost this machine",
    ));
    external(&programs, window, &paced, &mut report)?;
    saturation(&programs, window, &raw, &mut report)?;
    lateness(&programs, window, &mut report)?;
    size(&programs, quick, &mut report)?;
    kinds::kinds(kinds_window(quick), &mut report)?;
    idle(&programs, window, &mut report)?;
    finish(&report)
}

/// What kinds cost, alone.
pub(crate) fn bench_kinds(quick: bool) -> Result<()> {
    crate::release::build()?;
    let mut report = Vec::new();
    kinds::kinds(kinds_window(quick), &mut report)?;
    finish(&report)
}

fn kinds_window(quick: bool) -> Duration {
    Duration::from_secs(if quick { 5 } else { 15 })
}

fn finish(report: &[Line]) -> Result<()> {
    print(report);
    match report.iter().filter(|line| !line.kept()).count() {
        0 => Ok(()),
        broken => bail!("{broken} budgets are not kept"),
    }
}

/// What the raw loop does.
struct Raw {
    cpu_us: f64,
    per_second: f64,
}

fn raw_loop(programs: &Programs, quick: bool, pause_us: u32) -> Result<Raw> {
    let seconds = if quick { 2 } else { 4 };
    let mut cpu = Vec::new();
    let mut rate = Vec::new();
    for _ in 0..5 {
        let output = programs.raw_loop(seconds, pause_us)?;
        let numbers: Vec<f64> = output.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [runs, cpu_us] = numbers.as_slice() else { bail!("the raw loop printed `{output}`") };
        cpu.push(cpu_us / runs);
        rate.push(runs / f64::from(seconds));
    }
    Ok(Raw { cpu_us: median(&mut cpu), per_second: median(&mut rate) })
}

/// 1,000 external checks every 10 s.
fn external(programs: &Programs, window: Duration, raw: &Raw, report: &mut Vec<Line>) -> Result<()> {
    let checks = (0..1_000).map(|i| format!("  c{i}: {{ plugin: {} }}\n", programs.plugin())).collect::<String>();
    let daemon = Daemon::start(&format!("defaults: {{ interval: 10s }}\nchecks:\n{checks}"))?;
    // In its first minute a daemon notes each run before it starts, to know afterwards what crashed it.
    std::thread::sleep(Duration::from_secs(70));
    let mut per_check = Vec::new();
    for _ in 0..3 {
        let (cpu, runs) = (daemon.cpu()?, daemon.runs()?);
        std::thread::sleep(window);
        per_check.push((daemon.cpu()? - cpu).as_secs_f64() * 1e3 / (daemon.runs()? - runs));
    }
    let found = median(&mut per_check);
    report.push(Line::budget(
        "own CPU per external check",
        found,
        "ms",
        0.15,
        format!("1,000 every 10 s; {:.2} x the raw loop at that pace", found * 1e3 / raw.cpu_us),
    ));
    report.push(Line::budget(
        "PSS at 1,000 checks",
        daemon.pss()?,
        "MiB",
        12.0,
        "with its guard, after the windows above",
    ));
    Ok(())
}

/// As many as it can.
fn saturation(programs: &Programs, window: Duration, raw: &Raw, report: &mut Vec<Line>) -> Result<()> {
    let checks = (0..1_000).map(|i| format!("  c{i}: {{ plugin: {} }}\n", programs.plugin())).collect::<String>();
    let daemon = Daemon::start(&format!("defaults: {{ interval: 100ms }}\nchecks:\n{checks}"))?;
    std::thread::sleep(Duration::from_secs(5));
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (start, used, runs) = (Instant::now(), daemon.cpu()?, daemon.runs()?);
        std::thread::sleep(window);
        let made = daemon.runs()? - runs;
        rates.push(made / start.elapsed().as_secs_f64());
        cpu.push((daemon.cpu()? - used).as_secs_f64() * 1e3 / made);
    }
    let own = median(&mut cpu);
    report.push(Line::budget(
        "own CPU per external check at saturation",
        own,
        "ms",
        0.15,
        format!("{:.2} x the raw loop", own * 1e3 / raw.cpu_us),
    ));
    let found = median(&mut rates);
    let share = 100.0 * found / raw.per_second;
    report.push(Line::at_least(
        "checks per second at saturation",
        share,
        "% of the raw loop",
        85.0,
        format!("{found:.0}/s against {:.0}/s", raw.per_second),
    ));
    Ok(())
}

/// How far intervals are from what they should be, as the plugins themselves see it.
fn lateness(programs: &Programs, window: Duration, report: &mut Vec<Line>) -> Result<()> {
    let stamps = programs.folder().join("stamps");
    let checks: String =
        (0..1_000).map(|i| format!("  c{i}: {{ plugin: {} {} {i} }}\n", programs.stamp(), stamps.display())).collect();
    let daemon = Daemon::start(&format!("defaults: {{ interval: 10s }}\nchecks:\n{checks}"))?;
    std::thread::sleep(Duration::from_secs(35) + window);
    drop(daemon);
    let text = std::fs::read_to_string(&stamps).context("reading what the plugins wrote")?;
    let mut by_check: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (check, at) in text.lines().filter_map(|line| line.split_once(' ')) {
        by_check.entry(check).or_default().push(at.parse::<f64>().unwrap_or_default() / 1e3);
    }
    // The first interval of a check is its splay's, not its grid's.
    let mut off: Vec<f64> = by_check
        .values()
        .flat_map(|times| times.windows(2).skip(1).map(|pair| (pair[1] - pair[0] - 10_000.0).abs()))
        .collect();
    off.sort_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
        let index = (off.len() as f64 * share) as usize;
        off.get(index).copied().unwrap_or(f64::NAN)
    };
    report.push(Line::new(
        "jitter of the interval, p50",
        at(0.5),
        "ms",
        None,
        format!("1,000 every 10 s, {} intervals", off.len()),
    ));
    report.push(Line::budget(
        "jitter of the interval, p99",
        at(0.99),
        "ms",
        10.0,
        "the same, by the plugins' own clocks",
    ));
    Ok(())
}

/// 10,000 checks: validation, start, memory, `status`.
fn size(programs: &Programs, quick: bool, report: &mut Vec<Line>) -> Result<()> {
    let checks = (0..10_000).map(|i| format!("  c{i}: {{ plugin: {} }}\n", programs.plugin())).collect::<String>();
    let config = format!("defaults: {{ interval: 60s }}\nchecks:\n{checks}");
    let mut validation = (0..if quick { 3 } else { 9 }).map(|_| validate(&config)).collect::<Result<Vec<f64>>>()?;
    report.push(Line::budget(
        "validating 10,000 checks",
        median(&mut validation),
        "s CPU",
        0.15,
        format!("{} runs of `config check`", validation.len()),
    ));
    let mut starts = Vec::new();
    for _ in 0..if quick { 1 } else { 5 } {
        starts.push(Daemon::start(&config)?.started_after().as_secs_f64());
    }
    report.push(Line::budget(
        "starting with 10,000 checks",
        median(&mut starts),
        "s",
        0.4,
        format!("until `status` answers, {} runs", starts.len()),
    ));
    let daemon = Daemon::start(&config)?;
    std::thread::sleep(Duration::from_secs(if quick { 40 } else { 95 }));
    report.push(Line::budget(
        "PSS at 10,000 checks",
        daemon.pss()?,
        "MiB",
        23.0,
        "with its guard, after every check ran",
    ));
    for (what, arguments) in
        [("`status` of 10,000", &["status"][..]), ("`status --json` of 10,000", &["status", "--json"])]
    {
        let mut times = Vec::new();
        for _ in 0..11 {
            let start = Instant::now();
            daemon.command(arguments)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        report.push(Line::budget(what, median(&mut times), "ms", 50.0, "11 runs, the whole command"));
    }
    Ok(())
}

/// 100 checks a minute.
fn idle(programs: &Programs, window: Duration, report: &mut Vec<Line>) -> Result<()> {
    let checks = (0..100).map(|i| format!("  c{i}: {{ plugin: {} }}\n", programs.plugin())).collect::<String>();
    let daemon = Daemon::start(&format!("defaults: {{ interval: 1m }}\nchecks:\n{checks}"))?;
    std::thread::sleep(Duration::from_secs(35));
    let (start, cpu) = (Instant::now(), daemon.cpu()?);
    std::thread::sleep(window * 2);
    let share = 100.0 * (daemon.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    report.push(Line::budget(
        "idle daemon, 100 checks a minute",
        share,
        "% of a core",
        0.2,
        format!("one window of {} s", window.as_secs() * 2),
    ));
    Ok(())
}

impl Line {
    fn new(
        what: impl Into<String>,
        found: f64,
        unit: &'static str,
        budget: Option<f64>,
        how: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), found, unit, budget, more_is_better: false, how: how.into() }
    }

    fn budget(what: impl Into<String>, found: f64, unit: &'static str, budget: f64, how: impl Into<String>) -> Self {
        Self::new(what, found, unit, Some(budget), how)
    }

    fn at_least(what: impl Into<String>, found: f64, unit: &'static str, budget: f64, how: impl Into<String>) -> Self {
        Self { more_is_better: true, ..Self::new(what, found, unit, Some(budget), how) }
    }

    fn kept(&self) -> bool {
        self.budget.is_none_or(|budget| if self.more_is_better { self.found >= budget } else { self.found <= budget })
    }
}

fn print(report: &[Line]) {
    println!("{:<46} {:>10}  {:<18} {:<12} how", "what", "found", "unit", "budget");
    for line in report {
        let sign = if line.more_is_better { ">=" } else { "<=" };
        let budget = line
            .budget
            .map_or(String::new(), |budget| format!("{sign} {budget}{}", if line.kept() { "" } else { " NO" }));
        println!("{:<46} {:>10.3}  {:<18} {:<12} {}", line.what, line.found, line.unit, budget, line.how);
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
