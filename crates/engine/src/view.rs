//! What others may see of the engine: immutable pictures of its rows, shared, not copied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::definition::{Place, Trigger};
use monchero_core::hold::{Acknowledgement, Downtime};
use monchero_core::report::ServiceResult;
use monchero_core::{CheckStatus, Decision, Hold, Name, State, Told};
use monchero_store::{ActionRow, NoticeRow};

/// One check or service as `status` shows it. Changes that must be on disk first are shown when they are.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: &'static str,
    /// The state machine.
    pub status: CheckStatus,
    /// How many attempts make a problem hard.
    pub max_attempts: u32,
    /// The last result.
    pub result: ServiceResult,
    /// How long the last run took.
    pub duration: Duration,
    /// When it runs next; none for what is only reported by others or while it runs.
    pub next_check: Option<Timestamp>,
    /// Whether it is running now.
    pub running: bool,
    /// How many slots were skipped because the run before was not over (R8).
    pub skipped: u64,
    /// What holds its notices.
    pub holds: Vec<Hold>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The check whose run reports this service, if it is one.
    pub parent: Option<Name>,
}

/// All rows at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The name of this host.
    pub host: Arc<str>,
    /// When the picture was taken.
    pub now: Timestamp,
    /// The rows, in the order of their names.
    pub rows: Vec<Arc<Row>>,
}

/// What a summary is made of, besides the past.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The name of this host.
    pub host: Arc<str>,
    /// When the picture was taken.
    pub now: Timestamp,
    /// The rows, in the order of their names.
    pub rows: Vec<Arc<Row>>,
    /// The downtimes that have not ended.
    pub downtimes: Vec<Downtime>,
}

/// What one target knows about a check and what it will be told.
#[derive(Clone, Debug)]
pub struct TargetView {
    /// The target.
    pub target: Name,
    /// What it knows.
    pub told: Told,
    /// What is to be done about it.
    pub decision: Decision,
    /// How many tries failed in a row, and when the next one is due.
    pub retry: Option<(u32, Timestamp)>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// Everything about one check.
#[derive(Clone, Debug)]
pub struct Detail {
    /// As in the table.
    pub row: Arc<Row>,
    /// From slot to slot.
    pub interval: Duration,
    /// While soft.
    pub retry_interval: Duration,
    /// How long a run may take.
    pub timeout: Duration,
    /// Where it is written.
    pub source: Place,
    /// What it depends on.
    pub depends_on: Arc<[Name]>,
    /// Its actions.
    pub actions: Arc<[Name]>,
    /// What its targets know and will be told.
    pub targets: Vec<TargetView>,
    /// The acknowledgement that stands.
    pub acknowledgement: Option<Acknowledgement>,
    /// Downtimes that cover it, now or later.
    pub downtimes: Vec<Downtime>,
    /// The last actions, newest first; from memory, at most [`crate::handle::RECENT`].
    pub recent_actions: Vec<ActionRow>,
    /// The last messages, newest first; from memory, at most [`crate::handle::RECENT`].
    pub recent_notices: Vec<NoticeRow>,
}

/// What would be told and done if a check became something now.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The check.
    pub check: Name,
    /// What it would become.
    pub state: State,
    /// What it is, as far as that is confirmed.
    pub hard_state: State,
    /// Its targets.
    pub targets: Vec<RehearsedTarget>,
    /// Its scripts and remedies.
    pub scripts: Vec<RehearsedScript>,
}

/// What a target would be told.
#[derive(Clone, Debug)]
pub struct RehearsedTarget {
    /// What it knows now, and what would be to be done about it.
    pub view: TargetView,
    /// Which states it wants to be told.
    pub wants: Vec<State>,
}

/// Whether a script would run.
#[derive(Clone, Debug)]
pub struct RehearsedScript {
    /// The script.
    pub script: Name,
    /// Whether it would run.
    pub verdict: Verdict,
    /// What sets it off.
    pub on: Vec<Trigger>,
    /// How long after a run it is not set off again.
    pub cooldown: Option<Duration>,
    /// How often it runs at most for one incident.
    pub limit: Option<u32>,
}

/// Whether and why a script would run or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would run.
    Runs,
    /// It would be set off, and be skipped for this reason.
    Skipped(String),
    /// This is not what sets it off.
    NotSetOff,
    /// The check is in that state already: that sets off nothing.
    NothingChanges,
}
