//! What an earlier daemon left about checks that the present configuration does not have.
//!
//! If the configuration is whole, they are no longer configured, and are let go. If it has gaps, nobody knows that: what was left stays in
//! the store as it is until the checks are there again, or until a configuration without gaps lacks them too.

use std::collections::HashMap;

use monchero_core::definition::ConfigProblem;
use monchero_core::hold::Acknowledgement;
use monchero_core::{Name, Told};
use monchero_store::{ActionRow, Loaded, StoredCheck};
use tokio::time::Instant;

use crate::configure::{GONE_KIND, NOT_CONFIGURED};
use crate::engine::Engine;
use crate::entry::{CONFIG_KIND, SELF_KIND, never_run};

/// What was left and belongs to nothing yet.
#[derive(Debug, Default)]
pub(crate) struct Left {
    checks: HashMap<Name, StoredCheck>,
    told: Vec<(Name, Name, Told)>,
    acknowledgements: Vec<(Name, Acknowledgement)>,
    actions: Vec<ActionRow>,
}

impl Left {
    /// Takes what the store has about checks.
    pub(crate) fn new(loaded: &mut Loaded) -> Self {
        let checks = std::mem::take(&mut loaded.checks);
        let mut actions = std::mem::take(&mut loaded.recent_actions);
        actions.append(&mut loaded.interrupted);
        Self {
            checks: checks.into_iter().map(|check| (check.name.clone(), check)).collect(),
            told: std::mem::take(&mut loaded.told),
            acknowledgements: std::mem::take(&mut loaded.acknowledgements),
            actions,
        }
    }

    /// Takes out what was stored about a check.
    pub(crate) fn take(&mut self, name: &Name) -> Option<StoredCheck> {
        self.checks.remove(name)
    }

    /// What is wrong if checks were left and the configuration has none at all: its directory may not be mounted.
    pub(crate) fn all_missing(&self) -> Option<ConfigProblem> {
        let count = self.checks.values().filter(|check| check.parent.is_none() && !is_internal(&check.name)).count();
        let line = format!(
            "conf.d: no check is configured, and {count} were before: nothing is forgotten yet; if that is meant, run `monchero reload`"
        );
        (count > 0).then(|| ConfigProblem { file: "conf.d".to_owned(), rendered: line.clone(), line })
    }

    fn take_if(&mut self, mut wanted: impl FnMut(&StoredCheck) -> bool) -> Vec<StoredCheck> {
        self.checks.extract_if(|_, check| wanted(check)).map(|(_, check)| check).collect()
    }
}

impl Engine {
    /// Joins what was left with the entries that there are now. `whole` is whether the configuration has no gaps.
    pub(crate) fn take_up_left(&mut self, whole: bool, now: Instant) {
        let mut left = std::mem::take(&mut self.left);
        let entries = &self.entries;
        let of_present =
            |check: &StoredCheck| check.parent.as_ref().is_some_and(|name| entries.find(name.as_str()).is_some());
        let services = left.take_if(of_present);
        // What monchero says about itself and its files is known whatever the files say.
        let orphans = left.take_if(|check| whole || is_internal(&check.name));
        for service in services {
            self.add_service(service, now);
        }
        let mut gone = Vec::new();
        for orphan in orphans {
            // A service may have taken the name meanwhile.
            if self.entries.find(orphan.name.as_str()).is_none() {
                let definition = never_run(orphan.name.clone(), GONE_KIND, [].into());
                gone.push(self.add(definition, Some(orphan), now));
            }
        }
        self.restore_left(&mut left);
        self.left = left;
        // An earlier daemon's wall clock may have been ahead.
        let wall = self.wall();
        for entry in self.entries.iter_mut() {
            entry.row_mut().status.settle(wall);
        }
        self.outbox.settle(wall);
        self.link_dependents();
        for id in gone {
            self.let_go(id, NOT_CONFIGURED);
        }
    }

    /// Takes up what was told, said and done about the entries that there are now.
    fn restore_left(&mut self, left: &mut Left) {
        let find = |engine: &Self, name: &Name| engine.entries.find(name.as_str());
        let stays = |name: &Name| left.checks.contains_key(name);
        let (mut told, mut acknowledgements, mut actions) = (Vec::new(), Vec::new(), Vec::new());
        for row in left.told.drain(..) {
            match find(self, &row.0) {
                Some(id) => self.outbox.restore(id, row.1, row.2),
                None if stays(&row.0) => told.push(row),
                None => {}
            }
        }
        for row in left.acknowledgements.drain(..) {
            match find(self, &row.0) {
                Some(id) => drop(self.acknowledgements.insert(id, row.1)),
                None if stays(&row.0) => acknowledgements.push(row),
                None => {}
            }
        }
        for row in left.actions.drain(..) {
            match find(self, &row.check) {
                Some(id) => self.scripts.restore(id, row),
                None if stays(&row.check) => actions.push(row),
                None => {}
            }
        }
        left.checks.shrink_to_fit();
        (left.told, left.acknowledgements, left.actions) = (told, acknowledgements, actions);
    }
}

fn is_internal(name: &Name) -> bool {
    let prefix = name.as_str().split_once('/').map(|(prefix, _)| prefix);
    prefix.is_some_and(|prefix| [SELF_KIND, CONFIG_KIND].contains(&prefix))
}
