//! Reads what a daemon needs to start.

use std::time::Duration;

use jiff::Timestamp;
use monchero_core::Name;
use monchero_core::action::Posted;
use monchero_core::decide::Told;
use monchero_core::hold::{Acknowledgement, Downtime};
use rusqlite::Connection;
use serde::Deserialize;

use crate::believed;
use crate::record::{ActionRow, ActionState, HistoryKind, Loaded, StoredCheck};
use crate::rows::{self, EVENT_COLUMNS, EventRow, STATE_COLUMNS, StateRow, Unreadable, event};
use crate::schema::{self, WHOLE_CHECK_BYTES};

/// How far back actions are loaded, for `cooldown`; for `limit`, those of incidents that are open.
const RECENT: Duration = Duration::from_secs(7 * 86_400);
/// How long a problem may have been unconfirmed before its incident began, with actions already.
const UNCONFIRMED: Duration = Duration::from_secs(86_400);
/// How many recent actions are loaded, the newest; a host that acts more often than that has other worries.
const MAX_RECENT: usize = 2_000;
/// How much output of recent actions is loaded in full; of older ones the first [`SHORT_OUTPUT`] bytes are.
pub(crate) const WHOLE_OUTPUT: usize = 256 * 1024;
/// See [`WHOLE_OUTPUT`].
pub(crate) const SHORT_OUTPUT: usize = 256;
/// How many repairs are named one by one; more are counted.
const MAX_REPAIRS: usize = 50;

/// What was loaded, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) loaded: Loaded,
    pub(crate) unreadable: Vec<Unreadable>,
    /// Downtimes that are over.
    pub(crate) ended: Vec<u64>,
}

impl Found {
    /// Names a row that cannot be read, once.
    fn lose(&mut self, row: Unreadable) {
        if !self.unreadable.iter().any(|known| known.source == row.source && known.id == row.id && row.id.is_some()) {
            self.unreadable.push(row);
        }
    }
}

/// Reads it. Rows that cannot be read are passed over and named (R33).
pub(crate) fn load(connection: &Connection, now: Timestamp, bytes: u64) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    load_state(connection, &mut found)?;
    // A clock that is ahead for a while takes no planned work along: what is over by it alone, the daemon keeps for a day.
    let believed = believed::at_start(now, newest(&found.loaded));
    let over = found.loaded.downtimes.extract_if(.., |downtime| downtime.over() <= believed);
    found.ended = over.map(|downtime| downtime.id).collect();
    if bytes <= WHOLE_CHECK_BYTES {
        judge_events(connection, &mut found)?;
    }
    load_actions(connection, now, &mut found)?;
    let written = schema::meta(connection, "last_id")?.unwrap_or(0);
    let used: Option<i64> = connection.query_row("SELECT max(number) FROM events", (), |row| row.get(0))?;
    let ids = [written, used.unwrap_or(0)].into_iter().filter_map(|id| u64::try_from(id).ok());
    found.loaded.last_id = ids.chain([found.loaded.last_id]).max().unwrap_or(0);
    Ok(found)
}

/// The newest time that an earlier daemon left.
pub(crate) fn newest(loaded: &Loaded) -> Option<Timestamp> {
    loaded.checks.iter().filter_map(|check| check.status.last_check).max()
}

fn load_state(connection: &Connection, found: &mut Found) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("SELECT {STATE_COLUMNS} FROM state ORDER BY id"))?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Err(reason) = StateRow::read(row).and_then(|row| take_state(&row, found)) {
            found.lose(Unreadable::of(row, "state", 2, 4, reason));
        }
    }
    Ok(())
}

/// Looks whether history can be read, where that costs little; in a large database it shows when somebody reads it.
fn judge_events(connection: &Connection, found: &mut Found) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("SELECT {EVENT_COLUMNS} FROM events NOT INDEXED"))?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        if let Err(reason) = EventRow::read(row) {
            found.lose(Unreadable::of(row, "events", 3, 5, reason));
        }
    }
    Ok(())
}

fn parse<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|why| why.to_string())
}

fn take_state(row: &StateRow<'_>, found: &mut Found) -> Result<(), String> {
    let loaded = &mut found.loaded;
    match row.kind {
        rows::state::CHECK => loaded.checks.push(parse::<StoredCheck>(row.body)?),
        rows::state::TOLD => loaded.told.push((Name::new(row.name), Name::new(row.part), parse::<Told>(row.body)?)),
        rows::state::ACKNOWLEDGEMENT => {
            loaded.acknowledgements.push((Name::new(row.name), parse::<Acknowledgement>(row.body)?));
        }
        rows::state::DOWNTIME => {
            let downtime: Downtime = parse(row.body)?;
            loaded.last_id = loaded.last_id.max(downtime.id);
            loaded.downtimes.push(downtime);
        }
        rows::state::POSTED => {
            loaded.posted.push((Name::new(row.name), Name::new(row.part), parse::<Posted>(row.body)?));
        }
        rows::state::RUNNING => loaded.unfinished = Some(parse(row.body)?),
        other => return Err(format!("nothing of kind `{other}` is known")),
    }
    Ok(())
}

/// Reads the actions that never ended, and those of late: newest first from the disk, oldest first for the reader.
fn load_actions(connection: &Connection, now: Timestamp, found: &mut Found) -> rusqlite::Result<()> {
    let open = found.loaded.checks.iter().filter_map(|check| check.status.incident);
    let began = open.map(|incident| incident.since.checked_sub(UNCONFIRMED).unwrap_or(Timestamp::MIN)).min();
    let recent = now.checked_sub(RECENT).unwrap_or(Timestamp::MIN);
    let since = began.map_or(recent, |began| began.min(recent)).as_millisecond();
    let intents = format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE kind = '{}' AND ?1 = ?1 ORDER BY at DESC, id DESC",
        event::INTENT
    );
    let recent = format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE id IN (SELECT id FROM events WHERE at >= ?1 AND kind = '{}' ORDER BY at DESC, id DESC
         LIMIT {MAX_RECENT}) ORDER BY at DESC, id DESC",
        event::ACTION
    );
    let mut interrupted = read_actions(connection, &intents, since, found)?;
    for row in &mut interrupted {
        row.outcome = ActionState::Interrupted;
        if row.message.is_empty() {
            "the daemon ended while it ran".clone_into(&mut row.message);
        }
    }
    let mut actions = read_actions(connection, &recent, since, found)?;
    actions.retain(|row| matches!(row.outcome, ActionState::Done | ActionState::Failed | ActionState::Interrupted));
    found.loaded.interrupted = interrupted;
    found.loaded.recent_actions = actions;
    Ok(())
}

fn read_actions(connection: &Connection, sql: &str, since: i64, found: &mut Found) -> rusqlite::Result<Vec<ActionRow>> {
    let mut actions = Vec::new();
    let mut shortener = Shortener::default();
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([since])?;
    while let Some(row) = rows.next()? {
        let read = EventRow::read(row).and_then(|event| parse::<HistoryKind>(event.body));
        match read {
            Ok(HistoryKind::Action(mut action)) => {
                shortener.shorten(&mut action.output);
                actions.push(action);
            }
            Ok(_) => found.lose(Unreadable::of(row, "events", 3, 5, "it is not an action".to_owned())),
            Err(reason) => found.lose(Unreadable::of(row, "events", 3, 5, reason)),
        }
    }
    actions.reverse();
    Ok(actions)
}

/// Moves what could not be read into the quarantine and removes downtimes that are over. That the disk is full now is no harm: it is
/// done when the database is opened the next time.
pub(crate) fn tidy(connection: &Connection, found: &Found, now: Timestamp) -> rusqlite::Result<()> {
    if found.unreadable.is_empty() && found.ended.is_empty() {
        return Ok(());
    }
    let step = connection.unchecked_transaction()?;
    for row in &found.unreadable {
        row.quarantine(&step, now)?;
    }
    for id in &found.ended {
        step.execute("DELETE FROM state WHERE kind = ?1 AND name = ?2", (rows::state::DOWNTIME, id.to_string()))?;
    }
    step.commit()
}

/// Keeps the output of what comes first whole and shortens the rest, so that a list fits into memory.
#[derive(Debug, Default)]
pub(crate) struct Shortener {
    spent: usize,
}

impl Shortener {
    pub(crate) fn shorten(&mut self, output: &mut String) {
        self.spent = self.spent.saturating_add(output.len());
        if self.spent > WHOLE_OUTPUT && output.len() > SHORT_OUTPUT {
            *output = monchero_core::text::shorten(output, SHORT_OUTPUT);
        }
    }
}

/// Names what was lost, the first ones by name.
pub(crate) fn describe(unreadable: &[Unreadable], repairs: &mut Vec<String>) {
    repairs.extend(unreadable.iter().take(MAX_REPAIRS).map(Unreadable::describe));
    if unreadable.len() > MAX_REPAIRS {
        repairs.push(format!(
            "{} more rows could not be read; all are kept in `quarantine`",
            unreadable.len() - MAX_REPAIRS
        ));
    }
}
