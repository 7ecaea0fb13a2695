//! From what was imported to a file of `conf.d` that the configuration reader takes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use monchero_core::order;
use monchero_core::text::escape_controls;

use super::setting::{Secret, Setting, scalar};
use super::{Imported, Item, Lost};
use crate::config::{self, Chosen, Kinds, LoadOptions, MAX_FILE, Reason, SecretStore};

/// The settings that become `defaults` if all checks have them; labels are none, since they would be merged.
const COMMON: [&str; 9] = [
    "interval",
    "retry_interval",
    "retries",
    "recover_after",
    "timeout",
    "on_timeout",
    "flapping",
    "actions",
    "depends_on",
];
/// How often the reader is asked again after it refused something. Each time at least one check or action is taken out, and mistakes are
/// mostly told all at once.
const MAX_ROUNDS: usize = 20;

/// The file, and what the user has to know.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) yaml: String,
    /// How many checks and actions run.
    pub(crate) checks: usize,
    pub(crate) actions: usize,
    /// What could not be translated, in the order of the files.
    pub(crate) lost: Vec<Lost>,
    /// What has to be done before the file can be used: secrets to be put in place.
    pub(crate) todo: Vec<String>,
}

/// Renders and judges. The error says why there is no file at all.
pub(crate) fn write(mut imported: Imported, title: &str) -> Result<Written, String> {
    for _ in 0..MAX_ROUNDS {
        let (yaml, places) = render(&imported, title);
        if yaml.len() > MAX_FILE {
            return Err(format!(
                "the result has {} bytes, and a file of conf.d has at most {MAX_FILE}: import fewer files at once",
                yaml.len()
            ));
        }
        let problems = judge(&yaml, &imported);
        if problems.is_empty() {
            return Ok(finish(imported, yaml));
        }
        let mut refused: BTreeMap<usize, String> = BTreeMap::new();
        for (line, why) in problems {
            // The item that begins last before the line.
            let index = places.partition_point(|start| *start <= line).checked_sub(1);
            let index = index.ok_or_else(|| format!("the result is no configuration: {why}"))?;
            refused.entry(index).or_insert(why);
        }
        for (index, why) in refused {
            imported.refuse(index, &why);
        }
    }
    Err("the result is no configuration even after much was taken out of it".to_owned())
}

impl Imported {
    /// The actions that are written, then the checks: the order in the file.
    fn written(&mut self) -> impl Iterator<Item = &mut Item> {
        self.actions.iter_mut().chain(&mut self.checks)
    }

    /// Takes out an item that the reader refuses, and what names it.
    fn refuse(&mut self, index: usize, why: &str) {
        let is_action = index < self.actions.len();
        let Some(item) = self.written().nth(index) else { return };
        let place = item.place.clone();
        item.lose(&place, "", &format!("monchero does not take what was made of it: {why}"));
        item.off = true;
        let name = Setting::from(item.name.as_str());
        let key = if is_action { "actions" } else { "depends_on" };
        for check in &mut self.checks {
            for (known, value) in &mut check.beside {
                if let Setting::List(items) = value
                    && *known == key
                {
                    items.retain(|item| *item != name);
                }
            }
        }
    }
}

fn finish(imported: Imported, yaml: String) -> Written {
    let count = |items: &[Item]| items.iter().filter(|item| !item.off).count();
    let (checks, actions) = (count(&imported.checks), count(&imported.actions));
    let mut lost = imported.lost;
    let mut todo = Vec::new();
    for item in imported.actions.into_iter().chain(imported.checks) {
        let mut secrets = Vec::new();
        item.settings.secrets(&mut secrets);
        todo.extend(secrets.into_iter().map(to_do));
        lost.extend(item.lost);
    }
    order::sort(&mut lost);
    lost.dedup();
    order::sort(&mut todo);
    todo.dedup();
    Written { yaml, checks, actions, lost, todo }
}

/// What has to be done about a secret.
fn to_do(secret: &Secret) -> String {
    match secret {
        Secret::File { path, from, .. } => {
            let path = escape_controls(&path.to_string_lossy());
            format!("put the secret of {from} into `{path}`, which others must not read")
        }
        Secret::Variable { name, .. } => {
            format!("set `{}` in the environment of the daemon", escape_controls(name))
        }
    }
}

/// What the configuration reader says of the text: the lines, and what is wrong there.
fn judge(yaml: &str, imported: &Imported) -> Vec<(usize, String)> {
    let mut secrets = Vec::new();
    for item in imported.actions.iter().chain(&imported.checks) {
        item.settings.secrets(&mut secrets);
    }
    let variable = |wanted: &str| {
        secrets.iter().find_map(|secret| match secret {
            Secret::Variable { name, like } if name == wanted => Some(OsString::from(like)),
            _ => None,
        })
    };
    let file = |wanted: &Path| {
        let found = secrets.iter().find_map(|secret| match secret {
            Secret::File { path, text, .. } if path == wanted => Some(text.clone()),
            _ => None,
        });
        found.ok_or_else(|| "it is not known".to_owned())
    };
    let config = Chosen { path: PathBuf::from("/"), reason: Reason::User };
    let options = LoadOptions {
        config: &config,
        kinds: Kinds::built_in(),
        env: Vec::new(),
        secrets: SecretStore { variable: &variable, file: &file },
        keep_settings: false,
    };
    let loaded = config::load_text(&options, "result", yaml.to_owned());
    let why = |problem: &config::Problem| {
        let path = if problem.path.is_empty() { String::new() } else { format!("`{}`: ", problem.path) };
        format!("{path}{}", problem.message)
    };
    loaded.problems.iter().map(|problem| (problem.line, why(problem))).collect()
}

/// The text, and the lines at which its actions and checks begin.
fn render(imported: &Imported, title: &str) -> (String, Vec<usize>) {
    let mut page = Page::default();
    page.comment(0, title);
    for note in &imported.notes {
        page.comment(0, note);
    }
    let running: Vec<&Item> = imported.checks.iter().filter(|check| !check.off).collect();
    let common = common(&running);
    if !common.is_empty() {
        page.line("\ndefaults:");
        for (key, value) in &common {
            page.text(&format!("  {key}:{}", value.yaml(2)));
        }
    }
    for (heading, items, common) in
        [("actions", &imported.actions, &[][..]), ("checks", &imported.checks, common.as_slice())]
    {
        if items.is_empty() {
            continue;
        }
        let off = items.iter().all(|item| item.off);
        page.line(&format!("\n{}{heading}:", if off { "# " } else { "" }));
        for item in items {
            page.item(item, common);
        }
    }
    if imported.checks.is_empty() && imported.actions.is_empty() {
        page.comment(0, "Nothing was found that could be a check or an action.");
    }
    if !imported.lost.is_empty() {
        page.line("\n# Not translated:");
        let mut lost: Vec<&Lost> = imported.lost.iter().collect();
        order::sort(&mut lost);
        lost.dedup();
        for lost in lost {
            page.comment(0, &format!("- {lost}"));
        }
    }
    (page.out, page.places)
}

/// What all checks have alike.
fn common(checks: &[&Item]) -> Vec<(&'static str, Setting)> {
    let Some((first, rest)) = checks.split_first().filter(|(_, rest)| !rest.is_empty()) else { return Vec::new() };
    let has = |check: &Item, key: &str, value: &Setting| check.beside.iter().any(|(k, v)| *k == key && v == value);
    let shared = |(key, value): &&(&'static str, Setting)| {
        let empty = matches!(value, Setting::List(items) if items.is_empty());
        !empty && COMMON.contains(key) && rest.iter().all(|check| has(check, key, value))
    };
    first.beside.iter().filter(shared).cloned().collect()
}

#[derive(Default)]
struct Page {
    out: String,
    lines: usize,
    places: Vec<usize>,
}

impl Page {
    fn text(&mut self, text: &str) {
        self.lines += text.matches('\n').count();
        self.out.push_str(text);
    }

    fn line(&mut self, line: &str) {
        self.text(line);
        self.text("\n");
    }

    fn comment(&mut self, indent: usize, text: &str) {
        for line in text.lines() {
            let line = escape_controls(line);
            self.line(format!("{}# {line}", " ".repeat(indent)).trim_end());
        }
    }

    fn item(&mut self, item: &Item, common: &[(&'static str, Setting)]) {
        self.places.push(self.lines + 1);
        for comment in &item.comments {
            self.comment(2, comment);
        }
        let mut secrets = Vec::new();
        item.settings.secrets(&mut secrets);
        for secret in secrets {
            self.comment(2, &format!("TO DO: {}.", to_do(secret)));
        }
        for lost in &item.lost {
            self.comment(2, &format!("not translated: {lost}"));
        }
        let mut text = format!("  {}:\n    {}:{}", scalar(&item.name), item.kind, item.settings.yaml(4));
        for (key, value) in &item.beside {
            let empty = matches!(value, Setting::List(items) if items.is_empty());
            if !empty && (item.off || !common.iter().any(|(k, v)| k == key && v == value)) {
                let _ = write!(text, "    {key}:{}", value.yaml(4));
            }
        }
        if item.off {
            let lines: String =
                text.lines().map(|line| format!("  #{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
            self.text(&lines);
        } else {
            self.text(&text);
        }
    }
}
