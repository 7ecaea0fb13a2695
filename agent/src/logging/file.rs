//! The log's file: put aside when it is full, opened again when it was moved, left alone for a while when it cannot be written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// How long a file that could not be written is left alone.
const REST: Duration = Duration::from_secs(30);

/// The log's file.
pub(super) struct LogFile {
    path: PathBuf,
    size: u64,
    keep: u32,
    open: Option<(File, u64)>,
    /// Why it cannot be written, and when it is tried again.
    trouble: Option<(String, Instant)>,
    /// How many lines it lacks because of that.
    missing: u64,
}

impl LogFile {
    /// The file at `path`, of which `keep` are kept beside it, each at most this large.
    pub(super) fn new(path: PathBuf, size: u64, keep: u32) -> Self {
        Self { path, size, keep, open: None, trouble: None, missing: 0 }
    }

    /// Closes it, so that it is opened by its name with the next line: it may be another one.
    pub(super) fn reopen(&mut self) {
        self.open = None;
        self.trouble = None;
    }

    /// Why it cannot be written.
    pub(super) fn trouble(&self) -> Option<String> {
        let (why, _) = self.trouble.as_ref()?;
        Some(format!("the log file `{}` cannot be written: {why}", self.path.display()))
    }

    /// When it is tried again, if it could not be written.
    pub(super) fn next(&self) -> Option<Instant> {
        self.trouble.as_ref().map(|(_, again)| *again)
    }

    /// Opens it if it is not open and it is time to.
    pub(super) fn ready(&mut self, now: Instant) {
        if self.open.is_none() && self.next().is_none_or(|again| again <= now) {
            let opened = self.try_open();
            self.note(opened, now);
        }
    }

    /// Writes a line; `lack` words how many are missing before it.
    pub(super) fn write(&mut self, line: &str, lack: impl FnOnce(u64) -> String, now: Instant) {
        self.ready(now);
        if self.open.is_some() {
            let missing = std::mem::take(&mut self.missing);
            let whole = if missing > 0 { lack(missing) + line } else { line.to_owned() };
            let written = self.try_write(whole.as_bytes());
            if written.is_err() {
                self.missing = missing;
            }
            self.note(written, now);
        }
        self.missing += u64::from(self.open.is_none());
    }

    fn note(&mut self, done: io::Result<()>, now: Instant) {
        self.trouble = done.err().map(|error| (error.to_string(), now + REST));
        if self.trouble.is_some() {
            self.open = None;
        }
    }

    fn try_open(&mut self) -> io::Result<()> {
        // A pipe that nobody reads must not be waited for; what is no file cannot be put aside; and a link may lead to a file of somebody else,
        // which a daemon that is root must not write.
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
        let opened = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(&self.path);
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(number) if number == Errno::LOOP.raw_os_error() => io::Error::other("it is a symbolic link"),
            _ => error,
        })?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        self.open = Some((file, meta.len()));
        Ok(())
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        let more = line.len() as u64;
        if self.open.as_ref().is_some_and(|(_, written)| *written > 0 && written + more > self.size) {
            self.open = None;
            monchero_actions::put_aside(&self.path, self.keep)?;
            self.try_open()?;
        }
        if let Some((file, written)) = &mut self.open {
            file.write_all(line)?;
            *written += more;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack(count: u64) -> String {
        format!("{count} missing\n")
    }

    fn text(path: &std::path::Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn no_line_is_lost_when_it_is_put_aside_under_load() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut expected = String::new();
        for part in 0..2 {
            // The second one goes on where the first was stopped.
            let mut file = LogFile::new(path.clone(), 1_000, 100);
            for i in 0..1_000 {
                let line = format!("line {part} {i}\n");
                file.write(&line, lack, Instant::now());
                expected.push_str(&line);
            }
        }
        let mut found = String::new();
        for number in (1..=100).rev() {
            let part = text(&folder.path().join(format!("log.{number}")));
            assert!(part.len() <= 1_000);
            found.push_str(&part);
        }
        assert_eq!(found + &text(&path), expected);
    }

    #[test]
    fn only_as_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(folder.path().join("log"), 100, 2);
        for i in 0..1_000 {
            file.write(&format!("line {i}\n"), lack, Instant::now());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_was_moved_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("moved"));
        let mut file = LogFile::new(path.clone(), 1_000, 2);
        file.write("one\n", lack, Instant::now());
        std::fs::rename(&path, &moved).unwrap();
        file.write("two\n", lack, Instant::now());
        file.reopen();
        file.write("three\n", lack, Instant::now());
        assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("one\ntwo\n", "three\n"));
    }

    #[test]
    fn what_cannot_be_written_is_tried_again_later_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not-there/log");
        let (mut file, start) = (LogFile::new(path.clone(), 1_000, 2), Instant::now());
        file.write("one\n", lack, start);
        assert!(file.trouble().unwrap().contains("not-there/log` cannot be written: No such file"));
        std::fs::create_dir(folder.path().join("not-there")).unwrap();
        file.write("two\n", lack, start + REST / 2);
        assert_eq!(text(&path), "");
        file.write("three\n", lack, start + REST);
        assert_eq!((text(&path).as_str(), file.trouble()), ("2 missing\nthree\n", None));
    }

    #[test]
    fn what_is_no_file_of_its_own_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = LogFile::new(folder.path().to_owned(), 1_000, 2);
        file.write("one\n", lack, Instant::now());
        assert!(file.trouble().is_some());
        let mut file = LogFile::new("/dev/null".into(), 1_000, 2);
        file.write("one\n", lack, Instant::now());
        assert!(file.trouble().unwrap().ends_with("it is no regular file"));
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        std::fs::write(&victim, "untouched").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let mut file = LogFile::new(link, 1_000, 2);
        file.write("one\n", lack, Instant::now());
        assert!(file.trouble().unwrap().ends_with("it is a symbolic link"));
        assert_eq!(text(&victim), "untouched");
    }
}
