//! The outbox: makes what targets know equal to what is so.
//!
//! There is no queue of messages. Each target has a queue of *checks to look at*; whenever its turn comes, `decide` compares the truth
//! with what the target was last successfully told, and the message is made of that. So a failed delivery, a restart or a long
//! outage needs nothing but another look.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::action::{Action, ActionContext, Message};
use monchero_core::decide::Hard;
use monchero_core::definition::ActionDefinition;
use monchero_core::hold::{self, DependencyHold, ParentView};
use monchero_core::incident::{IncidentId, stable_hash};
use monchero_core::{Decision, DeliveryError, Hold, Name, Notice, NoticeKind, Told, decide};
use monchero_store::{NoticeRow, Record};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::engine::{Effect, Engine};
use crate::entry::{Entry, Id};
use crate::handle::RECENT;

/// The first pause after a failed delivery; it doubles up to [`MAX_BACKOFF`] (R39).
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause between tries.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// The longest pause that a receiver may ask for (R40).
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// How long a target rests that refused for good: nothing is lost meanwhile, and a reload wakes it (R40).
const PARKED: Duration = Duration::from_secs(900);
/// A message that is delivered this long after it became true says how late it is.
const LATE: Duration = Duration::from_secs(60);
/// A delivery that does not even end by its timeout is given up this much later.
const BACKSTOP: Duration = Duration::from_secs(2);

/// What each target knows, and who is to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    told: HashMap<Id, BTreeMap<Name, Told>>,
    workers: BTreeMap<Name, Worker>,
    wakes: BinaryHeap<Reverse<(Timestamp, Id)>>,
    wanted: HashMap<Id, Timestamp>,
    recent: HashMap<Id, VecDeque<NoticeRow>>,
    /// Messages that were delivered, ever.
    pub(crate) delivered: u64,
    /// Tries that failed, ever.
    pub(crate) failed: u64,
}

/// One target's worker: at most one delivery at a time, so the order of messages about a check is kept.
#[derive(Debug, Default)]
struct Worker {
    queue: VecDeque<Id>,
    queued: HashSet<Id>,
    in_flight: bool,
    trouble: Option<Trouble>,
}

/// Why a target's deliveries fail at present.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// How many tries failed in a row.
    pub(crate) tries: u32,
    /// When the next one is due.
    pub(crate) until: Instant,
    /// Whether the receiver refused for good.
    pub(crate) parked: bool,
    /// Why.
    pub(crate) why: String,
}

/// A message on its way to a target.
#[derive(Debug)]
pub(crate) struct Delivery {
    id: Id,
    target: Arc<ActionDefinition>,
    notice: Notice,
    message: Message,
}

/// The end of a delivery.
#[derive(Debug)]
pub(crate) struct DeliveryEnd {
    id: Id,
    target: Name,
    notice: Notice,
    delivery_id: String,
    attempt: u32,
    outcome: Result<String, DeliveryError>,
}

impl Outbox {
    /// What a target knows about a check.
    pub(crate) fn told(&self, id: Id, target: &Name) -> Told {
        self.told.get(&id).and_then(|by_target| by_target.get(target)).cloned().unwrap_or_default()
    }

    /// Takes up what an earlier daemon left.
    pub(crate) fn restore(&mut self, id: Id, target: Name, told: Told) {
        self.told.entry(id).or_default().insert(target, told);
    }

    /// The targets that know something about a check.
    pub(crate) fn knowing(&self, id: Id) -> Vec<Name> {
        self.told.get(&id).map(|by_target| by_target.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether some target of a check was told of a problem and not of its end, or missed one.
    pub(crate) fn owes(&self, id: Id) -> bool {
        self.told.get(&id).is_some_and(|by_target| by_target.values().any(Told::is_owed))
    }

    /// After the wall clock stepped back: nothing that is known lies in the future (R18).
    pub(crate) fn settle(&mut self, now: Timestamp) {
        for told in self.told.values_mut().flat_map(BTreeMap::values_mut) {
            told.settle(now);
        }
        self.wakes.clear();
        self.wanted.clear();
    }

    /// Forgets a check.
    pub(crate) fn forget(&mut self, id: Id) {
        self.told.remove(&id);
        self.recent.remove(&id);
        self.wanted.remove(&id);
    }

    /// How many deliveries are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.workers.values().filter(|worker| worker.in_flight).count()
    }

    /// Whether a message to a target has to wait: for the one under way, or for the end of a rest.
    fn must_wait(&self, target: &Name) -> bool {
        self.workers.get(target).is_some_and(|worker| worker.in_flight || worker.trouble.is_some())
    }

    /// Why a target's deliveries fail at present.
    pub(crate) fn trouble(&self, target: &Name) -> Option<&Trouble> {
        self.workers.get(target)?.trouble.as_ref()
    }

    /// All targets whose deliveries fail at present.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = (&Name, &Trouble)> {
        self.workers.iter().filter_map(|(target, worker)| Some((target, worker.trouble.as_ref()?)))
    }

    /// A reload changed a target: it is tried again at once.
    pub(crate) fn unpark(&mut self, target: &Name) {
        if let Some(worker) = self.workers.get_mut(target) {
            worker.trouble = None;
        }
    }

    /// The last messages about a check, newest first.
    pub(crate) fn recent(&self, id: Id) -> Vec<NoticeRow> {
        self.recent.get(&id).map(|rows| rows.iter().rev().cloned().collect()).unwrap_or_default()
    }

    /// When something has to be looked at although nothing happens.
    pub(crate) fn next_wake(&self, clock: &Clock, now: Instant) -> Option<Instant> {
        let wake = self.wakes.peek().map(|Reverse((at, _))| {
            let ahead = Duration::try_from(at.duration_since(clock.now())).unwrap_or_default();
            now + ahead
        });
        let retry = self
            .workers
            .values()
            .filter(|worker| !worker.in_flight && !worker.queue.is_empty())
            .filter_map(|worker| worker.trouble.as_ref().map(|trouble| trouble.until))
            .min();
        wake.into_iter().chain(retry).min()
    }

    fn wake_at(&mut self, id: Id, at: Timestamp) {
        if self.wanted.get(&id).is_none_or(|known| at < *known) {
            self.wanted.insert(id, at);
            self.wakes.push(Reverse((at, id)));
        }
    }

    fn enqueue(&mut self, target: &Name, id: Id) {
        let worker = self.workers.entry(target.clone()).or_default();
        if worker.queued.insert(id) {
            worker.queue.push_back(id);
        }
    }
}

impl Engine {
    /// The targets among an entry's actions.
    pub(crate) fn targets_of(&self, id: Id) -> Vec<Arc<ActionDefinition>> {
        let Some(entry) = self.entries.get(id) else { return Vec::new() };
        let all = entry.definition.actions.iter().filter_map(|name| self.actions.get(name));
        all.filter(|action| matches!(action.action, Action::Target(_))).cloned().collect()
    }

    /// Compares the truth about a check with what each of its targets knows, and sees to the difference.
    pub(crate) fn reconcile(&mut self, id: Id) {
        let Some(entry) = self.entries.get(id).filter(|entry| entry.unpublished == 0) else { return };
        let holds = self.holds_of(id);
        let rechecks =
            entry.row.status.hard_state.is_problem() && matches!(holds.last(), Some(Hold::Dependency { .. }));
        if entry.row.holds != holds || entry.awaits_recheck != rechecks {
            if let Some(end) = holds.iter().filter_map(Hold::until).min() {
                self.outbox.wake_at(id, end);
            }
            if let Some(entry) = self.entries.get_mut(id) {
                entry.row_mut().holds = holds;
                entry.awaits_recheck = rechecks;
            }
        }
        for target in self.targets_of(id) {
            match self.decide_for(id, &target) {
                Some(Decision::Tell(notice)) => {
                    self.outbox.enqueue(&target.name, id);
                    self.note_postponed(id, &target.name, &notice);
                }
                Some(Decision::Nothing(Some(at))) => self.outbox.wake_at(id, at),
                Some(Decision::Held(_, hold)) => self.see_to_hold(id, &hold),
                Some(Decision::Nothing(None)) | None => {}
            }
        }
        self.drop_if_gone(id);
    }

    /// A problem that comes and goes while its message waits for a place or for the target is missed, not untold (R46).
    fn note_postponed(&mut self, id: Id, target: &Name, notice: &Notice) {
        let Some(entry) = self.entries.get(id) else { return };
        let mut told = self.outbox.told(id, target);
        if self.outbox.must_wait(target) && told.postponed(notice, &entry.row.status.hard()) {
            self.outbox.restore(id, target.clone(), told.clone());
            self.records.push(Record::Told { check: entry.row.name.clone(), target: target.clone(), told });
        }
    }

    fn see_to_hold(&mut self, id: Id, hold: &Hold) {
        if let Some(at) = hold.until() {
            self.outbox.wake_at(id, at);
        }
        let Hold::Dependency { parent, why } = hold else { return };
        let now = Instant::now();
        match why {
            DependencyHold::RecheckParent => {
                if let Some(parent) = self.entries.find(parent.as_str()) {
                    self.request_run(self.runner(parent), now);
                }
            }
            DependencyHold::RecheckChild => self.request_run(self.runner(id), now),
            DependencyHold::ParentBad | DependencyHold::ParentSoft => {}
        }
    }

    /// What is to be done about one check and one target.
    pub(crate) fn decide_for(&self, id: Id, target: &ActionDefinition) -> Option<Decision> {
        let entry = self.entries.get(id)?;
        let status = &entry.row.status;
        let told = self.outbox.told(id, &target.name);
        let wall = self.wall();
        let hard = Hard { state: status.hard_state, since: status.hard_since, incident: status.incident };
        let quiet =
            target.quiet.and_then(|quiet| quiet.until(wall, &self.zone)).map(|until| Hold::QuietHours { until });
        let holds: Vec<Hold> = self.holds_of(id).into_iter().chain(quiet).collect();
        Some(decide(&hard, &told, &holds, &target.wants, wall))
    }

    /// What holds notices about a check, whatever the target.
    pub(crate) fn holds_of(&self, id: Id) -> Vec<Hold> {
        let Some(entry) = self.entries.get(id) else { return Vec::new() };
        if entry.gone {
            return Vec::new();
        }
        let wall = self.wall();
        let status = &entry.row.status;
        let mut holds = Vec::new();
        if let (Some(since), Some(policy)) = (status.flapping_since(), &entry.definition.policy.flapping) {
            holds.push(Hold::Flapping { since, until: status.flapping.ends(policy) });
        }
        if let Some(acknowledgement) = self.acknowledgements.get(&id)
            && acknowledgement.stands(status.hard_state, wall)
        {
            holds.push(acknowledgement.hold());
        }
        holds.extend(self.downtimes.iter().find_map(|downtime| downtime.hold(entry.row.name.as_str(), wall)));
        if let (true, Some(since), Some(last)) = (status.hard_state.is_problem(), status.hard_since, status.last_check)
        {
            holds.extend(hold::dependency(since, last, self.parents_of(id)));
        }
        holds
    }

    fn parents_of(&self, id: Id) -> impl Iterator<Item = ParentView<'_>> {
        let names = self.entries.get(id).map(|entry| self.ancestors(&entry.definition.name)).unwrap_or_default();
        let parents = names.into_iter().filter_map(|name| self.entries.get(self.entries.find(name.as_str())?));
        parents.map(|parent| ParentView {
            name: &parent.row.name,
            state: parent.row.status.state,
            state_type: parent.row.status.state_type,
            // What cannot be looked at again now is not waited for.
            last_check: if self.can_run(parent) { parent.row.status.last_check } else { Some(self.wall()) },
            since: parent.row.status.since,
        })
    }

    /// The entry whose run makes the results of this one: its own, or that of the check that reports it.
    pub(crate) fn runner(&self, id: Id) -> Id {
        let parent = self.entries.get(id).and_then(|entry| entry.row.parent.as_ref());
        parent.and_then(|parent| self.entries.find(parent.as_str())).unwrap_or(id)
    }

    fn can_run(&self, entry: &Entry) -> bool {
        let runner = entry.row.parent.as_ref().and_then(|parent| self.entries.get(self.entries.find(parent.as_str())?));
        let runner = runner.unwrap_or(entry);
        runner.is_scheduled() && runner.stuck.is_none()
    }

    /// All that a check depends on, directly or not.
    pub(crate) fn ancestors<'a>(&'a self, check: &'a Name) -> Vec<&'a Name> {
        let definition =
            |name: &Name| self.entries.get(self.entries.find(name.as_str())?).map(|entry| &*entry.definition);
        hold::ancestors(check, |name| definition(name).map(|definition| &*definition.depends_on).unwrap_or_default())
    }

    /// A check has a new result: those that depend on it may have waited for that.
    pub(crate) fn recheck_dependents(&mut self, id: Id) {
        let Some(children) = self.dependents.get(&id) else { return };
        let waiting: Vec<Id> = children
            .iter()
            .copied()
            .filter(|child| self.entries.get(*child).is_some_and(|entry| entry.awaits_recheck))
            .collect();
        for child in waiting {
            self.reconcile(child);
        }
    }

    /// Looks at checks whose time has come: a hold ends, a reminder is due.
    pub(crate) fn wake_targets(&mut self) {
        let wall = self.wall();
        let mut due = Vec::new();
        while let Some(Reverse((at, _))) = self.outbox.wakes.peek()
            && *at <= wall
        {
            let Some(Reverse((at, id))) = self.outbox.wakes.pop() else { break };
            if self.outbox.wanted.get(&id) == Some(&at) {
                self.outbox.wanted.remove(&id);
                due.push(id);
            }
        }
        for id in due {
            self.end_flapping(id, wall);
            self.reconcile(id);
        }
    }

    /// Flapping ends by time alone if the check runs rarely.
    fn end_flapping(&mut self, id: Id, wall: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let (Some(_), Some(policy)) = (entry.row.status.flapping_since(), entry.definition.policy.flapping) else {
            return;
        };
        entry.row_mut().status.flapping.update(false, &policy, wall);
        entry.dirty = true;
    }

    /// Starts what can be delivered: one message per target at a time, none while the target rests after a failure.
    pub(crate) fn pump_outbox(&mut self, now: Instant) {
        let ready: Vec<Name> = self
            .outbox
            .workers
            .iter()
            .filter(|(_, w)| !w.in_flight && !w.queue.is_empty() && w.trouble.as_ref().is_none_or(|t| t.until <= now))
            .map(|(target, _)| target.clone())
            .collect();
        for target in ready {
            while let Some(id) = self.next_in_queue(&target) {
                if self.begin_delivery(id, &target) {
                    break;
                }
            }
        }
    }

    fn next_in_queue(&mut self, target: &Name) -> Option<Id> {
        let worker = self.outbox.workers.get_mut(target)?;
        let id = worker.queue.pop_front()?;
        worker.queued.remove(&id);
        Some(id)
    }

    /// Decides again and, if there is something to tell, writes down that it is being told. Answers whether a delivery began.
    fn begin_delivery(&mut self, id: Id, target: &Name) -> bool {
        let Some(definition) = self.actions.get(target).cloned() else { return false };
        if self.entries.get(id).is_none_or(|entry| entry.unpublished > 0) {
            return false;
        }
        let Some(Decision::Tell(notice)) = self.decide_for(id, &definition) else {
            // Since it was queued something began to hold it, which nobody has noted yet: a parent that changed asks for a recheck first.
            self.reconcile(id);
            return false;
        };
        let Some(message) = self.message(id, target, &notice) else { return false };
        let Some(entry) = self.entries.get(id) else { return false };
        let status = &entry.row.status;
        let hard = Hard { state: status.hard_state, since: status.hard_since, incident: status.incident };
        let check = entry.row.name.clone();
        let mut told = self.outbox.told(id, target);
        told.attempted(&notice, &hard);
        self.outbox.restore(id, target.clone(), told.clone());
        if let Some(worker) = self.outbox.workers.get_mut(target) {
            worker.in_flight = true;
        }
        let delivery = Delivery { id, target: definition, notice, message };
        self.write_then(Record::Told { check, target: target.clone(), told }, Effect::Deliver(Box::new(delivery)));
        true
    }

    fn message(&self, id: Id, target: &Name, notice: &Notice) -> Option<Message> {
        let entry = self.entries.get(id)?;
        let told = self.outbox.told(id, target);
        let wall = self.wall();
        let tries = self.outbox.trouble(target).map_or(0, |trouble| trouble.tries);
        let since = notice.since.unwrap_or(wall);
        let waited = Duration::try_from(wall.duration_since(since)).unwrap_or_default();
        let reason = match notice.kind {
            NoticeKind::Problem => "hard problem",
            NoticeKind::Change => "the problem changed",
            NoticeKind::Reminder => "reminder: the problem stands",
            NoticeKind::Recovery => "recovery",
            NoticeKind::Missed => "a problem came and went while this target could not be told",
            NoticeKind::FlappingStarted => "it changes too often: nothing more is told until that ends",
            NoticeKind::FlappingEnded => "it has stopped changing all the time",
        };
        Some(Message {
            kind: notice.kind,
            delivery_id: notice.delivery_id(&self.host, &entry.row.name, target, &told),
            thread: format!(
                "{}-{:016x}",
                notice.incident.map_or(0, IncidentId::as_u64),
                stable_hash(&[entry.row.name.as_str().as_bytes()])
            ),
            event: self.event(id, notice.told, notice.incident, reason.to_owned())?,
            missed: notice.missed.clone(),
            missed_more: notice.missed_more,
            attempt: tries + 1,
            late: (tries > 0 && waited > LATE).then_some(waited),
        })
    }

    /// Sends a message; what it needs goes with it.
    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        let Delivery { id, target, notice, message } = delivery;
        let (ends, spawner, host, zone) =
            (self.delivery_ends.clone(), Arc::clone(&self.spawner), Arc::clone(&self.host), self.zone.clone());
        self.runtime.spawn(async move {
            let context = ActionContext { host: &host, spawner: &*spawner, zone: &zone };
            let outcome = match &target.action {
                Action::Target(deliver) => {
                    let limit = target.timeout + BACKSTOP;
                    match tokio::time::timeout(limit, crate::guarded(deliver.deliver(&message, &context))).await {
                        Ok(Ok(outcome)) => outcome,
                        Ok(Err(panic)) => {
                            Err(DeliveryError::Transient { why: format!("the target panicked: {panic}"), after: None })
                        }
                        Err(_) => {
                            let why = format!("no answer within {}", monchero_core::duration::human(limit));
                            Err(DeliveryError::Transient { why, after: None })
                        }
                    }
                }
                Action::Script(_) => Err(DeliveryError::Permanent { why: "this action tells nobody".to_owned() }),
            };
            let (delivery_id, attempt) = (message.delivery_id, message.attempt);
            // The engine is gone only when everything stops: the message is then sent again after the next start.
            let _ =
                ends.send(DeliveryEnd { id, target: target.name.clone(), notice, delivery_id, attempt, outcome }).await;
        });
    }

    /// Writes down how a delivery went, and looks again.
    pub(crate) fn delivery_ended(&mut self, end: DeliveryEnd, now: Instant) {
        let wall = self.wall();
        let Some(worker) = self.outbox.workers.get_mut(&end.target) else { return };
        worker.in_flight = false;
        let (delivered, detail) = match &end.outcome {
            Ok(answer) => {
                worker.trouble = None;
                (true, answer.clone())
            }
            Err(error) => {
                let tries = worker.trouble.as_ref().map_or(0, |trouble| trouble.tries) + 1;
                let (pause, parked) = pause_after(error, tries, &end.delivery_id);
                worker.trouble = Some(Trouble { tries, until: now + pause, parked, why: error.to_string() });
                (false, error.to_string())
            }
        };
        self.outbox.delivered += u64::from(delivered);
        self.outbox.failed += u64::from(!delivered);
        let Some(entry) = self.entries.get(end.id) else { return };
        let check = entry.row.name.clone();
        let row = NoticeRow {
            at: wall,
            check: check.clone(),
            target: end.target.clone(),
            delivery_id: end.delivery_id,
            kind: end.notice.kind,
            state: end.notice.state,
            incident: end.notice.incident,
            delivered,
            attempt: end.attempt,
            detail: monchero_core::text::shorten(&detail, 1_000),
        };
        self.log_notice(end.id, &row);
        if delivered {
            let mut told = self.outbox.told(end.id, &end.target);
            told.delivered(&end.notice, wall);
            self.outbox.restore(end.id, end.target.clone(), told.clone());
            self.write_now(Record::Told { check, target: end.target, told });
            self.records.push(Record::Notice(Box::new(row)));
            self.reconcile(end.id);
        } else {
            self.records.push(Record::Notice(Box::new(row)));
            self.outbox.enqueue(&end.target, end.id);
        }
    }

    fn log_notice(&mut self, id: Id, row: &NoticeRow) {
        if row.delivered {
            tracing::info!(check = %row.check, target = %row.target, kind = row.kind.as_str(), delivery = %row.delivery_id, "delivered");
        } else {
            tracing::warn!(check = %row.check, target = %row.target, kind = row.kind.as_str(), attempt = row.attempt,
                error = %monchero_core::text::escape_controls(&row.detail), "delivery failed");
        }
        let recent = self.outbox.recent.entry(id).or_default();
        recent.push_back(row.clone());
        if recent.len() > RECENT {
            recent.pop_front();
        }
    }

    /// An incident ended: targets that were never reached about it have missed it.
    pub(crate) fn note_end_of_incident(&mut self, id: Id, check: &Name, incident: IncidentId, at: Timestamp) {
        let Some(by_target) = self.outbox.told.get_mut(&id) else { return };
        let mut changed = Vec::new();
        for (target, told) in by_target {
            if told.ended(incident, at) {
                changed.push(Record::Told { check: check.clone(), target: target.clone(), told: told.clone() });
            }
        }
        self.records.extend(changed);
    }
}

/// How long to wait after a failure, and whether the receiver refused for good. The pause is jittered by a quarter.
fn pause_after(error: &DeliveryError, tries: u32, salt: &str) -> (Duration, bool) {
    match error {
        DeliveryError::Permanent { .. } => (PARKED, true),
        DeliveryError::Transient { after, .. } => {
            let doubled = FIRST_BACKOFF.saturating_mul(1 << (tries - 1).min(16)).min(MAX_BACKOFF);
            let jitter = stable_hash(&[salt.as_bytes(), &tries.to_be_bytes()]) % 250;
            let pause = doubled.mul_f64(1.0 - jitter as f64 / 1_000.0);
            (pause.max(after.unwrap_or_default().min(MAX_RETRY_AFTER)), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_keep_what_the_receiver_asks() {
        let error = DeliveryError::Transient { why: String::new(), after: None };
        let mut last = Duration::ZERO;
        for tries in 1..=9 {
            let (pause, parked) = pause_after(&error, tries, "x");
            assert!(!parked && pause <= MAX_BACKOFF);
            assert!(pause > last, "try {tries}: {pause:?} after {last:?}");
            last = pause;
        }
        assert!(pause_after(&error, 40, "x").0 >= MAX_BACKOFF.mul_f64(0.75));
        let asked = DeliveryError::Transient { why: String::new(), after: Some(Duration::from_secs(7)) };
        assert_eq!(pause_after(&asked, 1, "x").0, Duration::from_secs(7));
        assert_eq!(pause_after(&DeliveryError::Permanent { why: String::new() }, 1, "x"), (PARKED, true));
    }
}
