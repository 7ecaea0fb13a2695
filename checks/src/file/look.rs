//! Looking at one file; all of this may hang.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use monchero_core::CheckError;
use ring::digest::{Context, SHA256};
use tokio::time::Instant;

use crate::host;
use crate::net::io_text;
use crate::paths;
use crate::settings::TextMatch;

/// What is to be found out about a file besides what the file system says of it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// What its content must hold, and what it must not hold.
    pub(super) contains: Option<TextMatch>,
    pub(super) lacks: Option<TextMatch>,
    /// How many bytes of it are read for that.
    pub(super) max_read: usize,
    /// Whether its checksum is needed.
    pub(super) sha256: bool,
    /// Until when.
    pub(super) deadline: Instant,
}

/// A file that is there.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) size: u64,
    /// When it was changed last, in seconds.
    pub(super) changed: f64,
    /// Its permissions as an octal number.
    pub(super) mode: String,
    pub(super) owner: String,
    pub(super) group: String,
    /// `file`, `directory` ..
    pub(super) kind: &'static str,
    /// Where it leads, if it is a symbolic link; the rest is about what is there.
    pub(super) target: Option<String>,
    /// Device, inode, size and time of change: as long as they are the same, so is the content.
    pub(super) identity: String,
    /// The checksum, or why there is none; nothing if it was not needed.
    pub(super) sha256: Option<Result<String, String>>,
    /// Whether the content is as it must be, as far as that was asked.
    pub(super) contains: Option<bool>,
    pub(super) lacks: Option<bool>,
    /// Why the content could not be looked at.
    pub(super) unread: Option<String>,
}

/// What one path showed.
#[derive(Debug)]
pub(super) enum Look {
    Seen(Box<Seen>),
    Missing,
    /// A symbolic link to something that is not there.
    Dangling(String),
    Failed(String),
}

/// Names of users or groups by their numbers.
pub(super) struct Names(BTreeMap<u32, String>);

impl Names {
    /// From `/etc/passwd` or `/etc/group`: the name, and the number behind the second colon.
    pub(super) fn read(sysroot: &Path, file: &str) -> Self {
        let text = host::read_if_exists(sysroot, file).ok().flatten().unwrap_or_default();
        let entry = |line: &str| {
            let mut words = line.split(':');
            let name = words.next()?.to_owned();
            Some((words.nth(1)?.parse().ok()?, name))
        };
        let mut names = BTreeMap::new();
        for (number, name) in text.lines().filter_map(entry) {
            names.entry(number).or_insert(name);
        }
        Self(names)
    }

    fn name(&self, number: u32) -> String {
        self.0.get(&number).cloned().unwrap_or_else(|| number.to_string())
    }
}

/// Looks at all files that fit a pattern. `known` are checksums by path and identity.
pub(super) fn look_all(
    sysroot: &Path,
    pattern: &str,
    wanted: &Wanted,
    known: &BTreeMap<String, (String, String)>,
) -> Result<Vec<(PathBuf, Look)>, CheckError> {
    let (users, groups) = (Names::read(sysroot, "/etc/passwd"), Names::read(sysroot, "/etc/group"));
    let paths = paths::expand(sysroot, pattern, wanted.deadline)?;
    let look = |path: PathBuf| {
        let known = known.get(&*path.to_string_lossy());
        let look = look(&host::under(sysroot, &path), wanted, known, &users, &groups);
        (path, look.unwrap_or_else(|error| Look::Failed(io_text(&error))))
    };
    Ok(paths.into_iter().map(look).collect())
}

fn look(
    path: &Path,
    wanted: &Wanted,
    known: Option<&(String, String)>,
    users: &Names,
    groups: &Names,
) -> std::io::Result<Look> {
    let own = match path.symlink_metadata() {
        Err(error) if paths::is_missing(&error) => return Ok(Look::Missing),
        own => own?,
    };
    let target = if own.is_symlink() { Some(path.read_link()?.to_string_lossy().into_owned()) } else { None };
    let metadata = match path.metadata() {
        Err(error) if paths::is_missing(&error) => return Ok(Look::Dangling(target.unwrap_or_default())),
        metadata => metadata?,
    };
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    let mut seen = Seen {
        size: metadata.size(),
        changed: seconds as f64 + nanoseconds as f64 / 1e9,
        mode: format!("{:04o}", metadata.mode() & 0o7777),
        owner: users.name(metadata.uid()),
        group: groups.name(metadata.gid()),
        kind: kind(metadata.file_type()),
        target,
        identity: format!("{}:{}:{}:{seconds}.{nanoseconds}", metadata.dev(), metadata.ino(), metadata.size()),
        sha256: None,
        contains: None,
        lacks: None,
        unread: None,
    };
    if wanted.sha256 {
        seen.sha256 = Some(match known {
            Some((identity, sha256)) if *identity == seen.identity => Ok(sha256.clone()),
            _ => checksum(path, seen.kind, wanted.deadline),
        });
    }
    if wanted.contains.is_some() || wanted.lacks.is_some() {
        match content(path, seen.kind, wanted.max_read) {
            Ok(text) => {
                seen.contains = wanted.contains.as_ref().map(|contains| contains.matches(&text));
                seen.lacks = wanted.lacks.as_ref().map(|lacks| !lacks.matches(&text));
            }
            Err(why) => seen.unread = Some(why),
        }
    }
    Ok(Look::Seen(Box::new(seen)))
}

fn kind(kind: std::fs::FileType) -> &'static str {
    match kind {
        kind if kind.is_file() => "file",
        kind if kind.is_dir() => "directory",
        kind if kind.is_fifo() => "pipe",
        kind if kind.is_socket() => "socket",
        _ => "device",
    }
}

fn refuse_others(kind: &str) -> Result<(), String> {
    if kind == "file" { Ok(()) } else { Err(format!("it is no regular file but a {kind}")) }
}

fn checksum(path: &Path, kind: &str, deadline: Instant) -> Result<String, String> {
    refuse_others(kind)?;
    let mut file = paths::open(path).map_err(|error| io_text(&error))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if Instant::now() >= deadline {
            return Err("it is too large for the time that the check has: raise `timeout`".to_owned());
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()),
            Ok(count) => context.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_text(&error)),
        }
    }
}

fn content(path: &Path, kind: &str, max_read: usize) -> Result<String, String> {
    refuse_others(kind)?;
    let file = paths::open(path).map_err(|error| io_text(&error))?;
    let mut bytes = Vec::new();
    file.take(max_read as u64).read_to_end(&mut bytes).map_err(|error| io_text(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
