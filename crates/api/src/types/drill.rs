//! The shapes of drills: messages that say that they are drills, and what would happen if.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CheckState, Target};

/// A drill for one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// What the message says is so: `okay`, `warning`, `unknown` or `bad`, which is the default. With `okay`, receivers that open and
    /// close incidents close what drills before have opened.
    #[serde(default = "bad")]
    pub state: String,
}

fn bad() -> String {
    "bad".to_owned()
}

/// How a drill for one target went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestAnswer {
    /// The target.
    pub target: String,
    /// Whether the receiver took the message.
    pub delivered: bool,
    /// What it answered, or why it failed.
    pub answer: String,
}

/// What if a check became something now?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// What it would become: `okay`, `warning`, `unknown` or `bad`.
    pub state: String,
    /// Whether the targets that would be told now are sent a message that says that it is a drill. Scripts are never run.
    #[serde(default)]
    pub send: bool,
}

/// Who would be told what, and what would run, if the check became `state` now, confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillAnswer {
    /// The check.
    pub check: String,
    /// What it would become.
    pub state: CheckState,
    /// Its last confirmed state.
    pub hard_state: CheckState,
    /// Its targets, and those that stand in for one that cannot be reached.
    pub targets: Vec<DrillTarget>,
    /// Its scripts and remedies.
    pub scripts: Vec<DrillScript>,
}

/// What a target would be told. `plan`, `notice`, `hold` and `at` are as they would be then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillTarget {
    /// What it knows now, and what would be to be done.
    #[serde(flatten)]
    pub target: Target,
    /// Why that is so, for a person.
    pub why: String,
    /// How the drill went that was sent; null if none was.
    pub sent: Option<TestAnswer>,
}

/// Whether a script would run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrillScript {
    /// Its name.
    pub name: String,
    /// Whether it would run.
    pub verdict: Verdict,
    /// Why that is so, for a person.
    pub why: String,
    /// What sets it off: `warning`, `bad`, `unknown`, `recovery`, `soft`.
    pub on: Vec<String>,
    /// How long after a run it is not set off again for the same check.
    pub cooldown: Option<String>,
    /// How often it runs at most for one incident.
    pub limit: Option<u32>,
}

/// Whether a script would run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It would run.
    Runs,
    /// It would be set off, but not run.
    Skipped,
    /// It would not be set off.
    NotSetOff,
}
