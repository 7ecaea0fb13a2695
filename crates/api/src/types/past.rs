//! The shapes of the past: what happened, and metrics over time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CheckState, Confirmation};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "event")]
pub enum Event {
    /// A check changed its state, the confirmation of it, or the attempt.
    Transition(TransitionEvent),
    /// A target was told, or a delivery failed.
    Notice(NoticeEvent),
    /// An action was set off or ended.
    Action(ActionEvent),
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Transition(event) => event.at,
            Self::Notice(event) => event.at,
            Self::Action(event) => event.at,
        }
    }
}

/// A change of state, of its confirmation, or of the attempt while soft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransitionEvent {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The check.
    pub check: String,
    /// What it was.
    pub previous_state: CheckState,
    /// Whether that was confirmed.
    pub previous_type: Confirmation,
    /// What it became.
    pub state: CheckState,
    /// Whether that is confirmed.
    pub state_type: Confirmation,
    /// The attempt.
    pub attempt: u32,
    /// How many attempts make it hard.
    pub max_attempts: u32,
    /// The incident that this opened, belongs to or ended.
    pub incident: Option<String>,
    /// The message of the result that did it.
    pub message: String,
}

/// A message to a target and how its delivery went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeEvent {
    /// When it was delivered or tried.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The check.
    pub check: String,
    /// The target.
    pub target: String,
    /// What kind of message: `problem`, `change`, `reminder`, `acknowledged`, `recovery`, `missed`, `hold_ends`, `flapping_started` or `flapping_ended`; of no check
    /// `summary`, `started`, `config` or `crashed`.
    pub kind: String,
    /// The state that was told.
    pub state: CheckState,
    /// The incident.
    pub incident: Option<String>,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// Which try this was.
    pub attempt: u32,
    /// What the receiver answered, or why it failed.
    pub detail: String,
    /// The same for every try of the same message.
    pub delivery_id: String,
    /// Whether it was a drill: nothing was wrong.
    #[serde(default)]
    pub drill: bool,
}

/// How far an action got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is about to run or running.
    Intended,
    /// It ran and succeeded.
    Done,
    /// It ran and failed.
    Failed,
    /// The daemon ended while it ran: what it did is not known, and it is not run again.
    Interrupted,
    /// What set it off was over before it could start.
    Superseded,
    /// It was not run, for the reason in `message`.
    Skipped,
}

impl Outcome {
    /// The word as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Superseded => "superseded",
            Self::Skipped => "skipped",
        }
    }
}

/// An action and how it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionEvent {
    /// When it was set off.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The check.
    pub check: String,
    /// The action.
    pub action: String,
    /// Its number.
    pub id: u64,
    /// The incident.
    pub incident: Option<String>,
    /// What set it off.
    pub reason: String,
    /// How far it got.
    pub outcome: Outcome,
    /// When it ended; null if it did not yet.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended: Option<Timestamp>,
    /// One line about how it went.
    pub message: String,
    /// What it printed.
    pub output: String,
}

/// What happened, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// What happened.
    pub events: Vec<Event>,
    /// Whether there may be more than was asked for: these are the newest then.
    pub more: bool,
}

/// One metric over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricHistory {
    /// The check.
    pub check: String,
    /// The label of the metric.
    pub label: String,
    /// Its values, oldest first.
    pub points: Vec<Point>,
}

/// One measured value, or a roll-up of several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// When; of a roll-up, its beginning.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Of how many values.
    pub count: u64,
}
