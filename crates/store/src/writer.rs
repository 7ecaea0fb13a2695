//! The thread that owns the only connection that writes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use monchero_core::definition::Retention;
use rusqlite::Connection;

use crate::Clock;
use crate::apply::{Applied, Applier, next_event_id};
use crate::believed::Believed;
use crate::place::Place;
use crate::queue::{Batch, is_routine};
use crate::record::{Record, Urgency};
use crate::schema::Fault;
use crate::shared::{Shared, Turn, Wish};
use crate::upkeep::{Step, Upkeep};
use crate::{backup, believed, recover};

/// How often roll-ups, retention, size and reserve are seen to.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The pause after the first failure; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between tries.
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// How many pages the journal may have before they are moved into the database: 4 MiB, which takes about ten milliseconds.
const CHECKPOINT_PAGES: i64 = 1_024;
/// Whether results and metrics are left out because the disk is full.
const FULL: &str = "the disk is full: changes of state are written into the last reserve, results and metrics are not";

/// What the last commit was synced with; switching costs a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    Full,
    Normal,
}

/// Batches on their way to the disk: kept until they are there.
#[derive(Debug)]
struct Chunk {
    batches: Vec<Batch>,
    /// The rowid of the first event, so that writing it twice writes the same rows.
    first_id: i64,
}

impl Chunk {
    fn ticket(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.ticket)
    }

    fn records(&self) -> usize {
        self.batches.iter().map(|batch| batch.records.len()).sum()
    }

    /// Leaves out what may be lost; how many records that are. What was left out at an earlier try counts no more.
    fn drop_routine(&mut self) -> u64 {
        // Replaced, not removed: the place of a record in its chunk is the number of its row.
        let nothing = Record::Metrics { check: "".into(), at: Timestamp::UNIX_EPOCH, points: Vec::new() };
        let soon = self.batches.iter_mut().filter(|batch| batch.urgency == Urgency::Soon);
        let routine =
            soon.flat_map(|batch| &mut batch.records).filter(|record| is_routine(record) && **record != nothing);
        routine.map(|record| *record = nothing.clone()).count() as u64
    }

    fn sync(&self) -> Sync {
        if self.batches.iter().any(|batch| batch.urgency == Urgency::Now) { Sync::Full } else { Sync::Normal }
    }
}

/// See the module.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    place: Arc<Place>,
    clock: Clock,
    believed: Believed,
    max_bytes: u64,
    retention: Retention,
    /// None while the database cannot be opened.
    db: Option<Connection>,
    sync: Sync,
    applier: Applier,
    next_event_id: i64,
    /// What is being written, or could not be yet.
    chunk: Option<Chunk>,
    trouble: Option<String>,
    retry_at: Option<Instant>,
    pause: Duration,
    /// Whether the reserve is gone, so that only what is urgent is written.
    on_reserve: bool,
    dropped: u64,
    upkeep: Option<Upkeep>,
    upkeep_at: Instant,
    backup_at: Instant,
}

impl Writer {
    /// The writer for a connection that was opened and loaded from; none if the disk did not allow that.
    pub(crate) fn new(
        shared: Arc<Shared>,
        place: Arc<Place>,
        clock: Clock,
        max_bytes: u64,
        retention: Retention,
        newest: Option<Timestamp>,
        db: Option<Connection>,
    ) -> Self {
        let now = Instant::now();
        let believed = Believed::new(believed::at_start(clock(), newest), now);
        let mut this = Self {
            shared,
            place,
            clock,
            believed,
            max_bytes,
            retention,
            db: None,
            sync: Sync::Full,
            applier: Applier::default(),
            next_event_id: 1,
            chunk: None,
            trouble: None,
            retry_at: None,
            pause: RETRY_FIRST,
            on_reserve: false,
            dropped: 0,
            upkeep: None,
            upkeep_at: now + UPKEEP_INTERVAL / 10,
            backup_at: now + backup::FIRST,
        };
        if let Some(db) = db
            && let Err(fault) = this.adopt(db)
        {
            tracing::warn!(why = fault.reason(), "the database cannot be used yet");
        }
        this
    }

    /// Works until the store closes.
    pub(crate) fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        if self.db.is_none() {
            self.fail(&Fault::Disk("it could not be opened to write when the daemon started".to_owned()));
        }
        self.see_to_reserve();
        if self.on_reserve {
            let trouble = self.standing_trouble();
            self.shared.is_durable(0, trouble);
        }
        loop {
            let idle_at = if self.upkeep.is_some() { Instant::now() } else { self.upkeep_at };
            match self.shared.next(Wish { idle_at, retry_at: self.retry_at }, self.trouble.as_deref()) {
                Turn::Commit(batches) => {
                    self.queue_chunk(batches);
                    self.write_chunk();
                }
                Turn::Retry => {
                    self.retry();
                    if self.retry_at.is_some() && self.shared.is_closing() {
                        break;
                    }
                }
                Turn::Idle => self.idle(),
                Turn::Close => break,
            }
        }
        self.close();
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn adopt(&mut self, db: Connection) -> Result<(), Fault> {
        self.applier.reset(&db)?;
        self.next_event_id = self.next_event_id.max(next_event_id(&db)?);
        self.sync = Sync::Full;
        self.db = Some(db);
        self.shared.count(|counters| counters.bytes = self.place.bytes());
        Ok(())
    }

    fn queue_chunk(&mut self, batches: Vec<Batch>) {
        let chunk = Chunk { batches, first_id: self.next_event_id };
        self.next_event_id += i64::try_from(chunk.records()).unwrap_or(0);
        self.chunk = Some(chunk);
    }

    fn retry(&mut self) {
        self.see_to_reserve();
        self.write_chunk();
    }

    /// Writes what is at hand, with all the means there are; what remains is trouble, and another try later.
    fn write_chunk(&mut self) {
        self.shared.begins();
        let mut written = self.try_chunk();
        if let Err(Fault::Full(_)) = &written
            && self.place.release_reserve()
        {
            tracing::error!("the disk is full: the reserve is used, results and metrics are no longer written");
            self.on_reserve = true;
            self.checkpoint();
            written = self.try_chunk();
        }
        if let Err(Fault::Damaged(why)) = &written {
            let why = why.clone();
            written = self.rebuild(&why).and_then(|()| self.try_chunk());
        }
        self.shared.ends();
        match written {
            Ok(()) => self.succeed(),
            Err(fault) => self.fail(&fault),
        }
    }

    fn try_chunk(&mut self) -> Result<(), Fault> {
        if self.db.is_none() {
            self.reopen()?;
        }
        let Some(db) = self.db.take() else { return Ok(()) };
        let written = self.try_chunk_on(&db);
        if !matches!(written, Err(Fault::Disk(_))) {
            // After a failed write or sync nobody knows what is in the files: then it is opened anew (R29).
            self.db = Some(db);
        }
        written
    }

    fn try_chunk_on(&mut self, db: &Connection) -> Result<(), Fault> {
        let Some(mut chunk) = self.chunk.take() else { return Ok(()) };
        if self.on_reserve {
            let dropped = chunk.drop_routine();
            self.shared.count(|counters| counters.dropped += dropped);
        }
        let began = Instant::now();
        let written = self.commit(db, &chunk);
        let took = began.elapsed();
        self.chunk = Some(chunk);
        self.shared.count(|counters| match &written {
            Ok(applied) => {
                counters.commits += 1;
                counters.rows += applied.rows;
                counters.refused += applied.refused;
                counters.last_commit = took;
                counters.slowest_commit = counters.slowest_commit.max(took);
            }
            Err(_) => counters.failures += 1,
        });
        written.map(drop)
    }

    fn commit(&mut self, db: &Connection, chunk: &Chunk) -> Result<Applied, Fault> {
        let written = set_sync(db, &mut self.sync, chunk.sync()).and_then(|()| {
            let transaction = db.unchecked_transaction()?;
            let applied = self.applier.apply(db, &chunk.batches, chunk.first_id)?;
            transaction.commit()?;
            Ok(applied)
        });
        written.map_err(|why| {
            let fault = Fault::from(why);
            // What the transaction had put into the cache is gone. If even that cannot be read, the connection is of no use.
            let readable = self.applier.reset(db).is_ok();
            match fault {
                Fault::Disk(why) if self.place.is_full() => Fault::Full(why),
                Fault::Full(why) | Fault::Busy(why) if !readable => Fault::Disk(why),
                other => other,
            }
        })
    }

    /// Opens the database anew. Its journal is moved into it and synced before anything else is written: what the page cache holds of a
    /// journal whose sync failed may never reach the disk, what is written again and synced does.
    fn reopen(&mut self) -> Result<(), Fault> {
        let mut repairs = Vec::new();
        let db = recover::open(&self.place, self.now(), &mut repairs)?;
        self.shared.repaired(repairs);
        let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))?;
        if busy != 0 {
            return Err(Fault::Busy("its journal is being read".to_owned()));
        }
        self.adopt(db)
    }

    fn rebuild(&mut self, why: &str) -> Result<(), Fault> {
        self.db = None;
        let mut repairs = Vec::new();
        let rebuilt = recover::rebuild(&self.place, why, self.now(), &mut repairs);
        self.shared.repaired(repairs);
        self.adopt(rebuilt?)
    }

    fn succeed(&mut self) {
        let ticket = self.chunk.take().map_or(0, |chunk| chunk.ticket());
        if self.retry_at.take().is_some() {
            tracing::warn!("the database takes changes again");
        }
        self.pause = RETRY_FIRST;
        self.trouble = None;
        let trouble = self.standing_trouble();
        self.shared.is_durable(ticket, trouble);
        self.checkpoint_if_long();
    }

    /// What is not as it should be although the last commit went well.
    fn standing_trouble(&mut self) -> Option<String> {
        let dropped = self.shared.dropped();
        let since = dropped - std::mem::replace(&mut self.dropped, dropped);
        if self.on_reserve {
            return Some(FULL.to_owned());
        }
        (since > 0).then(|| format!("the disk is too slow: {since} records had to be dropped"))
    }

    fn fail(&mut self, fault: &Fault) {
        let reason = fault.reason();
        if self.retry_at.is_none() {
            tracing::error!(why = reason, "the database does not take changes: they are kept in memory");
        }
        self.trouble = Some(reason);
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RETRY_LONGEST);
    }

    fn see_to_reserve(&mut self) {
        let there = self.place.restore_reserve();
        if there && self.on_reserve {
            tracing::warn!("there is space on the disk again: everything is written");
        }
        self.on_reserve = !there;
    }

    /// There is time: a step of upkeep, a backup, the reserve.
    fn idle(&mut self) {
        if let Some(retention) = self.shared.take_retention() {
            self.retention = retention;
        }
        let Some(mut upkeep) = self.upkeep.take() else {
            self.begin_upkeep();
            return;
        };
        let Some(db) = &self.db else { return };
        self.shared.begins();
        let mut evicted = 0;
        let step = set_sync(db, &mut self.sync, Sync::Normal)
            .and_then(|()| upkeep.step(db, &mut self.applier, &self.retention, self.max_bytes, &mut evicted));
        self.shared.ends();
        self.shared.count(|counters| counters.evicted += evicted);
        match step {
            Ok(Step::More) => {
                self.upkeep = Some(upkeep);
                self.checkpoint_if_long();
            }
            Ok(Step::Done) => {
                self.shared.count(|counters| counters.bytes = self.place.bytes());
                self.back_up_if_due();
            }
            Err(why) => self.upkeep_failed(Fault::from(why)),
        }
    }

    fn begin_upkeep(&mut self) {
        self.upkeep_at = Instant::now() + UPKEEP_INTERVAL;
        self.see_to_reserve();
        let trouble = self.standing_trouble();
        self.shared.is_durable(0, trouble);
        let now = self.believed.now(self.now(), Instant::now());
        self.upkeep = Some(Upkeep::new(now.as_millisecond()));
    }

    /// Upkeep can wait for the next round, a disk or a database that fails cannot.
    fn upkeep_failed(&mut self, fault: Fault) {
        match fault {
            Fault::Damaged(why) => {
                if let Err(fault) = self.rebuild(&why) {
                    self.fail(&fault);
                }
            }
            Fault::Disk(_) => {
                self.db = None;
                self.fail(&fault);
            }
            Fault::Full(_) if self.place.release_reserve() => self.on_reserve = true,
            Fault::Full(_) | Fault::Busy(_) | Fault::TooNew(_) => {
                tracing::warn!(why = fault.reason(), "upkeep of the database failed");
            }
        }
    }

    fn checkpoint_if_long(&mut self) {
        let Some(db) = &self.db else { return };
        let waiting = db
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)")
            .and_then(|mut statement| statement.query_row((), |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)));
        // On the last reserve the journal must not grow: moved into the database at once, it starts over in the space that it has.
        let most = if self.on_reserve { 1 } else { CHECKPOINT_PAGES };
        if waiting.is_ok_and(|pages| pages >= most) {
            self.checkpoint();
        }
    }

    /// Moves the journal into the database, as far as no reader needs it. If that fails, the journal still has everything.
    fn checkpoint(&mut self) {
        let Some(db) = &self.db else { return };
        self.shared.begins();
        let moved = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        self.shared.ends();
        if let Err(why) = moved {
            tracing::warn!(%why, "the journal of the database could not be moved into it");
            if matches!(Fault::from(why), Fault::Disk(_)) {
                self.db = None;
            }
        }
    }

    fn back_up_if_due(&mut self) {
        if Instant::now() < self.backup_at || self.on_reserve {
            return;
        }
        self.backup_at = Instant::now() + backup::INTERVAL;
        if !backup::is_due(&self.place, self.now()) {
            return;
        }
        let Some(db) = self.db.take() else { return };
        let place = Arc::clone(&self.place);
        let mut sound = true;
        let made = backup::make(&place, &db, || {
            sound = self.serve(&db);
            sound && !self.shared.is_closing()
        });
        if sound {
            self.db = Some(db);
        }
        match made {
            Ok(true) => tracing::debug!("the database was backed up"),
            Ok(false) => {}
            Err(why) => tracing::warn!(why, "the database could not be backed up"),
        }
    }

    /// Between two steps of a backup: writes what must not wait. The backup takes it along, since it comes over the same connection.
    /// Whether the connection is still good.
    fn serve(&mut self, db: &Connection) -> bool {
        let Some(batches) = self.shared.take_pressing() else { return true };
        self.queue_chunk(batches);
        self.shared.begins();
        let written = self.try_chunk_on(db);
        self.shared.ends();
        match written {
            Ok(()) => {
                self.succeed();
                true
            }
            Err(fault) => {
                self.fail(&fault);
                self.retry_at = Some(Instant::now());
                false
            }
        }
    }

    /// Leaves the database tidy: a short journal and a fresh backup, if there is time for one.
    fn close(mut self) {
        if let Some(chunk) = &self.chunk {
            let lost = chunk.records();
            tracing::error!(why = self.trouble, records = lost, "changes could not be written before the end");
        }
        if let Some(db) = self.db.take() {
            let small = self.place.bytes() <= backup::CLOSE_BYTES;
            let due = small && self.trouble.is_none() && !self.on_reserve && backup::is_due(&self.place, self.now());
            if due && let Err(why) = backup::make(&self.place, &db, || true) {
                tracing::warn!(why, "the database could not be backed up");
            }
            // On a full disk the journal keeps its space: the next start needs it.
            let mode = if self.on_reserve || self.trouble.is_some() { "PASSIVE" } else { "TRUNCATE" };
            let _ = db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |_| Ok(()));
        }
    }
}

/// Says that the writer has ended, however it did: nobody is to wait for it.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended();
    }
}

fn set_sync(db: &Connection, now: &mut Sync, wanted: Sync) -> rusqlite::Result<()> {
    if *now != wanted {
        db.execute_batch(match wanted {
            Sync::Full => "PRAGMA synchronous = FULL",
            Sync::Normal => "PRAGMA synchronous = NORMAL",
        })?;
        *now = wanted;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_once() {
        let metrics = Record::Metrics {
            check: "a".into(),
            at: Timestamp::UNIX_EPOCH,
            points: vec![("x".into(), "".into(), 1.0)],
        };
        let records = vec![metrics.clone(), Record::DowntimeEnded(1), metrics.clone()];
        let batch = |urgency| Batch { ticket: 1, urgency, records: records.clone() };
        let mut chunk = Chunk { batches: vec![batch(Urgency::Soon), batch(Urgency::Now)], first_id: 1 };
        assert_eq!((chunk.drop_routine(), chunk.drop_routine()), (2, 0));
        assert_eq!((chunk.records(), &chunk.batches[1].records), (6, &records));
    }
}
