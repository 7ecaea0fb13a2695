//! `monchero ack` and `monchero downtime`: what makes notices wait, with author and comment.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use monchero_api::Client;
use monchero_api::types::{AcknowledgementRequest, Downtime, DowntimePlanned, DowntimeRequest};
use monchero_core::hold::Selector;

use super::child;
use super::exit::{Ended, Failed};
use super::history::span;
use super::screen::{self, Screen};
use super::table::{Cell, Column, Narrow, Table};

/// How many names of covered checks are told.
const TOLD: usize = 5;
/// A downtime that begins so soon begins now: the daemon's now is a little later than ours.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);

/// Options of `monchero ack`.
#[derive(Args, Debug)]
pub(super) struct AckArgs {
    /// The check.
    check: String,
    /// What you say about it.
    #[arg(default_value = "")]
    comment: String,
    /// For how long; until the problem is over or changes if missing.
    #[arg(long = "for", value_name = "DURATION", value_parser = span)]
    lasting: Option<Duration>,
    /// Keep it when the problem changes, from warning to bad for example. It always ends with the problem.
    #[arg(long)]
    sticky: bool,
    /// Take the acknowledgement back.
    #[arg(long, conflicts_with_all = ["comment", "lasting", "sticky", "author"])]
    remove: bool,
    /// Who says so, beside the user that you are.
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

/// Runs `monchero ack`.
pub(super) async fn ack(client: &Client, screen: &Screen, args: AckArgs) -> Ended {
    let done = if args.remove {
        client.unacknowledge(&args.check).await?
    } else {
        let until = args.lasting.map(|lasting| screen.now.checked_add(lasting)).transpose();
        let until = until.map_err(|error| Failed::usage(format!("`--for`: {error}")))?;
        let request = AcknowledgementRequest {
            check: args.check,
            author: args.author.or_else(behind_sudo),
            comment: args.comment,
            until,
            sticky: args.sticky,
        };
        client.acknowledge(&request).await?
    };
    screen::print(&format!("{}\n", screen::line(&done.value()?.done)))?;
    Ok(0.into())
}

/// Who called `sudo`: root alone says little about who it was.
pub(super) fn behind_sudo() -> Option<String> {
    std::env::var("SUDO_USER").ok().filter(|user| !user.is_empty())
}

/// `monchero downtime ..`.
#[derive(Subcommand, Debug)]
pub(super) enum DowntimeCommand {
    /// Plan a downtime: notices about problems wait until it is over.
    Add(AddArgs),
    /// List the downtimes that have not ended.
    List {
        /// Print JSON, as `GET /v1/downtime` of the API answers.
        #[arg(long)]
        json: bool,
    },
    /// End a downtime, or take one back that has not begun.
    End {
        /// Its number, as `downtime list` shows it.
        id: u64,
    },
    /// Run a command in a downtime that ends with it.
    Run(RunArgs),
}

/// Options of `monchero downtime add`.
#[derive(Args, Debug)]
#[command(override_usage = "monchero downtime add [OPTIONS] <PATTERN> <DURATION> [COMMENT]\n       \
    monchero downtime add [OPTIONS] --label <NAME=VALUE> [PATTERN] <DURATION> [COMMENT]")]
pub(super) struct AddArgs {
    /// Which checks: a name or a pattern with `*`. A check's name covers its services and instances. With `--label` it may be left out.
    pattern: String,
    /// How long: `30m`, `4h`.
    duration: Option<String>,
    /// What for.
    comment: Option<String>,
    /// Only checks with this label; several must all fit. `*` in the value stands for any characters.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Make it flexible: it begins with the first problem within this span, and then lasts the duration.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    within: Option<Duration>,
    /// When it begins: a span from now (`2h`) or a moment (`2026-01-31T22:00`); now if missing.
    #[arg(long, value_name = "WHEN")]
    start: Option<String>,
    /// Who plans it, beside the user that you are.
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

/// Options of `monchero downtime run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Which checks: a name or a pattern with `*`.
    pattern: String,
    /// How long at most: the downtime ends then even if the command does not.
    #[arg(value_parser = span)]
    duration: Duration,
    /// What for; the command itself if missing.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The command and its arguments. Its exit status becomes that of `monchero`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs `monchero downtime`.
pub(super) async fn downtime(client: &Client, screen: &Screen, command: DowntimeCommand) -> Ended {
    match command {
        DowntimeCommand::Add(args) => add(client, screen, args).await,
        DowntimeCommand::List { json } => {
            let answer = client.downtimes().await?;
            if json {
                screen::print_json(answer.json())?;
            } else {
                screen::print(&list(screen, &answer.value()?.downtimes))?;
            }
            Ok(0.into())
        }
        DowntimeCommand::End { id } => {
            let done = client.end_downtime(id).await?.value()?;
            screen::print(&format!("{}\n", screen::line(&done.done)))?;
            Ok(0.into())
        }
        DowntimeCommand::Run(args) => run(client, args).await,
    }
}

/// `team=web`.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("a label is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Which checks, for how long and what for. With labels the pattern may be left out, so that what comes first is the duration.
fn words(args: &AddArgs) -> Result<(Vec<String>, Duration, String), Failed> {
    let is_duration = |text: &Option<String>| text.as_deref().is_some_and(|text| span(text).is_ok());
    let leaves_out = !args.labels.is_empty() && span(&args.pattern).is_ok() && !is_duration(&args.duration);
    let (checks, duration, comment) = if leaves_out {
        (
            Vec::new(),
            Some(&args.pattern),
            args.duration.iter().chain(&args.comment).cloned().collect::<Vec<_>>().join(" "),
        )
    } else {
        (vec![args.pattern.clone()], args.duration.as_ref(), args.comment.clone().unwrap_or_default())
    };
    let duration = duration.ok_or_else(|| Failed::usage("it is not said how long: `30m`, for example".to_owned()))?;
    let lasting = span(duration).map_err(|why| Failed::usage(format!("how long: {why}")))?;
    Ok((checks, lasting, comment))
}

async fn add(client: &Client, screen: &Screen, args: AddArgs) -> Ended {
    let (checks, lasting, comment) = words(&args)?;
    let start = args.start.map(|text| begin(screen, &text)).transpose()?;
    let begins_until = args.within.map(|within| start.unwrap_or(screen.now).checked_add(within)).transpose();
    let begins_until = begins_until.map_err(|error| Failed::usage(format!("`--within`: {error}")))?;
    let request = DowntimeRequest {
        checks,
        labels: args.labels.into_iter().collect(),
        start,
        begins_until,
        duration: Some(monchero_core::duration::format(lasting)),
        author: args.author.or_else(behind_sudo),
        comment,
        ..DowntimeRequest::default()
    };
    let planned = client.add_downtime(&request).await?.value()?;
    screen::print(&told(screen, &planned))?;
    Ok(0.into())
}

/// When a downtime begins: so long from now, or at a moment.
fn begin(screen: &Screen, text: &str) -> Result<jiff::Timestamp, Failed> {
    let begin = match span(text) {
        Ok(span) => screen.now.checked_add(span).map_err(|error| error.to_string()),
        Err(_) => super::history::moment(screen, text),
    };
    begin.map_err(|why| Failed::usage(format!("`--start`: {why}")))
}

/// What was planned, in a line.
pub(super) fn told(screen: &Screen, planned: &DowntimePlanned) -> String {
    let DowntimePlanned { downtime, covers } = planned;
    let mut names = covers.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    if covers.len() > TOLD {
        let _ = write!(names, " and {} more", covers.len() - TOLD);
    }
    let later = downtime.start.duration_since(screen.now) > SOON;
    let when = if later { format!("from {} ", screen.time(downtime.start)) } else { String::new() };
    let flexible = flexible(screen, downtime).map(|how| format!(" ({how})")).unwrap_or_default();
    format!("downtime {} {when}until {}{flexible}: {}\n", downtime.id, screen.time(downtime.end), screen::line(&names))
}

/// What is special about a flexible one.
pub(super) fn flexible(screen: &Screen, downtime: &Downtime) -> Option<String> {
    let lasts = downtime.lasts.as_deref()?;
    Some(match downtime.began {
        Some(at) => format!("began {} for {lasts}", screen.time(at)),
        None => format!("{lasts} from the first problem on"),
    })
}

/// Which checks it covers.
pub(super) fn covers(downtime: &Downtime) -> String {
    Selector { checks: downtime.checks.clone(), labels: downtime.labels.clone() }.to_string()
}

fn list(screen: &Screen, downtimes: &[Downtime]) -> String {
    let mut table = Table::new([
        Column::new("ID"),
        Column::narrow("CHECKS", Narrow::Shrinks),
        Column::new("FROM"),
        Column::new("UNTIL"),
        Column::narrow("AUTHOR", Narrow::Leaves),
        Column::narrow("KIND", Narrow::Leaves),
        Column::new("COMMENT"),
    ]);
    let covered: Vec<String> = downtimes.iter().map(covers).collect();
    for (downtime, covered) in downtimes.iter().zip(&covered) {
        table.push([
            downtime.name.as_ref().map_or_else(|| Cell::made(downtime.id.to_string()), |name| Cell::new(name)),
            Cell::new(covered),
            Cell::made(screen.time(downtime.start)),
            Cell::made(screen.time(downtime.end)),
            Cell::new(&downtime.author),
            Cell::made(match &downtime.name {
                Some(_) => "recurs".to_owned(),
                None => flexible(screen, downtime).unwrap_or_else(|| "fixed".to_owned()),
            }),
            Cell::new(&downtime.comment),
        ]);
    }
    if downtimes.is_empty() { "no downtimes\n".to_owned() } else { table.render(screen) }
}

/// Runs a command in a downtime. Ctrl-C reaches the command as it would without us; we stay, to end the downtime when it is over.
async fn run(client: &Client, args: RunArgs) -> Ended {
    let words: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
    let request = DowntimeRequest {
        checks: vec![args.pattern],
        duration: Some(monchero_core::duration::format(args.duration)),
        author: behind_sudo(),
        comment: args.comment.unwrap_or_else(|| shell_words::join(&words)),
        ..DowntimeRequest::default()
    };
    let id = client.add_downtime(&request).await?.value()?.downtime.id;
    let ended = child::supervise(&args.command, None).await;
    let status = match ended {
        Ok(status) => child::exit_status(status),
        Err(error) => {
            let failed = Failed::new(format!("cannot run `{}`: {error}", words.join(" ")));
            client.end_downtime(id).await?;
            return Err(Failed { exit: child::not_started(&error), ..failed });
        }
    };
    if let Err(error) = client.end_downtime(id).await {
        // The command's status counts; that the downtime goes on to its end is said, not more.
        let failed = Failed::from(error);
        super::complain(&Failed { error: format!("downtime {id} could not be ended: {}", failed.error), ..failed });
    }
    Ok(status.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use jiff::Timestamp;

    use super::*;
    use crate::cli::status::tests::screen;

    fn downtime() -> Downtime {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        Downtime {
            id: 7,
            name: None,
            checks: vec!["raid*".into()],
            labels: [].into(),
            start: at(0),
            end: at(1_800),
            lasts: None,
            began: None,
            author: "maria (root)".into(),
            comment: "new \u{1b}disk".into(),
        }
    }

    #[test]
    fn downtimes_are_listed() {
        let expected = "\
ID       CHECKS               FROM                 UNTIL                AUTHOR        KIND                           COMMENT
7        raid*                2027-01-15 08:00:00  2027-01-15 08:30:00  maria (root)  fixed                          new \\edisk
8        raid* with team=web  2027-01-15 08:00:00  2027-01-15 08:30:00  maria (root)  10m from the first problem on  new \\edisk
nightly  raid*                2027-01-15 08:00:00  2027-01-15 08:30:00  maria (root)  recurs                         new \\edisk
";
        let labels = [("team".to_owned(), "web".to_owned())].into();
        let flexible = Downtime { id: 8, lasts: Some("10m".into()), labels, ..downtime() };
        let recurring = Downtime { id: 0, name: Some("nightly".into()), ..downtime() };
        assert_eq!(list(&screen(None), &[downtime(), flexible, recurring]), expected);
        assert_eq!(list(&screen(None), &[]), "no downtimes\n");
    }

    #[test]
    fn with_labels_the_pattern_may_be_left_out() {
        let add = |line: &str| {
            let line = format!("monchero downtime add {line}");
            let cli = crate::cli::Cli::try_parse_from(line.split(' ')).unwrap();
            let crate::cli::Command::Downtime(DowntimeCommand::Add(args)) = cli.command else { unreachable!() };
            words(&args)
                .map(|(checks, lasting, comment)| (checks.join(","), lasting.as_secs(), comment))
                .map_err(|why| why.error)
        };
        let found = |checks: &str, secs, comment: &str| Ok((checks.to_owned(), secs, comment.to_owned()));
        assert_eq!(add("db* 30m patches"), found("db*", 1_800, "patches"));
        assert_eq!(add("--label team=web 30m"), found("", 1_800, ""));
        assert_eq!(add("--label team=web 30m patches"), found("", 1_800, "patches"));
        assert_eq!(add("--label team=web db* 30m patches"), found("db*", 1_800, "patches"));
        assert!(add("db*").unwrap_err().contains("how long"));
        assert!(add("30m").unwrap_err().contains("how long"), "a pattern may look like a duration");
    }

    #[test]
    fn who_plans_is_told_what_is_covered() {
        let names = |count: usize| (0..count).map(|i| format!("raid/{i}")).collect();
        let planned = DowntimePlanned { downtime: downtime(), covers: names(2) };
        assert_eq!(told(&screen(None), &planned), "downtime 7 until 2027-01-15 08:30:00: raid/0, raid/1\n");
        let many = DowntimePlanned { downtime: downtime(), covers: names(9) };
        assert!(told(&screen(None), &many).ends_with("raid/4 and 4 more\n"));
    }
}
