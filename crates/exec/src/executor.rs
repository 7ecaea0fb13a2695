//! The executor: the thread that starts programs, and the handle that others use.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monchero_core::check::BoxFuture;
use monchero_core::program::{Program, RunEnd, RunError, Spawner};
use rustix::process::{PidfdFlags, geteuid, getpid, pidfd_open, set_child_subreaper};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::command::Base;
use crate::containment::{Containment, RunId};
use crate::mounts::{Foreign, Mounts};
use crate::run::{Answer, run};
use crate::{guard, proc, users};

/// How many programs can wait for the thread to start them. Whoever asks beyond that waits; a second's worth of starts fits.
const QUEUE: usize = 1024;
/// How often orphans are looked at though no run ends, to reap those that may live on when they end; and whether mounts have changed.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// How an executor works.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The binary whose hidden subcommands `guard` and `exec-as` are [`guard_main`](crate::guard_main) and
    /// [`exec_as_main`](crate::exec_as_main): `/proc/self/exe` for the daemon. Without one there is no guard, and no program runs as another user.
    pub helper: Option<PathBuf>,
    /// Finds orphans by reading all of `/proc`, as on a kernel that does not list children.
    pub scan: bool,
}

/// Why there is no executor.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that every start needs is missing.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The daemon was started with SIGCHLD ignored.
    #[error(
        "the signal SIGCHLD is ignored, so the exit status of every program would be lost: start the daemon with it at its default"
    )]
    IgnoresSigchld,
}

impl StartError {
    fn io<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { doing, source: source.into() }
    }
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that were asked for and are over.
    pub runs: u64,
    /// Runs that are not over.
    pub running: usize,
    /// Processes that programs left behind and that had to be killed.
    pub leftovers: u64,
    /// Runs that were called off.
    pub cancelled: u64,
    /// Processes that could not be ended and still exist.
    pub stuck: usize,
    /// How often the guard had to be started again.
    pub guard_restarts: u64,
}

/// What the handle and the thread share.
pub(crate) struct Host {
    /// The part of a mark that is this executor's.
    pub instance: String,
    pub base: Base,
    /// Whether programs have to be told that the kernel may kill them first (R61).
    pub exposes_programs: bool,
    book: Mutex<Containment>,
    mounts: Mutex<Mounts>,
    stuck: Mutex<HashSet<i32>>,
    /// Grows as long as the thread makes progress.
    beat: Arc<AtomicU64>,
    next: AtomicU64,
    runs: AtomicU64,
    running: AtomicUsize,
    leftovers: AtomicU64,
    cancelled: AtomicU64,
    guard_restarts: AtomicU64,
    stopping: Flag,
    closed: Flag,
    idle: Notify,
}

/// Something that happens once.
#[derive(Default)]
struct Flag {
    up: AtomicBool,
    raised: Notify,
}

impl Flag {
    fn raise(&self) {
        self.up.store(true, Ordering::SeqCst);
        self.raised.notify_waiters();
    }

    fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    async fn wait(&self) {
        // In this order: a flag that is raised in between wakes the waiter.
        let raised = self.raised.notified();
        if !self.is_up() {
            raised.await;
        }
    }
}

impl Host {
    fn new(options: &Options) -> Result<Self, StartError> {
        // The standard library seeds its hash maps from the kernel's random numbers: enough for a name that no other daemon has.
        let instance = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        let null = File::options().read(true).open("/dev/null").map_err(StartError::io("open `/dev/null`"))?;
        let book = Containment::new(instance.clone(), options.scan)
            .map_err(StartError::io("read the list of our children"))?;
        let mounts = Mounts::read().map_err(StartError::io("read the list of mounts"))?;
        Ok(Self {
            instance,
            base: Base { null, home: users::home_of(geteuid().as_raw()).into(), helper: options.helper.clone() },
            exposes_programs: proc::is_spared_by_oom(),
            book: Mutex::new(book),
            mounts: Mutex::new(mounts),
            stuck: Mutex::default(),
            beat: Arc::default(),
            next: AtomicU64::new(1),
            runs: AtomicU64::default(),
            running: AtomicUsize::default(),
            leftovers: AtomicU64::default(),
            cancelled: AtomicU64::default(),
            guard_restarts: AtomicU64::default(),
            stopping: Flag::default(),
            closed: Flag::default(),
            idle: Notify::new(),
        })
    }

    /// The book of runs and orphans. Never held while something is awaited.
    pub(crate) fn book(&self) -> MutexGuard<'_, Containment> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The processes that could not be ended.
    pub(crate) fn stuck(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mounts on which the thread that starts programs looks at nothing.
    pub(crate) fn foreign(&self) -> Foreign {
        self.mounts().foreign()
    }

    fn mounts(&self) -> MutexGuard<'_, Mounts> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_id(&self) -> RunId {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether all runs are called off.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.is_up()
    }

    /// Waits until all runs are called off.
    pub(crate) async fn stopped(&self) {
        self.stopping.wait().await;
    }

    /// Waits until the executor is not needed any more.
    pub(crate) async fn closed(&self) {
        self.closed.wait().await;
    }

    pub(crate) fn guard_died(&self) {
        self.guard_restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// A run is over.
    pub(crate) fn ended(&self, leftovers: usize, cancelled: bool) {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.leftovers.fetch_add(leftovers as u64, Ordering::Relaxed);
        self.cancelled.fetch_add(u64::from(cancelled), Ordering::Relaxed);
        if self.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.idle.notify_waiters();
        }
    }

    async fn idle(&self) {
        let idle = self.idle.notified();
        if self.running.load(Ordering::SeqCst) != 0 {
            idle.await;
        }
    }
}

struct Request {
    program: Program,
    answer: Answer,
}

/// Runs programs. A handle: cheap to clone, and when the last one is dropped, what still runs is killed and the thread ends.
///
/// A process has one executor, and nothing else starts processes from its main thread: the executor would take them for orphans.
/// Several executors work, as in tests, but a descendant without mark, group and session of its run is judged by the runs of one of them only.
#[derive(Clone)]
pub struct Executor {
    requests: mpsc::Sender<Request>,
    host: Arc<Host>,
    runtime: tokio::runtime::Handle,
}

impl Executor {
    /// Makes this process the one that adopts the orphans of its descendants, and starts the thread `exec`.
    pub fn start(options: &Options) -> Result<Self, StartError> {
        pidfd_open(getpid(), PidfdFlags::empty())
            .map_err(StartError::io("open a pidfd (Linux 5.4 or later is needed)"))?;
        set_child_subreaper(Some(getpid())).map_err(StartError::io("become the parent of orphans"))?;
        if proc::ignores_sigchld() {
            return Err(StartError::IgnoresSigchld);
        }
        for flaw in proc::inherited_flaws() {
            tracing::warn!("programs are started with what the daemon was started with: {flaw}");
        }
        let host = Arc::new(Host::new(options)?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(StartError::io("make the event loop that watches programs"))?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let shared = Arc::clone(&host);
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("exec".to_owned())
            .spawn(move || runtime.block_on(serve(shared, queue)))
            .map_err(StartError::io("start the thread that starts programs"))?;
        Ok(Self { requests, host, runtime: handle })
    }

    /// The event loop of the thread that starts programs. A task that does little but run a program costs least there: its program is
    /// started and read without waking another thread.
    pub fn runtime(&self) -> tokio::runtime::Handle {
        self.runtime.clone()
    }

    /// Grows at least once a second as long as the thread that starts programs makes progress: the watchdog looks at it (R60).
    pub fn beat(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.host.beat)
    }

    /// Calls all runs off, those that wait included: what runs is killed at once and the answer is [`RunError::Cancelled`]. Ends when
    /// nothing of them is left, or after five seconds if something hangs in the kernel; never if the thread itself does, so whoever waits has
    /// to have a patience of their own. The executor runs nothing afterwards.
    pub async fn stop(&self) {
        self.host.stopping.raise();
        self.host.idle().await;
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        let host = &self.host;
        Counts {
            runs: host.runs.load(Ordering::Relaxed),
            running: host.running.load(Ordering::Relaxed),
            leftovers: host.leftovers.load(Ordering::Relaxed),
            cancelled: host.cancelled.load(Ordering::Relaxed),
            stuck: host.stuck().len(),
            guard_restarts: host.guard_restarts.load(Ordering::Relaxed),
        }
    }
}

impl Spawner for Executor {
    fn run(&self, program: Program) -> BoxFuture<'_, Result<RunEnd, RunError>> {
        Box::pin(async move {
            let (answer, end) = oneshot::channel();
            if self.requests.send(Request { program, answer }).await.is_err() {
                return Err(RunError::Cancelled);
            }
            end.await.unwrap_or(Err(RunError::Cancelled))
        })
    }

    fn still_stuck(&self, pid: i32) -> bool {
        self.host.stuck().contains(&pid)
    }

    fn containment(&self) -> &'static str {
        self.host.book().describe()
    }
}

/// What the thread does: starts what is asked for, until nobody can ask any more; then ends what still runs.
async fn serve(host: Arc<Host>, mut queue: mpsc::Receiver<Request>) {
    let guard = host.base.helper.clone().map(|helper| tokio::spawn(guard::keep(Arc::clone(&host), helper)));
    let mut look_around = tokio::time::interval(LOOK_AROUND);
    look_around.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = look_around.tick() => {
                host.beat.fetch_add(1, Ordering::Relaxed);
                host.book().look_around();
                host.mounts().look_around();
            }
            request = queue.recv() => match request {
                Some(Request { program, answer }) => {
                    host.running.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(run(Arc::clone(&host), program, answer));
                }
                None => break,
            },
        }
    }
    host.stopping.raise();
    host.idle().await;
    host.closed.raise();
    if let Some(guard) = guard {
        let _ = guard.await;
    }
}
