//! Opens the database whatever state it is in: what is damaged is set aside, and what can be read of it is brought over (R27, R34).

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, Row};

use crate::place::{self, Place};
use crate::rows::{EVENT_COLUMNS, EventRow, STATE_COLUMNS, StateRow, Unreadable};
use crate::schema::{self, Fault};
use crate::wal;

/// How long bringing metrics over from a damaged database may take: the daemon waits for it, and metrics are worth the least.
const METRICS_TIME: Duration = Duration::from_secs(5);

/// Opens the database, mending it if need be; what was lost is added to `repairs`.
pub(crate) fn open(place: &Place, now: Timestamp, repairs: &mut Vec<String>) -> Result<Connection, Fault> {
    let journal = wal::lost_commits(&place.beside("-wal"));
    match open_whole(place) {
        Ok(connection) => {
            if let Some(why) = journal {
                repairs.push(format!(
                    "the journal of the database was damaged ({why}): the last changes before the end may be missing"
                ));
            }
            Ok(connection)
        }
        Err(Fault::Damaged(why)) => {
            if let Some(why) = journal {
                repairs.push(format!("the journal of the database was damaged too: {why}"));
            }
            rebuild(place, &why, now, repairs)
        }
        Err(other) => Err(other),
    }
}

fn open_whole(place: &Place) -> Result<Connection, Fault> {
    if let Some(why) = place.make_database().map_err(|why| disk(&why))? {
        return Err(Fault::Damaged(why.to_owned()));
    }
    let mut connection = schema::open_to_write(&place.database())?;
    schema::check(&connection, place.bytes())?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

fn disk(why: &io::Error) -> Fault {
    if why.kind() == io::ErrorKind::StorageFull { Fault::Full(why.to_string()) } else { Fault::Disk(why.to_string()) }
}

/// Makes a new database of the last backup and of all that can be read of the damaged one, and puts it in its place.
///
/// It is built beside the damaged one, which is moved only when the new one is complete: a crash on the way begins again.
pub(crate) fn rebuild(
    place: &Place,
    why: &str,
    now: Timestamp,
    repairs: &mut Vec<String>,
) -> Result<Connection, Fault> {
    tracing::error!(database = %place.database().display(), why, "the database is damaged and is rebuilt");
    let draft = place.beside(".draft");
    let mut told = Vec::new();
    remove_draft(place);
    build(place, &draft, now, &mut told).inspect_err(|_| remove_draft(place))?;
    for leftover in [".draft-wal", ".draft-shm"] {
        place::remove(&place.beside(leftover));
    }
    let ready = place.beside(".new");
    let aside = fs::rename(&draft, &ready).and_then(|()| place.set_aside("corrupt")).map_err(|why| disk(&why))?;
    repairs.push(format!("the database was damaged ({why}); it is kept as `{}`", aside.display()));
    repairs.append(&mut told);
    open_whole(place)
}

fn build(place: &Place, draft: &Path, now: Timestamp, repairs: &mut Vec<String>) -> Result<(), Fault> {
    let mut from_backup = None;
    for backup in [place.backup(), place.older_backup()].iter().filter(|backup| backup.exists()) {
        match copy_backup(backup, draft) {
            Ok(at) => {
                from_backup = Some(at);
                break;
            }
            Err(Fault::Full(why)) => return Err(Fault::Full(why)),
            Err(fault) => {
                repairs.push(format!("the backup `{}` could not be used: {}", backup.display(), fault.reason()));
                remove_draft(place);
            }
        }
    }
    if from_backup.is_none() {
        place::make_private(draft).map_err(|why| disk(&why))?;
    }
    let mut target = schema::open_to_write(draft)?;
    schema::migrate(&mut target)?;
    let mut salvage = Salvage { target: &target, now, repairs: Vec::new(), incomplete: false };
    target.execute_batch("BEGIN")?;
    salvage.run(&place.database())?;
    let Salvage { repairs: lines, incomplete, .. } = salvage;
    target.execute_batch("COMMIT")?;
    repairs.extend(lines);
    match from_backup {
        Some(at) if incomplete => repairs.push(format!("what could not be read was taken from the backup of {at}")),
        None if incomplete => repairs.push("there was no backup from which to take what could not be read".to_owned()),
        _ => {}
    }
    let busy: i64 = target.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
    if busy != 0 {
        return Err(Fault::Busy("the new database could not be written out".to_owned()));
    }
    target.close().map_err(|(_, why)| why)?;
    Ok(())
}

/// Copies a backup and looks whether it is whole; says of when it is.
fn copy_backup(backup: &Path, draft: &Path) -> Result<Timestamp, Fault> {
    let mut from = fs::File::open(backup).map_err(|why| disk(&why))?;
    let meta = from.metadata().map_err(|why| disk(&why))?;
    let mut to = place::make_private(draft).map_err(|why| disk(&why))?;
    io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(|why| disk(&why))?;
    drop(to);
    schema::check(&schema::open_to_write(draft)?, meta.len())?;
    Ok(meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok()).unwrap_or_default())
}

fn remove_draft(place: &Place) {
    for suffix in [".draft", ".draft-wal", ".draft-shm"] {
        place::remove(&place.beside(suffix));
    }
}

/// Brings rows over from a damaged database.
struct Salvage<'a> {
    target: &'a Connection,
    now: Timestamp,
    repairs: Vec<String>,
    /// Whether something could not be read that a backup may have.
    incomplete: bool,
}

/// How far one table could be read.
#[derive(Default)]
struct Tally {
    taken: u64,
    unreadable: u64,
    stopped: Option<String>,
}

/// Takes one row over; the reason if it cannot be.
type Take<'a> = &'a mut dyn FnMut(&Row<'_>) -> Result<Result<(), String>, Fault>;

impl Salvage<'_> {
    fn run(&mut self, damaged: &Path) -> Result<(), Fault> {
        let opened = schema::open_to_read(damaged).and_then(|connection| {
            connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
            Ok(connection)
        });
        let source = match opened.or_else(|_| schema::open_unchanging(damaged)) {
            Ok(source) => source,
            Err(why) => {
                self.incomplete = true;
                self.repairs.push(format!("nothing could be read of the damaged database: {why}"));
                return Ok(());
            }
        };
        self.state(&source)?;
        self.events(&source)?;
        self.numbers(&source)?;
        let deadline = Instant::now() + METRICS_TIME;
        self.plain(&source, "series", "id", "id, check_name, label, unit, seen", Some(deadline))?;
        self.plain(&source, "rollups_1h", "at {dir}, series", "at, series, mean, min, max, count", Some(deadline))?;
        self.plain(&source, "rollups_5m", "at {dir}, series", "at, series, mean, min, max, count", Some(deadline))?;
        self.plain(&source, "samples", "at {dir}, series", "at, series, value", Some(deadline))
    }

    /// Reads a table from its beginning and, if that ends at a damaged page, from its end too: what is behind the damage counts as much.
    fn read(
        source: &Connection,
        table: &str,
        columns: &str,
        order: &str,
        deadline: Option<Instant>,
        take: Take<'_>,
    ) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        for direction in ["ASC", "DESC"] {
            let order = order.replace("{dir}", direction);
            let sql = format!("SELECT {columns} FROM {table} NOT INDEXED ORDER BY {order} {direction}");
            let stopped = Self::read_one_way(source, &sql, deadline, take, &mut tally)?;
            let Some(why) = stopped else { break };
            tally.stopped.get_or_insert(why);
        }
        Ok(tally)
    }

    fn read_one_way(
        source: &Connection,
        sql: &str,
        deadline: Option<Instant>,
        take: Take<'_>,
        tally: &mut Tally,
    ) -> Result<Option<String>, Fault> {
        let mut statement = match source.prepare(sql) {
            Ok(statement) => statement,
            Err(why) => return Ok(Some(why.to_string())),
        };
        let mut rows = match statement.query(()) {
            Ok(rows) => rows,
            Err(why) => return Ok(Some(why.to_string())),
        };
        loop {
            match rows.next() {
                Ok(Some(row)) => match take(row)? {
                    Ok(()) => tally.taken += 1,
                    Err(_) => tally.unreadable += 1,
                },
                Ok(None) => return Ok(None),
                Err(why) => return Ok(Some(why.to_string())),
            }
            if tally.taken.is_multiple_of(1_024) && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Some("it would have taken too long".to_owned()));
            }
        }
    }

    fn report(&mut self, what: &str, tally: &Tally) {
        if tally.stopped.is_none() && tally.unreadable == 0 {
            return;
        }
        self.incomplete = true;
        let stopped =
            tally.stopped.as_ref().map(|why| format!(", reading stopped at damage ({why})")).unwrap_or_default();
        self.repairs
            .push(format!("{what}: {} rows could be read, {} could not{stopped}", tally.taken, tally.unreadable));
    }

    fn state(&mut self, source: &Connection) -> Result<(), Fault> {
        let (target, now) = (self.target, self.now);
        let mut put =
            target.prepare("INSERT OR REPLACE INTO state (kind, name, part, body, sum) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        // What the backup holds beyond a table that can be read to its end was removed since.
        target.execute_batch("CREATE TEMP TABLE backup_state AS SELECT * FROM main.state; DELETE FROM main.state;")?;
        let tally = Self::read(source, "state", STATE_COLUMNS, "id", None, &mut |row| match StateRow::read(row) {
            Ok(state) => {
                let sum = crate::rows::state_sum(state.kind, state.name, state.part, state.body);
                put.execute((state.kind, state.name, state.part, state.body, sum))?;
                Ok(Ok(()))
            }
            Err(reason) => keep_unreadable(target, Unreadable::of(row, "state", 2, 4, reason), now),
        })?;
        if tally.stopped.is_some() || tally.unreadable > 0 {
            target.execute_batch(
                "INSERT OR IGNORE INTO main.state (kind, name, part, body, sum) SELECT kind, name, part, body, sum FROM temp.backup_state;",
            )?;
        }
        target.execute_batch("DROP TABLE temp.backup_state;")?;
        self.report("states of checks, what was told, acknowledgements and downtimes", &tally);
        Ok(())
    }

    fn events(&mut self, source: &Connection) -> Result<(), Fault> {
        let (target, now) = (self.target, self.now);
        let mut put = target.prepare(
            "INSERT OR REPLACE INTO events (id, at, kind, check_name, number, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let tally = Self::read(source, "events", EVENT_COLUMNS, "id", None, &mut |row| match EventRow::read(row) {
            Ok(event) => {
                let sum = crate::rows::event_sum(event.at, event.kind, event.check, event.number, event.body);
                put.execute((event.id, event.at, event.kind, event.check, event.number, event.body, sum))?;
                Ok(Ok(()))
            }
            Err(reason) => keep_unreadable(target, Unreadable::of(row, "events", 3, 5, reason), now),
        })?;
        self.report("history", &tally);
        Ok(())
    }

    /// The numbers about the database; those that cannot be read find themselves again.
    fn numbers(&mut self, source: &Connection) -> Result<(), Fault> {
        let mut put = self.target.prepare(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
        )?;
        let sql = "key, value FROM meta WHERE key <> 'version' AND typeof(value) = 'integer'";
        let mut copy = |row: &Row<'_>| {
            if let (Ok(key), Ok(value)) = (row.get::<_, String>(0), row.get::<_, i64>(1)) {
                put.execute((key, value))?;
            }
            Ok(Ok(()))
        };
        Self::read_one_way(source, &format!("SELECT {sql}"), None, &mut copy, &mut Tally::default())?;
        Ok(())
    }

    /// Copies rows without sums; what does not fit the columns is passed over and counted.
    fn plain(
        &mut self,
        source: &Connection,
        table: &'static str,
        order: &str,
        columns: &str,
        deadline: Option<Instant>,
    ) -> Result<(), Fault> {
        let count = columns.split(',').count();
        let places = (1..=count).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let mut put = self.target.prepare(&format!("INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})"))?;
        let tally = Self::read(source, table, columns, order, deadline, &mut |row| {
            let values: Result<Vec<rusqlite::types::Value>, _> = (0..count).map(|column| row.get(column)).collect();
            let Ok(values) = values else { return Ok(Err("its values cannot be read".to_owned())) };
            match put.execute(rusqlite::params_from_iter(values)) {
                Ok(_) => Ok(Ok(())),
                Err(why) if why.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                    Ok(Err(why.to_string()))
                }
                Err(why) => Err(why.into()),
            }
        })?;
        self.report(&format!("metrics ({table})"), &tally);
        Ok(())
    }
}

fn keep_unreadable(target: &Connection, mut row: Unreadable, now: Timestamp) -> Result<Result<(), String>, Fault> {
    // It is not in this database, so there is nothing to remove.
    row.id = None;
    row.quarantine(target, now)?;
    Ok(Err(row.reason))
}
