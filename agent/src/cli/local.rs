//! What needs no daemon: `monchero config`, `kinds`, `schema`, `paths`, `completions`.

use std::fmt::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;
use monchero_core::node;
use monchero_core::order;
use monchero_core::text::counted;
use serde_json::json;

use super::exit::{self, Ended, Failed};
use super::screen::{self, Screen};
use super::table::{Cell, Column, Table};
use crate::config::{self, LoadOptions, Loaded, Paths};
use crate::daemon;
use crate::reference::{self, KindReference, SettingReference};

/// How wide a text for reading is at most.
const PAGE: usize = 100;

/// `monchero config ..`.
#[derive(Subcommand, Debug)]
pub(super) enum ConfigCommand {
    /// Read the configuration and say what is wrong with it. The exit status is 65 if anything is.
    Check {
        /// Print JSON: `{"checks", "actions", "problems": [{"file", "line", "column", "message", ..}], "warnings"}`.
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration fully resolved, each value with the place that it comes from. Secrets are not shown.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs `monchero config`.
pub(super) fn config(paths: &Paths, screen: &Screen, command: &ConfigCommand) -> Ended {
    let keep_settings = matches!(command, ConfigCommand::Show { .. });
    let loaded = config::load(&LoadOptions { keep_settings, ..daemon::options(&paths.config, Vec::new()) });
    match command {
        ConfigCommand::Check { json: true } => {
            let configuration = &loaded.configuration;
            print_pretty(&json!({
                "checks": configuration.checks.len(),
                "actions": configuration.actions.len(),
                "problems": loaded.problems,
                "warnings": configuration.warnings,
            }))?;
        }
        ConfigCommand::Check { json: false } => screen::print(&verdict(paths, screen, &loaded))?,
        ConfigCommand::Show { json: true } => print_pretty(&config::show::json(&loaded))?,
        ConfigCommand::Show { json: false } => screen::print(&config::show::text(&loaded))?,
    }
    if loaded.problems.is_empty() {
        return Ok(0.into());
    }
    let count = loaded.problems.len();
    let error = format!("the configuration has {}", counted(count, "problem"));
    Err(Failed { exit: exit::CONFIG, ..Failed::new(error) }.hint(match command {
        ConfigCommand::Check { .. } => {
            "a daemon that starts runs what is good; a reload changes nothing until all of it is"
        }
        ConfigCommand::Show { .. } => "`monchero config check` says what is wrong; what is shown is what is good",
    }))
}

/// What is wrong, each with its place, or what is there.
fn verdict(paths: &Paths, screen: &Screen, loaded: &Loaded) -> String {
    let mut out = String::new();
    for problem in &loaded.problems {
        let _ = writeln!(out, "{}\n", problem.render(screen.colour));
    }
    for warning in &loaded.configuration.warnings {
        let _ = writeln!(out, "warning: {}", screen::line(warning));
    }
    let checks = counted(loaded.configuration.checks.len(), "check");
    let actions = counted(loaded.configuration.actions.len(), "action");
    let what = if loaded.problems.is_empty() { "all good" } else { "good" };
    let conf_d = paths.conf_d();
    let place = match loaded.definition_files {
        Some(files) => format!("{} of {}", counted(files, "file"), conf_d.display()),
        None => format!("no file: there is no {}", conf_d.display()),
    };
    let _ = writeln!(out, "{what}: {checks} and {actions} in {place}");
    out
}

fn print_pretty(value: &serde_json::Value) -> Result<(), Failed> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| Failed::new(format!("cannot write JSON: {error}")))?;
    Ok(screen::print_json(&text)?)
}

/// Options of `monchero kinds`.
#[derive(Args, Debug)]
pub(super) struct KindsArgs {
    /// The kind of check or action; a line about each of them if missing.
    kind: Option<String>,
    /// Print JSON: `[{"name", "sort", "summary", "description", "example", "short_for", "settings": [{"name", "value", "required", "default",
    /// "description"}]}]`.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero kinds`.
pub(super) fn kinds(screen: &Screen, args: &KindsArgs) -> Ended {
    if let Some(kind) = args.kind.as_deref().filter(|kind| !reference::kind_names().contains(kind)) {
        let hint = match node::nearest(kind, reference::kind_names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`monchero kinds` lists all kinds".to_owned(),
        };
        return Err(Failed::usage(format!("there is no kind `{kind}`")).hint(hint));
    }
    if args.json {
        let wanted = |kind: &KindReference| args.kind.as_deref().is_none_or(|name| name == kind.name);
        print_pretty(&reference::kinds().iter().filter(|kind| wanted(kind)).map(kind_json).collect())?;
        return Ok(0.into());
    }
    // Text for reading is not wider than a page.
    let width = screen.width.unwrap_or(PAGE).min(PAGE);
    let text = args.kind.as_deref().map_or_else(|| Some(reference::list(width)), |kind| reference::text(kind, width));
    screen::print(&text.unwrap_or_default())?;
    Ok(0.into())
}

fn kind_json(kind: &KindReference) -> serde_json::Value {
    let setting = |setting: &SettingReference| {
        json!({
            "name": setting.name,
            "value": setting.value,
            "required": setting.required,
            "default": setting.default,
            "description": setting.description,
        })
    };
    json!({
        "name": kind.name,
        "sort": kind.sort.describe(),
        "summary": kind.summary,
        "description": kind.description,
        "example": kind.example,
        "short_for": kind.short_for,
        "settings": kind.settings.iter().map(setting).collect::<Vec<_>>(),
        "fields": kind.fields.iter().map(|field| json!({ "name": field.name, "unit": field.unit, "help": field.help })).collect::<Vec<_>>(),
    })
}

/// Which file a schema is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum SchemaOf {
    /// The files in `conf.d`.
    #[default]
    #[value(name = "conf.d")]
    ConfD,
    /// The daemon's settings.
    #[value(name = "monchero.yaml")]
    Settings,
}

/// Options of `monchero schema`.
#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Which file it is of.
    #[arg(value_enum, default_value_t)]
    file: SchemaOf,
}

/// Runs `monchero schema`.
pub(super) fn schema(args: &SchemaArgs) -> Ended {
    print_pretty(&match args.file {
        SchemaOf::ConfD => reference::conf_d_schema(),
        SchemaOf::Settings => reference::settings_schema(),
    })?;
    Ok(0.into())
}

/// Options of `monchero paths`.
#[derive(Args, Debug)]
pub(super) struct PathsArgs {
    /// Print JSON: `{WHAT: {"path", "reason"}}`.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero paths`.
pub(super) fn paths(paths: &Paths, screen: &Screen, args: &PathsArgs) -> Ended {
    let report = paths.report();
    if args.json {
        let entry = |(what, path, why): &(&str, std::path::PathBuf, String)| {
            ((*what).to_owned(), json!({ "path": path, "reason": why }))
        };
        print_pretty(&serde_json::Value::Object(order::tree(report.iter().map(entry))))?;
        return Ok(0.into());
    }
    let mut table = Table::new(["WHAT", "PATH", "WHY"].map(Column::new));
    for (what, path, why) in &report {
        table.push([Cell::new(what), Cell::made(path.display().to_string()), Cell::new(why)]);
    }
    screen::print(&table.render(screen))?;
    Ok(0.into())
}

/// Options of `monchero completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Runs `monchero completions`.
pub(super) fn completions(args: &CompletionsArgs) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::definition(), "monchero", &mut script);
    screen::print(&String::from_utf8_lossy(&script))?;
    Ok(0.into())
}
