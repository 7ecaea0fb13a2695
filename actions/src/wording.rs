//! What a message says when no template says otherwise: the same facts for every medium.

pub(crate) mod bulletin;

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_core::action::{Event, Message};
use monchero_core::decide::Missed;
use monchero_core::report::describe_metric;
use monchero_core::text::{escape_controls, escape_controls_in_block, shorten};
use monchero_core::{Invalid, NoticeKind, State, StateType, duration, order};

use serde_json::{Value as Json, json};

use crate::template::{Template, one_line};

/// The most output that a message shows, in bytes: what is cut is counted, and `monchero show` has all of it (R42).
pub(crate) const MAX_OUTPUT: usize = 16 * 1024;
/// The most metrics that alert that a message lists.
const MAX_METRICS: usize = 20;
/// The label whose value is shown as a link: where it is written what to do.
const RUNBOOK: &str = "runbook";

/// The user's own words for a message, compiled; what is not given is worded here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    title: Option<Template>,
    body: Option<Template>,
}

impl Words {
    /// Compiles the templates of a target's settings, each with the name of its setting.
    pub(crate) fn new(
        title: (&'static str, Option<&str>),
        body: (&'static str, Option<&str>),
    ) -> Result<Self, Invalid> {
        let template = |(setting, text): (&'static str, Option<&str>)| {
            text.map(Template::plain).transpose().map_err(|error| Invalid::at(setting, error.to_string()))
        };
        Ok(Self { title: template(title)?, body: template(body)? })
    }

    /// The title, in one line of at most `max` bytes.
    pub(crate) fn title(&self, message: &Message, max: usize) -> String {
        // A message is never lost to its own wording: what a template cannot say is said without it.
        let own =
            self.title.as_ref().filter(|_| message.is_about_one_check()).and_then(|t| t.render(&message.event).ok());
        let title = one_line(&own.unwrap_or_else(|| title(message)), usize::MAX);
        shorten(&title, max)
    }

    /// The user's own text, if there is any; of many checks at once, or of none, only monchero's own words can speak.
    pub(crate) fn own_body(&self, message: &Message) -> Option<String> {
        let template = self.body.as_ref().filter(|_| message.is_about_one_check())?;
        Some(match template.render(&message.event) {
            Ok(body) => escape_controls_in_block(&body),
            Err(error) => format!("{}\n\nThe template of the text was not used: {error}.", headline(message)),
        })
    }

    /// The whole text, at most `max` bytes: output is cut first, and the rest only if that is not enough.
    pub(crate) fn body(&self, message: &Message, zone: &TimeZone, max: usize) -> String {
        let whole = self.own_body(message).unwrap_or_else(|| whole(message, zone));
        if whole.len() <= max || self.body.is_some() {
            return shorten(&whole, max);
        }
        let room = MAX_OUTPUT.min(message.event.output.len()).saturating_sub(whole.len() - max);
        shorten(&body(message, zone, room), max)
    }
}

/// State, check, host, and what is to be known first.
pub(crate) fn title(message: &Message) -> String {
    let event = &message.event;
    if let Some(bulletin) = &message.bulletin {
        return bulletin::title(bulletin, &event.host);
    }
    let drill = if event.drill { "[drill] " } else { "" };
    if !message.digest.is_empty() {
        return format!("{drill}[{}] {} on {}", event.state, counts(message), event.host);
    }
    let duration = lasted(event);
    let what = match message.kind {
        // The last ones are told of no check.
        NoticeKind::Problem | NoticeKind::Summary | NoticeKind::Started | NoticeKind::Config | NoticeKind::Crashed => {
            event.message.clone()
        }
        NoticeKind::Change => format!("(was {}) {}", event.previous_state, event.message),
        NoticeKind::Reminder => format!("(since {}) {}", duration.unwrap_or("some time"), event.message),
        NoticeKind::Acknowledged | NoticeKind::HoldEnds => format!("({}) {}", event.reason, event.message),
        NoticeKind::Recovery => {
            format!("recovered{}", duration.map(|lasted| format!(" after {lasted}")).unwrap_or_default())
        }
        NoticeKind::Missed => "had a problem that could not be told in time".to_owned(),
        NoticeKind::FlappingStarted => format!("flaps: {}", event.message),
        NoticeKind::FlappingEnded => format!("no longer flaps: {}", event.message),
    };
    format!("{drill}[{}] {} on {}: {what}", event.state, event.check.name, event.host)
}

/// How many checks are how, of a message about many: `3 bad, 1 warning`.
fn counts(message: &Message) -> String {
    let of = |state: State| message.digest.iter().filter(|line| line.state == state).count();
    let words: Vec<String> = [State::Bad, State::Unknown, State::Warning, State::Okay]
        .into_iter()
        .filter_map(|state| Some((of(state), state)).filter(|(count, _)| *count > 0))
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    words.join(", ")
}

/// What happened, in a sentence or two.
pub(crate) fn headline(message: &Message) -> String {
    let event = &message.event;
    if let Some(bulletin) = &message.bulletin {
        return bulletin::headline(bulletin, &event.host);
    }
    let (check, host) = (escape_controls(event.check.name.as_str()), escape_controls(&event.host));
    if !message.digest.is_empty() {
        return format!("{} checks on {host} changed: {}.", message.digest.len(), counts(message));
    }
    match message.kind {
        NoticeKind::Recovery => {
            let after = lasted(event).map(|lasted| format!(" after {lasted}")).unwrap_or_default();
            format!("{check} on {host} recovered{after}.")
        }
        NoticeKind::Missed => {
            format!("{check} on {host} is {}; it had a problem that could not be told in time.", event.state)
        }
        NoticeKind::Reminder => format!("{check} on {host} is still {}.", event.state),
        NoticeKind::Acknowledged => {
            format!("{check} on {host} is {}, {}.", event.state, escape_controls(&event.reason))
        }
        NoticeKind::HoldEnds => {
            format!("{check} on {host} is still {}, and {}.", event.state, escape_controls(&event.reason))
        }
        NoticeKind::FlappingStarted => format!(
            "{check} on {host} changes all the time (flaps); it is {} at this moment. You will be told when it settles.",
            event.state
        ),
        NoticeKind::FlappingEnded => {
            format!("{check} on {host} has settled (it no longer flaps): it is {}.", event.state)
        }
        NoticeKind::Problem
        | NoticeKind::Change
        | NoticeKind::Summary
        | NoticeKind::Started
        | NoticeKind::Config
        | NoticeKind::Crashed => format!("{check} on {host} is {}.", event.state),
    }
}

/// What the check said, and how late the message is.
pub(crate) fn saying(message: &Message) -> String {
    let mut text = String::new();
    for line in &message.digest {
        let _ = writeln!(
            text,
            "{}: {}: {}",
            line.state,
            escape_controls(line.check.as_str()),
            escape_controls(&line.message)
        );
    }
    for (title, lines) in message.bulletin.iter().flat_map(|bulletin| bulletin::sections(bulletin)) {
        let _ = writeln!(text, "\n{title}:");
        for line in lines {
            let _ = writeln!(text, "- {line}");
        }
    }
    let said = message.event.message.trim();
    if message.is_about_one_check() && !said.is_empty() {
        let _ = writeln!(text, "{}", escape_controls(said));
    }
    if let Some(late) = late(message) {
        let _ = writeln!(text, "\n{late}");
    }
    text
}

/// How late it is, if it is.
pub(crate) fn late(message: &Message) -> Option<String> {
    let late = duration::human(message.late?);
    Some(format!("This message is {late} late, because it could not be delivered before."))
}

/// What is to be known besides, each with its name.
pub(crate) fn facts(message: &Message, zone: &TimeZone) -> Vec<(&'static str, String)> {
    let event = &message.event;
    let mut facts = vec![("Host", event.host.clone())];
    if let Some(bulletin) = &message.bulletin {
        facts.extend(bulletin::facts(bulletin, zone));
        return escaped(facts);
    }
    if !message.digest.is_empty() {
        facts.push(("Time", moment(event.now, zone)));
        return escaped(facts);
    }
    facts.push(("Check", format!("{} ({})", event.check.name, event.check.kind)));
    let was =
        if event.previous_state == event.state { String::new() } else { format!(", was {}", event.previous_state) };
    let attempt = match event.state_type {
        StateType::Soft => format!(" (soft, attempt {}/{})", event.attempt, event.max_attempts),
        StateType::Hard => String::new(),
    };
    facts.push(("State", format!("{}{attempt}{was}", event.state)));
    if let Some(incident) = &event.incident {
        let name = if event.state == State::Okay { "Began" } else { "Since" };
        facts.push((name, format!("{} ({})", moment(incident.since, zone), incident.duration)));
        facts.push(("Incident", incident.id.clone()));
    }
    facts.push(("Time", moment(event.now, zone)));
    facts.push(("Reason", event.reason.clone()));
    if let Some(action) = &message.last_action {
        facts.push(("Tried", action.clone()));
    }
    let labels: Vec<String> = event
        .labels
        .iter()
        .filter(|(name, _)| *name != RUNBOOK)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !labels.is_empty() {
        facts.push(("Labels", labels.join(", ")));
    }
    escaped(facts)
}

/// No value of them ends its line.
fn escaped(facts: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    facts.into_iter().map(|(name, value)| (name, escape_controls(&value))).collect()
}

/// The colour of a state, as a number of red, green and blue: of those that people with weak colour vision tell apart.
pub(crate) fn colour(state: State) -> u32 {
    match state {
        State::Okay => 0x002e_7d32,
        State::Warning => 0x00f9_a825,
        State::Unknown => 0x0075_7575,
        State::Bad => 0x00c6_2828,
    }
}

/// A text as HTML.
pub(crate) fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Where it is written what to do about the check: its label `runbook`, if that is a link.
pub(crate) fn runbook(event: &Event) -> Option<&str> {
    let link = event.labels.get(RUNBOOK)?;
    let is_link = link.starts_with("https://") || link.starts_with("http://");
    let is_plain = !link.contains(|c: char| c.is_whitespace() || c.is_control() || "<>\"'|()".contains(c));
    (is_link && is_plain).then_some(link)
}

/// What was measured and alerts, one line each.
pub(crate) fn measured(event: &Event) -> Vec<String> {
    let mut alerting: Vec<_> = event.metrics.iter().filter(|metric| metric.state().is_problem()).collect();
    order::sort_by_key(&mut alerting, |metric| std::cmp::Reverse(metric.state()));
    let mut lines: Vec<String> = alerting
        .iter()
        .take(MAX_METRICS)
        .map(|metric| format!("{} ({})", escape_controls(&describe_metric(metric)), metric.state()))
        .collect();
    if let Some(more) = alerting.len().checked_sub(MAX_METRICS).filter(|more| *more > 0) {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// The command by which a person says that they work on it, if there is something to work on.
pub(crate) fn acknowledge(message: &Message) -> Option<String> {
    let event = &message.event;
    let is_open = event.state.is_problem() && message.kind != NoticeKind::Acknowledged;
    let is_one_problem = message.is_about_one_check() && is_open;
    is_one_problem.then(|| format!("monchero ack {}", quoted(event)))
}

/// The command that shows all about it.
pub(crate) fn look(message: &Message) -> String {
    if let Some(bulletin) = &message.bulletin {
        bulletin::look(bulletin).to_owned()
    } else if message.digest.is_empty() {
        format!("monchero show {}", quoted(&message.event))
    } else {
        "monchero status".to_owned()
    }
}

fn quoted(event: &Event) -> String {
    shell_words::quote(&escape_controls(event.check.name.as_str())).into_owned()
}

/// The further output, at most `max` bytes.
pub(crate) fn output(event: &Event, max: usize) -> String {
    escape_controls_in_block(&shorten(event.output.trim_end(), max))
}

/// All that is known, with as much of the output as a mail may have.
pub(crate) fn whole(message: &Message, zone: &TimeZone) -> String {
    body(message, zone, MAX_OUTPUT)
}

/// All that is known, the most important first, as plain text.
fn body(message: &Message, zone: &TimeZone, max_output: usize) -> String {
    let event = &message.event;
    let mut text = String::new();
    if event.drill {
        text.push_str("This is a drill: nothing is wrong.\n\n");
    }
    let _ = writeln!(text, "{}\n{}", headline(message), saying(message));
    for (name, value) in facts(message, zone) {
        let _ = writeln!(text, "{:<10} {value}", format!("{name}:"));
    }
    missed(&mut text, message, zone);
    let measured = measured(event);
    if !measured.is_empty() && message.digest.is_empty() {
        text.push_str("\nMeasured:\n");
        for line in measured {
            let _ = writeln!(text, "  {line}");
        }
    }
    if !event.output.trim().is_empty() && message.digest.is_empty() {
        text.push_str("\nOutput:\n");
        for line in output(event, max_output).lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text.push('\n');
    if let Some(link) = runbook(event).filter(|_| message.digest.is_empty()) {
        let _ = writeln!(text, "What to do:     {link}");
    }
    if let Some(command) = acknowledge(message) {
        let _ = writeln!(text, "Acknowledge it: {command}");
    }
    let _ = writeln!(text, "Look at it:     {}", look(message));
    let _ = write!(text, "\n-- \n{}", signature(message));
    text.push('\n');
    text
}

/// What chats with Markdown show beside the facts, at most about `max` bytes; `escape` makes a text from outside stand for itself.
pub(crate) fn markdown(message: &Message, max: usize, escape: fn(&str) -> String) -> String {
    let mut text = format!("{}\n{}", escape(&headline(message)), escape(&saying(message)));
    if message.event.drill {
        text.insert_str(0, "**This is a drill: nothing is wrong.**\n");
    }
    for line in measured(&message.event) {
        text.push_str(&format!("- {}\n", escape(&line)));
    }
    if let Some(link) = runbook(&message.event) {
        text.push_str(&format!("[What to do]({link})\n"));
    }
    if let Some(command) = acknowledge(message) {
        text.push_str(&format!("Acknowledge it: `{}`\n", command.replace('`', "'")));
    }
    let output = output(&message.event, max.saturating_sub(text.len() + 10) / 2);
    if !output.is_empty() && message.digest.is_empty() {
        text.push_str(&format!("```\n{}\n```", output.replace("```", "'''")));
    }
    text
}

/// All that is known, for programs.
pub(crate) fn whole_json(message: &Message, event: &Event, zone: &TimeZone) -> Json {
    json!({
        "kind": message.kind.as_str(),
        "delivery_id": message.delivery_id,
        "thread": message.thread,
        "reference": message.reference,
        "title": title(message),
        "text": saying(message).trim_end(),
        "attempt": message.attempt,
        "late_seconds": message.late.map(|late| late.as_secs()),
        "last_action": message.last_action,
        "missed": message.missed.iter().map(|missed| missed_line(missed, zone)).collect::<Vec<_>>(),
        "digest": message.digest,
        "bulletin": message.bulletin,
        "event": event,
    })
}

/// Who says it, and under which id: the same if it has to be sent again.
pub(crate) fn signature(message: &Message) -> String {
    let again = if message.attempt > 1 { format!(", attempt {}", message.attempt) } else { String::new() };
    format!(
        "monchero on {}, delivery {}{again}",
        escape_controls(&message.event.host),
        escape_controls(&message.delivery_id)
    )
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
        let _ = writeln!(text, "  {}", missed_line(problem, zone));
    }
}

/// A problem that came and went untold.
pub(crate) fn missed_line(problem: &Missed, zone: &TimeZone) -> String {
    let since = moment(problem.since, zone);
    match problem.until {
        Some(until) => {
            let lasted = std::time::Duration::try_from(until.duration_since(problem.since)).unwrap_or_default();
            format!("{} from {since} to {} ({})", problem.state, moment(until, zone), duration::human(lasted))
        }
        None => format!("{} since {since}", problem.state),
    }
}

/// How long the incident has lasted, if there is one.
fn lasted(event: &Event) -> Option<&str> {
    event.incident.as_ref().map(|incident| incident.duration.as_str())
}

/// A moment for a reader: with the zone, since messages travel.
pub(crate) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}
