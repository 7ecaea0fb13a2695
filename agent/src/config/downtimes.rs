//! Downtimes that recur, and the gate: what the configuration says about when messages wait.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use monchero_core::Name;
use monchero_core::check::Looks;
use monchero_core::definition::Gate;
use monchero_core::hold::{Recurring, ancestors};
use monchero_core::node::{Key, Node, SettingsError, Span, Value, nearest};
use monchero_core::order;
use monchero_core::text::{escape_controls, quote};

use super::load::{Loader, Reference, Sort};
use super::read::read_all;
use super::secrets::Fetcher;
use super::settings::{DowntimeSettings, GateSettings, Settings};
use super::show::Shown;

impl Loader<'_> {
    /// Takes an entry of `downtimes:`: its definition, or its mistakes.
    pub(crate) fn downtime(&mut self, key: &Key, node: &Node, doubled: &mut Vec<SettingsError>, secrets: &Fetcher<'_>) {
        let subject = format!("downtime {}", quote(&key.name));
        let subject = subject.as_str();
        let whole = Span { end: node.span.end.max(key.span.end), ..key.span };
        let broken = self.take_doubled(Some(subject), whole, doubled);
        let name = self.take_name(&key.name, key.span, Sort::Downtime, subject);
        if !matches!(node.value, Value::Map(_)) {
            let place = if node.value == Value::Null { key.span } else { node.span };
            let help = "write `calendar: Sat 02:00`, `duration: 2h` and `checks: [..]` below the name".to_owned();
            self.report_at(
                Some(subject),
                place,
                format!("{} stands where a map is expected", node.describe()),
                Some(help),
            );
            return;
        }
        let (settings, mut errors) = read_all(node, |node| node.read::<DowntimeSettings>(None, secrets));
        let zone = self.zone.clone();
        let begins = settings.as_ref().map(|settings| settings.begins(&zone));
        if let (Some(Err(wrong)), true) = (&begins, errors.is_empty()) {
            errors.extend(wrong.iter().map(|invalid| node.error_at(&invalid.path, invalid.why.clone())));
        }
        let fine = errors.is_empty() && !broken;
        for error in errors {
            self.report(Some(subject), error);
        }
        if let Some(Value::List(items)) = node.get("checks").map(|checks| &checks.value) {
            for item in items {
                let reference = Reference { span: item.span, subject: Some(subject.to_owned()) };
                self.wanted_patterns.extend(item.as_text().map(|text| (text.to_owned(), reference)));
            }
        }
        let (Some(name), Some(settings), Some(Ok(begins)), true) = (name, settings, begins, fine) else { return };
        let Some(lasts) = settings.duration else { return };
        let covers = settings.selector();
        let comment = settings.comment.unwrap_or_else(|| name.to_string());
        let source = self.sources.place(key.span).into();
        if self.options.keep_settings {
            let shown = Shown::of_downtime(self, &name, node);
            self.shown.push(shown);
        }
        self.downtimes.push(Recurring { name, covers, begins, lasts, comment, source });
    }

    /// Tells of plain names among patterns that no check has: whoever misspells one would wait for a downtime that never holds.
    pub(crate) fn refuse_unknown_patterns(&mut self) {
        let wanted = std::mem::take(&mut self.wanted_patterns);
        for (text, Reference { span, subject }) in wanted {
            let is_plain = !text.contains(['*', '?', '/', '[']);
            if self.incomplete || !is_plain || self.check_names.contains_key(&Name::new(&text)) {
                continue;
            }
            let near = nearest(&text, self.check_names.keys().map(Name::as_str));
            let help = near.map_or_else(
                || "define it under `checks:`, or remove it here".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let message = format!("there is no check `{}`", escape_controls(&text));
            self.report(
                subject.as_deref(),
                SettingsError { span, path: "checks".to_owned(), message, help: Some(help) },
            );
        }
    }

    /// Notes whether a check looks at another host, as far as its kind and its settings say.
    pub(crate) fn note_network(&mut self, name: &Name, looks: Looks, settings: &Node, short_for: Option<&str>) {
        if self.has_gate && looks_elsewhere(looks, settings, short_for) {
            self.network.insert(name.clone());
        }
    }

    /// The gate that `monchero.yaml` describes, once all checks are known.
    pub(crate) fn gate(&mut self, settings: &Settings) -> Option<Gate> {
        let gate = settings.gate.as_ref()?;
        let GateSettings { checks: names, shut, holds, except } = gate;
        let node =
            self.settings.as_ref().and_then(|root| root.get("gate")).and_then(|gate| gate.get("checks")).cloned();
        let items = match node.as_ref().map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        for (text, item) in names.iter().zip(items) {
            let reference = Reference { span: item.span, subject: Some("gate".to_owned()) };
            self.wanted_patterns.push((text.clone(), reference));
        }
        if let Some(node) = node.filter(|_| names.is_empty()) {
            let message = "it names no check, so nobody would know that this host is cut off".to_owned();
            self.report(
                Some("gate"),
                SettingsError { span: node.span, path: "checks".to_owned(), message, help: None },
            );
        }
        let depends: BTreeMap<&Name, &[Name]> =
            order::tree(self.checks.iter().map(|check| (&check.name, &*check.depends_on)));
        let parents_of = |name: &Name| depends.get(name).copied().unwrap_or_default();
        let fits = |check: &Name| {
            names.iter().any(|name| name == check.as_str() || name == super::graph::base(check.as_str()))
        };
        let gates: Vec<&Name> = depends.keys().copied().filter(|name| fits(name)).collect();
        // What the gate itself depends on is told as ever: it is why the gate is shut.
        let free: HashSet<&Name> =
            gates.iter().flat_map(|gate| ancestors(gate, parents_of)).chain(gates.iter().copied()).collect();
        let needs = |name: &Name, labels: &BTreeMap<String, String>| {
            let chosen = |choice: &Option<super::settings::Choice>| {
                choice.as_ref().is_some_and(|choice| choice.fits(name.as_str(), labels))
            };
            (self.network.contains(name) || chosen(holds)) && !chosen(except) && !free.contains(name)
        };
        let holds = self.checks.iter().filter(|check| needs(&check.name, &check.labels));
        let holds = holds.map(|check| check.name.clone()).collect();
        let checks = gates.into_iter().cloned().collect();
        Some(Gate { checks, shut: *shut, holds })
    }
}

/// Whether a check looks at another host.
fn looks_elsewhere(looks: Looks, settings: &Node, short_for: Option<&str>) -> bool {
    let (setting, by_default) = match looks {
        Looks::Here => return false,
        Looks::At(setting) => (setting, false),
        Looks::Out(setting) => (setting, true),
    };
    let is_map = matches!(settings.value, Value::Map(_));
    let value = if is_map { settings.get(setting) } else { Some(settings).filter(|_| short_for == Some(setting)) };
    match value.map(|value| &value.value) {
        None | Some(Value::Null) => by_default,
        Some(Value::Scalar { text, .. }) => !is_this_host(text),
        Some(Value::List(items)) => items.iter().any(|item| item.as_text().is_none_or(|text| !is_this_host(text))),
        // A secret: nobody hides the address of this host.
        Some(Value::Map(_)) => true,
    }
}

/// Whether an address is one of this host: `localhost:5432`, `http://[::1]/x`, `/run/redis.sock`.
fn is_this_host(text: &str) -> bool {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    if rest.starts_with('/') {
        return true;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((inside, _)) => inside,
        None if host.matches(':').count() == 1 => host.split_once(':').map_or(host, |(host, _)| host),
        None => host,
    };
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_this_host;

    #[test]
    fn addresses_of_this_host_are_known() {
        for text in [
            "localhost",
            "LOCALHOST:25",
            "db.localhost",
            "127.0.0.1",
            "127.1.2.3:80",
            "::1",
            "[::1]:5432",
            "http://localhost:8080/health?x=1",
            "https://me:secret@127.0.0.1/",
            "redis://[::1]:6379",
            "/run/redis.sock",
            "unix:///run/x.sock",
        ] {
            assert!(is_this_host(text), "{text}");
        }
        for text in ["192.0.2.1", "example.org:25", "http://localhost.example.org/", "2001:db8::1", "localhosts", ""] {
            assert!(!is_this_host(text), "{text}");
        }
    }
}
