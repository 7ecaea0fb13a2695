//! What a run found, and how findings and metrics become one state and one message.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use crate::check::CheckError;
use crate::metric::{MAX_METRICS, Metric};
use crate::name::Name;
use crate::node;
use crate::quantity::{self, Unit};
use crate::range::Range;
use crate::state::State;

/// The longest message (first line) of a result, in bytes.
pub const MAX_MESSAGE: usize = 4 * 1024;
/// The longest further output of a result, in bytes.
pub const MAX_LONG_OUTPUT: usize = crate::program::MAX_OUTPUT;
/// The most services that one run may report; the rest is counted in the message.
pub const MAX_SERVICES: usize = 1_000;

/// One thing that a check has to say about its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub state: State,
    /// What it is, for a person: names the object, the value and the limit.
    pub text: String,
}

/// What one run found. Its state is the worst of its own state, its findings and its metrics, never less (DESIGN 4).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The state that the check itself gives, if any (a plugin's exit status).
    pub state: Option<State>,
    /// The message; made of the findings if there is none.
    pub message: Option<String>,
    /// Further lines.
    pub output: String,
    /// What is to be said.
    pub findings: Vec<Finding>,
    /// What was measured.
    pub metrics: Vec<Metric>,
    /// Whether the ranges of the metrics judge. They do unless the metrics come from a plugin whose own verdict counts.
    pub metrics_inform_only: bool,
    /// Services that the run reported besides itself, by name.
    pub services: Vec<(String, Report)>,
    /// The interval that a native plugin asks for.
    pub interval: Option<Duration>,
}

impl Report {
    /// A report that says one thing.
    pub fn of(state: State, message: impl Into<String>) -> Self {
        Self { state: Some(state), message: Some(message.into()), ..Self::default() }
    }

    /// Adds a finding.
    pub fn find(&mut self, state: State, text: impl Into<String>) {
        self.findings.push(Finding { state, text: text.into() });
    }

    /// The worst that is known.
    pub fn worst(&self) -> State {
        let metrics = if self.metrics_inform_only { None } else { self.metrics.iter().map(Metric::state).max() };
        let findings = self.findings.iter().map(|finding| finding.state).max();
        self.state.into_iter().chain(findings).chain(metrics).max().unwrap_or_default()
    }

    /// The judged result of the check itself; its services are judged one by one.
    fn judge(mut self) -> ServiceResult {
        let state = self.worst();
        let mut message = match self.message.take() {
            Some(message) => message,
            None => self.message_of_findings(state),
        };
        // A metric that makes it worse than the check's own word must be named, or nobody understands the state.
        let said = self.state.into_iter().chain(self.findings.iter().map(|f| f.state)).max().unwrap_or_default();
        if state > said {
            let named: Vec<String> =
                self.metrics.iter().filter(|m| m.state() == state).take(3).map(describe_metric).collect();
            if !named.is_empty() {
                message =
                    if message.is_empty() { named.join(", ") } else { format!("{message} ({})", named.join(", ")) };
            }
        }
        let dropped = self.metrics.len().saturating_sub(MAX_METRICS);
        self.metrics.truncate(MAX_METRICS);
        if dropped > 0 {
            let _ = write!(self.output, "\n({dropped} more metrics were not kept: at most {MAX_METRICS} are)");
        }
        ServiceResult {
            state,
            message: crate::text::shorten(message.trim(), MAX_MESSAGE).into_boxed_str(),
            output: crate::text::shorten(self.output.trim_end(), MAX_LONG_OUTPUT).into_boxed_str(),
            metrics: self.metrics.into_boxed_slice(),
        }
    }

    /// The worst findings first; what is okay is said only if nothing is wrong.
    fn message_of_findings(&self, state: State) -> String {
        let texts: Vec<&str> = self.findings.iter().filter(|f| f.state == state).map(|f| f.text.as_str()).collect();
        let rest: Vec<&str> = self
            .findings
            .iter()
            .filter(|f| f.state != state && f.state.is_problem())
            .map(|f| f.text.as_str())
            .collect();
        texts.into_iter().chain(rest).collect::<Vec<_>>().join("; ")
    }
}

/// A metric that alerts, in words: `time is 740 ms, above 500 ms`.
pub fn describe_metric(metric: &Metric) -> String {
    let range = if metric.state() == State::Bad { metric.bad } else { metric.warning };
    let value = metric.value.map_or_else(|| "U".to_owned(), |value| quantity::human(value, &metric.unit));
    match range {
        Some(range) => format!("{} is {value}, {}", metric.label, range.describe(&metric.unit)),
        None => format!("{} is {value}", metric.label),
    }
}

/// What is known about one check or service after a run, judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, DeriveDeserialize)]
pub struct ServiceResult {
    /// The judged state.
    pub state: State,
    /// One line for a person.
    pub message: Box<str>,
    /// Further lines.
    #[serde(default)]
    pub output: Box<str>,
    /// What was measured.
    #[serde(default)]
    pub metrics: Box<[Metric]>,
}

/// The result of one run (or of one passive submission) as it enters the dispatcher.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckResult {
    /// The check.
    pub check: Name,
    /// When the run ended, by the wall clock.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What is known about the check itself.
    pub result: ServiceResult,
    /// What is known about its services: `check/service`.
    pub services: Vec<(Name, ServiceResult)>,
    /// The interval that a native plugin asks for.
    pub interval: Option<Duration>,
}

impl CheckResult {
    /// Judges what a run answered. A run that was called off has no result (R16).
    pub fn new(
        check: Name,
        at: Timestamp,
        duration: Duration,
        answer: Result<Report, CheckError>,
        on_timeout: State,
    ) -> Option<Self> {
        let mut report = match answer {
            Ok(report) => report,
            Err(CheckError::Cancelled) => return None,
            Err(error @ CheckError::TimedOut(_)) => Report::of(on_timeout, error.to_string()),
            Err(error) => Report::of(State::Unknown, error.to_string()),
        };
        let interval = report.interval;
        let mut services = std::mem::take(&mut report.services);
        let dropped = services.len().saturating_sub(MAX_SERVICES);
        services.truncate(MAX_SERVICES);
        if dropped > 0 {
            report.find(State::Warning, format!("{dropped} services were not kept: at most {MAX_SERVICES} are"));
        }
        let services =
            services.into_iter().map(|(service, report)| (check.service(&service), report.judge())).collect();
        Some(Self { at, duration, result: report.judge(), services, interval, check })
    }
}

/// A number that a kind measures of each of its items, under the name by which thresholds address it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name in `warning:` and `bad:`, in the label of the metric and in the message.
    pub name: &'static str,
    /// The unit of its values.
    pub unit: &'static str,
    /// What it is, for the reference.
    pub help: &'static str,
}

/// When the numbers of a kind alert: one range for its main field, or a map of ranges by field.
///
/// ```yaml
/// warning: 80%                       # the main field
/// bad: { used: "> 90%", inodes: 95% }  # by field
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// For the kind's main field.
    main: Option<Range>,
    /// By name of the field.
    fields: BTreeMap<String, Range>,
}

/// What a kind alerts about as long as the user says nothing about the field.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The name of the field.
    pub field: &'static str,
    /// When it is a warning, as a user would write it.
    pub warning: &'static str,
    /// When it is bad, as a user would write it.
    pub bad: &'static str,
}

impl Thresholds {
    /// Judges both settings of a kind as [`Thresholds::validate`] does, then fills in the kind's own limits, field by field: only where
    /// neither `warning` nor `bad` says anything about that field, so that a user's `warning: 95%` never meets a `bad` of 90%.
    pub fn settle(
        warning: &mut Self,
        bad: &mut Self,
        fields: &[Field],
        limits: &[Limit],
    ) -> Result<(), (&'static str, String)> {
        warning.validate("warning", fields)?;
        bad.validate("bad", fields)?;
        for limit in limits {
            let is_main = fields.first().is_some_and(|field| field.name == limit.field);
            let says = |thresholds: &Self| {
                thresholds.fields.contains_key(limit.field) || (is_main && thresholds.main.is_some())
            };
            if says(warning) || says(bad) {
                continue;
            }
            for (thresholds, setting, range) in
                [(&mut *warning, "warning", limit.warning), (&mut *bad, "bad", limit.bad)]
            {
                thresholds.fields.insert(limit.field.to_owned(), Range::parse(range).map_err(|why| (setting, why))?);
            }
        }
        Ok(())
    }

    /// The range for a field of a kind whose main field is the first one.
    pub fn range(&self, field: &Field, is_main: bool) -> Option<Range> {
        self.fields.get(field.name).copied().or(if is_main { self.main } else { None })
    }

    /// Whether each name is a field of the kind and each unit fits it. `setting` is `warning` or `bad`.
    pub fn validate(&self, setting: &'static str, fields: &[Field]) -> Result<(), (&'static str, String)> {
        let fits = |range: &Range, field: &Field| {
            use quantity::Dimension::Plain;
            let (wanted, given) = (Unit::new(field.unit).dimension(), range.dimension());
            if given == Plain || given == wanted {
                return Ok(());
            }
            Err((setting, format!("`{}` is measured as {wanted}, the limit is {given}", field.name)))
        };
        for (name, range) in &self.fields {
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
                return Err((
                    setting,
                    format!("`{name}` is nothing that this kind measures; {}", node::suggest(name, &known)),
                ));
            };
            fits(range, field)?;
        }
        match (&self.main, fields.first()) {
            (Some(range), Some(field)) => fits(range, field),
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Thresholds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Thresholds;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a range such as `80%`, or a map of ranges by field")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Thresholds, E> {
                let main = Range::parse(text).map_err(E::custom)?;
                Ok(Thresholds { main: Some(main), fields: BTreeMap::new() })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Thresholds, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Thresholds, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Thresholds, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Thresholds, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, range)) = map.next_entry::<String, Range>()? {
                    fields.insert(name, range);
                }
                Ok(Thresholds { main: None, fields })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Thresholds {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Thresholds".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let range = generator.subschema_for::<Range>();
        json_schema!({
            "description": "When the numbers that are measured alert: one range for the main one (`80%`), or a map of ranges by name (`{ used: 80%, inodes: 90% }`).",
            "anyOf": [range, { "type": "object", "additionalProperties": range }],
        })
    }
}

/// Judges the items of a kind: the one place where thresholds, texts and metrics of built-in kinds are made.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// What the kind measures; the first one is the main field.
    pub fields: &'static [Field],
    /// When it is a warning.
    pub warning: &'a Thresholds,
    /// When it is bad.
    pub bad: &'a Thresholds,
}

impl Judge<'_> {
    /// Adds an item to a report: a metric for each value, a finding for each that alerts, worst first and followed by `summary` in
    /// brackets, and an okay finding with `summary` if none does. The item's name stands before its texts and labels if it has one.
    pub fn item(&self, report: &mut Report, name: &str, values: &[(&str, f64)], summary: impl FnOnce() -> String) {
        let mut alerts = Vec::new();
        for (label, value) in values {
            let Some((index, field)) = self.fields.iter().enumerate().find(|(_, field)| field.name == *label) else {
                debug_assert!(false, "`{label}` is not among the fields of this kind");
                continue;
            };
            let mut metric = Metric::new(&join(name, " ", label), *value, Unit::new(field.unit));
            metric.warning = self.warning.range(field, index == 0);
            metric.bad = self.bad.range(field, index == 0);
            let state = metric.state();
            if state.is_problem() {
                alerts.push(Finding { state, text: describe_metric(&metric) });
            }
            report.metrics.push(metric);
        }
        alerts.sort_by_key(|finding| std::cmp::Reverse(finding.state));
        match alerts.last_mut() {
            Some(last) => last.text = format!("{} ({})", last.text, summary()),
            None => report.find(State::Okay, join(name, ": ", &summary())),
        }
        report.findings.append(&mut alerts);
    }
}

fn join(name: &str, separator: &str, text: &str) -> String {
    if name.is_empty() { text.to_owned() } else { format!("{name}{separator}{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] =
        &[Field { name: "used", unit: "%", help: "space" }, Field { name: "inodes", unit: "%", help: "inodes" }];
    const LIMITS: &[Limit] =
        &[Limit { field: "used", warning: "80%", bad: "90%" }, Limit { field: "inodes", warning: "70%", bad: "75%" }];

    fn thresholds(main: Option<&str>, fields: &[(&str, &str)]) -> Thresholds {
        let range = |text: &str| Range::parse(text).unwrap();
        Thresholds {
            main: main.map(range),
            fields: fields.iter().map(|(name, text)| ((*name).to_owned(), range(text))).collect(),
        }
    }

    #[test]
    fn own_limits_count_only_where_the_user_says_nothing() {
        let (mut warning, mut bad) = (thresholds(Some("95%"), &[]), Thresholds::default());
        Thresholds::settle(&mut warning, &mut bad, FIELDS, LIMITS).unwrap();
        assert_eq!(warning.range(&FIELDS[0], true), Some(Range::parse("95%").unwrap()));
        assert_eq!(bad.range(&FIELDS[0], true), None);
        assert_eq!(warning.range(&FIELDS[1], false), Some(Range::parse("70%").unwrap()));
        assert_eq!(bad.range(&FIELDS[1], false), Some(Range::parse("75%").unwrap()));
    }

    #[test]
    fn limits_of_unknown_fields_and_wrong_units_are_refused() {
        let settle =
            |mut warning: Thresholds| Thresholds::settle(&mut warning, &mut Thresholds::default(), FIELDS, LIMITS);
        let (setting, why) = settle(thresholds(None, &[("usd", "80%")])).unwrap_err();
        assert!(setting == "warning" && why.contains("`usd`") && why.contains("did you mean `used`?"), "{why}");
        assert!(settle(thresholds(Some("> 10GiB"), &[])).unwrap_err().1.contains("a percentage"));
    }

    #[test]
    fn an_alerting_item_names_value_and_limit_and_every_item_gives_its_summary() {
        let (warning, bad) = (thresholds(Some("80%"), &[]), thresholds(Some("90%"), &[]));
        let judge = Judge { fields: FIELDS, warning: &warning, bad: &bad };
        let mut report = Report::default();
        judge.item(&mut report, "/", &[("used", 93.0), ("inodes", 5.0)], || "93% used, 1 GiB free".to_owned());
        judge.item(&mut report, "/srv", &[("used", 10.0), ("inodes", 5.0)], || "10% used".to_owned());
        assert_eq!(report.worst(), State::Bad);
        let result = report.judge();
        assert_eq!(&*result.message, "/ used is 93%, above 90% (93% used, 1 GiB free)");
        assert_eq!(result.metrics.len(), 4);
        assert_eq!(&*result.metrics[2].label, "/srv used");
    }
}
