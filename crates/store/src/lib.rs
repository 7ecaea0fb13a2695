//! The one SQLite database: state, history, roll-ups, retention.
//!
//! One thread owns the only connection that writes. [`Store::write`] puts a batch into a bounded queue and answers at once with a
//! ticket; [`Store::committed`] says up to which ticket batches are on disk. What must be durable at once (transitions, intents, what was
//! told) is committed with `synchronous=FULL`; results and metrics wait up to [`FLUSH_INTERVAL`] and go together: they survive the death of
//! the process, and a power failure takes at most those since the last full commit.
//!
//! Whatever happens to the disk, the daemon goes on: a full or failing disk is told as [`Committed::trouble`] and tried again (R28, R29),
//! a damaged database is set aside and mended with what can be read of it and the last backup (R27).

mod apply;
mod backup;
mod believed;
mod error;
mod load;
mod place;
mod queue;
mod reader;
pub mod record;
mod recover;
mod rollup;
mod rows;
mod schema;
mod shared;
mod upkeep;
mod wal;
mod witness;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use monchero_core::definition::Retention;
use rusqlite::Connection;
use tokio::sync::watch;

pub use error::{OpenError, ReadError};
pub use reader::{MAX_HISTORY, MAX_POINTS, Reader, Series};
pub use record::{
    ActionRow, Asked, Committed, HistoryEntry, HistoryKind, HistoryQuery, Loaded, Memory, MetricPoint, NoticeRow,
    Record, StoredCheck, Urgency,
};
pub use shared::Counters;
pub use witness::{Watched, Witness};

use place::Place;
use schema::Fault;
use shared::Shared;
use writer::Writer;

/// How long routine records wait for others before they are written together.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// The largest size of the database unless [`StoreOptions::max_bytes`] says otherwise.
pub const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// How long closing waits for the disk. The daemon must be gone within ten seconds (R35).
pub const CLOSE_TIME: Duration = Duration::from_secs(5);
/// The stack of a thread of the store: SQLite's b-trees do not recurse deeply.
const STACK: usize = 512 * 1024;

/// Answers what time it is by the wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// How long history is kept.
    pub retention: Retention,
    /// The largest size of the database, in bytes; default 256 MiB. When it is reached, the oldest metrics go before their time, then the
    /// oldest events, and are counted. State always stays.
    pub max_bytes: u64,
    /// The wall clock, for retention, roll-ups and downtimes that are over.
    pub clock: Clock,
}

impl StoreOptions {
    /// The usual sizes and times.
    pub fn new(clock: Clock) -> Self {
        Self { retention: Retention::default(), max_bytes: MAX_BYTES, clock }
    }
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions")
            .field("retention", &self.retention)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// The open database. Dropping it closes it, as [`Store::close`] does.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    place: Arc<Place>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens the database in the state directory, makes both if there are none, and loads what a daemon needs to start.
    ///
    /// Content is never a reason to fail: what is damaged is set aside and mended, rows that cannot be read are quarantined, and
    /// [`Loaded::repairs`] says what was lost. A full disk is none either: what can be read is loaded, and writing is tried again.
    pub fn open(directory: &Path, options: StoreOptions) -> Result<(Self, Loaded), OpenError> {
        let place = Arc::new(Place::claim(directory)?);
        let now = (options.clock)();
        let mut repairs = Vec::new();
        let (db, found) = match open_and_load(&place, now, &mut repairs) {
            Ok((db, found)) => (Some(db), found),
            Err(Fault::TooNew(found)) => {
                return Err(OpenError::TooNew { path: place.database(), found, known: schema::VERSION });
            }
            Err(fault) => (None, load_in_need(&place, now, &fault, &mut repairs)),
        };
        let mut loaded = found.loaded;
        loaded.repairs = repairs;
        let shared = Shared::new(loaded.repairs.clone(), options.retention);
        let writer = Writer::new(
            Arc::clone(&shared),
            Arc::clone(&place),
            options.clock,
            options.max_bytes,
            options.retention,
            load::newest(&loaded),
            db,
        );
        let store = Self { shared: Arc::clone(&shared), place, threads: Mutex::default() };
        let interrupted = loaded.interrupted.iter().cloned().map(|action| Record::Action(Box::new(action)));
        let interrupted: Vec<Record> = interrupted.collect();
        if !interrupted.is_empty() {
            store.write(interrupted, Urgency::Now);
        }
        store.start("store", move || writer.run())?;
        store.start("store-watch", move || shared.watch_for_stalls())?;
        Ok((store, loaded))
    }

    fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        let thread = builder.spawn(run).map_err(OpenError::Thread)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Queues a batch, which is written whole or not at all, and answers at once with its ticket. Tickets grow by one and are committed in
    /// order. Never waits for the disk.
    pub fn write(&self, records: Vec<Record>, urgency: Urgency) -> u64 {
        self.shared.push(records, urgency)
    }

    /// How far the writer got.
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.shared.committed()
    }

    /// From now on history is kept that long; what is older goes within the next minutes.
    pub fn set_retention(&self, retention: Retention) {
        self.shared.set_retention(retention);
    }

    /// Answers questions about history and metrics.
    pub fn reader(&self) -> Reader {
        Reader::new(self.place.database())
    }

    /// Numbers about the store itself.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Writes everything, moves the journal into the database and closes it. Waits for the disk for [`CLOSE_TIME`] at most; whether
    /// everything is written. What is written later is lost.
    pub fn close(&self) -> bool {
        let ended = self.shared.close(Instant::now() + CLOSE_TIME);
        if ended {
            for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                // It has said that it is at its end, so this waits for nothing.
                let _ = thread.join();
            }
        } else {
            tracing::error!(seconds = CLOSE_TIME.as_secs(), "the disk does not answer: the last changes may be lost");
        }
        ended && self.shared.is_all_durable()
    }

    /// Moves the database of a state directory aside, so that the next [`Store::open`] begins with an empty one; where it is now, or none
    /// if there was none. For `--reset-state` (R36).
    pub fn set_aside(directory: &Path) -> Result<Option<PathBuf>, OpenError> {
        let place = Place::claim(directory)?;
        if !place.database().exists() {
            return Ok(None);
        }
        let failed = |source| OpenError::Directory { doing: "move aside", path: place.database(), source };
        let aside = place.set_aside("reset").map_err(failed)?;
        place.remove_backups();
        Ok(Some(aside))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !self.threads.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.close();
        }
    }
}

/// Opens the database and reads it; damage that is met only then is mended, and it is read again.
fn open_and_load(place: &Place, now: Timestamp, repairs: &mut Vec<String>) -> Result<(Connection, load::Found), Fault> {
    // A disk that was full at the end is full at the start: the reserve is there for this.
    let db = match recover::open(place, now, repairs) {
        Err(Fault::Full(_) | Fault::Disk(_)) if place.is_full() && place.release_reserve() => {
            recover::open(place, now, repairs)
        }
        other => other,
    }?;
    match load_and_tidy(&db, place, now, repairs) {
        Ok(found) => Ok((db, found)),
        Err(Fault::Damaged(why)) => {
            drop(db);
            let db = recover::rebuild(place, &why, now, repairs)?;
            let found = load_and_tidy(&db, place, now, repairs)?;
            Ok((db, found))
        }
        Err(other) => Err(other),
    }
}

fn load_and_tidy(
    db: &Connection,
    place: &Place,
    now: Timestamp,
    repairs: &mut Vec<String>,
) -> Result<load::Found, Fault> {
    let found = load::load(db, now, place.bytes())?;
    load::describe(&found.unreadable, repairs);
    match load::tidy(db, &found, now).map_err(Fault::from) {
        // A row that does not fit its index any more cannot be taken out.
        Err(Fault::Damaged(why)) => return Err(Fault::Damaged(why)),
        Err(fault) => {
            tracing::warn!(why = fault.reason(), "unreadable rows could not be moved into the quarantine yet");
        }
        Ok(()) => {}
    }
    Ok(found)
}

/// Reads what can be read where nothing can be written.
fn load_in_need(place: &Place, now: Timestamp, fault: &Fault, repairs: &mut Vec<String>) -> load::Found {
    let loaded = schema::open_in_need(&place.database()).and_then(|db| load::load(&db, now, place.bytes()));
    match loaded {
        Ok(found) => {
            load::describe(&found.unreadable, repairs);
            repairs.push(format!(
                "{}; what it holds was read, and changes are kept in memory until it can be written",
                fault.reason()
            ));
            found
        }
        Err(why) => {
            repairs.push(format!("{}; nothing could be read ({why}), so all checks start anew", fault.reason()));
            load::Found::default()
        }
    }
}
