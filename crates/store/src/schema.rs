//! How the database is opened and what is in it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

/// Says whose file it is: `monc`.
pub(crate) const APPLICATION_ID: i64 = 0x6d6f_6e63;
/// The steps from an empty database to today's. Never changed once released; a new format is a new step at the end (R36).
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/0001_tables.sql")];
/// The newest format that this program knows.
pub(crate) const VERSION: i64 = 1;
const _: () = assert!(MIGRATIONS.len() == 1, "the version is the number of steps");

/// What a connection may keep in memory, in KiB. The state of ten thousand checks is touched all over, so more would help little, and
/// the whole daemon is to fit into 12 MiB.
const CACHE_KIB: i64 = 256;
/// How long a write waits for another program that holds the database (somebody with `sqlite3`).
const BUSY: Duration = Duration::from_secs(5);
/// The journal file is cut back to this when it starts over.
const JOURNAL_BYTES: i64 = 4 * 1024 * 1024;
/// How many prepared statements are kept: all that there are.
const STATEMENTS: usize = 48;
/// Up to which size the whole database is checked when it is opened: that takes a tenth of a second (6 ms per MiB). Above it only what the daemon
/// needs to start is: damage in old metrics is found when it is met.
pub(crate) const WHOLE_CHECK_BYTES: u64 = 16 * 1024 * 1024;

/// Why a database cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is damaged, or not ours: set it aside.
    Damaged(String),
    /// A newer program wrote it.
    TooNew(i64),
    /// No space is left.
    Full(String),
    /// Another program holds it.
    Busy(String),
    /// The disk does not do what it should.
    Disk(String),
}

impl Fault {
    /// What it is about, for `trouble`.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Damaged(why) => format!("the database is damaged: {why}"),
            Self::TooNew(version) => format!("the database has become one of a newer monchero (format {version})"),
            Self::Full(why) => format!("no space is left for the database: {why}"),
            Self::Busy(why) => format!("another program holds the database: {why}"),
            Self::Disk(why) => format!("the database cannot be written: {why}"),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let why = error.to_string();
        match error.sqlite_error_code() {
            // Unknown or none: tables or columns are not there, or hold something else: somebody or something has changed them.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) | None => {
                Self::Damaged(why)
            }
            Some(ErrorCode::DiskFull) => Self::Full(why),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(why),
            Some(_) => Self::Disk(why),
        }
    }
}

fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_URI
}

/// A connection that writes; the file must exist.
pub(crate) fn open_to_write(path: &Path) -> Result<Connection, Fault> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // What is found damaged is kept as it was found; the writer checkpoints by itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(&format!(
        "PRAGMA cache_size = -{CACHE_KIB}; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;
         PRAGMA auto_vacuum = INCREMENTAL;"
    ))?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Disk(format!("its journal is in mode `{mode}`, not in `wal`")));
    }
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {JOURNAL_BYTES};"
    ))?;
    Ok(connection)
}

/// A connection that only reads, beside the one that writes.
pub(crate) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    limit_reader(&connection)?;
    Ok(connection)
}

/// A connection that reads without needing any space or right to write: where the disk is full or read-only. What stands only in the
/// journal is seen by the first way and not by the second.
pub(crate) fn open_in_need(path: &Path) -> rusqlite::Result<Connection> {
    let alone = || {
        let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // The index of the journal is then in memory, not in a file.
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE;")?;
        read_something(&connection)?;
        Ok(connection)
    };
    alone().or_else(|_: rusqlite::Error| open_unchanging(path))
}

/// A connection that takes the file for one that never changes: no locks, no journal.
pub(crate) fn open_unchanging(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            other => {
                let _ = write!(uri, "%{other:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    let connection = Connection::open_with_flags(uri, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    read_something(&connection)?;
    Ok(connection)
}

fn limit_reader(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(
        "PRAGMA cache_size = -256; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
    )
}

fn read_something(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))
}

/// Brings the database to today's format: each step in a transaction of its own, so a crash leaves the one before or after.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    let found = version(connection)?;
    for (number, script) in (1..).zip(MIGRATIONS) {
        if number > found {
            let step = connection.transaction()?;
            step.execute_batch(script)?;
            step.execute_batch(&format!("PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID};"))?;
            step.execute(
                "INSERT INTO meta (key, value) VALUES ('version', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [number],
            )?;
            step.commit()?;
        }
    }
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {name}"), (), |row| row.get(0))
}

/// The format that the database says it has; 0 is an empty file. Said twice in it, so that a flipped bit is not taken for the future.
fn version(connection: &Connection) -> Result<i64, Fault> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    let (version, application) = (pragma(connection, "user_version")?, pragma(connection, "application_id")?);
    if tables == 0 && version == 0 && application == 0 {
        return Ok(0);
    }
    if application != APPLICATION_ID {
        return Err(Fault::Damaged("it is not one of monchero's".to_owned()));
    }
    let said: Option<i64> =
        connection.query_row("SELECT value FROM meta WHERE key = 'version'", (), |row| row.get(0)).optional()?;
    if version < 1 || said != Some(version) {
        return Err(Fault::Damaged(format!("it says that its format is {version} and {said:?}")));
    }
    if version > VERSION { Err(Fault::TooNew(version)) } else { Ok(version) }
}

/// Whether the database is whole: up to [`WHOLE_CHECK_BYTES`] all of its pages and the indexes by which state and history are found,
/// above that without metrics and the indexes of history.
pub(crate) fn check(connection: &Connection, bytes: u64) -> Result<(), Fault> {
    if version(connection)? == 0 {
        return Ok(());
    }
    let checks: &[&str] = if bytes <= WHOLE_CHECK_BYTES {
        &["quick_check(3)", "integrity_check('state')", "integrity_check('events')", "integrity_check('series')"]
    } else {
        &[
            "integrity_check('state')",
            "quick_check('meta')",
            "quick_check('events')",
            "quick_check('series')",
            "quick_check('quarantine')",
        ]
    };
    checks.iter().try_for_each(|pragma| ask(connection, pragma))
}

fn ask(connection: &Connection, pragma: &str) -> Result<(), Fault> {
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}"))?;
    let found: Vec<String> = statement.query_map((), |row| row.get(0))?.take(3).collect::<Result<_, _>>()?;
    if found.len() == 1 && found.iter().all(|line| line == "ok") {
        Ok(())
    } else {
        Err(Fault::Damaged(found.join("; ")))
    }
}

/// A number about the database itself.
pub(crate) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0)).optional()
}

/// Keeps a number about the database itself.
pub(crate) fn set_meta(connection: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute((key, value))?;
    Ok(())
}
