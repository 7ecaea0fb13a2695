//! The domain of monchero: states, thresholds, metrics, results, the state machine, holds and notices.
//!
//! Nothing here does I/O, reads a clock or knows tokio: every function gets `now` as an argument, so that all that
//! can be decided without looking at the world is decided here and tested without it.

pub mod action;
pub mod check;
pub mod decide;
pub mod definition;
pub mod duration;
pub mod flapping;
pub mod hold;
pub mod incident;
pub mod items;
pub mod mask;
pub mod metric;
pub mod mounts;
pub mod nagios;
pub mod name;
pub mod node;
pub mod order;
pub mod program;
pub mod quantity;
pub mod range;
pub mod recurrence;
pub mod report;
pub mod secret;
pub mod state;
pub mod status;
pub mod summary;
pub mod text;

pub use action::{ActionError, DeliveryError, Event, Message, Script, Target};
pub use check::{BoxFuture, Check, CheckError, CheckKind, Context, Kind};
pub use decide::{Decision, Notice, NoticeKind, Told, decide};
pub use hold::Hold;
pub use incident::{Incident, IncidentId};
pub use items::{Filter, Judge, Thresholds};
pub use metric::Metric;
pub use name::Name;
pub use node::Invalid;
pub use range::Range;
pub use report::{CheckResult, Finding, Report, ServiceResult};
pub use secret::Secret;
pub use state::{State, StateType};
pub use status::{CheckStatus, Policy, Transition};
