//! The engine: the schedule, the runs, the dispatcher that alone writes `CheckStatus`, and the outbox.

mod bulletin;
mod clock;
mod commands;
mod configure;
mod delivery;
mod dispatch;
mod downtimes;
mod drill;
mod engine;
mod entry;
mod gate;
pub mod handle;
mod journal;
mod lateness;
mod left;
mod outbox;
mod rehearsal;
mod runs;
mod schedule;
mod scripts;
mod selfcheck;
mod table;
pub mod view;
mod worker;

pub use clock::Clock;
pub use engine::{Engine, Parts};
pub use handle::{Command, EngineGone, EngineHandle, Refusal, Test};
pub use journal::Journal;
pub use selfcheck::ALIVE;
pub use view::{Detail, Rehearsal, Row, Snapshot, TargetView};

/// Runs foreign code; if it panics, answers with what it said (R59).
pub(crate) async fn guarded<T>(future: impl Future<Output = T>) -> Result<T, String> {
    use futures_util::FutureExt as _;
    std::panic::AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
    })
}
