//! Putting a configuration in force: at the start over what the store kept, at a reload over what runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use monchero_core::definition::{Configuration, Definition};
use monchero_core::report::ServiceResult;
use monchero_core::{Name, State};
use monchero_store::{Loaded, Record, StoredCheck};
use tokio::time::Instant;

use crate::dispatch::Origin;
use crate::engine::Engine;
use crate::entry::{Entry, Id, never_run};
use crate::handle::ConfigureSummary;
use crate::left::Left;

/// The kind of a check that is no longer configured but was told as a problem.
pub(crate) const GONE_KIND: &str = "gone";
/// Why most of what is gone is so.
pub(crate) const NOT_CONFIGURED: &str = "it is no longer configured";

/// A daemon that was away for so long takes up the time between reminders where it was.
const LONG_AWAY: Duration = Duration::from_secs(12 * 3_600);

impl Engine {
    /// Takes up what an earlier daemon left, under the present configuration.
    pub(crate) fn restore(&mut self, mut configuration: Configuration, mut loaded: Loaded, now: Instant) {
        let seen = loaded.checks.iter().filter_map(|check| check.status.last_check).max();
        self.left = Left::new(&mut loaded);
        if configuration.checks.is_empty() && configuration.problems.is_empty() {
            configuration.problems.extend(self.left.all_missing());
        }
        self.take_settings(&configuration);
        let problems = self.internal_definitions(&configuration);
        self.entries.reserve(configuration.checks.len() + problems.len());
        self.schedule.reserve(configuration.checks.len());
        for definition in std::mem::take(&mut configuration.checks).into_iter().chain(problems) {
            let earlier = self.left.take(&definition.name);
            self.add(definition, earlier, now);
        }
        self.take_up_left(configuration.problems.is_empty(), now);
        // Whether the daemon was away or the clock is ahead nobody can tell: no reminder is due for either.
        let away = seen.and_then(|seen| Duration::try_from(self.wall().duration_since(seen)).ok());
        if let Some(away) = away.filter(|away| *away > LONG_AWAY) {
            self.outbox.step_ahead(away);
        }
        let crashed = loaded.unfinished.map(|began| seen.map_or(began, |seen| seen.max(began)));
        self.restore_bulletins(&configuration, loaded.posted, crashed);
        self.selfchecks.config_problems = configuration.problems;
        self.report_config_problems(now);
        self.reconcile_all();
    }

    /// Replaces the running set. Unchanged checks keep their place in the schedule, and their runs go on.
    pub(crate) fn configure(&mut self, mut configuration: Configuration, now: Instant) -> ConfigureSummary {
        self.take_settings(&configuration);
        let mut summary = ConfigureSummary::default();
        let problems = self.internal_definitions(&configuration);
        let mut wanted: HashSet<Name> = HashSet::new();
        for definition in std::mem::take(&mut configuration.checks).into_iter().chain(problems) {
            wanted.insert(definition.name.clone());
            let own = !matches!(definition.kind, crate::entry::SELF_KIND | crate::entry::CONFIG_KIND);
            let counter = match self.entries.find(definition.name.as_str()) {
                Some(id) if self.is_unchanged(id, &definition) => {
                    self.connect(id, definition);
                    &mut summary.unchanged
                }
                Some(id) => {
                    self.change(id, definition, now);
                    &mut summary.changed
                }
                None => {
                    let earlier = self.left.take(&definition.name);
                    self.add(definition, earlier, now);
                    &mut summary.added
                }
            };
            *counter += usize::from(own);
        }
        let removed: Vec<Id> =
            self.entries.names().filter(|(name, id)| !self.is_wanted(&wanted, name, *id)).map(|(_, id)| id).collect();
        for id in removed {
            summary.removed += usize::from(self.entries.get(id).is_some_and(Entry::is_scheduled));
            self.let_go(id, NOT_CONFIGURED);
        }
        self.take_up_left(configuration.problems.is_empty(), now);
        self.take_bulletins(&configuration);
        self.selfchecks.config_problems = configuration.problems;
        self.report_config_problems(now);
        self.config_trouble(None, now);
        self.reconcile_all();
        tracing::info!(
            added = summary.added,
            changed = summary.changed,
            removed = summary.removed,
            unchanged = summary.unchanged,
            "configuration in force"
        );
        summary
    }

    fn take_settings(&mut self, configuration: &Configuration) {
        self.host = Arc::clone(&configuration.host);
        self.zone = configuration.zone.clone();
        self.sysroot = Arc::from(configuration.sysroot.as_path());
        self.concurrency = configuration.concurrency.max(1);
        self.selfchecks.actions = Arc::clone(&configuration.self_actions);
        self.downtimes.look_again(Some(configuration.downtimes.clone()), self.clock.now());
        self.gate.clone_from(&configuration.gate);
        let mut actions = BTreeMap::new();
        for action in &configuration.actions {
            let unchanged = self.actions.remove(&action.name).filter(|known| known.fingerprint == action.fingerprint);
            // Also if nothing about it changed: what it needs may stand elsewhere and be mended now.
            self.outbox.unpark(&action.name);
            actions.insert(action.name.clone(), unchanged.unwrap_or_else(|| Arc::new(action.clone())));
        }
        self.actions = actions;
    }

    fn is_unchanged(&self, id: Id, definition: &Definition) -> bool {
        self.entries.get(id).is_some_and(|entry| {
            !entry.gone
                && entry.row.parent.is_none()
                && entry.definition.fingerprint == definition.fingerprint
                && entry.definition.kind == definition.kind
                && entry.definition.actions == definition.actions
        })
    }

    /// Takes over what may differ although nothing about the check itself has changed: which of its parents there are, and where it is written.
    fn connect(&mut self, id: Id, definition: Definition) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let known = &entry.definition;
        if known.settings == definition.settings && known.source == definition.source {
            return;
        }
        let check = Arc::clone(&known.check);
        let definition = Arc::new(Definition { check, ..definition });
        entry.definition = Arc::clone(&definition);
        let services: Vec<Id> = self.entries.services(&definition.name).collect();
        for service in services {
            if let Some(entry) = self.entries.get_mut(service) {
                entry.definition = Arc::clone(&definition);
            }
        }
    }

    /// A service stays as long as its check does.
    fn is_wanted(&self, wanted: &HashSet<Name>, name: &Name, id: Id) -> bool {
        let parent = self.entries.get(id).and_then(|entry| entry.row.parent.as_ref());
        wanted.contains(parent.unwrap_or(name))
    }

    pub(crate) fn add(&mut self, definition: Definition, earlier: Option<StoredCheck>, now: Instant) -> Id {
        let name = definition.name.clone();
        let life = self.entries.next_life();
        let earlier = earlier.map(|stored| StoredCheck { parent: None, ..stored });
        let id = self.entries.insert(Entry::new(Arc::new(definition), &name, None, earlier, life, now));
        self.place(id, now);
        id
    }

    pub(crate) fn add_service(&mut self, stored: StoredCheck, now: Instant) {
        let Some(parent) = stored.parent.clone() else { return };
        let Some(entry) = self.entries.find(parent.as_str()).and_then(|id| self.entries.get_mut(id)) else { return };
        entry.has_services = true;
        let definition = Arc::clone(&entry.definition);
        let name = stored.name.clone();
        let life = self.entries.next_life();
        self.entries.insert(Entry::new(definition, &name, Some(parent), Some(stored), life, now));
    }

    /// A changed definition keeps its state and starts its schedule anew.
    fn change(&mut self, id: Id, definition: Definition, now: Instant) {
        self.call_off(id, "its definition changed");
        let definition = Arc::new(definition);
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.definition.kind != definition.kind {
            entry.memory = None;
        }
        let same_rhythm = entry.definition.interval == definition.interval && !entry.gone;
        let name = entry.row.name.clone();
        entry.gone = false;
        entry.benched = false;
        entry.interval = definition.interval;
        if !same_rhythm {
            entry.anchor = None;
        }
        entry.definition = Arc::clone(&definition);
        let row = entry.row_mut();
        row.kind = definition.kind;
        row.labels = Arc::clone(&definition.labels);
        row.max_attempts = definition.policy.max_attempts;
        row.parent = None;
        entry.dirty = true;
        self.place(id, now);
        let services: Vec<Id> = self.entries.services(&name).collect();
        for service in services {
            if let Some(entry) = self.entries.get_mut(service) {
                entry.definition = Arc::clone(&definition);
                entry.row_mut().labels = Arc::clone(&definition.labels);
            }
        }
    }

    /// A check is no longer there, for this reason. Whoever was told of a problem is told that it is over, then it is forgotten.
    pub(crate) fn let_go(&mut self, id: Id, why: &str) {
        self.call_off(id, why);
        let wall = self.wall();
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.gone {
            return;
        }
        let name = entry.row.name.clone();
        entry.gone = true;
        entry.memory = None;
        entry.place = entry.place.wrapping_add(1);
        let problem = entry.row.status.state.is_problem() || entry.row.status.hard_state.is_problem();
        let actions = self.outbox.knowing(id);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.definition = Arc::new(never_run(name.clone(), GONE_KIND, actions.into()));
        }
        if self.acknowledgements.remove(&id).is_some() {
            self.write_now(Record::Acknowledgement { check: name.clone(), acknowledgement: None });
        }
        if problem {
            let message = Box::from(why);
            self.apply(
                id,
                &ServiceResult { state: State::Okay, message, ..ServiceResult::default() },
                wall,
                Duration::ZERO,
                false,
                Origin::Word,
            );
        }
        self.reconcile(id);
    }

    /// Forgets a check that is gone as soon as nobody has to be told anything about it.
    pub(crate) fn drop_if_gone(&mut self, id: Id) {
        let Some(entry) = self.entries.get(id).filter(|entry| entry.gone && entry.unpublished == 0) else { return };
        if self.outbox.owed(id).any(|target| self.actions.contains_key(target)) {
            return;
        }
        let name = entry.row.name.clone();
        self.entries.remove(id);
        if self.dependents.remove(&id).is_some() {
            // It may come back.
            self.awaited_parents.insert(name.clone());
        }
        self.outbox.forget(id);
        self.scripts.forget(id);
        self.write_now(Record::Forget(name));
    }

    pub(crate) fn link_dependents(&mut self) {
        self.dependents = HashMap::new();
        self.awaited_parents = HashSet::new();
        let all: Vec<Id> = self.entries.names().map(|(_, id)| id).collect();
        for id in all {
            self.link(id);
        }
    }

    /// Notes whose results an entry may wait for.
    pub(crate) fn link(&mut self, id: Id) {
        let Some(entry) = self.entries.get(id) else { return };
        let names = self.ancestors(&entry.definition.name).into_iter().chain(self.gates_of(entry));
        let parents: Vec<Result<Id, Name>> =
            names.map(|name| self.entries.find(name.as_str()).ok_or_else(|| name.clone())).collect();
        for parent in parents {
            match parent {
                Ok(parent) => self.dependents.entry(parent).or_default().push(id),
                Err(service) => drop(self.awaited_parents.insert(service)),
            }
        }
    }

    /// Ends all runs without results: the daemon stops (R16).
    pub(crate) fn call_off_all(&mut self) {
        let all: Vec<Id> = self.entries.names().map(|(_, id)| id).collect();
        for id in all {
            self.call_off(id, "the daemon is stopping");
        }
    }
}
