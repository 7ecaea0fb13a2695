//! The one SQLite database: state, history, roll-ups, retention.
//!
//! One thread owns the only connection that writes. It takes batches over a bounded queue and commits what must be durable at once
//! (transitions, intents, what was told) with `synchronous=FULL`; results and metrics wait a moment and go together.

pub mod record;

pub use record::{ActionRow, Committed, HistoryEntry, HistoryKind, HistoryQuery, Loaded, MetricPoint, NoticeRow, Record, StoredCheck, Urgency};
