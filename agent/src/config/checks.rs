//! One entry of `checks:` to the definitions that run.

use std::sync::Arc;
use std::time::Duration;

use monchero_core::Name;
use monchero_core::check::Kind;
use monchero_core::definition::{Definition, Place, Settings};
use monchero_core::flapping::FlappingPolicy;
use monchero_core::node::{Key, Node, SettingsError, Span, Value};
use monchero_core::state::State;
use monchero_core::status::Policy;
use monchero_core::text::{escape_controls, quote};

use super::each::Each;
use super::graph::base;
use super::load::{Loader, Reference, Sort, form, listed, unknown_key};
use super::pool::Labels;
use super::read::read_all;
use super::secrets::Fetcher;
use super::settings::{
    CheckSettings, DEFAULT_INTERVAL, DEFAULT_RETRIES, DEFAULT_TIMEOUT, Flapping, MAX_DEFAULT_RETRY_INTERVAL,
};
use super::show::Shown;

/// How many checks there may be, instances and plugins of directories counted: ten times what one host was measured with.
const MAX_CHECKS: usize = 100_000;

/// What one place says about general settings: `monchero.yaml`, the `defaults` of a file, or a check itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) settings: CheckSettings,
    /// The same as it is written.
    pub(crate) node: Option<Node>,
    pub(crate) actions: Option<Arc<[Name]>>,
    depends_on: Option<Arc<[Name]>>,
}

/// A check that is to be made of some settings of a kind.
pub(crate) struct Plan {
    pub(crate) name: Name,
    pub(crate) kind: &'static Kind,
    pub(crate) settings: Node,
    pub(crate) source: Place,
    pub(crate) fate: Fate,
}

/// What is in an entry of `checks:`.
struct Entry {
    own: Node,
    kind: Option<(&'static Kind, Node)>,
    each: Option<Node>,
    fate: Fate,
}

/// What becomes of a check once it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs.
    Runs,
    /// It would, but `enabled: false` says that it is not to.
    Disabled,
    /// Something is wrong with it; it is read to the end so that all that is wrong is told.
    Broken,
}

impl Loader<'_> {
    /// Takes an entry of `checks:`: its definitions, or its mistakes.
    pub(crate) fn check(
        &mut self,
        key: &Key,
        node: Node,
        file: &Layer,
        doubled: &mut Vec<SettingsError>,
        secrets: &Fetcher<'_>,
    ) {
        let subject = format!("check {}", quote(&key.name));
        let subject = subject.as_str();
        let whole = Span { end: node.span.end.max(key.span.end), ..key.span };
        let broken = self.take_doubled(Some(subject), whole, doubled);
        let name = self.take_name(&key.name, key.span, Sort::Check, subject);
        let Some(entry) = self.entry(node, key.span, subject) else { return };
        let mut fate = if broken || name.is_none() { Fate::Broken } else { entry.fate };
        let (settings, mut errors) = read_all(&entry.own, |node| node.read::<CheckSettings>(None, secrets));
        let wrong = settings.iter().flat_map(CheckSettings::validate);
        errors.extend(wrong.map(|(name, why)| entry.own.error_at(name, why)));
        let own = self.layer(entry.own, settings.unwrap_or_default(), Some(subject));
        let each = entry.each.map(Each::read).transpose().map_err(|wrong| errors.extend(wrong));
        if !errors.is_empty() {
            fate = Fate::Broken;
            for error in errors {
                self.report(Some(subject), error);
            }
        }
        // What cannot be made without the values of a broken `for_each` would only give more errors.
        let (Some((kind, settings)), Ok(each)) = (entry.kind, each) else { return };
        let name = name.unwrap_or_else(|| Name::new(&key.name));
        let source = self.sources.at(key.span);
        let global = self.global.clone();
        let layers = [&own, file, &*global];
        match each {
            None => self.define(Plan { name, kind, settings, source, fate }, layers, subject, secrets),
            Some(each) => {
                let plan = Plan { name, kind, settings, source, fate };
                self.define_each(&plan, &each, layers, subject, secrets);
            }
        }
    }

    fn define_each(&mut self, plan: &Plan, each: &Each, layers: [&Layer; 3], subject: &str, secrets: &Fetcher<'_>) {
        let mut instances = Vec::with_capacity(each.values.len());
        for (label, value) in &each.values {
            let name = format!("{}[{label}]", plan.name);
            let name = match plan.fate {
                Fate::Broken => Name::new(&name),
                _ => match self.take_name(&name, value.span, Sort::Check, subject) {
                    Some(name) => name,
                    None => continue,
                },
            };
            match each.settings(&plan.settings, plan.kind.short_for, value) {
                Ok(settings) => {
                    instances.push(name.clone());
                    self.define(
                        Plan { name, settings, source: plan.source.clone(), ..*plan },
                        layers,
                        subject,
                        secrets,
                    );
                }
                Err(error) => self.report(Some(subject), error),
            }
        }
        self.instances.insert(plan.name.clone(), instances);
    }

    /// Sorts the keys of an entry. None if there is no kind to be read; the reason is noted.
    fn entry(&mut self, node: Node, at: Span, subject: &str) -> Option<Entry> {
        let span = node.span;
        let form = form(self.options.kinds.checks.first().map(|kind| (kind.name, kind.example)));
        let Value::Map(entries) = node.value else {
            let place = if node.value == Value::Null { at } else { span };
            let message = format!("{} stands where a map is expected", node.describe());
            self.report_at(Some(subject), place, message, Some(form));
            return None;
        };
        let kinds = self.options.kinds;
        let mut own = Vec::new();
        let mut found: Vec<(Span, &'static Kind, Node)> = Vec::new();
        let (mut each, mut fate, mut unknown) = (None, Fate::Runs, false);
        for (key, value) in entries {
            let name = &*key.name;
            if let Some(kind) = kinds.checks.iter().find(|kind| kind.name == name) {
                found.push((key.span, kind, value));
            } else if name == "for_each" {
                each = Some(value);
            } else if name == "enabled" {
                match value.as_text() {
                    Some("true") => {}
                    Some("false") => fate = Fate::Disabled,
                    _ => {
                        unknown = true;
                        let message = format!("{} is neither `true` nor `false`", value.describe());
                        self.report(
                            Some(subject),
                            SettingsError { span: value.span, path: name.to_owned(), message, help: None },
                        );
                    }
                }
            } else if self.check_keys.iter().any(|known| **known == *name) {
                own.push((key, value));
            } else {
                unknown = true;
                let elsewhere = kinds.actions.iter().any(|kind| kind.name == name);
                let elsewhere =
                    elsewhere.then(|| format!("`{name}` is a kind of action; actions stand under `actions:`"));
                let names: Vec<&str> = kinds.checks.iter().map(|kind| kind.name).collect();
                self.report(Some(subject), unknown_key(&key, &self.check_keys, &names, elsewhere));
            }
        }
        if let Some((second, ..)) = found.get(1) {
            let names: Vec<&str> = found.iter().map(|(_, kind, _)| kind.name).collect();
            let message = format!("a check has one kind, and this one has {}: {}", names.len(), listed(&names));
            self.report_at(Some(subject), *second, message, Some("make a check of each".to_owned()));
            return None;
        }
        // An unknown key is probably the kind, misspelt: one mistake, told once.
        if found.is_empty() && !unknown {
            self.report_at(Some(subject), at, "it has no kind, so it is not said what is checked", Some(form));
        }
        let kind = found.pop().map(|(_, kind, settings)| (kind, settings));
        let fate = if unknown { Fate::Broken } else { fate };
        Some(Entry { own: Node { span, value: Value::Map(own) }, kind, each, fate })
    }

    /// Notes what the lists of a layer refer to.
    pub(crate) fn layer(&mut self, node: Node, settings: CheckSettings, subject: Option<&str>) -> Layer {
        let actions =
            settings.actions.as_ref().map(|names| self.references(names, node.get("actions"), Sort::Action, subject));
        let depends_on = settings
            .depends_on
            .as_ref()
            .map(|names| self.references(names, node.get("depends_on"), Sort::Check, subject));
        Layer { settings, node: Some(node), actions, depends_on }
    }

    fn references(&mut self, names: &[String], node: Option<&Node>, sort: Sort, subject: Option<&str>) -> Arc<[Name]> {
        let items: &[Node] = match node.map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        };
        let mut list: Vec<Name> = Vec::with_capacity(names.len());
        for (text, item) in names.iter().zip(items) {
            let name = self.pool.name(text);
            let wanted = if sort == Sort::Action { &mut self.wanted_actions } else { &mut self.wanted_checks };
            let reference = Reference { span: item.span, subject: subject.map(str::to_owned) };
            wanted.entry(name.clone()).or_default().push(reference);
            if list.contains(&name) {
                let path = if sort == Sort::Action { "actions" } else { "depends_on" };
                let message = format!("`{}` is named twice", escape_controls(text));
                self.report(subject, SettingsError { span: item.span, path: path.to_owned(), message, help: None });
            } else {
                list.push(name);
            }
        }
        self.pool.list(&list)
    }

    /// Reads the settings of a kind; the mistakes in them are noted.
    fn build(
        &mut self,
        kind: &Kind,
        settings: &Node,
        subject: &str,
        secrets: &Fetcher<'_>,
    ) -> Option<Arc<dyn monchero_core::Check>> {
        let (check, errors) = read_all(settings, |node| kind.build(node, secrets));
        let fine = errors.is_empty();
        for mut error in errors {
            error.path =
                if error.path.is_empty() { kind.name.to_owned() } else { format!("{}.{}", kind.name, error.path) };
            self.report(Some(subject), error);
        }
        check.filter(|_| fine)
    }

    /// Makes the definition of one check. `layers` say its general settings, the nearest first.
    pub(crate) fn define(&mut self, plan: Plan, layers: [&Layer; 3], subject: &str, secrets: &Fetcher<'_>) {
        secrets.taken();
        let Some(check) = self.build(plan.kind, &plan.settings, subject, secrets) else { return };
        if plan.fate == Fate::Broken {
            return;
        }
        if self.checks.len() >= MAX_CHECKS {
            self.report_at(None, plan.settings.span, format!("there are more than {MAX_CHECKS} checks"), None);
            return;
        }
        let general = self.general(&plan, layers);
        let Settings {
            interval,
            retry_interval,
            timeout,
            policy,
            on_timeout,
            weight,
            labels,
            depends_on,
            actions,
            env: _,
        } = &*general;
        let print = &mut self.fingerprint;
        print.clear();
        print.bytes(plan.kind.name.as_bytes());
        print.node(&plan.settings);
        secrets.taken().iter().for_each(|secret| print.bytes(secret.as_bytes()));
        for span in [*interval, *retry_interval, *timeout] {
            print.number(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        }
        for count in [policy.max_attempts, policy.recover_after] {
            print.number(u64::from(count));
        }
        let FlappingPolicy { window, enter, exit } =
            policy.flapping.unwrap_or(FlappingPolicy { window: Duration::ZERO, enter: 0, exit: 0 });
        print.number(u64::try_from(window.as_nanos()).unwrap_or(u64::MAX));
        print.number(u64::from_le_bytes([enter, exit, on_timeout.exit_status(), 0, 0, 0, 0, 0]));
        print.number(u64::from(*weight));
        labels.iter().for_each(|(key, value)| {
            print.bytes(key.as_bytes());
            print.bytes(value.as_bytes());
        });
        for names in [actions, depends_on] {
            print.number(names.len() as u64);
            names.iter().for_each(|name| print.bytes(name.as_str().as_bytes()));
        }
        print.number(if plan.kind.takes_env { self.env_print } else { 0 });
        let definition = Definition {
            name: plan.name,
            kind: plan.kind.name,
            check,
            settings: general,
            source: plan.source,
            fingerprint: self.fingerprint.finish(),
        };
        if self.options.keep_settings {
            let shown = Shown::of_check(self, &definition, &plan.settings, layers, plan.fate);
            self.shown.push(shown);
        }
        if plan.fate == Fate::Runs {
            self.note_network(&definition.name, plan.kind.looks, &plan.settings, plan.kind.short_for);
            self.checks.push(definition);
        }
    }

    /// The general settings of a check after all layers.
    fn general(&mut self, plan: &Plan, layers: [&Layer; 3]) -> Arc<Settings> {
        fn nearest<T>(layers: [&Layer; 3], get: impl Fn(&CheckSettings) -> Option<T>) -> Option<T> {
            layers.into_iter().find_map(|layer| get(&layer.settings))
        }
        let interval = nearest(layers, |s| s.interval).unwrap_or(DEFAULT_INTERVAL);
        let retries = nearest(layers, |s| s.retries).unwrap_or(DEFAULT_RETRIES);
        let flapping = nearest(layers, |s| s.flapping.clone()).unwrap_or(Flapping(Some(FlappingPolicy::default())));
        let actions = layers.iter().find_map(|layer| layer.actions.clone());
        let settings = Settings {
            interval,
            retry_interval: nearest(layers, |s| s.retry_interval).unwrap_or(interval.min(MAX_DEFAULT_RETRY_INTERVAL)),
            timeout: nearest(layers, |s| s.timeout).unwrap_or(DEFAULT_TIMEOUT),
            policy: Policy {
                max_attempts: retries.saturating_add(1),
                recover_after: nearest(layers, |s| s.recover_after).unwrap_or(1),
                flapping: flapping.0,
            },
            on_timeout: nearest(layers, |s| s.on_timeout).unwrap_or(State::Unknown),
            weight: nearest(layers, |s| s.weight).unwrap_or(1),
            labels: self.labels(layers),
            depends_on: self.dependencies(&plan.name, layers),
            actions: actions.unwrap_or_else(|| self.pool.list(&[])),
            env: if plan.kind.takes_env { Arc::clone(&self.env) } else { Arc::default() },
        };
        self.pool.settings(settings)
    }

    /// What a check depends on. A default does not apply to the checks that it names: they would depend on themselves.
    fn dependencies(&mut self, name: &Name, layers: [&Layer; 3]) -> Arc<[Name]> {
        let itself = |known: &Name| known == name || known.as_str() == base(name.as_str());
        let [own, defaults @ ..] = layers;
        let by_default =
            || defaults.iter().find_map(|layer| layer.depends_on.clone()).filter(|names| !names.iter().any(itself));
        own.depends_on.clone().or_else(by_default).unwrap_or_else(|| self.pool.list(&[]))
    }

    /// The labels of all layers; a nearer one counts.
    fn labels(&mut self, layers: [&Layer; 3]) -> Arc<Labels> {
        let mut labels = Labels::new();
        for layer in layers.iter().rev() {
            labels.extend(layer.settings.labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        }
        self.pool.labels(labels)
    }
}
