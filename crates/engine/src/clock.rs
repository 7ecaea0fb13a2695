//! The wall clock, read in one place. Intervals and deadlines use tokio's clock, which tests can pause.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the wall time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// One that starts at `start` and follows tokio's clock: for tests that pause it.
    pub fn following_tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self(Arc::new(move || start.checked_add(origin.elapsed()).unwrap_or(Timestamp::MAX)))
    }

    /// The wall time now, to the millisecond: finer is never stored, so nothing changes by being stored.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock(..)")
    }
}
