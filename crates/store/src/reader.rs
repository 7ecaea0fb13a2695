//! Reads history and metrics, beside the thread that writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use monchero_core::summary::Tally;
use monchero_core::{Name, hold};
use rusqlite::{Connection, OptionalExtension};

use crate::error::ReadError;
use crate::load::Shortener;
use crate::record::{HistoryEntry, HistoryKind, HistoryQuery, MetricPoint};
use crate::rollup::{self, FIVE_MINUTES, HOUR, Marks, Rollup};
use crate::rows::{EVENT_COLUMNS, EventRow, event};
use crate::schema;

/// The most entries that one question about history answers: two thousand take about a megabyte.
pub const MAX_HISTORY: usize = 2_000;
/// The most points that one question about a metric answers: more than any screen is wide.
pub const MAX_POINTS: usize = 10_000;
/// Up to which span single values are read. Values of all series stand together in the order of time, so this bounds the work.
const RAW_SPAN: i64 = 6 * HOUR;

/// Answers questions about history and metrics. Cheap to clone.
///
/// Its methods block while the disk is read: an async caller uses `spawn_blocking`. Each opens a connection of its own, which takes a
/// fraction of a millisecond, so that nothing is kept in memory between two questions.
#[derive(Clone, Debug)]
pub struct Reader {
    path: Arc<Path>,
}

/// One series of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The label.
    pub label: String,
    /// The unit, as the plugin writes it; empty if there is none.
    pub unit: String,
}

impl Reader {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path: path.into() }
    }

    fn read<T>(
        &self,
        what: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        schema::open_to_read(&self.path).and_then(|connection| read(&connection)).map_err(|source| ReadError {
            what,
            path: self.path.to_path_buf(),
            source,
        })
    }

    /// What happened, the newest first. Long output of actions is shortened, that of the newest least.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryEntry>, ReadError> {
        self.read("history", |db| history(db, query))
    }

    /// Shows a tally what happened in its period, oldest first. Drills do not count. What cannot be read is left out.
    pub fn tally(&self, tally: &mut Tally) -> Result<(), ReadError> {
        self.read("history", |db| count(db, tally))
    }

    /// A metric from `since` until `until`, oldest first, in at most `max_points` points (and at most [`MAX_POINTS`]): single values
    /// of a short span that is not long ago, roll-ups else. If its unit has changed, the latest unit counts.
    pub fn metrics(
        &self,
        check: &str,
        label: &str,
        since: Timestamp,
        until: Timestamp,
        max_points: usize,
    ) -> Result<Vec<MetricPoint>, ReadError> {
        let range = (since.as_millisecond(), until.as_millisecond());
        self.read("metrics", |db| metrics(db, check, label, range, max_points.clamp(1, MAX_POINTS)))
    }

    /// The metrics that a check has had, as long as any value of them is kept.
    pub fn series(&self, check: &str) -> Result<Vec<Series>, ReadError> {
        self.read("the list of metrics", |db| {
            db.prepare("SELECT label, unit FROM series WHERE check_name = ?1 ORDER BY label, unit")?
                .query_map([check], |row| Ok(Series { label: row.get(0)?, unit: row.get(1)? }))?
                .collect()
        })
    }
}

fn history(db: &Connection, query: &HistoryQuery) -> rusqlite::Result<Vec<HistoryEntry>> {
    let limit = query.limit.min(MAX_HISTORY);
    let since = query.since.map_or(i64::MIN, Timestamp::as_millisecond);
    // The index answers this alone, so what does not match costs little.
    let mut search = db.prepare("SELECT id, check_name FROM events WHERE at >= ?1 ORDER BY at DESC, id DESC")?;
    let mut get = db.prepare(&format!("SELECT {EVENT_COLUMNS} FROM events WHERE id = ?1"))?;
    let mut entries = Vec::new();
    let mut shortener = Shortener::default();
    let mut rows = search.query([since])?;
    while entries.len() < limit {
        let Some(row) = rows.next()? else { break };
        let name = row.get_ref(1)?.as_str().unwrap_or_default();
        if query.check.as_deref().is_some_and(|pattern| !hold::matches(pattern, name)) {
            continue;
        }
        let mut found = get.query([row.get::<_, i64>(0)?])?;
        let Some(event) = found.next()? else { continue };
        match EventRow::read(event).and_then(|event| entry(&event)) {
            Ok(mut entry) => {
                if let HistoryKind::Action(action) = &mut entry.what {
                    shortener.shorten(&mut action.output);
                }
                entries.push(entry);
            }
            Err(why) => tracing::warn!(check = name, why, "a line of history could not be read and is left out"),
        }
    }
    Ok(entries)
}

fn count(db: &Connection, tally: &mut Tally) -> rusqlite::Result<()> {
    let mut search = db.prepare(&format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE at >= ?1 AND at <= ?2 AND kind IN ('{}', '{}') ORDER BY at, id",
        event::TRANSITION,
        event::NOTICE
    ))?;
    let mut rows = search.query((tally.since().as_millisecond(), tally.until().as_millisecond()))?;
    while let Some(row) = rows.next()? {
        match EventRow::read(row).and_then(|event| entry(&event)) {
            Ok(HistoryEntry { check, what: HistoryKind::Transition { transition, .. }, .. }) => {
                tally.transition(&check, &transition);
            }
            Ok(HistoryEntry { what: HistoryKind::Notice(notice), .. }) if !notice.drill => {
                tally.notice(notice.delivered);
            }
            Ok(_) => {}
            Err(why) => tracing::warn!(why, "a line of history could not be read and is left out"),
        }
    }
    Ok(())
}

fn entry(row: &EventRow<'_>) -> Result<HistoryEntry, String> {
    let what: HistoryKind = serde_json::from_str(row.body).map_err(|why| why.to_string())?;
    let at = match &what {
        HistoryKind::Transition { transition, .. } => transition.at,
        HistoryKind::Notice(notice) => notice.at,
        HistoryKind::Action(action) => action.at,
    };
    Ok(HistoryEntry { at, check: Name::new(row.check), what })
}

/// Where values of one kind end and finer ones begin.
type Points = Vec<(i64, Rollup)>;

fn metrics(
    db: &Connection,
    check: &str,
    label: &str,
    range: (i64, i64),
    max_points: usize,
) -> rusqlite::Result<Vec<MetricPoint>> {
    let series: Option<i64> = db
        .prepare("SELECT id FROM series WHERE check_name = ?1 AND label = ?2 ORDER BY seen DESC, id DESC LIMIT 1")?
        .query_row((check, label), |row| row.get(0))
        .optional()?;
    let Some(series) = series else { return Ok(Vec::new()) };
    let (since, until) = range;
    let span = until.saturating_sub(since);
    let first = |table: &str| {
        db.query_row(&format!("SELECT coalesce(min(at), ?1) FROM {table}"), [i64::MAX], |row| row.get::<_, i64>(0))
    };
    let wanted = span / i64::try_from(max_points).unwrap_or(i64::MAX);
    // The finest that is kept that long; hours are enough where a point of the answer is that long anyway.
    let use_raw = span <= RAW_SPAN && first("samples")? <= since.saturating_add(FIVE_MINUTES);
    let use_fine = wanted < HOUR
        && usize::try_from(span / FIVE_MINUTES).is_ok_and(|windows| windows <= MAX_POINTS)
        && first("rollups_5m")? <= since.saturating_add(HOUR);
    let (fine_end, coarse_end) = Marks::load(db)?.whole();
    let mut points = Points::new();
    let mut from = since;
    if !use_raw && !use_fine {
        let end = until.min(coarse_end);
        read_rollups(db, "rollups_1h", HOUR, series, (from.max(first("rollups_1h")?), end), &mut points)?;
        from = from.max(end);
    }
    if !use_raw {
        let end = until.min(fine_end);
        read_rollups(db, "rollups_5m", FIVE_MINUTES, series, (from.max(first("rollups_5m")?), end), &mut points)?;
        from = from.max(end);
    }
    // What is not rolled up yet is a stretch of minutes, unless roll-ups have not been made for long; then its end is shown.
    let from = from.max(until.saturating_sub(RAW_SPAN));
    let mut raw = db.prepare("SELECT at, value FROM samples WHERE at >= ?1 AND at < ?2 AND series = ?3 ORDER BY at")?;
    let mut rows = raw.query((from, until, series))?;
    while let Some(row) = rows.next()? {
        points.push((row.get(0)?, Rollup::of(row.get(1)?)));
        if points.len() >= 4 * MAX_POINTS {
            points = thin(points, range, MAX_POINTS);
        }
    }
    Ok(thin(points, range, max_points).into_iter().filter_map(point).collect())
}

/// Roll-ups stand at known times, so those of one series are found one by one without looking at the others.
fn read_rollups(
    db: &Connection,
    table: &str,
    length: i64,
    series: i64,
    (from, until): (i64, i64),
    points: &mut Points,
) -> rusqlite::Result<()> {
    let mut get = db.prepare(&format!("SELECT mean, min, max, count FROM {table} WHERE at = ?1 AND series = ?2"))?;
    let mut at = rollup::window(from, length);
    while at < until {
        let found = get
            .query_row((at, series), |row| {
                Ok(Rollup { mean: row.get(0)?, min: row.get(1)?, max: row.get(2)?, count: row.get(3)? })
            })
            .optional()?;
        points.extend(found.map(|rollup| (at, rollup)));
        at = at.saturating_add(length);
    }
    Ok(())
}

/// At most `max` points, each of an equal part of the range.
fn thin(points: Points, (since, until): (i64, i64), max: usize) -> Points {
    if points.len() <= max {
        return points;
    }
    let parts = i64::try_from(max).unwrap_or(i64::MAX);
    let width = until.saturating_sub(since).saturating_add(parts - 1).div_euclid(parts).max(1);
    let mut out: Points = Vec::with_capacity(max);
    let mut current = None;
    for (at, rollup) in points {
        // The first roll-up may begin before the range does.
        let part = at.max(since).saturating_sub(since) / width;
        match out.last_mut() {
            Some((_, sum)) if current == Some(part) => sum.merge(&rollup),
            _ => out.push((at, rollup)),
        }
        current = Some(part);
    }
    out
}

fn point((at, rollup): (i64, Rollup)) -> Option<MetricPoint> {
    Some(MetricPoint {
        at: Timestamp::from_millisecond(at).ok()?,
        mean: rollup.mean,
        min: rollup.min,
        max: rollup.max,
        count: u64::try_from(rollup.count).ok()?,
    })
}

/// A check's name for tests and callers that have one at hand.
impl From<&Name> for HistoryQuery {
    fn from(check: &Name) -> Self {
        Self { check: Some(check.as_str().to_owned()), since: None, limit: MAX_HISTORY }
    }
}
