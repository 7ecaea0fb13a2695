//! Who belongs to which run: the book of runs and of orphans that the daemon has adopted as their subreaper.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::proc::{self, Process};

/// The environment variable by which a program's processes are known, wherever they went.
pub(crate) const MARK: &str = "MONCHERO_RUN";

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
    /// It is none of our programs' business, or may live on.
    Nobody,
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
        let mut listing = if scan || !proc::lists_children() { Listing::Scan } else { Listing::open()? };
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

    /// What the book has to say about a run: the orphans that it left and that still live. Zombies among them are reaped.
    pub(crate) fn left_by(&mut self, id: RunId) -> Vec<i32> {
        self.look(false);
        let of_run = |owner: &Owner| match owner {
            Owner::Run(run) => *run == id,
            Owner::OneOf(_) | Owner::Nobody => false,
        };
        self.orphans.iter().filter(|(_, owner)| of_run(owner)).map(|(pid, _)| *pid).collect()
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
                Owner::Run(_) | Owner::Nobody => {}
            }
        }
    }

    /// Whether there is somebody to look after although no run ends.
    pub(crate) fn has_orphans(&self) -> bool {
        std::process::id() == 1 || !self.orphans.is_empty()
    }

    /// Looks at the children that were adopted: new ones get an owner, those that have ended are reaped. With `all`, also those
    /// that may live on, of which there can be many.
    pub(crate) fn look(&mut self, all: bool) {
        let mut present = self.listing.read();
        if !self.lists_children() {
            let runs = &self.runs;
            let others = &self.others;
            present.retain(|pid| !others.contains(pid) && runs.values().all(|run| run.leader != *pid));
        }
        if present.is_empty() {
            self.orphans.clear();
            return;
        }
        // What was allowed to stay can leave orphans of its own. Judged before it is reaped.
        let strangers = self.strangers || self.orphans.values().any(|owner| matches!(owner, Owner::Nobody));
        let present: HashSet<i32> = present.into_iter().collect();
        self.orphans.retain(|pid, owner| {
            present.contains(pid) && (matches!(owner, Owner::Nobody) && !all || !proc::reap(*pid))
        });
        for pid in present {
            if !self.orphans.contains_key(&pid) && !proc::reap(pid) {
                let owner = self.owner(pid, strangers);
                self.orphans.insert(pid, owner);
            }
        }
    }

    /// By group or session of a living run, by having been seen below it, by its mark, or by being the only one it can belong to.
    fn owner(&self, pid: i32, strangers: bool) -> Owner {
        let Some(stat) = proc::stat(pid) else { return Owner::Nobody };
        let by_number = self.runs.iter().find(|(_, run)| run.leader == stat.group || run.leader == stat.session);
        if let Some((id, _)) = by_number {
            return Owner::Run(*id);
        }
        if let Some(id) = self.kin.get(&Process { pid, began: stat.began }) {
            return Owner::Run(*id);
        }
        if let Some(mark) = proc::variable(pid, MARK).and_then(|mark| String::from_utf8(mark).ok()) {
            return self.owner_by_mark(pid, &mark);
        }
        if strangers {
            return Owner::Nobody;
        }
        let runs: Vec<RunId> = self.runs.iter().filter(|(_, run)| !run.stuck).map(|(id, _)| *id).collect();
        match runs[..] {
            // Its run is over and nothing of it was to stay.
            [] => {
                end(pid);
                Owner::Nobody
            }
            [only] => Owner::Run(only),
            _ => Owner::OneOf(runs),
        }
    }

    fn owner_by_mark(&self, pid: i32, mark: &str) -> Owner {
        let Some(rest) = mark.strip_prefix(&self.instance) else { return Owner::Nobody };
        let Some(id) = rest.get(1..).and_then(|id| id.parse().ok()) else { return Owner::Nobody };
        if self.runs.contains_key(&id) {
            return Owner::Run(id);
        }
        if rest.starts_with('-') {
            // Its run is over: it was forked off while the last of the run was being killed.
            end(pid);
        }
        Owner::Nobody
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

    fn read(&mut self) -> Vec<i32> {
        match self {
            Self::File(file) => {
                let mut bytes = [0_u8; 4096];
                let mut text = Vec::new();
                // The kernel hands out at most a page at a time, and nothing at the end.
                while let Ok(read @ 1..) = file.read_at(&mut bytes, text.len() as u64) {
                    text.extend_from_slice(bytes.get(..read).unwrap_or_default());
                }
                proc::parse_pids(&text).collect()
            }
            Self::Scan => {
                let me = i32::try_from(std::process::id()).unwrap_or_default();
                proc::all().filter(|pid| proc::stat(*pid).is_some_and(|stat| stat.parent == me)).collect()
            }
        }
    }
}
