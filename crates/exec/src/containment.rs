//! Who belongs to which run: the book of runs and of orphans that the daemon has adopted as their subreaper.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::proc::{self, Process};

/// The environment variable by which a program's processes are known, wherever they went.
pub(crate) const MARK: &str = "MONCHERO_RUN";

/// How often the list of children is read again since some of them had ended. They can do so as fast as we look: then the caller tries again.
const LOOKS: u32 = 64;
/// How long a process has neither environment nor arguments before it is taken for one that hides them: in the middle of `execve` the kernel
/// shows neither, and loading a program from a slow disk takes a while.
const LOADING: Duration = Duration::from_secs(1);
/// How long a process has arguments and no environment before it is taken for one that was started without (`env -i`): it may
/// have finished an `execve` between our two looks, or begun another.
const BARE: Duration = Duration::from_millis(20);

/// The number of a run, counted from 1.
pub(crate) type RunId = u64;

/// A run's mark: `INSTANCE-N`, or `INSTANCE+N` if what it leaves in the background may live on, even longer than the daemon.
pub(crate) fn mark(instance: &str, id: RunId, background: bool) -> String {
    format!("{instance}{}{id}", if background { '+' } else { '-' })
}

/// A run that is not over.
struct Entry {
    /// The program that was started. It is not reaped while it is in the book, so its number is its own.
    leader: i32,
    /// Whether what it leaves may live on.
    background: bool,
    /// Whether it was given up as stuck: it is not asked about orphans that nobody else owns.
    stuck: bool,
}

/// To whom an orphan belongs.
enum Owner {
    Run(RunId),
    /// It has no mark and a session of its own: it belongs to one of these runs, which were alive when it was first seen.
    OneOf(Vec<RunId>),
    /// Not known yet: it is being executed, so the kernel shows neither its environment nor its arguments. Since when.
    Unclear(Instant),
    /// It is none of our programs' business, or may live on.
    Nobody,
}

/// What a run left behind.
pub(crate) struct Left {
    /// The orphans that are its own.
    pub pids: Vec<i32>,
    /// Another orphan, of whom it is not known yet whose it is. Asking again in a moment tells.
    pub unclear: Option<i32>,
}

impl Left {
    pub(crate) fn is_nothing(&self) -> bool {
        self.pids.is_empty() && self.unclear.is_none()
    }
}

/// The book. Only the thread of the executor uses it.
pub(crate) struct Containment {
    instance: String,
    listing: Listing,
    runs: HashMap<RunId, Entry>,
    orphans: HashMap<i32, Owner>,
    /// Descendants that were seen below a run before they became orphans.
    kin: HashMap<Process, RunId>,
    /// Children that are not orphans: the guard.
    others: HashSet<i32>,
    /// Whether orphans can turn up that none of our programs started: we are the first process of a container (`docker exec` leaves
    /// such), or had children before we began (a shell that exec'd us). Then one without a mark is left alone.
    strangers: bool,
}

impl Containment {
    /// Opens the book. Children that the process has by now are left alone for ever.
    pub(crate) fn new(instance: String, scan: bool) -> io::Result<Self> {
        let listing = if scan || !proc::lists_children() { Listing::Scan } else { Listing::open()? };
        let orphans: HashMap<i32, Owner> = listing.read().into_iter().map(|pid| (pid, Owner::Nobody)).collect();
        let strangers = std::process::id() == 1 || !orphans.is_empty();
        Ok(Self {
            instance,
            listing,
            runs: HashMap::new(),
            orphans,
            kin: HashMap::new(),
            others: HashSet::new(),
            strangers,
        })
    }

    /// How children are found.
    pub(crate) fn describe(&self) -> &'static str {
        match self.listing {
            Listing::File(_) => "subreaper",
            Listing::Scan => "subreaper (scanning)",
        }
    }

    /// Whether the kernel lists children.
    pub(crate) fn lists_children(&self) -> bool {
        matches!(self.listing, Listing::File(_))
    }

    /// A run has begun.
    pub(crate) fn begin(&mut self, id: RunId, leader: i32, background: bool) {
        self.runs.insert(id, Entry { leader, background, stuck: false });
    }

    /// A child that is no orphan.
    pub(crate) fn except(&mut self, pid: i32) {
        self.others.insert(pid);
    }

    /// A child that was no orphan has been reaped.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.others.remove(&pid);
    }

    /// The orphans of a run that still live. Zombies among them are reaped.
    pub(crate) fn left_by(&mut self, id: RunId) -> Left {
        let mut left = Left { pids: Vec::new(), unclear: self.look(false) };
        for (pid, owner) in &self.orphans {
            match owner {
                Owner::Run(run) if *run == id => left.pids.push(*pid),
                Owner::Unclear(_) => left.unclear = Some(*pid),
                Owner::Run(_) | Owner::OneOf(_) | Owner::Nobody => {}
            }
        }
        left
    }

    /// Descendants of a run that are about to be signalled: when they become orphans, their owner is known.
    pub(crate) fn remember(&mut self, id: RunId, processes: &[Process]) {
        self.kin.extend(processes.iter().map(|process| (*process, id)));
    }

    /// A run could not be ended. It stays in the book, but nobody's orphans are its any more.
    pub(crate) fn give_up(&mut self, id: RunId) {
        if let Some(entry) = self.runs.get_mut(&id) {
            entry.stuck = true;
        }
        self.disown(id, false);
    }

    /// A run is over; its leader may be reaped now.
    pub(crate) fn end(&mut self, id: RunId) {
        let background = self.runs.remove(&id).is_some_and(|entry| entry.background);
        if !self.kin.is_empty() {
            self.kin.retain(|_, owner| *owner != id);
        }
        self.disown(id, background);
    }

    fn disown(&mut self, id: RunId, background: bool) {
        for owner in self.orphans.values_mut() {
            match owner {
                Owner::Run(run) if *run == id && background => *owner = Owner::Nobody,
                // It may be the one that was allowed to stay.
                Owner::OneOf(runs) if runs.contains(&id) && background => *owner = Owner::Nobody,
                Owner::OneOf(runs) => {
                    runs.retain(|run| *run != id);
                    // Only one is left that it can belong to: that run ends it when it ends itself.
                    if let [last] = runs[..] {
                        *owner = Owner::Run(last);
                    }
                }
                Owner::Run(_) | Owner::Unclear(_) | Owner::Nobody => {}
            }
        }
    }

    /// Looks although no run ends: what may live on is reaped when it has ended, and what was missed is found. Not by reading all of
    /// `/proc` for nothing.
    pub(crate) fn look_around(&mut self) {
        if self.lists_children() || self.strangers || !self.orphans.is_empty() {
            self.look(true);
        }
    }

    /// Looks at the children that were adopted: new ones get an owner, those that have ended are reaped. With `all`, also those
    /// that may live on, of which there can be many. Returns one if there may be more than was seen.
    fn look(&mut self, all: bool) -> Option<i32> {
        let mut reaped = None;
        for _ in 0..LOOKS {
            // Whoever had ended may have left children after the list was read.
            reaped = self.look_once(all);
            if reaped.is_none() {
                break;
            }
        }
        reaped
    }

    /// Returns one that had ended.
    fn look_once(&mut self, all: bool) -> Option<i32> {
        let mut present = self.listing.read();
        if !self.lists_children() {
            let runs = &self.runs;
            let others = &self.others;
            present.retain(|pid| !others.contains(pid) && runs.values().all(|run| run.leader != *pid));
        }
        if present.is_empty() {
            self.orphans.clear();
            return None;
        }
        // What was allowed to stay can leave orphans of its own. Judged before it is reaped.
        let strangers = self.strangers || self.orphans.values().any(|owner| matches!(owner, Owner::Nobody));
        let present: HashSet<i32> = present.into_iter().collect();
        self.orphans.retain(|pid, _| present.contains(pid));
        let mut reaped = None;
        for pid in present {
            let known = self.orphans.get(&pid);
            if matches!(known, Some(Owner::Nobody)) && !all {
                continue;
            }
            if proc::reap(pid) {
                self.orphans.remove(&pid);
                reaped = Some(pid);
                continue;
            }
            let since = match known {
                Some(Owner::Unclear(since)) => *since,
                Some(_) => continue,
                None => Instant::now(),
            };
            match self.owner(pid, since, strangers) {
                Some(owner) => self.orphans.insert(pid, owner),
                None => self.orphans.remove(&pid),
            };
        }
        reaped
    }

    /// By group or session of a living run, by having been seen below it, by its mark, or by being the only one it can belong to. Nothing
    /// for what another executor of this process looks after, and may reap at any time.
    fn owner(&self, pid: i32, since: Instant, strangers: bool) -> Option<Owner> {
        let stat = proc::stat(pid)?;
        let by_number = self.runs.iter().find(|(_, run)| run.leader == stat.group || run.leader == stat.session);
        if let Some((id, _)) = by_number {
            return Some(Owner::Run(*id));
        }
        if let Some(id) = self.kin.get(&Process { pid, began: stat.began }) {
            return Some(Owner::Run(*id));
        }
        match proc::environment(pid) {
            Some(environment) if environment.is_empty() => {
                let patience = if proc::has_arguments(pid) { BARE } else { LOADING };
                if since.elapsed() < patience {
                    return Some(Owner::Unclear(since));
                }
            }
            Some(environment) => {
                if let Some(mark) = proc::variable(&environment, MARK) {
                    return self.owner_by_mark(pid, mark);
                }
            }
            None => {}
        }
        if strangers {
            return Some(Owner::Nobody);
        }
        let runs: Vec<RunId> = self.runs.iter().filter(|(_, run)| !run.stuck).map(|(id, _)| *id).collect();
        Some(match runs[..] {
            // Its run is over and nothing of it was to stay.
            [] => {
                end(pid);
                Owner::Nobody
            }
            [only] => Owner::Run(only),
            _ => Owner::OneOf(runs),
        })
    }

    fn owner_by_mark(&self, pid: i32, mark: &[u8]) -> Option<Owner> {
        let rest = std::str::from_utf8(mark).ok()?.strip_prefix(&self.instance)?;
        let id = rest.get(1..)?.parse().ok()?;
        if self.runs.contains_key(&id) {
            return Some(Owner::Run(id));
        }
        if rest.starts_with('-') {
            // Its run is over: it was forked off while the last of the run was being killed.
            end(pid);
        }
        Some(Owner::Nobody)
    }
}

fn end(pid: i32) {
    if let Some(process) = proc::living(pid) {
        proc::signal(process, rustix::process::Signal::KILL);
    }
}

/// How the children that were adopted are found.
enum Listing {
    /// The children of our main thread, which adopts all orphans: the kernel gives an orphan to the first living thread of the nearest
    /// subreaper, and programs are started by another thread. The file stays open: reading it is one system call.
    File(File),
    /// This kernel has no such file: all of `/proc` is read.
    Scan,
}

impl Listing {
    fn open() -> io::Result<Self> {
        let me = std::process::id();
        Ok(Self::File(File::open(format!("/proc/self/task/{me}/children"))?))
    }

    fn read(&self) -> Vec<i32> {
        match self {
            Self::File(file) => {
                let mut pids = read_children(file);
                if !pids.is_empty() {
                    // The kernel goes on at the same place of its list, which has moved if somebody else has reaped one meanwhile: then
                    // one is skipped. That a list is empty is always true.
                    pids.extend(read_children(file));
                }
                pids
            }
            Self::Scan => {
                let me = i32::try_from(std::process::id()).unwrap_or_default();
                proc::all().filter(|pid| proc::stat(*pid).is_some_and(|stat| stat.parent == me)).collect()
            }
        }
    }
}

fn read_children(file: &File) -> Vec<i32> {
    let mut bytes = [0_u8; 4096];
    let mut text = Vec::new();
    // The kernel hands out at most a page at a time, and nothing at the end.
    while let Ok(read @ 1..) = file.read_at(&mut bytes, text.len() as u64) {
        text.extend_from_slice(bytes.get(..read).unwrap_or_default());
    }
    proc::parse_pids(&text).collect()
}
