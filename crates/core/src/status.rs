//! The state machine of one check. Its table stands in `docs/state-machine.md`; a test reads it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::decide::Hard;
use crate::flapping::{Flapping, FlappingPolicy};
use crate::incident::{Incident, IncidentId};
use crate::name::Name;
use crate::state::{State, StateType};

/// How a definition wants results to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How many problem results in a row make a problem hard (`retries + 1`); at least 1, 3 by default.
    pub max_attempts: u32,
    /// How many okay results in a row end a hard problem; at least 1, which is the default.
    pub recover_after: u32,
    /// When it counts as flapping; never if none.
    pub flapping: Option<FlappingPolicy>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_attempts: 3, recover_after: 1, flapping: Some(FlappingPolicy::default()) }
    }
}

/// What is remembered about one check: all that must survive a restart to go on counting. Fields that an older daemon did not write
/// have their defaults, those of a newer one are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckStatus {
    /// The state, confirmed or not.
    pub state: State,
    /// Whether it is confirmed.
    pub state_type: StateType,
    /// The number of the problem result while soft, `max_attempts` at that time when hard; 1 when okay; 0 before the first result.
    pub attempt: u32,
    /// The last hard state.
    pub hard_state: State,
    /// Since when `state` and `state_type` are what they are; none before the first result.
    pub since: Option<Timestamp>,
    /// Since when `hard_state` is what it is; none if it never was anything but okay.
    pub hard_since: Option<Timestamp>,
    /// When the last result came; none before the first one.
    pub last_check: Option<Timestamp>,
    /// The open incident: there is one exactly while the hard state is a problem.
    pub incident: Option<Incident>,
    /// The incident that ended last: what a recovery that is told late is about.
    pub last_incident: Option<Box<Incident>>,
    /// How many okay results in a row came while the hard state is a problem.
    pub recovering: u32,
    /// Since when results have been problems other than the hard state, whether they counted or not; none while they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub news_since: Option<Timestamp>,
    /// Whether the last result did not count ([`crate::hold::inconclusive`]).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inconclusive: bool,
    /// Hard changes of late.
    #[serde(skip_serializing_if = "Flapping::is_quiet")]
    pub flapping: Flapping,
    /// Grows with every transition: orders what is told about this check.
    pub sequence: u64,
}

/// A change of state, of its confirmation, or of the attempt while soft. On disk before anything is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// The check's number of this transition.
    pub sequence: u64,
    /// What it was.
    pub previous_state: State,
    /// Whether that was confirmed.
    pub previous_type: StateType,
    /// What it is now.
    pub state: State,
    /// Whether it is confirmed.
    pub state_type: StateType,
    /// The attempt.
    pub attempt: u32,
    /// How many attempts make it hard.
    pub max_attempts: u32,
    /// The incident that this opens, belongs to or ends.
    pub incident: Option<IncidentId>,
    /// When that incident began.
    pub incident_since: Option<Timestamp>,
}

impl Transition {
    /// Whether the hard state changed.
    pub fn is_hard_change(&self) -> bool {
        self.state_type == StateType::Hard && !self.is_soft_recovery()
    }

    /// Whether a problem went away before it was confirmed.
    pub fn is_soft_recovery(&self) -> bool {
        self.state == State::Okay && self.previous_type == StateType::Soft && self.previous_state.is_problem()
    }

    /// Whether a hard problem ended.
    pub fn is_recovery(&self) -> bool {
        self.state == State::Okay && self.previous_type == StateType::Hard && self.previous_state.is_problem()
    }
}

impl CheckStatus {
    /// Whether no result has come yet.
    pub fn is_pending(&self) -> bool {
        self.last_check.is_none()
    }

    /// Since when the check flaps, if it does.
    pub fn flapping_since(&self) -> Option<Timestamp> {
        self.flapping.since()
    }

    /// What is confirmed: what targets are to know.
    pub fn hard(&self) -> Hard {
        Hard { state: self.hard_state, since: self.hard_since, incident: self.incident }
    }

    /// After the wall clock stepped back: nothing that is remembered lies in the future (R18). [`CheckStatus::apply`] does it first;
    /// who compares the times of checks with each other does it for all of them.
    pub fn settle(&mut self, now: Timestamp) {
        let known = [&mut self.since, &mut self.hard_since, &mut self.last_check, &mut self.news_since];
        for at in known.into_iter().flatten() {
            *at = (*at).min(now);
        }
        for incident in self.incident.as_mut().into_iter().chain(self.last_incident.as_deref_mut()) {
            incident.since = incident.since.min(now);
        }
        self.flapping.settle(now);
    }

    /// Whether a result is a problem that is not confirmed.
    pub fn is_news(&self, result: State) -> bool {
        result.is_problem() && result != self.hard_state
    }

    /// Takes note of a result that does not count: no state, attempt or incident is changed by it, and what has had no result that counts
    /// goes on having none.
    pub fn set_aside(&mut self, result: State, now: Timestamp) {
        self.settle(now);
        self.note_news(result, now);
        self.inconclusive = true;
        if let Some(last) = &mut self.last_check {
            *last = now;
        }
    }

    fn note_news(&mut self, result: State, now: Timestamp) {
        self.news_since = self.is_news(result).then(|| self.news_since.unwrap_or(now));
    }

    /// Takes one result. The whole of the state machine: attempts, confirmation, recovery, incident, flapping.
    pub fn apply(&mut self, check: &Name, result: State, policy: &Policy, now: Timestamp) -> Option<Transition> {
        self.settle(now);
        self.note_news(result, now);
        self.inconclusive = false;
        let before = (self.state, self.state_type, self.attempt);
        let (hard_before, ended) = (self.hard_state, self.incident);
        if self.is_pending() {
            self.since = Some(now);
        }
        self.last_check = Some(now);
        let max_attempts = policy.max_attempts.max(1);
        if result.is_problem() {
            self.take_problem(result, max_attempts);
        } else {
            self.take_okay(policy.recover_after);
        }
        let hard_changed = self.hard_state != hard_before;
        if hard_changed {
            self.hard_since = Some(now);
        }
        match &policy.flapping {
            Some(flapping) => self.flapping.update(hard_changed, flapping, now),
            None => self.flapping.clear(),
        }
        let changed = (self.state, self.state_type) != (before.0, before.1);
        if changed {
            self.since = Some(now);
        }
        let counted = self.state_type == StateType::Soft && self.attempt != before.2;
        self.sequence += u64::from(changed || counted);
        self.update_incident(check, now);
        let incident = self.incident.or(ended);
        (changed || counted).then(|| Transition {
            at: now,
            sequence: self.sequence,
            previous_state: before.0,
            previous_type: before.1,
            state: self.state,
            state_type: self.state_type,
            attempt: self.attempt,
            max_attempts,
            incident: incident.map(|incident| incident.id),
            incident_since: incident.map(|incident| incident.since),
        })
    }

    fn take_problem(&mut self, result: State, max_attempts: u32) {
        self.recovering = 0;
        let attempt = if self.state_type == StateType::Soft { self.attempt.saturating_add(1) } else { 1 };
        self.state = result;
        // A hard problem that changes its state is a hard change at once; a policy that shrank on reload confirms what it has.
        if self.hard_state.is_problem() || attempt >= max_attempts {
            self.attempt = max_attempts;
            self.state_type = StateType::Hard;
            self.hard_state = result;
        } else {
            self.attempt = attempt;
            self.state_type = StateType::Soft;
        }
    }

    fn take_okay(&mut self, recover_after: u32) {
        if self.hard_state.is_problem() {
            self.recovering = self.recovering.saturating_add(1);
            if self.recovering < recover_after {
                return;
            }
        }
        self.recovering = 0;
        self.attempt = 1;
        self.state = State::Okay;
        self.state_type = StateType::Hard;
        self.hard_state = State::Okay;
    }

    fn update_incident(&mut self, check: &Name, now: Timestamp) {
        if !self.hard_state.is_problem() {
            if let Some(ended) = self.incident.take() {
                self.last_incident = Some(Box::new(ended));
            }
            return;
        }
        let incident = self.incident.get_or_insert_with(|| Incident {
            id: IncidentId::opened(check, now, self.sequence),
            since: now,
            worst: self.hard_state,
        });
        incident.worst = incident.worst.max(self.hard_state);
    }
}
