//! Templates of scripts and messages: the one place that knows the template engine.
//!
//! A template is taken apart by [`source`], its names are judged by [`names`], and only then the engine (Tera) gets to see it, in a
//! form that this module writes: every value goes through one filter, which either inserts it as text or, in a shell script, keeps
//! it in a table and inserts the reference to its place. The engine's delimiters are control characters that no template holds.

mod names;
mod source;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;

use jiff::Timestamp;
use monchero_core::Event;
use monchero_core::order;
use monchero_core::text::{shorten, truncate_at_char};
use serde_json::{Value as Json, json};
use tera::{Context, Delimiters, ErrorKind, Kwargs, State as TeraState, Tera, Value};

pub(crate) use source::{Part, Segment, Statement, TemplateError};

/// The longest template, in bytes: longer than any message, short enough for one argument of a program (Linux allows 128 KiB).
pub(crate) const MAX_TEMPLATE: usize = 64 * 1024;
/// The most that a template may render to, in bytes: what it was written for fits a hundred times.
pub(crate) const MAX_RENDERED: usize = 256 * 1024;
/// The longest single value that is inserted, in bytes (R42: what stands in an environment or an argument has at most 32 KiB).
pub(crate) const MAX_VALUE: usize = 32 * 1024;
/// The most that all values of one rendering hold, in bytes: with script and environment far below the 2 MiB that Linux gives a program.
const MAX_VALUES: usize = 512 * 1024;
/// The most values that one rendering keeps in its table.
const MAX_REFERENCES: usize = 4_096;

/// The name under which the engine knows the template.
const NAME: &str = "template";
/// The filter through which every value goes.
const INSERT: &str = "monchero_insert";

/// A template that compiles, names only what exists and renders.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    tera: Tera,
    names: names::Names,
}

/// Why a template did not render.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenderError {
    /// The check lacks labels that the template names.
    #[error(
        "the check `{check}` has no label `{label}`, which the template names: give it one (`labels: {{ {label}: .. }}`)"
    )]
    MissingLabel {
        /// The check.
        check: String,
        /// The first of them.
        label: String,
    },
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// A rendered shell script and the values that its references `${M_0}`, `${M_1}` .. mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Referenced {
    /// The text.
    pub(crate) text: String,
    /// The values, in the order of their numbers.
    pub(crate) values: Vec<String>,
}

impl Referenced {
    /// The name of the variable that holds the value with this number.
    pub(crate) fn variable(number: usize) -> String {
        format!("M_{number}")
    }
}

impl Template {
    /// Compiles a template whose values are inserted as they are: for messages and arguments.
    pub(crate) fn plain(source: &str) -> Result<Self, TemplateError> {
        Self::new(&parse(source)?, insert_text)
    }

    /// Compiles the segments of a template whose values are inserted as references to environment variables: for shell scripts.
    pub(crate) fn references(segments: &[Segment]) -> Result<Self, TemplateError> {
        Self::new(segments, insert_reference)
    }

    fn new(
        segments: &[Segment],
        insert: fn(&Value, Kwargs, &TeraState) -> tera::TeraResult<Value>,
    ) -> Result<Self, TemplateError> {
        let names = names::check(segments)?;
        let (rebuilt, lines) = rebuild(segments);
        let mut tera = Tera::new();
        let failed = |error: &tera::Error| TemplateError { line: line_of(error, &lines), message: describe(error) };
        tera.set_delimiters(delimiters()).map_err(|error| failed(&error))?;
        tera.register_filter(INSERT, insert);
        // What the filter returns is marked as finished; anything else that would be written fails.
        tera.autoescape_on([NAME]);
        tera.set_escape_fn(|_, _| Err(std::io::ErrorKind::InvalidData.into()));
        tera.register_filter("replace", replace);
        tera.add_raw_template(NAME, &rebuilt).map_err(|error| failed(&error))?;
        let template = Self { tera, names };
        let context = context(&sample(&template.names.labels));
        template.render_context(&context).map_err(|error| failed(&error))?;
        Ok(template)
    }

    /// The labels that a check must have so that this renders.
    pub(crate) fn needed_labels(&self) -> &[String] {
        &self.names.needed_labels
    }

    /// Renders with values as text.
    pub(crate) fn render(&self, event: &Event) -> Result<String, RenderError> {
        self.render_referenced(event).map(|rendered| rendered.text)
    }

    /// Renders; the values are those that the references mean.
    pub(crate) fn render_referenced(&self, event: &Event) -> Result<Referenced, RenderError> {
        let missing = |labels: &[String]| {
            let label = labels.iter().find(|label| !event.labels.contains_key(*label))?;
            Some(RenderError::MissingLabel { check: event.check.name.to_string(), label: label.clone() })
        };
        // Asked first, because the engine takes what is missing in `"x" ~ labels.unit` for an empty text.
        if let Some(error) = missing(&self.names.needed_labels) {
            return Err(error);
        }
        self.render_context(&context(event)).map_err(|error| {
            missing(&self.names.labels)
                .unwrap_or_else(|| RenderError::Other(format!("the template cannot be rendered: {}", describe(&error))))
        })
    }

    fn render_context(&self, context: &Context) -> tera::TeraResult<Referenced> {
        // The filter is a plain function of the engine; what it collects for one rendering stands in its thread, and rendering never
        // leaves it.
        TABLE.with_borrow_mut(|table| *table = Table::default());
        let mut output = Capped(Vec::new());
        let rendered = self.tera.render_to(NAME, context, &mut output);
        let values = TABLE.with_borrow_mut(std::mem::take).values;
        rendered?;
        Ok(Referenced { text: String::from_utf8(output.0)?, values })
    }
}

/// Takes a template apart, if it is of a length to be one.
pub(crate) fn parse(source: &str) -> Result<Vec<Segment>, TemplateError> {
    if source.len() > MAX_TEMPLATE {
        return Err(TemplateError::new(
            1,
            format!("it has {} bytes, and at most {MAX_TEMPLATE} are allowed", source.len()),
        ));
    }
    if let Some(control) = source.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
        let line = source.split(control).next().unwrap_or_default().matches('\n').count() + 1;
        let shown = monchero_core::text::escape_controls(&control.to_string());
        return Err(TemplateError::new(line, format!("it holds the control character `{shown}`")));
    }
    source::parse(source)
}

/// Delimiters of control characters: whatever a text holds (`${#x}`, `{%s}`), the engine takes it for text.
fn delimiters() -> Delimiters {
    Delimiters {
        block_start: "\u{1}%".into(),
        block_end: "%\u{1}".into(),
        variable_start: "\u{1}{".into(),
        variable_end: "}\u{1}".into(),
        comment_start: "\u{1}#".into(),
        comment_end: "#\u{1}".into(),
    }
}

/// Writes the segments as the engine is to read them; for each, the line there and the line in the user's text.
fn rebuild(segments: &[Segment]) -> (String, Vec<(usize, usize)>) {
    let mut rebuilt = String::new();
    let mut lines = Vec::with_capacity(segments.len());
    let mut line = 1;
    for segment in segments {
        lines.push((line, segment.line));
        let start = rebuilt.len();
        match &segment.part {
            Part::Text(text) => rebuilt.push_str(text),
            Part::Value(tag) => drop(write!(rebuilt, "\u{1}{{ ({}) | {INSERT} }}\u{1}", tag.text)),
            Part::Statement(_, tag) => drop(write!(rebuilt, "\u{1}% {} %\u{1}", tag.text)),
        }
        line += rebuilt.get(start..).map_or(0, |added| added.matches('\n').count());
    }
    (rebuilt, lines)
}

/// The line of the user's text that an error of the engine is about.
fn line_of(error: &tera::Error, lines: &[(usize, usize)]) -> usize {
    let (ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report)) = error.kind() else { return 1 };
    let line = report.span().start_line;
    lines.iter().rev().find(|(there, _)| *there <= line).map_or(1, |(there, here)| here + (line - there))
}

/// What the engine says, without the excerpt of the text that it was given.
fn describe(error: &tera::Error) -> String {
    match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
            let message = report.message().trim_end_matches('.');
            let mut chars = message.chars();
            chars.next().map_or_else(String::new, |first| first.to_lowercase().collect::<String>() + chars.as_str())
        }
        ErrorKind::Io(std::io::ErrorKind::FileTooLarge) => {
            format!("it renders to more than {} KiB", MAX_RENDERED / 1024)
        }
        _ => error.to_string(),
    }
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// The values of the rendering that goes on in this thread.
#[derive(Default)]
struct Table {
    values: Vec<String>,
    numbers: HashMap<String, usize>,
    bytes: usize,
}

/// A value as text: without NUL, which neither an argument nor an environment can hold, and cut to [`MAX_VALUE`].
fn text_of(value: &Value) -> tera::TeraResult<String> {
    if value.is_undefined() {
        return Err(tera::Error::message("a value that it names does not exist"));
    }
    Ok(shorten(&without_nul(&value.to_string()), MAX_VALUE))
}

fn insert_text(value: &Value, _: Kwargs, _: &TeraState) -> tera::TeraResult<Value> {
    text_of(value).map(|text| Value::safe_string(&text))
}

fn insert_reference(value: &Value, _: Kwargs, _: &TeraState) -> tera::TeraResult<Value> {
    let text = text_of(value)?;
    let number = TABLE.with_borrow_mut(|table| {
        if let Some(number) = table.numbers.get(&text) {
            return Ok(*number);
        }
        table.bytes += text.len();
        if table.bytes > MAX_VALUES || table.values.len() == MAX_REFERENCES {
            return Err(tera::Error::message(format!(
                "it inserts more than {MAX_REFERENCES} values or {} KiB: the whole event stands on standard input",
                MAX_VALUES / 1024
            )));
        }
        let number = table.values.len();
        table.numbers.insert(text.clone(), number);
        table.values.push(text);
        Ok(number)
    })?;
    Ok(Value::safe_string(&format!("${{{}}}", Referenced::variable(number))))
}

/// The engine's filter of this name has no bound.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the engine calls")]
fn replace(text: &str, kwargs: Kwargs, _: &TeraState) -> tera::TeraResult<String> {
    let (from, to) = (kwargs.must_get::<&str>("from")?, kwargs.must_get::<&str>("to")?);
    let grown = text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len());
    if grown > MAX_RENDERED {
        return Err(tera::Error::message(format!("`replace` would make more than {} KiB", MAX_RENDERED / 1024)));
    }
    Ok(text.replace(from, to))
}

/// Takes at most [`MAX_RENDERED`] bytes.
struct Capped(Vec<u8>);

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A text without NUL.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// What a template sees of an event.
fn context(event: &Event) -> Context {
    let time = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut output = event.output.clone();
    if output.len() > MAX_VALUE {
        output = shorten(&output, MAX_VALUE);
    }
    let metrics: Vec<Json> = event
        .metrics
        .iter()
        .map(|metric| {
            json!({
                "label": metric.label,
                "value": metric.value.map(number),
                "unit": metric.unit.as_str(),
                "state": metric.state().as_str(),
                "warning": metric.warning.map(|range| range.to_string()).unwrap_or_default(),
                "bad": metric.bad.map(|range| range.to_string()).unwrap_or_default(),
                "min": metric.min.map(number),
                "max": metric.max.map(number),
            })
        })
        .collect();
    let incident = event.incident.as_ref();
    let mut context = Context::new();
    context.insert("host", &event.host);
    context
        .insert("check", &json!({ "name": event.check.name, "kind": event.check.kind, "labels": event.check.labels }));
    context.insert("labels", &event.labels);
    context.insert("state", event.state.as_str());
    context.insert("previous_state", event.previous_state.as_str());
    context.insert("state_type", event.state_type.as_str());
    context.insert("attempt", &event.attempt);
    context.insert("max_attempts", &event.max_attempts);
    context.insert("message", &event.message);
    context.insert("output", &output);
    context.insert("metrics", &metrics);
    // Before a problem is confirmed there is no incident: its parts are empty then, so that one script fits both.
    context.insert(
        "incident",
        &json!({
            "id": incident.map(|i| i.id.as_str()).unwrap_or_default(),
            "since": incident.map(|i| time(i.since)).unwrap_or_default(),
            "duration": incident.map(|i| i.duration.as_str()).unwrap_or_default(),
        }),
    );
    context.insert("reason", &event.reason);
    context.insert("now", &time(event.now));
    context.insert("drill", &event.drill);
    context
}

/// A number that is whole as a whole number: `740`, not `740.0`.
fn number(value: f64) -> Json {
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the 53 bits that f64 holds exactly")]
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 { json!(value as i64) } else { json!(value) }
}

/// An event to try a template with: it has every label that the template names.
fn sample(labels: &[String]) -> Event {
    use monchero_core::action::{CheckFacts, IncidentFacts};
    use monchero_core::{IncidentId, Metric, Name, State, StateType};
    let labels: std::collections::BTreeMap<String, String> =
        order::tree(labels.iter().map(|label| (label.clone(), "label".to_owned())));
    let name = Name::new("check");
    let mut metric = Metric::new("time", 1.0, monchero_core::quantity::Unit::SECONDS);
    metric.warning = Some(monchero_core::Range::above(0.5));
    let second = Metric::new("size", 3.0, monchero_core::quantity::Unit::BYTES);
    Event {
        host: "host".to_owned(),
        incident: Some(IncidentFacts::new(
            IncidentId::new(&name, Timestamp::UNIX_EPOCH),
            Timestamp::UNIX_EPOCH,
            Timestamp::UNIX_EPOCH,
        )),
        check: CheckFacts { name, kind: "kind".to_owned(), labels: labels.clone() },
        labels,
        state: State::Bad,
        previous_state: State::Okay,
        state_type: StateType::Hard,
        attempt: 1,
        max_attempts: 1,
        message: "message".to_owned(),
        output: "output\nmore output".to_owned(),
        metrics: vec![metric, second],
        reason: "hard problem".to_owned(),
        now: Timestamp::UNIX_EPOCH,
        drill: true,
    }
}

/// The first line of a text, without control characters, at most `max` bytes: for headers and one-line messages.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|c| !c.is_control());
    truncate_at_char(&mut line, max);
    line
}

#[cfg(test)]
mod tests;
