//! `temperature`: the sensors of the host.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Value};
use monchero_core::quantity::trim;
use monchero_core::text::escape_controls;
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};

use crate::blocking::Blocking;
use crate::host;
use crate::net::{Deadline, io_text};

const FIELDS: &[Field<'static>] = &[
    Field::number("temperature", "C", "In degrees Celsius; a limit is a plain number."),
    Field::text("chip", "The driver of the sensor, such as `coretemp` or `nvme`."),
];

/// Reading a sensor asks the hardware, over slow buses at times.
static SENSORS: Blocking = Blocking::new("monchero-sensors", 128 * 1024);

const HWMON: &str = "/sys/class/hwmon";
const ZONES: &str = "/sys/class/thermal";
/// How many sensors and files are looked at: large servers have some hundred.
const MAX_SENSORS: usize = 1_000;
/// How many trip points of a zone are looked at.
const MAX_TRIPS: usize = 32;
/// Limits that a driver may mean, in degrees: chips that have none say 0, 127, 255 or -128.
const CREDIBLE: std::ops::RangeInclusive<f64> = 30.0..=126.0;

/// The temperatures of the host: of CPUs, disks, boards and whatever else has a sensor that the kernel knows.
///
/// A sensor is called by its driver and its label: `coretemp Core 0`, `nvme Composite`; of several that would be called the same, each has its
/// device behind it. Without a limit for `temperature`, those that the sensors' own hardware names count: above its high mark is a warning,
/// from its critical one on is bad, and sensors without marks never alert. A sensor of which the driver says that it is faulty is a
/// warning. One that cannot be read, as that of a device that is switched off, is listed in the further output.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Temperature {
    /// Only sensors that fit: globs of names (`coretemp *`) or maps of conditions (`{ chip: nvme }`).
    #[serde(default)]
    only: Filter,
    /// Not the sensors that fit.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `temperature`, in degrees Celsius without a unit: `"> 80"`. Without a word about it here
    /// and in `bad`, above the sensor's own high mark.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it here and in `warning`, from the sensor's own critical mark on.
    #[serde(default)]
    bad: Thresholds,
}

/// A sensor and what it says.
#[derive(Debug)]
struct Sensor {
    chip: String,
    label: String,
    /// The device behind the chip, to tell sensors of one name apart.
    device: String,
    /// Degrees, or why there are none.
    reading: Result<f64, String>,
    faulty: bool,
    high: Option<f64>,
    critical: Option<f64>,
}

impl CheckKind for Temperature {
    const NAME: &'static str = "temperature";
    const EXAMPLE: &'static str = "{ only: { chip: [coretemp, nvme] }, warning: \"> 70\", bad: \"> 85\" }";
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, &[])
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let sysroot = context.sysroot.to_owned();
        let key = sysroot.to_string_lossy().into_owned();
        let sensors = SENSORS.call(&key, Deadline::of(context).limit(), move || sensors(&sysroot)).await;
        let sensors =
            sensors.map_err(|why| CheckError::Unable(format!("reading the sensors in `{HWMON}`: one {why}")))??;
        let mut report = context.report();
        for (name, sensor) in named(sensors) {
            self.judge(&mut report, &name, &sensor);
        }
        if report.items.kept == 0 && !report.output.is_empty() {
            report.find(State::Unknown, "no sensor can be read");
        }
        Judge::new(FIELDS, &self.warning, &self.bad).end(&mut report, "sensor");
        Ok(report)
    }
}

impl Temperature {
    fn judge(&self, report: &mut Report, name: &str, sensor: &Sensor) {
        let [main, ..] = FIELDS else { return };
        let says = |thresholds: &Thresholds| thresholds.range(main, true).is_some();
        let limits = if says(&self.warning) || says(&self.bad) { None } else { own_limits(sensor) };
        let (warning, bad) = limits.as_ref().map_or((&self.warning, &self.bad), |(warning, bad)| (warning, bad));
        let judge = Judge::new(FIELDS, warning, bad).filtered(&self.only, &self.except);
        let chip = ("chip", Value::Text(&sensor.chip));
        let shown = escape_controls(name);
        if sensor.faulty {
            if judge.wants(name, &[chip]) {
                report.find(State::Warning, format!("{shown}: its driver says that the sensor is faulty"));
            }
            return;
        }
        match &sensor.reading {
            Ok(degrees) => {
                judge.item(report, name, &[("temperature", Value::Number(*degrees)), chip], || {
                    let mark = |what: &str, mark: Option<f64>| mark.map(|mark| format!(", {what} {} C", trim(mark)));
                    let high = mark("high", sensor.high).unwrap_or_default();
                    let critical = mark("critical", sensor.critical).unwrap_or_default();
                    format!("{} C{high}{critical}", trim(*degrees))
                });
            }
            Err(why) if judge.wants(name, &[chip]) => {
                report.output.push_str(&format!("{shown} cannot be read: {why}\n"));
            }
            Err(_) => {}
        }
    }
}

/// The limits that the hardware names.
fn own_limits(sensor: &Sensor) -> Option<(Thresholds, Thresholds)> {
    let limit = |mark: Option<f64>, sign: &str| match mark {
        Some(mark) => Thresholds::deserialize(StrDeserializer::<Error>::new(&format!("{sign} {}", trim(mark)))).ok(),
        None => Some(Thresholds::default()),
    };
    Some((limit(sensor.high, ">")?, limit(sensor.critical, ">=")?))
}

/// What each sensor is called, so that no two are called the same.
fn named(sensors: Vec<Sensor>) -> Vec<(String, Sensor)> {
    let short = |sensor: &Sensor| format!("{} {}", sensor.chip, sensor.label).trim().to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for sensor in &sensors {
        *counts.entry(short(sensor)).or_default() += 1;
    }
    let name = |sensor: Sensor| {
        let short = short(&sensor);
        let is_single = counts.get(&short).is_none_or(|count| *count == 1);
        (if is_single { short } else { format!("{short} ({})", sensor.device) }, sensor)
    };
    sensors.into_iter().map(name).collect()
}

/// All sensors, in the order of their directories. May hang.
fn sensors(sysroot: &Path) -> Result<Vec<Sensor>, CheckError> {
    let mut sensors = Vec::new();
    for directory in directories(sysroot, HWMON, "hwmon")? {
        chip(&directory, &mut sensors);
    }
    let chips: Vec<String> = sensors.iter().map(|sensor| plain(&sensor.chip)).collect();
    for directory in directories(sysroot, ZONES, "thermal_zone")? {
        // Most zones are to be found as chips too, under nearly the same name.
        sensors.extend(zone(&directory).filter(|zone| !chips.contains(&plain(&zone.chip))));
    }
    sensors.truncate(MAX_SENSORS);
    Ok(sensors)
}

fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// The directories of such a name with a number behind it, in the order of their numbers.
fn directories(sysroot: &Path, class: &str, prefix: &str) -> Result<Vec<PathBuf>, CheckError> {
    let entries = match fs::read_dir(host::under(sysroot, Path::new(class))) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CheckError::Unable(format!("listing `{class}`: {}", io_text(&error)))),
    };
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> =
        entries.take(MAX_SENSORS).flatten().filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    order::sort(&mut found);
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn text(path: &Path) -> Option<String> {
    // The kernel writes at most a page into such a file.
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Degrees, which the kernel writes as thousandths.
fn degrees(path: &Path) -> Result<f64, String> {
    let text = fs::read_to_string(path).map_err(|error| io_text(&error))?;
    text.trim().parse::<i64>().map(|number| number as f64 / 1_000.0).map_err(|_| "it holds no number".to_owned())
}

fn mark(path: &Path) -> Option<f64> {
    degrees(path).ok().filter(|mark| CREDIBLE.contains(mark))
}

/// The sensors of a chip (`Documentation/hwmon/sysfs-interface.rst`).
fn chip(directory: &Path, sensors: &mut Vec<Sensor>) {
    let own = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let device = fs::read_link(directory.join("device")).ok();
    let device = device.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let chip = text(&directory.join("name")).unwrap_or_else(|| own.clone());
    let Ok(entries) = fs::read_dir(directory) else { return };
    let number = |name: &str| name.strip_prefix("temp")?.strip_suffix("_input")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> =
        entries.take(MAX_SENSORS).flatten().filter_map(|entry| number(entry.file_name().to_str()?)).collect();
    order::sort(&mut numbers);
    for number in numbers {
        let file = |what: &str| directory.join(format!("temp{number}_{what}"));
        let critical = mark(&file("crit"));
        sensors.push(Sensor {
            chip: chip.clone(),
            label: text(&file("label")).unwrap_or_else(|| format!("temp{number}")),
            device: device.clone().unwrap_or_else(|| own.clone()),
            reading: degrees(&file("input")),
            faulty: text(&file("fault")).is_some_and(|flag| flag == "1"),
            // A high mark above the critical one is a leftover of the board's maker.
            high: mark(&file("max")).filter(|high| critical.is_none_or(|critical| *high < critical)),
            critical,
        });
    }
}

/// The sensor of a thermal zone (`Documentation/driver-api/thermal/sysfs-api.rst`).
fn zone(directory: &Path) -> Option<Sensor> {
    if text(&directory.join("mode")).is_some_and(|mode| mode == "disabled") {
        return None;
    }
    let trip = |wanted: &str| {
        let is = |number: &usize| {
            text(&directory.join(format!("trip_point_{number}_type"))).is_some_and(|kind| kind == wanted)
        };
        let number = (0..MAX_TRIPS).find(is)?;
        mark(&directory.join(format!("trip_point_{number}_temp")))
    };
    Some(Sensor {
        chip: text(&directory.join("type"))?,
        label: String::new(),
        device: directory.file_name()?.to_string_lossy().into_owned(),
        reading: degrees(&directory.join("temp")),
        faulty: false,
        high: trip("hot"),
        critical: trip("critical"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_of_one_name_are_told_apart_by_their_devices() {
        let sensor = |chip: &str, label: &str, device: &str| Sensor {
            chip: chip.to_owned(),
            label: label.to_owned(),
            device: device.to_owned(),
            reading: Ok(20.0),
            faulty: false,
            high: None,
            critical: None,
        };
        let sensors = vec![
            sensor("nvme", "Composite", "nvme0"),
            sensor("nvme", "Composite", "nvme1"),
            sensor("acpitz", "", "thermal_zone0"),
        ];
        let names: Vec<String> = named(sensors).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["nvme Composite (nvme0)", "nvme Composite (nvme1)", "acpitz"]);
    }
}
