//! The signals that the daemon obeys.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Gone;

/// What a signal asks for.
#[derive(PartialEq, Eq)]
pub(super) enum Asked {
    Reload,
    Stop,
    /// Nobody asked: the engine's thread has ended.
    EngineGone,
}

/// The signals that mean something.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn take() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            hangup: of(SignalKind::hangup())?,
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    /// SIGHUP, or anything that stops.
    pub(super) async fn next(&mut self, gone: &mut Gone) -> Asked {
        tokio::select! {
            _ = gone => Asked::EngineGone,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
        }
    }

    /// Ends when the daemon is told to stop.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::daemon::thread;

    #[tokio::test]
    async fn a_thread_that_panics_is_missed() {
        let mut signals = Signals::take().unwrap();
        let (thread, mut gone) = thread("test", || panic!("a test")).unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(10), signals.next(&mut gone)).await;
        assert!(asked.unwrap() == Asked::EngineGone);
        assert!(thread.join().is_err());
    }
}
