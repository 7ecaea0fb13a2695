//! The reference of every kind and every setting, made of the same structs that the settings are read with: `monchero kinds`, the pages of the
//! manual, and the JSON schemas for editors.

mod schema;
mod words;

use std::fmt::Write as _;

use monchero_core::items::Field;
use monchero_core::order;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value as Json, json};

use crate::config::Kinds;
use crate::config::settings::{ActionSettings, CheckSettings, DowntimeSettings, Settings};

pub use schema::{conf_d_schema, settings_schema};
pub use words::paragraphs;
use words::{first_sentence, settings_of, wrap};

/// What a kind is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A check.
    Check,
    /// An action that tells somebody.
    Target,
    /// An action that does something.
    Script,
}

impl Sort {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Target => "action that tells somebody",
            Self::Script => "action that does something",
        }
    }
}

/// A kind, as the manual shows it.
#[derive(Clone, Debug)]
pub struct KindReference {
    /// The key in `conf.d`.
    pub name: &'static str,
    /// What it is of.
    pub sort: Sort,
    /// The first sentence about it.
    pub summary: String,
    /// All about it; paragraphs are separated by an empty line.
    pub description: String,
    /// Settings that work, as YAML.
    pub example: &'static str,
    /// The setting that a bare text is short for.
    pub short_for: Option<&'static str>,
    /// The settings, those that must be there first; nested ones behind the one that they belong to.
    pub settings: Vec<SettingReference>,
    /// What it knows of each thing that it looks at, the main one first.
    pub fields: &'static [Field<'static>],
}

/// A setting, as the manual shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingReference {
    /// The name, with those of the maps that it stands in: `expect.status`; `[]` stands for each item of a list.
    pub name: String,
    /// What its value is: `text`, `duration`, `list of texts`, ..
    pub value: String,
    /// Whether it must be there.
    pub required: bool,
    /// What it is unless it is given, if the type knows; the description says so otherwise.
    pub default: Option<String>,
    /// What it means.
    pub description: String,
}

/// The names of all kinds, checks first.
pub fn kind_names() -> Vec<&'static str> {
    let kinds = Kinds::built_in();
    kinds.checks.iter().map(|kind| kind.name).chain(kinds.actions.iter().map(|kind| kind.name)).collect()
}

/// All kinds: checks first, each sort by name.
pub fn kinds() -> Vec<KindReference> {
    kinds_of(Kinds::built_in())
}

fn kinds_of(kinds: Kinds) -> Vec<KindReference> {
    let mut all = Vec::new();
    for kind in kinds.checks {
        let document = document(|generator| kind.schema(generator).to_value());
        all.push(KindReference {
            fields: kind.fields,
            ..KindReference::new(kind.name, Sort::Check, kind.example, kind.short_for, &document)
        });
    }
    for kind in kinds.actions {
        let document = document(|generator| kind.schema(generator).to_value());
        let sort = if kind.tells { Sort::Target } else { Sort::Script };
        all.push(KindReference::new(kind.name, sort, kind.example, kind.short_for, &document));
    }
    order::sort_by_key(&mut all, |kind| (kind.sort != Sort::Check, kind.name));
    all
}

/// A schema with what it refers to.
fn document(schema: impl FnOnce(&mut SchemaGenerator) -> Json) -> Json {
    let mut generator = SchemaGenerator::default();
    let schema = schema(&mut generator);
    json!({ "schema": schema, "$defs": generator.take_definitions(true) })
}

impl KindReference {
    fn new(
        name: &'static str,
        sort: Sort,
        example: &'static str,
        short_for: Option<&'static str>,
        document: &Json,
    ) -> Self {
        let description = document.pointer("/schema/description").and_then(Json::as_str).unwrap_or_default().to_owned();
        let summary = first_sentence(&description);
        Self { name, sort, summary, description, example, short_for, settings: settings_of(document), fields: &[] }
    }

    /// The example as a whole entry of `checks:` or `actions:`.
    pub fn example_entry(&self) -> String {
        let (section, name) = if self.sort == Sort::Check { ("checks", "example") } else { ("actions", "example") };
        let example = self.example.trim_end();
        if !example.contains('\n') {
            return format!("{section}:\n  {name}:\n    {}: {}\n", self.name, example.trim_start());
        }
        // A block (`|`) begins behind the colon, a map in the next line.
        let mut lines = example.trim_start_matches('\n').lines().peekable();
        let mut out = format!("{section}:\n  {name}:\n    {}:", self.name);
        if let Some(first) = lines.next_if(|line| line.starts_with(['|', '>', '{', '['])) {
            let _ = write!(out, " {first}");
        }
        out.push('\n');
        for line in lines {
            let _ = writeln!(out, "{}{line}", if line.is_empty() { "" } else { "      " });
        }
        out
    }
}

/// What every check has besides its kind.
pub fn check_settings() -> Vec<SettingReference> {
    let mut settings = settings_of_struct::<CheckSettings>();
    settings.extend(schema::check_only().into_iter().map(|(name, value, description)| SettingReference {
        name: name.to_owned(),
        value: value.to_owned(),
        required: false,
        default: None,
        description: description.to_owned(),
    }));
    settings
}

/// What every action has besides its kind.
pub fn action_settings() -> Vec<SettingReference> {
    settings_of_struct::<ActionSettings>()
}

/// What every downtime that recurs has.
pub fn downtime_settings() -> Vec<SettingReference> {
    settings_of_struct::<DowntimeSettings>()
}

/// The settings of `monchero.yaml`.
pub fn daemon_settings() -> Vec<SettingReference> {
    settings_of_struct::<Settings>()
}

fn settings_of_struct<T: JsonSchema>() -> Vec<SettingReference> {
    settings_of(&document(|generator| T::json_schema(generator).to_value()))
}

/// `monchero kinds`: each kind with its first sentence.
pub fn list(width: usize) -> String {
    let kinds = kinds();
    let longest = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (title, is_check) in [("Checks", true), ("Actions", false)] {
        let _ = writeln!(out, "{title}");
        for kind in kinds.iter().filter(|kind| (kind.sort == Sort::Check) == is_check) {
            let indent = longest + 4;
            let text = wrap(&kind.summary, width.saturating_sub(indent), indent);
            let _ = writeln!(out, "  {:<longest$}  {}", kind.name, text.trim_start());
        }
        out.push('\n');
    }
    out.push_str("`monchero kinds KIND` shows the settings of one.\n");
    out
}

/// `monchero kinds KIND`: all about one kind. None if there is no such kind.
pub fn text(name: &str, width: usize) -> Option<String> {
    // A check and an action may have one name, such as `file`.
    let pages: Vec<String> = kinds().iter().filter(|kind| kind.name == name).map(|kind| page(kind, width)).collect();
    (!pages.is_empty()).then(|| pages.join("\n\n"))
}

fn page(kind: &KindReference, width: usize) -> String {
    let name = kind.name;
    let mut out = format!("{} ({})\n\n", kind.name, kind.sort.describe());
    write_paragraphs(&mut out, &kind.description, width, 0);
    let _ = writeln!(out, "\nExample\n");
    kind.example_entry().lines().for_each(|line| _ = writeln!(out, "  {line}"));
    if let Some(setting) = kind.short_for {
        let short =
            format!("A bare text is short for `{setting}`: `{name}: TEXT` means `{name}: {{ {setting}: TEXT }}`.");
        let _ = writeln!(out, "\n{}", wrap(&short, width, 0));
    }
    if !kind.fields.is_empty() {
        let _ = writeln!(out, "\n{FIELDS}\n");
    }
    for field in kind.fields {
        let _ = writeln!(out, "  {} ({})", field.name, unit(field));
        write_paragraphs(&mut out, field.help, width, 6);
    }
    let general = if kind.sort == Sort::Check { check_settings() } else { action_settings() };
    let general = general.into_iter().filter(|setting| fits(kind.sort, &setting.name)).collect::<Vec<_>>();
    let what = if kind.sort == Sort::Check {
        "Beside it, as for every check"
    } else {
        "Beside it, as for every action of this sort"
    };
    for (title, settings) in [("Settings", &kind.settings), (what, &general)] {
        if !settings.is_empty() {
            let _ = writeln!(out, "\n{title}\n");
        }
        for setting in settings {
            let head = wrap(&format!("{} {}", setting.name, remarks(setting)), width.saturating_sub(6), 6);
            let _ = writeln!(out, "  {}", head.trim_start());
            write_paragraphs(&mut out, &setting.description, width, 6);
        }
    }
    out
}

/// The heading over the fields of a kind.
const FIELDS: &str = "Fields, as `warning`, `bad`, `only` and `except` name them";

/// What the values of a field are.
pub fn unit(field: &Field<'_>) -> String {
    unit_name(field.unit)
}

/// What values in this unit are; texts have none.
pub(crate) fn unit_name(unit: Option<&str>) -> String {
    match unit {
        None => "text".to_owned(),
        Some("") => "number".to_owned(),
        Some("%") => "percent".to_owned(),
        Some("B") => "bytes".to_owned(),
        Some("s") => "seconds".to_owned(),
        Some(other) => other.to_owned(),
    }
}

/// A text in lines that fit.
pub(crate) fn wrap_text(text: &str, width: usize) -> String {
    wrap(text, width, 0)
}

/// Writes a text as paragraphs with an empty line between them; items of a list stand close together.
fn write_paragraphs(out: &mut String, text: &str, width: usize, indent: usize) {
    for (i, paragraph) in paragraphs(text).into_iter().enumerate() {
        if i > 0 && !paragraph.starts_with("- ") {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", wrap(&paragraph, width.saturating_sub(indent), indent));
    }
}

/// Whether a general setting is for actions of this sort.
fn fits(sort: Sort, setting: &str) -> bool {
    let name = setting.split('.').next().unwrap_or(setting);
    sort == Sort::Check || !ActionSettings::foreign(sort == Sort::Target).contains(&name)
}

/// What the value is, whether it must be there, and the default.
pub fn remarks(setting: &SettingReference) -> String {
    let mut out = format!("({}", setting.value);
    if setting.required {
        out.push_str(", required");
    }
    if let Some(default) = &setting.default {
        let _ = write!(out, ", default {default}");
    }
    out + ")"
}

/// The reference of everything as a page of Markdown.
pub fn markdown() -> String {
    let mut out =
        String::from("# Checks, actions and their settings\n\nThis page is made of the code by `cargo xtask gen`.\n");
    markdown_settings(&mut out, "## What every check has", &check_settings());
    markdown_settings(&mut out, "## What every action has", &action_settings());
    markdown_settings(&mut out, "## What every downtime under `downtimes:` has", &downtime_settings());
    let kinds = kinds();
    for (title, is_check) in [("Kinds of checks", true), ("Kinds of actions", false)] {
        let _ = writeln!(out, "\n## {title}");
        for kind in kinds.iter().filter(|kind| (kind.sort == Sort::Check) == is_check) {
            let _ = writeln!(out, "\n### {}", kind.name);
            markdown_paragraphs(&mut out, &kind.description, "");
            let _ = writeln!(out, "\n```yaml\n{}```", kind.example_entry());
            if let Some(setting) = kind.short_for {
                let _ = writeln!(out, "\nA bare text is short for `{setting}`.");
            }
            if !kind.settings.is_empty() {
                markdown_settings(&mut out, &format!("#### Settings of `{}`", kind.name), &kind.settings);
            }
            if !kind.fields.is_empty() {
                let _ = writeln!(out, "\n#### Fields of `{}`\n", kind.name);
            }
            for field in kind.fields {
                let _ = writeln!(out, "- **`{}`** ({}): {}", field.name, unit(field), field.help);
            }
        }
    }
    markdown_settings(&mut out, "## monchero.yaml", &daemon_settings());
    out
}

fn markdown_settings(out: &mut String, title: &str, settings: &[SettingReference]) {
    let _ = writeln!(out, "\n{title}\n");
    for setting in settings {
        let _ = writeln!(out, "- **`{}`** {}", setting.name, remarks(setting));
        markdown_paragraphs(out, &setting.description, "  ");
    }
}

/// An empty line stands before each paragraph and before each list.
fn markdown_paragraphs(out: &mut String, text: &str, indent: &str) {
    let mut in_list = false;
    for paragraph in paragraphs(text) {
        let is_item = paragraph.starts_with("- ");
        if !(is_item && in_list) {
            out.push('\n');
        }
        in_list = is_item;
        let _ = writeln!(out, "{indent}{paragraph}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_page_with_an_example_that_loads() {
        let kinds = kinds();
        assert_eq!(kinds.len(), kind_names().len());
        for kind in kinds {
            assert!(kind.summary.ends_with('.') && kind.summary.len() > 10, "{}: `{}`", kind.name, kind.summary);
            for setting in &kind.settings {
                assert!(!setting.description.is_empty(), "`{}.{}` has no description", kind.name, setting.name);
                assert!(!setting.value.is_empty(), "`{}.{}` has no type", kind.name, setting.name);
            }
            assert!(text(kind.name, 80).unwrap().contains(&page(&kind, 80)));
            let page = page(&kind, 80);
            let example: Vec<String> = kind.example_entry().lines().map(|line| format!("  {line}")).collect();
            let long: Vec<&str> = page
                .lines()
                .filter(|line| line.chars().count() > 80 && !example.iter().any(|known| known == line))
                .collect();
            assert!(long.is_empty(), "{long:#?}");
            assert!(page.contains(kind.name) && page.contains("Example"));
            loads(&kind.example_entry());
        }
        assert_eq!(text("no-such-kind", 80), None);
    }

    fn loads(text: &str) {
        loads_with("# all as usual\n", text);
    }

    /// `monchero.yaml` and a file of `conf.d` have no mistakes.
    fn loads_with(settings: &str, text: &str) {
        use crate::config::{Chosen, LoadOptions, Reason, SecretStore, load};
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("conf.d")).unwrap();
        for (name, text) in [("monchero.yaml", settings), ("conf.d/a.yaml", text)] {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let config = Chosen { path: directory.path().to_owned(), reason: Reason::User };
        // An example may refer to a secret that is not on this machine.
        let variable = |_: &str| Some("a-secret".into());
        let secrets = SecretStore { variable: &variable, file: &crate::config::read_secret };
        let options =
            LoadOptions { config: &config, kinds: Kinds::built_in(), env: Vec::new(), secrets, keep_settings: false };
        let problems = load(&options).problems;
        let wrong: Vec<String> = problems
            .iter()
            .map(crate::config::Problem::one_line)
            .filter(|line| !line.contains("the secret in"))
            .collect();
        assert!(wrong.is_empty(), "{text}\n{}", wrong.join("\n"));
    }

    /// That they load is tested with the other documents.
    #[test]
    fn the_page_about_telling_people_has_examples_of_every_target() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/notifications.md");
        let page = std::fs::read_to_string(path).unwrap();
        for kind in monchero_actions::KINDS.iter().filter(|kind| kind.tells) {
            let key = format!("    {}:", kind.name);
            assert!(page.lines().any(|line| line.starts_with(&key)), "no example of `{}` in {path}", kind.name);
        }
    }

    #[test]
    fn general_settings_are_listed_with_types_and_descriptions() {
        let settings = check_settings();
        let find =
            |name: &str| settings.iter().find(|setting| setting.name == name).unwrap_or_else(|| panic!("no `{name}`"));
        assert_eq!(find("interval").value, "duration");
        assert_eq!(find("retries").value, "whole number");
        assert_eq!(find("labels").value, "map of texts");
        assert_eq!(find("actions").value, "list of texts");
        assert_eq!(find("on_timeout").value, "`okay`, `warning`, `unknown` or `bad`");
        assert_eq!(find("flapping.window").value, "duration");
        assert!(find("for_each").description.contains("each with"));
        assert!(settings.iter().all(|setting| !setting.description.is_empty()));
        assert!(action_settings().iter().any(|setting| setting.name == "quiet.from" && setting.required));
        assert!(daemon_settings().iter().any(|setting| setting.name == "plugin_directories[].path"));
    }

    #[test]
    fn lists_and_pages_fit_the_width() {
        let list = list(60);
        assert!(list.lines().all(|line| line.chars().count() <= 60), "{list}");
        assert!(markdown().contains("## monchero.yaml"));
    }
}
