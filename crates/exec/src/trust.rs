//! Whether a path may be run: nobody but root and ourselves can change what stands there (R62).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, Stat, lstat, readlink};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Where a program without a slash in its name is looked for, and what programs get as `PATH`.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many symbolic links are followed on one path, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Why a path is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Somebody else can change what stands there.
    #[error("refused to run `{path}`: {why}; {mend}", path = .path.display())]
    Refused {
        /// The program.
        path: PathBuf,
        /// The component that others can change, and why they can.
        why: String,
        /// The command that mends it.
        mend: String,
    },
    /// It is not there, or cannot be looked at, or is no file.
    #[error("{0}")]
    Unusable(String),
    /// It leads onto a mount that may never answer, and was not followed there.
    #[error("it leads onto `{mount}`", mount = .0.display())]
    Foreign(PathBuf),
}

/// Checks every component of a path, from `/` on: owned by root or by our effective user, not writable by group or others, and
/// at the end a regular file. Symbolic links are followed and what they lead through is checked the same way.
///
/// - A sticky directory (`/tmp`) is no exception: others can still create what is missing.
/// - Write permission that an access control list gives to anybody shows in the group bits, since those hold the list's mask; so
///   a path with such an entry is refused too.
/// - Hard links are not counted: a name in a directory that only root and we can change was made by root or us, and image-based systems
///   link every file in `/usr`.
/// - Between this check and the start of the program, only root and our own user can change anything on the path, and those can make us run what
///   they like anyway. So there is no need to hold the file open and execute the descriptor, which would take a script its own name.
/// - The interpreter that a script names is not checked; nor is what a program loads.
pub fn verify(path: &Path) -> Result<(), TrustError> {
    verify_for(path, None, &[])
}

/// As [`verify`]; what belongs to `also` is trusted too: the user as whom the program is run. Nothing on `foreign` mounts is looked at.
pub(crate) fn verify_for(path: &Path, also: Option<u32>, foreign: &[OsString]) -> Result<(), TrustError> {
    walk(path, &Walk { program: path, me: geteuid().as_raw(), also, foreign, trusts_all: false })
}

/// Goes the path of something that is trusted or is no program, and fails only if that leads onto one of the `foreign` mounts.
pub(crate) fn stay_off(path: &Path, foreign: &[OsString]) -> Result<(), TrustError> {
    if foreign.is_empty() {
        return Ok(());
    }
    match walk(path, &Walk { program: path, me: geteuid().as_raw(), also: None, foreign, trusts_all: true }) {
        Err(error @ TrustError::Foreign(_)) => Err(error),
        // What else is wrong shows when it is used.
        _ => Ok(()),
    }
}

fn walk(path: &Path, walk: &Walk<'_>) -> Result<(), TrustError> {
    if !path.is_absolute() {
        return Err(TrustError::Unusable(format!("`{}` is not an absolute path", path.display())));
    }
    let mut here = PathBuf::with_capacity(path.as_os_str().len());
    here.push("/");
    walk.check(&here, &walk.look(&here)?)?;
    let mut links = 0;
    let mut rest: VecDeque<OsString> = names(path).collect();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(&name);
        let found = walk.look(&here)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(unusable(path, "leads through too many symbolic links"));
                }
                walk.check_owner(&here, &found)?;
                let target = readlink(&here, Vec::new()).map_err(|error| Walk::cannot_look(&here, error))?;
                let target = PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes()));
                if target.is_absolute() {
                    here = PathBuf::from("/");
                } else {
                    here.pop();
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(name);
                }
            }
            FileType::Directory => walk.check(&here, &found)?,
            FileType::RegularFile if rest.is_empty() => return walk.check(&here, &found),
            FileType::RegularFile => return Err(unusable(&here, "is not a directory")),
            _ => return Err(unusable(&here, "is not a regular file")),
        }
    }
    Err(unusable(&here, "is a directory"))
}

/// The absolute path of a program: a name without a slash is looked for in [`PATH`].
pub fn resolve(program: &Path) -> Result<PathBuf, TrustError> {
    resolve_off(program, &[])
}

/// As [`resolve`], looking at nothing on `foreign` mounts.
pub(crate) fn resolve_off(program: &Path, foreign: &[OsString]) -> Result<PathBuf, TrustError> {
    if program.is_absolute() {
        return Ok(program.to_owned());
    }
    let shown = program.display();
    if program.as_os_str().is_empty() {
        return Err(TrustError::Unusable("no program is named".to_owned()));
    }
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Err(TrustError::Unusable(format!("`{shown}` is a relative path: give the whole path, from `/` on")));
    }
    for path in std::env::split_paths(PATH).map(|directory| directory.join(program)) {
        stay_off(&path, foreign)?;
        if path.is_file() {
            return Ok(path);
        }
    }
    Err(TrustError::Unusable(format!("there is no `{shown}` in {PATH}: install it or give its whole path")))
}

fn unusable(path: &Path, why: &str) -> TrustError {
    TrustError::Unusable(format!("`{}` {why}", path.display()))
}

/// A path as a word of a shell command.
fn quoted(path: &Path) -> String {
    let shown = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if shown.chars().all(plain) { shown } else { format!("'{}'", shown.replace('\'', r"'\''")) }
}

/// The components of a path, without the root; `..` is kept.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

struct Walk<'a> {
    program: &'a Path,
    me: u32,
    also: Option<u32>,
    /// Mounts that are not entered.
    foreign: &'a [OsString],
    /// Whether it does not matter who can change what.
    trusts_all: bool,
}

impl Walk<'_> {
    fn look(&self, here: &Path) -> Result<Stat, TrustError> {
        // The only way onto a mount is by its mount point; as texts, they are compared in no time.
        if self.foreign.iter().any(|mount| mount == here.as_os_str()) {
            return Err(TrustError::Foreign(here.to_owned()));
        }
        lstat(here).map_err(|error| Self::cannot_look(here, error))
    }

    fn cannot_look(here: &Path, error: Errno) -> TrustError {
        let shown = here.display();
        TrustError::Unusable(match error {
            Errno::NOENT => format!("`{shown}` does not exist"),
            error => format!("cannot look at `{shown}`: {error}"),
        })
    }

    fn check(&self, here: &Path, found: &Stat) -> Result<(), TrustError> {
        if self.trusts_all {
            return Ok(());
        }
        self.check_owner(here, found)?;
        let mode = Mode::from_raw_mode(found.st_mode);
        let by = match (mode.contains(Mode::WGRP), mode.contains(Mode::WOTH)) {
            (_, true) => "everybody",
            (true, false) => "its group",
            (false, false) => return Ok(()),
        };
        let shown = here.display();
        Err(TrustError::Refused {
            path: self.program.to_owned(),
            why: format!("`{shown}` (mode {:04o}) can be changed by {by}", found.st_mode & 0o7777),
            mend: format!("`chmod go-w {}` mends it", quoted(here)),
        })
    }

    fn check_owner(&self, here: &Path, found: &Stat) -> Result<(), TrustError> {
        let owner = found.st_uid;
        if self.trusts_all || owner == 0 || owner == self.me || Some(owner) == self.also {
            return Ok(());
        }
        let shown = here.display();
        Err(TrustError::Refused {
            path: self.program.to_owned(),
            why: format!("`{shown}` belongs to user {owner}, neither root nor the daemon's own"),
            mend: format!("`chown -h root {}` mends it", quoted(here)),
        })
    }
}
