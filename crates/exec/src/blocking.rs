//! Calls that can hang in the kernel or in libc: `statvfs` on a dead mount, name resolution (R7, R76).
//!
//! They run on throw-away threads. Whoever waits for one gives up at its deadline; the thread is lost until the kernel lets it go, and
//! nothing else is. Such threads are not tokio's (`spawn_blocking`), because the end of the runtime would wait for them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monchero_core::duration::human;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};

/// How many threads one [`Blocking`] has at most, hung ones included: enough for every mount or name that a host is likely to look at
/// in the same moment, and little enough (64 small stacks) to forget about when all of them hang.
pub const MAX_THREADS: usize = 64;

/// How long something that hangs is left alone before it is asked once more, on a further thread. The span doubles with each thread
/// that hangs on it. Asking again is what notices a dead mount that was unmounted lazily and mounted anew: the old call never returns.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// A call. It says when it has returned, before its answer is sent: whoever has the answer finds the thread free for the next call.
type Job = Box<dyn FnOnce(&dyn Fn()) + Send>;

/// Threads for one sort of call. One that is done waits for the next call, so that a check costs no new thread.
pub struct Blocking {
    /// The name of the threads.
    name: &'static str,
    /// The size of their stacks, in bytes.
    stack: usize,
    threads: Semaphore,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The thread that waits for work.
    idle: Option<SyncSender<Job>>,
    /// The number of the next call.
    next: u64,
    /// The calls that have not returned, at most [`MAX_THREADS`].
    calls: BTreeMap<u64, Call>,
}

struct Call {
    /// What is asked: a path, the name of a host.
    key: Box<str>,
    since: Instant,
    /// When it counts as hung.
    deadline: Instant,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// This call, or an earlier one for the same thing that is still not back, has not answered for so long.
    Hangs(Duration),
    /// All threads hang.
    TooMany,
    /// The call broke off or could not be made.
    Failed(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hangs(span) => write!(f, "has not answered for {}", human(*span)),
            Self::TooMany => write!(f, "cannot be asked: {MAX_THREADS} other calls hang"),
            Self::Failed(why) => write!(f, "cannot be asked: {why}"),
        }
    }
}

impl Blocking {
    /// No thread is started before it is needed.
    pub const fn new(name: &'static str, stack: usize) -> Self {
        Self {
            name,
            stack,
            threads: Semaphore::const_new(MAX_THREADS),
            inner: Mutex::new(Inner { idle: None, next: 0, calls: BTreeMap::new() }),
        }
    }

    /// Makes the call on a thread and waits for its answer, at most `limit`. While an earlier call for the same `key` hangs, no further
    /// one is made.
    pub async fn call<T, F>(&'static self, key: &str, limit: Duration, call: F) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let start = Instant::now();
        if let Some(span) = self.hangs(key, start) {
            return Err(NoAnswer::Hangs(span));
        }
        // While all threads are busy but not lost, a place becomes free in no time.
        let permit = timeout(limit, self.threads.acquire()).await.map_err(|_| NoAnswer::TooMany)?;
        let permit = permit.map_err(|closed| NoAnswer::Failed(closed.to_string()))?;
        let (send, answer) = oneshot::channel();
        let registered = self.register(key, start, start + limit, permit);
        let job: Job = Box::new(move |returned| {
            let value = call();
            drop(registered);
            returned();
            // Nobody may be waiting any more.
            let _ = send.send(value);
        });
        self.hand_over(job).map_err(|error| NoAnswer::Failed(format!("no thread can be started: {error}")))?;
        match timeout(limit.saturating_sub(start.elapsed()), answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(NoAnswer::Failed("the call broke off".to_owned())),
            Err(_) => Err(NoAnswer::Hangs(start.elapsed())),
        }
    }

    /// How long calls for this have hung already, unless it is time to ask once more.
    fn hangs(&self, key: &str, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        let hung = || inner.calls.values().filter(|call| *call.key == *key && call.deadline <= now);
        let longest = now - hung().map(|call| call.since).min()?;
        let doublings = u32::try_from(hung().count()).unwrap_or(u32::MAX).saturating_sub(1).min(16);
        (longest < ASK_AGAIN * 2_u32.pow(doublings)).then_some(longest)
    }

    fn register(
        &'static self,
        key: &str,
        since: Instant,
        deadline: Instant,
        permit: SemaphorePermit<'static>,
    ) -> Registered {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.calls.insert(number, Call { key: Box::from(key), since, deadline });
        Registered { blocking: self, number, _permit: permit }
    }

    /// Gives the job to the thread that waits, or to a new one.
    fn hand_over(&'static self, job: Job) -> std::io::Result<()> {
        let idle = self.lock().idle.take();
        let job = match idle {
            // Whoever took the sender is the only one to use it, and its thread receives: the one place in the channel is free.
            Some(idle) => match idle.try_send(job) {
                Ok(()) => return Ok(()),
                Err(std::sync::mpsc::TrySendError::Full(job) | std::sync::mpsc::TrySendError::Disconnected(job)) => job,
            },
            None => job,
        };
        let (sender, jobs) = sync_channel(1);
        let thread = std::thread::Builder::new().name(self.name.to_owned()).stack_size(self.stack);
        thread.spawn(move || self.work(job, &sender, &jobs)).map(drop)
    }

    /// The life of a thread: its first job, and further ones as long as no other thread waits already.
    fn work(&self, first: Job, sender: &SyncSender<Job>, jobs: &Receiver<Job>) {
        let waits = Cell::new(false);
        let returned = || {
            let mut inner = self.lock();
            waits.set(inner.idle.is_none());
            if waits.get() {
                inner.idle = Some(sender.clone());
            }
        };
        first(&returned);
        while waits.get()
            && let Ok(job) = jobs.recv()
        {
            job(&returned);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No call runs under the lock, so a poisoned one is still whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has not returned. Dropped when it does, even by a panic.
struct Registered {
    blocking: &'static Blocking,
    number: u64,
    _permit: SemaphorePermit<'static>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.blocking.lock().calls.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: usize = 64 * 1024;
    const SHORT: Duration = Duration::from_millis(40);

    fn threads_of(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter(|task| {
                std::fs::read_to_string(task.as_ref().unwrap().path().join("comm"))
                    .is_ok_and(|comm| comm.trim() == name)
            })
            .count()
    }

    /// A call that hangs until the sender is dropped.
    fn gate() -> (SyncSender<()>, impl FnOnce() -> &'static str + Send) {
        let (open, wait) = sync_channel::<()>(0);
        (open, move || {
            let _ = wait.recv();
            "late"
        })
    }

    #[tokio::test]
    async fn what_hangs_is_asked_once_and_the_rest_answers() {
        static CALLS: Blocking = Blocking::new("test-hang", STACK);
        let (open, hang) = gate();
        let NoAnswer::Hangs(first) = CALLS.call("/dead", SHORT, hang).await.unwrap_err() else { panic!("it hangs") };
        assert!(first >= SHORT && first < SHORT * 20, "{first:?}");
        for _ in 0..100 {
            let again = CALLS.call("/dead", SHORT, || "must not be asked").await;
            assert!(matches!(again, Err(NoAnswer::Hangs(span)) if span >= first), "{again:?}");
            assert_eq!(CALLS.call("/alive", Duration::from_secs(5), || 42).await, Ok(42));
        }
        assert!(threads_of("test-hang") <= 2, "one hangs, one waits for work");
        drop(open);
        // The level to wait for: the call has returned.
        let deadline = Instant::now() + Duration::from_secs(5);
        while CALLS.hangs("/dead", Instant::now()).is_some() {
            assert!(Instant::now() < deadline, "the call has not returned");
            tokio::task::yield_now().await;
        }
        assert_eq!(CALLS.call("/dead", Duration::from_secs(5), || "back").await, Ok("back"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_asked_again_ever_more_rarely() {
        static CALLS: Blocking = Blocking::new("test-again", STACK);
        let mut gates = Vec::new();
        let mut asked = 0;
        for _minute in 0..120 {
            let (open, hang) = gate();
            gates.push(open);
            let (tell, was_asked) = sync_channel(1);
            let answer = CALLS.call("/dead", SHORT, move || {
                let _ = tell.send(());
                hang()
            });
            assert!(answer.await.is_err());
            asked += usize::from(was_asked.recv().is_ok());
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        // At 0, 5, 10, 20, 40 and 80 minutes.
        assert_eq!(asked, 6);
    }

    #[tokio::test]
    async fn calls_that_follow_each_other_share_a_thread() {
        static CALLS: Blocking = Blocking::new("test-follow", STACK);
        let ask = || CALLS.call("/alive", Duration::from_secs(5), || std::thread::current().id());
        let first = ask().await.unwrap();
        for _ in 0..1_000 {
            assert_eq!(ask().await, Ok(first));
        }
    }

    #[tokio::test]
    async fn lost_threads_are_bounded() {
        static CALLS: Blocking = Blocking::new("test-bound", STACK);
        let mut gates = Vec::new();
        for number in 0..MAX_THREADS {
            let (open, hang) = gate();
            gates.push(open);
            assert!(matches!(
                CALLS.call(&number.to_string(), Duration::from_millis(1), hang).await,
                Err(NoAnswer::Hangs(_))
            ));
        }
        assert_eq!(CALLS.call("one more", SHORT, || 1).await, Err(NoAnswer::TooMany));
        assert_eq!(threads_of("test-bound"), MAX_THREADS);
        drop(gates);
        assert_eq!(CALLS.call("one more", Duration::from_secs(5), || 1).await, Ok(1));
    }

    #[tokio::test]
    async fn a_call_that_panics_is_an_error_and_costs_nothing() {
        static CALLS: Blocking = Blocking::new("test-panic", STACK);
        let answer: Result<(), _> = CALLS.call("x", Duration::from_secs(5), || panic!("a test")).await;
        assert!(matches!(answer, Err(NoAnswer::Failed(_))), "{answer:?}");
        assert_eq!(CALLS.call("x", Duration::from_secs(5), || 1).await, Ok(1));
    }
}
