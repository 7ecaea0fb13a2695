//! Output of Checkmk local checks.
//!
//! Each line is a service: `STATUS NAME METRICS TEXT`. NAME may stand in double or single quotes; METRICS is `-`, or
//! `name=value;warn;crit;min;max` joined by `|`; `\n` in TEXT (two characters) begins further lines. STATUS is 0, 1, 2, 3, or `P`: then
//! the levels of the metrics decide. Levels are `upper`, `lower:upper` or `lower:`; as Checkmk does, a value alerts that is at or above
//! the upper or below the lower one.
//!
//! A line may begin with `cached(TIME,INTERVAL) `: it was made at TIME, in seconds since 1970, by a plugin that runs every INTERVAL
//! seconds. When it is older than two intervals, nobody knows what is so now: the service is unknown at least, and says how old it is.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use monchero_core::metric::{MAX_LABEL, MAX_METRICS};
use monchero_core::{Metric, Name, Range, Report, State, nagios, text};

/// How many lines that are no services are named; the rest is counted.
const MAX_NAMED: usize = 3;
/// How much of such a line is shown, in bytes.
const MAX_SHOWN: usize = 80;

/// What the reading of the lines needs to know.
pub(super) struct Reader<'a> {
    /// The name of the check, before those of its services.
    pub(super) check: &'a Name,
    pub(super) now: Timestamp,
    /// Whether levels judge services that have an explicit status, too.
    pub(super) judge_metrics: bool,
}

impl Reader<'_> {
    /// Each good line as a service; the report itself tells how many there are and which lines are none.
    pub(super) fn read(&self, text: &str) -> Report {
        let mut report = Report::default();
        let (mut names, mut faults) = (HashSet::new(), Vec::new());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fault = match self.line(line.trim()) {
                Ok((name, service)) if names.insert(self.check.service(&name)) => {
                    report.services.push((name, service));
                    continue;
                }
                Ok(_) => "its service stood before",
                Err(why) => why,
            };
            let shown = text::shorten(line.trim(), MAX_SHOWN);
            faults.push(format!("line {} is no local check ({fault}): `{shown}`", number + 1));
        }
        let unnamed = faults.len().saturating_sub(MAX_NAMED);
        for fault in faults.into_iter().take(MAX_NAMED) {
            report.find(State::Unknown, fault);
        }
        if unnamed > 0 {
            report.find(State::Unknown, format!("and {unnamed} more lines"));
        }
        super::count_services(&mut report);
        report
    }

    fn line(&self, line: &str) -> Result<(String, Report), &'static str> {
        let (cached, line) = Cached::split(line)?;
        let (status, rest) = word(line);
        let (name, rest) = quoted_word(rest)?;
        let (metrics, words) = word(rest);
        let state = match status {
            "P" => None,
            _ => Some(State::from_word(status).filter(|_| status.len() == 1)),
        };
        // A line of ordinary text must not become a service; a wrong number may.
        if state == Some(None) && !status.bytes().all(|b| b.is_ascii_digit()) {
            return Err("a line begins with 0, 1, 2, 3 or P");
        }
        if name.is_empty() || metrics.is_empty() {
            return Err("a line has a status, a name, metrics or `-`, and a text");
        }
        let mut service = Report { metrics_inform_only: state.is_some() && !self.judge_metrics, ..Report::default() };
        let mut faults = Vec::new();
        if metrics != "-" {
            read_metrics(metrics, &mut service, &mut faults);
        }
        match state {
            Some(Some(state)) => service.state = Some(state),
            Some(None) => {
                service.find(State::Unknown, format!("its status `{status}` is none of 0, 1, 2, 3 and P"));
            }
            // Without its metrics, a service that is judged by them is not judged.
            None if !faults.is_empty() => service.find(State::Unknown, std::mem::take(&mut faults).join("; ")),
            None => {}
        }
        if let Some(stale) = cached.and_then(|cached| cached.stale(self.now)) {
            service.find(State::Unknown, stale);
        }
        let words = words.replace("\\n", "\n");
        let (first, further) = words.split_once('\n').unwrap_or((&words, ""));
        super::finish(&mut service, first, further, faults);
        Ok((name.to_owned(), service))
    }
}

/// The first word and what follows it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// A word that may stand in quotes.
fn quoted_word(text: &str) -> Result<(&str, &str), &'static str> {
    let text = text.trim_start();
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return Ok(word(text)) };
    let inner = text.strip_prefix(quote).unwrap_or(text);
    inner.split_once(quote).map(|(name, rest)| (name.trim(), rest)).ok_or("a quote is opened and never closed")
}

/// Metrics joined by `|`. What is none is told in `faults`.
fn read_metrics(joined: &str, service: &mut Report, faults: &mut Vec<String>) {
    for entry in joined.split('|').filter(|entry| !entry.is_empty()) {
        match metric(entry) {
            Ok(metric) if service.metrics.iter().take(MAX_METRICS).any(|earlier| earlier.label == metric.label) => {
                faults.push(format!("the metric `{}` stood before", metric.label));
            }
            Ok(metric) => service.metrics.push(metric),
            Err(why) => faults.push(format!("{why}: `{}`", text::shorten(entry, MAX_SHOWN))),
        }
    }
}

fn metric(entry: &str) -> Result<Metric, &'static str> {
    let (label, data) = entry.split_once('=').ok_or("a metric is written `name=value`")?;
    if label.is_empty() || label.len() > MAX_LABEL {
        return Err("the name of a metric has 1 to 128 bytes");
    }
    let mut fields = data.split(';');
    let (value, unit) = fields.next().and_then(nagios::parse_value).ok_or("the value of a metric is no number")?;
    let warning = levels(fields.next())?;
    let bad = levels(fields.next())?;
    let mut bound = || fields.next().and_then(nagios::parse_value).and_then(|(value, _)| value);
    let (min, max) = (bound(), bound());
    Ok(Metric { label: Box::from(label), value, unit, warning, bad, min, max })
}

/// `upper`, `lower:upper` or `lower:`.
fn levels(field: Option<&str>) -> Result<Option<Range>, &'static str> {
    let Some(field) = field.filter(|field| !field.is_empty()) else { return Ok(None) };
    let (lower, upper) = field.split_once(':').unwrap_or(("", field));
    Ok(super::outside_half_open(level(lower)?, level(upper)?))
}

/// A level; none if it is empty or infinite.
fn level(text: &str) -> Result<Option<f64>, &'static str> {
    match text {
        "" | "inf" | "+inf" | "-inf" => Ok(None),
        number => match nagios::parse_value(number) {
            Some((Some(level), _)) => Ok(Some(level)),
            _ => Err("a level of a metric is no number"),
        },
    }
}

/// When a cached line was made, and how often it is made.
#[derive(Clone, Copy)]
struct Cached {
    made: f64,
    interval: f64,
}

impl Cached {
    fn split(line: &str) -> Result<(Option<Self>, &str), &'static str> {
        const WRONG: &str = "it begins with `cached(`, but not with `cached(TIME,INTERVAL) `";
        let Some(rest) = line.strip_prefix("cached(") else { return Ok((None, line)) };
        let (numbers, rest) = rest.split_once(')').ok_or(WRONG)?;
        let (made, interval) = numbers.split_once(',').ok_or(WRONG)?;
        let number = |text: &str| {
            text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0).ok_or(WRONG)
        };
        Ok((Some(Self { made: number(made)?, interval: number(interval)? }), rest))
    }

    fn stale(self, now: Timestamp) -> Option<String> {
        let age = now.as_second() as f64 - self.made;
        let words =
            |seconds| monchero_core::duration::human(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        (age > 2.0 * self.interval)
            .then(|| format!("this was found out {} ago, every {} is planned", words(age), words(self.interval)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::show;
    use super::*;

    fn read(text: &str) -> Report {
        let check = Name::new("local");
        Reader { check: &check, now: Timestamp::from_second(1_700_000_000).unwrap(), judge_metrics: false }.read(text)
    }

    /// The only service: state, message, output.
    fn one(text: &str) -> String {
        let report = read(text);
        assert!(report.services.len() == 1 && report.worst() == State::Okay, "{}", show(report));
        show(report.services.into_iter().next().unwrap().1)
    }

    #[test]
    fn lines_of_the_original_agent() {
        let text = r#"0 bacula_backups - OK because This host does not particpate in regular backups\nExtended messages
0 memcache connect_ms=5.274295806884766|set_get_delete_ms=7.222652435302734 Connected in 5.27 mS, set/get/delete in 7.22 mS
0 "nginx threads" ActiveConn=1|reading=0|writing=1|waiting=0 OK - ActiveConn:1 reading:0 writing:1 waiting:0
"#;
        let report = read(text);
        let names: Vec<&str> = report.services.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["bacula_backups", "memcache", "nginx threads"]);
        assert_eq!(show(report.clone()), "okay: 3 services");
        let shown: Vec<String> = report.services.into_iter().map(|(_, service)| show(service)).collect();
        assert_eq!(shown[0], "okay: OK because This host does not particpate in regular backups\nExtended messages");
        assert_eq!(
            shown[1],
            "okay: Connected in 5.27 mS, set/get/delete in 7.22 mS | connect_ms=5.274295806884766 set_get_delete_ms=7.222652435302734"
        );
        assert_eq!(
            shown[2],
            "okay: OK - ActiveConn:1 reading:0 writing:1 waiting:0 | ActiveConn=1 reading=0 writing=1 waiting=0"
        );
    }

    #[test]
    fn statuses() {
        assert_eq!(one("1 x - careful"), "warning: careful");
        assert_eq!(one("2 x - broken"), "bad: broken");
        assert_eq!(one("3 x - who knows"), "unknown: who knows");
        assert_eq!(one("7 x - seven"), "unknown: seven (its status `7` is none of 0, 1, 2, 3 and P)");
        assert_eq!(one("0 x -"), "okay: (no text)");
        assert_eq!(one("0 'a b'   -   two  blanks"), "okay: two  blanks");
    }

    #[test]
    fn an_explicit_status_is_not_overridden_by_levels() {
        assert_eq!(one("0 x load=95;80;90 fine"), "okay: fine | load=95;@80:;@90:");
        let check = Name::new("local");
        let reader = Reader { check: &check, now: Timestamp::UNIX_EPOCH, judge_metrics: true };
        let service = reader.read("0 x load=95;80;90 fine").services.remove(0).1;
        assert_eq!(service.worst(), State::Bad);
    }

    #[test]
    fn p_is_judged_by_levels() {
        let state = |metrics: &str| read(&format!("P x {metrics} text")).services.remove(0).1.worst();
        for (metrics, expected) in [
            ("a=79.9;80;90", State::Okay),
            ("a=80;80;90", State::Warning),
            ("a=90;80;90", State::Bad),
            ("a=10;10:20;5:30", State::Okay),
            ("a=9.9;10:20;5:30", State::Warning),
            ("a=19.99;10:20;5:30", State::Okay),
            ("a=20;10:20;5:30", State::Warning),
            ("a=30;10:20;5:30", State::Bad),
            ("a=4;10:20;5:30", State::Bad),
            ("a=4;10:;5:", State::Bad),
            ("a=7;20:10", State::Warning),
            ("a=7;-inf:10;inf", State::Okay),
            ("a=1|b=95;80;90|c=81;80;90", State::Bad),
            ("a=5;;", State::Okay),
            ("-", State::Okay),
        ] {
            assert_eq!(state(metrics), expected, "{metrics}");
        }
        assert_eq!(
            one("P x a=85%;80;90 half full"),
            "warning: half full (a is 85%, at or above 80%) | a=85%;@80:;@90:"
        );
    }

    #[test]
    fn a_service_without_its_metrics_is_not_judged() {
        assert_eq!(one("P x a=b;80;90 text"), "unknown: text (the value of a metric is no number: `a=b;80;90`)");
        assert_eq!(one("P x a=85;x;90 text"), "unknown: text (a level of a metric is no number: `a=85;x;90`)");
        // The plugin's own word counts, and what was lost is told.
        assert_eq!(one("1 x a=b|c=2 text"), "warning: text\n(the value of a metric is no number: `a=b`) | c=2");
    }

    #[test]
    fn literal_newlines_however_many() {
        assert_eq!(one(r"0 x - first\nsecond\nthird\n"), "okay: first\nsecond\nthird");
    }

    #[test]
    fn cached_results_grow_stale() {
        assert_eq!(one("cached(1699999500,300) 0 x - fine"), "okay: fine");
        assert_eq!(one("cached(1699999400,300) 2 x - down"), "bad: down");
        assert_eq!(
            one("cached(1699996400,300) 0 x - fine"),
            "unknown: fine (this was found out 1h ago, every 5m is planned)"
        );
        assert_eq!(one("cached(1800000000,300) 0 x - from the future"), "okay: from the future");
    }

    #[test]
    fn bad_lines_are_told() {
        let text = "0 good - x\nbash: line 3: foo: command not found\n\n0 good - again\n0\n0 \"open - x\ncached(1,x) 0 a - b\n";
        assert_eq!(
            show(read(text)),
            "unknown: line 2 is no local check (a line begins with 0, 1, 2, 3 or P): `bash: line 3: foo: command not found`; \
             line 4 is no local check (its service stood before): `0 good - again`; \
             line 5 is no local check (a line has a status, a name, metrics or `-`, and a text): `0`; and 2 more lines"
        );
        assert_eq!(read(text).services.len(), 1);
    }

    #[test]
    fn fuzzed_output() {
        crate::fuzz::on_text("checkmk", |text| {
            let report = read(text);
            let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
            assert!(report.services.len() <= lines);
            assert!(report.services.len() == lines || report.worst() == State::Unknown, "a line was lost: {report:?}");
            for (name, service) in &report.services {
                assert!(Name::new("local").service(name).as_str().starts_with("local/"));
                assert!(service.metrics.len() <= MAX_METRICS);
                assert!(service.metrics.iter().all(|metric| metric.value.is_none_or(f64::is_finite)), "{service:?}");
            }
        });
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "([0-3P] |cached\\(1,2\\)|[-ab\"'=|;:0-9 \\\\n\n]){0,40}") {
            let report = read(&text);
            let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
            // Each line is a service or is told about.
            if report.services.len() < lines {
                prop_assert_eq!(report.worst(), State::Unknown);
            }
            for (_, service) in report.services {
                let text = serde_json::to_string(&service.metrics).unwrap();
                let back: Vec<Metric> = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(back.len(), service.metrics.len());
            }
        }
    }
}
