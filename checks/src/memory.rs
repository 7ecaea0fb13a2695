//! `memory`: how much memory is in use, of the host, of a container or of a control group.

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host;
use crate::net::Deadline;
use crate::pressure::{self, Pressure};
use crate::proc::{self, Process};

const FIELDS: &[Field<'static>] = &[
    Field::number("used", "%", "The share that programs cannot get: what is not available."),
    Field::number(
        "available",
        "B",
        "What programs can still get without swapping; caches that can be dropped are part of it.",
    ),
    Field::number("swap", "%", "The share of the swap space that is in use; not measured where there is none."),
    Field::number("pressure", "%", "The share of the last minute in which some program waited for memory."),
    Field::number(
        "pressure_full",
        "%",
        "The share of the last minute in which all programs waited for memory: the host thrashes.",
    ),
];

const LIMITS: &[Limit] = &[Limit { field: "used", warning: "> 80%", bad: "> 90%" }];

/// How much memory is in use.
///
/// What counts as used is what programs cannot get: on a host, all that the kernel does not call available (`MemAvailable` in
/// `/proc/meminfo`); in a control group, its memory without the file pages that the kernel would drop first. In a container with a
/// memory limit of its own (cgroup v2), the container is measured against that limit, otherwise the host.
///
/// When it is not okay, the message names the three processes with the most memory, and the further output the ten, with their number,
/// resident memory, share of the whole and age.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    /// A control group (cgroup v2) to look at instead, as a path below `/sys/fs/cgroup`: `/system.slice/nginx.service`. Without a limit
    /// of its own it is measured against the memory of the host.
    cgroup: Option<String>,
    /// When it is a warning. A single range is about `used`; a map has ranges for `used`, `swap`, `pressure`, `pressure_full`
    /// (percent) and `available` (bytes). Without a word about it, `used` is a warning above 80%.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, `used` is bad above 90%.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Memory {
    const NAME: &'static str = "memory";
    const EXAMPLE: &'static str = "{ warning: 80%, bad: { used: 90%, swap: 50% } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(path) = &self.cgroup
            && path.split('/').any(|part| part == "..")
        {
            return Err(Invalid::at("cgroup", format!("`{path}` leaves `{CGROUPS}`")));
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let host = of_host(&host::read(context.sysroot, MEMINFO)?)?;
        let (usage, pressure) = match &self.cgroup {
            Some(path) => {
                let usage = of_cgroup(context, path, host.total)?.ok_or_else(|| {
                    CheckError::Unable(format!(
                        "reading `{CGROUPS}/{}`: there is no such control group",
                        path.trim_matches('/')
                    ))
                })?;
                (usage, file(path, "memory.pressure"))
            }
            None => match of_container(context, &host)? {
                Some(usage) => (usage, file("", "memory.pressure")),
                None => (host, PRESSURE.to_owned()),
            },
        };
        let mut report = context.report();
        self.judge(&mut report, &usage, pressure::read(context, &pressure));
        if matches!(report.worst(), State::Warning | State::Bad) {
            self.name_biggest(context, &mut report, usage.total, deadline).await;
        }
        Ok(report)
    }
}

impl Memory {
    fn judge(&self, report: &mut Report, usage: &Usage, pressure: Result<Pressure, CheckError>) {
        let available = usage.available.min(usage.total);
        let used = share(usage.total - available, usage.total);
        let mut values = vec![("used", used), ("available", available)];
        let swap = usage.swap.map(|(used, total)| share(used, total));
        values.extend(swap.map(|swap| ("swap", swap)));
        match pressure {
            Ok(Pressure { some, full }) => {
                values.push(("pressure", some));
                values.extend(full.map(|full| ("pressure_full", full)));
            }
            Err(why) => {
                pressure::miss(report, [&self.warning, &self.bad], &["pressure", "pressure_full"], &why);
            }
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(report, "", &values, || {
            let percent = |value| human(value, &Unit::PERCENT);
            let swap = swap.map_or_else(|| "no swap".to_owned(), |swap| format!("{} of swap used", percent(swap)));
            format!("{} of {} used{}, {swap}", percent(used), human(usage.total, &Unit::BYTES), usage.of)
        });
    }

    /// Says who has the memory.
    async fn name_biggest(&self, context: &Context<'_>, report: &mut Report, total: f64, deadline: Deadline) {
        let state = report.worst();
        let mut snapshot = match proc::list(context, deadline, None).await {
            Ok(snapshot) => snapshot,
            Err(why) => {
                report.output = format!("(it is not known who has it: {why})");
                return;
            }
        };
        let candidates = proc::biggest(&snapshot.processes, MAX_CANDIDATES).into_iter().filter(|process| {
            process.rss > 0 && self.cgroup.as_deref().is_none_or(|group| is_in(context, process.pid, group))
        });
        let biggest: Vec<Process> = candidates.take(MAX_LISTED).cloned().collect();
        // With their names complete, unless that takes too long.
        snapshot.processes = match proc::details(context, deadline, biggest.clone(), &[]).await {
            Ok((processes, hung)) => processes.into_iter().chain(hung).collect(),
            Err(_) => biggest,
        };
        let bytes = |process: &Process| human(process.rss as f64, &Unit::BYTES);
        let biggest = proc::biggest(&snapshot.processes, MAX_LISTED);
        let named: Vec<String> = biggest
            .iter()
            .take(MAX_NAMED)
            .map(|process| format!("{} {}", proc::label(process), bytes(process)))
            .collect();
        if !named.is_empty() {
            report.find(state, format!("most is used by {}", named.join(", ")));
        }
        for process in biggest {
            let share = share(process.rss as f64, total);
            let age = human(snapshot.age(process), &Unit::SECONDS);
            let line = format!("{}: {} ({share:.1}%), started {age} ago\n", proc::label(process), bytes(process));
            report.output.push_str(&line);
        }
    }
}

/// Whether a process belongs to a control group or to one below it.
fn is_in(context: &Context<'_>, pid: u32, group: &str) -> bool {
    let groups =
        host::read_if_exists(context.sysroot, &format!("/proc/{pid}/cgroup")).ok().flatten().unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let below = |own: &str| {
        own.strip_prefix(group.trim_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    own.is_some_and(below)
}

/// Bytes in use and to be had.
struct Usage {
    /// Whose, as the message says it: nothing for the host.
    of: &'static str,
    total: f64,
    available: f64,
    /// Used and all, if there is any.
    swap: Option<(f64, f64)>,
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

/// How many processes are looked through for those of a control group.
const MAX_CANDIDATES: usize = 1_000;
/// How many processes the further output lists, and how many the message names.
const MAX_LISTED: usize = 10;
const MAX_NAMED: usize = 3;

const PRESSURE: &str = "/proc/pressure/memory";
const MEMINFO: &str = "/proc/meminfo";
const SELF_CGROUP: &str = "/proc/self/cgroup";
const CGROUPS: &str = "/sys/fs/cgroup";

/// What `/proc/meminfo` says (`proc_meminfo(5)`); its `kB` are 1024 bytes.
fn of_host(text: &str) -> Result<Usage, CheckError> {
    let (mut total, mut available, mut swap_total, mut swap_free) = (None, None, None, None);
    for line in text.split('\n') {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let slot = match name {
            "MemTotal" => &mut total,
            "MemAvailable" => &mut available,
            "SwapTotal" => &mut swap_total,
            "SwapFree" => &mut swap_free,
            _ => continue,
        };
        *slot = rest
            .split_ascii_whitespace()
            .next()
            .and_then(|number| number.parse::<u64>().ok())
            .map(|kib| kib as f64 * 1024.0);
        // Two thirds of the lines follow, and nobody asks for them.
        if swap_free.is_some() && swap_total.is_some() {
            break;
        }
    }
    let needed =
        |value: Option<f64>, name: &str| value.ok_or_else(|| host::malformed(MEMINFO, &format!("`{name}` is missing")));
    Ok(Usage {
        of: "",
        total: needed(total, "MemTotal")?,
        available: needed(available, "MemAvailable")?,
        swap: swap_total.filter(|total| *total > 0.0).map(|total| (total - swap_free.unwrap_or(0.0).min(total), total)),
    })
}

/// What the container has that monchero runs in, if it is one with a limit of its own. A root of a control group namespace shows itself
/// by its name `/` together with a limit: the true root has no such file, and on a host monchero's own group is named otherwise, so a
/// memory limit in monchero's own unit is not taken for that of the host.
fn of_container(context: &Context<'_>, host: &Usage) -> Result<Option<Usage>, CheckError> {
    // On a host, which is asked most often, the first of these is one file that is not there.
    if number(context, "", "memory.max")?.is_none()
        || !host::read_if_exists(context.sysroot, SELF_CGROUP)?
            .is_some_and(|groups| groups.lines().any(|line| line == "0::/"))
    {
        return Ok(None);
    }
    let usage = of_cgroup(context, "", host.total)?;
    Ok(usage.map(|usage| Usage { of: " in this container", available: usage.available.min(host.available), ..usage }))
}

/// What a control group has (cgroup-v2.rst, "Memory Interface Files"), if there is such a group.
fn of_cgroup(context: &Context<'_>, group: &str, host_total: f64) -> Result<Option<Usage>, CheckError> {
    let Some(current) = number(context, group, "memory.current")? else { return Ok(None) };
    let limit = number(context, group, "memory.max")?.unwrap_or(host_total);
    let total = limit.min(host_total);
    let stat = host::read_if_exists(context.sysroot, &file(group, "memory.stat"))?.unwrap_or_default();
    let droppable =
        stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok()).unwrap_or(0);
    let used = (current - droppable as f64).max(0.0);
    let swap = match (number(context, group, "memory.swap.current")?, number(context, group, "memory.swap.max")?) {
        (Some(used), Some(max)) if max > 0.0 => Some((used, max)),
        _ => None,
    };
    Ok(Some(Usage { of: " in this control group", total, available: (total - used).max(0.0), swap }))
}

fn file(group: &str, name: &str) -> String {
    match group.trim_matches('/') {
        "" => format!("{CGROUPS}/{name}"),
        group => format!("{CGROUPS}/{group}/{name}"),
    }
}

/// The number in a file of a control group; none if there is no such file or it says `max`.
fn number(context: &Context<'_>, group: &str, name: &str) -> Result<Option<f64>, CheckError> {
    let path = file(group, name);
    let Some(text) = host::read_if_exists(context.sysroot, &path)? else { return Ok(None) };
    match text.trim() {
        "max" => Ok(None),
        text => text
            .parse::<u64>()
            .map(|number| Some(number as f64))
            .map_err(|_| host::malformed(&path, "it is neither a number nor `max`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_meminfo() {
        crate::fuzz::on_text("proc_meminfo", |text| {
            let Ok(usage) = of_host(text) else { return };
            assert!(usage.total.is_finite() && usage.available.is_finite());
            if let Some((used, total)) = usage.swap {
                assert!((0.0..=total).contains(&used), "{used} of {total}");
            }
            assert!((0.0..=100.0).contains(&share(usage.total - usage.available.min(usage.total), usage.total)));
        });
    }
}
