//! monchero's own output format: YAML or JSON, one mapping or a list of them.
//!
//! ```yaml
//! - check_name: Disk space /
//!   status: OK                # ok, okay, warning, bad, critical, unknown, or 0 .. 3
//!   message: 12 of 270 GiB used
//!   extended_message: further lines
//!   interval: 300             # seconds, or a text such as `5m`: when to run next
//!   metrics:
//!     used: { value: 4.8, unit: "%", warning_min: 80, bad_min: 90 }
//! ```
//!
//! Limits are `warning_min`, `warning_max`, `bad_min` and `bad_max` (or `critical_..`), and what they mean depends on `warning_mode` and
//! `bad_mode`: with `outside`, the default, a value alerts that is at or above the minimum and below the maximum, if there is one; with
//! `inside`, one below the minimum or above the maximum. So `outside` names the bad band and `inside` the good one.

use std::collections::HashSet;
use std::time::Duration;

use monchero_core::metric::MAX_LABEL;
use monchero_core::node::{Node, Value, nearest};
use monchero_core::quantity::Unit;
use monchero_core::{Metric, Name, Range, Report, State, duration, nagios, text};

/// The shortest interval that a plugin can ask for: the shortest that a definition can.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// The longest one: a year. What is longer is a mistake that would switch the check off.
const MAX_INTERVAL: Duration = Duration::from_hours(366 * 24);
/// What a mapping may hold.
const KEYS: [&str; 7] = ["status", "state", "check_name", "message", "metrics", "extended_message", "interval"];
/// What a metric may hold.
const METRIC_KEYS: [&str; 13] = [
    "value",
    "unit",
    "min",
    "max",
    "warning_min",
    "warning_max",
    "warning_mode",
    "bad_min",
    "bad_max",
    "bad_mode",
    "critical_min",
    "critical_max",
    "critical_mode",
];

/// What the reading of a document needs to know.
pub(super) struct Reader<'a> {
    /// The name of the check, before those of its services.
    pub(super) check: &'a Name,
    /// The name of the plugin's file: the name of services that have none.
    pub(super) file: &'a str,
    pub(super) judge_metrics: bool,
}

impl Reader<'_> {
    /// The report of a document, or why it is none.
    pub(super) fn read(&self, text: &str) -> Result<Report, String> {
        let document = super::yaml::parse(text).map_err(|why| format!("it is no YAML: {why}"))?;
        match &document.value {
            Value::Map(_) => Ok(self.service(&document)),
            Value::List(items) => Ok(self.services(items)),
            Value::Null => Err("it printed nothing".to_owned()),
            Value::Scalar { .. } => Err(format!("it is {}, not a mapping with `status`", document.describe())),
        }
    }

    fn services(&self, items: &[Node]) -> Report {
        let (mut report, mut names) = (Report::default(), HashSet::new());
        for (number, item) in items.iter().enumerate().map(|(index, item)| (index + 1, item)) {
            if !matches!(item.value, Value::Map(_)) {
                report
                    .find(State::Unknown, format!("item {number} is {}, not a mapping with `status`", item.describe()));
                continue;
            }
            let given = item.get("check_name").and_then(Node::as_text).map(str::trim).filter(|name| !name.is_empty());
            let name = given.map_or_else(|| format!("{} {number}", self.file), str::to_owned);
            let mut service = self.service(item);
            let wanted = service.interval.take();
            report.interval = report.interval.into_iter().chain(wanted).min();
            if names.insert(self.check.service(&name)) {
                report.services.push((name, service));
            } else {
                report.find(State::Unknown, format!("item {number} is once more named `{name}`"));
            }
        }
        super::count_services(&mut report);
        report
    }

    fn service(&self, map: &Node) -> Report {
        let mut service = Report { metrics_inform_only: !self.judge_metrics, ..Report::default() };
        let mut notes = Vec::new();
        unknown_keys(map, &KEYS, "", &mut service, &mut notes);
        match map.get("status").or_else(|| map.get("state")) {
            None => service.find(State::Unknown, "it gives no `status`"),
            Some(node) => {
                service.state = node.as_text().and_then(State::from_word);
                if service.state.is_none() {
                    let given = node.describe();
                    service
                        .find(State::Unknown, format!("its status is {given}, none of okay, warning, bad and unknown"));
                }
            }
        }
        match map.get("metrics").map(|node| (node, &node.value)) {
            None | Some((_, Value::Null)) => {}
            Some((_, Value::Map(entries))) => {
                for (label, node) in entries {
                    metric(&label.name, node, &mut service, &mut notes);
                }
            }
            Some((node, _)) => {
                service.find(State::Unknown, format!("its metrics are {}, not a mapping by name", node.describe()));
            }
        }
        if let Some(node) = map.get("interval") {
            match interval(node) {
                Some(interval) => service.interval = Some(interval),
                None => service.find(
                    State::Warning,
                    format!("its interval is {}, no span of time from 100ms to a year", node.describe()),
                ),
            }
        }
        let message = words(map, "message", &mut service);
        let further = words(map, "extended_message", &mut service);
        let (first, second) = message.trim().split_once('\n').unwrap_or((message.trim(), ""));
        let further = [second, further.as_str()]
            .into_iter()
            .filter(|text| !text.trim().is_empty())
            .collect::<Vec<_>>()
            .join("\n");
        super::finish(&mut service, first, &further, notes);
        service
    }
}

fn words(map: &Node, key: &str, service: &mut Report) -> String {
    match map.get(key).map(|node| (node, &node.value)) {
        Some((_, Value::Scalar { text, .. })) => text.to_string(),
        None | Some((_, Value::Null)) => String::new(),
        Some((node, _)) => {
            service.find(State::Warning, format!("its {key} is {}, not a text", node.describe()));
            String::new()
        }
    }
}

/// A key that is nearly one that is known is a limit that does not work: a warning. Others are noted.
fn unknown_keys(map: &Node, known: &[&'static str], of: &str, service: &mut Report, notes: &mut Vec<String>) {
    for (key, _) in map.entries().iter().filter(|(key, _)| !known.contains(&&*key.name)) {
        let shown = text::escape_controls(&text::shorten(&key.name, MAX_LABEL));
        match nearest(&key.name, known.iter().copied()) {
            Some(near) => service.find(State::Warning, format!("{of}`{shown}` is not known, did you mean `{near}`?")),
            None => notes.push(format!("{of}`{shown}` is not known")),
        }
    }
}

/// Seconds, or a text with a unit.
fn interval(node: &Node) -> Option<Duration> {
    let text = node.as_text()?.trim();
    let span = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => duration::parse(text).ok()?,
    };
    (MIN_INTERVAL..=MAX_INTERVAL).contains(&span).then_some(span)
}

fn metric(label: &str, node: &Node, service: &mut Report, notes: &mut Vec<String>) {
    let label: String = label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if label.is_empty() || label.len() > MAX_LABEL {
        notes.push(format!("a metric was not kept: its name has {} bytes, 1 to {MAX_LABEL} are possible", label.len()));
        return;
    }
    let of = format!("metric `{label}`: ");
    let (value, given_unit) = match &node.value {
        Value::Map(_) => {
            unknown_keys(node, &METRIC_KEYS, &of, service, notes);
            (node.get("value"), node.get("unit").and_then(Node::as_text))
        }
        _ => (Some(node), None),
    };
    let (value, unit) = match value.map(|node| (node, &node.value)) {
        None => return service.find(State::Unknown, format!("{of}it has no `value`")),
        Some((_, Value::Null)) => (None, Unit::NONE),
        Some((node, _)) => match node.as_text().and_then(|text| nagios::parse_value(text.trim())) {
            Some(value) => value,
            None => return service.find(State::Unknown, format!("{of}its value is {}, no number", node.describe())),
        },
    };
    let unit = given_unit.map_or(unit, Unit::new);
    let mut metric =
        Metric { label: label.into_boxed_str(), value, unit, warning: None, bad: None, min: None, max: None };
    // A limit that cannot be read cannot judge: what it would have said is not known.
    let mut limits = || {
        metric.warning = band(node, &["warning"])?;
        metric.bad = band(node, &["bad", "critical"])?;
        metric.min = number(node, "min")?;
        metric.max = number(node, "max")?;
        Ok(())
    };
    match limits() {
        Ok(()) => {}
        Err(Fault::Wrong(why)) => service.find(State::Unknown, format!("{of}{why}")),
        Err(Fault::Useless(why)) => service.find(State::Warning, format!("{of}{why}")),
    }
    service.metrics.push(metric);
}

/// What is wrong with the limits of a metric.
enum Fault {
    /// One cannot be read.
    Wrong(String),
    /// They can never alert.
    Useless(String),
}

/// The range of a level, under the first of its names that has one.
fn band(metric: &Node, names: &[&str]) -> Result<Option<Range>, Fault> {
    for name in names {
        let [min, max, mode] = ["min", "max", "mode"].map(|what| format!("{name}_{what}"));
        let (low, high) = (number(metric, &min)?, number(metric, &max)?);
        let inside = match metric.get(&mode).map(|node| (node, node.as_text().map(str::trim))) {
            None | Some((_, Some("outside" | ""))) => false,
            Some((_, Some("inside"))) => true,
            Some((node, _)) => {
                return Err(Fault::Wrong(format!("`{mode}` is {}, neither `outside` nor `inside`", node.describe())));
            }
        };
        let range = match (inside, low, high) {
            (_, None, None) => continue,
            (false, Some(low), None) => Range::inside(low, f64::INFINITY),
            (false, Some(low), Some(high)) if low < high => Range::inside(low, high).without_end(),
            (false, ..) => {
                return Err(Fault::Useless(format!(
                    "`{max}` never alerts without a smaller `{min}`; did you mean `{mode}: inside`?"
                )));
            }
            (true, Some(low), Some(high)) if low > high => Range::inside(f64::NEG_INFINITY, f64::INFINITY),
            (true, low, high) => Range::outside(low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY)),
        };
        return Ok(Some(range));
    }
    Ok(None)
}

fn number(metric: &Node, key: &str) -> Result<Option<f64>, Fault> {
    let Some(node) = metric.get(key) else { return Ok(None) };
    if node.value == Value::Null {
        return Ok(None);
    }
    match node.as_text().and_then(|text| nagios::parse_value(text.trim())) {
        Some((Some(number), _)) => Ok(Some(number)),
        _ => Err(Fault::Wrong(format!("`{key}` is {}, no number", node.describe()))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use monchero_core::program::Exit;

    use super::super::tests::{NATIVE, end, play, run, services};
    use super::*;

    #[test]
    fn single_mapping_is_the_check_itself() {
        let text = "status: OK\ncheck_name: Memory\nmessage: half full\nextended_message: |\n  more\n  lines\nmetrics:\n  used:\n    value: 55\n    \
                    warning_min: 80\n    critical_min: 90\n  free:\n    value: 1.5GB\n  plain: 7\n  gone: null\n";
        assert_eq!(
            run(NATIVE, 1, text.as_bytes()),
            "okay: half full\nmore\nlines\n(its exit status 1 means nothing in this format) | used=55;@80:;@90: free=1.5GB plain=7 gone=U"
        );
        assert!(services(NATIVE, text).is_empty());
        let json = r#"{"status": 0, "message": "fine", "metrics": {"used": {"value": 95.5, "unit": "%", "warning_min": 80, "bad_min": 90}}}"#;
        assert_eq!(
            run(NATIVE, 0, json.as_bytes()),
            "bad: fine (used is 95.5%, at or above 90%) | used=95.5%;@80:;@90:"
        );
        assert_eq!(
            run("{ command: /x, format: native, judge_metrics: false }", 0, json.as_bytes()),
            "okay: fine | used=95.5%;@80:;@90:"
        );
    }

    #[test]
    fn status_words() {
        for (word, state) in [
            ("ok", "okay"),
            ("OKAY", "okay"),
            ("0", "okay"),
            ("' Warning '", "warning"),
            ("1", "warning"),
            ("critical", "bad"),
            ("2", "bad"),
            ("bad", "bad"),
            ("Unknown", "unknown"),
            ("3", "unknown"),
            ("\"2\"", "bad"),
        ] {
            assert_eq!(
                run(NATIVE, 0, format!("status: {word}\nmessage: x").as_bytes()),
                format!("{state}: x"),
                "{word}"
            );
        }
        assert_eq!(run(NATIVE, 0, b"state: bad\nmessage: x"), "bad: x");
    }

    /// The meaning of native limits: `outside` names the bad band, half open; `inside` the good one, closed; bad is asked first.
    #[test]
    fn limits() {
        let state = |value: &str, limits: &str| {
            let text = format!("status: OK\nmessage: x\nmetrics: {{ m: {{ value: {value}, {limits} }} }}");
            run(NATIVE, 0, text.as_bytes()).split(':').next().unwrap().to_owned()
        };
        for (limits, table) in [
            ("warning_min: 80", vec![("79.9", "okay"), ("80", "warning"), ("1e9", "warning")]),
            ("warning_min: 80, critical_min: 90", vec![("85", "warning"), ("90", "bad")]),
            (
                "warning_min: 10, warning_max: 20",
                vec![("9.9", "okay"), ("10", "warning"), ("19.99", "warning"), ("20", "okay")],
            ),
            (
                "critical_min: -5, critical_max: 5, critical_mode: outside",
                vec![("-6", "okay"), ("-5", "bad"), ("5", "okay")],
            ),
            (
                "warning_min: 10, warning_max: 20, warning_mode: inside",
                vec![("9.9", "warning"), ("10", "okay"), ("20", "okay"), ("20.1", "warning")],
            ),
            ("bad_max: 20, bad_mode: inside", vec![("-1e9", "okay"), ("20", "okay"), ("20.1", "bad")]),
            ("critical_min: 10, critical_mode: inside", vec![("9", "bad"), ("10", "okay")]),
            (
                "critical_min: 20, critical_max: 10, critical_mode: inside",
                vec![("15", "bad"), ("5", "bad"), ("25", "bad")],
            ),
            ("warning_min: null, warning_max: null", vec![("5", "okay")]),
        ] {
            for (value, expected) in table {
                assert_eq!(state(value, limits), expected, "{value} with {limits}");
            }
        }
    }

    #[test]
    fn faults_are_told_and_lose_nothing_else() {
        let shown = |text: &str| run(NATIVE, 0, text.as_bytes());
        assert_eq!(
            shown("status: OK\nmessage: x\nmetrics:\n  a: { value: many }\n  b: { value: 2 }"),
            "unknown: x (metric `a`: its value is `many`, no number) | b=2"
        );
        assert_eq!(
            shown("status: OK\nmessage: x\nmetrics:\n  a: { value: 1, warning_min: lots }\n  b: 2"),
            "unknown: x (metric `a`: `warning_min` is `lots`, no number) | a=1 b=2"
        );
        assert_eq!(
            shown("status: OK\nmessage: x\nmetrics:\n  a: { value: 1, critcial_min: 5 }"),
            "warning: x (metric `a`: `critcial_min` is not known, did you mean `critical_min`?) | a=1"
        );
        assert_eq!(
            shown("status: OK\nmessage: x\nmetrics:\n  a: { value: 1, warning_max: 5 }"),
            "warning: x (metric `a`: `warning_max` never alerts without a smaller `warning_min`; did you mean `warning_mode: inside`?) | a=1"
        );
        assert_eq!(
            shown("status: OK\nmessage: x\nmetrics:\n  a: { value: 1, warning_min: 5, warning_mode: around }"),
            "unknown: x (metric `a`: `warning_mode` is `around`, neither `outside` nor `inside`) | a=1"
        );
        assert_eq!(
            shown("status: OK\nmessage: x\nmetrics: [1]"),
            "unknown: x (its metrics are a list, not a mapping by name)"
        );
        assert_eq!(
            shown("status: OK\nmessage: x\nmetrics: { a: { unit: s } }"),
            "unknown: x (metric `a`: it has no `value`)"
        );
        assert_eq!(
            shown("status: fine\nmessage: x"),
            "unknown: x (its status is `fine`, none of okay, warning, bad and unknown)"
        );
        assert_eq!(shown("status: OK\nmessage: [x]"), "warning: its message is a list, not a text");
        assert_eq!(shown("status: OK\nmessage: x\nauthor: me"), "okay: x\n(`author` is not known)");
        assert_eq!(shown("status: OK"), "okay: (no text)");
    }

    #[test]
    fn list_is_services() {
        let text = "- status: OK\n  message: 12G of 270G\n  check_name: \"Diskspace /\"\n  metrics:\n    blocks_capacity:\n      value: 85\n      warning_min: 80\n\
                    - status: warning\n  message: no name\n- just a text\n- check_name: lost\n- status: OK\n  check_name: \"Diskspace /\"\n";
        let shown = services("{ command: /opt/disk_space.sh -a, format: native }", text);
        assert_eq!(
            shown.into_iter().collect::<Vec<_>>(),
            [
                (
                    "Diskspace /".to_owned(),
                    "warning: 12G of 270G (blocks_capacity is 85, at or above 80) | blocks_capacity=85;@80:".to_owned()
                ),
                ("disk_space.sh 2".to_owned(), "warning: no name".to_owned()),
                ("lost".to_owned(), "unknown: it gives no `status`".to_owned()),
            ]
        );
        assert_eq!(
            run(NATIVE, 0, text.as_bytes()),
            "unknown: item 3 is `just a text`, not a mapping with `status`; item 5 is once more named `Diskspace /`"
        );
        assert_eq!(
            run(NATIVE, 0, b"- { status: ok, check_name: a }\n- { status: bad, check_name: b }"),
            "okay: 2 services"
        );
        assert_eq!(run(NATIVE, 0, b"[]"), "okay: 0 services");
    }

    #[test]
    fn intervals() {
        let interval = |text: &str| {
            play(NATIVE, Ok(end(Exit::Status(0), text.as_bytes(), "")), Path::new("/none")).0.unwrap().interval
        };
        assert_eq!(interval("status: ok\ninterval: 300"), Some(Duration::from_mins(5)));
        assert_eq!(interval("status: ok\ninterval: 0.5"), Some(Duration::from_millis(500)));
        assert_eq!(interval("status: ok\ninterval: 5m"), Some(Duration::from_mins(5)));
        assert_eq!(
            interval("- { status: ok, interval: 60 }\n- { status: ok, interval: 30 }\n- { status: ok }"),
            Some(Duration::from_secs(30))
        );
        for wrong in ["0", "-5", "0.01", "often", "[1]", "1e300", "20y"] {
            let text = format!("status: ok\nmessage: x\ninterval: {wrong}");
            assert_eq!(interval(&text), None, "{wrong}");
            assert!(run(NATIVE, 0, text.as_bytes()).starts_with("warning: x (its interval is "), "{wrong}");
        }
    }
}
