//! What a run found, and how findings and metrics become one state and one message.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::check::CheckError;
use crate::items::Tally;
use crate::metric::{MAX_METRICS, Metric};
use crate::name::Name;
use crate::order;
use crate::quantity;
use crate::state::State;

/// The longest message (first line) of a result, in bytes.
pub const MAX_MESSAGE: usize = 4 * 1024;
/// The longest further output of a result, in bytes.
pub const MAX_LONG_OUTPUT: usize = crate::program::MAX_OUTPUT;
/// The most that a check may remember from run to run, in bytes of JSON.
pub const MAX_MEMORY: usize = 64 * 1024;
/// How many findings of a sort the message says; the rest is counted there and said in the further output.
pub const MAX_SAID: usize = 8;
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
    /// When to look again at the latest, if that is before the next slot: to confirm, or because a deadline ends then.
    pub again: Option<Duration>,
    /// Whether nothing is left to confirm: a problem that this says is hard at once, however many `retries` the check has.
    pub proven: bool,
    /// What the next run is to know ([`crate::check::Context::recall`]): at most [`MAX_MEMORY`]. None keeps what was known.
    pub memory: Option<Box<str>>,
    /// Which items were seen.
    pub items: Tally,
}

impl Report {
    /// A report that says one thing.
    pub fn of(state: State, message: impl Into<String>) -> Self {
        Self { state: Some(state), message: Some(message.into()), ..Self::default() }
    }

    /// Keeps something for the next run, over restarts too. What is too large, or cannot be written as JSON, is a warning, not kept.
    pub fn remember(&mut self, memory: &impl Serialize) {
        match serde_json::to_string(memory) {
            Ok(text) if text.len() <= MAX_MEMORY => self.memory = Some(text.into_boxed_str()),
            Ok(text) => self.find(
                State::Warning,
                format!("what this check is to remember needs {} bytes, it may have {MAX_MEMORY}", text.len()),
            ),
            Err(error) => self.find(State::Warning, format!("what this check is to remember cannot be kept: {error}")),
        }
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

    /// The worst findings first; what is okay is said only if nothing is wrong. What does not fit is counted, and said in the output.
    fn message_of_findings(&mut self, state: State) -> String {
        let mut said: Vec<&Finding> =
            self.findings.iter().filter(|finding| finding.state == state || finding.state.is_problem()).collect();
        order::sort_by_key(&mut said, |finding| (finding.state != state, std::cmp::Reverse(finding.state)));
        let more = said.split_off(said.len().min(MAX_SAID));
        let mut message = said.iter().map(|finding| finding.text.as_str()).collect::<Vec<_>>().join("; ");
        if !more.is_empty() {
            let _ = write!(message, "; and {} more", more.len());
            let lines: String = more.iter().map(|finding| format!("{}: {}\n", finding.state, finding.text)).collect();
            self.output.insert_str(0, &lines);
        }
        message
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// When the next run is due at the latest.
    pub again: Option<Duration>,
    /// What the next run is to know; none keeps what was known.
    pub memory: Option<Box<str>>,
    /// Whether a problem needs no further result to be hard.
    pub proven: bool,
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
        let Report { interval, again, proven, .. } = report;
        let memory = report.memory.take();
        let mut services = std::mem::take(&mut report.services);
        let dropped = services.len().saturating_sub(MAX_SERVICES);
        services.truncate(MAX_SERVICES);
        if dropped > 0 {
            report.find(State::Warning, format!("{dropped} services were not kept: at most {MAX_SERVICES} are"));
        }
        let services =
            services.into_iter().map(|(service, report)| (check.service(&service), report.judge())).collect();
        Some(Self { at, duration, result: report.judge(), services, interval, again, memory, proven, check })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_said_first_and_what_does_not_fit_is_counted() {
        let mut report = Report::default();
        for number in 0..20 {
            report.find(State::Warning, format!("w{number}"));
        }
        report.find(State::Bad, "broken");
        report.find(State::Okay, "fine");
        let result = report.judge();
        assert_eq!(result.state, State::Bad);
        assert_eq!(&*result.message, "broken; w0; w1; w2; w3; w4; w5; w6; and 13 more");
        assert_eq!(result.output.lines().count(), 13);
        assert_eq!(result.output.lines().next(), Some("warning: w7"));
    }

    #[test]
    fn what_is_too_large_is_not_remembered_and_said() {
        let mut report = Report::default();
        report.remember(&7);
        assert_eq!(report.memory.as_deref(), Some("7"));
        let mut report = Report::default();
        report.remember(&"x".repeat(MAX_MEMORY));
        assert_eq!((report.memory.as_deref(), report.worst()), (None, State::Warning));
    }
}
