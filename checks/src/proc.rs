//! The processes of the host, as `/proc` shows them: read fast, and so that neither a process that ends meanwhile nor one whose files
//! hang does any harm (R75).

mod details;
mod names;

use std::collections::BTreeMap;
use std::path::Path;

use monchero_core::CheckError;
use monchero_core::check::Context;
use monchero_core::order;
use monchero_core::quantity::{Unit, human};
use monchero_core::text::escape_controls;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::blocking::Blocking;
use crate::host;
use crate::net::{Deadline, io_text};
pub(crate) use details::details;
use names::{NameFiles, may_fit};

/// Listing and reading need a few KiB of stack.
static PROC: Blocking = Blocking::new("monchero-proc", 128 * 1024);

/// How many bytes of a list are asked for at once: some 1,000 processes.
const MAX_ENTRIES: usize = 32 * 1024;
/// Longer than any `stat` of a process: 52 numbers and a name.
const MAX_STAT: usize = 4 * 1024;
/// The kernel cuts names after so many bytes (`TASK_COMM_LEN` without the zero at the end).
const CUT_NAME: usize = 15;
/// `PF_KTHREAD` of the kernel's `sched.h`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its name, complete after [`details`], cut after 15 bytes before.
    pub(crate) name: String,
    /// As the kernel writes it: `R`, `S`, `D`, `Z` ..
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    is_kernel: bool,
    /// CPU time, in ticks.
    pub(crate) ticks: u64,
    pub(crate) threads: u64,
    /// When it began, in ticks since the host did.
    pub(crate) start: u64,
    /// Resident memory, in bytes.
    pub(crate) rss: u64,
    /// Its command line, if it was asked for and can be read.
    pub(crate) command: Option<String>,
    /// Its program, if it was asked for and can be read.
    pub(crate) exe: Option<String>,
    /// The user that it acts as, if that was asked for.
    pub(crate) user: Option<u32>,
    /// Its open descriptors, if they were asked for and can be read.
    pub(crate) descriptors: Option<u64>,
}

/// What is wanted besides what all processes show cheaply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Command,
    Exe,
    User,
    Descriptors,
}

/// All processes at one time.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) processes: Vec<Process>,
    /// How many may not be looked at (`hidepid`).
    pub(crate) hidden: usize,
    /// When this was, in ticks since the host began.
    pub(crate) now: u64,
}

impl Snapshot {
    /// How long a process has run, in seconds.
    pub(crate) fn age(&self, process: &Process) -> f64 {
        seconds(self.now.saturating_sub(process.start))
    }

    /// What a process has, for a person.
    pub(crate) fn describe(&self, process: &Process) -> String {
        let rss = human(process.rss as f64, &Unit::BYTES);
        format!("{rss}, started {} ago", human(self.age(process), &Unit::SECONDS))
    }
}

/// So many processes, those with the most memory first.
pub(crate) fn biggest<'p>(processes: impl IntoIterator<Item = &'p Process>, most: usize) -> Vec<&'p Process> {
    let mut processes: Vec<&Process> = processes.into_iter().collect();
    order::sort_by_key(&mut processes, |process| std::cmp::Reverse(process.rss));
    processes.truncate(most);
    processes
}

/// How a process is called in texts: its name, harmless, and its number.
pub(crate) fn label(process: &Process) -> String {
    format!("{}[{}]", escape_controls(&process.name), process.pid)
}

/// Ticks as seconds.
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// How long the host is up, in seconds.
pub(crate) fn uptime(sysroot: &Path) -> Result<f64, CheckError> {
    const UPTIME: &str = "/proc/uptime";
    let text = host::read(sysroot, UPTIME)?;
    let number = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    number
        .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| host::malformed(UPTIME, "it does not begin with a number"))
}

/// The time by which the starts of processes are counted, in ticks. In a container of LXC `/proc/uptime` says something else, namely how
/// long the container is up.
fn now(sysroot: &Path) -> Result<u64, CheckError> {
    let seconds = if sysroot == Path::new("/") {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    } else {
        uptime(sysroot)?
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, the number is not negative"
    )]
    let ticks = (seconds * rustix::param::clock_ticks_per_second() as f64) as u64;
    Ok(ticks)
}

/// Which start of the host this is; empty where the kernel does not say.
pub(crate) fn boot_id(sysroot: &Path) -> String {
    let id = host::read_if_exists(sysroot, "/proc/sys/kernel/random/boot_id").ok().flatten().unwrap_or_default();
    id.trim().to_owned()
}

/// All processes, without details; if names are given, those whose name fits one of these globs, as far as the kernel shows it.
pub(crate) async fn list(
    context: &Context<'_>,
    deadline: Deadline,
    names: Option<&[String]>,
) -> Result<Snapshot, CheckError> {
    let (sysroot, names) = (context.sysroot.to_owned(), names.map(<[String]>::to_vec));
    let key = host::under(&sysroot, Path::new("/proc")).to_string_lossy().into_owned();
    match PROC.call(&key, deadline.left(), move || read_all(&sysroot, names.as_deref())).await {
        Ok(answer) => answer,
        Err(why) => Err(CheckError::Unable(format!("listing the processes in `/proc`: it {why}"))),
    }
}

fn read_all(sysroot: &Path, names: Option<&[String]>) -> Result<Snapshot, CheckError> {
    let unable =
        |error: Errno| CheckError::Unable(format!("listing the processes in `/proc`: {}", io_text(&error.into())));
    let path = host::under(sysroot, Path::new("/proc"));
    let proc = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let proc = proc.map_err(unable)?;
    let page = rustix::param::page_size() as u64;
    let mut snapshot = Snapshot::default();
    let (mut name, mut line) = (Vec::with_capacity(64), vec![0; MAX_STAT]);
    let mut files = names.map(|_| NameFiles::take(sysroot));
    let mut entries = Vec::with_capacity(MAX_ENTRIES);
    let mut entries = rustix::fs::RawDir::new(&proc, entries.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(unable)?;
        let pid = entry.file_name().to_bytes();
        if !pid.iter().all(u8::is_ascii_digit) {
            continue;
        }
        name.clear();
        name.extend_from_slice(pid);
        // What all of `stat` costs the kernel is asked for those only who are meant. Where nothing says the name, `stat` does.
        if let (Some(globs), Some(files)) = (names, &mut files) {
            match files.read(&proc, &mut name, &mut line) {
                Ok(length)
                    if !line
                        .get(..length)
                        .is_some_and(|name| may_fit(globs, name.strip_suffix(b"\n").unwrap_or(name))) =>
                {
                    continue;
                }
                Ok(_) | Err(_) => {}
            }
        }
        name.extend_from_slice(b"/stat");
        match read_line(&proc, &name, &mut line) {
            Ok(length) => {
                let process = line.get(..length).and_then(|line| parse_stat(line, page));
                // It may execute another program since.
                let is_meant = |process: &Process| names.is_none_or(|globs| may_fit(globs, process.name.as_bytes()));
                snapshot.processes.extend(process.filter(is_meant));
            }
            Err(Errno::ACCESS | Errno::PERM) => snapshot.hidden += 1,
            // It has ended since it was listed.
            Err(_) => {}
        }
    }
    if let Some(files) = files {
        files.keep();
    }
    order::sort_by_key(&mut snapshot.processes, |process| process.pid);
    // Where another `sysroot` has an uptime of its own, processes began "later" than now.
    let newest = snapshot.processes.iter().map(|process| process.start).max().unwrap_or(0);
    let now = now(sysroot)?;
    snapshot.now = now.max(newest);
    Ok(snapshot)
}

/// Reads a file that the kernel gives in one piece, into a buffer that is longer; says how long it is. A second `read` that proves the
/// end, and clearing the buffer, would be a fifth of what a process costs.
fn read_line(directory: impl AsFd, path: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
    let file = openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    loop {
        match rustix::io::read(&file, &mut *buffer) {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}

/// At most `max` bytes of a file, into a buffer that is used again.
fn read_file(directory: impl AsFd, path: String, max: usize, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    let file: OwnedFd = openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    buffer.clear();
    buffer.resize(max.min(1024), 0);
    let mut length = 0;
    loop {
        match rustix::io::read(&file, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if length == buffer.len() {
            if length >= max {
                break;
            }
            buffer.resize((length * 2).min(max), 0);
        }
    }
    buffer.truncate(length);
    Ok(())
}

/// Reads `/proc/PID/stat` (`proc_pid_stat(5)`). The name stands in brackets and may hold brackets, blanks and newlines itself, so what
/// follows is behind the last bracket.
fn parse_stat(bytes: &[u8], page: u64) -> Option<Process> {
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let pid = Words { rest: bytes.get(..open)?, next: 1 }.number(1)?;
    let name = bytes.get(open + 1..close)?;
    let mut words = Words { rest: bytes.get(close + 1..)?, next: 3 };
    let state = *words.word(3)?.first().filter(|letter| letter.is_ascii())?;
    let small = |number: u64| u32::try_from(number).ok();
    let (parent, session, flags) = (words.number(4)?, words.number(6)?, words.number(9)?);
    let (user, system) = (words.number(14)?, words.number(15)?);
    let (threads, start) = (words.number(20)?, words.number(22)?);
    let pages = words.number(24).unwrap_or(0);
    Some(Process {
        pid: small(pid)?,
        name: String::from_utf8_lossy(name).into_owned(),
        state: char::from(state),
        parent: small(parent)?,
        session: small(session)?,
        is_kernel: flags & KERNEL_THREAD != 0,
        ticks: user.saturating_add(system),
        threads,
        start,
        rss: pages.saturating_mul(page),
        ..Process::default()
    })
}

/// The words of a line by their number in the manual. They are looked at as bytes, and those that nobody asks for are passed over: this
/// is done for each process of the host.
struct Words<'a> {
    rest: &'a [u8],
    /// The number of the next one.
    next: usize,
}

impl<'a> Words<'a> {
    fn word(&mut self, wanted: usize) -> Option<&'a [u8]> {
        loop {
            let start = self.rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
            let rest = self.rest.get(start..)?;
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            let (word, rest) = rest.split_at(end);
            self.rest = rest;
            self.next += 1;
            if self.next > wanted {
                return Some(word);
            }
        }
    }

    fn number(&mut self, wanted: usize) -> Option<u64> {
        self.word(wanted)?.iter().try_fold(0_u64, |number, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            number.checked_mul(10)?.checked_add(u64::from(digit))
        })
    }
}

/// CPU times by process, to be compared with later ones.
pub(crate) type Times = BTreeMap<(u32, u64), u64>;

/// The ticks that a process used since `then`: all that it has if it began later; none if it was there and is not known.
pub(crate) fn used_since(process: &Process, times: &Times, then: u64) -> u64 {
    match times.get(&(process.pid, process.start)) {
        Some(ticks) => process.ticks.saturating_sub(*ticks),
        None if process.start >= then => process.ticks,
        None => 0,
    }
}

/// The names of users, of `/etc/passwd` below `sysroot`: by number.
pub(crate) fn users(sysroot: &Path) -> BTreeMap<u32, String> {
    let text = host::read_if_exists(sysroot, "/etc/passwd").ok().flatten().unwrap_or_default();
    let mut users = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(':');
        if let (Some(name), Some(number)) = (words.next(), words.nth(1).and_then(|number| number.parse().ok())) {
            users.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::details::{complete_name, effective_user, join_arguments};
    use super::*;

    const NGINX: &str = "812 (nginx) S 1 812 812 0 -1 4194624 8 0 0 0 250 50 0 0 20 0 3 0 5000 12345 100 1844 1 1 0";

    #[test]
    fn names_may_hold_anything() {
        for name in ["nginx", "a) R 1 (", "sleep\n", "with blank", "(sd-pam)", ")", "", "\u{fc}"] {
            let line = NGINX.replace("(nginx)", &format!("({name})"));
            let process = parse_stat(line.as_bytes(), 4096).unwrap();
            assert_eq!(process.name, name);
            assert_eq!((process.pid, process.state, process.parent, process.session), (812, 'S', 1, 812));
            assert_eq!((process.ticks, process.threads, process.start, process.rss), (300, 3, 5000, 409_600));
        }
    }

    #[test]
    fn cut_names_are_completed() {
        for (arguments, full) in [
            ("/lib/systemd/systemd-journald\0-x\0", Some("systemd-journald")),
            ("/usr/bin/python3\0/usr/bin/systemd-journal-gatewayd\0", Some("systemd-journal-gatewayd")),
            ("something: else\0", None),
            ("", None),
        ] {
            assert_eq!(complete_name("systemd-journal", arguments.as_bytes()).as_deref(), full, "{arguments:?}");
        }
    }

    #[test]
    fn time_counts_since_the_last_look_or_the_start() {
        let process = |pid, start, ticks| Process { pid, ticks, start, ..Process::default() };
        let times = Times::from([((1, 5), 100)]);
        assert_eq!(used_since(&process(1, 5, 130), &times, 1_000), 30);
        assert_eq!(used_since(&process(1, 5, 90), &times, 1_000), 0, "it cannot go backwards");
        assert_eq!(used_since(&process(1, 1_200, 7), &times, 1_000), 7, "another one with the same number");
        assert_eq!(used_since(&process(2, 5, 700), &times, 1_000), 0, "nobody remembers it");
    }

    #[test]
    fn fuzzed_files_of_a_process() {
        crate::fuzz::on_bytes("proc_stat", |bytes| {
            if let Some(process) = parse_stat(bytes, 4096) {
                let text = String::from_utf8_lossy(bytes);
                assert!(text.contains(&process.name) && text.contains(process.state), "{process:?}");
            }
            if let Some(name) = complete_name("systemd-journal", bytes) {
                assert!(name.starts_with("systemd-journal") && name.len() <= bytes.len());
            }
            assert!(!join_arguments(bytes).contains('\0'));
            let _ = effective_user(bytes);
        });
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..100) {
            let _ = parse_stat(&bytes, 4096);
            let _ = parse_stat(&NGINX.as_bytes()[..cut.min(NGINX.len())], 4096);
            let _ = (join_arguments(&bytes), effective_user(&bytes), complete_name("x", &bytes));
        }
    }
}
