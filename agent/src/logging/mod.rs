//! The daemon's log: to the journal with fields, or as lines to standard error; besides to a file. How much is said is set by
//! `MONCHERO_LOG`, or by `log:` of `monchero.yaml`.

mod file;
mod flood;
mod line;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use crate::config::{LogLevel, LogSettings};
use line::Line;
use writer::{Console, Writer};

/// The variable that says what is logged: `warn`, `debug`, `monchero_engine=debug,info` ..
const VARIABLE: &str = "MONCHERO_LOG";
/// How many lines may wait to be written; the engine waits for none of them. As many as a reload of a broken directory says at once.
const QUEUE: usize = 512;
/// How long the last lines may take at the end: a disk that hangs must not keep the daemon.
const PATIENCE: Duration = Duration::from_secs(1);

/// The wall clock of the log.
fn now() -> Timestamp {
    monchero_engine::Clock::system().now()
}

/// What the thread that writes is sent.
enum Order {
    /// A line.
    Line(Box<Line>),
    /// To look at what is wished.
    Wake,
    /// Nothing more comes.
    Stop,
}

/// What both sides of the queue see.
struct Shared {
    lost: AtomicU64,
    wishes: Mutex<Wishes>,
    trouble: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Wishes {
    settings: Option<LogSettings>,
    reopen: bool,
}

impl Shared {
    fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    fn take_wishes(&self) -> (Option<LogSettings>, bool) {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        (wishes.settings.take(), std::mem::take(&mut wishes.reopen))
    }
}

/// A way to the log.
#[derive(Clone)]
pub(crate) struct Log {
    queue: SyncSender<Order>,
    shared: Arc<Shared>,
    filter: reload::Handle<Targets, Registry>,
}

/// Keeps the log until it is dropped: then what was logged before is written.
pub(crate) struct Writing {
    queue: SyncSender<Order>,
    ended: Receiver<()>,
}

/// Starts logging.
pub(crate) fn start() -> std::io::Result<(Log, Writing)> {
    let (queue, orders) = sync_channel(QUEUE);
    let shared =
        Arc::new(Shared { lost: AtomicU64::new(0), wishes: Mutex::default(), trouble: watch::Sender::new(None) });
    let (ending, ended) = sync_channel(1);
    let writer = Writer::new(orders, Arc::clone(&shared), Console::of_process());
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        writer.run();
        // Whoever waits for it has given up otherwise.
        let _ = ending.send(());
    })?;
    let (filter, handle) = reload::Layer::new(filter(LogLevel::default()));
    let front = Front { queue: queue.clone(), shared: Arc::clone(&shared) };
    // A second start, in a test that runs two daemons in one process, keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(front).try_init();
    if let Some(Err(why)) = said() {
        tracing::warn!("`{VARIABLE}` is not understood and counts for nothing: {why}");
    }
    Ok((Log { queue: queue.clone(), shared, filter: handle }, Writing { queue, ended }))
}

/// What is logged: what the variable says, and all from this level on where it says nothing.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let said = said().and_then(Result::ok).unwrap_or_default();
    let level = said.default_level().unwrap_or(level);
    Targets::new().with_default(level).with_targets(said)
}

/// What the variable says, if it is set.
fn said() -> Option<Result<Targets, ParseError>> {
    Some(std::env::var(VARIABLE).ok()?.parse())
}

impl Log {
    /// Puts settings in force.
    pub(crate) fn configure(&self, settings: LogSettings) {
        // It fails only where the log of another daemon in the same process is in force.
        let _ = self.filter.reload(filter(settings.level));
        self.wish(|wishes| wishes.settings = Some(settings));
    }

    /// Opens the file by its name again: somebody has moved it.
    pub(crate) fn reopen(&self) {
        self.wish(|wishes| wishes.reopen = true);
    }

    /// Why the file cannot be written, whenever that changes.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.shared.trouble.subscribe()
    }

    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.shared.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        // A queue that is full wakes it too.
        let _ = self.queue.try_send(Order::Wake);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // If the queue is full, nothing of it is awaited: whoever takes it does not.
        if self.queue.try_send(Order::Stop).is_ok() {
            let _ = self.ended.recv_timeout(PATIENCE);
        }
    }
}

/// What events go through: into the queue, or into a counter.
struct Front {
    queue: SyncSender<Order>,
    shared: Arc<Shared>,
}

impl<S: Subscriber> Layer<S> for Front {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Box::new(Line::of(now(), event));
        if self.queue.try_send(Order::Line(line)).is_err() {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_logs_never_waits() {
        let (queue, orders) = sync_channel(QUEUE);
        let shared =
            Arc::new(Shared { lost: AtomicU64::new(0), wishes: Mutex::default(), trouble: watch::Sender::new(None) });
        let front = Front { queue, shared: Arc::clone(&shared) };
        // Nobody takes anything, as if the disk hung.
        tracing::subscriber::with_default(tracing_subscriber::registry().with(front), || {
            for i in 0..QUEUE + 7 {
                tracing::info!(i, "again");
            }
        });
        assert_eq!(shared.take_lost(), 7);
        assert_eq!(orders.try_iter().count(), QUEUE);
    }
}
