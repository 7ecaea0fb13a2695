//! What a mail says when no template says otherwise.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_core::action::{Event, Message};
use monchero_core::report::describe_metric;
use monchero_core::text::{escape_controls, escape_controls_in_block, shorten};
use monchero_core::{NoticeKind, State, StateType, duration};

/// The most output that a mail shows, in bytes: what is cut is counted, and `monchero show` has all of it (R42).
const MAX_OUTPUT: usize = 16 * 1024;
/// The most metrics that alert that a mail lists.
const MAX_METRICS: usize = 20;

/// State, check, host, and what is to be known first.
pub(super) fn subject(message: &Message) -> String {
    let event = &message.event;
    let drill = if event.drill { "[drill] " } else { "" };
    let duration = lasted(event);
    let what = match message.kind {
        NoticeKind::Problem => event.message.clone(),
        NoticeKind::Change => format!("(was {}) {}", event.previous_state, event.message),
        NoticeKind::Reminder => format!("(since {}) {}", duration.unwrap_or("some time"), event.message),
        NoticeKind::Recovery => {
            format!("recovered{}", duration.map(|lasted| format!(" after {lasted}")).unwrap_or_default())
        }
        NoticeKind::Missed => "had a problem that could not be told in time".to_owned(),
        NoticeKind::FlappingStarted => format!("flaps: {}", event.message),
        NoticeKind::FlappingEnded => format!("no longer flaps: {}", event.message),
    };
    format!("{drill}[{}] {} on {}: {what}", event.state, event.check.name, event.host)
}

/// All that is known, the most important first.
pub(super) fn body(message: &Message, zone: &TimeZone) -> String {
    let event = &message.event;
    let mut text = String::new();
    if event.drill {
        text.push_str("This is a drill: nothing is wrong.\n\n");
    }
    headline(&mut text, message);
    text.push('\n');
    facts(&mut text, message, zone);
    missed(&mut text, message, zone);
    measured(&mut text, event);
    if !event.output.trim().is_empty() {
        text.push_str("\nOutput:\n");
        for line in escape_controls_in_block(&shorten(event.output.trim_end(), MAX_OUTPUT)).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    instructions(&mut text, event);
    let _ = write!(
        text,
        "\n-- \nmonchero on {}, delivery {}",
        escape_controls(&event.host),
        escape_controls(&message.delivery_id)
    );
    if message.attempt > 1 {
        let _ = write!(text, ", attempt {}", message.attempt);
    }
    text.push('\n');
    text
}

fn headline(text: &mut String, message: &Message) {
    let event = &message.event;
    let (check, host) = (escape_controls(event.check.name.as_str()), escape_controls(&event.host));
    let _ = match message.kind {
        NoticeKind::Recovery => {
            let after = lasted(event).map(|lasted| format!(" after {lasted}")).unwrap_or_default();
            writeln!(text, "{check} on {host} recovered{after}.")
        }
        NoticeKind::Missed => {
            writeln!(text, "{check} on {host} is {}; it had a problem that could not be told in time.", event.state)
        }
        NoticeKind::Reminder => writeln!(text, "{check} on {host} is still {}.", event.state),
        NoticeKind::FlappingStarted => {
            writeln!(
                text,
                "{check} on {host} changes all the time (flaps); it is {} at this moment. You will be told when it settles.",
                event.state
            )
        }
        NoticeKind::FlappingEnded => {
            writeln!(text, "{check} on {host} has settled (it no longer flaps): it is {}.", event.state)
        }
        NoticeKind::Problem | NoticeKind::Change => writeln!(text, "{check} on {host} is {}.", event.state),
    };
    if !event.message.trim().is_empty() {
        let _ = writeln!(text, "{}", escape_controls(event.message.trim()));
    }
    if let Some(late) = message.late {
        let _ =
            writeln!(text, "\nThis mail is {} late, because it could not be delivered before.", duration::human(late));
    }
}

fn facts(text: &mut String, message: &Message, zone: &TimeZone) {
    let event = &message.event;
    let mut fact = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<10} {}", format!("{name}:"), escape_controls(value));
    };
    fact("Host", &event.host);
    fact("Check", &format!("{} ({})", event.check.name, event.check.kind));
    let was =
        if event.previous_state == event.state { String::new() } else { format!(", was {}", event.previous_state) };
    let attempt = match event.state_type {
        StateType::Soft => format!(" (soft, attempt {}/{})", event.attempt, event.max_attempts),
        StateType::Hard => String::new(),
    };
    fact("State", &format!("{}{attempt}{was}", event.state));
    if let Some(incident) = &event.incident {
        let name = if event.state == State::Okay { "Began" } else { "Since" };
        fact(name, &format!("{} ({})", moment(incident.since, zone), incident.duration));
        fact("Incident", &incident.id);
    }
    fact("Time", &moment(event.now, zone));
    fact("Reason", &event.reason);
    if !event.labels.is_empty() {
        let labels: Vec<String> = event.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        fact("Labels", &labels.join(", "));
    }
}

fn missed(text: &mut String, message: &Message, zone: &TimeZone) {
    if message.missed.is_empty() {
        return;
    }
    text.push_str("\nNot told in time:\n");
    if message.missed_more > 0 {
        let _ = writeln!(text, "  {} earlier ones, which are in `monchero history`", message.missed_more);
    }
    for problem in &message.missed {
        let since = moment(problem.since, zone);
        let _ = match problem.until {
            Some(until) => {
                let lasted = std::time::Duration::try_from(until.duration_since(problem.since)).unwrap_or_default();
                writeln!(
                    text,
                    "  {} from {since} to {} ({})",
                    problem.state,
                    moment(until, zone),
                    duration::human(lasted)
                )
            }
            None => writeln!(text, "  {} since {since}", problem.state),
        };
    }
}

fn measured(text: &mut String, event: &Event) {
    let mut alerting: Vec<_> = event.metrics.iter().filter(|metric| metric.state().is_problem()).collect();
    if alerting.is_empty() {
        return;
    }
    alerting.sort_by_key(|metric| std::cmp::Reverse(metric.state()));
    text.push_str("\nMeasured:\n");
    for metric in alerting.iter().take(MAX_METRICS) {
        let _ = writeln!(text, "  {} ({})", escape_controls(&describe_metric(metric)), metric.state());
    }
    if let Some(more) = alerting.len().checked_sub(MAX_METRICS).filter(|more| *more > 0) {
        let _ = writeln!(text, "  and {more} more");
    }
}

fn instructions(text: &mut String, event: &Event) {
    let name = escape_controls(event.check.name.as_str());
    let check = shell_words::quote(&name);
    text.push('\n');
    if event.state.is_problem() {
        let _ = writeln!(text, "Acknowledge it: monchero ack {check}");
    }
    let _ = writeln!(text, "Look at it:     monchero show {check}");
}

/// How long the incident has lasted, if there is one.
fn lasted(event: &Event) -> Option<&str> {
    event.incident.as_ref().map(|incident| incident.duration.as_str())
}

/// A moment for a reader: with the zone, since mails travel.
fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}
