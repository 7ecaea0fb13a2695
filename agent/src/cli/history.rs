//! `monchero history`: what happened.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use monchero_api::Client;
use monchero_api::types::{CheckState, Confirmation, Event, MetricHistory, TransitionEvent};
use monchero_core::quantity;

use super::exit::{Ended, Failed};
use super::notify::told;
use super::screen::{self, Screen};
use super::show::{delivered, went};
use super::table::{Cell, Column, Narrow, Table};

/// Options of `monchero history`.
#[derive(Args, Debug)]
pub(super) struct HistoryArgs {
    /// Only this check with its services and instances, or a pattern with `*`.
    check: Option<String>,
    /// Only from then on: a span back from now (`2h`, `7d`) or a moment (`2026-01-31`, `2026-01-31T12:00`).
    #[arg(long, default_value = "7d", value_name = "WHEN")]
    since: String,
    /// At most so many lines, the newest; 2000 is the most, with `--metric` 10000.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The values of this metric instead of what happened; needs the name of a check.
    #[arg(long, value_name = "LABEL", requires = "check")]
    metric: Option<String>,
    /// Print JSON, as `GET /v1/history` or `GET /v1/metric-history` of the API answers.
    #[arg(long)]
    json: bool,
}

/// Runs `monchero history`.
pub(super) async fn history(client: &Client, screen: &Screen, args: HistoryArgs) -> Ended {
    let since = moment(screen, &args.since).map_err(|why| Failed::usage(format!("`--since`: {why}")))?;
    if let (Some(label), Some(check)) = (&args.metric, &args.check) {
        let answer = client.metric_history(check, label, since, args.limit as usize).await?;
        if args.json {
            screen::print_json(answer.json())?;
        } else {
            screen::print(&values(screen, &answer.value()?))?;
        }
        return Ok(0.into());
    }
    let answer = client.history(args.check.as_deref(), Some(since), Some(args.limit as usize)).await?;
    if args.json {
        screen::print_json(answer.json())?;
        return Ok(0.into());
    }
    let history = answer.value()?;
    if let Some(check) = args.check.as_ref().filter(|check| history.events.is_empty() && !check.contains('*')) {
        // A name that nobody knows is rather a slip of the pen than a check of which nothing is to be said.
        client.status(std::slice::from_ref(check), false).await?;
    }
    let mut page = events(screen, &history.events);
    if history.more {
        page.push_str("these are the newest; `--limit` and `--since` say how many and from when on\n");
    }
    screen::print(&page)?;
    Ok(0.into())
}

/// The moment that a text names: so long ago, or a date, or a time.
pub(super) fn moment(screen: &Screen, text: &str) -> Result<Timestamp, String> {
    if let Ok(span) = monchero_core::duration::parse(text) {
        return screen.now.checked_sub(span).map_err(|error| error.to_string());
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let local = text
        .parse::<jiff::civil::DateTime>()
        .or_else(|_| text.parse::<jiff::civil::Date>().map(jiff::civil::DateTime::from));
    local.and_then(|local| local.to_zoned(screen.zone.clone())).map(|zoned| zoned.timestamp()).map_err(|_| {
        format!("`{text}` is neither a span of time (`2h`, `7d`) nor a moment (`2026-01-31`, `2026-01-31T12:00`)")
    })
}

fn events(screen: &Screen, events: &[Event]) -> String {
    let mut table = Table::new([
        Column::new("TIME"),
        Column::narrow("CHECK", Narrow::Shrinks),
        Column::new("EVENT"),
        Column::new("WHAT"),
    ]);
    for event in events {
        let time = Cell::made(screen.time(event.at()));
        table.push(match event {
            Event::Transition(change) => {
                let state = Cell::made(confirmed(change.state, change.state_type)).style(screen::style(change.state));
                [time, Cell::new(&change.check), state, Cell::made(transition(change))]
            }
            Event::Notice(notice) => {
                let what =
                    format!("{} told {} {}, {}", notice.target, told(notice), notice.state.as_str(), delivered(notice));
                [time, Cell::new(&notice.check), Cell::new("notice"), Cell::made(what)]
            }
            Event::Action(action) => {
                let what = format!("{} ({}) {}", action.action, action.reason, went(action));
                [time, Cell::new(&action.check), Cell::new("action"), Cell::made(what)]
            }
        });
    }
    if events.is_empty() { "nothing happened\n".to_owned() } else { table.render(screen) }
}

fn confirmed(state: CheckState, state_type: Confirmation) -> String {
    match state_type {
        Confirmation::Soft => format!("{} soft", state.as_str()),
        Confirmation::Hard => state.as_str().to_owned(),
    }
}

fn transition(change: &TransitionEvent) -> String {
    let attempt = if change.state_type == Confirmation::Soft {
        format!(", attempt {}/{}", change.attempt, change.max_attempts)
    } else {
        String::new()
    };
    format!("was {}{attempt}: {}", confirmed(change.previous_state, change.previous_type), change.message)
}

fn values(screen: &Screen, history: &MetricHistory) -> String {
    if history.points.is_empty() {
        return format!(
            "`{}` of `{}` has no values in this time\n",
            screen::line(&history.label),
            screen::line(&history.check)
        );
    }
    let mut table = Table::new(["TIME", "MEAN", "MIN", "MAX", "VALUES"].map(Column::new));
    for point in &history.points {
        let number = |value: f64| Cell::made(quantity::trim(value));
        table.push([
            Cell::made(screen.time(point.at)),
            number(point.mean),
            number(point.min),
            number(point.max),
            Cell::made(point.count.to_string()),
        ]);
    }
    table.render(screen)
}

/// A span of time on the command line.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    monchero_core::duration::parse(text)
}

#[cfg(test)]
mod tests {
    use monchero_api::types::{ActionEvent, NoticeEvent, Outcome};

    use super::*;
    use crate::cli::status::tests::screen;

    #[test]
    fn moments_are_spans_or_dates() {
        let screen = screen(None);
        for (text, expected) in [
            ("2h", "2027-01-15T06:00:00Z"),
            ("7d", "2027-01-08T08:00:00Z"),
            ("2027-01-01", "2027-01-01T00:00:00Z"),
            ("2027-01-01T12:30", "2027-01-01T12:30:00Z"),
            ("2027-01-01T12:30:00+01:00", "2027-01-01T11:30:00Z"),
        ] {
            assert_eq!(moment(&screen, text).unwrap().to_string(), expected);
        }
        for text in ["", "yesterday", "7", "-1h", "2027-13-01"] {
            assert!(moment(&screen, text).is_err(), "{text}");
        }
    }

    #[test]
    fn events_are_lines() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let list = [
            Event::Transition(TransitionEvent {
                at,
                check: "shop".into(),
                previous_state: CheckState::Okay,
                previous_type: Confirmation::Hard,
                state: CheckState::Bad,
                state_type: Confirmation::Soft,
                attempt: 1,
                max_attempts: 3,
                incident: None,
                message: "no answer\u{7}".into(),
            }),
            Event::Notice(NoticeEvent {
                at,
                check: "shop".into(),
                target: "ops".into(),
                kind: "problem".into(),
                state: CheckState::Bad,
                incident: None,
                delivered: false,
                attempt: 2,
                detail: "no connection".into(),
                delivery_id: "x".into(),
                drill: false,
            }),
            Event::Action(ActionEvent {
                at,
                check: "shop".into(),
                action: "restart".into(),
                id: 1,
                incident: None,
                reason: "hard bad".into(),
                outcome: Outcome::Done,
                ended: None,
                message: "exit status 0".into(),
                output: String::new(),
            }),
        ];
        let expected = "\
TIME                 CHECK  EVENT     WHAT
2027-01-15 08:00:00  shop   bad soft  was okay, attempt 1/3: no answer\\u{7}
2027-01-15 08:00:00  shop   notice    ops told problem bad, failed (try 2): no connection
2027-01-15 08:00:00  shop   action    restart (hard bad) done: exit status 0
";
        assert_eq!(events(&screen(None), &list), expected);
        assert_eq!(events(&screen(None), &[]), "nothing happened\n");
    }
}
