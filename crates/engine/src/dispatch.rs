//! The one door for results: state machine, record, publication.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::report::{CheckResult, ServiceResult};
use monchero_core::{Name, State, StateType};
use monchero_store::Record;
use tokio::time::Instant;

use crate::engine::{Effect, Engine};
use crate::entry::{Entry, Id};
use crate::runs::signed;
use crate::schedule::Grid;

/// The shortest interval, and the soonest next run, that a check may ask for.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The most services that one check may have at once.
const MAX_SERVICES: usize = 2_000;

/// How long a service that is reported no more is unknown before it goes: whoever took the container or the disk away for good has done so
/// by then, and whoever did not has been told.
const MISSING_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Who made a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A run of the check: it saw what can be seen from here.
    Run,
    /// Somebody who knows: `submit`, a signal, the engine itself.
    Word,
}

impl Engine {
    /// Takes a result, whoever made it.
    pub(crate) fn take_result(&mut self, id: Id, result: CheckResult, origin: Origin, now: Instant) {
        let CheckResult { at, duration, result: own, services, interval, again, memory, proven, check } = result;
        // What somebody says about a check says nothing about services that it does not name, and neither does a run that saw nothing.
        let could_look = origin == Origin::Run && own.state != State::Unknown;
        self.answer_waiters(id, || Ok(own.clone()));
        let asked = interval.map(|interval| interval.max(MIN_INTERVAL));
        // Who asks no more has the interval of its definition again.
        let configured = || self.entries.get(id).filter(|_| could_look).map(|entry| entry.definition.interval);
        if let Some(interval) = asked.or_else(configured) {
            self.change_interval(id, interval, now);
        }
        if let (Some(memory), Some(entry)) = (memory, self.entries.get_mut(id)) {
            entry.memory = Some(memory.into());
            entry.dirty = true;
        }
        self.apply(id, &own, at, duration, proven, origin);
        let knew_any = self.entries.get(id).is_some_and(|entry| entry.has_services);
        let has_any = knew_any || !services.is_empty();
        if !services.is_empty() || (knew_any && could_look) {
            self.take_services(id, &check, services, at, duration, origin);
        }
        self.schedule_again(id, again, now);
        self.recheck_dependents(id);
        if has_any {
            self.recheck_services(&check);
        }
    }

    /// Applies one judged result to one entry.
    pub(crate) fn apply(
        &mut self,
        id: Id,
        result: &ServiceResult,
        at: Timestamp,
        duration: Duration,
        proven: bool,
        origin: Origin,
    ) {
        let Some(name) = self.entries.get(id).map(|entry| entry.row.name.clone()) else { return };
        let points: Vec<_> = result
            .metrics
            .iter()
            .filter_map(|m| Some((m.label.clone(), Box::from(m.unit.as_str()), m.value?)))
            .collect();
        if !points.is_empty() {
            self.records.push(Record::Metrics { check: name.clone(), at, points });
        }
        if origin == Origin::Run && self.is_inconclusive(id, result.state, at, duration) {
            return self.set_aside(id, result, at, duration);
        }
        let Some(entry) = self.entries.get_mut(id) else { return };
        let mut policy = entry.definition.policy;
        if proven {
            policy.max_attempts = 1;
        }
        let mut status = entry.row.status.clone();
        let first = status.is_pending();
        let transition = status.apply(&name, result.state, &policy, at);
        if transition.is_some() && entry.shown.is_none() {
            entry.shown = Some(Arc::clone(&entry.row));
        }
        let row = entry.row_mut();
        row.status = status;
        // A copy: what stays long is not to lie scattered among what the runs' thread needs for a moment.
        row.result = result.clone();
        row.duration = duration;
        row.max_attempts = policy.max_attempts;
        entry.dirty = true;
        let Some(transition) = transition else {
            if first {
                // Since when it is okay is known from here on, and a kill must not move it.
                self.keep(id);
            }
            if self.entries.get(id).is_some_and(|entry| entry.awaits_recheck) {
                self.reconcile(id);
            }
            return;
        };
        self.record_transition(id, &name, &transition);
    }

    fn keep(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.dirty = false;
        let stored = Box::new(entry.stored());
        self.write_now(Record::Check(stored));
    }

    fn record_transition(&mut self, id: Id, name: &Name, transition: &monchero_core::Transition) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.unpublished += 1;
        let message = entry.row.result.message.clone();
        tracing::info!(
            check = %name,
            state = transition.state.as_str(),
            state_type = transition.state_type.as_str(),
            attempt = transition.attempt,
            incident = transition.incident.map(tracing::field::display),
            found = %message,
            "transition"
        );
        let hard = entry.row.status.hard_state;
        self.keep(id);
        if transition.state.is_problem() {
            self.begin_flexible(Some(id));
        }
        if let Some(acknowledgement) = self.acknowledgements.get(&id)
            && !acknowledgement.stands(hard, transition.at)
        {
            self.acknowledgements.remove(&id);
            self.write_now(Record::Acknowledgement { check: name.clone(), acknowledgement: None });
        }
        if let (true, Some(incident)) = (transition.is_recovery(), transition.incident) {
            self.note_end_of_incident(id, name, incident, transition.at);
        }
        // In this order, which is that of history within a millisecond: first what happened, then what is done about it.
        let record = Record::Transition { check: name.clone(), transition: transition.clone(), message };
        self.write_then(record, Effect::Publish(id));
        self.trigger_scripts(id, transition);
    }

    /// A transition is on disk: others may see it, and targets are to know the truth.
    pub(crate) fn publish(&mut self, id: Id) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.unpublished = entry.unpublished.saturating_sub(1);
        if entry.unpublished == 0 {
            entry.shown = None;
        }
        self.reconcile(id);
    }

    /// While a problem is soft, the next run comes after the retry interval; a check may ask to be looked at before its next slot. Both
    /// are off the grid and leave it as it is.
    fn schedule_again(&mut self, id: Id, again: Option<Duration>, now: Instant) {
        let Some(entry) = self.entries.get(id) else { return };
        if !entry.is_scheduled() {
            return;
        }
        let is_soft = |entry: &Entry| entry.row.status.state_type == StateType::Soft;
        let service_is_soft =
            || self.entries.services(&entry.row.name).any(|id| self.entries.get(id).is_some_and(is_soft));
        let is_soft = is_soft(entry) || (entry.has_services && service_is_soft());
        let retry = is_soft.then(|| now + entry.definition.retry_interval);
        let slot = entry.grid.next_after(now, now).0;
        let again = again.map(|again| now + again.max(MIN_INTERVAL)).filter(|again| is_soft || *again < slot);
        if let Some(due) = retry.into_iter().chain(again).min() {
            self.schedule_at(id, due, now);
            if let Some(entry) = self.entries.get_mut(id) {
                entry.dirty = true;
            }
        }
    }

    fn change_interval(&mut self, id: Id, interval: Duration, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.interval != interval {
            entry.interval = interval;
            entry.dirty = true;
            entry.grid = Grid::new(now + interval, interval);
            entry.anchor = self.clock.now().checked_add(interval).ok();
            self.schedule_at(id, now + interval, now);
        }
    }

    fn take_services(
        &mut self,
        id: Id,
        check: &Name,
        services: Vec<(Name, ServiceResult)>,
        at: Timestamp,
        duration: Duration,
        origin: Origin,
    ) {
        let mut missing: Vec<Id> = self.entries.services(check).collect();
        for (name, result) in services {
            let Some(service) = self.service_entry(id, check, &name) else { continue };
            missing.retain(|other| *other != service);
            self.apply(service, &result, at, duration, false, origin);
        }
        for service in missing {
            self.take_missing(service, at, duration, origin);
        }
    }

    /// A service that the last run of its check did not report: unknown at first, and in the end no more.
    fn take_missing(&mut self, id: Id, at: Timestamp, duration: Duration, origin: Origin) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.gone) else { return };
        let since = *entry.missing_since.get_or_insert(at);
        if at.duration_since(since) >= signed(MISSING_KEPT) {
            return self.let_go(id, "its check has not reported it for a week");
        }
        let message = Box::from("the last run of its check did not report it");
        let result = ServiceResult { state: State::Unknown, message, ..ServiceResult::default() };
        self.apply(id, &result, at, duration, false, origin);
    }

    /// Makes room for one more service, if one is missing: the one that has been so longest goes. Whether there is room.
    fn has_room_for_service(&mut self, check: &Name) -> bool {
        let services: Vec<Id> = self.entries.services(check).collect();
        if services.len() < MAX_SERVICES {
            return true;
        }
        let missing = |id: &Id| Some((self.entries.get(*id).filter(|entry| !entry.gone)?.missing_since?, *id));
        let Some((_, longest)) = services.iter().filter_map(missing).min() else { return false };
        self.let_go(longest, "its check reports others in its place");
        self.entries.get(longest).is_none()
    }

    fn service_entry(&mut self, parent: Id, check: &Name, name: &Name) -> Option<Id> {
        if let Some(found) = self.entries.find(name.as_str()) {
            // A configured check that happens to have the name of a service keeps its own results.
            let definition = Arc::clone(&self.entries.get(parent)?.definition);
            let entry = self.entries.get_mut(found).filter(|entry| entry.row.parent.as_ref() == Some(check))?;
            entry.missing_since = None;
            if std::mem::take(&mut entry.gone) {
                entry.definition = definition;
            }
            return Some(found);
        }
        if !self.has_room_for_service(check) {
            tracing::warn!(check = %check, service = %name, "too many services: this one is not kept");
            return None;
        }
        let parent = self.entries.get_mut(parent)?;
        parent.has_services = true;
        let definition = Arc::clone(&parent.definition);
        let life = self.entries.next_life();
        let id = self.entries.insert(Entry::new(definition, name, Some(check.clone()), None, life, Instant::now()));
        if self.awaited_parents.contains(name) {
            self.link_dependents();
        } else {
            self.link(id);
        }
        Some(id)
    }
}
