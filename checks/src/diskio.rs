//! `diskio`: how busy disks are, and how long they let programs wait.

use std::collections::BTreeMap;
use std::path::Path;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human, trim};
use monchero_core::text::escape_controls;
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::counters::{self, Reading, growth};
use crate::host;
use crate::settings::OneOrMore;

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "busy",
        "%",
        "The share of the time in which it had something to do. A disk that does many things at once, such as an SSD, can do more at 100%.",
    ),
    Field::number(
        "wait",
        "s",
        "How long a read or write took on average, in the queue and on the disk; not measured while there is none.",
    ),
    Field::number("queue", "", "How many reads and writes were under way on average."),
    Field::number("reads", "", "Reads per second."),
    Field::number("writes", "", "Writes per second."),
    Field::number("read_bytes", "B/s", "Bytes read per second."),
    Field::number("written_bytes", "B/s", "Bytes written per second."),
    Field::text("type", "`disk`, `partition`, `mapper` (LVM, encryption), `raid`, `loop`, `ram` or `removable`."),
];

const LIMITS: &[Limit] = &[Limit { field: "wait", warning: "> 1s", bad: "" }];

/// The types that are looked at where nothing is said.
const BY_DEFAULT: [&str; 3] = ["disk", "mapper", "raid"];

/// How busy disks are: reads and writes, bytes, how long they take, and the share of the time in which the disk had something to do.
///
/// All figures are averages since the last run; the first run measures for half a second.
///
/// Without `device`, whole disks, software RAIDs and mapped devices (LVM, encryption) are looked at. Partitions, loop devices, RAM disks, floppy and
/// optical drives are left out. `except` leaves out more; `only` replaces that choice: `only: { type: partition }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskIo {
    /// The devices that are looked at, one or a list: `sda`, `/dev/sda`, `/dev/disk/by-label/data`. One that is not there is bad. Default: all
    /// disks.
    device: Option<OneOrMore<String>>,
    /// Which devices are looked at: globs on the name (`nvme*`), or conditions on fields. Default: all that are named or that are disks.
    #[serde(default)]
    only: Filter,
    /// Which devices are left out, written as `only` is. Default: none.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `busy`; a map has ranges for `busy` (percent), `wait` (a time), `queue`, `reads` and `writes` (per
    /// second), `read_bytes` and `written_bytes` (per second). Without a word about it, `wait` is a warning above 1 s.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Default: never.
    #[serde(default)]
    bad: Thresholds,
}

impl CheckKind for DiskIo {
    const NAME: &'static str = "diskio";
    const EXAMPLE: &'static str =
        "{ except: dm-*, warning: { busy: 95%, wait: \"> 100ms\" }, bad: { wait: \"> 2s\" } }";
    const SHORT_FOR: Option<&'static str> = Some("device");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if self.device.as_ref().is_some_and(|devices| devices.0.iter().any(|name| name.trim().is_empty())) {
            return Err(Invalid::at("device", "the name of a device is empty".to_owned()));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let last: Option<Reading<Disks>> = context.recall();
        let span = counters::of_host(context, last, || async { self.read(context) }).await?;
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        for (name, now) in &span.now.counters {
            let of = span.earlier.get(name).and_then(|earlier| rates(earlier, now, span.seconds));
            judge_disk(&judge, &mut report, name, &kind(context.sysroot, name), of);
        }
        for wanted in self.device.iter().flat_map(|devices| &devices.0) {
            if !span.now.counters.contains_key(&device_name(context.sysroot, wanted)) {
                report.find(State::Bad, format!("there is no disk {}", escape_controls(wanted)));
            }
        }
        judge.end(&mut report, "disk");
        report.remember(&span.now);
        Ok(report)
    }
}

impl DiskIo {
    /// The counters of all disks that may be meant.
    fn read(&self, context: &Context<'_>) -> Result<Disks, CheckError> {
        let mut disks = parse(&host::read(context.sysroot, DISKSTATS)?);
        match &self.device {
            Some(devices) => {
                let wanted: Vec<String> = devices.0.iter().map(|name| device_name(context.sysroot, name)).collect();
                disks.retain(|name, _| wanted.contains(name));
            }
            None if self.only.is_empty() => {
                disks.retain(|name, _| BY_DEFAULT.contains(&&*kind(context.sysroot, name)));
            }
            None => {}
        }
        // No more than can be remembered.
        while disks.len() > MAX_DISKS {
            disks.pop_last();
        }
        Ok(disks)
    }
}

const DISKSTATS: &str = "/proc/diskstats";
/// How many disks are looked at: the counters of so many fit what a check may remember.
const MAX_DISKS: usize = 400;

/// By name: reads, sectors read, ms of reading, writes, sectors written, ms of writing, ms with something to do, ms of all requests together.
type Disks = BTreeMap<String, [u64; 8]>;

/// Reads `/proc/diskstats` (`Documentation/admin-guide/iostats.rst` of the kernel). Lines that are not like that are no disks.
fn parse(text: &str) -> Disks {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(2);
            let name = words.next()?.to_owned();
            let numbers: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
            let at = |index: usize| numbers.get(index).copied();
            Some((name, [at(0)?, at(2)?, at(3)?, at(4)?, at(6)?, at(7)?, at(9)?, at(10)?]))
        })
        .collect()
}

/// The name by which `/proc/diskstats` lists a device that a user named.
fn device_name(sysroot: &Path, wanted: &str) -> String {
    let Some(below) = wanted.strip_prefix("/dev/") else { return wanted.to_owned() };
    let target = std::fs::canonicalize(host::under(sysroot, Path::new(wanted))).ok();
    let name = target.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| below.to_owned())
}

/// What sort of device it is.
fn kind(sysroot: &Path, name: &str) -> String {
    let numbered =
        |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    // The kernel writes the slash of names such as `cciss/c0d0` as `!` there.
    let folder = format!("/sys/class/block/{}", name.replace('/', "!"));
    let kind = if numbered("loop") {
        "loop"
    } else if numbered("ram") || numbered("zram") {
        "ram"
    } else if numbered("sr") || numbered("fd") {
        "removable"
    } else if host::under(sysroot, Path::new(&folder)).join("partition").exists() {
        "partition"
    } else if numbered("dm-") {
        "mapper"
    } else if numbered("md") || name.starts_with("md_") {
        "raid"
    } else {
        "disk"
    };
    kind.to_owned()
}

/// What one disk did between two readings.
struct Rates {
    busy: f64,
    wait: Option<f64>,
    queue: f64,
    reads: f64,
    writes: f64,
    read_bytes: f64,
    written_bytes: f64,
}

/// The kernel counts in sectors of so many bytes, whatever the disk has.
const SECTOR: f64 = 512.0;

fn rates(earlier: &[u64; 8], now: &[u64; 8], seconds: f64) -> Option<Rates> {
    let mut grown = [0.0; 8];
    for (slot, (earlier, now)) in grown.iter_mut().zip(earlier.iter().zip(now)) {
        *slot = growth(*earlier, *now)?;
    }
    let [reads, sectors_read, read_ms, writes, sectors_written, write_ms, busy_ms, all_ms] = grown;
    let requests = reads + writes;
    Some(Rates {
        busy: (busy_ms / 10.0 / seconds).min(100.0),
        wait: (requests > 0.0).then(|| (read_ms + write_ms) / 1e3 / requests),
        queue: all_ms / 1e3 / seconds,
        reads: reads / seconds,
        writes: writes / seconds,
        read_bytes: sectors_read * SECTOR / seconds,
        written_bytes: sectors_written * SECTOR / seconds,
    })
}

fn judge_disk(judge: &Judge<'_>, report: &mut Report, name: &str, kind: &str, rates: Option<Rates>) {
    let mut values: Vec<(&str, Value<'_>)> = vec![("type", kind.into())];
    let Some(rates) = rates else {
        judge.item(report, name, &values, || "its counters began anew: measured from the next run on".to_owned());
        return;
    };
    values.extend([("busy", Value::Number(rates.busy)), ("queue", rates.queue.into())]);
    values.extend(rates.wait.map(|wait| ("wait", Value::Number(wait))));
    values.extend([("reads", Value::Number(rates.reads)), ("writes", rates.writes.into())]);
    values.extend([("read_bytes", Value::Number(rates.read_bytes)), ("written_bytes", rates.written_bytes.into())]);
    judge.item(report, name, &values, || {
        let wait = rates.wait.map(|wait| format!(", {} each", human(wait, &Unit::SECONDS))).unwrap_or_default();
        format!(
            "{} busy, {} reads/s ({}/s), {} writes/s ({}/s){wait}",
            human(rates.busy, &Unit::PERCENT),
            trim(rates.reads),
            human(rates.read_bytes, &Unit::BYTES),
            trim(rates.writes),
            human(rates.written_bytes, &Unit::BYTES),
        )
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_of_a_disk() {
        let earlier = [100, 1_000, 500, 10, 80, 40, 2_000, 5_000];
        let now = [300, 5_096, 1_500, 110, 1_104, 540, 7_000, 10_000];
        let rates = rates(&earlier, &now, 10.0).unwrap();
        assert_eq!((rates.reads, rates.writes, rates.busy, rates.queue), (20.0, 10.0, 50.0, 0.5));
        assert_eq!(rates.wait, Some(0.005));
        assert_eq!((rates.read_bytes, rates.written_bytes), (4_096.0 * 51.2, 1_024.0 * 51.2));
        assert!(super::rates(&now, &earlier, 10.0).is_none(), "counters that went backwards");
        assert_eq!(super::rates(&now, &now, 10.0).unwrap().wait, None);
    }

    #[test]
    fn fuzzed_counters_of_disks() {
        crate::fuzz::on_text("proc_diskstats", |text| {
            let disks = parse(text);
            assert!(disks.len() <= text.lines().count());
            for counters in disks.values() {
                for pair in [(&[0; 8], counters), (counters, &[u64::MAX; 8]), (counters, &[0; 8])] {
                    let _ = rates(pair.0, pair.1, 1.0);
                }
            }
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[-0-9a-z \n]{0,200}") {
            parse(&text);
        }
    }
}
