//! The shapes of what clients ask for, and of what comes of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CheckState, Downtime, Metric};

/// Which checks to run now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Their names; at most 64.
    pub checks: Vec<String>,
}

/// What the runs found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunAnswer<'a> {
    /// The worst state that was found; `unknown` counts for what could not be run.
    pub worst: CheckState,
    /// What each run found, in the order asked for.
    pub results: Vec<RunResult<'a>>,
}

/// What one run found: the judged result of that run, before retries are counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunResult<'a> {
    /// The check.
    pub name: Cow<'a, str>,
    /// What was found; `unknown` if it could not be run, with the reason in `message`.
    pub state: CheckState,
    /// One line about it.
    pub message: Cow<'a, str>,
    /// Further lines.
    pub output: Cow<'a, str>,
    /// What was measured.
    pub metrics: Vec<Metric<'a>>,
}

/// A result that somebody else found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultRequest {
    /// The check, or a service of one: `raid/md0`.
    pub check: String,
    /// `okay`, `warning`, `unknown` or `bad`; also Nagios's words and numbers (`CRITICAL`, `2`).
    pub state: String,
    /// One line about it.
    #[serde(default)]
    pub message: String,
    /// Further lines.
    #[serde(default)]
    pub output: String,
    /// What was measured.
    #[serde(default)]
    pub metrics: Vec<Metric<'static>>,
    /// What was measured, as performance data of the Nagios plugin convention: `time=0.2s;1;2 size=10KB`. Beside `metrics`.
    #[serde(default)]
    pub perfdata: String,
}

/// What a job says about itself to the check that waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// What it says.
    pub kind: SignalKind,
    /// With `fail`: the exit status, if it is known.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// Which of several runs of the job says it, so that runs may overlap: the same at its start and at its end. At most 64 bytes.
    #[serde(default)]
    pub run: Option<String>,
    /// What the job printed, or what it has to tell; at most 64 KiB.
    #[serde(default)]
    pub output: String,
    /// At its end: how long the run took, as in `conf.d` (`30s`, `1h30m`). Without it the time since its start is taken.
    #[serde(default)]
    pub duration: Option<String>,
}

/// What a job may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignalKind {
    /// It began.
    Start,
    /// It is done, and went well.
    Success,
    /// It is done, and failed.
    Fail,
    /// It has something to tell; this changes no state.
    Log,
}

/// An acknowledgement to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgementRequest {
    /// The check.
    pub check: String,
    /// Who says so. The user whose process asks is noted in any case.
    #[serde(default)]
    pub author: Option<String>,
    /// What they say.
    #[serde(default)]
    pub comment: String,
    /// When it lapses; null if not by itself.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Whether it outlives a change from one problem state to another.
    #[serde(default)]
    pub sticky: bool,
}

/// A downtime to plan: from `start` (now, if it is missing) to `end`, or for `duration`; or, with `begins_until`, from the first problem on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DowntimeRequest {
    /// Which checks: names or patterns with `*`. Each must cover at least one check. If it is empty, `labels` alone choose.
    #[serde(default)]
    pub checks: Vec<String>,
    /// The labels that those checks must have; `*` in a value stands for any characters.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it begins; if it is flexible, from when on it may.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub start: Option<Timestamp>,
    /// Makes it flexible: it begins with the first problem, confirmed or not, from `start` until then, and lasts `duration`.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub begins_until: Option<Timestamp>,
    /// When it ends.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub end: Option<Timestamp>,
    /// How long it lasts: `30m`, `4h`.
    #[serde(default)]
    pub duration: Option<String>,
    /// Who plans it. The user whose process asks is noted in any case.
    #[serde(default)]
    pub author: Option<String>,
    /// What for.
    #[serde(default)]
    pub comment: String,
}

/// A downtime that was planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DowntimePlanned {
    /// The downtime.
    pub downtime: Downtime,
    /// The checks that it covers as of now.
    pub covers: Vec<String>,
}
