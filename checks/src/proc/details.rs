//! What is read of single processes: command line, program, user, descriptors. That can hang (R75).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monchero_core::CheckError;
use monchero_core::check::Context;
use monchero_core::order;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::time::timeout;

use super::{CUT_NAME, Detail, PROC, Process, read_file};
use crate::host;
use crate::net::Deadline;

/// The files of processes whose reading hangs: each costs a thread, so none is read twice.
static STUCK: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The number of the next call.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// The longest command line that is kept, in bytes: classpaths of Java are long, and this is looked at for each process.
const MAX_COMMAND: usize = 16 * 1024;

/// How far a thread is with its processes.
#[derive(Default)]
struct Progress {
    done: Vec<Process>,
    /// Which one it reads.
    at: Option<u32>,
    /// Nobody waits for it any more.
    given_up: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

pub(super) fn is_cut(process: &Process) -> bool {
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
pub(super) fn complete_name(name: &str, arguments: &[u8]) -> Option<String> {
    let words = arguments.split(|byte| *byte == 0).take(2);
    let mut names = words.filter_map(|word| Path::new(OsStr::from_bytes(word)).file_name()?.to_str());
    names.find(|full| full.starts_with(name)).map(str::to_owned)
}

pub(super) fn join_arguments(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    text.replace('\0', " ")
}

/// The second number behind `Uid:` (`proc_pid_status(5)`).
pub(super) fn effective_user(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn count_descriptors(directory: &Path) -> Option<u64> {
    std::fs::read_dir(directory).map(|list| list.count() as u64).ok()
}
