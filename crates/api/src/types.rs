//! The JSON shapes of the API: what the daemon serves, what a client may send, and what the OpenAPI document describes.
//!
//! These shapes are stable: keys are added, never renamed, moved or removed. Times are RFC 3339, spans of time are written as in
//! `conf.d` (`30s`, `1h30m`), ranges as thresholds are. Shapes that a daemon serves by the thousand borrow what they show.

mod drill;
mod past;
mod requests;
mod summary;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use monchero_core::{Range, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use drill::{DrillAnswer, DrillRequest, DrillScript, DrillTarget, TestAnswer, TestRequest, Verdict};
pub use past::{ActionEvent, Event, History, MetricHistory, NoticeEvent, Outcome, Point, TransitionEvent};
pub use requests::{
    AcknowledgementRequest, DowntimePlanned, DowntimeRequest, ResultRequest, RunAnswer, RunRequest, RunResult,
    SignalKind, SignalRequest,
};
pub use summary::{
    Counts, Flaps, Listed, PastIncident, PlannedDowntime, Problem, Slow, Summary, SummaryRequest, Trouble,
};

/// The state of a check: what was found, or that nothing was found yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// It has never run: no result has come yet. It does not count for `worst`.
    Pending,
    /// All is as it should be.
    Okay,
    /// Worth a look.
    Warning,
    /// monchero could not find out.
    Unknown,
    /// Broken.
    Bad,
}

impl CheckState {
    /// The word as it stands in JSON and tables.
    pub fn as_str(self) -> &'static str {
        self.found().map_or("pending", State::as_str)
    }

    /// What was found; none if it is pending.
    pub fn found(self) -> Option<State> {
        match self {
            Self::Pending => None,
            Self::Okay => Some(State::Okay),
            Self::Warning => Some(State::Warning),
            Self::Unknown => Some(State::Unknown),
            Self::Bad => Some(State::Bad),
        }
    }
}

impl From<State> for CheckState {
    fn from(state: State) -> Self {
        match state {
            State::Okay => Self::Okay,
            State::Warning => Self::Warning,
            State::Unknown => Self::Unknown,
            State::Bad => Self::Bad,
        }
    }
}

/// Whether a state is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confirmation {
    /// A problem that further attempts have yet to confirm.
    Soft,
    /// Confirmed. `okay` is always hard.
    Hard,
}

/// All checks that were asked for: the answer of `GET /v1/status` and of `monchero status --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status<'a> {
    /// The name of the host that the daemon runs on.
    pub host: Cow<'a, str>,
    /// The worst state among `checks`; `okay` if there is none. Never `pending`.
    pub worst: CheckState,
    /// The checks, in the order of their names.
    pub checks: Vec<Check<'a>>,
}

/// One check, or one service that a check reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Check<'a> {
    /// Its name: `root-disk`, `raid/md0`, `grafana[a:3000]`.
    pub name: Cow<'a, str>,
    /// Its kind: `disk`, `http`, `plugin` ..
    pub kind: Cow<'a, str>,
    /// What was found last.
    pub state: CheckState,
    /// Whether that is confirmed.
    pub state_type: Confirmation,
    /// While soft, which bad result in a row this was; 0 while pending.
    pub attempt: u32,
    /// How many bad results in a row make a problem hard.
    pub max_attempts: u32,
    /// Since when `state` and `state_type` are what they are; null while pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// When the last result came; null while pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_check: Option<Timestamp>,
    /// When it runs next; null while it runs, and for what is only reported by others.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_check: Option<Timestamp>,
    /// One line about what was found.
    pub message: Cow<'a, str>,
    /// What was measured.
    pub metrics: Vec<Metric<'a>>,
    /// Why its notices wait; empty if they do not.
    pub holds: Vec<Hold<'a>>,
    /// Its labels.
    #[schema(value_type = BTreeMap<String, String>)]
    pub labels: Cow<'a, BTreeMap<String, String>>,
}

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric<'a> {
    /// What was measured.
    pub label: Cow<'a, str>,
    /// The number in `unit`; null if it could not be found out.
    #[serde(default)]
    pub value: Option<f64>,
    /// The unit of `value`, `min` and `max` as performance data writes it (`s`, `ms`, `%`, `B`, `c`); empty if there is none.
    #[serde(default)]
    pub unit: Cow<'a, str>,
    /// When it is a warning, as a threshold range.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub warning: Option<Range>,
    /// When it is bad, as a threshold range.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub bad: Option<Range>,
    /// The smallest possible value.
    #[serde(default)]
    pub min: Option<f64>,
    /// The largest possible value.
    #[serde(default)]
    pub max: Option<f64>,
}

/// Why notices wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold<'a> {
    /// `acknowledged`, `downtime`, `dependency`, `cut off`, `flapping`, `quiet hours`, `delay` or `mending`.
    pub kind: Cow<'a, str>,
    /// The same for a person, with who and why.
    pub text: String,
    /// When it ends by itself, if that is known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// Everything about one check: the answer of `GET /v1/check`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Detail<'a> {
    /// As in the table.
    pub check: Check<'a>,
    /// The further lines of the last result.
    pub output: Cow<'a, str>,
    /// Whether it runs now.
    pub running: bool,
    /// How long the last run took.
    pub duration: String,
    /// How many runs were left out because the run before was not over.
    pub skipped: u64,
    /// The check whose run reports this service, if it is one.
    pub parent: Option<String>,
    /// From run to run.
    pub interval: String,
    /// From run to run while the state is soft.
    pub retry_interval: String,
    /// How long a run may take.
    pub timeout: String,
    /// Where it is written: file and line.
    pub source: String,
    /// The checks that it depends on.
    pub depends_on: Vec<String>,
    /// Its actions.
    pub actions: Vec<String>,
    /// The last confirmed state.
    pub hard_state: CheckState,
    /// Since when that is so; null if it never was anything but okay.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub hard_since: Option<Timestamp>,
    /// How many okay results in a row have come while the hard state is a problem.
    pub recovering: u32,
    /// Whether the last result did not count, since this host may be cut off from what the check looks at.
    #[serde(default)]
    pub inconclusive: bool,
    /// The open incident; there is one exactly while the hard state is a problem.
    pub incident: Option<Incident>,
    /// The acknowledgement that stands.
    pub acknowledgement: Option<Acknowledgement>,
    /// Downtimes that cover it, now or later.
    pub downtimes: Vec<Downtime>,
    /// What its targets know and will be told.
    pub targets: Vec<Target>,
    /// Its last actions, newest first; all of them are in history.
    pub recent_actions: Vec<ActionEvent>,
    /// The last messages about it, newest first; all of them are in history.
    pub recent_notices: Vec<NoticeEvent>,
}

/// From a hard problem to the hard okay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Joins everything about it.
    pub id: String,
    /// When the problem became hard.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The worst state that it has had.
    pub worst: CheckState,
}

/// Somebody said that they are working on a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledgement {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// What they said.
    pub comment: String,
    /// When it lapses, if it does by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Whether it outlives a change from one problem state to another. It never outlives a recovery.
    pub sticky: bool,
    /// The state that was acknowledged.
    pub state: CheckState,
}

/// A stretch of planned work, in which notices about problems wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Downtime {
    /// Its number; 0 for one that recurs.
    pub id: u64,
    /// The name of one that recurs, by which the configuration knows it: this is the occurrence that goes on or comes next.
    pub name: Option<String>,
    /// Which checks: names or patterns with `*`; all if there are none. A check's name covers its services and instances.
    pub checks: Vec<String>,
    /// The labels that those checks must have.
    pub labels: BTreeMap<String, String>,
    /// When it begins; if it is flexible, from when on it may.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// When it ends; if it is flexible and has not begun, until when it may begin.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// How long a flexible one lasts from the first problem on: `30m`. Null for any other.
    pub lasts: Option<String>,
    /// When a flexible one began. Null before that, and for any other.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub began: Option<Timestamp>,
    /// Who planned it.
    pub author: String,
    /// What for.
    pub comment: String,
}

/// The downtimes that have not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Downtimes {
    /// The downtimes.
    pub downtimes: Vec<Downtime>,
}

/// What is to be done about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// It knows the truth.
    Nothing,
    /// It is being told, or will be when the next try is due.
    Tell,
    /// It is to be told, but not now: see `hold`.
    Held,
}

/// What one target knows about a check and what it will be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The state that it was last successfully told; `okay` if it was never told anything.
    pub told: CheckState,
    /// When it was told; null if it never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub told_at: Option<Timestamp>,
    /// What is to be done.
    pub plan: Plan,
    /// The kind of message that is to be told: `problem`, `change`, `reminder`, `acknowledged`, `recovery`, `missed`, `hold_ends`, `flapping_started` or `flapping_ended`; null if there is nothing to tell.
    pub notice: Option<String>,
    /// When that will be: the next try, the end of the hold, the next reminder. Null if it is now, or not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Why it waits.
    pub hold: Option<Hold<'static>>,
    /// How many tries failed in a row.
    pub failed_tries: u32,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// What a new configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadSummary {
    /// Checks that were not there before.
    pub added: usize,
    /// Checks whose definition changed.
    pub changed: usize,
    /// Checks that are gone.
    pub removed: usize,
    /// Checks that went on untouched.
    pub unchanged: usize,
    /// What is worth a look but works.
    pub warnings: Vec<String>,
}

/// That something was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// One line about what was done.
    pub done: String,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// The version of the program.
    pub version: String,
    /// The version of this API, as it stands in its paths.
    pub api: String,
}

/// Why something was not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// One line: what was not done, and why.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with the configuration, each with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
