//! What the writer does when it has nothing to write: roll-ups, retention, the bound on the size. In steps of a few milliseconds, each
//! in a transaction of its own, so that what is urgent never waits long.

use monchero_core::definition::Retention;
use rusqlite::Connection;

use crate::apply::{Applier, remove_old_series};
use crate::rollup::{self, STEP_ROWS};

/// How many free pages are given back to the file system in one step: 256 KiB.
const VACUUM_PAGES: i64 = 64;
/// Fewer free pages than this stay in the file: it will need them again.
const KEEP_FREE_PAGES: i64 = 256;

/// The tables that retention and the bound on the size shorten, in the order in which they are given up.
const TABLES: [&str; 4] = ["samples", "rollups_5m", "rollups_1h", "events"];

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fine,
    Coarse,
    Retain(usize),
    Series,
    Evict,
    Vacuum,
}

/// One round of upkeep.
#[derive(Debug)]
pub(crate) struct Upkeep {
    phase: Phase,
    now: i64,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do.
    More,
    /// The round is over.
    Done,
}

impl Upkeep {
    /// A round for the wall clock `now`, in milliseconds.
    pub(crate) fn new(now: i64) -> Self {
        Self { phase: Phase::Fine, now }
    }

    /// Does a little. `evicted` counts the rows that went because of the size.
    pub(crate) fn step(
        &mut self,
        db: &Connection,
        applier: &mut Applier,
        retention: &Retention,
        max_bytes: u64,
        evicted: &mut u64,
    ) -> rusqlite::Result<Step> {
        let before = applier.marks;
        let transaction = db.unchecked_transaction()?;
        let more = match self.phase {
            Phase::Fine => applier.marks.roll_fine(db, self.now),
            Phase::Coarse => applier.marks.roll_coarse(db),
            Phase::Retain(table) => retain(db, table, retention, applier.marks.whole(), self.now),
            Phase::Series => remove_old_series(db, retention, self.now),
            Phase::Evict => evict(db, max_bytes).inspect(|rows| *evicted += rows).map(|rows| rows > 0),
            Phase::Vacuum => vacuum(db),
        };
        let more = match more.and_then(|more| transaction.commit().map(|()| more)) {
            Ok(more) => more,
            Err(why) => {
                applier.marks = before;
                return Err(why);
            }
        };
        if self.phase == Phase::Series && more {
            applier.forget_series();
        }
        if more {
            return Ok(Step::More);
        }
        let next = match self.phase {
            Phase::Fine => Phase::Coarse,
            Phase::Coarse => Phase::Retain(0),
            Phase::Retain(table) if table + 1 < TABLES.len() => Phase::Retain(table + 1),
            Phase::Retain(_) => Phase::Series,
            Phase::Series => Phase::Evict,
            Phase::Evict => Phase::Vacuum,
            Phase::Vacuum => return Ok(Step::Done),
        };
        self.phase = next;
        Ok(Step::More)
    }
}

/// Removes some rows that are older than retention wants; whether there are more. Values stay until they are rolled up.
fn retain(
    db: &Connection,
    table: usize,
    retention: &Retention,
    rolled: (i64, i64),
    now: i64,
) -> rusqlite::Result<bool> {
    let (span, length, rolled) = match table {
        0 => (retention.metrics, rollup::FIVE_MINUTES, rolled.0),
        1 => (retention.metrics_5m, rollup::HOUR, rolled.1),
        2 => (retention.metrics_1h, rollup::HOUR, i64::MAX),
        _ => (retention.events, 1, i64::MAX),
    };
    // Whole windows go, so that no roll-up is made of half of its values.
    let cutoff = rollup::window(rollup::before(now, span), length).min(rolled);
    Ok(remove_oldest(db, TABLES.get(table).copied().unwrap_or("events"), cutoff)? > 0)
}

/// Removes about [`STEP_ROWS`] of the oldest rows before `cutoff`; how many.
fn remove_oldest(db: &Connection, table: &str, cutoff: i64) -> rusqlite::Result<usize> {
    if table == "events" {
        return db
            .prepare_cached(
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < ?1 AND kind <> 'intent' ORDER BY at, id LIMIT ?2)",
            )?
            .execute((cutoff, STEP_ROWS / 4));
    }
    let sql = format!(
        "DELETE FROM {table} WHERE at < ?1 AND at <= coalesce((SELECT at FROM {table} WHERE at < ?1 ORDER BY at LIMIT 1 OFFSET ?2), ?1)"
    );
    db.prepare_cached(&sql)?.execute((cutoff, STEP_ROWS))
}

/// Removes the oldest of what is worth the least while the database is too large; how many rows.
fn evict(db: &Connection, max_bytes: u64) -> rusqlite::Result<u64> {
    if used_bytes(db)? <= max_bytes {
        return Ok(0);
    }
    for table in TABLES {
        let removed = remove_oldest(db, table, i64::MAX)?;
        if removed > 0 {
            return Ok(removed as u64);
        }
    }
    Ok(0)
}

/// What the database takes without the pages that are free.
pub(crate) fn used_bytes(db: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| db.prepare_cached(&format!("PRAGMA {name}"))?.query_row((), |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(u64::try_from(pages.saturating_mul(pragma("page_size")?)).unwrap_or(0))
}

/// Gives some free pages back if there are many; whether there are more.
fn vacuum(db: &Connection) -> rusqlite::Result<bool> {
    let free: i64 = db.prepare_cached("PRAGMA freelist_count")?.query_row((), |row| row.get(0))?;
    let pages: i64 = db.prepare_cached("PRAGMA page_count")?.query_row((), |row| row.get(0))?;
    if free <= KEEP_FREE_PAGES.max(pages / 8) {
        return Ok(false);
    }
    let mut statement = db.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    drop(rows);
    let left: i64 = db.prepare_cached("PRAGMA freelist_count")?.query_row((), |row| row.get(0))?;
    Ok(left < free)
}

#[cfg(test)]
mod tests;
