//! `NAME=value` files of Argus, which watched Loki and Grafana and told a channel of Discord.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Files, Imported, Item, Place, Setting, Taken};

/// How many URLs are taken from one list.
const MAX_URLS: usize = 1_000;
/// The longest span, a year: beyond, it is rather a slip of the pen.
const MAX_SECONDS: u64 = 31_536_000;
/// How often something may fail before it counts.
const MAX_FAILURES: u64 = 10_000;

/// Reads the files; of a variable that is set twice, the last counts.
pub(super) fn read(paths: &[PathBuf], files: &mut Files, taken: &mut Taken) -> Result<Imported, String> {
    let mut out = Imported::default();
    let mut variables: BTreeMap<String, (String, Place)> = BTreeMap::new();
    for path in paths {
        for path in files.find(path, &|_| true) {
            let failed = |why: String| format!("{}: {why}", path.display());
            let Some(text) = files.read(&path).map_err(failed)? else { continue };
            for (number, line) in text.text.lines().enumerate() {
                let place = text.place(number + 1);
                let line = line.trim();
                let line = line.strip_prefix("export ").unwrap_or(line);
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                match line.split_once('=') {
                    Some((name, value)) => drop(variables.insert(name.trim().to_owned(), (unquoted(value), place))),
                    None => out.lose(&place, line, "this is no `NAME=value`"),
                }
            }
        }
    }
    let watch = Watch::new(&variables, &mut out);
    let actions = targets(&variables, files, taken, &mut out);
    for (variable, kind) in [("LOKI_URL", "loki"), ("GRAFANA_URL", "grafana")] {
        if let Some((urls, place)) = variables.get(variable) {
            watch.instances(kind, variable, urls, place, &actions, files, taken, &mut out);
        }
    }
    if let Some((_, place)) = variables.get("LOG_LEVEL") {
        out.notes.push(super::unused(&place.file, &["LOG_LEVEL".to_owned()]));
    }
    for (name, (_, place)) in variables.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())) {
        out.lose(place, name, "nothing is made of this variable");
    }
    Ok(out)
}

/// The variables that are read, and one that only says how much is logged.
const KNOWN: [&str; 9] = [
    "LOKI_URL",
    "GRAFANA_URL",
    "DISCORD_WEBHOOK_URL",
    "CHECK_INTERVAL_SECONDS",
    "FAILURE_THRESHOLD",
    "REQUEST_TIMEOUT_SECONDS",
    "LOG_LEVEL",
    "TELEGRAM_BOT_TOKEN",
    "TELEGRAM_CHAT_ID",
];

fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value).to_owned()
}

/// How often is looked, and how often it must fail.
struct Watch {
    interval: Duration,
    failures: u64,
    timeout: Duration,
}

impl Watch {
    fn new(variables: &BTreeMap<String, (String, Place)>, out: &mut Imported) -> Self {
        let mut number = |name: &str, default: u64, most: u64| {
            let Some((text, place)) = variables.get(name) else { return default };
            text.parse().ok().filter(|number| (1..=most).contains(number)).unwrap_or_else(|| {
                let why = format!("this is no number from 1 to {most}; the default is taken");
                out.lose(place, &format!("{name}={text}"), &why);
                default
            })
        };
        Self {
            interval: Duration::from_secs(number("CHECK_INTERVAL_SECONDS", 120, MAX_SECONDS)),
            failures: number("FAILURE_THRESHOLD", 2, MAX_FAILURES),
            timeout: Duration::from_secs(number("REQUEST_TIMEOUT_SECONDS", 10, MAX_SECONDS)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one list of URLs, and all that is made with it")]
    fn instances(
        &self,
        kind: &'static str,
        variable: &str,
        urls: &str,
        place: &Place,
        actions: &[String],
        files: &Files,
        taken: &mut Taken,
        out: &mut Imported,
    ) {
        let urls: Vec<&str> = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        if urls.len() > MAX_URLS {
            out.lose(place, variable, &format!("more than {MAX_URLS} URLs are too many; the rest is not read"));
        }
        for url in urls.iter().take(MAX_URLS) {
            let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
            else {
                out.lose(place, &format!("{variable}={url}"), "this is no URL of HTTP");
                continue;
            };
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let (login, host) =
                authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
            let url = format!("{scheme}://{host}{}", path.trim_end_matches('/'));
            let mut settings = Setting::map([("url", url.into())]);
            let name = if urls.len() == 1 { kind.to_owned() } else { format!("{kind}:{host}") };
            if let Some((user, password)) = login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
                let password = files.secret(&format!("{}-password", name.replace(':', "-")), password, place);
                settings.insert("basic", Setting::map([("user", user.into()), ("password", password)]));
            }
            let mut item = Item::new(taken.checks.take(&name), kind, settings, place);
            item.comments.push(format!("From {place}."));
            item.set("interval", self.interval);
            item.set("retry_interval", self.interval);
            item.set("timeout", self.timeout);
            item.set("on_timeout", "bad");
            item.set("retries", self.failures - 1);
            for action in actions {
                item.add("actions", action);
            }
            out.checks.push(item);
        }
    }
}

fn targets(
    variables: &BTreeMap<String, (String, Place)>,
    files: &Files,
    taken: &mut Taken,
    out: &mut Imported,
) -> Vec<String> {
    let mut made = Vec::new();
    if let Some((webhook, place)) = variables.get("DISCORD_WEBHOOK_URL") {
        let settings = Setting::map([("webhook", files.secret("discord-webhook", webhook, place))]);
        made.push(Item::new(taken.actions.take("discord"), "discord", settings, place));
    }
    match (variables.get("TELEGRAM_BOT_TOKEN"), variables.get("TELEGRAM_CHAT_ID")) {
        (Some((bot, place)), Some((chat, _))) => {
            let settings =
                Setting::map([("token", files.secret("telegram-token", bot, place)), ("chat", chat.as_str().into())]);
            made.push(Item::new(taken.actions.take("telegram"), "telegram", settings, place));
        }
        (Some((_, place)), None) | (None, Some((_, place))) => {
            out.lose(place, "TELEGRAM_..", "a bot needs `TELEGRAM_BOT_TOKEN` and `TELEGRAM_CHAT_ID`");
        }
        (None, None) => {}
    }
    let names = made.iter().map(|item| item.name.clone()).collect();
    out.actions.extend(made);
    names
}
