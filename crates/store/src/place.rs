//! The state directory: whose it is, which files are in it, and the space that is kept in reserve.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monchero_core::order;
use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::OpenError;

/// The database.
const DATABASE: &str = "monchero.db";
/// Held locked while the store is open.
const LOCK: &str = "monchero.lock";
/// Space that is given back when the disk is full.
const RESERVE: &str = "monchero.reserve";
/// How much space is kept in reserve (R28): some thousand transitions. On a very small file system a sixteenth of it.
const RESERVE_BYTES: u64 = 1024 * 1024;
/// How many damaged databases are kept for a person to look at (R27); older ones go.
const KEEP_ASIDE: usize = 3;
/// How long the second instance waits for the first to write its number into the lock file: that takes microseconds.
const PID_TIME: Duration = Duration::from_millis(200);
/// How long a lock is asked for before it counts as another daemon's: longer than any program takes to begin.
const LOCK_TIME: Duration = Duration::from_millis(500);

/// Magic numbers of file systems (statfs(2)) that are not on this host.
const NETWORK: [(u64, &str); 9] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
];

/// The state directory, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    /// A flock(2) lock ends with its process, so it cannot be stale.
    _lock: File,
}

impl Place {
    /// Makes the directory if there is none (0700), refuses it if it is on a network, locks it, and judges the files in it. Who owns a directory
    /// that was there, and who may write to it, is its maker's affair.
    pub(crate) fn claim(directory: &Path) -> Result<Self, OpenError> {
        let at = |doing, source| OpenError::Directory { doing, path: directory.to_owned(), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|why| at("make the state directory", why))?;
        // The way there may hold links (systemd's DynamicUser makes one); behind it there must be none.
        let directory = fs::canonicalize(directory).map_err(|why| at("find the state directory", why))?;
        if let Some(kind) = network_file_system(&directory) {
            return Err(OpenError::NetworkFileSystem { directory, kind });
        }
        let lock = lock(&directory)?;
        let place = Self { directory, _lock: lock };
        for path in [
            place.database(),
            place.beside("-wal"),
            place.beside("-shm"),
            place.backup(),
            place.older_backup(),
            place.reserve(),
        ] {
            judge_file(&path)?;
        }
        Ok(place)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.join(DATABASE)
    }

    /// A file beside the database, named like it: `-wal`, `.new`.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        self.directory.join(format!("{DATABASE}{suffix}"))
    }

    pub(crate) fn backup(&self) -> PathBuf {
        self.beside(".bak")
    }

    /// The backup before that.
    pub(crate) fn older_backup(&self) -> PathBuf {
        self.beside(".bak-2")
    }

    fn reserve(&self) -> PathBuf {
        self.directory.join(RESERVE)
    }

    /// Makes the database file, readable by its owner only, if there is none. SQLite gives `-wal` and `-shm` the same mode. Answers what
    /// is wrong if there should be a database and is none.
    ///
    /// Never opens one that exists: closing any descriptor of a file drops the process's POSIX locks on it, SQLite's among them.
    pub(crate) fn make_database(&self) -> io::Result<Option<&'static str>> {
        let path = self.database();
        match fs::metadata(&path) {
            Ok(meta) if meta.len() == 0 => return Ok(Some("its file is empty")),
            Ok(_) => return Ok(None),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(why),
        }
        // A journal without its database would be taken for the journal of the new one.
        remove(&self.beside("-wal"));
        remove(&self.beside("-shm"));
        let ready = self.beside(".new");
        if ready.exists() {
            // A crash between the renames that put a mended database in its place.
            fs::rename(&ready, &path)?;
            return Ok(None);
        }
        make_private(&path)?;
        Ok((self.backup().exists() || self.older_backup().exists())
            .then_some("its file is missing, although there is a backup"))
    }

    /// Moves the database with its journal aside as `monchero.db.<word>-<n>`, keeping at most [`KEEP_ASIDE`] of that word.
    pub(crate) fn set_aside(&self, word: &str) -> io::Result<PathBuf> {
        let mut numbers = self.aside_numbers(word)?;
        let next = numbers.last().map_or(1, |last| last + 1);
        let aside = self.beside(&format!(".{word}-{next}"));
        let journal = self.beside(&format!(".{word}-{next}-wal"));
        rename_if_there(&self.beside("-wal"), &journal)?;
        remove(&self.beside("-shm"));
        rename_if_there(&self.database(), &aside)?;
        numbers.push(next);
        for old in numbers.iter().rev().skip(KEEP_ASIDE) {
            remove(&self.beside(&format!(".{word}-{old}")));
            remove(&self.beside(&format!(".{word}-{old}-wal")));
        }
        self.sync();
        Ok(aside)
    }

    fn aside_numbers(&self, word: &str) -> io::Result<Vec<u64>> {
        let prefix = format!("{DATABASE}.{word}-");
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|n| n.parse().ok())
            {
                numbers.push(number);
            }
        }
        order::sort(&mut numbers);
        Ok(numbers)
    }

    /// Removes the backups: the database that they are of is not wanted any more.
    pub(crate) fn remove_backups(&self) {
        remove(&self.backup());
        remove(&self.older_backup());
    }

    /// Makes renames last: they are on disk when their directory is.
    pub(crate) fn sync(&self) {
        if let Ok(directory) = File::open(&self.directory) {
            let _ = directory.sync_all();
        }
    }

    /// How large the database is, with its journal.
    pub(crate) fn bytes(&self) -> u64 {
        [self.database(), self.beside("-wal")]
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|meta| meta.len())
            .sum()
    }

    /// How much space is left.
    pub(crate) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.directory).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
    }

    /// Whether no space is left.
    pub(crate) fn is_full(&self) -> bool {
        self.free_bytes() < 64 * 1024
    }

    /// Gives the reserve back to the file system; whether there was one.
    pub(crate) fn release_reserve(&self) -> bool {
        fs::remove_file(self.reserve()).is_ok()
    }

    /// Makes the reserve if it is missing and there is space for it twice; whether there is one now.
    pub(crate) fn restore_reserve(&self) -> bool {
        let path = self.reserve();
        let Ok(space) = rustix::fs::statvfs(&self.directory) else { return path.exists() };
        let size = RESERVE_BYTES.min(space.f_blocks.saturating_mul(space.f_frsize) / 16);
        if fs::metadata(&path).is_ok_and(|meta| meta.len() >= size) {
            return true;
        }
        remove(&path);
        if space.f_bavail.saturating_mul(space.f_frsize) < 2 * size {
            return false;
        }
        let filled = make_private(&path).and_then(|file| fill(&file, size));
        if filled.is_err() {
            remove(&path);
        }
        filled.is_ok()
    }
}

fn network_file_system(directory: &Path) -> Option<&'static str> {
    let kind = u64::try_from(rustix::fs::statfs(directory).ok()?.f_type).ok()? & 0xffff_ffff;
    NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK);
    judge_file(&path)?;
    let open = |flags| rustix::fs::open(&path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600));
    let descriptor = match open(OFlags::RDWR | OFlags::CREATE) {
        // A full disk or one that the kernel made read-only is no reason not to monitor: the lock holds on an open-for-reading file too.
        Err(Errno::ROFS | Errno::NOSPC | Errno::DQUOT) => open(OFlags::RDONLY),
        other => other,
    };
    let mut file = File::from(descriptor.map_err(|errno| OpenError::Directory {
        doing: "open the lock file",
        path: path.clone(),
        source: errno.into(),
    })?);
    match flock_patiently(&file) {
        Ok(()) => {
            let _ = file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
            Ok(file)
        }
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse { directory: directory.to_owned(), pid: read_pid(&mut file) }),
        Err(errno) => Err(OpenError::Directory { doing: "lock", path, source: errno.into() }),
    }
}

/// Takes the lock. A daemon that was killed while it started a program leaves the lock to that child until the child has begun to execute,
/// so a lock that is held is asked for again for a moment.
fn flock_patiently(file: &File) -> rustix::io::Result<()> {
    let deadline = Instant::now() + LOCK_TIME;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let deadline = Instant::now() + PID_TIME;
    loop {
        let mut text = String::new();
        let _ = file.seek(SeekFrom::Start(0));
        let _ = file.take(32).read_to_string(&mut text);
        if let Ok(pid) = text.trim().parse() {
            return Some(pid);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Refuses what is not a plain file with one name: through a link, somebody else's file would be written.
fn judge_file(path: &Path) -> Result<(), OpenError> {
    let what = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => "a symbolic link",
        Ok(meta) if meta.is_dir() => "a directory",
        Ok(meta) if !meta.is_file() => "a device, pipe or socket",
        Ok(meta) if meta.nlink() > 1 => "a file with further hard links",
        _ => return Ok(()),
    };
    Err(OpenError::NotOurs { path: path.to_owned(), what })
}

/// A new file that only its owner can read.
pub(crate) fn make_private(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?))
}

/// Removes a file; that it is not there is fine, and a failure shows where the name is needed next.
pub(crate) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Renames a file if there is one.
pub(crate) fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn fill(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => io::copy(&mut io::repeat(0).take(size), &mut &*file).map(drop),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_refused_and_their_target_stays() {
        for name in [LOCK, DATABASE, RESERVE, "monchero.db-wal", "monchero.db.bak"] {
            let directory = tempfile::tempdir().unwrap();
            let victim = directory.path().join("victim");
            fs::write(&victim, "precious").unwrap();
            let state = directory.path().join("state");
            fs::create_dir(&state).unwrap();
            for link in [true, false] {
                let path = state.join(name);
                if link { std::os::unix::fs::symlink(&victim, &path) } else { fs::hard_link(&victim, &path) }.unwrap();
                let error = Place::claim(&state).unwrap_err();
                assert!(matches!(error, OpenError::NotOurs { .. }), "{name}: {error}");
                assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
                fs::remove_file(path).unwrap();
            }
        }
    }

    #[test]
    fn at_most_three_are_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::claim(directory.path()).unwrap();
        for n in 1..=5 {
            place.make_database().unwrap();
            fs::write(place.beside("-wal"), "x").unwrap();
            let aside = place.set_aside("corrupt").unwrap();
            assert!(aside.ends_with(format!("monchero.db.corrupt-{n}")));
        }
        assert_eq!(place.aside_numbers("corrupt").unwrap(), [3, 4, 5]);
        assert!(!place.beside(".corrupt-2-wal").exists() && place.beside(".corrupt-3-wal").exists());
    }

    #[test]
    fn files_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("a/b");
        let place = Place::claim(&state).unwrap();
        place.make_database().unwrap();
        assert!(place.restore_reserve());
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        for file in [DATABASE, LOCK, RESERVE] {
            assert_eq!(fs::metadata(state.join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
        }
        assert!(place.release_reserve() && !place.release_reserve());
    }
}
