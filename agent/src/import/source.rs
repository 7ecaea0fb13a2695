//! The files of another system: read within bounds, and never followed in a circle.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use monchero_core::order;

use super::{Lost, Secret, Setting};

/// The largest file: the objects of some ten thousand services.
const MAX_FILE: u64 = 8 << 20;
/// How much all files may have together: what is made of them must fit into one file of 1 MiB.
const MAX_TOTAL: u64 = 32 << 20;
/// How many files are read, and how many entries of directories are looked at.
const MAX_FILES: usize = 5_000;
/// How deep directories are followed.
const MAX_DEPTH: usize = 16;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    /// From 1; 0 for the file as a whole.
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) name: Arc<str>,
    pub(crate) text: String,
}

impl Text {
    /// A line of it, by its number from 1; 0 is the whole.
    pub(crate) fn place(&self, line: usize) -> Place {
        Place { file: Arc::clone(&self.name), line }
    }
}

/// Reads files, each once.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// What is cut off from paths where they are shown.
    base: PathBuf,
    /// The directory in which secrets are to be put.
    secrets: PathBuf,
    seen: BTreeSet<(u64, u64)>,
    entries: usize,
    total: u64,
    lost: Vec<Lost>,
}

impl Files {
    /// Shows paths without what they begin with.
    #[cfg(test)]
    pub(crate) fn below(base: &Path) -> Self {
        Self { base: base.to_owned(), ..Self::new(PathBuf::from("/etc/monchero/secrets")) }
    }

    /// Nothing is read yet. Secrets are to be put into this directory.
    pub(crate) fn new(secrets: PathBuf) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// A secret that stood here, as it is written: by the name of a file for it, or the variable that it stood in already.
    pub(crate) fn secret(&self, name: &str, text: &str, from: &Place) -> Setting {
        let fits = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
        let name: String = name.chars().map(fits).take(80).collect();
        let path = self.secrets.join(name);
        Setting::Secret(Secret::File { path, text: text.to_owned(), from: from.clone() })
    }

    /// What was not read as it stands.
    pub(crate) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    fn shown(&self, path: &Path) -> Arc<str> {
        let short = path
            .strip_prefix(&self.base)
            .ok()
            .filter(|short| !self.base.as_os_str().is_empty() && *short != Path::new(""));
        monchero_core::text::escape_controls(&short.unwrap_or(path).to_string_lossy()).into()
    }

    /// A path as a place.
    pub(crate) fn place(&self, path: &Path) -> Place {
        Place { file: self.shown(path), line: 0 }
    }

    /// Reads a text. None if it was read before; the error says why it cannot be read.
    pub(crate) fn read(&mut self, path: &Path) -> Result<Option<Text>, String> {
        let failed = |error: std::io::Error| format!("cannot read it: {error}");
        // Opening a named pipe would wait for a writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err("this is no regular file".to_owned());
        }
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(None);
        }
        if self.seen.len() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} files are too many"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        let length = bytes.len() as u64;
        self.total += length;
        if length > MAX_FILE || self.total > MAX_TOTAL {
            return Err(format!("a file may have {MAX_FILE} bytes, and all together {MAX_TOTAL}: import it in parts"));
        }
        let name = self.shown(path);
        let text = self.decode(bytes, &name);
        Ok(Some(Text { name, text }))
    }

    /// Old files are often written in Latin-1, of which every byte is a character.
    fn decode(&mut self, bytes: Vec<u8>, name: &Arc<str>) -> String {
        String::from_utf8(bytes).unwrap_or_else(|wrong| {
            let valid = wrong.utf8_error().valid_up_to();
            let line = wrong.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
            let place = Place { file: Arc::clone(name), line };
            self.lost.push(Lost::new(
                &place,
                "",
                "the file is not UTF-8 from here on, and was read as ISO 8859-1: look at its names",
            ));
            wrong.into_bytes().into_iter().map(char::from).collect()
        })
    }

    /// The files at and below a path whose names fit, sorted; the path itself if it is a file. What cannot be looked at is noted.
    pub(crate) fn find(&mut self, path: &Path, fits: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        if path.is_dir() {
            self.walk(path, fits, 0, &mut found);
        } else {
            found.push(path.to_owned());
        }
        found
    }

    fn walk(&mut self, directory: &Path, fits: &dyn Fn(&str) -> bool, depth: usize, found: &mut Vec<PathBuf>) {
        let place = self.place(directory);
        let listing = match fs::read_dir(directory) {
            Ok(_) if depth > MAX_DEPTH => {
                let why = format!("directories are read {MAX_DEPTH} levels deep");
                return self.lost.push(Lost::new(&place, "", &why));
            }
            Ok(listing) => listing,
            Err(error) => return self.lost.push(Lost::new(&place, "", &format!("cannot read the directory: {error}"))),
        };
        let room = MAX_FILES.saturating_sub(self.entries);
        let mut paths: Vec<PathBuf> = listing.take(room + 1).filter_map(Result::ok).map(|entry| entry.path()).collect();
        self.entries += paths.len();
        if paths.len() > room {
            let why = format!("more than {MAX_FILES} files and directories are too many; the rest is not read");
            self.lost.push(Lost::new(&place, "", &why));
            return;
        }
        order::sort(&mut paths);
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                self.walk(&path, fits, depth + 1, found);
            } else if fits(&name) {
                found.push(path);
            }
        }
    }
}
