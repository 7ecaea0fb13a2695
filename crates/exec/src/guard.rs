//! The guard: a tiny process that outlives the daemon for a moment and ends what the daemon's programs left (R9).

use std::collections::HashMap;
use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::containment::MARK;
use crate::executor::Host;
use crate::output::watched;
use crate::proc::{self, Process};

/// The hidden subcommand.
const SUBCOMMAND: &str = "guard";
/// What `ps` and the journal call it; 15 bytes at most.
const NAME: &CStr = c"monchero-guard";
/// How long the guard kills before it gives up on what hangs in the kernel.
const GIVE_UP: Duration = Duration::from_secs(30);
/// In how many rounds nobody may be found before the guard ends: a process that is being executed has no environment for a moment.
const QUIET: u32 = 3;
/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the daemon waits before it starts another guard: one that dies at once must not be started in a loop.
const RESTART: Duration = Duration::from_secs(1);
/// How long the guard has at the end of the executor.
const FAREWELL: Duration = Duration::from_secs(2);

/// The whole of `guard INSTANCE`; takes what follows `guard`, returns the exit status. Standard input is a pipe whose other end only the
/// daemon holds: when it ends, the daemon is gone. Then every process whose environment has a mark of that daemon is killed with
/// all its descendants, in rounds, until none is found any more.
pub fn guard_main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let Some(instance) = arguments.into_iter().next().and_then(|instance| instance.into_string().ok()) else {
        return 2;
    };
    // Without it, the kernel calls it `exe`, for it is started as /proc/self/exe, and so does the journal. That it is the guard matters more
    // than that this might fail.
    let _ = rustix::thread::set_name(NAME);
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    let prefix = format!("{instance}-");
    let give_up = Instant::now() + GIVE_UP;
    let mut quiet = 0;
    while quiet < QUIET {
        let found = marked(&prefix);
        if found.is_empty() {
            quiet += 1;
        } else if Instant::now() > give_up {
            return 1;
        } else {
            quiet = 0;
        }
        for signal in [Signal::STOP, Signal::KILL] {
            for process in &found {
                proc::signal(*process, signal);
            }
        }
        std::thread::sleep(PAUSE);
    }
    0
}

/// The living processes with a mark that begins like this, and all that descend from them.
fn marked(prefix: &str) -> Vec<Process> {
    let me = std::process::id();
    let mut begins = HashMap::new();
    let mut parents = HashMap::new();
    for pid in proc::all().filter(|pid| u32::try_from(*pid) != Ok(me)) {
        if let Some(stat) = proc::stat(pid).filter(|stat| !stat.ended()) {
            parents.insert(pid, stat.parent);
            begins.insert(pid, stat.began);
        }
    }
    let has_mark = |pid: &i32| {
        let environment = proc::environment(*pid).unwrap_or_default();
        proc::variable(&environment, MARK).is_some_and(|mark| mark.starts_with(prefix.as_bytes()))
    };
    let marked: Vec<i32> = begins.keys().copied().filter(has_mark).collect();
    let descends = |mut pid: i32| {
        // Parents change while we look, so a chain is followed only as far as it can reach without a circle.
        for _ in 0..=parents.len() {
            if marked.contains(&pid) {
                return true;
            }
            match parents.get(&pid) {
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    begins.iter().filter(|(pid, _)| descends(**pid)).map(|(pid, began)| Process { pid: *pid, began: *began }).collect()
}

/// Keeps a guard running until the executor is closed.
pub(crate) async fn keep(host: Arc<Host>, helper: PathBuf) {
    let mut said = false;
    loop {
        match start(&host, &helper) {
            Ok(guard) => {
                said = false;
                if guard.watch(&host).await {
                    return;
                }
                host.guard_died();
                tracing::warn!("the guard process ended; another one is started");
            }
            // Said once: without a guard everything works, only a daemon that is killed leaves its programs behind.
            Err(error) if !said => {
                said = true;
                tracing::error!("cannot start the guard process `{} {SUBCOMMAND}`: {error}", helper.display());
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            () = host.closed() => return,
        }
    }
}

struct Guard {
    child: Child,
    exit: AsyncFd<OwnedFd>,
    /// Its end tells the guard that we are gone.
    alive: OwnedFd,
}

fn start(host: &Host, helper: &Path) -> io::Result<Guard> {
    let (theirs, alive) = pipe_with(PipeFlags::CLOEXEC)?;
    // A group of its own: what the terminal sends to the daemon (Ctrl-C) does not reach it.
    #[expect(clippy::disallowed_methods, reason = "the guard lives as long as the daemon and is watched here")]
    let mut child = Command::new(helper)
        .arg0("monchero")
        .args([SUBCOMMAND, &host.instance])
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let exit = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
        .map_err(io::Error::from)
        .and_then(|pidfd| watched(pidfd, Interest::READABLE));
    match exit {
        Ok(exit) => {
            host.book().except(pid_of(&child));
            Ok(Guard { child, exit, alive })
        }
        Err(error) => {
            // It sees the end of its pipe and ends.
            drop(alive);
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

impl Guard {
    /// Waits until the guard ends; true if that is as it should be.
    async fn watch(mut self, host: &Host) -> bool {
        let closed = tokio::select! {
            _ = self.exit.readable() => false,
            () = host.closed() => {
                drop(self.alive);
                let _ = tokio::time::timeout(FAREWELL, self.exit.readable()).await;
                true
            }
        };
        host.book().forget(pid_of(&self.child));
        let _ = self.child.try_wait();
        closed
    }
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap_or_default()
}
