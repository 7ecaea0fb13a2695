//! Checks that judge each other, which would keep a problem alive for ever.

use std::collections::{HashMap, HashSet};

use monchero_core::Name;
use monchero_core::node::SettingsError;
use monchero_core::order;

use super::graph::{base, circles, ring};
use super::load::Loader;

impl Loader<'_> {
    /// Tells of each circle of checks that judge each other, and opens it: the check that is named does not run.
    pub(crate) fn refuse_judging_circles(&mut self) {
        let judges: Vec<(usize, Vec<&str>)> = self
            .checks
            .iter()
            .enumerate()
            .map(|(at, check)| (at, check.check.judges()))
            .filter(|(_, judged)| !judged.is_empty())
            .collect();
        if judges.is_empty() {
            return;
        }
        // Only those that judge others can be part of a circle. A name covers services and instances too.
        let mut named: HashMap<&str, Vec<usize>> = HashMap::new();
        for (node, (at, _)) in judges.iter().enumerate() {
            let name = self.checks.get(*at).map_or("", |check| check.name.as_str());
            for part in name.match_indices(['/', '[']).filter_map(|(end, _)| name.get(..end)).chain([name]) {
                named.entry(part).or_default().push(node);
            }
        }
        let parents: Vec<Vec<usize>> = judges
            .iter()
            .enumerate()
            .map(|(node, (_, judged))| {
                let mut parents: Vec<usize> =
                    judged.iter().filter_map(|name| named.get(name)).flatten().copied().collect();
                // None is its own member.
                parents.retain(|parent| *parent != node);
                order::sort(&mut parents);
                parents.dedup();
                parents
            })
            .collect();
        let rings: Vec<Vec<Name>> = circles(&parents)
            .iter()
            .map(|circle| {
                let places = circle.iter().filter_map(|node| judges.get(*node));
                places.filter_map(|(at, _)| self.checks.get(*at)).map(|check| check.name.clone()).collect()
            })
            .collect();
        let mut refused = HashSet::new();
        for names in rings {
            let Some(first) = names.first() else { continue };
            refused.insert(first.clone());
            let place = self.check_names.get(first).or_else(|| self.check_names.get(base(first.as_str())));
            let span = place.copied().unwrap_or_default();
            let error = SettingsError {
                span,
                path: String::new(),
                message: format!("checks judge each other in a circle: {}", ring(&names)),
                help: Some(
                    "take one of them out of the members of the other: a problem would keep itself alive".to_owned(),
                ),
            };
            self.report(Some(&format!("check `{}`", base(first.as_str()))), error);
        }
        self.checks.retain(|check| !refused.contains(&check.name));
    }
}
