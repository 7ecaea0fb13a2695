//! The whole of notification: compare what is so with what this target was last *successfully* told.
//!
//! A downtime that ends over a standing problem, a restart between problem and recovery, a failed delivery, a blip, a target that
//! is added later: all of them are differences between the two, and none needs code of its own.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hold::Hold;
use crate::incident::{Incident, IncidentId, stable_hash};
use crate::name::Name;
use crate::state::State;

/// What is so: the confirmed state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hard {
    /// The hard state.
    pub state: State,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The open incident; there is one exactly while `state` is a problem.
    pub incident: Option<Incident>,
}

/// What one target knows about one check: what it was last successfully told, and what it should have been told but was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The state that it was told; okay if it was never told anything.
    pub state: State,
    /// The incident that it was told about.
    pub incident: Option<IncidentId>,
    /// When.
    pub at: Option<Timestamp>,
    /// How many messages it has been told about this check: the part of the delivery id that grows.
    pub count: u64,
    /// Problems that were to be told but were over before any delivery succeeded; oldest first, at most [`MAX_MISSED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
    /// How many more were missed than `missed` holds.
    #[serde(default)]
    pub missed_more: u32,
}

/// How many missed incidents are remembered one by one; more are counted.
pub const MAX_MISSED: usize = 20;

/// A problem that was to be told but was over before a delivery succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Which.
    pub incident: IncidentId,
    /// The state that was to be told.
    pub state: State,
    /// When it began.
    pub since: Timestamp,
    /// When it ended; none while it lasts.
    pub until: Option<Timestamp>,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Something broke.
    Problem,
    /// It is still broken, but differently: better or worse.
    Change,
    /// It is still broken.
    Reminder,
    /// It is over.
    Recovery,
    /// It was broken and is over, and nothing could be told in between.
    Missed,
}

impl NoticeKind {
    /// The word as it stands in files, JSON and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Change => "change",
            Self::Reminder => "reminder",
            Self::Recovery => "recovery",
            Self::Missed => "missed",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind of message.
    pub kind: NoticeKind,
    /// What is so.
    pub state: State,
    /// What the target was last told.
    pub told: State,
    /// The incident that it is about.
    pub incident: Option<IncidentId>,
    /// Since when what is so is so.
    pub since: Option<Timestamp>,
    /// Problems that nobody could be told of in time.
    pub missed: Vec<Missed>,
}

impl Notice {
    /// The id under which this notice is delivered: the same for the same notice after a crash, another for any other (R37).
    pub fn delivery_id(&self, host: &str, check: &Name, target: &Name, told: &Told) -> String {
        let incident = self.incident.map_or(0, IncidentId::as_u64);
        let hash = stable_hash(&[
            host.as_bytes(),
            check.as_str().as_bytes(),
            target.as_str().as_bytes(),
            self.kind.as_str().as_bytes(),
            self.state.as_str().as_bytes(),
            &incident.to_be_bytes(),
            &told.count.to_be_bytes(),
        ]);
        format!("{hash:016x}")
    }
}

/// What a target wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Which hard states it is told about. Recovery follows by itself, and so does the truth once it was told of a problem.
    pub states: Vec<State>,
    /// How often it is reminded of a standing problem.
    pub remind: Option<Duration>,
}

/// What is to be done about one target and one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It knows the truth; look again at that time, if there is one (a reminder).
    Nothing(Option<Timestamp>),
    /// Tell it.
    Tell(Notice),
    /// It should be told, but not now. Look again when the hold ends or changes.
    Held(Notice, Hold),
}

/// Compares what is so with what the target knows.
///
/// `hold` is the strongest hold on this check and target, if there is one. The answer depends on nothing else, so it may be asked as
/// often as one likes.
pub fn decide(hard: &Hard, told: &Told, hold: Option<&Hold>, wants: &Wants, now: Timestamp) -> Decision {
    let Some(kind) = difference(hard, told, wants, now) else {
        return Decision::Nothing(next_reminder(hard, told, wants));
    };
    let notice = Notice {
        kind,
        state: hard.state,
        told: told.state,
        incident: hard.incident.map(|incident| incident.id).or(told.incident).or(told.missed.last().map(|missed| missed.incident)),
        since: hard.since,
        missed: told.missed.clone(),
    };
    let good_news = matches!(kind, NoticeKind::Recovery | NoticeKind::Missed);
    match hold {
        Some(hold) if !good_news || hold.holds_recovery() => Decision::Held(notice, hold.clone()),
        _ => Decision::Tell(notice),
    }
}

fn difference(hard: &Hard, told: &Told, wants: &Wants, now: Timestamp) -> Option<NoticeKind> {
    let told_of_problem = told.state.is_problem();
    let Some(incident) = hard.incident else {
        return if told_of_problem {
            Some(NoticeKind::Recovery)
        } else if told.missed.is_empty() {
            None
        } else {
            Some(NoticeKind::Missed)
        };
    };
    if !told_of_problem {
        return wants.states.contains(&hard.state).then_some(NoticeKind::Problem);
    }
    if told.incident != Some(incident.id) {
        // It knows of an older problem whose end it was never told; the new one is a problem of its own.
        return Some(NoticeKind::Problem);
    }
    if told.state != hard.state {
        return Some(NoticeKind::Change);
    }
    let due = next_reminder(hard, told, wants)?;
    (due <= now).then_some(NoticeKind::Reminder)
}

fn next_reminder(hard: &Hard, told: &Told, wants: &Wants) -> Option<Timestamp> {
    if !hard.state.is_problem() || !wants.states.contains(&hard.state) {
        return None;
    }
    told.at?.checked_add(wants.remind?).ok()
}

impl Told {
    /// After a delivery of `notice` succeeded.
    pub fn delivered(&mut self, notice: &Notice, now: Timestamp) {
        self.state = notice.state;
        self.incident = if notice.state.is_problem() { notice.incident } else { None };
        self.at = Some(now);
        self.count += 1;
        self.missed.clear();
        self.missed_more = 0;
    }

    /// Before the first try to deliver `notice`: if the problem is over before a delivery succeeds, it was missed, not untold.
    /// Answers whether that changed anything.
    pub fn attempted(&mut self, notice: &Notice, hard: &Hard) -> bool {
        let Some(incident) = hard.incident.filter(|_| notice.kind == NoticeKind::Problem) else { return false };
        if self.missed.iter().any(|missed| missed.incident == incident.id) {
            return false;
        }
        if self.missed.len() >= MAX_MISSED {
            self.missed.remove(0);
            self.missed_more = self.missed_more.saturating_add(1);
        }
        self.missed.push(Missed { incident: incident.id, state: hard.state, since: incident.since, until: None });
        true
    }

    /// When an incident ended: takes note of the end of what was missed. Answers whether that changed anything.
    pub fn ended(&mut self, incident: IncidentId, now: Timestamp) -> bool {
        match self.missed.iter_mut().find(|missed| missed.incident == incident && missed.until.is_none()) {
            Some(missed) => {
                missed.until = Some(now);
                true
            }
            None => false,
        }
    }
}
