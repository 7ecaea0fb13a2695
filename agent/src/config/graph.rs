//! What refers to what, once all names are known: actions and dependencies that do not exist, dependencies in a circle.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use monchero_core::Name;
use monchero_core::action::Action;
use monchero_core::definition::{ActionDefinition, Settings};
use monchero_core::node::{SettingsError, Span, nearest};
use monchero_core::order;
use monchero_core::text::escape_controls;

use super::load::{Loader, Reference};

/// How many names of a circle are shown.
const MAX_SHOWN: usize = 10;
/// For how many unknown names the nearest known one is looked for: each looks at all names.
const MAX_SUGGESTED: usize = 20;

impl Loader<'_> {
    /// Tells of names that are not known, puts instances in the place of the check that has them, and leaves out of every list what does not
    /// run: a definition names nothing that is not there.
    pub(crate) fn connect(&mut self) {
        let actions = std::mem::take(&mut self.wanted_actions);
        let checks = std::mem::take(&mut self.wanted_checks);
        // What is not known may stand in a file that could not be read.
        if !self.incomplete {
            let mut unknown = unknown(&actions, &self.action_names, "action", "actions", |_| false);
            let of_service = |name: &str| checks_of_service(name).any(|check| self.check_names.contains_key(check));
            unknown.extend(self::unknown(&checks, &self.check_names, "check", "depends_on", of_service));
            for (subject, error) in unknown {
                self.report(subject.as_deref(), error);
            }
        }
        self.refuse_judging_circles();
        self.connect_actions();
        self.route();
        self.refuse_missing_labels(&actions);
        if self.checks.iter().any(|check| !check.depends_on.is_empty()) {
            self.connect_dependencies();
            self.refuse_circles(&checks);
        }
    }

    fn connect_actions(&mut self) {
        let running: HashSet<&Name> = self.actions.iter().map(|action| &action.name).collect();
        let mut ready: HashMap<Arc<[Name]>, Arc<[Name]>> = HashMap::new();
        for check in &mut self.checks {
            if check.actions.iter().all(|name| running.contains(name)) {
                continue;
            }
            let list = ready.entry(check.actions.clone()).or_insert_with_key(|names| {
                let left: Vec<Name> = names.iter().filter(|name| running.contains(name)).cloned().collect();
                self.pool.list(&left)
            });
            let settings = Settings { actions: list.clone(), ..Settings::clone(&check.settings) };
            check.settings = self.pool.settings(settings);
        }
    }

    /// Tells of checks that lack a label that one of their scripts needs, and leaves the script out: it could not run.
    fn refuse_missing_labels(&mut self, wanted: &HashMap<Name, Vec<Reference>>) {
        let needs = |action: &ActionDefinition| match &action.action {
            Action::Script(script) => {
                Some((action.name.clone(), script.needed_labels())).filter(|(_, labels)| !labels.is_empty())
            }
            Action::Target(_) => None,
        };
        let needs: HashMap<Name, Vec<String>> = self.actions.iter().filter_map(needs).collect();
        if needs.is_empty() {
            return;
        }
        let mut errors = Vec::new();
        for check in &mut self.checks {
            let lacks = |name: &Name| needs.get(name)?.iter().find(|label| !check.labels.contains_key(*label));
            let lacking: Vec<(&Name, &String)> =
                check.actions.iter().filter_map(|name| Some((name, lacks(name)?))).collect();
            if lacking.is_empty() {
                continue;
            }
            let subject = format!("check `{}`", base(check.name.as_str()));
            for (action, label) in &lacking {
                let label = escape_controls(label);
                errors.push((
                    subject.clone(),
                    SettingsError {
                        span: place(wanted, &subject, action),
                        path: "actions".to_owned(),
                        message: format!("the action `{action}` needs the label `{label}`, and the check has none"),
                        help: Some(format!(
                            "add `labels: {{ {label}: .. }}` to the check, or a default to the template of the action"
                        )),
                    },
                ));
            }
            let left: Vec<Name> = check.actions.iter().filter(|name| lacks(name).is_none()).cloned().collect();
            let settings = Settings { actions: self.pool.list(&left), ..Settings::clone(&check.settings) };
            check.settings = self.pool.settings(settings);
        }
        for (subject, error) in errors {
            self.report(Some(&subject), error);
        }
    }

    fn connect_dependencies(&mut self) {
        let running: HashSet<Name> = self.checks.iter().map(|check| check.name.clone()).collect();
        let is_there = |name: &Name| {
            running.contains(name) || checks_of_service(name.as_str()).any(|check| running.contains(check))
        };
        let mut ready: HashMap<Arc<[Name]>, Arc<[Name]>> = HashMap::new();
        for check in self.checks.iter_mut().filter(|check| !check.depends_on.is_empty()) {
            let list = ready.entry(check.depends_on.clone()).or_insert_with_key(|names| {
                let mut all: Vec<Name> = Vec::new();
                for name in names.iter() {
                    match self.instances.get(name) {
                        Some(instances) => all.extend(instances.iter().cloned()),
                        None => all.push(name.clone()),
                    }
                }
                let mut seen = HashSet::new();
                all.retain(|name| is_there(name) && seen.insert(name.clone()));
                self.pool.list(&all)
            });
            let settings = Settings { depends_on: list.clone(), ..Settings::clone(&check.settings) };
            check.settings = self.pool.settings(settings);
        }
    }

    /// Tells of each circle of dependencies, and opens it: the check that is named runs without its dependencies.
    fn refuse_circles(&mut self, wanted: &HashMap<Name, Vec<Reference>>) {
        let index: HashMap<&Name, usize> = self.checks.iter().enumerate().map(|(i, check)| (&check.name, i)).collect();
        let parents: Vec<Vec<usize>> = self
            .checks
            .iter()
            .map(|check| check.depends_on.iter().filter_map(|name| index.get(name).copied()).collect())
            .collect();
        let mut told: HashSet<Vec<String>> = HashSet::new();
        for circle in circles(&parents) {
            let names: Vec<Name> =
                circle.iter().filter_map(|i| self.checks.get(*i)).map(|check| check.name.clone()).collect();
            let Some(first) = names.first() else { continue };
            if let Some(check) = circle.first().and_then(|first| self.checks.get_mut(*first)) {
                let settings = Settings { depends_on: self.pool.list(&[]), ..Settings::clone(&check.settings) };
                check.settings = self.pool.settings(settings);
            }
            // Each instance of a check closes the same circle.
            let mut members: Vec<String> = names.iter().map(|name| base(name.as_str()).to_owned()).collect();
            order::sort(&mut members);
            members.dedup();
            if !told.insert(members) {
                continue;
            }
            let subject = format!("check `{}`", base(first.as_str()));
            let span = place(wanted, &subject, names.get(1).unwrap_or(first));
            let message = format!("the dependencies run in a circle: {}", ring(&names));
            let help = Some("remove one of them".to_owned());
            self.report(Some(&subject), SettingsError { span, path: "depends_on".to_owned(), message, help });
        }
    }
}

/// A circle for people: from its first name back to it.
pub(super) fn ring(names: &[Name]) -> String {
    let mut shown: Vec<String> = names.iter().take(MAX_SHOWN).map(|name| format!("`{name}`")).collect();
    if names.len() > MAX_SHOWN {
        shown.push("..".to_owned());
    }
    shown.extend(names.first().map(|first| format!("`{first}`")));
    shown.join(" -> ")
}

/// The references to what there is not.
fn unknown(
    wanted: &HashMap<Name, Vec<Reference>>,
    known: &HashMap<Name, Span>,
    what: &str,
    path: &str,
    fits: impl Fn(&str) -> bool,
) -> Vec<(Option<String>, SettingsError)> {
    let mut missing: Vec<_> =
        wanted.iter().filter(|(name, _)| !known.contains_key(*name) && !fits(name.as_str())).collect();
    order::sort_by_key(&mut missing, |(name, _)| *name);
    let mut errors = Vec::new();
    for (i, (name, references)) in missing.into_iter().enumerate() {
        let near = if i < MAX_SUGGESTED { nearest(name.as_str(), known.keys().map(Name::as_str)) } else { None };
        let help = near.map_or_else(
            || format!("define it under `{what}s:`, or remove it here"),
            |near| format!("did you mean `{near}`?"),
        );
        for reference in references {
            let message = format!("there is no {what} `{}`", escape_controls(name.as_str()));
            let error =
                SettingsError { span: reference.span, path: path.to_owned(), message, help: Some(help.clone()) };
            errors.push((reference.subject.clone(), error));
        }
    }
    errors
}

/// Where a check, told as `subject`, names another one.
fn place(wanted: &HashMap<Name, Vec<Reference>>, subject: &str, parent: &Name) -> Span {
    let names = [parent.as_str(), base(parent.as_str())];
    let references: Vec<&Reference> = names.into_iter().filter_map(|name| wanted.get(name)).flatten().collect();
    let own = references.iter().find(|reference| reference.subject.as_deref() == Some(subject));
    own.or(references.first()).map_or(Span::default(), |reference| reference.span)
}

/// The name of the check that an instance belongs to.
pub(crate) fn base(name: &str) -> &str {
    name.split('[').next().filter(|base| !base.is_empty()).unwrap_or(name)
}

/// The checks that a name may be a service of: of `raid/md0/x` these are `raid` and `raid/md0`. Which services there are is known only when the
/// check has run.
fn checks_of_service(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').filter_map(|(at, _)| name.get(..at))
}

/// One circle for each check that closes one, walking from child to parent; of long ones only the beginning. Without recursion: a chain may
/// be as long as there are checks.
pub(super) fn circles(parents: &[Vec<usize>]) -> Vec<Vec<usize>> {
    /// Where on the path a check is; checks that are done lead into no circle.
    #[derive(Clone, Copy)]
    enum Seen {
        No,
        OnPath(usize),
        Done,
    }
    let mut seen = vec![Seen::No; parents.len()];
    let mut found = Vec::new();
    let mut told: HashSet<usize> = HashSet::new();
    for start in 0..parents.len() {
        // The path from `start`, with how many parents of each step were looked at.
        let mut path: Vec<(usize, usize)> = Vec::new();
        let mut enter = Some(start);
        loop {
            if let Some(check) = enter.take()
                && let Some(mark @ Seen::No) = seen.get_mut(check)
            {
                *mark = Seen::OnPath(path.len());
                path.push((check, 0));
            }
            let Some((at, next)) = path.last_mut() else { break };
            let at = *at;
            let Some(parent) = parents.get(at).and_then(|parents| parents.get(*next)).copied() else {
                if let Some(mark) = seen.get_mut(at) {
                    *mark = Seen::Done;
                }
                path.pop();
                continue;
            };
            *next += 1;
            match seen.get(parent) {
                Some(Seen::No) => enter = Some(parent),
                Some(Seen::OnPath(from)) if told.insert(at) => {
                    let steps = path.iter().skip(*from).map(|(step, _)| *step).filter(|step| *step != at);
                    found.push(std::iter::once(at).chain(steps.take(MAX_SHOWN)).collect());
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_once_and_chains_are_none() {
        assert!(circles(&[vec![1], vec![2], vec![]]).is_empty());
        assert_eq!(circles(&[vec![0]]), [[0]]);
        assert_eq!(circles(&[vec![1], vec![2], vec![0]]), [[2, 0, 1]]);
        // Two ways to the same parent are no circle.
        assert!(circles(&[vec![1, 2], vec![3], vec![3], vec![]]).is_empty());
        let long: Vec<Vec<usize>> = (1..=100_000).map(|next| vec![next]).chain([vec![]]).collect();
        assert!(circles(&long).is_empty());
    }

    #[test]
    fn a_service_belongs_to_the_check_before_a_slash() {
        assert_eq!(checks_of_service("raid/md0/x").collect::<Vec<_>>(), ["raid", "raid/md0"]);
        assert_eq!(checks_of_service("raid").count(), 0);
    }
}
