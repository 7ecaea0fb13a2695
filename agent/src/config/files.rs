//! The files of the configuration: which there are, whether they can be trusted (R62), and their text.

use std::fs::{self, File};
use std::io::Read as _;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use monchero_core::definition::Place;
use monchero_core::node::Span;
use monchero_core::order;

use super::yaml::MAX_FILE;

/// How much text all files of the configuration may have together, in bytes (R56).
pub const MAX_TOTAL: usize = 16 << 20;
/// How many files `conf.d` may have: ten thousand checks, each in its own, and as many again.
const MAX_FILES: usize = 20_000;
/// How often a file is read again that changes meanwhile, before that is a problem (R53).
const READS: usize = 3;

/// A file that was read, and where its lines begin.
#[derive(Debug)]
pub(crate) struct Source {
    /// As it is shown: relative to the configuration directory.
    pub(crate) name: Arc<str>,
    /// The text; empty if there is none to show.
    pub(crate) text: String,
    /// Whether other users may read it: then no secret may stand in it.
    pub(crate) others_read: bool,
    lines: Vec<u32>,
}

impl Source {
    pub(crate) fn new(name: String, text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX))).collect();
        Self { name: name.into(), text, others_read: false, lines }
    }

    /// The number of the line, from 1, that a byte is in, and where that line begins.
    pub(crate) fn line_of(&self, position: u32) -> (usize, u32) {
        let line = self.lines.partition_point(|start| *start <= position).max(1);
        (line, self.lines.get(line - 1).copied().unwrap_or(0))
    }

    /// A line, by its number from 1, without its end.
    pub(crate) fn line_text(&self, line: usize) -> &str {
        let start = self.lines.get(line.saturating_sub(1)).map_or(self.text.len(), |start| *start as usize);
        let end = self.lines.get(line).map_or(self.text.len(), |end| *end as usize);
        self.text.get(start..end).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// What stands there.
    pub(crate) fn slice(&self, span: Span) -> Option<&str> {
        self.text.get(span.start as usize..span.end as usize)
    }
}

/// All files that were read; [`Span::file`] counts in it.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    pub(crate) fn add(&mut self, source: Source) -> u32 {
        self.0.push(source);
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn get(&self, file: u32) -> Option<&Source> {
        self.0.get(file as usize)
    }

    /// `conf.d/web.yaml:12`.
    pub(crate) fn place(&self, span: Span) -> String {
        self.at(span).to_string()
    }

    /// The same, in parts that checks of one file share.
    pub(crate) fn at(&self, span: Span) -> Place {
        let Some(source) = self.get(span.file) else { return Place { file: Arc::default(), line: None } };
        let line = u32::try_from(source.line_of(span.start).0).unwrap_or(u32::MAX);
        let has_lines = !source.text.is_empty();
        Place { file: Arc::clone(&source.name), line: NonZeroU32::new(line).filter(|_| has_lines) }
    }
}

/// Why a file cannot be used, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// Whether it is only about who may write the file, so that `insecure_permissions: allow` can waive it.
    pub(crate) permissions: bool,
}

impl FileError {
    fn new(message: String, help: Option<String>) -> Self {
        Self { message, help, permissions: false }
    }
}

/// Whether a name is that of a hidden file, or of one that an editor or a package manager left behind.
pub fn is_backup_name(name: &str) -> bool {
    const ENDS: [&str; 7] = ["~", ".bak", ".orig", ".old", ".rpmsave", ".rpmnew", ".swp"];
    name.starts_with('.')
        || name.starts_with('#')
        || name.contains(".dpkg-")
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// The files of `conf.d`, sorted by name: `*.yaml` and `*.yml`, not those in sub-directories. None if the directory does not exist.
pub(crate) fn definition_files(directory: &Path) -> Result<Option<Vec<PathBuf>>, FileError> {
    let failed = |why: std::io::Error| FileError::new(format!("cannot read the directory: {why}"), None);
    let listing = match fs::read_dir(directory) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        listing => listing.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in listing {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { continue };
        let yaml = Path::new(&*name).extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && !is_backup_name(&name) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(FileError::new(format!("there are more than {MAX_FILES} files"), None));
        }
    }
    // All are in one directory, and comparing paths part by part is slow.
    order::sort_by(&mut files, |a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    Ok(Some(files))
}

/// What a file holds, as far as it could be read, and what is wrong with it.
pub(crate) struct Opened {
    pub(crate) text: String,
    pub(crate) others_read: bool,
    /// Set if somebody else may write it.
    pub(crate) untrusted: Option<FileError>,
}

/// Reads a text file that others cannot change. What is checked is what is read: both go by the same descriptor.
pub(crate) fn read(path: &Path) -> Result<Opened, FileError> {
    for _ in 0..READS {
        if let Some(opened) = read_once(path)? {
            return Ok(opened);
        }
    }
    Err(FileError::new("the file changes while it is read".to_owned(), Some("reload when it is written".to_owned())))
}

/// None if the file changed meanwhile.
fn read_once(path: &Path) -> Result<Option<Opened>, FileError> {
    let failed = |why: std::io::Error| FileError::new(format!("cannot read the file: {why}"), None);
    // Opening a named pipe would wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    if !before.is_file() {
        return Err(FileError::new("this is no regular file".to_owned(), None));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(MAX_FILE).min(MAX_FILE) + 1);
    let limit = u64::try_from(MAX_FILE + 1).unwrap_or(u64::MAX);
    (&file).take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE {
        let help = "split it into several files".to_owned();
        return Err(FileError::new(
            format!("the file has {} bytes, the limit is {MAX_FILE}", before.len()),
            Some(help),
        ));
    }
    let after = file.metadata().map_err(failed)?;
    let stamp = |m: &fs::Metadata| (m.len(), m.mtime(), m.mtime_nsec());
    if stamp(&before) != stamp(&after) || after.len() != bytes.len() as u64 {
        return Ok(None);
    }
    if bytes.is_empty() {
        // An editor or a deployment that writes in place leaves this for a moment.
        let help = "delete it, write a comment into it, or wait until it is written".to_owned();
        return Err(FileError::new("the file is empty".to_owned(), Some(help)));
    }
    let text = String::from_utf8(bytes).map_err(|why| {
        let line =
            why.as_bytes().iter().take(why.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        FileError::new(format!("line {line} is not UTF-8"), Some("save the file as UTF-8".to_owned()))
    })?;
    Ok(Some(Opened { text, others_read: after.mode() & 0o004 != 0, untrusted: check_writers(path, &after).err() }))
}

/// Whether only root and we can write it (R62). A group may if it is our own or root's.
pub(crate) fn check_writers(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let refuse = |message: String, command: String| Err(FileError { message, help: Some(command), permissions: true });
    let shown = path.display();
    let what = if metadata.is_dir() { "directory" } else { "file" };
    if metadata.uid() != 0 && metadata.uid() != uid {
        let message = format!("the {what} belongs to another user (uid {})", metadata.uid());
        return refuse(message, format!("run `chown {} '{shown}'`", if uid == 0 { "root" } else { "\"$USER\"" }));
    }
    if metadata.mode() & 0o002 != 0 {
        return refuse(format!("every user can write to the {what}"), format!("run `chmod o-w '{shown}'`"));
    }
    if metadata.mode() & 0o020 != 0 && metadata.gid() != 0 && metadata.gid() != gid {
        let message = format!("the members of a group (gid {}) can write to the {what}", metadata.gid());
        return refuse(message, format!("run `chmod g-w '{shown}'`"));
    }
    Ok(())
}

/// As [`check_writers`], for a directory; one that does not exist is nobody's to write.
pub(crate) fn check_directory(path: &Path) -> Result<(), FileError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => check_writers(path, &metadata),
        Ok(_) => Err(FileError::new("this is no directory".to_owned(), None)),
        Err(_) => Ok(()),
    }
}

/// Reads a short file in which only a secret stands: not readable by others, one final newline cut off.
pub fn read_secret(path: &Path) -> Result<String, String> {
    /// Keys and tokens are short; 64 KiB hold any certificate chain too.
    const MAX_SECRET: u64 = 64 * 1024;
    let shown = path.display();
    let failed = |why: std::io::Error| format!("cannot read the secret in `{shown}`: {why}");
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file: File = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(format!("the secret in `{shown}`: this is no regular file"));
    }
    if metadata.mode() & 0o004 != 0 {
        return Err(format!("every user can read the secret in `{shown}`: run `chmod o-r '{shown}'`"));
    }
    if let Err(error) = check_writers(path, &metadata) {
        return Err(format!("the secret in `{shown}`: {}; {}", error.message, error.help.unwrap_or_default()));
    }
    let mut text = String::new();
    file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_SECRET {
        return Err(format!("the secret in `{shown}` is longer than {MAX_SECRET} bytes"));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err(format!("the secret in `{shown}` is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(directory: &Path, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn backups_and_hidden_files_are_skipped_and_the_rest_is_sorted() {
        let directory = tempfile::tempdir().unwrap();
        let names = [
            "b.yaml",
            "a.yaml",
            "c.yml",
            ".x.yaml",
            "a.yaml~",
            "a.yaml.bak",
            "a.yaml.orig",
            "a.yaml.old",
            "a.yaml.rpmsave",
            "a.yaml.rpmnew",
            "a.yaml.dpkg-old",
            "a.dpkg-dist.yaml",
            "notes.txt",
            "#a.yaml",
        ];
        for name in names {
            write(directory.path(), name, b"# x", 0o644);
        }
        fs::create_dir(directory.path().join("sub")).unwrap();
        let files = definition_files(directory.path()).unwrap().unwrap();
        let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.yaml", "c.yml"]);
        assert_eq!(definition_files(&directory.path().join("none")).unwrap(), None);
    }

    #[test]
    fn files_that_others_can_write_are_named_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let untrusted = |mode: u32| read(&write(directory.path(), "x.yaml", b"a: 1\n", mode)).unwrap().untrusted;
        assert_eq!(untrusted(0o644), None);
        assert_eq!(untrusted(0o600), None);
        let error = untrusted(0o666).unwrap();
        assert!(error.permissions && error.help.unwrap().starts_with("run `chmod o-w '"));
        assert!(read(&write(directory.path(), "r.yaml", b"a: 1\n", 0o644)).unwrap().others_read);
        assert!(!read(&write(directory.path(), "s.yaml", b"a: 1\n", 0o640)).unwrap().others_read);
    }

    #[test]
    fn what_is_no_text_file_is_refused_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let message = |path: &Path| read(path).err().unwrap().message;
        assert!(message(directory.path()).contains("no regular file"));
        assert!(message(&write(directory.path(), "e.yaml", b"", 0o644)).contains("empty"));
        assert!(message(&write(directory.path(), "u.yaml", b"a: 1\nb: \xff\n", 0o644)).contains("line 2 is not UTF-8"));
        assert!(message(&write(directory.path(), "l.yaml", &vec![b'#'; MAX_FILE + 1], 0o644)).contains("limit"));
        assert!(message(&directory.path().join("none")).contains("cannot read"));
        let pipe = directory.path().join("pipe.yaml");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(message(&pipe).contains("no regular file"));
    }

    #[test]
    fn secret_files_are_private_and_lose_one_newline() {
        let directory = tempfile::tempdir().unwrap();
        let secret = |name, text: &[u8], mode| read_secret(&write(directory.path(), name, text, mode));
        assert_eq!(secret("a", b"hunter2\n", 0o600).unwrap(), "hunter2");
        assert_eq!(secret("b", b" x \n\n", 0o640).unwrap(), " x \n");
        assert!(secret("c", b"x", 0o644).unwrap_err().contains("chmod o-r"));
        assert!(secret("d", b"x", 0o622).unwrap_err().contains("chmod o-w"));
        assert!(secret("e", b"\n", 0o600).unwrap_err().contains("empty"));
        assert!(!secret("f", b"hunter2\xff", 0o600).unwrap_err().contains("hunter2"));
    }

    #[test]
    fn lines_are_found() {
        let source = Source::new("x".to_owned(), "a\r\nbb\n\nc".to_owned());
        assert_eq!(source.line_of(0), (1, 0));
        assert_eq!(source.line_of(2), (1, 0));
        assert_eq!(source.line_of(3), (2, 3));
        assert_eq!(source.line_of(7), (4, 7));
        assert_eq!(
            (source.line_text(1), source.line_text(2), source.line_text(3), source.line_text(4)),
            ("a", "bb", "", "c")
        );
        assert_eq!(source.line_text(99), "");
    }
}
