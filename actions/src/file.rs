//! The kind `file`: writes messages to a file.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use monchero_core::Invalid;
use monchero_core::action::{ActionContext, Delivered, DeliveryError, Message, TargetKind};
use schemars::JsonSchema;

use crate::wording;

/// The size at which the file is put aside, in bytes, unless the settings say otherwise.
const DEFAULT_SIZE: u64 = 10 * 1024 * 1024;
/// The most files that are kept beside it.
const MAX_KEPT: u32 = 100;

/// Writes each message as one line of JSON to a file, in the shape that `webhook` sends: for log shippers, and as the last resort when no
/// other target can be reached.
///
/// A line is on the disk before the message counts as delivered. A file that has reached its size is renamed to `NAME.1`, older ones to
/// `NAME.2` and so on.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The file; its directory must be there. It is made with mode 0640.
    path: PathBuf,
    /// The size in bytes at which it is put aside. Default: 10485760 (10 MiB); 0 for never, when another program does it.
    #[serde(default = "default_size")]
    size: u64,
    /// How many files that were put aside are kept. Default: 5.
    #[serde(default = "default_keep")]
    keep: u32,
}

fn default_size() -> u64 {
    DEFAULT_SIZE
}

fn default_keep() -> u32 {
    5
}

impl TargetKind for File {
    const NAME: &'static str = "file";
    const EXAMPLE: &'static str = "{ path: /var/log/monchero/notices.jsonl }";
    const SHORT_FOR: Option<&'static str> = Some("path");

    fn validate(&mut self) -> Result<(), Invalid> {
        if !self.path.is_absolute() || self.path.file_name().is_none() {
            return Err(Invalid::at("path", format!("`{}` is no absolute path of a file", self.path.display())));
        }
        if self.keep > MAX_KEPT {
            return Err(Invalid::at("keep", format!("at most {MAX_KEPT} files are kept")));
        }
        Ok(())
    }

    async fn deliver(&self, message: &Message, context: &ActionContext<'_>) -> Result<Delivered, DeliveryError> {
        let mut line = wording::whole_json(message, &message.event, context.zone).to_string().into_bytes();
        line.push(b'\n');
        let (path, size, keep) = (self.path.clone(), self.size, self.keep);
        let failed = |why: String| DeliveryError::Transient { why, after: None };
        // A file system may hang.
        let written = tokio::task::spawn_blocking(move || append(&path, &line, size, keep)).await;
        let written = written.map_err(|error| failed(error.to_string()))?;
        written.map_err(|error| failed(format!("writing to `{}`: {error}", self.path.display())))?;
        Ok("written".to_owned().into())
    }
}

/// Writes a line whole or not at all as far as readers can tell: with one call, at the end, and to the disk.
fn append(path: &Path, line: &[u8], size: u64, keep: u32) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && size > 0 && meta.size() > 0 && meta.size() + line.len() as u64 > size {
        put_aside(path, keep)?;
        file = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    }
    file.write_all(line)?;
    // What is no file, such as a terminal, has nothing to sync.
    if meta.is_file() { file.sync_data() } else { Ok(()) }
}

/// Renames a file to `NAME.1`, older ones to `NAME.2` and so on, of which `keep` are kept; with 0, removes it.
pub fn put_aside(path: &Path, keep: u32) -> std::io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match std::fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_put_aside_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notices");
        for number in 0..5 {
            append(&path, format!("{number}23456789\n").as_bytes(), 20, 2).unwrap();
        }
        append(&path, b"a line that is longer than the whole file may be\n", 20, 2).unwrap();
        let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(text("notices"), "a line that is longer than the whole file may be\n");
        assert_eq!(text("notices.1"), "423456789\n");
        assert_eq!(text("notices.2"), "223456789\n323456789\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
        append(&path, b"without a limit\n", 0, 2).unwrap();
        assert_eq!(text("notices").lines().count(), 2);
    }
}
