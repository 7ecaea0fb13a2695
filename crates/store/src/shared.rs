//! What the engine's side and the writer's thread share.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use monchero_core::definition::Retention;
use tokio::sync::watch;

use crate::queue::{Batch, Queue};
use crate::record::{Committed, Record, Urgency};

/// How long a commit may take before the daemon goes on without it (R28): a dying disk answers after minutes, and that is the moment
/// to tell somebody.
pub(crate) const STALL: Duration = Duration::from_secs(3);

/// Numbers about the store, for `self/store` and the metrics of the daemon itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions that were committed.
    pub commits: u64,
    /// Rows that they wrote.
    pub rows: u64,
    /// Records that were dropped, because the disk did not take them fast enough or only what is urgent.
    pub dropped: u64,
    /// Records and values that cannot be stored: not a number, too many series.
    pub refused: u64,
    /// Rows that were removed before their time because the database reached its largest size.
    pub evicted: u64,
    /// Commits that failed.
    pub failures: u64,
    /// How many bytes the database takes on the disk, with its journal.
    pub bytes: u64,
    /// About how many bytes wait in memory to be written.
    pub queued_bytes: usize,
    /// How long the last commit took.
    pub last_commit: Duration,
    /// How long the slowest commit took.
    pub slowest_commit: Duration,
    /// What was lost or mended since the database was opened: [`crate::Loaded::repairs`] goes on here. At most fifty lines.
    pub repairs: Vec<String>,
}

/// How many lines of [`Counters::repairs`] are kept.
const MAX_REPAIRS: usize = 50;

/// What is behind the lock. The lock is never held while the disk is touched, so the engine never waits for it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
struct Inner {
    queue: Queue,
    counters: Counters,
    retention: Option<Retention>,
    closing: bool,
    /// Whether the writer has ended.
    ended: bool,
    /// Since when the writer waits for the disk.
    busy_since: Option<Instant>,
    /// Whether that is too long.
    stalled: bool,
    /// Whether the watching thread looks at the clock already, so that it need not be woken.
    watching: bool,
    /// The last ticket that is on disk.
    durable: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// There is something to do for the writer.
    wake: Condvar,
    /// The writer began to wait for the disk, or has ended.
    watch: Condvar,
    /// The writer has ended.
    end: Condvar,
    committed: watch::Sender<Committed>,
}

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Write this.
    Commit(Vec<Batch>),
    /// Try again what failed.
    Retry,
    /// Nothing waits: there is time for upkeep.
    Idle,
    /// Everything is written, and the store closes.
    Close,
}

/// What the writer can do besides writing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// When it wants a turn for itself.
    pub(crate) idle_at: Instant,
    /// When what failed is tried again, if something did.
    pub(crate) retry_at: Option<Instant>,
}

impl Shared {
    pub(crate) fn new(repairs: Vec<String>, retention: Retention) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                queue: Queue::default(),
                counters: Counters { repairs, ..Counters::default() },
                retention: Some(retention),
                closing: false,
                ended: false,
                busy_since: None,
                stalled: false,
                watching: false,
                durable: 0,
            }),
            wake: Condvar::new(),
            watch: Condvar::new(),
            end: Condvar::new(),
            committed: watch::Sender::new(Committed::default()),
        })
    }

    /// Nothing panics while it holds the lock, and if it did, numbers that are a little off are better than a daemon that ends.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, records: Vec<Record>, urgency: Urgency) -> u64 {
        let mut inner = self.lock();
        let was_empty = inner.queue.is_empty();
        let ticket = inner.queue.push(records, urgency, Instant::now());
        if inner.ended || inner.stalled {
            let trouble = if inner.ended { ENDED.to_owned() } else { stall_text() };
            self.publish(&inner, Some(trouble));
        } else if was_empty || inner.queue.is_pressing() {
            self.wake.notify_one();
        }
        ticket
    }

    pub(crate) fn committed(&self) -> watch::Receiver<Committed> {
        self.committed.subscribe()
    }

    pub(crate) fn counters(&self) -> Counters {
        let inner = self.lock();
        let mut counters = inner.counters.clone();
        counters.queued_bytes = inner.queue.bytes();
        counters.dropped += inner.queue.dropped;
        counters
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.lock().counters);
    }

    pub(crate) fn repaired(&self, lines: Vec<String>) {
        let repairs = &mut self.lock().counters.repairs;
        repairs.extend(lines);
        let excess = repairs.len().saturating_sub(MAX_REPAIRS);
        repairs.drain(..excess);
    }

    pub(crate) fn set_retention(&self, retention: Retention) {
        self.lock().retention = Some(retention);
    }

    pub(crate) fn take_retention(&self) -> Option<Retention> {
        self.lock().retention.take()
    }

    /// How many records were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        let inner = self.lock();
        inner.queue.dropped + inner.counters.dropped
    }

    /// Waits until the writer has something to do.
    pub(crate) fn next(&self, wish: Wish, trouble: Option<&str>) -> Turn {
        let mut inner = self.lock();
        loop {
            let now = Instant::now();
            let until = if let Some(retry_at) = wish.retry_at {
                // The daemon goes on with what it knows; the trouble says that this is not on disk.
                self.publish(&inner, trouble.map(ToOwned::to_owned));
                if now >= retry_at || inner.closing {
                    return Turn::Retry;
                }
                retry_at
            } else {
                let flush_at = inner.queue.since().map(|since| since + crate::FLUSH_INTERVAL);
                if inner.queue.is_pressing()
                    || flush_at.is_some_and(|at| now >= at)
                    || (inner.closing && !inner.queue.is_empty())
                {
                    return Turn::Commit(inner.queue.take());
                }
                if inner.closing {
                    return Turn::Close;
                }
                if now >= wish.idle_at {
                    return Turn::Idle;
                }
                flush_at.map_or(wish.idle_at, |at| at.min(wish.idle_at))
            };
            inner = self
                .wake
                .wait_timeout(inner, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Takes what waits if it must not wait any longer.
    pub(crate) fn take_pressing(&self) -> Option<Vec<Batch>> {
        let mut inner = self.lock();
        let late = inner.queue.since().is_some_and(|since| since.elapsed() >= crate::FLUSH_INTERVAL);
        (inner.queue.is_pressing() || late).then(|| inner.queue.take())
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// From now on the writer waits for the disk.
    pub(crate) fn begins(&self) {
        let mut inner = self.lock();
        inner.busy_since = Some(Instant::now());
        if !inner.watching {
            self.watch.notify_one();
        }
    }

    /// The disk has answered.
    pub(crate) fn ends(&self) {
        let mut inner = self.lock();
        inner.busy_since = None;
        inner.stalled = false;
    }

    /// Everything up to `ticket` is on disk; `trouble` says if not everything is as it should be.
    pub(crate) fn is_durable(&self, ticket: u64, trouble: Option<String>) {
        let mut inner = self.lock();
        inner.durable = inner.durable.max(ticket);
        let published = self.committed.borrow().ticket;
        // While there was trouble, tickets went ahead of the disk; the trouble is over when the disk has caught up.
        let behind = inner.durable < published;
        let trouble = trouble.or_else(|| behind.then(|| "the disk takes changes again, and is catching up".to_owned()));
        self.publish(&inner, trouble);
    }

    fn publish(&self, inner: &Inner, trouble: Option<String>) {
        let ticket = if trouble.is_some() { inner.queue.last_ticket() } else { inner.durable };
        self.committed.send_if_modified(|committed| {
            let new = Committed { ticket: committed.ticket.max(ticket), trouble };
            let changed = *committed != new;
            *committed = new;
            changed
        });
    }

    /// Watches how long the writer waits for the disk, and lets the daemon go on when that is too long. Runs until the writer ends.
    pub(crate) fn watch_for_stalls(&self) {
        let mut inner = self.lock();
        while !inner.ended {
            inner.watching = inner.busy_since.is_some();
            let Some(since) = inner.busy_since else {
                inner = self.watch.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let mut left = STALL.saturating_sub(since.elapsed());
            if left.is_zero() {
                inner.stalled = true;
                self.publish(&inner, Some(stall_text()));
                left = STALL;
            }
            inner = self.watch.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks the writer to write everything and end, and waits for that until `deadline`; whether it did.
    pub(crate) fn close(&self, deadline: Instant) -> bool {
        let mut inner = self.lock();
        inner.closing = true;
        self.wake.notify_one();
        while !inner.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self.end.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether everything that was ever queued is on disk.
    pub(crate) fn is_all_durable(&self) -> bool {
        let inner = self.lock();
        inner.durable == inner.queue.last_ticket()
    }

    /// The writer has ended.
    pub(crate) fn ended(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.busy_since = None;
        if !inner.closing || inner.durable < inner.queue.last_ticket() {
            self.publish(&inner, Some(ENDED.to_owned()));
        }
        self.watch.notify_all();
        self.end.notify_all();
    }
}

const ENDED: &str = "the thread that writes the database has ended";

fn stall_text() -> String {
    format!("the disk has not answered for {} s", STALL.as_secs())
}
