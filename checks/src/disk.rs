//! `disk`: how full file systems are, and whether they answer at all.

use std::path::{Path, PathBuf};

use monchero_core::check::{CheckKind, Context};
use monchero_core::items::{Field, Judge, Limit};
use monchero_core::quantity::{Unit, human};
use monchero_core::{CheckError, Invalid, Report, State, Thresholds};
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::blocking::{Blocking, NoAnswer};
use crate::host;
use crate::net::{Deadline, io_text};
use crate::settings::OneOrMore;

const FIELDS: &[Field<'static>] = &[
    Field::number("used", "%", "The share in use, of what ordinary users can use: as `df` counts."),
    Field::number("free", "B", "What ordinary users can still write."),
    Field::number(
        "inodes",
        "%",
        "The share of inodes (files) in use; not measured where the file system has no fixed number.",
    ),
    Field::number("inodes_free", "", "Inodes that are left."),
];

const LIMITS: &[Limit] = &[
    Limit { field: "used", warning: "> 80%", bad: "> 90%" },
    Limit { field: "inodes", warning: "> 80%", bad: "> 90%" },
];

/// How many paths one check may have, since each may take a thread: half of what there is.
const MAX_PATHS: usize = crate::blocking::MAX_THREADS / 2;

/// `statvfs` and a read of `/proc/self/mountinfo` need a few KiB of stack.
static MOUNTS: Blocking = Blocking::new("monchero-mount", 128 * 1024);

/// How full file systems are, in bytes and in inodes.
///
/// A path that does not exist is bad, and so is a file system that answers with an error. A file system that does not answer, such as a dead NFS mount, is unknown and delays no other:
/// while it hangs it is not asked again, and the other paths of the same check are reported as ever.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    /// The paths whose file systems are looked at: one, or a list of up to 32.
    path: OneOrMore<PathBuf>,
    /// Whether each path must be a mount point, so that the empty directory below a file system that is not mounted is bad rather than
    /// measured. Default: `false`.
    #[serde(default)]
    mounted: bool,
    /// The state that a read-only file system means: `okay` (where that is intended), `warning` or `bad`. File systems with errors
    /// turn read-only by themselves. Default: `warning`.
    #[serde(default = "warning")]
    read_only: State,
    /// When it is a warning. A single range is about `used`; a map has ranges for `used` (percent), `free` (bytes), `inodes` (percent)
    /// and `inodes_free`. Without a word about them, `used` and `inodes` are a warning above 80%.
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
    const EXAMPLE: &'static str = "{ path: /, warning: 80%, bad: { used: 90%, free: \"< 2GiB\" } }";
    const SHORT_FOR: Option<&'static str> = Some("path");
    const FIELDS: &'static [Field<'static>] = FIELDS;

    fn validate(&mut self) -> Result<(), Invalid> {
        let paths = &mut self.path.0;
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
        if let Some((index, path)) =
            paths.iter().enumerate().find(|(index, path)| paths.iter().take(*index).any(|other| other == *path))
        {
            return Err(Invalid::at(
                "path",
                format!("`{}` stands here twice, the second time as number {}", path.display(), index + 1),
            ));
        }
        if self.read_only == State::Unknown {
            return Err(Invalid::at("read_only", "a read-only file system is `okay`, `warning` or `bad`".to_owned()));
        }
        Thresholds::settle(&mut self.warning, &mut self.bad, FIELDS, LIMITS)
    }

    async fn run(&self, context: &Context<'_>) -> Result<Report, CheckError> {
        let limit = Deadline::of(context).limit();
        let mut looks = JoinSet::new();
        for (index, path) in self.path.0.iter().enumerate() {
            let (path, sysroot, mounted) = (path.clone(), context.sysroot.to_owned(), self.mounted);
            let key = host::under(&sysroot, &path).to_string_lossy().into_owned();
            looks.spawn(async move { (index, MOUNTS.call(&key, limit, move || look(&sysroot, &path, mounted)).await) });
        }
        let mut answers = looks.join_all().await;
        answers.sort_unstable_by_key(|(index, _)| *index);
        let mut report = context.report();
        for (path, (_, answer)) in self.path.0.iter().zip(answers) {
            self.judge(&mut report, &path.to_string_lossy(), answer);
        }
        Ok(report)
    }
}

impl Disk {
    fn judge(&self, report: &mut Report, path: &str, answer: Result<Look, NoAnswer>) {
        let space = match answer {
            Ok(Look::Space(space)) => space,
            Ok(Look::NotMounted) => return report.find(State::Bad, format!("{path} is not a mount point")),
            Ok(Look::Missing) => return report.find(State::Bad, format!("{path} does not exist")),
            Ok(Look::Failed(state, why)) => return report.find(state, format!("{path}: {why}")),
            Err(why) => return report.find(State::Unknown, format!("{path} {why}")),
        };
        let read_only = space.f_flag.contains(StatVfsMountFlags::RDONLY);
        if read_only && self.read_only.is_problem() {
            report.find(self.read_only, format!("{path} is read-only"));
        }
        let block = space.f_frsize as f64;
        let used = space.f_blocks.saturating_sub(space.f_bfree) as f64;
        let available = space.f_bavail as f64;
        // What is reserved for root counts neither as used nor as free.
        let used = percent(used, used + available);
        let free = available * block;
        let mut values = vec![("used", used), ("free", free)];
        if space.f_files > 0 {
            let taken = space.f_files.saturating_sub(space.f_ffree);
            values.push(("inodes", percent(taken as f64, space.f_files as f64)));
            values.push(("inodes_free", space.f_favail as f64));
        }
        let judge = Judge::new(FIELDS, &self.warning, &self.bad);
        judge.item(report, path, &values, || {
            let read_only = if read_only { ", read-only" } else { "" };
            format!("{} used, {} free{read_only}", human(used, &Unit::PERCENT), human(free, &Unit::BYTES))
        });
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

/// What one path showed.
enum Look {
    Space(StatVfs),
    NotMounted,
    Missing,
    /// What failed and what that means.
    Failed(State, String),
}

/// Looks at a path; may hang.
fn look(sysroot: &Path, path: &Path, mounted: bool) -> Look {
    if mounted {
        match host::read(sysroot, "/proc/self/mountinfo") {
            Ok(text) if is_mount_point(&text, path) => {}
            Ok(_) => return Look::NotMounted,
            Err(error) => return Look::Failed(State::Unknown, error.to_string()),
        }
    }
    match statvfs(host::under(sysroot, path)) {
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

/// Whether a path is the mount point of a line of `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`: the fifth word, with blanks, tabs,
/// newlines and backslashes written as octal numbers).
fn is_mount_point(mountinfo: &str, path: &Path) -> bool {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).any(|word| Path::new(&unescape(word)) == path)
}

fn unescape(word: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")].into_iter().fold(
        word.to_owned(),
        |word, (written, meant)| if word.contains(written) { word.replace(written, meant) } else { word },
    )
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
        let path = OneOrMore(vec![PathBuf::from("/srv")]);
        let (warning, bad) = (Thresholds::default(), Thresholds::default());
        let mut disk = Disk { path, mounted: false, read_only: State::Warning, warning, bad };
        disk.validate().unwrap();
        let mut report = Report::default();
        disk.judge(&mut report, "/srv", Ok(Look::Space(space)));
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
            [(State::Warning, "/srv is read-only"), (State::Okay, "/srv: 50% used, 1.76 MiB free, read-only")]
        );
    }

    #[test]
    fn mount_points() {
        let text = "21 1 0:1 / / rw - ext4 /dev/a rw\n22 21 0:2 / /mnt/with\\040blank rw shared:1 - nfs s:/x rw\n23 21 0:3 / /back\\134040slash rw - tmpfs t rw\n";
        for (path, is) in
            [("/", true), ("/mnt/with blank", true), ("/mnt", false), ("/back\\040slash", true), ("/mnt/with", false)]
        {
            assert_eq!(is_mount_point(text, Path::new(path)), is, "{path}");
        }
    }
}
