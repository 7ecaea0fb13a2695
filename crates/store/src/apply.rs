//! Writes records into the database, inside of a transaction that somebody else began.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use monchero_core::Name;
use monchero_core::definition::Retention;
use rusqlite::{Connection, ErrorCode, OptionalExtension};
use serde::Serialize;

use crate::queue::Batch;
use crate::record::{ActionRow, ActionState, Record};
use crate::rollup::{self, Marks};
use crate::rows::{self, EventBody, event, state};

/// How many series of metrics are known by heart, in a quarter of a megabyte; above that they are looked up, which takes microseconds.
const SERIES_CACHE: usize = 14_336;
/// How many series there may be (R57): a plugin that invents labels must not fill the database. Further ones are dropped and counted.
pub(crate) const MAX_SERIES: i64 = 100_000;

/// What writing needs to remember between transactions.
#[derive(Debug, Default)]
pub(crate) struct Applier {
    series: SeriesCache,
    body: Vec<u8>,
    last_id: u64,
    pub(crate) marks: Marks,
}

/// What became of a transaction's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Rows written.
    pub(crate) rows: u64,
    /// Records or values that cannot be stored.
    pub(crate) refused: u64,
}

impl Applier {
    /// Forgets what a rolled back transaction or another database may have made untrue.
    pub(crate) fn reset(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.series.clear();
        self.last_id = 0;
        self.marks = Marks::load(connection)?;
        Ok(())
    }

    /// Forgets which series there are: some were removed.
    pub(crate) fn forget_series(&mut self) {
        self.series.clear();
    }

    /// Writes batches in order. `first_id` is the rowid of the first event: the same batches written again write the same rows.
    pub(crate) fn apply(
        &mut self,
        connection: &Connection,
        batches: &[Batch],
        first_id: i64,
    ) -> rusqlite::Result<Applied> {
        let mut applied = Applied::default();
        let records = || batches.iter().flat_map(|batch| &batch.records);
        let mut last = HashMap::new();
        for (index, record) in records().enumerate() {
            if let Record::Check(check) = record {
                last.insert(&check.name, index);
            }
        }
        for ((index, record), event_id) in records().enumerate().zip(first_id..) {
            let replaced = matches!(record, Record::Check(check) if last.get(&check.name) != Some(&index));
            if !replaced {
                match self.write(connection, record, event_id, &mut applied) {
                    Err(why) if is_refusal(&why) => {
                        tracing::error!(%why, ?record, "a record cannot be stored and is left out");
                        applied.refused += 1;
                    }
                    other => other?,
                }
            }
        }
        Ok(applied)
    }

    fn write(
        &mut self,
        db: &Connection,
        record: &Record,
        event_id: i64,
        applied: &mut Applied,
    ) -> rusqlite::Result<()> {
        applied.rows += 1;
        match record {
            Record::Check(check) => self.put(db, state::CHECK, check.name.as_str(), "", check),
            Record::Told { check, target, told } => self.put(db, state::TOLD, check.as_str(), target.as_str(), told),
            Record::Acknowledgement { check, acknowledgement: Some(acknowledgement) } => {
                self.put(db, state::ACKNOWLEDGEMENT, check.as_str(), "", acknowledgement)
            }
            Record::Acknowledgement { check, acknowledgement: None } => {
                remove(db, state::ACKNOWLEDGEMENT, check.as_str())
            }
            Record::Downtime(downtime) => {
                self.used_id(db, downtime.id)?;
                self.put(db, state::DOWNTIME, &downtime.id.to_string(), "", downtime)
            }
            Record::DowntimeEnded(id) => remove(db, state::DOWNTIME, &id.to_string()),
            Record::Posted { topic, target, posted: Some(posted) } => {
                self.put(db, state::POSTED, topic.as_str(), target.as_str(), posted)
            }
            Record::Posted { topic, target, posted: None } => {
                remove_part(db, state::POSTED, topic.as_str(), target.as_str())
            }
            Record::Running(Some(since)) => self.put(db, state::RUNNING, "", "", since),
            Record::Running(None) => remove(db, state::RUNNING, ""),
            Record::Forget(check) => [state::CHECK, state::TOLD, state::ACKNOWLEDGEMENT]
                .iter()
                .try_for_each(|kind| remove(db, kind, check.as_str())),
            Record::Transition { check, transition, message } => {
                let body = EventBody::Transition { transition, message };
                self.add(db, event_id, transition.at.as_millisecond(), event::TRANSITION, check, &body)
            }
            Record::Notice(notice) => self.add(
                db,
                event_id,
                notice.at.as_millisecond(),
                event::NOTICE,
                &notice.check,
                &EventBody::Notice(notice),
            ),
            Record::Action(action) => self.write_action(db, action, event_id),
            Record::Metrics { check, at, points } => {
                applied.rows -= 1;
                self.write_points(db, check, at.as_millisecond(), points, applied)
            }
        }
    }

    /// The body as JSON, in a buffer that is used again.
    fn json(&mut self, body: &impl Serialize) -> rusqlite::Result<&str> {
        self.body.clear();
        serde_json::to_writer(&mut self.body, body)
            .map_err(|why| rusqlite::Error::ToSqlConversionFailure(why.into()))?;
        std::str::from_utf8(&self.body).map_err(|why| rusqlite::Error::Utf8Error(0, why))
    }

    fn put(
        &mut self,
        db: &Connection,
        kind: &str,
        name: &str,
        part: &str,
        body: &impl Serialize,
    ) -> rusqlite::Result<()> {
        let body = self.json(body)?;
        let sum = rows::state_sum(kind, name, part, body);
        db.prepare_cached(
            "INSERT INTO state (kind, name, part, body, sum) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (kind, name, part) DO UPDATE SET body = excluded.body, sum = excluded.sum",
        )?
        .execute((kind, name, part, body, sum))?;
        Ok(())
    }

    fn add(
        &mut self,
        db: &Connection,
        id: i64,
        at: i64,
        kind: &str,
        check: &Name,
        body: &EventBody<'_>,
    ) -> rusqlite::Result<()> {
        let body = self.json(body)?;
        let sum = rows::event_sum(at, kind, check.as_str(), None, body);
        db.prepare_cached(
            "INSERT OR IGNORE INTO events (id, at, kind, check_name, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((id, at, kind, check.as_str(), body, sum))?;
        Ok(())
    }

    fn write_action(&mut self, db: &Connection, action: &ActionRow, event_id: i64) -> rusqlite::Result<()> {
        self.used_id(db, action.id)?;
        let kind = if action.outcome == ActionState::Intended { event::INTENT } else { event::ACTION };
        let (at, check, number) = (action.at.as_millisecond(), action.check.as_str(), rows::signed(action.id));
        let body = self.json(&EventBody::Action(action))?;
        let sum = rows::event_sum(at, kind, check, Some(number), body);
        let changed = db
            .prepare_cached(
                "UPDATE events SET at = ?1, kind = ?2, check_name = ?3, body = ?5, sum = ?6 WHERE number = ?4",
            )?
            .execute((at, kind, check, number, body, sum))?;
        if changed == 0 {
            db.prepare_cached(
                "INSERT INTO events (id, at, kind, check_name, number, body, sum) VALUES (?7, ?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((at, kind, check, number, body, sum, event_id))?;
        }
        Ok(())
    }

    /// Ids are never given twice, even when all that had them is gone.
    fn used_id(&mut self, db: &Connection, id: u64) -> rusqlite::Result<()> {
        if id > self.last_id {
            db.prepare_cached(
                "INSERT INTO meta (key, value) VALUES ('last_id', ?1) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
            )?
            .execute([rows::signed(id)])?;
            self.last_id = id;
        }
        Ok(())
    }

    fn write_points(
        &mut self,
        db: &Connection,
        check: &Name,
        at: i64,
        points: &[(Box<str>, Box<str>, f64)],
        applied: &mut Applied,
    ) -> rusqlite::Result<()> {
        let mut insert = db.prepare_cached("INSERT OR IGNORE INTO samples (at, series, value) VALUES (?1, ?2, ?3)")?;
        for (label, unit, value) in points {
            // SQLite has no NaN, and an infinity would swallow every mean that it is part of.
            let series = if value.is_finite() { self.series.id(db, check, label, unit, at)? } else { None };
            let Some(series) = series else {
                applied.refused += 1;
                continue;
            };
            if insert.execute((at, series, value))? == 1 {
                applied.rows += 1;
                self.marks.take_late(db, at, series, *value)?;
            }
        }
        Ok(())
    }
}

/// Whether the record itself is the reason, not the database.
fn is_refusal(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::ToSqlConversionFailure(_) => true,
        other => matches!(
            other.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
        ),
    }
}

fn remove(db: &Connection, kind: &str, name: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM state WHERE kind = ?1 AND name = ?2")?.execute((kind, name))?;
    Ok(())
}

fn remove_part(db: &Connection, kind: &str, name: &str, part: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM state WHERE kind = ?1 AND name = ?2 AND part = ?3")?.execute((kind, name, part))?;
    Ok(())
}

/// The numbers of series, by a hash of check, label and unit. The hash has a key that is drawn at every start, so nobody can choose
/// labels that collide, and by chance 64 bits do not: names as keys would take ten times the memory.
#[derive(Debug, Default)]
struct SeriesCache {
    ids: HashMap<u64, i64>,
    key: RandomState,
    /// How many there are in the database, once that was asked.
    count: Option<i64>,
}

impl SeriesCache {
    fn clear(&mut self) {
        self.ids = HashMap::new();
        self.count = None;
    }

    /// The number of a series, which is made if it is new; none if there are too many.
    fn id(&mut self, db: &Connection, check: &Name, label: &str, unit: &str, at: i64) -> rusqlite::Result<Option<i64>> {
        let hash = self.key.hash_one((check.as_str(), label, unit));
        if let Some(id) = self.ids.get(&hash) {
            return Ok(Some(*id));
        }
        let id = self.find_or_make(db, check, label, unit, at)?;
        if let Some(id) = id {
            if self.ids.len() >= SERIES_CACHE {
                self.ids.clear();
            }
            self.ids.insert(hash, id);
        }
        Ok(id)
    }

    fn find_or_make(
        &mut self,
        db: &Connection,
        check: &Name,
        label: &str,
        unit: &str,
        at: i64,
    ) -> rusqlite::Result<Option<i64>> {
        let found = db
            .prepare_cached("SELECT id FROM series WHERE check_name = ?1 AND label = ?2 AND unit = ?3")?
            .query_row((check.as_str(), label, unit), |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
        let count = match self.count {
            Some(count) => count,
            None => db.query_row("SELECT count(*) FROM series", (), |row| row.get(0))?,
        };
        self.count = Some(count);
        if count >= MAX_SERIES {
            return Ok(None);
        }
        db.prepare_cached("INSERT INTO series (check_name, label, unit, seen) VALUES (?1, ?2, ?3, ?4)")?.execute((
            check.as_str(),
            label,
            unit,
            at,
        ))?;
        self.count = Some(count + 1);
        Ok(Some(db.last_insert_rowid()))
    }
}

/// Removes series whose last value is older than everything that is kept; whether there were any.
pub(crate) fn remove_old_series(db: &Connection, retention: &Retention, now: i64) -> rusqlite::Result<bool> {
    let longest = retention.metrics.max(retention.metrics_5m).max(retention.metrics_1h);
    let cutoff = rollup::before(now, longest).saturating_sub(2 * rollup::HOUR);
    let removed = db
        .prepare_cached("DELETE FROM series WHERE id IN (SELECT id FROM series WHERE seen < ?1 LIMIT 500)")?
        .execute([cutoff])?;
    Ok(removed > 0)
}

/// The rowid for the next event.
pub(crate) fn next_event_id(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT coalesce(max(id), 0) + 1 FROM events", (), |row| row.get(0))
}
