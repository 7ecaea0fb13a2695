//! `monchero notify`: tests of targets, and who was told what.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use monchero_api::Client;
use monchero_api::types::{CheckState, Event, NoticeEvent, TestAnswer};
use monchero_core::{State, node};

use super::exit::{self, Ended, Failed};
use super::history::moment;
use super::operate::state;
use super::screen::{self, Progress, Screen};
use super::show::delivered;
use super::table::{Cell, Column, Narrow, Table};

/// How many events are looked through for messages: as many as the daemon gives at once.
const LOOK_THROUGH: usize = monchero_store::MAX_HISTORY;

/// `monchero notify ..`.
#[derive(Subcommand, Debug)]
pub(super) enum NotifyCommand {
    /// Send a target a message that says that it is a drill, and print what the receiver answers.
    Test(TestArgs),
    /// Show who was told what, and how that went.
    Log(LogArgs),
}

/// Options of `monchero notify test`.
#[derive(Args, Debug)]
pub(super) struct TestArgs {
    /// The target: an action that tells somebody.
    target: String,
    /// What the message says is so: `okay`, `warning`, `unknown` or `bad`. With `okay`, receivers that open and close incidents close
    /// what drills before have opened.
    #[arg(long, value_parser = state, default_value = "bad")]
    state: State,
    /// Print JSON, as `POST /v1/targets/{name}/test` of the API answers.
    #[arg(long)]
    json: bool,
}

/// Options of `monchero notify log`.
#[derive(Args, Debug)]
pub(super) struct LogArgs {
    /// Only from then on: a span back from now (`2h`, `7d`) or a moment (`2026-01-31`, `2026-01-31T12:00`).
    #[arg(long, default_value = "1d", value_name = "WHEN")]
    since: String,
    /// Only messages to this target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Print JSON: the notices of `GET /v1/history` of the API.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero notify ..`.
pub(super) async fn notify(client: &Client, screen: &Screen, command: NotifyCommand) -> Ended {
    match command {
        NotifyCommand::Test(args) => test(client, args).await,
        NotifyCommand::Log(args) => log(client, screen, args).await,
    }
}

async fn test(client: &Client, args: TestArgs) -> Ended {
    let progress = Progress::new(&format!("waiting for `{}`", args.target));
    let answer = client.test(&args.target, args.state).await;
    drop(progress);
    let answer = answer?;
    let went = answer.value()?;
    if args.json {
        screen::print_json(answer.json())?;
        return Ok(ended(went.delivered));
    }
    if !went.delivered {
        return Err(Failed::new(format!("`{}` could not be told: {}", went.target, went.answer))
            .hint("`monchero config show` shows its settings, `monchero notify log` how messages to it went before"));
    }
    screen::print(&format!("{}\n", screen::line(&sent(&went))))?;
    Ok(ended(true))
}

/// The exit status of drills: whether all were delivered.
pub(super) fn ended(delivered: bool) -> ExitCode {
    if delivered { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) }
}

fn sent(went: &TestAnswer) -> String {
    let answer = if went.answer.is_empty() { String::new() } else { format!(": {}", went.answer) };
    format!("`{}` took the drill{answer}", went.target)
}

async fn log(client: &Client, screen: &Screen, args: LogArgs) -> Ended {
    let since = moment(screen, &args.since).map_err(|why| Failed::usage(format!("`--since`: {why}")))?;
    let mut history = client.history(None, Some(since), Some(LOOK_THROUGH)).await?.value()?;
    let mut others: Vec<String> = Vec::new();
    history.events.retain(|event| match (event, &args.target) {
        (Event::Notice(notice), Some(target)) if notice.target != *target => {
            others.push(notice.target.clone());
            false
        }
        (Event::Notice(_), _) => true,
        _ => false,
    });
    if args.json {
        let json = serde_json::to_vec(&history).map_err(|error| Failed::new(format!("cannot write JSON: {error}")))?;
        screen::print_json(&json)?;
        return Ok(0.into());
    }
    let notices = history.events.iter().filter_map(|event| match event {
        Event::Notice(notice) => Some(notice),
        _ => None,
    });
    let mut page = notices_table(screen, &notices.collect::<Vec<_>>());
    if page.is_empty() {
        page = nothing(&screen.time(since), args.target.as_deref(), &others);
    }
    if history.more {
        let _ =
            writeln!(page, "only the newest {LOOK_THROUGH} events were looked through: older messages are left out");
    }
    screen::print(&page)?;
    Ok(0.into())
}

/// That nobody was told anything, with the target that was probably meant.
fn nothing(since: &str, target: Option<&str>, others: &[String]) -> String {
    let Some(target) = target else { return format!("nobody was told anything since {since}\n") };
    let near = node::nearest(target, others.iter().map(String::as_str));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("{}\n", screen::line(&format!("`{target}` was told nothing since {since}{hint}")))
}

/// The messages, oldest first, failures in the colour of what is bad; empty if there is none.
fn notices_table(screen: &Screen, notices: &[&NoticeEvent]) -> String {
    let mut table = Table::new([
        Column::new("TIME"),
        Column::new("TARGET"),
        Column::narrow("CHECK", Narrow::Shrinks),
        Column::new("TOLD"),
        Column::new("HOW IT WENT"),
    ]);
    for notice in notices {
        let how = Cell::made(delivered(notice));
        let told = format!("{} {}", told(notice), notice.state.as_str());
        table.push([
            Cell::made(screen.time(notice.at)),
            Cell::new(&notice.target),
            Cell::new(&notice.check),
            Cell::made(told).style(screen::style(notice.state)),
            if notice.delivered { how } else { how.style(screen::style(CheckState::Bad)) },
        ]);
    }
    table.render(screen)
}

/// What kind of message it was.
pub(super) fn told(notice: &NoticeEvent) -> String {
    if notice.drill { format!("drill: {}", notice.kind) } else { notice.kind.clone() }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::cli::status::tests::screen;

    fn notice(target: &str, delivered: bool, detail: &str, drill: bool) -> NoticeEvent {
        NoticeEvent {
            at: Timestamp::from_second(1_800_000_000).unwrap(),
            check: "shop".into(),
            target: target.into(),
            kind: "problem".into(),
            state: CheckState::Bad,
            incident: None,
            delivered,
            attempt: 1,
            detail: detail.into(),
            delivery_id: "x".into(),
            drill,
        }
    }

    #[test]
    fn the_log_shows_failures_and_drills() {
        let notices = [notice("ops", false, "no connection\u{1b}[2J", false), notice("boss", true, "250 Ok", true)];
        let expected = "\
TIME                 TARGET  CHECK  TOLD                HOW IT WENT
2027-01-15 08:00:00  ops     shop   problem bad         failed: no connection\\e[2J
2027-01-15 08:00:00  boss    shop   drill: problem bad  delivered: 250 Ok
";
        assert_eq!(notices_table(&screen(None), &notices.iter().collect::<Vec<_>>()), expected);
        let empty = nothing("2027-01-14 08:00:00", Some("opps"), &["ops".into()]);
        assert_eq!(empty, "`opps` was told nothing since 2027-01-14 08:00:00; did you mean `ops`?\n");
    }
}
