//! Why the store cannot be opened or read.

use std::io;
use std::path::PathBuf;

/// Why the state directory cannot be used. Content never is a reason: a damaged database is set aside and mended (R27).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses it (R31).
    #[error(
        "the state directory `{}` is in use by another monchero{}: stop that one, or give this one a directory of its own with `--state-dir`",
        directory.display(),
        pid.map(|pid| format!(", process {pid}")).unwrap_or_default()
    )]
    InUse {
        /// The state directory.
        directory: PathBuf,
        /// The process that holds it, if its lock file says so.
        pid: Option<u32>,
    },
    /// A newer monchero wrote it (R36).
    #[error(
        "the database `{}` was written by a newer monchero (format {found}, this one knows up to {known}): install that version again, or start once with `--reset-state`, which moves the database aside and begins with an empty one",
        path.display()
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// It is on a network file system (R34).
    #[error(
        "the state directory `{}` is on a network file system ({kind}), where locks and shared memory do not hold and a database is lost sooner or later: put it on a local disk with `--state-dir`",
        directory.display()
    )]
    NetworkFileSystem {
        /// The state directory.
        directory: PathBuf,
        /// Which.
        kind: &'static str,
    },
    /// A file of ours is a link, or something else than a file (R63).
    #[error("`{}` is {what}, not a plain file of monchero's own: remove it", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The directory or a file in it cannot be made or opened.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Directory {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the database: {0}")]
    Thread(io::Error),
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from the database `{}`: {source}", path.display())]
pub struct ReadError {
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
    #[source]
    pub(crate) source: rusqlite::Error,
}
