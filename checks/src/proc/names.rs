//! The names of processes, for checks that choose by name: asked for at the least cost, as often as there are processes.

use std::borrow::Cow;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Mutex;
use std::vec::IntoIter;

use monchero_core::text;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::CUT_NAME;
use super::details::lock;

/// Whether a process can have a name that fits, as far as the kernel shows it.
pub(super) fn may_fit(globs: &[String], name: &[u8]) -> bool {
    if name.len() < CUT_NAME {
        // This is done for each process of the host, and nearly all names are UTF-8.
        let name = std::str::from_utf8(name).map_or_else(|_| String::from_utf8_lossy(name), Cow::Borrowed);
        return globs.iter().any(|glob| text::glob(glob, &name));
    }
    // How it goes on is not known.
    globs.iter().any(|glob| {
        let start = glob.split(['*', '?']).next().unwrap_or_default().as_bytes();
        start.iter().zip(name).all(|(wanted, letter)| wanted == letter)
    })
}

/// How many files with names of processes stay open: each holds 5 KiB in the kernel.
const MAX_OPEN: usize = 256;

/// The open files with the names of the host's processes, by their numbers.
static NAME_FILES: Mutex<Vec<(u32, OwnedFd)>> = Mutex::new(Vec::new());

/// The names of processes, from files that stay open between two looks: to open and close one costs the kernel three times as much as
/// to say the name. An open file means one process, whichever gets its number later.
pub(super) struct NameFiles {
    /// Whether these are the processes of this host, and not those below another `sysroot`.
    of_host: bool,
    /// Those of the last look that this one has not come to yet: the kernel lists processes by their numbers.
    known: Peekable<IntoIter<(u32, OwnedFd)>>,
    seen: Vec<(u32, OwnedFd)>,
}

impl NameFiles {
    /// Two looks at once do not share them: the other one opens its own.
    pub(super) fn take(sysroot: &Path) -> Self {
        let of_host = sysroot == Path::new("/");
        let known = if of_host { std::mem::take(&mut *lock(&NAME_FILES)) } else { Vec::new() };
        Self { of_host, known: known.into_iter().peekable(), seen: Vec::new() }
    }

    /// Reads the name of the process whose directory is `path`; says how long it is.
    pub(super) fn read(&mut self, proc: impl AsFd, path: &mut Vec<u8>, buffer: &mut [u8]) -> Result<usize, Errno> {
        let pid = std::str::from_utf8(path).ok().and_then(|pid| pid.parse().ok()).unwrap_or_default();
        while self.known.next_if(|(known, _)| *known < pid).is_some() {}
        if let Some((_, file)) = self.known.next_if(|(known, _)| *known == pid)
            && let Ok(length @ 1..) = rustix::io::pread(&file, &mut *buffer, 0)
        {
            self.seen.push((pid, file));
            return Ok(length);
        }
        let end = path.len();
        path.extend_from_slice(b"/comm");
        let file = openat(proc, &**path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        path.truncate(end);
        let file = file?;
        let length = rustix::io::pread(&file, &mut *buffer, 0)?;
        if self.of_host && self.seen.len() < MAX_OPEN {
            self.seen.push((pid, file));
        }
        Ok(length)
    }

    /// Keeps those that were seen for the next look.
    pub(super) fn keep(self) {
        if self.of_host {
            *lock(&NAME_FILES) = self.seen;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_fit() {
        let globs = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (wanted, name, may) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("apache2 nginx", "nginx", true),
            ("ng?n*", "nginx", true),
            ("systemd-journald", "systemd-journal", true),
            ("systemd-journal", "systemd-journal", true),
            ("systemd-*", "systemd-journal", true),
            ("*-gatewayd", "systemd-journal", true),
            ("systemd-logind", "systemd-journal", false),
            ("nginx", "systemd-journal", false),
        ] {
            assert_eq!(may_fit(&globs(wanted), name.as_bytes()), may, "{wanted}: {name}");
        }
    }
}
