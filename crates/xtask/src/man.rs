//! The manual: pages made of the command line's definition and of the settings structs, so that none can say what the program does not.

use anyhow::{Context as _, Result};
use clap_mangen::Man;
use monchero::reference::{self, KindReference, SettingReference, Sort};
use roff::{Inline, Roff, bold, roman};

const SOURCE: &str = "monchero";
const MANUAL: &str = "monchero manual";

/// Every page: its path and its text.
pub(crate) fn pages() -> Result<Vec<(String, String)>> {
    let mut pages = commands()?;
    pages.push(("man/monchero-checks.7".to_owned(), kinds_page("monchero-checks", true)));
    pages.push(("man/monchero-actions.7".to_owned(), kinds_page("monchero-actions", false)));
    pages.push(("man/monchero.yaml.5".to_owned(), settings_page()));
    Ok(pages)
}

/// The page of the program and one for each of its commands.
fn commands() -> Result<Vec<(String, String)>> {
    let mut definition = monchero::cli::definition();
    definition.build();
    let commands: Vec<clap::Command> = definition
        .get_subcommands()
        .filter(|command| command.get_name() != "help" && !command.is_hide_set())
        .cloned()
        .collect();
    let mut pages = vec![("man/monchero.1".to_owned(), program_page(definition)?)];
    for command in commands {
        let name = format!("monchero-{}", command.get_name());
        let text = command_page(command.name(name.clone()), &["monchero(1)"])?;
        pages.push((format!("man/{name}.1"), text));
    }
    Ok(pages)
}

fn program_page(definition: clap::Command) -> Result<String> {
    let mut text = command_page(definition, &[])?;
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in monchero::cli::EXIT_STATUSES {
        page.control("TP", []).text([bold(status.to_string())]).text(words(meaning));
    }
    for (title, rows) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        page.control("SH", [title]);
        for (term, meaning) in rows {
            page.control("TP", []).text([bold(*term)]).text(words(meaning));
        }
    }
    see_also(&mut page, &["monchero.yaml(5)", "monchero-checks(7)", "monchero-actions(7)"]);
    text.push_str(&page.to_roff());
    Ok(text)
}

const FILES: &[(&str, &str)] = &[
    (
        "/etc/monchero/monchero.yaml, ~/.config/monchero/monchero.yaml",
        "The settings of the daemon; may be missing. See monchero.yaml(5).",
    ),
    (
        "/etc/monchero/conf.d/*.yaml, ~/.config/monchero/conf.d/*.yaml",
        "Checks and actions. See monchero-checks(7) and monchero-actions(7).",
    ),
    ("/var/lib/monchero/, ~/.local/state/monchero/", "What the daemon remembers: one SQLite database."),
    (
        "/run/monchero/monchero.sock, $XDG_RUNTIME_DIR/monchero.sock",
        "The socket by which the commands talk to the daemon.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("MONCHERO_CONFIG", "The directory that holds `monchero.yaml` and `conf.d/`, as `--config`."),
    ("MONCHERO_STATE_DIR", "Where the daemon keeps its state, as `--state-dir`."),
    ("MONCHERO_SOCKET", "The socket, as `--socket`."),
    ("NO_COLOR", "No colours if it is set to anything."),
];

fn command_page(command: clap::Command, related: &[&str]) -> Result<String> {
    let name = command.get_name().to_owned();
    // No date: the same sources give the same page.
    let man = Man::new(command).title(name.to_uppercase()).section("1").date("").source(SOURCE).manual(MANUAL);
    let mut bytes = Vec::new();
    man.render(&mut bytes).with_context(|| format!("writing the page of `{name}`"))?;
    let mut text = String::from_utf8(bytes).with_context(|| format!("the page of `{name}`"))?;
    if !related.is_empty() {
        let mut page = Roff::new();
        see_also(&mut page, related);
        text.push_str(&page.to_roff());
    }
    Ok(text)
}

/// A page of section 5 or 7, with its head.
fn page(name: &str, section: &str, what: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [&*name.to_uppercase(), section, "", SOURCE, MANUAL]);
    page.control("SH", ["NAME"]).text([roman(format!("{name} - {what}"))]);
    page
}

fn see_also(page: &mut Roff, related: &[&str]) {
    page.control("SH", ["SEE ALSO"]).text([roman(related.join(", "))]);
}

/// The reference of all kinds of checks, or of actions.
fn kinds_page(name: &str, checks: bool) -> String {
    let (what, intro) = if checks {
        ("the kinds of checks, and what every check has", CHECKS)
    } else {
        ("the kinds of actions, and what every action has", ACTIONS)
    };
    let mut page = page(name, "7", what);
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut page, intro);
    let kinds: Vec<KindReference> =
        reference::kinds().into_iter().filter(|kind| (kind.sort == Sort::Check) == checks).collect();
    let general = if checks { reference::check_settings() } else { reference::action_settings() };
    let title = if checks { "WHAT EVERY CHECK HAS" } else { "WHAT EVERY ACTION HAS" };
    page.control("SH", [title]);
    settings(&mut page, &general);
    if !checks {
        page.control("SH", ["DOWNTIMES THAT RECUR"]);
        paragraphs(&mut page, DOWNTIMES);
        settings(&mut page, &reference::downtime_settings());
    }
    for kind in &kinds {
        page.control("SH", [&*kind.name.to_uppercase()]);
        paragraphs(&mut page, &kind.description);
        example(&mut page, &kind.example_entry());
        if let Some(setting) = kind.short_for {
            paragraphs(&mut page, &format!("A bare text is short for `{setting}`."));
        }
        settings(&mut page, &kind.settings);
        if !kind.fields.is_empty() {
            page.control("PP", []).text([roman("Fields:")]);
        }
        for field in kind.fields {
            page.control("TP", [])
                .text([bold(field.name), roman(format!(" ({})", reference::unit(field)))])
                .text(words(field.help));
        }
    }
    see_also(&mut page, &["monchero(1)", "monchero-kinds(1)", "monchero.yaml(5)"]);
    page.to_roff()
}

const CHECKS: &str = "A check stands under its name in the map `checks` of a file in `conf.d`. The kind is the key; what the kind needs is a map under it, what every check has stands beside it.\n\n\
    The settings `only` and `except` of a kind that looks at many things of a sort say which of them count, by a glob on the name or by conditions on fields; `warning` and `bad` say when a field alerts. Numbers are compared with ranges (`80`, `10:`, `@10:20`, `> 90%`, `< 10GiB`), texts with globs (`nfs*`, `!running`).";
const ACTIONS: &str = "An action stands under its name in the map `actions` of a file in `conf.d`. Checks name the actions that are theirs; `defaults` in a file and in `monchero.yaml` name those of all checks.";

const DOWNTIMES: &str = "A downtime that recurs stands under its name in the map `downtimes` of a file in `conf.d`: planned work, in which messages about problems wait, each time.";

fn settings_page() -> String {
    let mut page = page("monchero.yaml", "5", "the settings of the monchero daemon");
    page.control("SH", ["DESCRIPTION"]);
    paragraphs(
        &mut page,
        "The file `monchero.yaml` stands beside the directory `conf.d` and holds what is not about a single check or action. It may be missing: every setting has a default. `monchero paths` says which file is read.",
    );
    page.control("SH", ["SETTINGS"]);
    settings(&mut page, &reference::daemon_settings());
    see_also(&mut page, &["monchero(1)", "monchero-checks(7)", "monchero-actions(7)"]);
    page.to_roff()
}

fn settings(page: &mut Roff, settings: &[SettingReference]) {
    for setting in settings {
        page.control("TP", []);
        let mut head = vec![bold(&*setting.name), roman(" ")];
        head.extend(words(&reference::remarks(setting)));
        page.text(head);
        for (index, paragraph) in reference::paragraphs(&setting.description).into_iter().enumerate() {
            if index > 0 {
                page.control("IP", []);
            }
            page.text(words(&paragraph));
        }
    }
}

fn paragraphs(page: &mut Roff, text: &str) {
    for paragraph in reference::paragraphs(text) {
        page.control("PP", []).text(words(&paragraph));
    }
}

/// A block of YAML as it stands.
fn example(page: &mut Roff, text: &str) {
    page.control("PP", []).control("RS", ["4"]).control("nf", []);
    for line in text.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []).control("RE", []);
}

/// A text whose parts in backticks are bold.
fn words(text: &str) -> Vec<Inline> {
    text.split('`').enumerate().map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
