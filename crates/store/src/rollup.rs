//! Roll-ups: what is left of metrics when single values are too many.
//!
//! Each value is added to its five-minute row once, and each five-minute row to its hourly row once. A mark for each of the two says up
//! to where, in the order of the table; it is moved in the transaction that adds, so a crash neither loses nor doubles anything. A value
//! that comes behind a mark (a clock that was set back) is added at once.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::Connection;

use crate::schema;

/// The length of a fine roll-up, in milliseconds.
pub(crate) const FIVE_MINUTES: i64 = 5 * 60 * 1_000;
/// The length of a coarse roll-up, in milliseconds.
pub(crate) const HOUR: i64 = 60 * 60 * 1_000;
/// How long after a window ends it is rolled up: values wait for a flush, so they come a little late.
const SETTLE: i64 = 10 * 1_000;
/// How many rows one step takes: two or three milliseconds, which is as long as something urgent may have to wait.
pub(crate) const STEP_ROWS: i64 = 1_000;

/// The beginning of the window in which a time is.
pub(crate) fn window(at: i64, length: i64) -> i64 {
    at.div_euclid(length).saturating_mul(length)
}

/// The time `span` before `now`, in milliseconds.
pub(crate) fn before(now: i64, span: Duration) -> i64 {
    now.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

/// A place in a table that is ordered by time and series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    at: i64,
    series: i64,
}

impl Mark {
    /// Behind everything before `at`.
    fn before(at: i64) -> Self {
        Self { at: at.saturating_sub(1), series: i64::MAX }
    }

    /// Up to when everything is behind the mark, exclusively.
    fn whole(self) -> i64 {
        if self.series == i64::MAX { self.at.saturating_add(1) } else { self.at }
    }

    fn load(db: &Connection, keys: [&str; 2]) -> rusqlite::Result<Self> {
        let at = schema::meta(db, keys[0])?.unwrap_or(i64::MIN);
        Ok(Self { at, series: schema::meta(db, keys[1])?.unwrap_or(i64::MIN) })
    }

    fn save(self, db: &Connection, keys: [&str; 2]) -> rusqlite::Result<()> {
        schema::set_meta(db, keys[0], self.at)?;
        schema::set_meta(db, keys[1], self.series)
    }
}

const FINE_KEYS: [&str; 2] = ["rolled_5m_at", "rolled_5m_series"];
const COARSE_KEYS: [&str; 2] = ["rolled_1h_at", "rolled_1h_series"];

/// Up to where values are rolled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    fine: Mark,
    coarse: Mark,
}

impl Default for Marks {
    fn default() -> Self {
        let nothing = Mark { at: i64::MIN, series: i64::MIN };
        Self { fine: nothing, coarse: nothing }
    }
}

/// A roll-up, or one value on the way into one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rollup {
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) count: i64,
}

impl Rollup {
    pub(crate) fn of(value: f64) -> Self {
        Self { mean: value, min: value, max: value, count: 1 }
    }

    /// Both together. The mean moves by the difference, which neither overflows nor loses digits as a sum would.
    pub(crate) fn merge(&mut self, other: &Self) {
        let count = self.count.saturating_add(other.count).max(1);
        self.mean += (other.mean - self.mean) * (other.count as f64 / count as f64);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.count = count;
    }

    fn add_to(&self, db: &Connection, table: &str, at: i64, series: i64) -> rusqlite::Result<()> {
        db.prepare_cached(&format!(
            "INSERT INTO {table} (at, series, mean, min, max, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (at, series) DO UPDATE SET
               mean = mean + (excluded.mean - mean) * (excluded.count * 1.0 / (count + excluded.count)),
               min = min(min, excluded.min), max = max(max, excluded.max), count = count + excluded.count"
        ))?
        .execute((at, series, self.mean, self.min, self.max, self.count))?;
        Ok(())
    }
}

/// The rows of one step, added up by window and series.
type Sums = HashMap<(i64, i64), Rollup>;

fn add(sums: &mut Sums, at: i64, series: i64, rollup: Rollup) {
    sums.entry((at, series)).and_modify(|sum| sum.merge(&rollup)).or_insert(rollup);
}

impl Marks {
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        Ok(Self { fine: Mark::load(db, FINE_KEYS)?, coarse: Mark::load(db, COARSE_KEYS)? })
    }

    /// Up to when all values are in fine roll-ups, and fine ones in coarse ones, exclusively.
    pub(crate) fn whole(&self) -> (i64, i64) {
        (self.fine.whole(), self.coarse.whole())
    }

    /// Adds a new value to the roll-ups that its time has already passed.
    pub(crate) fn take_late(&self, db: &Connection, at: i64, series: i64, value: f64) -> rusqlite::Result<()> {
        if (Mark { at, series }) > self.fine {
            return Ok(());
        }
        let fine = window(at, FIVE_MINUTES);
        Rollup::of(value).add_to(db, "rollups_5m", fine, series)?;
        if (Mark { at: fine, series }) > self.coarse {
            return Ok(());
        }
        Rollup::of(value).add_to(db, "rollups_1h", window(at, HOUR), series)
    }

    /// Rolls up some values of windows that have ended; whether there are more. Inside of a transaction; the marks in memory are to be
    /// forgotten if that is rolled back.
    pub(crate) fn roll_fine(&mut self, db: &Connection, now: i64) -> rusqlite::Result<bool> {
        let end = window(now.saturating_sub(SETTLE), FIVE_MINUTES);
        if self.fine.whole() >= end {
            return Ok(false);
        }
        let mut statement = db.prepare_cached(
            "SELECT at, series, value FROM samples WHERE (at, series) > (?1, ?2) AND at < ?3 ORDER BY at, series LIMIT ?4",
        )?;
        let mut sums = Sums::new();
        let mut rows = statement.query((self.fine.at, self.fine.series, end, STEP_ROWS))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            self.fine = Mark { at: row.get(0)?, series: row.get(1)? };
            add(&mut sums, window(self.fine.at, FIVE_MINUTES), self.fine.series, Rollup::of(row.get(2)?));
            count += 1;
        }
        drop(rows);
        for ((at, series), sum) in &sums {
            sum.add_to(db, "rollups_5m", *at, *series)?;
        }
        if count < STEP_ROWS {
            self.fine = Mark::before(end);
        }
        self.fine.save(db, FINE_KEYS)?;
        Ok(count == STEP_ROWS)
    }

    /// As [`Self::roll_fine`], from fine roll-ups into coarse ones.
    pub(crate) fn roll_coarse(&mut self, db: &Connection) -> rusqlite::Result<bool> {
        let end = window(self.fine.whole(), HOUR);
        if self.coarse.whole() >= end {
            return Ok(false);
        }
        let mut statement = db.prepare_cached(
            "SELECT at, series, mean, min, max, count FROM rollups_5m WHERE (at, series) > (?1, ?2) AND at < ?3
             ORDER BY at, series LIMIT ?4",
        )?;
        let mut sums = Sums::new();
        let mut rows = statement.query((self.coarse.at, self.coarse.series, end, STEP_ROWS))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            self.coarse = Mark { at: row.get(0)?, series: row.get(1)? };
            let rollup = Rollup { mean: row.get(2)?, min: row.get(3)?, max: row.get(4)?, count: row.get(5)? };
            add(&mut sums, window(self.coarse.at, HOUR), self.coarse.series, rollup);
            count += 1;
        }
        drop(rows);
        let mut seen = db.prepare_cached("UPDATE series SET seen = ?2 WHERE id = ?1 AND seen < ?2")?;
        for ((at, series), sum) in &sums {
            sum.add_to(db, "rollups_1h", *at, *series)?;
            seen.execute((series, at))?;
        }
        if count < STEP_ROWS {
            self.coarse = Mark::before(end);
        }
        self.coarse.save(db, COARSE_KEYS)?;
        Ok(count == STEP_ROWS)
    }
}
