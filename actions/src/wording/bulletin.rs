//! The words of messages about no check: summaries, and what happened to monchero itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use monchero_core::action::{Bulletin, Happened, Occasion};
use monchero_core::duration::human;
use monchero_core::summary::{Counts, Listed, Summary};
use monchero_core::text::{escape_controls, shorten};
use monchero_core::{State, duration, order};

use super::moment;

/// How much of what a check says a line of a summary shows, in bytes.
const MAX_SAID: usize = 200;

/// What it is about, in a few words.
pub(super) fn title(bulletin: &Bulletin, host: &str) -> String {
    match bulletin {
        Bulletin::Summary(summary) => format!("[summary] {} on {host}", counts(&summary.counts)),
        Bulletin::Occasion(Occasion { what, .. }) => match what {
            Happened::Started { version, .. } => format!("[monchero] {version} started on {host}"),
            Happened::Config { why } => format!("[monchero] the configuration on {host} is broken: {why}"),
            Happened::Crashed { .. } => format!("[monchero] ended on {host} without being told to"),
        },
    }
}

/// What happened, in a sentence or two.
pub(super) fn headline(bulletin: &Bulletin, host: &str) -> String {
    let host = escape_controls(host);
    match bulletin {
        Bulletin::Summary(summary) => summary_headline(summary, &host),
        Bulletin::Occasion(Occasion { what, .. }) => match what {
            Happened::Started { version, kinds } => {
                let all: usize = kinds.values().sum();
                format!("monchero {version} has started on {host} and watches {}.", some(all, "check"))
            }
            Happened::Config { .. } => {
                format!("The configuration of monchero on {host} is broken; the one before it stays in force.")
            }
            Happened::Crashed { .. } => format!(
                "monchero on {host} ended without being told to: it crashed, was killed, or the machine went down. \
                 It runs again."
            ),
        },
    }
}

/// How everything is.
pub(crate) fn summary_headline(summary: &Summary, host: &str) -> String {
    let how = if summary.state() == State::Okay { "All is well" } else { "How it is" };
    format!("{how} on {}: {}.", escape_controls(host), counts(&summary.counts))
}

/// The rest as titled lists.
pub(crate) fn sections(bulletin: &Bulletin) -> Vec<(&'static str, Vec<String>)> {
    let mut sections = match bulletin {
        Bulletin::Summary(summary) => summary_sections(summary),
        Bulletin::Occasion(Occasion { what, .. }) => match what {
            Happened::Started { kinds, .. } => vec![("Checks", of_kinds(kinds))],
            Happened::Config { why } => vec![("What is wrong", vec![escape_controls(why)])],
            Happened::Crashed { .. } => Vec::new(),
        },
    };
    sections.retain(|(_, lines)| !lines.is_empty());
    sections
}

/// What is to be known besides, each with its name.
pub(super) fn facts(bulletin: &Bulletin, zone: &TimeZone) -> Vec<(&'static str, String)> {
    match bulletin {
        Bulletin::Summary(summary) => summary_facts(summary, zone),
        Bulletin::Occasion(Occasion { at, what }) => {
            let mut facts = vec![("Time", moment(*at, zone))];
            if let Happened::Crashed { seen } = what {
                facts.push(("Last seen", format!("{} ({} before)", moment(*seen, zone), human(between(*seen, *at)))));
            }
            facts
        }
    }
}

/// The period of a summary, and how telling went in it.
pub(crate) fn summary_facts(summary: &Summary, zone: &TimeZone) -> Vec<(&'static str, String)> {
    let span = human(between(summary.since, summary.until));
    let period = format!("{} to {} ({span})", moment(summary.since, zone), moment(summary.until, zone));
    let failed = if summary.failed == 0 {
        String::new()
    } else {
        format!(", {} failed", some(usize::try_from(summary.failed).unwrap_or(usize::MAX), "try"))
    };
    let mut facts = vec![("Period", period), ("Messages", format!("{} delivered{failed}", summary.sent))];
    facts.extend(summary.incomplete.iter().map(|why| ("Missing", format!("the past could not be read: {why}"))));
    facts
}

/// The command that shows more.
pub(super) fn look(bulletin: &Bulletin) -> &'static str {
    match bulletin {
        Bulletin::Summary(_) => "monchero summary",
        Bulletin::Occasion(Occasion { what, .. }) => match what {
            Happened::Started { .. } => "monchero status",
            Happened::Config { .. } => "monchero config check",
            Happened::Crashed { .. } => "journalctl -u monchero",
        },
    }
}

/// `2 bad, 1 warning, 40 okay`.
fn counts(counts: &Counts) -> String {
    let all = [
        (counts.bad, "bad"),
        (counts.unknown, "unknown"),
        (counts.warning, "warning"),
        (counts.okay, "okay"),
        (counts.pending, "not run yet"),
    ];
    let words: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    if words.is_empty() { "no checks".to_owned() } else { words.join(", ") }
}

/// The lists of a summary, those that are empty left out.
pub(crate) fn summary_sections(summary: &Summary) -> Vec<(&'static str, Vec<String>)> {
    let until = summary.until;
    let name = |text: &str| escape_controls(text);
    let problems = lines(&summary.problems, |problem| {
        let since = problem.since.map(|since| format!(" for {}", human(between(since, until)))).unwrap_or_default();
        let held = problem.held.as_deref().map(|held| format!(" ({held})")).unwrap_or_default();
        let said = escape_controls(&shorten(&problem.message, MAX_SAID));
        let said = if said.is_empty() { said } else { format!(": {said}") };
        format!("{}: {}{since}{held}{said}", problem.state, name(problem.check.as_str()))
    });
    let worst = lines(&summary.worst, |trouble| {
        let lasted = human(Duration::from_secs(trouble.seconds));
        let incidents = some(trouble.incidents as usize, "incident");
        format!("{}: {lasted} in {incidents}", name(trouble.check.as_str()))
    });
    let incidents = lines(&summary.incidents, |incident| {
        let lasted = human(between(incident.since, incident.until.unwrap_or(until)));
        let end = match incident.until {
            Some(end) => format!("over for {}", human(between(end, until))),
            None => "goes on".to_owned(),
        };
        format!("{}: {}: {lasted}, {end}", incident.state, name(incident.check.as_str()))
    });
    let flapping = lines(&summary.flapping, |flaps| {
        format!("{} for {}", name(flaps.check.as_str()), human(between(flaps.since, until)))
    });
    let slowest = lines(&summary.slowest, |slow| {
        let took = duration::human(Duration::from_millis(slow.milliseconds));
        format!("{}: {took}", name(slow.check.as_str()))
    });
    let downtimes = lines(&summary.downtimes, |work| {
        let when = if work.start <= until {
            format!("ends in {}", human(between(until, work.end)))
        } else {
            format!("begins in {}, for {}", human(between(until, work.start)), human(between(work.start, work.end)))
        };
        let why = if work.comment.is_empty() { String::new() } else { format!(": {}", work.comment) };
        name(&format!("{}: {when} ({}{why})", work.covers, work.author))
    });
    let mut sections = vec![
        ("Wrong now", problems),
        ("Not okay longest", worst),
        ("Longest incidents", incidents),
        ("Flapping", flapping),
        ("Slowest runs", slowest),
        ("Downtimes", downtimes),
    ];
    sections.retain(|(_, lines)| !lines.is_empty());
    sections
}

fn of_kinds(kinds: &BTreeMap<String, usize>) -> Vec<String> {
    let mut all: Vec<_> = kinds.iter().map(|(kind, count)| (*count, kind)).collect();
    order::sort_by_key(&mut all, |(count, _)| std::cmp::Reverse(*count));
    all.into_iter().map(|(count, kind)| format!("{count} {}", escape_controls(kind))).collect()
}

fn lines<T>(list: &Listed<T>, line: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = list.lines.iter().map(line).collect();
    if list.more > 0 {
        lines.push(format!("and {} more", list.more));
    }
    lines
}

/// `1 check`, `2 checks`.
fn some(count: usize, word: &str) -> String {
    match (count, word.strip_suffix('y')) {
        (1, _) => format!("1 {word}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {word}s"),
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use monchero_core::Name;
    use monchero_core::summary::{PastIncident, PlannedDowntime, Problem};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_summary_reads_well() {
        let problem = Problem {
            check: Name::new("web"),
            state: State::Bad,
            since: Some(at(0)),
            message: "503\u{1b}[2J".to_owned(),
            held: Some("acknowledged".to_owned()),
        };
        let ended =
            PastIncident { check: Name::new("db"), state: State::Warning, since: at(-600), until: Some(at(-300)) };
        let work = PlannedDowntime {
            covers: "db*".to_owned(),
            start: at(7_200),
            end: at(10_800),
            author: "anna".to_owned(),
            comment: "new disk".to_owned(),
        };
        let summary = Bulletin::Summary(Box::new(Summary {
            host: "web1".to_owned(),
            since: at(-82_800),
            until: at(3_600),
            counts: Counts { okay: 40, bad: 1, ..Counts::default() },
            problems: Listed { lines: vec![problem], more: 3 },
            incidents: Listed { lines: vec![ended], more: 0 },
            downtimes: Listed { lines: vec![work], more: 0 },
            sent: 5,
            failed: 1,
            ..Summary::default()
        }));
        assert_eq!(title(&summary, "web1"), "[summary] 1 bad, 40 okay on web1");
        assert_eq!(headline(&summary, "web1"), "How it is on web1: 1 bad, 40 okay.");
        let sections = sections(&summary);
        let expected = [
            ("Wrong now", vec!["bad: web for 1h (acknowledged): 503\\e[2J".to_owned(), "and 3 more".to_owned()]),
            ("Longest incidents", vec!["warning: db: 5m, over for 1h 5m".to_owned()]),
            ("Downtimes", vec!["db*: begins in 1h, for 1h (anna: new disk)".to_owned()]),
        ];
        assert_eq!(sections, expected);
        let facts = facts(&summary, &TimeZone::UTC);
        assert_eq!(facts[0].1, "2027-01-14 09:00:00 +00:00 to 2027-01-15 09:00:00 +00:00 (1d)");
        assert_eq!(facts[1].1, "5 delivered, 1 try failed");
    }
}
