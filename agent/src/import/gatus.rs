//! Gatus: endpoints become checks by the scheme of their URL, conditions become what is expected of an answer, alerts become targets.

mod alerts;
mod conditions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use monchero_core::node::Node;

use super::document::{Document, items, text, truth};
use super::{Files, Imported, Item, Place, Setting, Taken};
use alerts::Alerts;
use conditions::Condition;

/// How many checks are made.
const MAX_CHECKS: usize = 10_000;
/// What Gatus takes where an endpoint says nothing.
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a setting of the client is left out.
const NO_SETTING: &str = "this kind of check has no such setting";

/// Reads `config.yaml`, or all files of a directory.
pub(super) fn read(paths: &[PathBuf], files: &mut Files, taken: &mut Taken) -> Result<Imported, String> {
    let mut out = Imported::default();
    let mut documents = Vec::new();
    let is_yaml = |name: &str| Path::new(name).extension().is_some_and(|end| end == "yaml" || end == "yml");
    for path in paths {
        for path in files.find(path, &is_yaml) {
            documents.extend(
                Document::read(&path, files, &mut out.lost).map_err(|why| format!("{}: {why}", path.display()))?,
            );
        }
    }
    let mut alerts = Alerts::new(&documents);
    for document in &documents {
        top(document, &mut out);
        for endpoint in items(document.root.get("endpoints").or_else(|| document.root.get("services"))) {
            if out.checks.len() >= MAX_CHECKS {
                out.lose(
                    &document.place(endpoint),
                    "",
                    &format!("more than {MAX_CHECKS} checks are too many for one file"),
                );
                break;
            }
            Endpoint { document, node: endpoint, files, taken, out: &mut out, alerts: &mut alerts }.make();
        }
    }
    if alerts.any_silent() {
        out.notes.push("Whoever is told of a problem is told of its end, whatever `send-on-resolved` said.".to_owned());
    }
    Ok(out)
}

/// What stands beside the endpoints.
fn top(document: &Document, out: &mut Imported) {
    let mut unused = Vec::new();
    for (key, node) in document.root.entries() {
        let place = document.place(node);
        match &*key.name {
            "endpoints" | "services" | "alerting" => {}
            "external-endpoints" => {
                for endpoint in items(Some(node)) {
                    let name = text(endpoint, "name").unwrap_or_default();
                    let why = "make a check of the kind `heartbeat`: `monchero ping NAME` tells it, or the API";
                    out.lose(&document.place(endpoint), &format!("external-endpoints: {name}"), why);
                }
            }
            "maintenance" => out.lose(
                &place,
                "maintenance",
                "plan downtimes with `monchero downtime add`, or give an action `quiet` hours",
            ),
            "suites" => {
                out.lose(&place, "suites", "a check asks one thing; write a plugin for steps that build on each other");
            }
            "remote" => out.lose(&place, "remote", "other instances are not asked"),
            other => unused.push(other.to_owned()),
        }
    }
    if !unused.is_empty() {
        out.notes.push(super::unused(&document.text.name, &unused));
    }
}

struct Endpoint<'a, 'f> {
    document: &'a Document,
    node: &'a Node,
    files: &'f Files,
    taken: &'f mut Taken,
    out: &'f mut Imported,
    alerts: &'f mut Alerts<'a>,
}

/// A check while it is made.
pub(super) struct Draft {
    pub(super) kind: &'static str,
    pub(super) settings: Setting,
    /// A check of its own for the registration of the domain: name and limit.
    pub(super) domain: Option<(String, Setting)>,
    pub(super) lost: Vec<(Place, String, &'static str)>,
    /// The statuses of HTTP that are asked for, from and to.
    pub(super) status: Option<(u16, u16)>,
}

impl Endpoint<'_, '_> {
    fn make(mut self) {
        let name = text(self.node, "name").unwrap_or("endpoint").to_owned();
        let place = self.document.place(self.node);
        let url = text(self.node, "url").unwrap_or_default().to_owned();
        if url.contains('$') {
            return self.out.lose(
                &place,
                &format!("{name}: {url}"),
                "the value of the variable is not known here: put it in place and import again",
            );
        }
        let mut draft = match self.draft(&url) {
            Ok(draft) => draft,
            Err(why) => return self.out.lose(&place, &format!("{name}: {url}"), why),
        };
        let mut conditions = Vec::new();
        for node in items(self.node.get("conditions")) {
            let place = self.document.place(node);
            let condition = node.as_text().unwrap_or_default();
            match Condition::parse(condition) {
                Some(condition) => conditions.push((condition, place)),
                None => draft.lost.push((place, condition.to_owned(), "this is no condition that is known")),
            }
        }
        for (condition, place) in &conditions {
            if let Err(why) = condition.apply(&mut draft, &url) {
                draft.lost.push((place.clone(), condition.to_string(), why));
            }
        }
        if draft.kind == "http" {
            // Without a condition any answer is right.
            let (from, to) = draft.status.unwrap_or((100, 599));
            let expect = draft.settings.entry("expect");
            if !matches!(expect, Setting::Map(entries) if entries.iter().any(|(key, _)| key == "status")) {
                let status = if from == to { from.to_string() } else { format!("{from}-{to}") };
                expect.insert("status", status);
            }
        }
        self.finish(&name, &place, draft);
    }

    /// The kind by the scheme of the URL, and what it needs.
    fn draft(&mut self, url: &str) -> Result<Draft, &'static str> {
        let mut draft =
            Draft { kind: "http", settings: Setting::Map(Vec::new()), domain: None, lost: Vec::new(), status: None };
        if let Some(dns) = self.node.get("dns") {
            draft.kind = "dns";
            let name = text(dns, "query-name").ok_or("it has no `query-name`")?;
            draft.settings = Setting::map([
                ("name", name.trim_end_matches('.').into()),
                ("type", text(dns, "query-type").unwrap_or("A").into()),
                ("server", url.trim_start_matches("dns://").into()),
            ]);
            self.client(&mut draft);
            return Ok(draft);
        }
        let (scheme, rest) = url.split_once("://").ok_or("the URL has no scheme")?;
        let address = rest.trim_end_matches('/');
        match scheme {
            "http" | "https" => self.http(&mut draft, scheme, rest)?,
            "tcp" => (draft.kind, draft.settings) = ("tcp", Setting::map([("address", address.into())])),
            "tls" => (draft.kind, draft.settings) = ("tls", Setting::map([("address", address.into())])),
            "starttls" => {
                let port = address.rsplit(':').next().unwrap_or_default();
                let protocol = match port {
                    "143" => "imap",
                    "110" => "pop3",
                    "389" => "ldap",
                    _ => "smtp",
                };
                (draft.kind, draft.settings) =
                    ("tls", Setting::map([("address", address.into()), ("starttls", protocol.into())]));
            }
            "icmp" => {
                (draft.kind, draft.settings) =
                    ("ping", Setting::map([("host", address.into()), ("count", 1_u64.into())]));
            }
            "ssh" => {
                (draft.kind, draft.settings) = ("ssh", Setting::map([("address", address.into())]));
                if self.node.get("ssh").is_some() {
                    draft.lost.push((
                        self.document.place(self.node),
                        "ssh".to_owned(),
                        "nobody logs in, and no command is run there",
                    ));
                }
            }
            "udp" => return Err("nothing is known of what the service must be asked: make a check of the kind `udp`"),
            _ => return Err("no kind of check looks at URLs of this scheme"),
        }
        self.client(&mut draft);
        Ok(draft)
    }

    fn http(&mut self, draft: &mut Draft, scheme: &str, rest: &str) -> Result<(), &'static str> {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, host) = authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
        if host.is_empty() {
            return Err("the URL has no host");
        }
        draft.settings.insert("url", format!("{scheme}://{host}{path}"));
        let place = self.document.place(self.node);
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let name = format!("{}-password", text(self.node, "name").unwrap_or("endpoint"));
            let password = self.files.secret(&name, password, &place);
            draft.settings.insert("basic", Setting::map([("user", user.into()), ("password", password)]));
        }
        if let Some(method) = text(self.node, "method") {
            draft.settings.insert("method", method.to_uppercase());
        }
        for (key, value) in self.node.get("headers").map(Node::entries).unwrap_or_default() {
            let value_place = self.document.place(value);
            let value = value.as_text().unwrap_or_default();
            let lower = key.name.to_lowercase();
            let is_secret = ["authorization", "token", "key", "secret", "cookie", "password"]
                .iter()
                .any(|word| lower.contains(word));
            let setting = match alerts::variable(value) {
                Some(name) => alerts::of_environment(name, "value"),
                None if is_secret => {
                    let name = format!("{}-{lower}", text(self.node, "name").unwrap_or("endpoint"));
                    self.files.secret(&name, value, &value_place)
                }
                None => value.into(),
            };
            draft.settings.entry("headers").insert(&key.name, setting);
        }
        if let Some(body) = text(self.node, "body") {
            if truth(self.node, "graphql") == Some(true) {
                draft.settings.insert("json", Setting::map([("query", body.into())]));
            } else {
                draft.settings.insert("body", body);
            }
            if text(self.node, "method").is_none() {
                draft.settings.insert("method", "GET");
            }
        }
        Ok(())
    }

    /// `client:`, and settings that no check has.
    fn client(&mut self, draft: &mut Draft) {
        let has_tls = ["http", "tls"].contains(&draft.kind);
        for (key, node) in self.node.get("client").map(Node::entries).unwrap_or_default() {
            let value = node.as_text().unwrap_or_default();
            match (&*key.name, value) {
                ("timeout", _) | ("insecure" | "ignore-redirect", "false") => {}
                ("insecure", "true") if draft.kind == "http" => draft.settings.entry("tls").insert("verify", false),
                ("insecure", "true") if draft.kind == "tls" => draft.settings.insert("verify", false),
                ("ignore-redirect", "true") if draft.kind == "http" => draft.settings.insert("redirects", 0_u64),
                ("proxy-url", proxy) if draft.kind == "http" && !proxy.contains('@') => {
                    draft.settings.insert("proxy", proxy);
                }
                ("network", "ip4") => draft.settings.insert("family", "ipv4"),
                ("network", "ip6") => draft.settings.insert("family", "ipv6"),
                ("tls", _) if has_tls => {
                    for (key, file) in [("certificate", "certificate-file"), ("key", "private-key-file")] {
                        if let Some(path) = text(node, file) {
                            let target =
                                if draft.kind == "http" { draft.settings.entry("tls") } else { &mut draft.settings };
                            target.insert(key, path);
                        }
                    }
                    for (key, value) in node.entries() {
                        if !["certificate-file", "private-key-file"].contains(&&*key.name) {
                            let what = format!("client: tls: {}", key.name);
                            draft.lost.push((self.document.place(value), what, NO_SETTING));
                        }
                    }
                }
                (name, _) => draft.lost.push((self.document.place(node), format!("client: {name}"), NO_SETTING)),
            }
        }
        let known = [
            "name",
            "group",
            "enabled",
            "url",
            "method",
            "body",
            "headers",
            "graphql",
            "interval",
            "conditions",
            "alerts",
            "client",
            "dns",
            "ui",
            "ssh",
        ];
        for (key, node) in self.node.entries().iter().filter(|(key, _)| !known.contains(&&*key.name)) {
            draft.lost.push((self.document.place(node), key.name.to_string(), "monchero has nothing like it"));
        }
    }

    fn finish(self, name: &str, place: &Place, draft: Draft) {
        let group = text(self.node, "group").filter(|group| !group.is_empty());
        let wanted = group.map_or_else(|| name.to_owned(), |group| format!("{group}:{name}"));
        let mut item = Item::new(self.taken.checks.take(&wanted), draft.kind, draft.settings, place);
        item.comments.push(format!("From {place}."));
        let span =
            |node: &Node, key: &str, default: Duration| text(node, key).and_then(conditions::span).unwrap_or(default);
        let interval = span(self.node, "interval", INTERVAL).max(crate::config::settings::MIN_INTERVAL);
        item.set("interval", interval);
        item.set("retry_interval", interval);
        let timeout = self.node.get("client").map_or(TIMEOUT, |client| span(client, "timeout", TIMEOUT));
        item.set("timeout", timeout.max(crate::config::settings::MIN_INTERVAL));
        item.set("on_timeout", "bad");
        if let Some(group) = group {
            item.set("labels", Setting::map([("group", group.into())]));
        }
        if truth(self.node, "enabled") == Some(false) {
            item.set("enabled", false);
        }
        for (place, what, why) in draft.lost {
            item.lose(&place, &what, why);
        }
        self.alerts.connect(self.document, self.node, &mut item, self.files, self.taken, self.out);
        let domain = draft.domain.map(|(domain, limit)| {
            let settings = Setting::map([("name", domain.into()), ("bad", Setting::map([("expires", limit)]))]);
            let mut item = Item { kind: "domain", settings, lost: Vec::new(), ..item.clone() };
            item.name = self.taken.checks.take(&format!("{wanted}:domain"));
            item.comments.push("The domain as it is registered: look whether it is the whole of it.".to_owned());
            item.set("interval", Duration::from_secs(86_400));
            item.set("retry_interval", Duration::from_secs(3_600));
            item.set("timeout", Duration::from_secs(30));
            item.set("on_timeout", "unknown");
            item
        });
        self.out.checks.push(item);
        self.out.checks.extend(domain);
    }
}
