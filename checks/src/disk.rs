//! `disk`: how full file systems are, and whether they answer at all.

mod list;
mod mounts;
mod trend;

use std::path::{Path, PathBuf};

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Filter, Judge, Limit, Value};
use monchero_core::mounts::{Mount, of_path};
use monchero_core::quantity::{Unit, human};
use monchero_core::text::escape_controls;
use monchero_core::{CheckError, Invalid, Report, State, Thresholds, order};
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::blocking::{Blocking, NoAnswer};
use crate::host;
use crate::net::{Deadline, io_text};
use crate::settings::OneOrMore;
use trend::Trends;

const FIELDS: &[Field<'static>] = &[
    Field::number("used", "%", "The share in use, of what ordinary users can use: as `df` counts."),
    Field::number("free", "B", "What ordinary users can still write."),
    Field::number(
        "inodes",
        "%",
        "The share of inodes (files) in use; not measured where the file system has no fixed number.",
    ),
    Field::number("inodes_free", "", "Inodes that are left."),
    Field::number(
        "full_in",
        "s",
        "How long it takes until it is full, if it goes on growing as in the last hours (up to 6); not measured while it does not \
         grow, in the first hour, and when that is more than a year away.",
    ),
    TYPE,
    DEVICE,
    OPTIONS,
];
const TYPE: Field<'static> = Field::text("type", "The type of the file system: `ext4`, `nfs4`.");
const DEVICE: Field<'static> = Field::text("device", "What is mounted: `/dev/sda1`, `server:/export`.");
const OPTIONS: Field<'static> = Field::text("options", "The options of the mount: `rw,noatime`.");

const LIMITS: &[Limit] = &[
    Limit { field: "used", warning: "> 80%", bad: "> 90%" },
    Limit { field: "inodes", warning: "> 80%", bad: "> 90%" },
];

/// How many paths one check may have, since each may take a thread: half of what there is.
const MAX_PATHS: usize = crate::blocking::MAX_THREADS / 2;
/// How many mounts are looked at where no path is named: a result has room for 256 metrics, and nobody reads more.
const MAX_MOUNTS: usize = 250;

/// `statvfs` and a read of `/proc/self/mountinfo` need a few KiB of stack.
static MOUNTS: Blocking = Blocking::new("monchero-mount", 128 * 1024);

/// How full file systems are, in bytes and in inodes, and when they will be full.
///
/// Without `path`, all mounted file systems that hold data are looked at. Left out are those of the kernel and in memory (`proc`, `tmpfs`
/// ..), images that are always full (`squashfs`, `iso9660` ..), views of others (`overlay`, except as `/`), and further mounts of a device that is
/// looked at already. `except` leaves out more. `only` replaces that choice: with `only: { type: [tmpfs, ext4] }` just these are looked at,
/// second mounts of a device included. File systems without any space are never looked at.
///
/// A path that does not exist is bad, and so is a file system that answers with an error. A file system that does not answer, such as a dead NFS mount, is unknown and delays no other:
/// while it hangs it is not asked again, and the other paths of the same check are reported as ever.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    /// The paths whose file systems are looked at: one, or a list of up to 32. Default: all mounts that hold data.
    path: Option<OneOrMore<PathBuf>>,
    /// Which file systems are looked at: globs on the path (`/srv/*`) or conditions on fields (`{ type: [ext4, xfs] }`, `{ device:
    /// /dev/mapper/* }`). Default: all that are named by `path`, or that hold data.
    #[serde(default)]
    only: Filter,
    /// Which file systems are left out, written as `only` is: `{ type: nfs* }`. Default: none.
    #[serde(default)]
    except: Filter,
    /// Whether each path must be a mount point, so that the empty directory below a file system that is not mounted is bad rather than
    /// measured. Default: `false`.
    #[serde(default)]
    mounted: bool,
    /// The state that a read-only file system means: `okay` (where that is intended), `warning` or `bad`. File systems with errors
    /// turn read-only by themselves. Default: `warning`.
    #[serde(default = "warning")]
    read_only: State,
    /// When it is a warning. A single range is about `used`; a map has ranges for `used` (percent), `free` (bytes), `inodes` (percent),
    /// `inodes_free` and `full_in` (a time: `< 4h`), and texts for `type`, `device` and `options`. Without a word about them, `used` and `inodes` are a warning above 80%.
    #[serde(default)]
    warning: Thresholds,
    /// When it is bad, written as `warning` is. Without a word about them, `used` and `inodes` are bad above 90%.
    #[serde(default)]
    bad: Thresholds,
}

fn warning() -> State {
    State::Warning
}

impl CheckKind for Disk {
    const NAME: &'static str = "disk";
    const EXAMPLE: &'static str =
        "{ except: { type: nfs* }, warning: { used: 80%, full_in: \"< 1d\" }, bad: { used: 90%, free: \"< 2GiB\" } }";
    const SHORT_FOR: Option<&'static str> = Some("path");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        if let Some(paths) = &mut self.path {
            judge_paths(&mut paths.0)?;
        } else if self.mounted {
            return Err(Invalid::at("mounted", "without `path`, only mount points are looked at anyhow".to_owned()));
        }
        if self.read_only == State::Unknown {
            return Err(Invalid::at("read_only", "a read-only file system is `okay`, `warning` or `bad`".to_owned()));
        }
        self.only.validate("only", FIELDS)?;
        self.except.validate("except", FIELDS)?;
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let deadline = Deadline::of(context);
        let list = list::read(context, deadline.left()).await;
        let mut report = context.report();
        let mounts = list.as_ref().map(|list| list.mounts.as_slice()).map_err(Clone::clone);
        let objects = self.objects(&mut report, mounts)?;
        let (mut answers, mut looks) = (Vec::with_capacity(objects.len()), JoinSet::new());
        for (index, object) in objects.iter().enumerate() {
            let path = host::under(context.sysroot, &object.path);
            // What the list says is about paths of this host.
            if path == object.path && list.as_ref().is_ok_and(|list| list.answers_at_once(&path)) {
                answers.push((index, Ok(look(&path))));
                continue;
            }
            let (key, limit) = (path.to_string_lossy().into_owned(), deadline.left());
            looks.spawn(async move { (index, MOUNTS.call(&key, limit, move || look(&path)).await) });
        }
        answers.extend(looks.join_all().await);
        order::sort_by_key(&mut answers, |(index, _)| *index);
        let mut history = History { trends: context.recall().unwrap_or_default(), now: context.now.as_second() };
        let mut is_news = history.trends.keep(&objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>());
        for (object, (_, answer)) in objects.iter().zip(answers) {
            is_news |= self.judge(&mut report, object, answer, &mut history);
        }
        self.judge_items().end(&mut report, "mount");
        if is_news {
            report.remember(&history.trends);
        }
        Ok(report)
    }
}

/// A file system that is to be looked at.
struct Object<'a> {
    name: String,
    path: PathBuf,
    /// What is known about it; nothing if no mount could be found for the path.
    mount: Option<&'a Mount>,
}

struct History {
    trends: Trends,
    /// In seconds.
    now: i64,
}

impl Disk {
    fn judge_items(&self) -> Judge<'_> {
        Judge::new(FIELDS, &self.warning, &self.bad).filtered(&self.only, &self.except)
    }

    /// What is to be looked at, as far as can be told before looking. What is said already goes to the report.
    fn objects<'a>(
        &self,
        report: &mut Report,
        mounts: Result<&'a [Mount], CheckError>,
    ) -> Result<Vec<Object<'a>>, CheckError> {
        let Some(paths) = &self.path else { return Ok(self.objects_of_mounts(report, mounts?)) };
        // That the types are not known matters to those only who ask for them.
        let needs_mounts = self.mounted || !self.only.is_empty() || !self.except.is_empty();
        let mounts = if needs_mounts { mounts? } else { mounts.unwrap_or_default() };
        let mut objects = Vec::new();
        for path in &paths.0 {
            let (name, mount) = (path.to_string_lossy().into_owned(), of_path(mounts, path));
            if self.mounted && mount.is_none_or(|mount| Path::new(&mount.point) != path) {
                report.find(State::Bad, format!("{name} is not a mount point"));
            } else {
                objects.push(Object { name, path: path.clone(), mount });
            }
        }
        Ok(objects)
    }

    fn objects_of_mounts<'a>(&self, report: &mut Report, mounts: &'a [Mount]) -> Vec<Object<'a>> {
        let mut mounts = if self.only.is_empty() { mounts::with_data(mounts) } else { mounts.iter().collect() };
        // A mount that hangs must not be asked if its texts tell that it is not meant.
        let known = self.judge_items();
        let all = mounts.len();
        mounts.retain(|mount| known.wants(&mount.point, &texts(mount)));
        report.items.left_out += all - mounts.len();
        if mounts.len() > MAX_MOUNTS {
            let count = mounts.len();
            report.find(
                State::Warning,
                format!("only {MAX_MOUNTS} of {count} mounts are looked at: leave some out with `except`"),
            );
            mounts.truncate(MAX_MOUNTS);
        }
        let object = |mount: &'a Mount| Object {
            name: mount.point.clone(),
            path: PathBuf::from(&mount.point),
            mount: Some(mount),
        };
        mounts.into_iter().map(object).collect()
    }

    /// Judges one answer; says whether the history has grown.
    fn judge(
        &self,
        report: &mut Report,
        object: &Object<'_>,
        answer: Result<Look, NoAnswer>,
        history: &mut History,
    ) -> bool {
        let name = &*object.name;
        let texts = object.mount.map(texts);
        let problem = match answer {
            Ok(Look::Space(space)) => return self.judge_space(report, object, &space, history),
            // A mount that is hidden by another one cannot be reached and harms nobody.
            Ok(Look::Missing) if self.path.is_none() => {
                report.items.left_out += 1;
                return false;
            }
            Ok(Look::Missing) => (State::Bad, format!("{name} does not exist")),
            Ok(Look::Failed(state, why)) => (state, format!("{name}: {why}")),
            Err(why) => (State::Unknown, format!("{name} {why}")),
        };
        if self.judge_items().wants(name, texts.as_ref().map_or(&[], |texts| texts.as_slice())) {
            report.find(problem.0, escape_controls(&problem.1));
        }
        false
    }

    fn judge_space(&self, report: &mut Report, object: &Object<'_>, space: &StatVfs, history: &mut History) -> bool {
        if self.path.is_none() && space.f_blocks == 0 {
            report.items.left_out += 1;
            return false;
        }
        let name = &*object.name;
        let block = space.f_frsize as f64;
        let in_use = space.f_blocks.saturating_sub(space.f_bfree) as f64;
        let available = space.f_bavail as f64;
        // What is reserved for root counts neither as used nor as free.
        let used = percent(in_use, in_use + available);
        let free = available * block;
        let mut values = vec![("used", Value::Number(used)), ("free", free.into())];
        if space.f_files > 0 {
            let taken = space.f_files.saturating_sub(space.f_ffree);
            values.push(("inodes", percent(taken as f64, space.f_files as f64).into()));
            values.push(("inodes_free", (space.f_favail as f64).into()));
        }
        let is_news = history.trends.add(name, history.now, in_use * block);
        let full_in = history.trends.full_in(name, history.now, in_use * block, free);
        values.extend(full_in.map(|seconds| ("full_in", seconds.into())));
        values.extend(object.mount.into_iter().flat_map(texts));
        let read_only =
            object.mount.map_or_else(|| space.f_flag.contains(StatVfsMountFlags::RDONLY), |mount| mount.read_only);
        let kept = self.judge_items().item(report, name, &values, || {
            let read_only = if read_only { ", read-only" } else { "" };
            let full_in =
                full_in.map(|seconds| format!(", full in {} as it grows now", human(seconds, &Unit::SECONDS)));
            let (used, free) = (human(used, &Unit::PERCENT), human(free, &Unit::BYTES));
            format!("{used} used, {free} free{}{read_only}", full_in.unwrap_or_default())
        });
        if kept && read_only && self.read_only.is_problem() {
            report.find(self.read_only, format!("{} is read-only", escape_controls(name)));
        }
        is_news
    }
}

fn judge_paths(paths: &mut [PathBuf]) -> Result<(), Invalid> {
    // `/srv/` and `/srv` are one path; mount points are listed without the slash at the end.
    for path in paths.iter_mut() {
        *path = path.components().collect();
    }
    if paths.is_empty() || paths.len() > MAX_PATHS {
        return Err(Invalid::at(
            "path",
            format!("a check looks at 1 to {MAX_PATHS} paths, this one names {}", paths.len()),
        ));
    }
    if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
        return Err(Invalid::at("path", format!("`{}` does not begin with `/`", path.display())));
    }
    let twice = paths.iter().enumerate().find(|(index, path)| paths.iter().take(*index).any(|other| other == *path));
    match twice {
        Some((index, path)) => Err(Invalid::at(
            "path",
            format!("`{}` stands here twice, the second time as number {}", path.display(), index + 1),
        )),
        None => Ok(()),
    }
}

fn texts(mount: &Mount) -> [(&'static str, Value<'_>); 3] {
    [
        ("type", Value::Text(&mount.kind)),
        ("device", Value::Text(&mount.device)),
        ("options", Value::Text(&mount.options)),
    ]
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

/// What one path showed.
enum Look {
    Space(StatVfs),
    Missing,
    /// What failed and what that means.
    Failed(State, String),
}

/// Looks at a path; may hang.
fn look(path: &Path) -> Look {
    match statvfs(path) {
        Ok(space) => Look::Space(space),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Look::Missing,
        Err(errno) => {
            // Who may not look knows nothing; any other error is the file system's own: EIO, ESTALE (NFS), ENOTCONN (FUSE) ..
            let is_denied = matches!(errno, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM);
            let state = if is_denied { State::Unknown } else { State::Bad };
            Look::Failed(state, format!("reading the file system: {}", io_text(&errno.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system of 1,000 blocks of 4 KiB, 100 of them for root only, and of 200 inodes.
    fn space(used: u64, inodes_used: u64) -> StatVfs {
        StatVfs {
            f_bsize: 4096,
            f_frsize: 4096,
            f_blocks: 1_000,
            f_bfree: 1_000 - used,
            f_bavail: (1_000 - used).saturating_sub(100),
            f_files: 200,
            f_ffree: 200 - inodes_used,
            f_favail: 200 - inodes_used,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::empty(),
            f_namemax: 255,
        }
    }

    fn judged(space: StatVfs) -> Report {
        let mut disk = Disk {
            path: None,
            only: Filter::default(),
            except: Filter::default(),
            mounted: false,
            read_only: State::Warning,
            warning: Thresholds::default(),
            bad: Thresholds::default(),
        };
        disk.validate().unwrap();
        let mut report = Report::default();
        let object = Object { name: "/srv".to_owned(), path: PathBuf::from("/srv"), mount: None };
        let mut history = History { trends: Trends::default(), now: 0 };
        disk.judge(&mut report, &object, Ok(Look::Space(space)), &mut history);
        report
    }

    fn texts(report: &Report) -> Vec<(State, &str)> {
        report.findings.iter().map(|finding| (finding.state, finding.text.as_str())).collect()
    }

    #[test]
    fn it_counts_as_df_does() {
        let report = judged(space(450, 20));
        let value = |label: &str| report.metrics.iter().find(|metric| &*metric.label == label).unwrap().value.unwrap();
        assert_eq!((value("/srv used"), value("/srv free")), (50.0, 450.0 * 4096.0));
        assert_eq!((value("/srv inodes"), value("/srv inodes_free")), (10.0, 180.0));
        assert_eq!(texts(&report), [(State::Okay, "/srv: 50% used, 1.76 MiB free")]);
    }

    #[test]
    fn blocks_and_inodes_run_out() {
        assert_eq!(
            texts(&judged(space(1_000, 20))),
            [(State::Bad, "/srv used is 100%, above 90% (100% used, 0 B free)")]
        );
        assert_eq!(
            texts(&judged(space(450, 170))),
            [(State::Warning, "/srv inodes is 85%, above 80% (50% used, 1.76 MiB free)")]
        );
        let report = judged(StatVfs { f_files: 0, f_ffree: 0, f_favail: 0, ..space(450, 0) });
        assert!(
            report.metrics.iter().all(|metric| !metric.label.contains("inodes")),
            "this file system has no fixed number of them"
        );
    }

    #[test]
    fn a_read_only_file_system_is_told() {
        let report = judged(StatVfs { f_flag: StatVfsMountFlags::RDONLY, ..space(450, 20) });
        assert_eq!(
            texts(&report),
            [(State::Okay, "/srv: 50% used, 1.76 MiB free, read-only"), (State::Warning, "/srv is read-only")]
        );
    }
}
