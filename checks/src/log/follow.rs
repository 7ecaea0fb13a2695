//! Following files that are appended to, over rotation, truncation and restarts.
//!
//! What was read is remembered by file, not by name: the inode, how far, and checksums of the first bytes and of those before that place. A file that
//! fits such a position is read on from there, whatever its name is now; any other file is new and read from its start. Files that a
//! rotation left beside (`app.log.1`, `app-20260601.log`) are followed too, because lines are written to them until the writer opens the
//! new file, and because a copy may hold what was truncated away.

mod lines;

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use monchero_core::CheckError;
use monchero_core::order;
use monchero_core::text::glob;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::host;
use crate::net::io_text;
use crate::paths;

/// How many bytes at the start of a file, and before the place up to which it was read, tell it from others.
const HEAD: u64 = 1024;
const TAIL: u64 = 256;
/// How many files may be followed at once, and how many that were rotated: the positions of all fit what a check may remember.
const MAX_FILES: usize = 100;
const MAX_ROTATED: usize = 150;

/// How far a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    inode: u64,
    offset: u64,
    /// How many of the first bytes were read, and their checksum.
    head_size: u64,
    head: u64,
    /// The checksum of the bytes before `offset`.
    tail: u64,
    /// How long the line is that is not yet ended behind `offset`.
    pending: u64,
    /// Whether `offset` stands within a line whose start was judged and whose rest is passed over.
    within: bool,
}

/// What one run found in the files, besides the lines themselves.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Where the next run goes on.
    pub(super) positions: Vec<Position>,
    /// The patterns that no file fits.
    pub(super) missing: Vec<String>,
    /// How many of the files that are meant are there, and when the newest of them was written, in seconds.
    pub(super) files: usize,
    pub(super) newest: Option<f64>,
    pub(super) lines: u64,
    /// How many bytes were passed over because there was too much.
    pub(super) skipped: u64,
    /// How many bytes are left because the time was over.
    pub(super) behind: u64,
    /// How many files that were followed cannot be found any more: removed, compressed or truncated.
    pub(super) gone: usize,
    /// Files that could not be read.
    pub(super) failed: Vec<String>,
}

/// What is followed, and how.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub(super) patterns: Vec<String>,
    /// Whether the first run begins at the end.
    pub(super) from_end: bool,
    /// How many bytes are read in one run.
    pub(super) max_read: u64,
    pub(super) deadline: Instant,
}

/// A file that is there.
struct Found {
    path: PathBuf,
    file: File,
    inode: u64,
    size: u64,
    written: f64,
    /// Whether its name is one that is meant, rather than one that a rotation made of it.
    is_meant: bool,
    /// From where it is read; none for a copy of what is read elsewhere.
    start: Option<Position>,
}

impl Follower {
    /// Gives every line to `judge` that was written since the run that left `known`; may hang.
    pub(super) fn follow(
        &self,
        sysroot: &Path,
        known: Option<&[Position]>,
        judge: &mut dyn FnMut(&[u8]),
    ) -> Result<Followed, CheckError> {
        let mut followed = Followed::default();
        let mut found = self.find(sysroot, &mut followed)?;
        let mut left_over = Vec::new();
        match known {
            Some(known) => left_over = assign(&mut found, known),
            None => {
                for file in &mut found {
                    let is_read = file.is_meant && !self.from_end;
                    file.start = Some(if is_read { Position::start(file.inode) } else { file.end() });
                }
            }
        }
        followed.files = found.iter().filter(|file| file.is_meant).count();
        let written = found.iter().filter(|file| file.is_meant).map(|file| file.written);
        followed.newest = written.reduce(f64::max);
        let mut left = self.max_read;
        // The newest content counts most if there is too much: older files give way.
        let mut wanted: Vec<u64> = Vec::new();
        for file in found.iter().rev() {
            let unread = file.start.as_ref().map_or(0, |start| file.size.saturating_sub(start.offset));
            wanted.push(unread.min(left));
            left -= unread.min(left);
        }
        for (file, wanted) in found.iter().zip(wanted.into_iter().rev()) {
            let Some(start) = file.start else { continue };
            let position = self.read(file, start, wanted, &mut followed, judge).unwrap_or_else(|(at, error)| {
                followed.failed.push(format!("{}: {}", file.path.display(), io_text(&error)));
                at
            });
            followed.positions.push(position);
        }
        if followed.missing.is_empty() && followed.failed.is_empty() {
            followed.gone = left_over.len();
        } else {
            // A file that cannot be seen for a while, such as on a file system that is not mounted, is none that is new when it is back.
            followed.positions.extend(left_over);
            followed.positions.truncate(MAX_FILES + MAX_ROTATED);
        }
        if followed.behind == 0 {
            // All whole lines that copies hold were read in their originals.
            followed.positions.extend(found.iter().filter(|file| file.start.is_none()).map(Found::end));
        }
        Ok(followed)
    }

    /// The files that are meant, and what rotations made of such, the longest unchanged first.
    fn find(&self, sysroot: &Path, followed: &mut Followed) -> Result<Vec<Found>, CheckError> {
        let mut found: Vec<Found> = Vec::new();
        for pattern in &self.patterns {
            let (folder, name) = pattern.rsplit_once('/').unwrap_or(("", pattern));
            let mut fits = false;
            for folder in paths::expand(sysroot, &format!("{folder}/"), self.deadline)? {
                let Some(entries) = paths::entries(&host::under(sysroot, &folder), &folder)? else { continue };
                for entry in entries.flatten() {
                    let (file_name, path) = (entry.file_name(), folder.join(entry.file_name()));
                    let file_name = file_name.to_string_lossy();
                    let is_hidden = file_name.starts_with('.') && !name.starts_with('.');
                    let is_meant = glob(name, &file_name);
                    fits |= is_meant && !is_hidden;
                    let is_wanted = is_meant || before_rotation(&file_name).iter().any(|base| glob(name, base));
                    if is_hidden
                        || !is_wanted
                        || found.iter().any(|other| other.path == path && (other.is_meant || !is_meant))
                    {
                        continue;
                    }
                    found.retain(|other| other.path != path);
                    match Found::open(&host::under(sysroot, &path), &path, is_meant) {
                        Ok(file) => found.extend(file),
                        Err(error) if paths::is_missing(&error) => {}
                        Err(error) if is_meant => {
                            followed.failed.push(format!("{}: {}", path.display(), io_text(&error)));
                        }
                        Err(_) => {}
                    }
                }
            }
            if !fits {
                followed.missing.push(pattern.clone());
            }
        }
        if found.iter().filter(|file| file.is_meant).count() > MAX_FILES {
            return Err(CheckError::Unable(format!("more than {MAX_FILES} files fit `path`: narrow it")));
        }
        order::sort_by(&mut found, |a, b| a.written.total_cmp(&b.written).then_with(|| b.path.cmp(&a.path)));
        let rotated = found.iter().filter(|file| !file.is_meant).count();
        let mut surplus = rotated.saturating_sub(MAX_ROTATED);
        found.retain(|file| {
            let goes = !file.is_meant && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
        Ok(found)
    }

    /// Reads on from a position, at most so many of the last bytes; gives back where it came to.
    fn read(
        &self,
        file: &Found,
        mut at: Position,
        wanted: u64,
        followed: &mut Followed,
        judge: &mut dyn FnMut(&[u8]),
    ) -> Result<Position, (Position, std::io::Error)> {
        let unread = file.size.saturating_sub(at.offset);
        if unread > wanted {
            followed.skipped += unread - wanted;
            // The line in the middle of which it goes on is passed over too.
            at.offset = file.size - wanted;
            (at.within, at.pending) = (!file.begins_line(at.offset), 0);
        }
        // A last line without an end is one if nothing was added to it since the last run, or if nobody writes to the file any more.
        let is_ended = !file.is_meant || (at.pending > 0 && unread == at.pending);
        let reader = lines::Lines { file: &file.file, end: file.size, is_ended, deadline: self.deadline };
        let before = at;
        let result = reader.read(&mut at.offset, &mut at.within, &mut |line| {
            followed.lines += 1;
            judge(line);
        });
        result.map_err(|error| (before, error))?;
        at.pending = if Instant::now() < self.deadline { file.size - at.offset } else { 0 };
        if at.pending == 0 {
            followed.behind += file.size - at.offset;
        }
        Ok(file.position(at))
    }
}

/// Finds out which file goes on from which position; gives back the positions that are left over.
fn assign(found: &mut [Found], known: &[Position]) -> Vec<Position> {
    let mut free: Vec<&Position> = known.iter().collect();
    for file in found.iter_mut() {
        let own = free.iter().position(|known| known.inode == file.inode && file.continues(known));
        file.start = own.map(|index| *free.swap_remove(index));
    }
    // What a copy holds is read in its original as long as that is there.
    let is_known = |file: &Found| file.start.is_some_and(|start| start.offset > 0);
    let rank = |(index, file): (usize, &Found)| (file.is_meant, is_known(file), file.size, index);
    let is_copy = |(index, file): (usize, &Found)| {
        let mut others = found.iter().enumerate().filter(|other| rank(*other) > rank((index, file)));
        !file.is_meant && others.any(|(_, other)| other.begins_with(file))
    };
    let is_copy: Vec<bool> = found.iter().enumerate().map(is_copy).collect();
    let mut files: Vec<&mut Found> = Vec::new();
    for (file, is_copy) in found.iter_mut().zip(is_copy) {
        if is_copy {
            file.start = None;
        } else {
            files.push(file);
        }
    }
    // A copy of which the original was truncated goes on where that was read; the position counts that is furthest, should several fit.
    for file in &mut files {
        let reached = file.start.as_ref().map_or(0, |start| start.offset);
        let fits = free.iter().enumerate().filter(|(_, known)| known.offset > reached && file.continues(known));
        if let Some(index) = fits.max_by_key(|(_, known)| known.offset).map(|(index, _)| index) {
            file.start = Some(Position { inode: file.inode, ..*free.swap_remove(index) });
        }
    }
    // What is left is new.
    for file in files.into_iter().filter(|file| file.start.is_none()) {
        file.start = Some(Position::start(file.inode));
    }
    free.into_iter().copied().collect()
}

impl Position {
    fn start(inode: u64) -> Self {
        Self { inode, offset: 0, head_size: 0, head: 0, tail: 0, pending: 0, within: false }
    }
}

impl Found {
    /// Opens a file; none if it is no regular one.
    fn open(place: &Path, path: &Path, is_meant: bool) -> std::io::Result<Option<Self>> {
        if !place.metadata()?.is_file() {
            return Ok(None);
        }
        let file = paths::open(place)?;
        let metadata = file.metadata()?;
        let written = metadata.mtime() as f64 + metadata.mtime_nsec() as f64 / 1e9;
        let (inode, size) = (metadata.ino(), metadata.size());
        Ok(Some(Self { path: path.to_owned(), file, inode, size, written, is_meant, start: None }))
    }

    /// Whether what was read up to a position is what this file begins with.
    fn continues(&self, known: &Position) -> bool {
        if known.offset == 0 {
            return known.inode == self.inode;
        }
        let tail = known.offset.min(TAIL);
        self.size >= known.offset
            && self.checksum(0, known.head_size) == Some(known.head)
            && self.checksum(known.offset - tail, tail) == Some(known.tail)
    }

    /// Whether all that another file holds stands at the start of this one, as far as its first and last bytes tell.
    fn begins_with(&self, other: &Self) -> bool {
        let whole = other.whole();
        whole.offset > 0 && self.continues(&whole)
    }

    /// Whether a line begins at an offset.
    fn begins_line(&self, offset: u64) -> bool {
        let mut byte = [0];
        offset == 0 || (self.file.read_exact_at(&mut byte, offset - 1).is_ok() && byte == *b"\n")
    }

    /// The checksum of some bytes, if they can be read.
    fn checksum(&self, start: u64, size: u64) -> Option<u64> {
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut bytes, start).ok()?;
        let sum = digest(&SHA256, &bytes);
        Some(u64::from_be_bytes(*sum.as_ref().first_chunk()?))
    }

    /// The position at an offset, told by what the file holds before it. If that cannot be read, it will be a new file to the next run.
    fn position(&self, at: Position) -> Position {
        let (head_size, tail) = (at.offset.min(HEAD), at.offset.min(TAIL));
        let head = self.checksum(0, head_size).unwrap_or_default();
        let tail = self.checksum(at.offset - tail, tail).unwrap_or_default();
        Position { inode: self.inode, head_size, head, tail, ..at }
    }

    /// The position at the end.
    fn whole(&self) -> Position {
        self.position(Position { offset: self.size, ..Position::start(self.inode) })
    }

    /// Behind the last line that is ended.
    fn end(&self) -> Position {
        let offset = lines::last_end(&self.file, self.size).unwrap_or(self.size);
        self.position(Position { offset, ..Position::start(self.inode) })
    }
}

/// The names that a file may have had before a rotation gave it this one: `app.log` for `app.log.1`, `app.log-20260601`, `app-20260601.log`.
fn before_rotation(name: &str) -> Vec<String> {
    let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let mut names = Vec::new();
    for (part, rest) in [(name, ""), (stem, extension)] {
        for (place, sign) in part.match_indices(['.', '-', '_']).filter(|(place, _)| *place > 0) {
            let (base, mark) = part.split_at(place);
            let mark = mark.get(1..).unwrap_or_default();
            // `app-2.log` is another log than `app.log`, and `app-20260601.log` an older one.
            let few = if rest.is_empty() && sign == "." { 1 } else { 6 };
            let digits = mark.chars().filter(char::is_ascii_digit).count();
            let is_date = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | '+' | 'T' | 'Z');
            if mark == "old" || (digits >= few && mark.chars().all(is_date)) {
                names.push(format!("{base}{rest}"));
            }
        }
    }
    names
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
