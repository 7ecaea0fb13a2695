//! The processes of the host, as `/proc` shows them: read fast, and so that neither a process that ends meanwhile nor one whose files
//! hang does any harm (R75).

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monchero_core::CheckError;
use monchero_core::check::Context;
use monchero_core::order;
use monchero_core::quantity::{Unit, human};
use monchero_core::text::escape_controls;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use tokio::time::timeout;

use crate::blocking::Blocking;
use crate::host;
use crate::net::{Deadline, io_text};
use names::{NameFiles, may_fit};

/// Listing and reading need a few KiB of stack.
static PROC: Blocking = Blocking::new("monchero-proc", 128 * 1024);

/// The files of processes whose reading hangs: each costs a thread, so none is read twice.
static STUCK: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The number of the next call.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// The longest command line that is kept, in bytes: classpaths of Java are long, and this is looked at for each process.
const MAX_COMMAND: usize = 16 * 1024;
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

/// How far a thread is with its processes.
#[derive(Default)]
struct Progress {
    done: Vec<Process>,
    /// Which one it reads.
    at: Option<u32>,
    /// Nobody waits for it any more.
    given_up: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Completes names that the kernel has cut, and reads what else is wanted. What cannot be read stays unknown; a process that has ended
/// is left out. A command line can hang, because reading it needs the memory of the process: such a process is given up and the rest is read by
/// another thread. The answer is the processes that are left, and those that hang.
pub(crate) async fn details(
    context: &Context<'_>,
    deadline: Deadline,
    processes: Vec<Process>,
    wanted: &[Detail],
) -> Result<(Vec<Process>, Vec<Process>), CheckError> {
    let proc = host::under(context.sysroot, Path::new("/proc"));
    let is_cheap = |process: &Process| wanted.is_empty() && !is_cut(process);
    let (mut done, mut rest): (Vec<_>, Vec<_>) = processes.into_iter().partition(is_cheap);
    let mut hung = Vec::new();
    let stuck = lock(&STUCK).clone();
    if !stuck.is_empty() {
        hung.extend(rest.extract_if(.., |process| stuck.contains(&proc.join(process.pid.to_string()))));
    }
    while !rest.is_empty() {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let is_finished = read_details(&proc, &rest, wanted, &progress, deadline).await?;
        let mut progress = lock(&progress);
        let read: BTreeSet<u32> = order::tree(progress.done.iter().map(|process| process.pid));
        done.append(&mut progress.done);
        if is_finished {
            break;
        }
        progress.given_up = true;
        if let Some(at) = progress.at {
            lock(&STUCK).insert(proc.join(at.to_string()));
            hung.extend(rest.extract_if(.., |process| process.pid == at));
        }
        rest.retain(|process| !read.contains(&process.pid));
    }
    order::sort_by_key(&mut done, |process| process.pid);
    Ok((done, hung))
}

/// Reads details on a thread; says whether it came to the end.
async fn read_details(
    proc: &Path,
    processes: &[Process],
    wanted: &[Detail],
    progress: &Arc<Mutex<Progress>>,
    deadline: Deadline,
) -> Result<bool, CheckError> {
    // How long one process may take; reading one takes microseconds.
    let patience = Duration::from_secs(1).min(deadline.left() / 4);
    // A key of its own: that others hang does not mean that this one does.
    let key = format!("{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let (proc, processes, shared) = (proc.to_owned(), processes.to_owned(), Arc::clone(progress));
    let wanted = wanted.to_owned();
    let mut call = std::pin::pin!(PROC.call(&key, deadline.left(), move || work(&proc, processes, &wanted, &shared)));
    let mut last = None;
    loop {
        match timeout(patience, &mut call).await {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(why)) => return Err(CheckError::Unable(format!("reading the processes in `/proc`: it {why}"))),
            Err(_) => {
                let at = lock(progress).at;
                if at.is_some() && at == last {
                    return Ok(false);
                }
                last = at;
            }
        }
    }
}

/// The work of the thread.
fn work(proc: &Path, processes: Vec<Process>, wanted: &[Detail], progress: &Mutex<Progress>) {
    for mut process in processes {
        {
            let mut progress = lock(progress);
            if progress.given_up {
                return;
            }
            progress.at = Some(process.pid);
        }
        let directory = proc.join(process.pid.to_string());
        let is_there = read_one(&directory, &mut process, wanted);
        let mut progress = lock(progress);
        if progress.given_up {
            lock(&STUCK).remove(&directory);
            return;
        }
        progress.at = None;
        if is_there {
            progress.done.push(process);
        }
    }
}

fn is_cut(process: &Process) -> bool {
    process.name.len() >= CUT_NAME && !process.is_kernel && process.state != 'Z'
}

/// Reads the details of one process; says whether it is still there.
fn read_one(directory: &Path, process: &mut Process, wanted: &[Detail]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(open) = rustix::fs::open(directory, flags, Mode::empty()) else { return false };
    let mut buffer = Vec::new();
    if wanted.contains(&Detail::Command) || is_cut(process) {
        match read_file(&open, "cmdline".to_owned(), MAX_COMMAND, &mut buffer) {
            Ok(()) => {
                if let Some(name) = complete_name(&process.name, &buffer).filter(|_| is_cut(process)) {
                    process.name = name;
                }
                process.command = Some(join_arguments(&buffer)).filter(|command| !command.is_empty());
            }
            Err(Errno::SRCH | Errno::NOENT) => return false,
            // Others' may be hidden.
            Err(_) => {}
        }
    }
    if wanted.contains(&Detail::Exe) {
        let target = rustix::fs::readlinkat(&open, "exe", Vec::new()).ok();
        process.exe = target.map(|target| target.to_string_lossy().into_owned());
    }
    if wanted.contains(&Detail::User) && read_file(&open, "status".to_owned(), 8 * 1024, &mut buffer).is_ok() {
        process.user = effective_user(&buffer);
    }
    if wanted.contains(&Detail::Descriptors) {
        process.descriptors = count_descriptors(&directory.join("fd"));
    }
    true
}

/// The name of which the kernel shows the start only: that of the program or of the script that it runs.
fn complete_name(name: &str, arguments: &[u8]) -> Option<String> {
    let words = arguments.split(|byte| *byte == 0).take(2);
    let mut names = words.filter_map(|word| Path::new(OsStr::from_bytes(word)).file_name()?.to_str());
    names.find(|full| full.starts_with(name)).map(str::to_owned)
}

fn join_arguments(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    text.replace('\0', " ")
}

/// The second number behind `Uid:` (`proc_pid_status(5)`).
fn effective_user(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn count_descriptors(directory: &Path) -> Option<u64> {
    std::fs::read_dir(directory).map(|list| list.count() as u64).ok()
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
