//! The engine: the schedule, the runs, the dispatcher that alone writes `CheckStatus`, and the outbox.

pub mod handle;
pub mod view;

pub use handle::{Command, EngineGone, EngineHandle, Refusal};
pub use view::{Detail, Row, Snapshot};
