//! The wall clock, read in one place. Intervals and deadlines use tokio's clock, which tests can pause.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Tells the wall time, and how long the machine slept.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    asleep: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn system() -> Self {
        Self { wall: Arc::new(Timestamp::now), asleep: Arc::new(suspended) }
    }

    /// One that starts at `start` and follows tokio's clock: for tests that pause it.
    pub fn following_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        let wall = Arc::new(move || start.checked_add(origin.elapsed()).unwrap_or(Timestamp::MAX));
        Self { wall, asleep: Arc::new(|| Duration::ZERO) }
    }

    /// The same on a machine that has slept for `asleep`, which may grow: tokio's clock does not count that.
    #[must_use]
    pub fn on_a_machine_that_sleeps(self, asleep: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        let (awake, slept) = (self.wall, Arc::clone(&asleep));
        Self { wall: Arc::new(move || awake().checked_add(slept()).unwrap_or(Timestamp::MAX)), asleep }
    }

    /// How long the machine was suspended since it was started.
    pub(crate) fn asleep(&self) -> Duration {
        (self.asleep)()
    }

    /// The wall time now, to the millisecond: finer is never stored, so nothing changes by being stored.
    pub fn now(&self) -> Timestamp {
        to_the_millisecond((self.wall)())
    }

    /// What the wall time was so long ago.
    pub(crate) fn before(&self, ago: Duration) -> Timestamp {
        let now = (self.wall)();
        to_the_millisecond(now.checked_sub(ago).unwrap_or(now))
    }
}

fn to_the_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// How far the clock that goes on while the machine sleeps is ahead of the one that does not.
fn suspended() -> Duration {
    let read = |clock| Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default();
    let awake = read(rustix::time::ClockId::Monotonic);
    read(rustix::time::ClockId::Boottime).saturating_sub(awake)
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock(..)")
    }
}
