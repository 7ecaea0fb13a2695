//! What `/proc` says about processes, and signals that cannot hit the wrong one.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

/// How much of an environment is searched for the mark. The kernel allows more, no program that we start has it.
const MAX_ENVIRONMENT: u64 = 1024 * 1024;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// Its number.
    pub pid: i32,
    /// When it began, in clock ticks since the host started.
    pub began: u64,
}

/// What we need of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `Z` for a zombie, `D` for one that hangs in the kernel.
    pub state: u8,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// When it began, in clock ticks since the host started.
    pub began: u64,
}

impl Stat {
    /// Whether it has ended: a zombie holds nothing but its number.
    pub(crate) fn ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Whether a signal stopped it.
    pub(crate) fn stopped(&self) -> bool {
        self.state == b'T'
    }
}

/// Reads `/proc/PID/stat`; nothing if there is no such process.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    // The name of a program is the only part that can be long or hostile, and the kernel cuts it at 16 bytes (64 for its own).
    let mut buffer = [0_u8; 1024];
    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let read = file.read(&mut buffer).ok()?;
    parse_stat(buffer.get(..read)?)
}

/// The name stands in parentheses and may itself hold blanks and parentheses: the fields begin after the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // From the session (field 6 of proc_pid_stat(5)) to the start time (field 22).
    let began = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, parent, group, session, began })
}

/// The process with this number, if it is alive (a zombie is not).
pub(crate) fn living(pid: i32) -> Option<Process> {
    let stat = stat(pid)?;
    (!stat.ended()).then_some(Process { pid, began: stat.began })
}

/// The numbers of all processes.
pub(crate) fn all() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The environment that a process was started with. Nothing if it is gone or not ours to look at. Empty also while a program is being loaded.
pub(crate) fn environment(pid: i32) -> Option<Vec<u8>> {
    let mut environment = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(MAX_ENVIRONMENT).read_to_end(&mut environment).ok()?;
    Some(environment)
}

/// The value of a variable in an environment.
pub(crate) fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Whether a process shows the arguments that it was started with.
pub(crate) fn has_arguments(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|bytes| !bytes.is_empty())
}

/// Whether this kernel lists the children of a thread (`CONFIG_PROC_CHILDREN`).
pub(crate) fn lists_children() -> bool {
    fs::metadata("/proc/thread-self/children").is_ok()
}

/// Reads a list of numbers, as the kernel writes children.
pub(crate) fn parse_pids(bytes: &[u8]) -> impl Iterator<Item = i32> {
    bytes.split(u8::is_ascii_whitespace).filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok())
}

fn children(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        if let Ok(bytes) = fs::read(thread.path().join("children")) {
            found.extend(parse_pids(&bytes));
        }
    }
    found
}

/// All living processes with their living parents, by reading all of `/proc`.
fn all_children() -> HashMap<i32, Vec<i32>> {
    let mut found: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in all() {
        if let Some(stat) = stat(pid) {
            found.entry(stat.parent).or_default().push(pid);
        }
    }
    found
}

/// The living among the given processes and all that descend from them.
pub(crate) fn trees(roots: &[i32], lists_children: bool) -> Vec<Process> {
    if roots.is_empty() {
        return Vec::new();
    }
    let table = if lists_children { HashMap::new() } else { all_children() };
    let mut queue = roots.to_vec();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    while let Some(pid) = queue.pop() {
        // Processes come, go and change their parents while we look: one may show up twice.
        if !seen.insert(pid) {
            continue;
        }
        if let Some(process) = living(pid) {
            found.push(process);
        }
        // A zombie whose other threads live on can have children, so it is not skipped.
        queue.extend(if lists_children { children(pid) } else { table.get(&pid).cloned().unwrap_or_default() });
    }
    found
}

/// Signals a process; false if it is not there any more or may not be signalled. The pidfd is opened before the start time is
/// compared: from then on the signal can only reach the process that was compared.
pub(crate) fn signal(process: Process, signal: Signal) -> bool {
    let Some(fd) = Pid::from_raw(process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return false;
    };
    stat(process.pid).is_some_and(|stat| stat.began == process.began) && pidfd_send_signal(fd, signal).is_ok()
}

/// Takes the end of a child that has ended, so that no zombie is left (R5). False if it lives.
pub(crate) fn reap(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(ended) => ended.is_some(),
        // Not our child any more: somebody took it already.
        Err(_) => true,
    }
}

/// How much more willingly than a process of the same size the kernel kills a program when memory runs out (R61).
const OOM_SCORE_ADJ: &str = "500";
/// How many processes of a run are told so. A program that has more by then has spread its memory over them.
const MOST_EXPOSED: usize = 64;

/// Whether programs have to be told that the kernel may kill them first: they are born with our own value.
pub(crate) fn is_spared_by_oom() -> bool {
    let value = |text: &str| text.trim().parse::<i32>().ok();
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| value(&text));
    own < value(OOM_SCORE_ADJ)
}

/// Tells the kernel to kill a process and its children before others. Fails for those that have another user's rights, which is
/// their business. Looks no further than needed: every run that takes a while pays for this.
pub(crate) fn expose_to_oom(pid: i32) {
    let mut queue = vec![pid];
    let mut buffer = [0_u8; 4096];
    for _ in 0..MOST_EXPOSED {
        let Some(pid) = queue.pop() else { return };
        let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE_ADJ);
        let listed = File::open(format!("/proc/{pid}/task/{pid}/children")).and_then(|mut file| file.read(&mut buffer));
        queue.extend(parse_pids(buffer.get(..listed.unwrap_or_default()).unwrap_or_default()));
    }
}

/// Whether the kernel reaps our children by itself, since SIGCHLD (17) is ignored: then exit statuses are lost.
pub(crate) fn ignores_sigchld() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    signals(&status, "SigIgn").is_some_and(|mask| mask & (1 << 16) != 0)
}

/// A set of signals in `/proc/PID/status`; bit 0 is signal 1.
fn signals(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// What the daemon was started with and hands on to its programs against R10, each as a sentence.
pub(crate) fn inherited_flaws() -> Vec<String> {
    let mut flaws = Vec::new();
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    if let Some(blocked) = signals(&status, "SigBlk").filter(|mask| *mask != 0) {
        flaws.push(format!("signals are blocked (mask {blocked:x})"));
    }
    // SIGPIPE (13) is ignored by every Rust program, and set back for the programs that it starts. 32 and 33 belong to the C library,
    // which leaves them ignored in what it spawns.
    let ours = 1 << 12 | 1 << 31 | 1 << 32;
    if let Some(ignored) = signals(&status, "SigIgn").map(|mask| mask & !ours).filter(|mask| *mask != 0) {
        flaws.push(format!("signals are ignored (mask {ignored:x})"));
    }
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let number: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| *number > 2)
            && !closes_on_exec(number)
        {
            let what = fs::read_link(entry.path()).unwrap_or_default();
            let what = String::from_utf8_lossy(what.as_os_str().as_bytes()).into_owned();
            flaws.push(format!("descriptor {number} ({what}) stays open in them"));
        }
    }
    flaws
}

fn closes_on_exec(descriptor: u32) -> bool {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    // One that is gone already (the directory that is being read) reaches nobody.
    flags.is_none_or(|flags| flags & O_CLOEXEC != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_do_not_shift_the_fields() {
        let line = b"77 (a) Z 1 (b) S 5 6 7 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 424242 1000 2 18446744073709551615";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat, Stat { state: b'S', parent: 5, group: 6, session: 7, began: 424_242 });
        assert_eq!(parse_stat(b"77 (x"), None);
        assert_eq!(parse_stat(b"77 (x) S 1 2"), None);
    }

    #[test]
    fn a_process_is_found_with_its_parent() {
        let me = i32::try_from(std::process::id()).unwrap();
        let stat = stat(me).unwrap();
        assert!(!stat.ended());
        assert!(trees(&[stat.parent], lists_children()).iter().any(|process| process.pid == me));
        assert!(trees(&[stat.parent], false).iter().any(|process| process.pid == me));
        assert!(all().any(|pid| pid == me));
    }

    #[test]
    fn another_process_with_the_same_number_is_not_signalled() {
        let me = living(i32::try_from(std::process::id()).unwrap()).unwrap();
        // The signal would end this test.
        assert!(!signal(Process { began: me.began + 1, ..me }, Signal::KILL));
    }

    #[test]
    fn lists_of_numbers_are_read() {
        assert_eq!(parse_pids(b"1 22 333 \n").collect::<Vec<_>>(), [1, 22, 333]);
        assert_eq!(parse_pids(b"").count(), 0);
    }
}
