//! The command line: a client of the daemon's API, and a few commands that need no daemon. The only room that prints.

mod child;
mod course;
mod discover;
mod drill;
mod exit;
mod explain;
mod history;
mod holds;
mod import;
mod local;
mod notify;
mod once;
mod operate;
mod ping;
mod screen;
mod show;
mod status;
mod summary;
mod table;
mod top;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser, Subcommand};
use monchero_api::Client;

pub use exit::ALL as EXIT_STATUSES;
use exit::{Ended, Failed};
use screen::{Colour, Screen};

use crate::config::{Overrides, Paths};
use crate::daemon;

/// Runs checks, remembers what state they are in, and does something about it.
#[derive(Parser, Debug)]
#[command(
    name = "monchero",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    subcommand_required = true
)]
struct Cli {
    /// The directory that holds `monchero.yaml` and `conf.d` [env: `MONCHERO_CONFIG`]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// The directory of the database [env: `MONCHERO_STATE_DIR`]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    state_dir: Option<PathBuf>,
    /// The daemon's control socket [env: `MONCHERO_SOCKET`]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    socket: Option<PathBuf>,
    /// When to use colour; `NO_COLOR` turns it off too
    #[arg(
        long,
        alias = "colour",
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    color: Colour,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the daemon, in the foreground.
    Agent {
        /// Move an unusable database aside and start with an empty one.
        #[arg(long)]
        reset_state: bool,
    },
    /// Show what state the checks are in. The exit status tells the worst: 0 okay, 1 warning, 2 bad, 3 unknown.
    Status(status::StatusArgs),
    /// Show all checks, live, on the whole screen, with keys to look closer, acknowledge, plan downtimes and run checks.
    Top(top::TopArgs),
    /// Show everything about one check.
    Show(show::ShowArgs),
    /// Let the daemon run checks now, and print what they find.
    Run(operate::RunArgs),
    /// Without a daemon, run every check of the configuration once.
    Once(once::OnceArgs),
    /// Show what happened: changes of state, notices, actions, measured values.
    History(history::HistoryArgs),
    /// Show how everything is and what happened in a period, or send that to a target.
    Summary(summary::SummaryArgs),
    /// Hand in a result that somebody else found.
    Submit(operate::SubmitArgs),
    /// Tell a check that waits for a job how the job is doing, or run the job and tell it.
    Ping(ping::PingArgs),
    /// Acknowledge a problem: its notices wait until it is over or changes.
    Ack(holds::AckArgs),
    /// Plan, list and end downtimes, or run a command in one.
    #[command(subcommand)]
    Downtime(holds::DowntimeCommand),
    /// Test a target, or show who was told what.
    #[command(subcommand)]
    Notify(notify::NotifyCommand),
    /// Show who would be told what, and what would run, if a check became something now. Nothing changes.
    Drill(drill::DrillArgs),
    /// Let the daemon read its configuration again. If anything is wrong with it, nothing changes.
    Reload(operate::ReloadArgs),
    /// Check or print the configuration.
    #[command(subcommand)]
    Config(local::ConfigCommand),
    /// Look at this host, and propose checks for what no check looks at yet.
    Discover(discover::DiscoverArgs),
    /// Make a file of checks of the configuration of another system, and list what could not be translated.
    ///
    /// Checks, what they depend on and who is told become a file of `conf.d` that says where each of them comes from. What cannot be translated
    /// is listed on standard error with its file and line, and stands as a comment where it belongs: nothing is left out silently. Nothing is
    /// run while files are imported.
    ///
    /// Secrets are not copied: an action names the file or the variable from which it takes one, and what has to be put there is listed. A
    /// plugin with a secret in its command is written as a comment until that is settled.
    ///
    /// The exit status is 0 when all was translated, 1 when something was not, and 2 when nothing could be made.
    Import(import::ImportArgs),
    /// Explain the kinds of checks and actions.
    Kinds(local::KindsArgs),
    /// Print a JSON schema, for editors.
    Schema(local::SchemaArgs),
    /// Print which directories and which socket are in force, and why.
    Paths(local::PathsArgs),
    /// Print completions for a shell.
    Completions(local::CompletionsArgs),
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // What the daemon starts of itself: before anything else, since each is one of many and must be quick.
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("guard") => return status_of(monchero_exec::guard_main(arguments.into_iter().skip(2))),
        Some("exec-as") => return status_of(monchero_exec::exec_as_main(arguments.into_iter().skip(2))),
        _ => {}
    }
    let ended = match daemon::started_again(&arguments) {
        Some((overrides, reset_state)) => agent(&overrides, reset_state),
        None => match Cli::try_parse_from(arguments) {
            Ok(cli) => dispatch(cli),
            Err(error) => misuse(&error),
        },
    };
    ended.unwrap_or_else(|failed| {
        complain(&failed);
        ExitCode::from(failed.exit)
    })
}

fn status_of(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

/// Says on standard error why something was not done.
fn complain(failed: &Failed) {
    // Nobody is left to tell if standard error is gone too.
    let _ = std::io::stderr().lock().write_all(failed.render().as_bytes());
}

/// The command line's definition, for completions and the manual.
pub fn definition() -> clap::Command {
    Cli::command()
}

fn agent(overrides: &Overrides, reset_state: bool) -> Ended {
    let paths = Paths::from_process(overrides)?;
    daemon::run(&paths, reset_state).map_err(|error| Failed::new(format!("{error:#}")))
}

fn dispatch(cli: Cli) -> Ended {
    let overrides = Overrides { config: cli.config, state_dir: cli.state_dir, socket: cli.socket };
    let paths = Paths::from_process(&overrides)?;
    let screen = Screen::stdout(cli.color);
    let client = |paths: Paths| Client::new(paths.for_client().socket.path);
    match cli.command {
        Command::Agent { reset_state } => agent(&overrides, reset_state),
        Command::Status(args) => wait(status::status(&client(paths), &screen, args)),
        Command::Top(args) => wait(top::top(client(paths), &screen, args)),
        Command::Show(args) => wait(show::show(&client(paths), &screen, args)),
        Command::Run(args) => wait(operate::run(&client(paths), &screen, args)),
        Command::Once(args) => wait(once::once(&paths, &screen, args)),
        Command::History(args) => wait(history::history(&client(paths), &screen, args)),
        Command::Summary(args) => wait(summary::summary(&client(paths), &screen, args)),
        Command::Submit(args) => wait(operate::submit(&client(paths), args)),
        Command::Ping(args) => wait(ping::ping(&client(paths), args)),
        Command::Ack(args) => wait(holds::ack(&client(paths), &screen, args)),
        Command::Downtime(command) => wait(holds::downtime(&client(paths), &screen, command)),
        Command::Notify(command) => wait(notify::notify(&client(paths), &screen, command)),
        Command::Drill(args) => wait(drill::drill(&client(paths), &screen, args)),
        Command::Reload(args) => wait(operate::reload(&client(paths), args)),
        Command::Config(command) => local::config(&paths.for_client(), &screen, &command),
        Command::Discover(args) => discover::discover(&paths.for_client(), &args),
        Command::Import(args) => import::import(&paths.for_client(), &args),
        Command::Kinds(args) => local::kinds(&screen, &args),
        Command::Schema(args) => local::schema(&args),
        Command::Paths(args) => local::paths(&paths.for_client(), &screen, &args),
        Command::Completions(args) => local::completions(&args),
    }
}

/// Waits for what a command does. One thread does: it asks and waits.
fn wait(command: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::new(format!("cannot start the event loop: {error}")))?;
    let ended = runtime.block_on(command);
    // What hangs in the kernel keeps its thread, not us.
    runtime.shutdown_background();
    ended
}

/// A command line that makes no sense: one line, and a hint. Help and version are asked for, and no mistake.
fn misuse(error: &clap::Error) -> Ended {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // clap's own printing knows the terminal.
        error.print()?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    // What is missing stands on lines of its own.
    if line.ends_with(':') {
        let missing: Vec<&str> =
            text.lines().skip(1).take_while(|line| line.starts_with("  ")).map(str::trim).collect();
        line = format!("{line} {}", missing.join(" "));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing".clone_into(&mut line);
    }
    if let Some(ContextValue::Strings(values)) =
        error.get(ContextKind::ValidValue).filter(|_| error.kind() == ErrorKind::InvalidValue)
        && !values.is_empty()
    {
        line = format!("{line}; possible are {}", values.join(", "));
    }
    let suggested = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| error.get(kind));
    let hint = match suggested {
        Some(ContextValue::String(near)) => format!("did you mean `{near}`?"),
        Some(ContextValue::Strings(near)) if !near.is_empty() => format!("did you mean `{}`?", near.join("` or `")),
        _ => "`monchero --help` lists the commands, `monchero COMMAND --help` explains one".to_owned(),
    };
    Err(Failed::usage(line).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misused(words: &[&str]) -> Failed {
        let error = Cli::try_parse_from(words.iter().copied()).unwrap_err();
        misuse(&error).unwrap_err()
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn misuse_is_told_in_one_line_with_a_hint() {
        for (words, error, hint) in [
            (&["monchero", "statsu"][..], "unrecognized subcommand 'statsu'", "did you mean `status`?"),
            (&["monchero", "status", "--jsno"], "unexpected argument '--jsno' found", "did you mean `--json`?"),
            (
                &["monchero", "--color", "alway", "status"],
                "invalid value 'alway' for '--color <WHEN>'",
                "did you mean `always`?",
            ),
            (&["monchero", "completions", "tcsh"], "'tcsh' for '<SHELL>'; possible are bash, ", "did you mean `zsh`?"),
            (&["monchero", "schema", "nope"], "'nope' for '[FILE]'; possible are ", "explains one"),
            (&["monchero", "show"], "the following required arguments were not provided: <CHECK>", "explains one"),
            (&["monchero", "submit", "x", "fine"], "a state is `okay`", "explains one"),
            (&["monchero", "downtime", "run", "x", "30", "--", "true"], "has no unit", "explains one"),
            (&["monchero"], "a command is missing", "lists the commands"),
            (&["monchero", "ack", "x", "--remove", "--sticky"], "cannot be used with", "explains one"),
        ] {
            let failed = misused(words);
            assert_eq!(failed.exit, exit::USAGE);
            assert!(failed.error.contains(error), "{failed:?}");
            assert!(failed.hint.as_ref().unwrap().contains(hint), "{failed:?}");
            assert_eq!(failed.render().lines().count(), 2, "{}", failed.render());
        }
    }

    #[test]
    fn global_options_stand_before_or_after() {
        for words in [["monchero", "--socket", "/s", "status"], ["monchero", "status", "--socket", "/s"]] {
            assert_eq!(Cli::try_parse_from(words).unwrap().socket, Some("/s".into()));
        }
    }

    #[test]
    fn the_command_of_a_downtime_keeps_its_options() {
        let cli =
            Cli::try_parse_from(["monchero", "downtime", "run", "db", "30m", "--", "pg_upgrade", "--link", "--json"])
                .unwrap();
        let text = format!("{:?}", cli.command);
        assert!(text.contains(r#"["pg_upgrade", "--link", "--json"]"#), "{text}");
    }
}
