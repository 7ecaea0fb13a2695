//! Which file systems may never answer, so that nothing on them is touched by the thread that starts programs (R7).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use monchero_core::mounts::all;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const MOUNTINFO: &str = "/proc/self/mountinfo";
/// What the kernel shows of itself: whatever is mounted there, no program stands on it, and ordinary hosts have no other foreign mounts.
const OF_THE_KERNEL: &[&str] = &["/proc", "/sys", "/dev"];

/// The mount points of the file systems that ask another host or a program. Who goes a path step by step cannot get onto one of them but by
/// its mount point. The root is none of them: what it stands on the daemon stands on itself.
pub(crate) type Foreign = Arc<[OsString]>;

/// The list of mounts, read again only when the kernel says that it has changed.
pub(crate) struct Mounts {
    file: File,
    foreign: Foreign,
}

impl Mounts {
    pub(crate) fn read() -> io::Result<Self> {
        let mut mounts = Self { file: File::open(MOUNTINFO)?, foreign: Arc::from([]) };
        mounts.read_again()?;
        Ok(mounts)
    }

    pub(crate) fn foreign(&self) -> Foreign {
        Arc::clone(&self.foreign)
    }

    /// Reads the list if it has changed: `proc_pid_mounts(5)` says so by an exceptional condition.
    pub(crate) fn look_around(&mut self) {
        let mut polled = [PollFd::new(&self.file, PollFlags::PRI)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let changed = poll(&mut polled, Some(&at_once)).is_ok()
            && polled.iter().any(|polled| polled.revents().contains(PollFlags::PRI));
        if changed && let Err(error) = self.read_again() {
            tracing::warn!(
                "cannot read `{MOUNTINFO}`, so a program on a new mount that hangs would delay others: {error}"
            );
        }
    }

    fn read_again(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        self.file.read_to_end(&mut bytes)?;
        let mounts = all(&String::from_utf8_lossy(&bytes));
        let no_programs = |point: &Path| OF_THE_KERNEL.iter().any(|place| point.starts_with(place));
        let foreign = mounts
            .into_iter()
            .filter(|mount| mount.asks_others() && mount.point != "/" && !no_programs(Path::new(&mount.point)));
        self.foreign = foreign.map(|mount| OsString::from(mount.point)).collect();
        Ok(())
    }
}
