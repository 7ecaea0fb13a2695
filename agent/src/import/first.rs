//! The first monchero agent: its options file, its directory of check configuration, and its directories of programs.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use monchero_core::node::Node;
use monchero_core::order;

use super::document::{Document, items, text};
use super::{Files, Imported, Item, Place, Setting, Taken};
use crate::config::is_backup_name;

/// How many checks are made.
const MAX_CHECKS: usize = 10_000;

/// What a program printed, by the option that named its directory.
const DIRECTORIES: [(&str, &str); 3] = [
    ("monchero-plugin-directory", "native"),
    ("checkmk-plugin-directory", "checkmk"),
    ("script-checks-directory", "exit-code"),
];
/// Options about the agent itself.
const UNUSED: [&str; 4] = ["agent-config-path", "log-level", "data-directory", "config"];

/// Reads options (files that are no YAML), check configuration (YAML) and directories of that.
pub(super) fn read(paths: &[PathBuf], files: &mut Files, taken: &mut Taken) -> Result<Imported, String> {
    let mut first = First { interval: Duration::from_secs(60), ..First::default() };
    let mut out = Imported::default();
    let is_yaml = |name: &str| Path::new(name).extension().is_some_and(|end| end == "yaml" || end == "yml");
    let wanted = |name: &str| {
        (is_yaml(name) || Path::new(name).extension().is_some_and(|end| end == "conf")) && !is_backup_name(name)
    };
    let mut waiting = Vec::new();
    for path in paths {
        waiting.extend(files.find(path, &wanted).into_iter().map(|path| (path, true)));
    }
    let mut index = 0;
    while let Some((path, named)) = waiting.get(index).cloned() {
        index += 1;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let read =
            if is_yaml(&name) { first.checks(&path, files, &mut out) } else { first.options(&path, files, &mut out) };
        match read {
            Ok(()) => {}
            Err(why) if named && paths.contains(&path) => return Err(format!("{}: {why}", path.display())),
            Err(why) => out.lose(&files.place(&path), "", &why),
        }
        if let Some(directory) = first.check_config.take() {
            waiting.extend(files.find(&directory, &wanted).into_iter().map(|path| (path, false)));
        }
    }
    first.make(files, taken, &mut out);
    Ok(out)
}

/// Everything that was read. Of what is said twice, the later file counts, key by key.
#[derive(Default)]
struct First {
    interval: Duration,
    /// A directory that the options name and that is yet to be read.
    check_config: Option<PathBuf>,
    /// Directories of programs, with the format of what they print.
    directories: Vec<(PathBuf, &'static str, Place)>,
    /// Sections, then what they are about, then keys.
    sections: BTreeMap<(&'static str, String), Keys>,
}

/// The keys of one entry of a section.
type Keys = BTreeMap<String, (Value, Place)>;

/// A value of the check configuration.
#[derive(Clone, Debug)]
enum Value {
    Text(String),
    List(Vec<String>),
    /// An action: a program and its arguments.
    Program(Vec<String>),
}

/// How results are judged otherwise than they were.
const RANGES: &str = "The first version judged the metrics of Nagios and script checks, and took their ranges the wrong way round: 10 alerted \
                      at 10 and above. Here their exit status counts, and ranges mean what the guidelines of Nagios say.";

const SECTIONS: [&str; 4] = ["check_config", "command_config", "nagios_config", "script_config"];

impl First {
    /// `name = value` and `name: value` lines, with dashes or underscores.
    fn options(&mut self, path: &Path, files: &mut Files, out: &mut Imported) -> Result<(), String> {
        let Some(text) = files.read(path)? else { return Ok(()) };
        let mut unused = Vec::new();
        for (number, line) in text.text.lines().enumerate() {
            let place = text.place(number + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';', '[']) || line == "---" {
                continue;
            }
            let (name, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
            let name = name.trim().replace('_', "-");
            let value = value.trim().trim_matches(['"', '\'']);
            let beside = || path.parent().unwrap_or(Path::new("")).join(value);
            match name.as_str() {
                "interval" => match seconds(value) {
                    Some(interval) => self.interval = interval,
                    None => out.lose(&place, line, "this is no number of seconds"),
                },
                "check-config-path" => self.check_config = Some(beside()),
                "node-name" => out.lose(&place, line, &format!("write `host: {value}` into `monchero.yaml`")),
                "environment-setters-directory" => {
                    out.lose(&place, line, &format!("write `environment_setters: {value}` into `monchero.yaml`"));
                }
                name if name.starts_with("monchero-server") => {
                    out.lose(&place, line, "results are not pushed to a server of the first version");
                }
                name if UNUSED.contains(&name) => unused.push(name.to_owned()),
                name => match DIRECTORIES.iter().find(|(option, _)| *option == name) {
                    Some((_, format)) => self.directories.push((beside(), format, place)),
                    None => out.lose(&place, line, "this option is not known"),
                },
            }
        }
        if !unused.is_empty() {
            out.notes.push(super::unused(&text.name, &unused));
        }
        Ok(())
    }

    fn checks(&mut self, path: &Path, files: &mut Files, out: &mut Imported) -> Result<(), String> {
        let Some(document) = Document::read(path, files, &mut out.lost)? else { return Ok(()) };
        for (key, node) in document.root.entries() {
            let Some(section) = SECTIONS.iter().find(|section| ***section == *key.name) else {
                if &*key.name != "plugin_config" {
                    out.lose(&document.place(node), &key.name, "this section is not known");
                }
                continue;
            };
            for (about, settings) in node.entries() {
                let known = self.sections.entry((section, about.name.to_string())).or_default();
                for (key, value) in settings.entries() {
                    known.insert(key.name.to_string(), (Value::read(value), document.place(value)));
                }
                if settings.entries().is_empty() {
                    out.lose(&document.place(settings), &about.name, "a map of settings was expected");
                }
            }
        }
        Ok(())
    }

    fn make(mut self, files: &mut Files, taken: &mut Taken, out: &mut Imported) {
        let mut made: Vec<(String, Item)> = Vec::new();
        for (directory, format, place) in std::mem::take(&mut self.directories) {
            for (path, interval) in programs(&directory, files) {
                // The daemon starts elsewhere than we do.
                let path = std::path::absolute(&path).unwrap_or(path);
                let shown = path.to_string_lossy().into_owned();
                let settings = self.sections.remove(&("script_config", shown.clone())).unwrap_or_default();
                made.extend(Self::check(
                    &shown,
                    format,
                    interval.unwrap_or(self.interval),
                    settings,
                    Some(&place),
                    taken,
                    out,
                ));
            }
        }
        for (section, format) in
            [("command_config", "exit-code"), ("nagios_config", "nagios"), ("script_config", "exit-code")]
        {
            let about: Vec<String> =
                self.sections.keys().filter(|(known, _)| *known == section).map(|(_, about)| about.clone()).collect();
            for path in about {
                let settings = self.sections.remove(&(section, path.clone())).unwrap_or_default();
                made.extend(Self::check(&path, format, self.interval, settings, None, taken, out));
            }
        }
        for ((_, name), settings) in std::mem::take(&mut self.sections) {
            Self::policy(&name, &settings, &mut made, taken, out);
        }
        if made.iter().any(|(_, item)| item.kind == "plugin") {
            out.notes.push(RANGES.to_owned());
        }
        order::sort_by(&mut made, |a, b| a.1.place.cmp(&b.1.place));
        out.checks.extend(made.into_iter().map(|(_, item)| item));
    }

    /// A check of a program, and the name that the first version had for it.
    fn check(
        path: &str,
        format: &'static str,
        interval: Duration,
        settings: Keys,
        found: Option<&Place>,
        taken: &mut Taken,
        out: &mut Imported,
    ) -> Option<(String, Item)> {
        let place = found.or_else(|| settings.values().next().map(|(_, place)| place))?.clone();
        if out.checks.len() >= MAX_CHECKS {
            out.lose(&place, path, &format!("more than {MAX_CHECKS} checks are too many for one file"));
            return None;
        }
        let mut words = vec![path.to_owned()];
        let file = Path::new(path).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut name = file;
        let mut plugin = Setting::Map(Vec::new());
        let mut item = Item::new(String::new(), "plugin", Setting::Map(Vec::new()), &place);
        item.set("interval", interval);
        for (key, (value, place)) in settings {
            let list = |state: &str, plugin: &mut Setting| match &value {
                Value::List(codes) => {
                    plugin.insert(state, Setting::List(codes.iter().cloned().map(Setting::Plain).collect()));
                }
                Value::Text(code) => plugin.insert(state, Setting::List(vec![Setting::Plain(code.clone())])),
                Value::Program(_) => {}
            };
            match (key.as_str(), &value) {
                ("arguments", Value::List(arguments)) => words.extend(arguments.iter().cloned()),
                ("arguments", Value::Text(arguments)) => words.extend(arguments.split_whitespace().map(str::to_owned)),
                ("check_name", Value::Text(text)) => text.clone_into(&mut name),
                ("interval", Value::Text(text)) if seconds(text).is_some() => {
                    item.set("interval", seconds(text).unwrap_or(interval));
                }
                ("okay_exit_codes", _) => list("okay", &mut plugin),
                ("warning_exit_codes", _) => list("warning", &mut plugin),
                ("critical_exit_codes", _) => list("bad", &mut plugin),
                _ => item.lose(&place, &key, "this setting is not known, or its value is no such setting"),
            }
        }
        let mut all = Setting::map([("command", Setting::command(words))]);
        if format != "nagios" {
            all.insert("format", format);
        }
        if let Setting::Map(lists) = plugin {
            for (key, value) in lists {
                all.insert(&key, value);
            }
        }
        item.settings = all;
        item.name = taken.checks.take(&name);
        item.comments.push(format!("From {place}."));
        item.set("retries", 0_u64);
        // What was to be repeated was looked at again when it was due anyway.
        if let Some((_, interval)) = item.beside.iter().find(|(key, _)| *key == "interval").cloned() {
            item.set("retry_interval", interval);
        }
        Some((name, item))
    }

    /// `check_config`: attempts and actions of a check, by its name.
    fn policy(name: &str, settings: &Keys, made: &mut [(String, Item)], taken: &mut Taken, out: &mut Imported) {
        let Some((_, place)) = settings.values().next() else { return };
        let Some((_, item)) = made.iter_mut().find(|(known, _)| known == name) else {
            let why = "no program here is known by that name, which may be a service that one reports: write `retries` and `actions` into the \
                       check of the program";
            return out.lose(place, &format!("check_config: {name}"), why);
        };
        let own = |state: &str| settings.contains_key(&format!("action_{state}"));
        for (key, (value, place)) in settings {
            let on: Vec<&str> = match (key.as_str(), value) {
                ("repeat", Value::Text(count)) => {
                    match count.parse::<u64>() {
                        Ok(count @ 0..=10_000) => {
                            item.set("retries", count.saturating_sub(1));
                            item.set("recover_after", count.max(1));
                        }
                        _ => item.lose(place, &format!("repeat: {count}"), "this is no number of results"),
                    }
                    continue;
                }
                ("action_ok", Value::Program(_)) => vec!["recovery"],
                ("action_warning", Value::Program(_)) => vec!["warning"],
                ("action_critical", Value::Program(_)) => vec!["bad"],
                ("action_unknown", Value::Program(_)) => vec!["unknown"],
                ("action", Value::Program(_)) => {
                    let all = [("warning", "warning"), ("critical", "bad"), ("unknown", "unknown"), ("ok", "recovery")];
                    all.into_iter().filter(|(state, _)| !own(state)).map(|(_, on)| on).collect()
                }
                _ => {
                    item.lose(place, key, "this setting is not known, or its value is no such setting");
                    continue;
                }
            };
            if let Value::Program(words) = value
                && !on.is_empty()
            {
                let wanted = format!("{name}-{}", key.replace('_', "-"));
                let mut action = Item::new(taken.actions.take(&wanted), "script", words.clone().into(), place);
                action.comments.push(format!("From {place}."));
                action.set("on", on);
                item.add("actions", &action.name.clone());
                out.actions.push(action);
            }
        }
    }
}

impl Value {
    fn read(node: &Node) -> Self {
        if let Some(program) = text(node, "executable") {
            let arguments: Vec<String> = match node.get("arguments").map(|node| (node, node.as_text())) {
                Some((_, Some(text))) => text.split_whitespace().map(str::to_owned).collect(),
                Some((node, None)) => items(Some(node)).iter().filter_map(Node::as_text).map(str::to_owned).collect(),
                None => Vec::new(),
            };
            return Self::Program(std::iter::once(program.to_owned()).chain(arguments).collect());
        }
        match node.as_text() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::List(items(Some(node)).iter().filter_map(Node::as_text).map(str::to_owned).collect()),
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|seconds| (1..=31_536_000).contains(seconds)).map(Duration::from_secs)
}

/// The programs of a directory; those in a directory whose name is a number run every that many seconds.
fn programs(directory: &Path, files: &mut Files) -> Vec<(PathBuf, Option<Duration>)> {
    let runs = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let mut found = Vec::new();
    for path in files.find(directory, &|name| !is_backup_name(name)).into_iter().filter(runs) {
        let parent = path.parent().unwrap_or(directory);
        if parent == directory {
            found.push((path, None));
        } else if parent.parent() == Some(directory) {
            // Other directories were never looked at.
            let interval = parent.file_name().and_then(|name| name.to_str()).and_then(seconds);
            if interval.is_some() {
                found.push((path, interval));
            }
        }
    }
    found
}
