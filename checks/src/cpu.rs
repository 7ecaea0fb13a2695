//! `cpu`: what the CPUs do.

use std::collections::BTreeMap;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counters::{self, APART, Counted};
use crate::net::Deadline;
use crate::proc::{self, Process, Times};
use crate::{host, pressure};

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "use",
        "%",
        "The share of the time of all CPUs in which they were not idle; what a hypervisor took counts.",
    ),
    Field::number("user", "%", "The share that programs had."),
    Field::number("system", "%", "The share that the kernel had for programs."),
    Field::number("irq", "%", "The share that went to interrupts."),
    Field::number("iowait", "%", "The share in which a CPU was idle while a program waited for a disk."),
    Field::number("steal", "%", "The share that the hypervisor gave to other machines although there was work here."),
    Field::number(
        "busiest",
        "%",
        "`use` of the CPU that was used most: 100% shows a program that cannot use a second one.",
    ),
    Field::number("pressure", "%", "The share of the last minute in which some program waited for a CPU."),
    Field::number("io_pressure", "%", "The share of the last minute in which some program waited for a disk."),
    Field::number("io_pressure_full", "%", "The share of the last minute in which all programs waited for a disk."),
];

const LIMITS: &[Limit] =
    &[Limit { field: "use", warning: "> 90%", bad: "> 97%" }, Limit { field: "steal", warning: "> 10%", bad: "> 30%" }];

const STAT: &str = "/proc/stat";
const CPU_PRESSURE: &str = "/proc/pressure/cpu";
const IO_PRESSURE: &str = "/proc/pressure/io";

/// How many CPUs are remembered one by one: so many fit into what a check may remember.
const MAX_CORES: usize = 1_500;
/// How many processes the further output lists, and how many the message names.
const MAX_LISTED: usize = 10;
const MAX_NAMED: usize = 3;

/// What the CPUs of the host did since the last run, or in half a second if there was none.
///
/// In a container, too, these are the CPUs of the host. When it is not okay, processes are watched for half a second; the message names the
/// three that used most, the further output the ten.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cpu {
    /// When it is a warning. A single range is about `use`; a map has ranges by field, all of them in percent. Without a word about them,
    /// `use` is a warning above 90% and `steal` above 10%.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them, `use` is bad above 97% and `steal` above 30%.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Cpu {
    const NAME: &'static str = "cpu";
    const EXAMPLE: &'static str = "{ warning: 80%, bad: { use: 95%, iowait: 50%, busiest: \">= 100%\" } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let span = counters::of_host(context, context.recall(), || async { look(context) }).await?;
        let shares = Shares::between(&span.earlier, &span.now.counters)
            .ok_or_else(|| host::malformed(STAT, "its counters do not grow"))?;
        let mut report = context.report();
        self.judge(context, &mut report, &shares);
        if matches!(report.worst(), State::Warning | State::Bad) {
            name_busiest(context, &mut report, deadline).await;
        }
        report.remember(&span.now);
        Ok(report)
    }
}

impl Cpu {
    fn judge(&self, context: &Context<'_>, report: &mut Report, shares: &Shares) {
        let mut values = shares.values.to_vec();
        values.extend(shares.busiest.map(|(_, share)| ("busiest", share)));
        let limits = [&self.warning, &self.bad];
        match pressure::read(context, CPU_PRESSURE) {
            Ok(cpu) => values.push(("pressure", cpu.some)),
            Err(why) => pressure::miss(report, limits, &["pressure"], &why),
        }
        match pressure::read(context, IO_PRESSURE) {
            Ok(io) => {
                values.push(("io_pressure", io.some));
                values.extend(io.full.map(|full| ("io_pressure_full", full)));
            }
            Err(why) => pressure::miss(report, limits, &["io_pressure", "io_pressure_full"], &why),
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(report, "", &values, || {
            let parts: Vec<String> = shares
                .values
                .iter()
                .filter(|(name, share)| *name == "use" || *share >= 0.5)
                .map(|(name, share)| format!("{} {name}", human(*share, &Unit::PERCENT)))
                .collect();
            let busiest = shares.busiest.map_or_else(String::new, |(number, share)| {
                format!(", CPU {number} most with {}", human(share, &Unit::PERCENT))
            });
            format!("{}{busiest}", parts.join(", "))
        });
    }
}

/// The times of all CPUs and of each, in ticks since the host began.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sample {
    /// In the order of `/proc/stat`.
    all: [u64; TIMES],
    /// By number: busy, and all.
    cores: BTreeMap<u32, (u64, u64)>,
}

/// `user`, `nice`, `system`, `idle`, `iowait`, `irq`, `softirq` and `steal`; that of guests is part of `user`.
const TIMES: usize = 8;

impl Sample {
    fn total(&self) -> u64 {
        self.all.iter().copied().fold(0, u64::saturating_add)
    }
}

/// Times that do not grow are those of another host, in whatever way that came about.
impl Counted for Sample {
    fn continues(&self, earlier: &Self) -> bool {
        self.total() > earlier.total()
    }
}

fn look(context: &Context<'_>) -> Result<Sample, CheckError> {
    let sample = parse(&host::read(context.sysroot, STAT)?);
    sample.ok_or_else(|| host::malformed(STAT, "it does not begin with the times of all CPUs"))
}

/// Reads `/proc/stat` (`proc_stat(5)`).
fn parse(text: &str) -> Option<Sample> {
    let mut sample = Sample::default();
    let mut is_first = true;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("cpu") else { break };
        let mut words = rest.split(' ');
        let number = words.next()?;
        let mut times = [0; TIMES];
        let mut count = 0;
        for (time, word) in times.iter_mut().zip(words.filter(|word| !word.is_empty())) {
            *time = word.parse().ok()?;
            count += 1;
        }
        if count < 4 {
            return None;
        }
        if is_first {
            sample.all = times;
        } else if sample.cores.len() < MAX_CORES {
            let all = times.iter().copied().fold(0, u64::saturating_add);
            let [_, _, _, idle, iowait, ..] = times;
            sample.cores.insert(number.parse().ok()?, (all.saturating_sub(idle).saturating_sub(iowait), all));
        }
        is_first = false;
    }
    (!is_first).then_some(sample)
}

/// What the time went to between two samples, in percent.
#[derive(Debug, PartialEq)]
struct Shares {
    values: [(&'static str, f64); 6],
    /// The CPU that was used most, and how much.
    busiest: Option<(u32, f64)>,
}

impl Shares {
    /// None if the counters did not grow.
    fn between(before: &Sample, now: &Sample) -> Option<Self> {
        let mut spent = [0.0; TIMES];
        for ((spent, before), now) in spent.iter_mut().zip(before.all).zip(now.all) {
            // Those of idling go back a little at times.
            *spent = now.saturating_sub(before) as f64;
        }
        if !now.continues(before) {
            return None;
        }
        let total: f64 = spent.iter().sum();
        let [user, nice, system, idle, iowait, irq, softirq, steal] = spent.map(|spent| spent / total * 100.0);
        let core = |(number, (busy, all)): (&u32, &(u64, u64))| {
            let (busy_before, all_before) = before.cores.get(number)?;
            let all = all.checked_sub(*all_before).filter(|all| *all > 0)?;
            let busy = busy.saturating_sub(*busy_before).min(all);
            Some((*number, busy as f64 / all as f64 * 100.0))
        };
        Some(Self {
            values: [
                ("use", (100.0 - idle - iowait).max(0.0)),
                ("user", user + nice),
                ("system", system),
                ("irq", irq + softirq),
                ("iowait", iowait),
                ("steal", steal),
            ],
            busiest: now.cores.iter().filter_map(core).reduce(|most, next| if next.1 > most.1 { next } else { most }),
        })
    }
}

/// Says which processes use most, watching them for a little.
async fn name_busiest(context: &Context<'_>, report: &mut Report, deadline: Deadline) {
    let state = report.worst();
    match busiest(context, deadline).await {
        Ok(busiest) => {
            let said = |(process, share): &(Process, f64)| {
                format!("{} {}", proc::label(process), human(*share, &Unit::PERCENT))
            };
            let named: Vec<String> = busiest.iter().take(MAX_NAMED).map(said).collect();
            if !named.is_empty() {
                report.find(state, format!("most is used by {} (100% is one CPU)", named.join(", ")));
            }
            report.output = busiest.iter().map(|busy| said(busy) + "\n").collect();
        }
        Err(why) => report.output = format!("(it is not known who uses them: {why})"),
    }
}

/// The processes that use most, and how much.
async fn busiest(context: &Context<'_>, deadline: Deadline) -> Result<Vec<(Process, f64)>, CheckError> {
    let before = proc::list(context, deadline, None).await?;
    tokio::time::sleep(APART.min(deadline.left() / 4)).await;
    let now = proc::list(context, deadline, None).await?;
    let elapsed = proc::seconds(now.now.saturating_sub(before.now));
    let times: Times =
        order::tree(before.processes.iter().map(|process| ((process.pid, process.start), process.ticks)));
    let mut used: Vec<(u64, Process)> = now
        .processes
        .into_iter()
        .map(|process| (proc::used_since(&process, &times, before.now), process))
        .filter(|(ticks, _)| *ticks > 0 && elapsed > 0.0)
        .collect();
    order::sort_by_key(&mut used, |(ticks, _)| std::cmp::Reverse(*ticks));
    used.truncate(MAX_LISTED);
    Ok(used.into_iter().map(|(ticks, process)| (process, proc::seconds(ticks) / elapsed * 100.0)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_add_up() {
        let before = parse(
            "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 50 0 50 400 0 0 0 0 0 0\ncpu1 50 0 50 400 0 0 0 0 0 0\nintr 1\n",
        );
        let now = parse(
            "cpu  140 10 120 890 10 5 5 20 0 0\ncpu0 150 0 50 400 0 0 0 0 0 0\ncpu1 50 0 50 500 0 0 0 0 0 0\nintr 2\n",
        );
        let shares = Shares::between(&before.unwrap(), &now.unwrap()).unwrap();
        let expected =
            [("use", 50.0), ("user", 25.0), ("system", 10.0), ("irq", 5.0), ("iowait", 5.0), ("steal", 10.0)];
        assert_eq!((shares.values, shares.busiest), (expected, Some((0, 100.0))));
    }

    #[test]
    fn counters_that_do_not_grow_give_no_shares() {
        let sample = |text| parse(text).unwrap();
        let before = sample("cpu  100 0 100 800 0 0 0 0 0 0\n");
        assert_eq!(Shares::between(&before, &before), None);
        assert_eq!(Shares::between(&before, &sample("cpu  1 0 1 8 0 0 0 0 0 0\n")), None, "the host began anew");
        let iowait = sample("cpu  100 0 100 700 0 0 0 0 0 0\n");
        assert!(Shares::between(&iowait, &before).is_some());
    }

    #[test]
    fn fuzzed_times_of_cpus() {
        let before = parse("cpu 1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\n").unwrap();
        crate::fuzz::on_text("proc_cpu", |text| {
            let Some(sample) = parse(text) else { return };
            for (a, b) in [(&before, &sample), (&sample, &before), (&sample, &sample)] {
                if let Some(shares) = Shares::between(a, b) {
                    assert!(shares.values.iter().all(|(_, share)| (0.0..=100.0001).contains(share)), "{shares:?}");
                }
            }
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "(cpu[0-9 ]{0,40}\n){0,3}.{0,20}", other in "(cpu [0-9]{1,20} 1 1 1 [0-9]{1,20}\n){1}") {
            if let (Some(before), Some(now)) = (parse(&text), parse(&other)) {
                for share in Shares::between(&before, &now).iter().flat_map(|shares| shares.values) {
                    prop_assert!((0.0..=100.0).contains(&share.1), "{share:?}");
                }
            }
        }
    }
}
