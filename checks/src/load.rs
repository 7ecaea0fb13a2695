//! `load`: how many processes run or wait, compared with the CPUs that there are.

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::quantity::trim;
use monchero_core::{CheckError, Invalid, Report, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::host;

const FIELDS: &[Field<'static>] = &[
    Field::number("load5", "", "Processes that ran, waited for a CPU or for a disk, on average of 5 minutes."),
    Field::number("load1", "", "The same, of 1 minute."),
    Field::number("load15", "", "The same, of 15 minutes."),
    Field::number("per_core1", "", "`load1` divided by the number of CPUs that are online."),
    Field::number("per_core5", "", "`load5` divided by the number of CPUs that are online."),
    Field::number("per_core15", "", "`load15` divided by the number of CPUs that are online."),
];

const LIMITS: &[Limit] = &[Limit { field: "per_core5", warning: "> 5", bad: "> 10" }];

/// How many processes run or wait for a CPU or a disk: the load averages of 1, 5 and 15 minutes, as they are and per CPU.
///
/// The CPUs are counted that are online on the host, whatever share of them monchero itself may use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// When the load is a warning. A single range is about `load5`; a map has ranges for `load1`, `load5`, `load15`, `per_core1`,
    /// `per_core5` and `per_core15`. Without a word about it, `per_core5` is a warning above 5.
    #[serde(default)]
    warning: Thresholds,
    /// When the load is bad, written as `warning` is. Without a word about it, `per_core5` is bad above 10.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for Load {
    const NAME: &'static str = "load";
    const EXAMPLE: &'static str = "{ warning: { per_core5: 2 }, bad: { per_core5: 4 } }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let [one, five, fifteen] = averages(&host::read(context.sysroot, LOADAVG)?)?;
        let cpus = cpus(context)?;
        let count = f64::from(cpus);
        let values = [
            ("load1", one),
            ("load5", five),
            ("load15", fifteen),
            ("per_core1", one / count),
            ("per_core5", five / count),
            ("per_core15", fifteen / count),
        ];
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(&mut report, "", &values, || {
            let plural = if cpus == 1 { "" } else { "s" };
            format!("load {}, {}, {} on {cpus} CPU{plural}", trim(one), trim(five), trim(fifteen))
        });
        Ok(report)
    }
}

const LOADAVG: &str = "/proc/loadavg";
const ONLINE: &str = "/sys/devices/system/cpu/online";
const STAT: &str = "/proc/stat";

/// The three averages at the start of `/proc/loadavg` (`proc_loadavg(5)`).
fn averages(text: &str) -> Result<[f64; 3], CheckError> {
    let mut words = text.split_ascii_whitespace();
    let mut average = || {
        let number = words.next().and_then(|word| word.parse::<f64>().ok()).filter(|number| number.is_finite());
        number.ok_or_else(|| host::malformed(LOADAVG, "it does not begin with three numbers"))
    };
    Ok([average()?, average()?, average()?])
}

/// The CPUs that are online. Not `available_parallelism`: that is what this process may use, and the load is that of all.
fn cpus(context: &Context<'_>) -> Result<u32, CheckError> {
    if let Some(count) = host::read_if_exists(context.sysroot, ONLINE)?.as_deref().and_then(count_list) {
        return Ok(count);
    }
    let stat = host::read(context.sysroot, STAT)?;
    let count = stat
        .lines()
        .filter(|line| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
        .count();
    u32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| host::malformed(STAT, "it names no CPU"))
}

/// How many numbers a list such as `0-3,8` has, if it has any.
fn count_list(text: &str) -> Option<u32> {
    let mut count = 0_u32;
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_cpus() {
        for (text, count) in [
            ("0\n", Some(1)),
            ("0-3\n", Some(4)),
            ("0-3,8,10-11\n", Some(7)),
            ("", None),
            ("3-0", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(count_list(text), count, "{text:?}");
        }
    }

    #[test]
    fn fuzzed_averages_and_lists() {
        crate::fuzz::on_text("proc_loadavg", |text| {
            if let Ok(averages) = averages(text) {
                assert!(averages.iter().all(|average| average.is_finite()), "{averages:?}");
            }
            assert_ne!(count_list(text), Some(0));
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[-0-9,. \n]{0,40}") {
            let _ = count_list(&text);
            let _ = averages(&text);
        }
    }
}
