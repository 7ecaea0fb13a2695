//! `raid`: software RAIDs of Linux, ZFS pools and btrfs file systems, and whether they have all their members.

use std::path::Path;

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::quantity::{Unit, human, trim};
use monchero_core::text::escape_controls;
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::blocking::Blocking;
use crate::host;
use crate::net::Deadline;
use crate::settings::OneOrMore;

const FIELDS: &[Field<'static>] = &[
    Field::number(
        "missing",
        "",
        "How many members are missing; not measured for ZFS pools and for RAIDs without redundancy.",
    ),
    Field::number("failed", "", "How many members failed and are still listed."),
    Field::number("spares", "", "How many spare members there are."),
    Field::number("progress", "%", "How far a rebuild, resync, check or reshape is; measured only while there is one."),
    Field::number("left", "s", "How long that will take, as the kernel guesses."),
    Field::number(
        "errors",
        "",
        "The errors of all devices of a btrfs file system since they were reset (`btrfs device stats --reset`).",
    ),
    Field::text(
        "health",
        "`online`, `degraded`, `inactive`, or another word of ZFS: `faulted`, `suspended`, `unavail` ..",
    ),
    Field::text(
        "action",
        "`idle`, `recovery`, `resync`, `check`, `reshape`; `delayed` or `pending` if one of these waits.",
    ),
    Field::text("level", "`raid1`, `raid5` .., `zfs` or `btrfs`."),
    Field::text("type", "`md`, `zfs` or `btrfs`."),
];

const LIMITS: &[Limit] = &[
    Limit { field: "health", warning: "", bad: "!online" },
    Limit { field: "failed", warning: "> 0", bad: "" },
    Limit { field: "errors", warning: "> 0", bad: "" },
];

/// Software RAIDs of Linux (`/proc/mdstat`), ZFS pools and btrfs file systems: missing and failed members, and how far a rebuild is.
///
/// An array that lacks members is bad until it is rebuilt. A resync, check or reshape of an array that has all its members is okay.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raid {
    /// The arrays that are looked at, one or a list: `md0`, the name of a ZFS pool, the label (or else the UUID) of a btrfs file system. One
    /// that is not there is bad. Default: all that there are.
    array: Option<OneOrMore<String>>,
    /// Which arrays are looked at: globs on the name, or conditions on fields (`{ type: md }`). Default: all.
    #[serde(default)]
    only: Filter,
    /// Which arrays are left out, written as `only` is. Default: none.
    #[serde(default)]
    except: Filter,
    /// When it is a warning. A single range is about `missing`; a map has ranges for `missing`, `failed`, `spares`, `progress` (percent), `left` (a time) and
    /// `errors`, and texts for `health`, `action`, `level` and `type`. Without a word about them, `failed` and `errors` are a warning above 0.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about it, a `health` that is not `online` is bad.
    #[serde(default)]
    bad: Thresholds,
}

/// A pool that is suspended may keep its readers waiting.
static ARRAYS: Blocking = Blocking::new("monchero-raid", 128 * 1024);

impl CheckKind for Raid {
    const NAME: &'static str = "raid";
    const EXAMPLE: &'static str = "{ array: [md0, md1], warning: { action: check, spares: \"< 1\" } }";
    const SHORT_FOR: Option<&'static str> = Some("array");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let sysroot = context.sysroot.to_owned();
        let key = sysroot.to_string_lossy().into_owned();
        let call = ARRAYS.call(&key, Deadline::of(context).limit(), move || read(&sysroot));
        let mut arrays =
            call.await.map_err(|why| CheckError::Unable(format!("reading the arrays: the kernel {why}")))??;
        let mut report = context.report();
        let judge = Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except);
        if let Some(names) = &self.array {
            arrays.retain(|array| names.0.contains(&array.name));
            for name in names.0.iter().filter(|name| arrays.iter().all(|array| array.name != **name)) {
                report.find(State::Bad, format!("there is no array {}", escape_controls(name)));
            }
        }
        for array in &arrays {
            array.judge(&judge, &mut report);
        }
        judge.end(&mut report, "array");
        Ok(report)
    }
}

/// What is known of an array.
#[derive(Debug, Default, PartialEq)]
struct Array {
    name: String,
    kind: &'static str,
    level: String,
    health: String,
    action: String,
    /// How many members it should have and has.
    members: Option<(f64, f64)>,
    failed: Vec<String>,
    spares: usize,
    progress: Option<f64>,
    /// In seconds.
    left: Option<f64>,
    errors: Option<f64>,
}

impl Array {
    fn judge(&self, judge: &Judge<'_>, report: &mut Report) {
        let numbers = [
            ("missing", self.members.map(|(wanted, there)| wanted - there)),
            ("failed", (self.kind == "md").then_some(self.failed.len() as f64)),
            ("spares", (self.kind == "md").then_some(self.spares as f64)),
            ("progress", self.progress),
            ("left", self.left),
            ("errors", self.errors),
        ];
        let mut values: Vec<(&str, Value<'_>)> =
            numbers.into_iter().filter_map(|(label, value)| Some((label, value?.into()))).collect();
        let texts = [("health", &*self.health), ("action", &self.action), ("level", &self.level), ("type", self.kind)];
        values.extend(texts.map(|(label, text)| (label, Value::Text(text))));
        judge.item(report, &self.name, &values, || self.summary());
    }

    fn summary(&self) -> String {
        let mut text = format!("{}, {}", escape_controls(&self.health), escape_controls(&self.level));
        if let Some((wanted, there)) = self.members {
            text += &format!(", {} of {} members", trim(there), trim(wanted));
        }
        if !self.failed.is_empty() {
            text += &format!(", failed: {}", escape_controls(&self.failed.join(", ")));
        }
        if self.action != "idle" {
            text += &format!(", {}", escape_controls(&self.action));
        }
        if let Some(progress) = self.progress {
            text += &format!(" {}", human(progress, &Unit::PERCENT));
        }
        if let Some(left) = self.left {
            text += &format!(", {} left", human(left, &Unit::SECONDS));
        }
        text
    }
}

/// Reads all arrays; may hang.
fn read(sysroot: &Path) -> Result<Vec<Array>, CheckError> {
    let mut arrays = parse_mdstat(&host::read_if_exists(sysroot, "/proc/mdstat")?.unwrap_or_default());
    for (name, folder) in folders(sysroot, "/proc/spl/kstat/zfs") {
        if let Some(state) = host::read_if_exists(sysroot, &format!("{folder}/state"))? {
            let health = state.trim().to_lowercase();
            arrays.push(Array {
                name,
                kind: "zfs",
                level: "zfs".to_owned(),
                health,
                action: "idle".to_owned(),
                ..Array::default()
            });
        }
    }
    for (uuid, folder) in folders(sysroot, "/sys/fs/btrfs") {
        arrays.extend(btrfs(sysroot, &uuid, &folder));
    }
    Ok(arrays)
}

/// The names and paths of the directories in a directory, sorted; none if it is not there.
fn folders(sysroot: &Path, path: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(host::under(sysroot, Path::new(path))).into_iter().flatten().flatten();
    let names =
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<(String, String)> = names.map(|name| (name.clone(), format!("{path}/{name}"))).collect();
    order::sort(&mut found);
    found
}

/// A btrfs file system, by what its devices say (`Documentation/ABI/testing/sysfs-fs-btrfs` of the kernel); none if it is no mounted one.
fn btrfs(sysroot: &Path, uuid: &str, folder: &str) -> Option<Array> {
    let text = |path: &str| host::read_if_exists(sysroot, path).ok().flatten();
    let label = text(&format!("{folder}/label"))?.trim().to_owned();
    let devices = folders(sysroot, &format!("{folder}/devinfo"));
    let (mut missing, mut errors) = (0.0, None);
    for (_, device) in &devices {
        missing += f64::from(u8::from(text(&format!("{device}/missing")).is_some_and(|text| text.trim() == "1")));
        let stats = text(&format!("{device}/error_stats"));
        let count =
            |stats: &str| -> f64 { stats.split_ascii_whitespace().filter_map(|word| word.parse::<f64>().ok()).sum() };
        errors = stats.map(|stats| errors.unwrap_or(0.0) + count(&stats)).or(errors);
    }
    let wanted = devices.len() as f64;
    Some(Array {
        name: if label.is_empty() { uuid.to_owned() } else { label },
        kind: "btrfs",
        level: "btrfs".to_owned(),
        health: if missing > 0.0 { "degraded" } else { "online" }.to_owned(),
        action: "idle".to_owned(),
        members: Some((wanted, wanted - missing)),
        errors,
        ..Array::default()
    })
}

/// Reads `/proc/mdstat` (`md(4)`): the line of an array begins with its name and a colon, its further lines are indented.
fn parse_mdstat(text: &str) -> Vec<Array> {
    let mut arrays: Vec<Array> = Vec::new();
    for line in text.lines() {
        if let (true, Some(array)) = (line.starts_with(' '), arrays.last_mut()) {
            further_line(array, line);
        } else if let Some((name, rest)) = line.split_once(" : ").filter(|(name, _)| name.starts_with("md")) {
            arrays.push(first_line(name, rest));
        }
    }
    arrays
}

/// `active raid1 sdb1[1](F) sda1[0]`, `inactive sdc1[0](S)`, `active (read-only) raid5 ..`
fn first_line(name: &str, rest: &str) -> Array {
    let mut array = Array { name: name.trim().to_owned(), kind: "md", action: "idle".to_owned(), ..Array::default() };
    for (index, word) in rest.split_ascii_whitespace().enumerate() {
        match word.split_once('[') {
            Some((member, marks)) if marks.contains("(F)") => array.failed.push(member.to_owned()),
            Some((_, marks)) if marks.contains("(S)") => array.spares += 1,
            Some(_) => {}
            None if index == 0 => if word == "active" { "online" } else { word }.clone_into(&mut array.health),
            None if word.starts_with('(') => {}
            None => word.clone_into(&mut array.level),
        }
    }
    if array.level.is_empty() {
        "unknown level".clone_into(&mut array.level);
    }
    array
}

/// `1953382464 blocks super 1.2 [2/1] [U_]`, `[=>....]  recovery = 12.6% (1/8) finish=127.5min speed=33440K/sec`, `resync=DELAYED`
fn further_line(array: &mut Array, line: &str) {
    for word in line.split_ascii_whitespace() {
        let counts =
            word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).and_then(|word| word.split_once('/'));
        if let Some((Ok(wanted), Ok(there))) =
            counts.map(|(wanted, there)| (wanted.parse::<u32>(), there.parse::<u32>()))
        {
            array.members = Some((f64::from(wanted), f64::from(there)));
            if there < wanted && array.health == "online" {
                "degraded".clone_into(&mut array.health);
            }
        }
        if let Some(minutes) = word.strip_prefix("finish=").and_then(|word| word.strip_suffix("min")) {
            array.left =
                minutes.parse::<f64>().ok().filter(|minutes| minutes.is_finite()).map(|minutes| minutes * 60.0);
        }
    }
    for action in ["recovery", "resync", "check", "reshape"] {
        let Some((_, behind)) = line.split_once(action) else { continue };
        let Some(value) = behind.trim_start().strip_prefix('=') else { continue };
        let value = value.split_ascii_whitespace().next().unwrap_or_default();
        array.action = match value {
            "DELAYED" | "PENDING" | "REMOTE" => value.to_lowercase(),
            _ => action.to_owned(),
        };
        array.progress =
            value.strip_suffix('%').and_then(|value| value.parse::<f64>().ok()).filter(|value| value.is_finite());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arrays_of_mdstat() {
        let text = "Personalities : [raid1] [raid6]\n\
            md0 : active raid1 sdb1[1](F) sda1[0]\n      1953382464 blocks super 1.2 [2/1] [U_]\n      \
            [==>..................]  recovery = 12.6% (37043392/292945152) finish=127.5min speed=33440K/sec\n      \
            bitmap: 0/15 pages [0KB], 65536KB chunk\n\n\
            md_d1 : inactive sdc1[0](S)\n      976630464 blocks\n\n\
            md2 : active (auto-read-only) raid5 sdf[3](S) sde[2] sdd[1] sdc[0]\n      4 blocks level 5, 64k chunk, algorithm 2 [3/3] [UUU]\n      \
            \tresync=PENDING\n\n\
            unused devices: <none>\n";
        let arrays = parse_mdstat(text);
        assert_eq!(arrays.len(), 3, "{arrays:?}");
        assert_eq!((&*arrays[0].health, &*arrays[0].action, &*arrays[0].level), ("degraded", "recovery", "raid1"));
        assert_eq!(
            (arrays[0].members, arrays[0].progress, arrays[0].left),
            (Some((2.0, 1.0)), Some(12.6), Some(7650.0))
        );
        assert_eq!(arrays[0].failed, ["sdb1"]);
        assert_eq!((&*arrays[1].name, &*arrays[1].health, arrays[1].spares), ("md_d1", "inactive", 1));
        assert_eq!((&*arrays[2].health, &*arrays[2].action, &*arrays[2].level), ("online", "pending", "raid5"));
        assert_eq!((arrays[2].spares, arrays[2].members), (1, Some((3.0, 3.0))));
    }

    #[test]
    fn fuzzed_mdstat() {
        crate::fuzz::on_text("proc_mdstat", |text| {
            let arrays = parse_mdstat(text);
            assert!(arrays.len() <= text.lines().count());
            for array in arrays {
                assert!(array.name.starts_with("md") && text.contains(&array.name), "{}", array.name);
                assert!(array.left.is_none_or(f64::is_finite) && array.progress.is_none_or(f64::is_finite));
                assert!(!array.summary().is_empty());
            }
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "(md[0-9] : |active |raid1 |sd[a-z]\\[[0-9]\\]|\\([FS]\\)|\\[[0-9/]*\\]|recovery|=| |[0-9.]+%|\n){0,60}") {
            parse_mdstat(&text);
        }
    }
}
