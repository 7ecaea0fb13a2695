//! The daemon's log: to the journal with fields, or as lines to standard error; besides to a file. How much is said is set by
//! `MONCHERO_LOG`, or by `log:` of `monchero.yaml`.

mod file;
mod flood;
mod line;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
}

/// What both sides of the queue see.
struct Shared {
    /// How many lines found the queue full.
    lost: AtomicU64,
    /// How many lines are in the queue or are being written.
    waiting: AtomicU64,
    /// Whether the queue is to be emptied and nothing more is to be awaited.
    stopping: AtomicBool,
    wishes: Mutex<Wishes>,
    trouble: watch::Sender<Option<String>>,
}

#[derive(Default)]
struct Wishes {
    settings: Option<LogSettings>,
    reopen: bool,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lost: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            wishes: Mutex::default(),
            trouble: watch::Sender::new(None),
        })
    }

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

/// Keeps the log until it is dropped: then what was logged before is written, or it is said how much was not.
pub(crate) struct Writing {
    queue: SyncSender<Order>,
    shared: Arc<Shared>,
    ended: Receiver<()>,
}

/// Starts logging.
pub(crate) fn start() -> std::io::Result<(Log, Writing)> {
    let shared = Shared::new();
    let (queue, writing) = begin(Arc::clone(&shared), Console::of_process())?;
    let (filter, handle) = reload::Layer::new(filter(LogLevel::default()));
    let front = Front { queue: queue.clone(), shared: Arc::clone(&shared) };
    // A second start, in a test that runs two daemons in one process, keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(front).try_init();
    if let Some(Err(why)) = said() {
        tracing::warn!("`{VARIABLE}` is not understood and counts for nothing: {why}");
    }
    Ok((Log { queue, shared, filter: handle }, writing))
}

/// Starts the thread that writes.
fn begin(shared: Arc<Shared>, console: Console) -> std::io::Result<(SyncSender<Order>, Writing)> {
    let (queue, orders) = sync_channel(QUEUE);
    let (ending, ended) = sync_channel(1);
    let writer = Writer::new(orders, Arc::clone(&shared), console);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        writer.run();
        // Whoever waits for it has given up otherwise.
        let _ = ending.send(());
    })?;
    Ok((queue.clone(), Writing { queue, shared, ended }))
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

impl Writing {
    /// Has all that waits written, and waits for that; how many lines were not written.
    fn end(&self) -> u64 {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // A queue that is full wakes it too.
        let _ = self.queue.try_send(Order::Wake);
        match self.ended.recv_timeout(PATIENCE) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => 0,
            Err(RecvTimeoutError::Timeout) => self.shared.waiting.load(Ordering::Relaxed) + self.shared.take_lost(),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let unwritten = self.end();
        if unwritten > 0 {
            let lines = monchero_core::text::counted(unwritten, "last line");
            say_at_once(&format!("monchero: {lines} of the log could not be written within {PATIENCE:?}\n"));
        }
    }
}

/// Says something on standard error, unless that would have to be waited for. The thread that writes may hang there, with the lock that
/// the standard library has for it.
fn say_at_once(text: &str) {
    let stderr = std::io::stderr();
    let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut ready, Some(&Timespec::default())) == Ok(1) && ready[0].revents().contains(PollFlags::OUT) {
        // Nobody is left to tell if it cannot be written.
        let _ = rustix::io::write(&stderr, text.as_bytes());
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
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Order::Line(line)).is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn whoever_logs_never_waits() {
        let (queue, orders) = sync_channel(QUEUE);
        let shared = Shared::new();
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

    /// A log that goes to a journal that takes nothing yet, and a queue that is full.
    fn full() -> (tempfile::TempDir, UnixDatagram, Writing) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        // One socket has room for fewer than the journal, so it takes several until none gets anything in.
        loop {
            let other = UnixDatagram::unbound().unwrap();
            other.set_nonblocking(true).unwrap();
            if std::iter::repeat_with(|| other.send_to(b"other", &path)).take_while(Result::is_ok).count() == 0 {
                break;
            }
        }
        let console = Console::Journal { socket: UnixDatagram::unbound().unwrap(), path };
        let shared = Shared::new();
        let (queue, writing) = begin(Arc::clone(&shared), console).unwrap();
        let front = Front { queue, shared: Arc::clone(&shared) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(front), || {
            for i in 0.. {
                tracing::info!(i, "line");
                if shared.lost.load(Ordering::Relaxed) > 0 {
                    break;
                }
            }
        });
        (folder, journal, writing)
    }

    #[test]
    fn what_waits_in_a_full_queue_is_written_at_the_end_and_what_was_lost_is_said() {
        let (folder, journal, writing) = full();
        journal.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let reading = std::thread::spawn(move || {
            let (mut lines, mut lost, mut buffer) = (0, 0, [0; 1024]);
            loop {
                let length = journal.recv(&mut buffer).unwrap();
                match String::from_utf8_lossy(&buffer[..length]) {
                    entry if entry.contains("line i=") => lines += 1,
                    entry if entry.contains("1 line of the log could not be written fast enough") => lost += 1,
                    entry if entry == "the end" => return (lines, lost),
                    _ => {}
                }
            }
        });
        assert_eq!(writing.end(), 0);
        UnixDatagram::unbound().unwrap().send_to(b"the end", folder.path().join("journal")).unwrap();
        let (lines, lost) = reading.join().unwrap();
        assert!(lines >= QUEUE && lost == 1, "{lines} {lost}");
    }

    #[test]
    fn whoever_hangs_is_not_awaited_for_ever_and_what_is_lost_is_counted() {
        let (_folder, journal, writing) = full();
        let unwritten = usize::try_from(writing.end()).unwrap();
        // What the queue holds, what found no room, and what was being written.
        assert!(unwritten == QUEUE + 1 || unwritten == QUEUE + 2, "{unwritten}");
        // It hangs until the tests are over: without the journal it would write to standard error.
        std::mem::forget(journal);
    }
}
