//! A copy of the database, for the day when it is damaged (R27, R34).

use std::fs;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::place::{self, Place};

/// How often the database is copied.
pub(crate) const INTERVAL: Duration = Duration::from_secs(86_400);
/// How long after the start a copy is due at the earliest: a daemon that starts has other things to do.
pub(crate) const FIRST: Duration = Duration::from_secs(600);
/// Up to which size a copy is made when the daemon ends, if one is due: that takes a tenth of a second.
pub(crate) const CLOSE_BYTES: u64 = 16 * 1024 * 1024;
/// How many pages one step copies: 256 KiB, about a millisecond.
const STEP_PAGES: i32 = 64;
/// The pause when a page is being written by somebody else.
const BUSY: Duration = Duration::from_millis(20);
/// How often that may happen in a row.
const MAX_BUSY: u32 = 250;

/// Whether the last copy is older than a day, or there is none, and there is space for one.
pub(crate) fn is_due(place: &Place, now: Timestamp) -> bool {
    let made =
        fs::metadata(place.backup()).and_then(|meta| meta.modified()).ok().and_then(|at| Timestamp::try_from(at).ok());
    let old = made.is_none_or(|at| at > now || at.checked_add(INTERVAL).is_ok_and(|due| due <= now));
    old && place.free_bytes() > place.bytes().saturating_mul(2)
}

/// Copies the database, step by step; `between` is called between the steps and says whether to go on. Whether the copy was finished.
pub(crate) fn make(place: &Place, db: &Connection, between: impl FnMut() -> bool) -> Result<bool, String> {
    let draft = place.beside(".bak-draft");
    place::remove(&draft);
    let finished = copy(&draft, db, between);
    if !matches!(finished, Ok(true)) {
        place::remove(&draft);
    }
    if finished? {
        // Two are kept: if the newest copied damage that nobody had met yet, the one before may be whole.
        let renamed = place::rename_if_there(&place.backup(), &place.older_backup())
            .and_then(|()| fs::rename(&draft, place.backup()));
        renamed.map_err(|why| why.to_string())?;
        place.sync();
        return Ok(true);
    }
    Ok(false)
}

fn copy(draft: &std::path::Path, db: &Connection, mut between: impl FnMut() -> bool) -> Result<bool, String> {
    let text = |why: rusqlite::Error| why.to_string();
    let io_text = |why: io::Error| why.to_string();
    let file = place::make_private(draft).map_err(io_text)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut target = Connection::open_with_flags(draft, flags).map_err(text)?;
    // It is synced as a whole at the end, and thrown away if it does not get there.
    target
        .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -256;")
        .map_err(text)?;
    let backup = Backup::new(db, &mut target).map_err(text)?;
    let mut busy = 0;
    loop {
        match backup.step(STEP_PAGES).map_err(text)? {
            StepResult::Done => break,
            StepResult::Busy | StepResult::Locked if busy >= MAX_BUSY => {
                return Err("the database is held by another program".to_owned());
            }
            StepResult::Busy | StepResult::Locked => {
                busy += 1;
                std::thread::sleep(BUSY);
            }
            _ => busy = 0,
        }
        if !between() {
            return Ok(false);
        }
    }
    drop(backup);
    target.close().map_err(|(_, why)| why.to_string())?;
    file.sync_all().map_err(io_text)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recover;
    use crate::schema;

    /// What is written between two steps is in the copy, and a copy that was called off leaves the one before.
    #[test]
    fn a_copy_is_made_while_others_write() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::claim(directory.path()).unwrap();
        let db = recover::open(&place, Timestamp::UNIX_EPOCH, &mut Vec::new()).unwrap();
        db.execute_batch(
            "PRAGMA synchronous = OFF; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
             INSERT INTO samples (at, series, value) SELECT i, 1, 0.5 FROM n",
        )
        .unwrap();
        let mut steps = 0;
        let between = || {
            steps += 1;
            db.execute("INSERT INTO samples (at, series, value) VALUES (?1, 2, 1.5)", [steps]).unwrap();
            true
        };
        assert_eq!(make(&place, &db, between), Ok(true));
        assert!(steps > 5, "it was made step by step: {steps}");
        let count = |path| -> i64 {
            let copy = schema::open_to_write(path).unwrap();
            schema::check(&copy, 0).unwrap();
            copy.query_row("SELECT count(*) FROM samples WHERE series = 2", (), |row| row.get(0)).unwrap()
        };
        assert_eq!(count(&place.backup()), i64::from(steps));
        assert_eq!(make(&place, &db, || false), Ok(false));
        assert!(place.backup().exists() && !place.older_backup().exists() && !place.beside(".bak-draft").exists());
        assert_eq!(make(&place, &db, || true), Ok(true));
        assert!(place.older_backup().exists());
        let made = Timestamp::try_from(fs::metadata(place.backup()).unwrap().modified().unwrap()).unwrap();
        let later = |seconds| made.checked_add(Duration::from_secs(seconds)).unwrap();
        assert!(!is_due(&place, later(60)) && is_due(&place, later(90_000)));
    }
}
