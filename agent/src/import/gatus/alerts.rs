//! Alerts and their providers to targets.

use std::collections::BTreeMap;

use monchero_core::node::Node;

use super::super::document::{Document, items, text, truth};
use super::super::{Files, Imported, Item, Secret, Setting, Taken};
use super::conditions::span;

/// What Gatus takes where an alert says nothing.
const FAILURES: u64 = 3;
const SUCCESSES: u64 = 2;

/// The providers, and the actions that were made of them.
pub(super) struct Alerts<'a> {
    providers: BTreeMap<&'a str, (&'a Document, &'a Node)>,
    made: BTreeMap<(String, String), Option<String>>,
    silent: bool,
}

/// The name of the variable, if a value is nothing else.
pub(super) fn variable(value: &str) -> Option<&str> {
    let rest = value.trim().strip_prefix('$')?;
    let name = rest.strip_prefix('{').map_or(Some(rest), |rest| rest.strip_suffix('}'))?;
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    fits.then_some(name)
}

/// A secret in a variable of the environment.
pub(super) fn of_environment(name: &str, like: &str) -> Setting {
    Setting::Secret(Secret::Variable { name: name.to_owned(), like: like.to_owned() })
}

/// How settings of a provider are called here.
enum Way {
    Plain(&'static str),
    Secret(&'static str),
    /// A secret that is the address of a webhook.
    Webhook(&'static str),
}

type Provider = (&'static str, &'static str, &'static [(&'static str, Way)]);

/// Provider, kind of action, and its settings. What is not here is noted.
const PROVIDERS: [Provider; 14] = [
    ("discord", "discord", &[("webhook-url", Way::Webhook("webhook"))]),
    ("slack", "slack", &[("webhook-url", Way::Webhook("webhook"))]),
    ("teams", "teams", &[("webhook-url", Way::Webhook("webhook"))]),
    ("teams-workflows", "teams", &[("webhook-url", Way::Webhook("webhook"))]),
    ("mattermost", "mattermost", &[("webhook-url", Way::Webhook("webhook")), ("channel", Way::Plain("channel"))]),
    ("rocketchat", "rocketchat", &[("webhook-url", Way::Webhook("webhook")), ("channel", Way::Plain("channel"))]),
    (
        "telegram",
        "telegram",
        &[
            ("token", Way::Secret("token")),
            ("id", Way::Plain("chat")),
            ("topic-id", Way::Plain("topic")),
            ("api-url", Way::Plain("url")),
        ],
    ),
    (
        "ntfy",
        "ntfy",
        &[
            ("topic", Way::Secret("topic")),
            ("url", Way::Plain("url")),
            ("priority", Way::Plain("priority")),
            ("token", Way::Secret("token")),
        ],
    ),
    ("pagerduty", "pagerduty", &[("integration-key", Way::Secret("key"))]),
    ("opsgenie", "opsgenie", &[("api-key", Way::Secret("key"))]),
    (
        "gotify",
        "gotify",
        &[("server-url", Way::Plain("url")), ("token", Way::Secret("token")), ("priority", Way::Plain("priority"))],
    ),
    ("pushover", "pushover", &[("application-token", Way::Secret("token")), ("user-key", Way::Secret("user"))]),
    (
        "matrix",
        "matrix",
        &[
            ("server-url", Way::Plain("url")),
            ("access-token", Way::Secret("token")),
            ("internal-room-id", Way::Plain("room")),
        ],
    ),
    ("custom", "webhook", &[("url", Way::Webhook("url")), ("method", Way::Plain("method"))]),
];

impl<'a> Alerts<'a> {
    pub(super) fn new(documents: &'a [Document]) -> Self {
        let of = |document: &'a Document| {
            let entries = document.root.get("alerting").map(Node::entries).unwrap_or_default();
            entries.iter().map(move |(key, node)| (&*key.name, (document, node)))
        };
        Self { providers: documents.iter().flat_map(of).collect(), made: BTreeMap::new(), silent: false }
    }

    /// Whether an alert said nothing about recoveries, or that they are not told.
    pub(super) fn any_silent(&self) -> bool {
        self.silent
    }

    /// Sets attempts and actions of a check by the alerts of its endpoint.
    pub(super) fn connect(
        &mut self,
        document: &Document,
        endpoint: &Node,
        item: &mut Item,
        files: &Files,
        taken: &mut Taken,
        out: &mut Imported,
    ) {
        let (mut failures, mut successes): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        for alert in items(endpoint.get("alerts")) {
            let place = document.place(alert);
            let sort = text(alert, "type").unwrap_or_default();
            let Some((of, provider)) = self.providers.get(sort).copied() else {
                item.lose(&place, &format!("alert of type {sort}"), "there is no such provider under `alerting`");
                continue;
            };
            let default = provider.get("default-alert");
            let own = |key: &str| {
                alert.get(key).or_else(|| default.and_then(|default| default.get(key))).and_then(Node::as_text)
            };
            if truth(alert, "enabled").or_else(|| default.and_then(|default| truth(default, "enabled"))) == Some(false)
            {
                continue;
            }
            let count = |key: &str, default: u64| {
                own(key)
                    .and_then(|text| text.parse().ok())
                    .filter(|count| (1..=10_000).contains(count))
                    .unwrap_or(default)
            };
            failures.push(count("failure-threshold", FAILURES));
            successes.push(count("success-threshold", SUCCESSES));
            self.silent |= own("send-on-resolved") != Some("true");
            if let Some(description) = own("description").map(str::to_owned)
                && !item.comments.contains(&description)
            {
                item.comments.push(description);
            }
            if alert.get("provider-override").is_some() {
                item.lose(&place, "provider-override", "write an action with these settings, and name it in `actions`");
            }
            let remind = own("minimum-reminder-interval").unwrap_or_default().to_owned();
            let name = if let Some(known) = self.made.get(&(sort.to_owned(), remind.clone())) {
                known.clone()
            } else {
                let made = action(sort, of, provider, files, taken, out).map(|mut action| {
                    if let Some(remind) = span(&remind).filter(|remind| !remind.is_zero()) {
                        action.set("remind", remind);
                    }
                    let name = action.name.clone();
                    out.actions.push(action);
                    name
                });
                self.made.insert((sort.to_owned(), remind), made.clone());
                made
            };
            match name {
                Some(name) => item.add("actions", &name),
                None => item.lose(&place, &format!("alert of type {sort}"), "no action was made of its provider"),
            }
        }
        let least = |counts: &[u64], default: u64| counts.iter().min().copied().unwrap_or(default);
        item.set("retries", least(&failures, 1) - 1);
        item.set("recover_after", least(&successes, 1));
        if failures.iter().any(|count| *count != least(&failures, 1)) {
            let place = item.place.clone();
            item.lose(
                &place,
                "failure-threshold",
                "a check has one number of attempts: the smallest was taken; `delay` of an action tells somebody later",
            );
        }
    }
}

/// The action of a provider.
fn action(
    sort: &str,
    document: &Document,
    provider: &Node,
    files: &Files,
    taken: &mut Taken,
    out: &mut Imported,
) -> Option<Item> {
    let place = document.place(provider);
    if sort == "email" {
        return Some(email(document, provider, files, taken));
    }
    let Some((_, kind, ways)) = PROVIDERS.iter().find(|(name, ..)| *name == sort) else {
        out.lose(&place, &format!("alerting: {sort}"), "monchero has no such target: see `webhook` and `command`");
        return None;
    };
    let mut settings = Setting::Map(Vec::new());
    let mut item = Item::new(taken.actions.take(sort), kind, Setting::Map(Vec::new()), &place);
    for (key, node) in provider.entries() {
        let node_place = document.place(node);
        let value = node.as_text().unwrap_or_default();
        match ways.iter().find(|(name, _)| *name == &*key.name) {
            Some((_, Way::Plain(setting))) if value.contains('$') => {
                item.lose(&node_place, &format!("{}: {value}", key.name), &format!("put the value into `{setting}`"));
            }
            Some((_, Way::Plain(setting))) => settings.insert(setting, value),
            Some((name, Way::Secret(setting))) => {
                settings.insert(setting, secret(sort, name, value, "secret", document, node, files));
            }
            Some((name, Way::Webhook(setting))) => {
                settings
                    .insert(setting, secret(sort, name, value, "https://secret.invalid/hook", document, node, files));
            }
            None => item.lost.extend(rest(sort, &key.name, node, document, &mut settings)),
        }
    }
    item.settings = settings;
    item.comments.push(format!("From {place}."));
    Some(item)
}

fn secret(sort: &str, name: &str, value: &str, like: &str, document: &Document, node: &Node, files: &Files) -> Setting {
    match variable(value) {
        Some(name) => of_environment(name, like),
        None => files.secret(&format!("{sort}-{name}"), value, &document.place(node)),
    }
}

/// Settings of a provider that have no name here.
fn rest(sort: &str, key: &str, node: &Node, document: &Document, settings: &mut Setting) -> Option<super::super::Lost> {
    let lost = |why: &str| Some(super::super::Lost::new(&document.place(node), &format!("{sort}: {key}"), why));
    match (sort, key) {
        (_, "default-alert") => None,
        ("custom", "body") => {
            let body = node.as_text().unwrap_or_default();
            let body = PLACEHOLDERS.iter().fold(body.to_owned(), |body, (from, to)| body.replace(from, to));
            match serde_json::from_str::<serde_json::Value>(&body) {
                Ok(json) if !body.contains("[ENDPOINT_") && !body.contains("[RESULT_") => {
                    settings.insert("json", of_json(&json));
                    None
                }
                _ => lost(
                    "only a body that is JSON can be translated: write it as `json`; without one the whole event is sent",
                ),
            }
        }
        ("custom", "headers") => {
            for (name, value) in node.entries() {
                let value = value.as_text().unwrap_or_default();
                match variable(value) {
                    Some(variable) => settings.entry("headers").insert(&name.name, of_environment(variable, "value")),
                    None if name.name.eq_ignore_ascii_case("content-type") => {}
                    None => return lost("write `headers: { NAME: { file: .. } }`: they may be secret"),
                }
            }
            None
        }
        (_, "overrides") => lost("write an action for each, and choose checks with `labels: { group: .. }`"),
        _ => lost("the action has no such setting"),
    }
}

/// What stands for what in bodies of custom alerts.
const PLACEHOLDERS: [(&str, &str); 4] = [
    ("[ENDPOINT_NAME]", "{{ check.name }}"),
    ("[ALERT_DESCRIPTION]", "{{ message }}"),
    ("[ALERT_TRIGGERED_OR_RESOLVED]", "{{ state }}"),
    ("[RESULT_ERRORS]", "{{ message }}"),
];

fn of_json(json: &serde_json::Value) -> Setting {
    match json {
        serde_json::Value::Object(map) => {
            Setting::Map(map.iter().map(|(key, value)| (key.clone(), of_json(value))).collect())
        }
        serde_json::Value::Array(items) => Setting::List(items.iter().map(of_json).collect()),
        serde_json::Value::String(text) => text.as_str().into(),
        other => Setting::Plain(other.to_string()),
    }
}

fn email(document: &Document, provider: &Node, files: &Files, taken: &mut Taken) -> Item {
    let get = |key: &str| text(provider, key).filter(|value| !value.is_empty());
    let to: Vec<&str> = get("to").unwrap_or_default().split(',').map(str::trim).filter(|to| !to.is_empty()).collect();
    let to = if let [one] = to.as_slice() { Setting::from(*one) } else { to.into() };
    let mut smtp = Setting::map([("host", get("host").unwrap_or("localhost").into())]);
    let port = get("port").and_then(|port| port.parse::<u16>().ok()).unwrap_or(587);
    smtp.insert("port", u64::from(port));
    smtp.insert("tls", if port == 465 { "tls" } else { "starttls" });
    if let (Some(password), Some(node)) = (get("password"), provider.get("password")) {
        smtp.insert("user", get("username").or(get("from")).unwrap_or_default());
        smtp.insert("password", secret("email", "password", password, "secret", document, node, files));
    }
    let mut settings = Setting::map([("to", to), ("smtp", smtp)]);
    if let Some(from) = get("from") {
        settings.insert("from", from);
    }
    let place = document.place(provider);
    let mut item = Item::new(taken.actions.take("email"), "email", settings, &place);
    item.comments.push(format!("From {place}."));
    for (key, node) in provider.entries() {
        if !["from", "to", "host", "port", "username", "password", "default-alert"].contains(&&*key.name) {
            item.lose(
                &document.place(node),
                &format!("email: {}", key.name),
                "the action has no such setting, or it is set by hand",
            );
        }
    }
    item
}
