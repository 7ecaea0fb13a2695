//! What is written and what is read back.

use std::sync::Arc;

use jiff::Timestamp;
use monchero_core::action::Posted;
use monchero_core::decide::{NoticeKind, Told};
use monchero_core::hold::{Acknowledgement, Downtime};
use monchero_core::incident::IncidentId;
use monchero_core::report::ServiceResult;
use monchero_core::{CheckStatus, Name, State, Transition};
use serde::{Deserialize, Serialize};

/// How soon a batch must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Before anything is done about it: committed at once, synced to the disk.
    Now,
    /// Within two seconds, together with others.
    Soon,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A check's status and last result. Replaces what was stored for that check.
    Check(Box<StoredCheck>),
    /// A transition, for history. Its check's status stands beside it in the same batch.
    Transition {
        /// The check.
        check: Name,
        /// What changed.
        transition: Transition,
        /// The message of the result that did it.
        message: Box<str>,
    },
    /// Measured values of one result.
    Metrics {
        /// The check.
        check: Name,
        /// When.
        at: Timestamp,
        /// Label, unit and value.
        points: Vec<(Box<str>, Box<str>, f64)>,
    },
    /// What a target knows about a check.
    Told {
        /// The check.
        check: Name,
        /// The target.
        target: Name,
        /// What it knows.
        told: Told,
    },
    /// A message that was delivered, or that failed for good or so far: the log of who was told what.
    Notice(Box<NoticeRow>),
    /// An action: written as intent before it starts, again when it ended (same `id`).
    Action(Box<ActionRow>),
    /// An acknowledgement; none removes it.
    Acknowledgement {
        /// The check.
        check: Name,
        /// What was said.
        acknowledgement: Option<Acknowledgement>,
    },
    /// A downtime is planned or changed.
    Downtime(Box<Downtime>),
    /// A downtime is taken back.
    DowntimeEnded(u64),
    /// What a target knows of something that is about no check; none forgets it.
    Posted {
        /// The name of the summary or the sort of occasion.
        topic: Name,
        /// The target.
        target: Name,
        /// What it knows.
        posted: Option<Posted>,
    },
    /// A daemon runs since then; none when it has stopped as it was told to. What it leaves behind otherwise is [`Loaded::unfinished`].
    Running(Option<Timestamp>),
    /// A check is no longer configured: its status, what was told and its acknowledgement go; history stays until retention.
    Forget(Name),
}

/// What is kept about a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCheck {
    /// Its name.
    pub name: Name,
    /// The state machine.
    pub status: CheckStatus,
    /// The last result.
    pub result: ServiceResult,
    /// How long the last run took, in milliseconds.
    pub duration_ms: u64,
    /// The first slot of its schedule: slots are `anchor + k * interval`, so the phase survives a restart.
    pub anchor: Option<Timestamp>,
    /// The check whose run reported this service, if it is one.
    pub parent: Option<Name>,
    /// The interval that it asked for, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Since when the runs of its check do not report this service any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// When the next run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Timestamp>,
    /// What the next run is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// The interval that a check asked for, and whose place it takes: it is void when the check is of another kind or has another interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The kind of the check.
    pub kind: Box<str>,
    /// The interval of the configuration, in milliseconds.
    pub configured_ms: u64,
    /// The one that it asked for, in milliseconds.
    pub interval_ms: u64,
}

/// What a check remembers from run to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The kind that wrote it: another one cannot read it.
    pub kind: Box<str>,
    /// What it wrote.
    pub text: Arc<str>,
}

/// A message and how its delivery went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticeRow {
    /// When it was delivered or tried.
    pub at: Timestamp,
    /// The check.
    pub check: Name,
    /// The target.
    pub target: Name,
    /// The stable id of the delivery.
    pub delivery_id: String,
    /// What kind of message.
    pub kind: NoticeKind,
    /// What was told.
    pub state: State,
    /// The incident.
    pub incident: Option<IncidentId>,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// Which try this was.
    pub attempt: u32,
    /// What the receiver answered, or why it failed.
    pub detail: String,
    /// Whether it was a drill: nothing was wrong.
    #[serde(default)]
    pub drill: bool,
}

/// An action and how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionRow {
    /// Given by the engine; unique over restarts.
    pub id: u64,
    /// When it was set off.
    pub at: Timestamp,
    /// The check.
    pub check: Name,
    /// The action.
    pub action: Name,
    /// The incident.
    pub incident: Option<IncidentId>,
    /// Why: `hard bad`, `recovery`, `soft bad (2/3)`.
    pub reason: String,
    /// `intended`, `done`, `failed`, `interrupted`, `superseded`, `skipped`.
    pub outcome: ActionState,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// One line about how it went.
    pub message: String,
    /// What it printed.
    pub output: String,
}

/// How far an action got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionState {
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
    /// It was not run, for the reason in the message: cooldown, limit, downtime.
    Skipped,
}

/// How far the writer got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// All batches up to this ticket are on disk, or kept in memory only if `trouble` says so.
    pub ticket: u64,
    /// Why the disk does not take anything (R28): the daemon goes on, and says so.
    pub trouble: Option<String>,
}

/// What a daemon finds when it starts.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What is kept about checks.
    pub checks: Vec<StoredCheck>,
    /// What targets know: check, target, told.
    pub told: Vec<(Name, Name, Told)>,
    /// What targets know of what is about no check: topic, target, posted.
    pub posted: Vec<(Name, Name, Posted)>,
    /// When the last daemon began that has not stopped as it should: it crashed, was killed, or its machine went down.
    pub unfinished: Option<Timestamp>,
    /// Acknowledgements that stand.
    pub acknowledgements: Vec<(Name, Acknowledgement)>,
    /// Downtimes that have not ended, or only by a wall clock that is ahead of all that is known.
    pub downtimes: Vec<Downtime>,
    /// Actions that were intended and never ended; the store has marked them interrupted.
    pub interrupted: Vec<ActionRow>,
    /// Actions of incidents that may still be open (done, failed, or interrupted by an earlier end of the daemon): for `limit` and
    /// `cooldown`. Those of the last seven days and since the oldest open incident began, oldest first, at most 2,000; long output of all but the newest is shortened.
    pub recent_actions: Vec<ActionRow>,
    /// The highest id of an action or downtime that was ever given.
    pub last_id: u64,
    /// What was lost or mended when the database was opened, for `self/store` (R27, R34).
    pub repairs: Vec<String>,
}

/// Which part of history is asked for.
#[derive(Clone, Debug, Default)]
pub struct HistoryQuery {
    /// Only this check, with its services and instances; a glob with `*` too.
    pub check: Option<String>,
    /// Only from then on.
    pub since: Option<Timestamp>,
    /// At most so many, the newest; at most `MAX_HISTORY`.
    pub limit: usize,
}

/// One line of history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// The check.
    pub check: Name,
    /// What happened.
    #[serde(flatten)]
    pub what: HistoryKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum HistoryKind {
    /// The state changed.
    Transition {
        /// What changed.
        transition: Transition,
        /// The message of the result that did it.
        message: String,
    },
    /// A target was told, or a delivery failed.
    Notice(NoticeRow),
    /// An action was set off or ended.
    Action(ActionRow),
}

/// One point of a metric over time: a measured value, or a roll-up of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    /// When; of a roll-up, its beginning.
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
