//! Targets that say for themselves of which checks they are told. That ends here: afterwards every check names all who are told of it.

use std::collections::{BTreeMap, HashMap};

use monchero_core::Name;
use monchero_core::action::Action;
use monchero_core::definition::Settings;
use monchero_core::hold::Selector;

use super::load::Loader;
use super::settings::ActionSettings;

/// What stands for the checks of monchero itself, which share one list of actions.
const SELF: &str = "self/*";

/// Of which checks a target is told that do not name it.
pub(crate) struct Route {
    target: Name,
    /// Where the target is written.
    source: String,
    default: bool,
    chooses: Selector,
}

impl Route {
    /// None if only checks say who is told.
    pub(crate) fn new(target: &Name, settings: &ActionSettings, source: String) -> Option<Self> {
        let default = settings.default.unwrap_or(false);
        let labels = settings.labels.clone().unwrap_or_default();
        let chooses = Selector { checks: settings.checks.clone().unwrap_or_default(), labels };
        let is_route = default || !chooses.is_empty();
        is_route.then(|| Self { target: target.clone(), source, default, chooses })
    }

    fn fits(&self, check: &str, labels: &BTreeMap<String, String>, has_target: bool) -> bool {
        !(self.default && has_target) && self.chooses.fits(check, labels)
    }
}

impl Loader<'_> {
    /// Adds to every check the targets that want to be told of it.
    pub(crate) fn route(&mut self) {
        if self.routes.is_empty() {
            return;
        }
        let mut routed = HashMap::new();
        let mut checks = std::mem::take(&mut self.checks);
        for check in &mut checks {
            let mut all = check.actions.to_vec();
            let more = self.add_targets(&mut all, check.name.as_str(), &check.labels);
            if !more.is_empty() {
                let settings = Settings { actions: self.pool.list(&all), ..Settings::clone(&check.settings) };
                check.settings = self.pool.settings(settings);
                routed.insert(check.name.to_string(), more);
            }
        }
        self.checks = checks;
        for shown in self.shown.iter_mut().filter(|shown| shown.section == "checks") {
            for route in routed.get(&shown.name).into_iter().flatten().filter_map(|index| self.routes.get(*index)) {
                shown.add_action(&route.target, &route.source);
            }
        }
    }

    /// Who is told of monchero's own problems: those that all checks name by default, and those who want to be.
    pub(crate) fn self_actions(&self) -> Vec<Name> {
        let wanted = self.global.actions.iter().flat_map(|names| names.iter());
        let mut all: Vec<Name> =
            wanted.filter(|name| self.actions.iter().any(|action| action.name == **name)).cloned().collect();
        self.add_targets(&mut all, SELF, &BTreeMap::new());
        all
    }

    /// Adds the targets that want to be told of a check and are not there yet; answers the numbers of their routes.
    fn add_targets(&self, all: &mut Vec<Name>, check: &str, labels: &BTreeMap<String, String>) -> Vec<usize> {
        let tells = |name: &Name| {
            let found = self.actions.iter().find(|action| action.name == *name);
            found.is_some_and(|action| matches!(action.action, Action::Target(_)))
        };
        let has_target = all.iter().any(tells);
        let mut added = Vec::new();
        for (index, route) in self.routes.iter().enumerate() {
            if !all.contains(&route.target) && route.fits(check, labels, has_target) {
                all.push(route.target.clone());
                added.push(index);
            }
        }
        added
    }
}
