//! The outbox: makes what targets know equal to what is so.
//!
//! There is no queue of messages. Each target has a queue of *checks to look at*; whenever its turn comes, `decide` compares the truth
//! with what the target was last successfully told, and the message is made of that. So a failed delivery, a restart or a long
//! outage needs nothing but another look.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::action::Action;
use monchero_core::decide::{Wants, announcement};
use monchero_core::definition::ActionDefinition;
use monchero_core::hold::{self, DependencyHold, ParentView};
use monchero_core::incident::IncidentId;
use monchero_core::{CheckStatus, Decision, Hold, Name, Notice, Told, decide};
use monchero_store::{NoticeRow, Record};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::delivery::Delivery;
use crate::drill::WAITING;
use crate::engine::Engine;
use crate::entry::{Entry, Id};
use crate::worker::{Pace, Trouble, Worker};

/// After so many failed tries in a row, about ten seconds, the fallback of a target is told too.
const FALLBACK_TRIES: u32 = 4;

/// What each target knows, and who is to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    told: HashMap<Id, BTreeMap<Name, Told>>,
    workers: BTreeMap<Name, Worker>,
    wakes: BinaryHeap<Reverse<(Timestamp, Id)>>,
    wanted: HashMap<Id, Timestamp>,
    drills: BTreeMap<Name, VecDeque<Delivery>>,
    pub(crate) recent: HashMap<Id, VecDeque<NoticeRow>>,
    /// Messages that were delivered, ever.
    pub(crate) delivered: u64,
    /// Tries that failed, ever.
    pub(crate) failed: u64,
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

    /// The targets that were told of a problem of a check and not of its end, or missed one.
    pub(crate) fn owed(&self, id: Id) -> impl Iterator<Item = &Name> {
        let all = self.told.get(&id).into_iter().flatten();
        all.filter(|(_, told)| told.is_owed()).map(|(target, _)| target)
    }

    /// The checks that wait to be looked at for a target.
    pub(crate) fn queued(&self, target: &Name) -> Vec<Id> {
        self.workers.get(target).map(Worker::queued).unwrap_or_default()
    }

    /// After the wall clock stepped back: nothing that is known lies in the future (R18).
    pub(crate) fn settle(&mut self, now: Timestamp) {
        for told in self.told.values_mut().flat_map(BTreeMap::values_mut) {
            told.settle(now);
        }
    }

    /// After the wall clock stepped ahead: what was told was told as long ago as before.
    pub(crate) fn step_ahead(&mut self, by: Duration) {
        for told in self.told.values_mut().flat_map(BTreeMap::values_mut) {
            told.at = told.at.map(|at| at.checked_add(by).unwrap_or(Timestamp::MAX));
        }
    }

    /// Forgets a check.
    pub(crate) fn forget(&mut self, id: Id) {
        self.told.remove(&id);
        self.recent.remove(&id);
        self.wanted.remove(&id);
    }

    /// The targets that may begin a delivery now.
    pub(crate) fn ready(&mut self, actions: &BTreeMap<Name, Arc<ActionDefinition>>, now: Instant) -> Vec<Name> {
        let workers = self.workers.iter_mut();
        let ready = workers.filter_map(|(target, worker)| {
            let pace = pace(actions.get(target)?);
            worker.is_ready(pace, now).then(|| target.clone())
        });
        ready.collect()
    }

    /// A target's worker, if it ever had something to do.
    pub(crate) fn worker(&mut self, target: &Name) -> Option<&mut Worker> {
        self.workers.get_mut(target)
    }

    /// Whether one more drill may wait for a target.
    pub(crate) fn has_room_for_drill(&self, target: &Name) -> bool {
        self.drills.get(target).is_none_or(|waiting| waiting.len() < WAITING)
    }

    /// A drill waits for its turn.
    pub(crate) fn await_drill(&mut self, target: Name, drill: Delivery) {
        self.drills.entry(target).or_default().push_back(drill);
    }

    /// The drills whose turn it is, one per target that tells nothing else at present. A target that rests after failures is tried
    /// too: whether it works again is what is asked.
    pub(crate) fn begin_drills(&mut self) -> Vec<Delivery> {
        let mut begun = Vec::new();
        for (target, waiting) in &mut self.drills {
            let worker = self.workers.entry(target.clone()).or_default();
            waiting.retain(Delivery::is_awaited);
            if let Some(drill) = (!worker.in_flight).then(|| waiting.pop_front()).flatten() {
                worker.in_flight = true;
                begun.push(drill);
            }
        }
        self.drills.retain(|_, waiting| !waiting.is_empty());
        begun
    }

    /// Begins the delivery of a bulletin to a target, if its turn is now.
    pub(crate) fn begin_bulletin(&mut self, target: &Name, pace: Pace, now: Instant) -> bool {
        self.workers.entry(target.clone()).or_default().begin_bulletin(pace, now)
    }

    /// How many deliveries are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.workers.values().filter(|worker| worker.in_flight).count()
    }

    /// Whether a message to a target has to wait: for the one under way, or for the end of a rest.
    fn must_wait(&self, target: &Name) -> bool {
        self.workers.get(target).is_some_and(|worker| worker.in_flight || worker.trouble.is_some())
    }

    /// Whether a target could not be reached several times in a row.
    pub(crate) fn is_unreachable(&self, target: &Name) -> bool {
        self.trouble(target)
            .is_some_and(|trouble| !trouble.only_bulletins && (trouble.parked || trouble.tries >= FALLBACK_TRIES))
    }

    /// Why a target's deliveries fail at present.
    pub(crate) fn trouble(&self, target: &Name) -> Option<&Trouble> {
        self.workers.get(target)?.trouble.as_ref()
    }

    /// All targets whose deliveries fail at present.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = (&Name, &Trouble)> {
        self.workers.iter().filter_map(|(target, worker)| Some((target, worker.trouble.as_ref()?)))
    }

    /// It may work again, after a reload or a test that went well: it is tried again at once.
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
    pub(crate) fn next_wake(
        &self,
        clock: &Clock,
        now: Instant,
        actions: &BTreeMap<Name, Arc<ActionDefinition>>,
    ) -> Option<Instant> {
        let wake = self.wakes.peek().map(|Reverse((at, _))| {
            let ahead = Duration::try_from(at.duration_since(clock.now())).unwrap_or_default();
            now + ahead
        });
        let turns = self.workers.iter().filter_map(|(target, worker)| worker.next_wake(pace(actions.get(target)?)));
        wake.into_iter().chain(turns).min()
    }

    fn wake_at(&mut self, id: Id, at: Timestamp) {
        if self.wanted.get(&id).is_none_or(|known| at < *known) {
            self.wanted.insert(id, at);
            self.wakes.push(Reverse((at, id)));
        }
    }

    pub(crate) fn enqueue(&mut self, target: &Name, id: Id) {
        self.workers.entry(target.clone()).or_default().enqueue(id);
    }
}

/// How a target wants many messages to be put together.
pub(crate) fn pace(target: &ActionDefinition) -> Pace {
    let digests = matches!(&target.action, Action::Target(action) if action.takes_digests());
    Pace { group: target.group, rate: target.rate as usize, digests }
}

impl Engine {
    /// Who is to be told about an entry: the targets that it is meant for, and those that were told of a problem and not of its end.
    pub(crate) fn targets_of(&self, id: Id) -> Vec<Arc<ActionDefinition>> {
        let mut targets = self.meant_targets(id);
        for name in self.outbox.owed(id) {
            self.add_target(&mut targets, name);
        }
        targets
    }

    /// The targets among an entry's actions, and those that stand in for one that cannot be reached.
    fn meant_targets(&self, id: Id) -> Vec<Arc<ActionDefinition>> {
        let Some(entry) = self.entries.get(id) else { return Vec::new() };
        let mut targets = Vec::new();
        for name in entry.definition.actions.iter() {
            self.add_target(&mut targets, name);
        }
        let mut next = 0;
        while let Some(target) = targets.get(next).cloned() {
            next += 1;
            if let Some(fallback) = target.fallback.as_ref().filter(|_| self.outbox.is_unreachable(&target.name)) {
                self.add_target(&mut targets, fallback);
            }
        }
        targets
    }

    fn add_target(&self, targets: &mut Vec<Arc<ActionDefinition>>, name: &Name) {
        let target = self.actions.get(name).filter(|action| matches!(action.action, Action::Target(_)));
        if let Some(target) = target.filter(|target| targets.iter().all(|known| known.name != target.name)) {
            targets.push(Arc::clone(target));
        }
    }

    /// What a target wants to be told about an entry: nothing new if it is not meant for it, or no longer.
    fn wants_of<'a>(&self, id: Id, target: &'a ActionDefinition) -> Cow<'a, Wants> {
        let is_named = self.entries.get(id).is_some_and(|entry| entry.definition.actions.contains(&target.name));
        if is_named || self.meant_targets(id).iter().any(|meant| meant.name == target.name) {
            Cow::Borrowed(&target.wants)
        } else {
            Cow::Owned(Wants::default())
        }
    }

    /// Compares the truth about a check with what each of its targets knows, and sees to the difference.
    pub(crate) fn reconcile(&mut self, id: Id) {
        let Some(entry) = self.entries.get(id).filter(|entry| entry.unpublished == 0) else { return };
        let holds = self.holds_of(id);
        let rechecks = matches!(holds.last(), Some(Hold::Dependency { .. } | Hold::CutOff { .. }));
        let changed = entry.row.holds != holds || entry.awaits_recheck != rechecks;
        // Each time: a wake that came meanwhile may have been for an earlier end.
        let wall = self.wall();
        if let Some(end) = holds.iter().filter_map(Hold::until).filter(|end| *end > wall).min() {
            self.outbox.wake_at(id, end);
        }
        if changed && let Some(entry) = self.entries.get_mut(id) {
            entry.row_mut().holds = holds;
            entry.awaits_recheck = rechecks;
        }
        self.resolve(id);
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
            if let Some(at) = self.announcement_for(id, &target) {
                self.outbox.wake_at(id, at);
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

    pub(crate) fn see_to_hold(&mut self, id: Id, hold: &Hold) {
        if let Some(at) = hold.until() {
            self.outbox.wake_at(id, at);
        }
        if let (Hold::Mending { .. }, Some(entry)) = (hold, self.entries.get_mut(id)) {
            // The next look says whether it helped.
            entry.awaits_recheck = true;
        }
        let (Hold::Dependency { parent, why } | Hold::CutOff { gate: parent, why }) = hold else { return };
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
        Some(self.decide_on(id, target, &self.entries.get(id)?.row.status))
    }

    /// What is to be done about one check and one target if this is the status of the check.
    pub(crate) fn decide_on(&self, id: Id, target: &ActionDefinition, status: &CheckStatus) -> Decision {
        let (hard, told, wall) = (status.hard(), self.outbox.told(id, &target.name), self.wall());
        decide(&hard, &told, &self.holds_for(id, target, status, &told), &self.wants_of(id, target), wall)
    }

    /// When a target is to be told that a hold is about to end.
    fn announcement_for(&self, id: Id, target: &ActionDefinition) -> Option<Timestamp> {
        target.wants.before_hold_ends?;
        let (status, told) = (&self.entries.get(id)?.row.status, self.outbox.told(id, &target.name));
        let holds = self.holds_for(id, target, status, &told);
        announcement(&status.hard(), &told, &holds, &self.wants_of(id, target)).filter(|at| *at > self.wall())
    }

    /// What holds notices about a check to one target if this is the status of the check.
    fn holds_for(&self, id: Id, target: &ActionDefinition, status: &CheckStatus, told: &Told) -> Vec<Hold> {
        let wall = self.wall();
        let quiet = target.quiet_until(wall, &self.zone).map(|until| Hold::QuietHours { until });
        let waits = self.waits_of(id, target, status, told, wall);
        self.holds_on(id, status).into_iter().chain(quiet).chain(waits).collect()
    }

    /// Why a target that does not know of a problem yet is not told of it now, although others may be.
    fn waits_of(
        &self,
        id: Id,
        target: &ActionDefinition,
        status: &CheckStatus,
        told: &Told,
        wall: Timestamp,
    ) -> Vec<Hold> {
        let incident = status.hard().incident.filter(|_| !told.state.is_problem());
        let Some(incident) = incident else { return Vec::new() };
        let until = target.delay.and_then(|delay| incident.since.checked_add(delay).ok()).filter(|until| *until > wall);
        let mending = |of| self.scripts.mending(id, incident.id, of, status.last_check, wall);
        let mending = target.after.and_then(mending);
        until.map(|until| Hold::Delay { until }).into_iter().chain(mending).collect()
    }

    /// What holds notices about a check, whatever the target.
    pub(crate) fn holds_of(&self, id: Id) -> Vec<Hold> {
        self.entries.get(id).map(|entry| self.holds_on(id, &entry.row.status)).unwrap_or_default()
    }

    /// What would hold notices about a check if this were its status.
    pub(crate) fn holds_on(&self, id: Id, status: &CheckStatus) -> Vec<Hold> {
        let Some(entry) = self.entries.get(id) else { return Vec::new() };
        if entry.gone {
            return Vec::new();
        }
        let wall = self.wall();
        let mut holds = Vec::new();
        if let (Some(since), Some(policy)) = (status.flapping_since(), &entry.definition.policy.flapping) {
            holds.push(Hold::Flapping { since, until: status.flapping.ends(policy) });
        }
        if let Some(acknowledgement) = self.acknowledgements.get(&id)
            && acknowledgement.stands(status.hard_state, wall)
        {
            holds.push(acknowledgement.hold());
        }
        holds.extend(self.downtimes.hold(entry, wall));
        if let (true, Some(since), Some(last)) = (status.hard_state.is_problem(), status.hard_since, status.last_check)
        {
            let last = self.looked_at(entry, Some(last)).unwrap_or(last);
            let parents = self.views(self.ancestors(&entry.definition.name));
            // At the end: that is where a recheck is looked for.
            holds.extend(hold::dependency(since, last, parents).or_else(|| self.cut_off(entry, since, last)));
        } else if let (true, Some(since)) = (status.inconclusive, status.news_since) {
            holds.extend(self.cut_off(entry, since, status.last_check.unwrap_or(since)));
        }
        holds
    }

    pub(crate) fn views(&self, names: Vec<&Name>) -> impl Iterator<Item = ParentView<'_>> {
        let parents = names.into_iter().filter_map(|name| self.entries.get(self.entries.find(name.as_str())?));
        parents.map(|parent| ParentView {
            name: &parent.row.name,
            state: parent.row.status.state,
            state_type: parent.row.status.state_type,
            last_check: self.looked_at(parent, parent.row.status.last_check),
            since: parent.row.status.since,
        })
    }

    /// The entry whose run makes the results of this one: its own, or that of the check that reports it.
    pub(crate) fn runner(&self, id: Id) -> Id {
        let parent = self.entries.get(id).and_then(|entry| entry.row.parent.as_ref());
        parent.and_then(|parent| self.entries.find(parent.as_str())).unwrap_or(id)
    }

    /// When an entry that has its last result since then was last looked at. What cannot be looked at again now is not waited for, and
    /// what its check's last run found nothing out about is not either.
    fn looked_at(&self, entry: &Entry, last: Option<Timestamp>) -> Option<Timestamp> {
        if !self.can_run(entry) {
            return Some(self.wall());
        }
        let runner = entry.row.parent.as_ref().and_then(|parent| self.entries.get(self.entries.find(parent.as_str())?));
        last.max(runner.and_then(|runner| runner.row.status.last_check))
    }

    pub(crate) fn can_run(&self, entry: &Entry) -> bool {
        let runner = entry.row.parent.as_ref().and_then(|parent| self.entries.get(self.entries.find(parent.as_str())?));
        let runner = runner.unwrap_or(entry);
        runner.is_scheduled() && runner.stuck.is_none() && !runner.benched
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

    /// A check ran: its services were looked at, whatever was found out about them.
    pub(crate) fn recheck_services(&mut self, check: &Name) {
        let services: Vec<Id> = self.entries.services(check).collect();
        for service in services {
            if self.entries.get(service).is_some_and(|entry| entry.awaits_recheck) {
                self.reconcile(service);
            }
            self.recheck_dependents(service);
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
