//! `monchero show`: everything about one check.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use monchero_api::types::{
    ActionEvent, CheckState, Confirmation, Detail, Downtime, Metric, NoticeEvent, Plan, Point, Target,
};
use monchero_api::{Answer, Client};
use monchero_core::quantity::{self, Unit};
use monchero_core::text::counted;
use owo_colors::Style;

use super::course::course;
use super::exit::{Ended, Failed};
use super::screen::{self, Screen};
use super::table::{Cell, Column, Table, folded};

/// How many metrics get a line of their past: each costs a request.
const SPARKS: usize = 16;
/// Text is not folded into less than this.
const MIN_ROOM: usize = 16;
/// How far the past goes back.
const PAST: Duration = Duration::from_secs(24 * 3_600);
/// How many points of a metric are asked for: a day of five-minute roll-ups, and more.
const POINTS: usize = 2_000;
/// How wide the names of sections are.
const LABEL: usize = 10;

/// Options of `monchero show`.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The check.
    check: String,
    /// Print JSON, as `GET /v1/check` of the API answers.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero show`.
pub(super) async fn show(client: &Client, screen: &Screen, args: ShowArgs) -> Ended {
    let answer: Answer<Detail<'static>> = client.check(&args.check).await?;
    if args.json {
        screen::print_json(answer.json())?;
        return Ok(0.into());
    }
    let detail = answer.value()?;
    let past = past(client, screen, &detail).await?;
    screen::print(&page(screen, &detail, &past))?;
    Ok(0.into())
}

/// What the metrics were in the last day, in their order; empty for those that have no past.
pub(super) async fn past(client: &Client, screen: &Screen, detail: &Detail<'_>) -> Result<Vec<Vec<Point>>, Failed> {
    let since = screen.now.checked_sub(PAST).unwrap_or_default();
    let mut past = Vec::new();
    for metric in detail.check.metrics.iter().take(SPARKS) {
        past.push(client.metric_history(&detail.check.name, &metric.label, since, POINTS).await?.value()?.points);
    }
    Ok(past)
}

/// All about a check, section by section.
pub(super) fn page(screen: &Screen, detail: &Detail<'_>, past: &[Vec<Point>]) -> String {
    let check = &detail.check;
    let mut out = String::new();
    let soft = check.state_type == Confirmation::Soft && check.state > CheckState::Okay;
    let _ = write!(
        out,
        "{}  {}{}",
        screen.paint(&screen::line(&check.name), Style::new().bold()),
        screen.paint(check.state.as_str(), screen::style(check.state)),
        if soft { " soft" } else { "" },
    );
    if let Some(since) = check.since {
        let _ = write!(out, "  since {} ({})", screen.time(since), screen.since(since));
    }
    out.push('\n');
    for text in [&check.message, &detail.output].into_iter().filter(|text| !text.is_empty()) {
        for line in screen::block(text).lines() {
            for part in folded(line, room(screen, 2)) {
                let _ = writeln!(out, "  {part}");
            }
        }
    }
    out.push('\n');
    section(&mut out, screen, "why", &why(screen, detail));
    section(&mut out, screen, "checked", &[checked(screen, detail)]);
    let mut kind = vec![format!("{}, {}", check.kind, detail.source)];
    kind.extend(detail.parent.as_ref().map(|parent| format!("a service that `{parent}` reports")));
    section(&mut out, screen, "kind", &kind);
    section(
        &mut out,
        screen,
        "labels",
        &check.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
    );
    section(&mut out, screen, "depends on", &detail.depends_on);
    section(&mut out, screen, "actions", &detail.actions);
    section(&mut out, screen, "holds", &holds(screen, detail));
    section(
        &mut out,
        screen,
        "targets",
        &detail.targets.iter().flat_map(|target| told(screen, target)).collect::<Vec<_>>(),
    );
    out.push_str(&metrics(screen, &check.metrics, past));
    out.push_str(&actions(screen, &detail.recent_actions));
    out.push_str(&notices(screen, &detail.recent_notices));
    out
}

/// A name and lines beside it; nothing if there are none.
fn section(out: &mut String, screen: &Screen, name: &str, lines: &[impl AsRef<str>]) {
    let mut name = name;
    for line in lines {
        for part in folded(&screen::line(line.as_ref()), room(screen, LABEL + 2)) {
            let _ = writeln!(out, "{name:LABEL$}  {part}");
            name = "";
        }
    }
}

/// How many columns are left of a line beside so many; all that are needed, if nothing is cut.
fn room(screen: &Screen, taken: usize) -> usize {
    screen.width.map_or(usize::MAX, |width| width.saturating_sub(taken).max(MIN_ROOM))
}

/// Why it is in its state.
fn why(screen: &Screen, detail: &Detail<'_>) -> Vec<String> {
    let check = &detail.check;
    let mut lines = Vec::new();
    let attempts = format!("result {} of {} in a row that is not okay", check.attempt, check.max_attempts);
    if detail.inconclusive {
        lines.push("the last result does not count: this host may be cut off from what it looks at".to_owned());
    }
    match (check.state, check.state_type) {
        (CheckState::Pending | CheckState::Okay, _) if detail.inconclusive => {}
        (CheckState::Pending, _) => lines.push("it has not run yet".to_owned()),
        (_, Confirmation::Soft) => {
            lines.push(format!("soft: {attempts}; the last confirmed state is {}", detail.hard_state.as_str()));
        }
        (CheckState::Okay, Confirmation::Hard) => lines.push("the last result was okay".to_owned()),
        (state, Confirmation::Hard) if detail.recovering > 0 => {
            lines.push(format!(
                "still {}: {} okay in a row, more are needed (`recover_after`)",
                state.as_str(),
                detail.recovering
            ));
        }
        (_, Confirmation::Hard) => lines.push(format!(
            "hard: {} in a row {} enough to confirm it",
            counted(check.max_attempts, "result"),
            if check.max_attempts == 1 { "is" } else { "are" }
        )),
    }
    if let Some(incident) = &detail.incident {
        lines.push(format!(
            "incident {} since {}, at worst {}",
            incident.id,
            screen.time(incident.since),
            incident.worst.as_str()
        ));
    } else if let Some(since) = detail.hard_since {
        lines.push(format!("the last confirmed change was {} ago", screen.since(since)));
    }
    lines
}

fn checked(screen: &Screen, detail: &Detail<'_>) -> String {
    let check = &detail.check;
    let mut text = match check.last_check {
        Some(at) => format!("{} ago, took {}", screen.since(at), detail.duration),
        None => "never".to_owned(),
    };
    match (detail.running, check.next_check) {
        (true, _) => text.push_str("; runs now"),
        (false, Some(at)) => {
            let _ = write!(text, "; next {}", screen.until(at));
        }
        (false, None) => text.push_str("; runs when others report it"),
    }
    let _ =
        write!(text, " (every {}, {} while soft, timeout {})", detail.interval, detail.retry_interval, detail.timeout);
    if detail.skipped > 0 {
        let _ = write!(text, "; {} runs left out because the one before was not over", detail.skipped);
    }
    text
}

fn holds(screen: &Screen, detail: &Detail<'_>) -> Vec<String> {
    let until =
        |until: Option<jiff::Timestamp>| until.map(|at| format!(", until {}", screen.time(at))).unwrap_or_default();
    let mut lines: Vec<String> =
        detail.check.holds.iter().map(|hold| format!("{}{}", hold.text, until(hold.until))).collect();
    let waits = |downtime: &&Downtime| downtime.lasts.is_some() && downtime.began.is_none();
    let later = detail.downtimes.iter().filter(|downtime| downtime.start > screen.now || waits(downtime));
    lines.extend(later.map(|downtime| {
        let (from, to) = (screen.time(downtime.start), screen.time(downtime.end));
        let which = downtime.name.clone().unwrap_or_else(|| downtime.id.to_string());
        let how = super::holds::flexible(screen, downtime).map(|how| format!(" ({how})")).unwrap_or_default();
        format!("later: downtime {which} by {} from {from} to {to}{how}: {}", downtime.author, downtime.comment)
    }));
    lines
}

/// What a target knows and will be told.
fn told(screen: &Screen, target: &Target) -> Vec<String> {
    let knows = match target.told_at {
        Some(at) => format!("was told {} {} ago", target.told.as_str(), screen.since(at)),
        None => "was never told anything".to_owned(),
    };
    let notice = target.notice.as_deref().unwrap_or("reminder");
    let when = target.at.map(|at| screen.until(at));
    let plan = match (target.plan, when) {
        (Plan::Nothing, None) => "nothing to tell".to_owned(),
        (Plan::Nothing, Some(when)) => format!("{notice} {when}"),
        (Plan::Tell, None) => format!("is being told now: {notice}"),
        (Plan::Tell, Some(when)) => format!("will be told {when}: {notice}"),
        (Plan::Held, when) => {
            let hold = target.hold.as_ref().map_or("held", |hold| hold.text.as_str());
            format!("{notice} waits{}: {hold}", when.map(|when| format!(", ends {when}")).unwrap_or_default())
        }
    };
    let mut lines = vec![format!("{}: {knows}; {plan}", target.name)];
    if target.failed_tries > 0 {
        let why = target.last_error.as_deref().unwrap_or("for no known reason");
        lines.push(format!(
            "  {} tr{} failed: {why}",
            target.failed_tries,
            if target.failed_tries == 1 { "y" } else { "ies" }
        ));
    }
    lines
}

fn metrics(screen: &Screen, metrics: &[Metric<'_>], past: &[Vec<Point>]) -> String {
    let last_day = if past.iter().all(|points| points.len() < 2) { "" } else { "LAST DAY" };
    let mut table =
        Table::new([Column::new("METRIC"), Column::new("VALUE"), Column::new("ALERTS"), Column::new(last_day)]);
    for (i, metric) in metrics.iter().enumerate() {
        let (alerts, state) = judged(metric);
        let unit = Unit::new(&metric.unit);
        let value = metric.value.map_or_else(|| "not known".to_owned(), |value| quantity::human(value, &unit));
        table.push([
            Cell::new(&metric.label),
            Cell::made(value).style(screen::style(state)),
            Cell::made(alerts),
            Cell::made(past.get(i).map(|points| course(screen, points, &unit)).unwrap_or_default()),
        ]);
    }
    titled(table.render(screen))
}

/// Its thresholds in words, the one that it has passed marked, and what they make of it.
fn judged(metric: &Metric<'_>) -> (String, CheckState) {
    let core = monchero_core::Metric {
        label: metric.label.as_ref().into(),
        value: metric.value,
        unit: Unit::new(&metric.unit),
        warning: metric.warning,
        bad: metric.bad,
        min: metric.min,
        max: metric.max,
    };
    let state = CheckState::from(core.state());
    let mut parts = Vec::new();
    for (known, range) in [(CheckState::Warning, metric.warning), (CheckState::Bad, metric.bad)] {
        if let Some(range) = range {
            let mark = if state == known { "is " } else { "" };
            parts.push(format!("{mark}{} {}", known.as_str(), range.describe(&core.unit)));
        }
    }
    (parts.join(", "), state)
}

/// A blank line before a table that is there.
fn titled(table: String) -> String {
    if table.is_empty() { table } else { format!("\n{table}") }
}

fn actions(screen: &Screen, events: &[ActionEvent]) -> String {
    let mut table =
        Table::new([Column::new("RECENT ACTION"), Column::new("WHEN"), Column::new("WHY"), Column::new("HOW IT WENT")]);
    for event in events {
        table.push([
            Cell::new(&event.action),
            Cell::made(format!("{} ago", screen.since(event.at))),
            Cell::new(&event.reason),
            Cell::made(went(event)),
        ]);
    }
    titled(table.render(screen))
}

/// How an action went, in one line.
pub(super) fn went(event: &ActionEvent) -> String {
    let outcome = event.outcome.as_str();
    if event.message.is_empty() { outcome.to_owned() } else { format!("{outcome}: {}", event.message) }
}

fn notices(screen: &Screen, events: &[NoticeEvent]) -> String {
    let mut table =
        Table::new([Column::new("RECENT NOTICE"), Column::new("WHEN"), Column::new("TO"), Column::new("HOW IT WENT")]);
    for event in events {
        table.push([
            Cell::made(format!("{} {}", event.kind, event.state.as_str())),
            Cell::made(format!("{} ago", screen.since(event.at))),
            Cell::new(&event.target),
            Cell::made(delivered(event)),
        ]);
    }
    titled(table.render(screen))
}

/// How a delivery went, in one line.
pub(super) fn delivered(event: &NoticeEvent) -> String {
    let how = if event.delivered { "delivered" } else { "failed" };
    let attempt = if event.attempt > 1 { format!(" (try {})", event.attempt) } else { String::new() };
    if event.detail.is_empty() { format!("{how}{attempt}") } else { format!("{how}{attempt}: {}", event.detail) }
}

#[cfg(test)]
mod tests;
