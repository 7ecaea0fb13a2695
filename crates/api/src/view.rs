//! How what the engine and the store keep becomes the shapes of the API. A whole status is written row by row, without copies of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::report::ServiceResult;
use monchero_core::{Decision, IncidentId, StateType};
use monchero_engine::Row;
use monchero_engine::view::TargetView;
use monchero_store::record::ActionState;
use monchero_store::{ActionRow, HistoryEntry, HistoryKind, MetricPoint, NoticeRow};
use serde::{Serialize, Serializer};

use crate::types::{
    Acknowledgement, ActionEvent, Check, CheckState, Confirmation, Detail, Downtime, Event, Hold, Incident, Metric,
    NoticeEvent, Outcome, Plan, Point, RunResult, Target, TransitionEvent,
};

/// [`crate::types::Status`] over rows that are shared with the engine.
#[derive(Serialize)]
pub(crate) struct StatusView<'a> {
    pub(crate) host: &'a str,
    pub(crate) worst: CheckState,
    #[serde(serialize_with = "rows")]
    pub(crate) checks: &'a [&'a Arc<Row>],
}

fn rows<S: Serializer>(rows: &[&Arc<Row>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(|row| Check::from(row.as_ref())))
}

impl<'a> From<&'a Row> for Check<'a> {
    fn from(row: &'a Row) -> Self {
        let status = &row.status;
        Self {
            name: Cow::Borrowed(row.name.as_str()),
            kind: Cow::Borrowed(row.kind),
            state: state(row),
            state_type: status.state_type.into(),
            attempt: status.attempt,
            max_attempts: row.max_attempts,
            since: status.since,
            last_check: status.last_check,
            next_check: row.next_check.map(to_millisecond),
            message: Cow::Borrowed(&row.result.message),
            metrics: metrics(&row.result),
            holds: row.holds.iter().map(Hold::from).collect(),
            labels: Cow::Borrowed(&row.labels),
        }
    }
}

/// Slots are counted from odd moments; what is told is as fine as what is stored.
fn to_millisecond(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// A measured span to the millisecond, a shorter one to the microsecond.
fn coarse(span: Duration) -> Duration {
    let fine = if span >= Duration::from_millis(1) { 1_000_000 } else { 1_000 };
    let nanos = span.subsec_nanos();
    Duration::new(span.as_secs(), nanos - nanos % fine)
}

/// The state of a row; pending if it never ran.
pub(crate) fn state(row: &Row) -> CheckState {
    if row.status.is_pending() { CheckState::Pending } else { row.status.state.into() }
}

fn metrics(result: &ServiceResult) -> Vec<Metric<'_>> {
    result.metrics.iter().map(Metric::from).collect()
}

impl<'a> From<&'a monchero_core::Metric> for Metric<'a> {
    fn from(metric: &'a monchero_core::Metric) -> Self {
        Self {
            label: Cow::Borrowed(&metric.label),
            value: metric.value,
            unit: Cow::Borrowed(metric.unit.as_str()),
            warning: metric.warning,
            bad: metric.bad,
            min: metric.min,
            max: metric.max,
        }
    }
}

impl From<StateType> for Confirmation {
    fn from(state_type: StateType) -> Self {
        match state_type {
            StateType::Soft => Self::Soft,
            StateType::Hard => Self::Hard,
        }
    }
}

impl From<&monchero_core::Hold> for Hold<'static> {
    fn from(hold: &monchero_core::Hold) -> Self {
        Self { kind: Cow::Borrowed(hold.word()), text: hold.to_string(), until: hold.until() }
    }
}

impl<'a> From<&'a monchero_engine::Detail> for Detail<'a> {
    fn from(detail: &'a monchero_engine::Detail) -> Self {
        let row = detail.row.as_ref();
        let span = monchero_core::duration::format;
        let names = |names: &[monchero_core::Name]| names.iter().map(ToString::to_string).collect();
        Self {
            check: Check::from(row),
            output: Cow::Borrowed(&row.result.output),
            running: row.running,
            duration: span(coarse(row.duration)),
            skipped: row.skipped,
            parent: row.parent.as_ref().map(ToString::to_string),
            interval: span(detail.interval),
            retry_interval: span(detail.retry_interval),
            timeout: span(detail.timeout),
            source: detail.source.to_string(),
            depends_on: names(&detail.depends_on),
            actions: names(&detail.actions),
            hard_state: row.status.hard_state.into(),
            hard_since: row.status.hard_since,
            recovering: row.status.recovering,
            inconclusive: row.status.inconclusive,
            incident: row.status.incident.map(|incident| Incident {
                id: incident.id.to_string(),
                since: incident.since,
                worst: incident.worst.into(),
            }),
            acknowledgement: detail.acknowledgement.as_ref().map(Acknowledgement::from),
            downtimes: detail.downtimes.iter().cloned().map(Downtime::from).collect(),
            targets: detail.targets.iter().map(Target::from).collect(),
            recent_actions: detail.recent_actions.iter().cloned().map(ActionEvent::from).collect(),
            recent_notices: detail.recent_notices.iter().cloned().map(NoticeEvent::from).collect(),
        }
    }
}

impl From<&monchero_core::hold::Acknowledgement> for Acknowledgement {
    fn from(said: &monchero_core::hold::Acknowledgement) -> Self {
        Self {
            at: said.at,
            author: said.author.clone(),
            comment: said.comment.clone(),
            until: said.until,
            sticky: said.sticky,
            state: said.state.into(),
        }
    }
}

impl From<monchero_core::hold::Downtime> for Downtime {
    fn from(downtime: monchero_core::hold::Downtime) -> Self {
        let end = downtime.over();
        let monchero_core::hold::Downtime { id, name, covers, start, end: _, lasts, began, author, comment } = downtime;
        let (name, lasts) = (name.map(|name| name.to_string()), lasts.map(monchero_core::duration::format));
        Self { id, name, checks: covers.checks, labels: covers.labels, start, end, lasts, began, author, comment }
    }
}

impl From<&TargetView> for Target {
    fn from(view: &TargetView) -> Self {
        let (plan, notice, hold, at) = match &view.decision {
            Decision::Nothing(reminder) => (Plan::Nothing, None, None, *reminder),
            Decision::Tell(notice) => (Plan::Tell, Some(notice), None, view.retry.map(|(_, at)| at)),
            Decision::Held(notice, hold) => (Plan::Held, Some(notice), Some(Hold::from(hold)), hold.until()),
        };
        Self {
            name: view.target.to_string(),
            told: view.told.state.into(),
            told_at: view.told.at,
            plan,
            notice: notice.map(|notice| notice.kind.as_str().to_owned()),
            at,
            hold,
            failed_tries: view.retry.map_or(0, |(tries, _)| tries),
            last_error: view.last_error.clone(),
        }
    }
}

fn text(incident: Option<IncidentId>) -> Option<String> {
    incident.map(|id| id.to_string())
}

impl From<ActionRow> for ActionEvent {
    fn from(row: ActionRow) -> Self {
        Self {
            at: row.at,
            check: row.check.to_string(),
            action: row.action.to_string(),
            id: row.id,
            incident: text(row.incident),
            reason: row.reason,
            outcome: match row.outcome {
                ActionState::Intended => Outcome::Intended,
                ActionState::Done => Outcome::Done,
                ActionState::Failed => Outcome::Failed,
                ActionState::Interrupted => Outcome::Interrupted,
                ActionState::Superseded => Outcome::Superseded,
                ActionState::Skipped => Outcome::Skipped,
            },
            ended: row.ended,
            message: row.message,
            output: row.output,
        }
    }
}

impl From<NoticeRow> for NoticeEvent {
    fn from(row: NoticeRow) -> Self {
        Self {
            at: row.at,
            check: row.check.to_string(),
            target: row.target.to_string(),
            kind: row.kind.as_str().to_owned(),
            state: row.state.into(),
            incident: text(row.incident),
            delivered: row.delivered,
            attempt: row.attempt,
            detail: row.detail,
            delivery_id: row.delivery_id,
            drill: row.drill,
        }
    }
}

impl From<HistoryEntry> for Event {
    fn from(entry: HistoryEntry) -> Self {
        match entry.what {
            HistoryKind::Transition { transition, message } => Self::Transition(TransitionEvent {
                at: entry.at,
                check: entry.check.to_string(),
                previous_state: transition.previous_state.into(),
                previous_type: transition.previous_type.into(),
                state: transition.state.into(),
                state_type: transition.state_type.into(),
                attempt: transition.attempt,
                max_attempts: transition.max_attempts,
                incident: text(transition.incident),
                message,
            }),
            HistoryKind::Notice(row) => Self::Notice(row.into()),
            HistoryKind::Action(row) => Self::Action(row.into()),
        }
    }
}

impl From<MetricPoint> for Point {
    fn from(point: MetricPoint) -> Self {
        let MetricPoint { at, mean, min, max, count } = point;
        Self { at, mean, min, max, count }
    }
}

impl<'a> RunResult<'a> {
    /// What a run found.
    pub(crate) fn of(name: &'a str, result: &'a ServiceResult) -> Self {
        Self {
            name: Cow::Borrowed(name),
            state: result.state.into(),
            message: Cow::Borrowed(&result.message),
            output: Cow::Borrowed(&result.output),
            metrics: metrics(result),
        }
    }
}
