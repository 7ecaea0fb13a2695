//! One entry of `actions:` to the action that is done.

use std::time::Duration;

use monchero_core::action::{Action, ActionKind};
use monchero_core::definition::{ActionDefinition, Trigger};
use monchero_core::hold::QuietHours;
use monchero_core::node::{Key, Node, SettingsError, Span, Value};
use monchero_core::text::quote;

use super::load::{Loader, Reference, Sort, form, listed, unknown_key};
use super::read::read_all;
use super::routes::Route;
use super::secrets::Fetcher;
use super::settings::{ActionSettings, DEFAULT_TIMEOUT};
use super::show::Shown;

/// How long new trouble waits for more, and how many messages a minute a person can read (R43).
const DEFAULT_GROUP: Duration = Duration::from_secs(10);
const DEFAULT_RATE: u32 = 20;

impl Loader<'_> {
    /// Takes an entry of `actions:`: its definition, or its mistakes.
    pub(crate) fn action(&mut self, key: &Key, node: Node, doubled: &mut Vec<SettingsError>, secrets: &Fetcher<'_>) {
        let subject = format!("action {}", quote(&key.name));
        let subject = subject.as_str();
        let whole = Span { end: node.span.end.max(key.span.end), ..key.span };
        let broken = self.take_doubled(Some(subject), whole, doubled);
        let name = self.take_name(&key.name, key.span, Sort::Action, subject);
        let Some((own, kind, settings)) = self.action_entry(node, key.span, subject) else { return };
        let (general, mut errors) = read_all(&own, |node| node.read::<ActionSettings>(None, secrets));
        errors.extend(general.iter().flat_map(ActionSettings::validate).map(|(name, why)| own.error_at(name, why)));
        for (key, _) in
            own.entries().iter().filter(|(key, _)| ActionSettings::foreign(kind.tells).contains(&&*key.name))
        {
            let (message, help) = if kind.tells {
                (
                    format!("`{}` tells somebody, and `{}` is for scripts", kind.name, key.name),
                    "`states` chooses what is told".to_owned(),
                )
            } else {
                (
                    format!("`{}` does something, and `{}` is for actions that tell somebody", kind.name, key.name),
                    "`on` chooses what sets it off".to_owned(),
                )
            };
            errors.push(SettingsError { span: key.span, path: String::new(), message, help: Some(help) });
        }
        secrets.taken();
        let (action, wrong) = read_all(&settings, |node| kind.build(node, secrets));
        errors.extend(wrong.into_iter().map(|mut error| {
            error.path =
                if error.path.is_empty() { kind.name.to_owned() } else { format!("{}.{}", kind.name, error.path) };
            error
        }));
        let takes_digests = matches!(&action, Some(Action::Target(target)) if target.takes_digests());
        let hears = matches!(&action, Some(Action::Target(target)) if target.hears_acknowledgements());
        if kind.tells
            && action.is_some()
            && !takes_digests
            && general.as_ref().is_some_and(|own| own.lifecycle.is_some())
        {
            let why = format!("`{}` opens and closes incidents, and is told of nothing else", kind.name);
            errors.push(own.error_at("lifecycle", why));
        }
        let fine = errors.is_empty() && !broken;
        for error in errors {
            self.report(Some(subject), error);
        }
        let (Some(name), Some(general), Some(action), true) = (name, general, action, fine) else { return };
        if let (Some(fallback), Some(node)) = (&general.fallback, own.get("fallback")) {
            let reference = Reference { span: node.span, subject: Some(subject.to_owned()) };
            let fallback = self.pool.name(fallback);
            self.wanted_actions.entry(fallback).or_default().push(reference);
        }
        let print = &mut self.fingerprint;
        print.clear();
        print.bytes(kind.name.as_bytes());
        print.node(&settings);
        print.node(&own);
        secrets.taken().iter().for_each(|secret| print.bytes(secret.as_bytes()));
        let definition = ActionDefinition {
            name,
            kind: kind.name,
            action,
            wants: general.wants(hears),
            quiet: general.quiet.as_ref().map(QuietHours::from),
            quiet_zone: general.quiet.as_ref().and_then(|quiet| quiet.zone.clone()),
            delay: general.delay,
            after: general.after,
            group: general.group.unwrap_or(DEFAULT_GROUP),
            rate: general.rate.unwrap_or(DEFAULT_RATE),
            fallback: general.fallback.as_deref().map(|text| self.pool.name(text)),
            lifecycle: general.lifecycle.clone().unwrap_or_default(),
            on: general.on.clone().unwrap_or_else(|| vec![Trigger::Bad]),
            timeout: general.timeout.unwrap_or(DEFAULT_TIMEOUT),
            cooldown: general.cooldown,
            limit: general.limit,
            source: self.sources.place(key.span).into(),
            fingerprint: print.finish(),
        };
        if self.options.keep_settings {
            let shown = Shown::of_action(self, &definition, kind, &settings, &own);
            self.shown.push(shown);
        }
        let source = definition.source.to_string();
        self.routes.extend(Route::new(&definition.name, &general, source));
        self.actions.push(definition);
    }

    /// Sorts the keys of an entry: general settings, the kind, and its settings.
    fn action_entry(&mut self, node: Node, at: Span, subject: &str) -> Option<(Node, &'static ActionKind, Node)> {
        let span = node.span;
        let form = form(self.options.kinds.actions.first().map(|kind| (kind.name, kind.example)));
        let Value::Map(entries) = node.value else {
            let place = if node.value == Value::Null { at } else { span };
            let message = format!("{} stands where a map is expected", node.describe());
            self.report_at(Some(subject), place, message, Some(form));
            return None;
        };
        let kinds = self.options.kinds;
        let mut own = Vec::new();
        let mut found: Vec<(Span, &'static ActionKind, Node)> = Vec::new();
        let mut unknown = false;
        for (key, value) in entries {
            if let Some(kind) = kinds.actions.iter().find(|kind| kind.name == &*key.name) {
                found.push((key.span, kind, value));
            } else if self.action_keys.iter().any(|known| **known == *key.name) {
                own.push((key, value));
            } else {
                unknown = true;
                let elsewhere = kinds.checks.iter().any(|kind| kind.name == &*key.name);
                let elsewhere =
                    elsewhere.then(|| format!("`{}` is a kind of check; checks stand under `checks:`", key.name));
                let names: Vec<&str> = kinds.actions.iter().map(|kind| kind.name).collect();
                self.report(Some(subject), unknown_key(&key, &self.action_keys, &names, elsewhere));
            }
        }
        if let Some((second, ..)) = found.get(1) {
            let names: Vec<&str> = found.iter().map(|(_, kind, _)| kind.name).collect();
            let message = format!("an action has one kind, and this one has {}: {}", names.len(), listed(&names));
            self.report_at(Some(subject), *second, message, Some("make an action of each".to_owned()));
            return None;
        }
        if found.is_empty() && !unknown {
            self.report_at(Some(subject), at, "it has no kind, so it is not said what is done", Some(form));
        }
        let (_, kind, settings) = found.pop().filter(|_| !unknown)?;
        Some((Node { span, value: Value::Map(own) }, kind, settings))
    }
}
