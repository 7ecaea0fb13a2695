//! Rows of `state` and `events`: what is in them, and how damage in them is seen.

use jiff::Timestamp;
use monchero_core::Transition;
use monchero_core::incident::stable_hash;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde::Serialize;

use crate::record::{ActionRow, NoticeRow};

/// The words in the column `kind` of `state`.
pub(crate) mod state {
    pub(crate) const CHECK: &str = "check";
    pub(crate) const TOLD: &str = "told";
    pub(crate) const ACKNOWLEDGEMENT: &str = "acknowledgement";
    pub(crate) const DOWNTIME: &str = "downtime";
    pub(crate) const POSTED: &str = "posted";
    pub(crate) const RUNNING: &str = "running";
}

/// The words in the column `kind` of `events`.
pub(crate) mod event {
    pub(crate) const TRANSITION: &str = "transition";
    pub(crate) const NOTICE: &str = "notice";
    pub(crate) const ACTION: &str = "action";
    /// An action that has not ended.
    pub(crate) const INTENT: &str = "intent";
}

/// How many rows the quarantine keeps; the oldest go.
const MAX_QUARANTINE: i64 = 1_000;

/// What [`crate::record::HistoryKind`] looks like when it is written, without copying it together first.
#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(crate) enum EventBody<'a> {
    Transition { transition: &'a Transition, message: &'a str },
    Notice(&'a NoticeRow),
    Action(&'a ActionRow),
}

/// A row of `state` as it stands in the database.
pub(crate) struct StateRow<'a> {
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) part: &'a str,
    pub(crate) body: &'a str,
}

/// The columns of [`StateRow::read`].
pub(crate) const STATE_COLUMNS: &str = "id, kind, name, part, body, sum";

impl<'a> StateRow<'a> {
    /// The row, if its sum says that it is as it was written.
    pub(crate) fn read(row: &'a Row<'_>) -> Result<Self, String> {
        let this = Self { kind: text(row, 1)?, name: text(row, 2)?, part: text(row, 3)?, body: text(row, 4)? };
        same(number(row, 5)?, state_sum(this.kind, this.name, this.part, this.body))?;
        Ok(this)
    }
}

/// A row of `events` as it stands in the database.
pub(crate) struct EventRow<'a> {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) kind: &'a str,
    pub(crate) check: &'a str,
    pub(crate) number: Option<i64>,
    pub(crate) body: &'a str,
}

/// The columns of [`EventRow::read`].
pub(crate) const EVENT_COLUMNS: &str = "id, at, kind, check_name, number, body, sum";

impl<'a> EventRow<'a> {
    /// The row, if its sum says that it is as it was written.
    pub(crate) fn read(row: &'a Row<'_>) -> Result<Self, String> {
        let action = match value(row, 4)? {
            ValueRef::Null => None,
            _ => Some(number(row, 4)?),
        };
        let this = Self {
            id: number(row, 0)?,
            at: number(row, 1)?,
            kind: text(row, 2)?,
            check: text(row, 3)?,
            number: action,
            body: text(row, 5)?,
        };
        same(number(row, 6)?, event_sum(this.at, this.kind, this.check, this.number, this.body))?;
        Ok(this)
    }
}

/// What SQLite cannot know: that the bytes of a row are those that were written.
pub(crate) fn state_sum(kind: &str, name: &str, part: &str, body: &str) -> i64 {
    stable_hash(&[kind.as_bytes(), name.as_bytes(), part.as_bytes(), body.as_bytes()]).cast_signed()
}

/// As [`state_sum`], for an event.
pub(crate) fn event_sum(at: i64, kind: &str, check: &str, number: Option<i64>, body: &str) -> i64 {
    let number = number.unwrap_or(-1).to_be_bytes();
    stable_hash(&[&at.to_be_bytes(), kind.as_bytes(), check.as_bytes(), &number, body.as_bytes()]).cast_signed()
}

fn same(written: i64, now: i64) -> Result<(), String> {
    if written == now { Ok(()) } else { Err("its bytes are not those that were written".to_owned()) }
}

fn value<'a>(row: &'a Row<'_>, column: usize) -> Result<ValueRef<'a>, String> {
    row.get_ref(column).map_err(|why| why.to_string())
}

fn number(row: &Row<'_>, column: usize) -> Result<i64, String> {
    value(row, column)?.as_i64().map_err(|why| why.to_string())
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, String> {
    value(row, column)?.as_str().map_err(|why| why.to_string())
}

/// A row that could not be read: what a person needs to see what is lost.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) source: &'static str,
    pub(crate) id: Option<i64>,
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) body: Vec<u8>,
}

impl Unreadable {
    /// Takes along what can be had of a row whose column 0 is its rowid.
    pub(crate) fn of(row: &Row<'_>, source: &'static str, name: usize, body: usize, reason: String) -> Self {
        let bytes = |column| match row.get_ref(column) {
            Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let name = monchero_core::text::clean(&bytes(name));
        Self { source, id: number(row, 0).ok(), name, reason, body: bytes(body) }
    }

    /// What is lost, for `self/store`.
    pub(crate) fn describe(&self) -> String {
        let what =
            if self.source == "state" { "its stored state starts anew" } else { "a line of its history is lost" };
        format!(
            "`{}`: a row of {} could not be read ({}); {what}, the row is kept in `quarantine`",
            self.name, self.source, self.reason
        )
    }

    /// Moves the row from its table into the quarantine.
    pub(crate) fn quarantine(&self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT INTO quarantine (at, source, name, reason, body) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((now.as_millisecond(), self.source, &self.name, &self.reason, &self.body))?;
        connection
            .prepare_cached("DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?1")?
            .execute([MAX_QUARANTINE])?;
        if let Some(id) = self.id {
            connection.execute(&format!("DELETE FROM {} WHERE id = ?1", self.source), [id])?;
        }
        Ok(())
    }
}

/// Unsigned ids fit SQLite's signed integers bit by bit.
pub(crate) fn signed(id: u64) -> i64 {
    id.cast_signed()
}
