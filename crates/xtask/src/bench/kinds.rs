//! What kinds cost: beside the plugin of the same job, and for many devices.
//!
//! Own CPU is that of a daemon which runs nothing else, divided by its runs: schedule, judgement and record included. The plugin's is that
//! of its process alone, as the kernel counts it for whoever waited for it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::daemon::{Daemon, children_cpu};
use super::servers::{Nginx, Nut, Snmpd, UPSES};
use super::{Line, median};

const PLUGINS: &str = "/usr/lib/nagios/plugins";

/// How often each check runs, and how many of them there are: 500 a second make ticks of 10 ms fine enough.
const MANY: usize = 100;
const OFTEN: &str = "200ms";
/// Windows of a daemon, and series of runs of a plugin: the median counts.
const SERIES: usize = 3;

/// A kind and the plugin of the same job.
struct Pair {
    kind: &'static str,
    settings: String,
    plugin: &'static str,
    arguments: Vec<String>,
    /// The part of the plugin's CPU that a run may take.
    budget: f64,
}

/// All of them.
pub(super) fn kinds(window: Duration, report: &mut Vec<Line>) -> Result<()> {
    let (floor, runs) = cpu_of_kind("heartbeat", "{ period: 1d }", window)?;
    report.push(Line::new(
        "a run of a kind that looks at nothing: own CPU",
        floor,
        "ms",
        None,
        format!("`heartbeat`: what schedule and record cost, part of all figures below; {SERIES} x {runs:.0} runs"),
    ));
    let nginx = Nginx::start()?;
    for pair in pairs(nginx.port()) {
        compare(&pair, window, report)?;
    }
    drop(nginx);
    snmp(window, report)?;
    nut(window, report)
}

fn pairs(port: u16) -> Vec<Pair> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    // A part of 50 of what the plugin takes for what the host says of itself, of 4 where both must connect.
    let host = |kind, settings: &str, plugin, arguments: &str| Pair {
        kind,
        settings: settings.to_owned(),
        plugin,
        arguments: words(arguments),
        budget: 1.0 / 50.0,
    };
    vec![
        host("disk", "{ path: /, warning: 99%, bad: 99% }", "check_disk", "-w 1% -c 1% -p /"),
        host(
            "load",
            "{ warning: \"> 500\", bad: { per_core5: \"> 500\" } }",
            "check_load",
            "-w 500,500,500 -c 600,600,600",
        ),
        host("memory", "{ warning: 99%, bad: 99% }", "check_swap", "-n ok -w 2% -c 1%"),
        host("process", "{ name: nginx }", "check_procs", "-C nginx -c 1:"),
        Pair {
            kind: "http",
            settings: format!("{{ url: \"http://127.0.0.1:{port}/\" }}"),
            plugin: "check_http",
            arguments: words(&format!("-I 127.0.0.1 -p {port}")),
            budget: 1.0 / 4.0,
        },
        Pair {
            kind: "tcp",
            settings: format!("{{ address: \"127.0.0.1:{port}\" }}"),
            plugin: "check_tcp",
            arguments: words(&format!("-H 127.0.0.1 -p {port}")),
            budget: 1.0 / 4.0,
        },
    ]
}

fn compare(pair: &Pair, window: Duration, report: &mut Vec<Line>) -> Result<()> {
    let (ours, runs) = cpu_of_kind(pair.kind, &pair.settings, window)?;
    let (theirs, their_runs) = cpu_of_plugin(pair)?;
    report.push(Line::budget(
        format!("{}: CPU per run, part of {}'s", pair.kind, pair.plugin),
        ours / theirs,
        "of it",
        pair.budget,
        format!(
            "{ours:.4} against {theirs:.3} ms, 1/{:.0}; {SERIES} x {runs:.0} and {SERIES} x {their_runs} runs",
            theirs / ours
        ),
    ));
    Ok(())
}

/// CPU per run in milliseconds, and how many runs there were in a window.
fn cpu_of_kind(kind: &str, settings: &str, window: Duration) -> Result<(f64, f64)> {
    let checks = checks(MANY, kind, settings);
    let daemon = Daemon::start(&format!("defaults: {{ interval: {OFTEN} }}\nchecks:\n{checks}"))?;
    std::thread::sleep(Duration::from_secs(3));
    daemon.all_okay(kind)?;
    per_run(&daemon, window)
}

/// The median over windows of the CPU that one run takes, in milliseconds, and the runs of a window.
fn per_run(daemon: &Daemon, window: Duration) -> Result<(f64, f64)> {
    let (mut each, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..SERIES {
        let (cpu, before) = (daemon.cpu()?, daemon.runs()?);
        std::thread::sleep(window);
        let made = daemon.runs()? - before;
        each.push((daemon.cpu()? - cpu).as_secs_f64() * 1e3 / made);
        runs.push(made);
    }
    Ok((median(&mut each), median(&mut runs)))
}

/// The same of the plugin.
#[expect(clippy::disallowed_methods, reason = "the plugin is measured as a bare program")]
fn cpu_of_plugin(pair: &Pair) -> Result<(f64, u32)> {
    const RUNS: u32 = 200;
    let plugin = Path::new(PLUGINS).join(pair.plugin);
    let mut each = Vec::new();
    for _ in 0..SERIES {
        let before = children_cpu(std::process::id())?;
        for _ in 0..RUNS {
            let mut command = Command::new(&plugin);
            command.args(&pair.arguments).stdin(Stdio::null());
            let output = command.output().with_context(|| {
                format!("running `{}`; is monitoring-plugins-basic (and -standard) installed?", plugin.display())
            })?;
            if !output.status.success() {
                bail!("`{}` says: {}", plugin.display(), String::from_utf8_lossy(&output.stdout));
            }
        }
        each.push((children_cpu(std::process::id())? - before).as_secs_f64() * 1e3 / f64::from(RUNS));
    }
    Ok((median(&mut each), RUNS))
}

/// How many gets one core can make.
fn snmp(window: Duration, report: &mut Vec<Line>) -> Result<()> {
    let snmpd = Snmpd::start()?;
    let settings = format!("{{ address: \"127.0.0.1:{}\", get: {{ uptime: 1.3.6.1.2.1.1.3.0 }} }}", snmpd.port());
    let daemon =
        Daemon::start(&format!("defaults: {{ interval: {OFTEN} }}\nchecks:\n{}", checks(2 * MANY, "snmp", &settings)))?;
    std::thread::sleep(Duration::from_secs(3));
    daemon.all_okay("snmp")?;
    let (each, runs) = per_run(&daemon, window)?;
    report.push(Line::at_least(
        "SNMP gets per second of own CPU",
        1e3 / each,
        "/s",
        1_000.0,
        format!(
            "snmpd, 2c, one object a run, {} checks every {OFTEN}; {SERIES} x {runs:.0} runs at {:.0}/s",
            2 * MANY,
            runs / window.as_secs_f64()
        ),
    ));
    Ok(())
}

/// Ten servers, all of their UPSes every second.
fn nut(window: Duration, report: &mut Vec<Line>) -> Result<()> {
    const SERVERS: usize = 10;
    let servers = (0..SERVERS).map(|_| Nut::start()).collect::<Result<Vec<_>>>()?;
    let checks: String = servers
        .iter()
        .enumerate()
        .map(|(i, server)| format!("  n{i}: {{ nut: {{ address: \"127.0.0.1:{}\" }} }}\n", server.port()))
        .collect();
    let daemon = Daemon::start(&format!("defaults: {{ interval: 1s }}\nchecks:\n{checks}"))?;
    std::thread::sleep(Duration::from_secs(3));
    daemon.all_okay("nut")?;
    let (each, runs) = per_run(&daemon, window)?;
    report.push(Line::at_least(
        "NUT servers polled per second",
        runs / window.as_secs_f64(),
        "/s",
        // The last run of a window may fall behind its end.
        SERVERS as f64 - 0.5,
        format!("each with {UPSES} UPSes, {SERIES} x {runs:.0} runs"),
    ));
    report.push(Line::budget(
        "the same: own CPU",
        each * SERVERS as f64 / 10.0,
        "% of a core",
        100.0,
        format!("{each:.2} ms for each server"),
    ));
    Ok(())
}

fn checks(count: usize, kind: &str, settings: &str) -> String {
    (0..count).map(|i| format!("  c{i}: {{ {kind}: {settings} }}\n")).collect()
}
