//! Performance data: `'label'=value[UOM];[warn];[crit];[min];[max]`, separated by blanks.
//!
//! What the guidelines leave open is decided so:
//!
//! - A label may hold blanks, `|`, `;` and `=` if it is quoted; `''` in quotes is one quote. Without quotes, the last `=` before the
//!   value ends it.
//! - A single comma in a number is a decimal comma, as programs print it that run in a German or French locale: `0,25` is a quarter.
//!   Thousands are never grouped in perfdata. A comma and a point, or two commas, are no number.
//! - `U` is a value that the plugin could not find out. `NaN`, `inf` and what overflows (`1e999`) are no numbers.
//! - A unit is up to [`MAX_UNIT`] bytes without digits, blanks and punctuation: `%`, `ms`, `KiB`, `B/s`, `°C`.
//! - A threshold that is no range, or is in a unit that does not fit the metric's, is left out; the metric stays.
//! - Of two metrics with one label, the first counts.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::metric::{MAX_LABEL, MAX_METRICS, Metric};
use crate::quantity::{Dimension, Unit};
use crate::range::Range;

/// The longest unit in bytes. Real ones are shorter than ten; more is text that lost its blank.
const MAX_UNIT: usize = 32;
/// How far the closing quote of a label is searched, in bytes: room for a label of [`MAX_LABEL`] bytes with every quote doubled and more.
/// The bound keeps the time for hostile output linear.
const MAX_QUOTED: usize = 8 * MAX_LABEL;
/// How much of the first thing that was no metric is shown, in bytes.
const MAX_SHOWN: usize = 60;

/// What stood among the metrics and was not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many items were no metric.
    pub malformed: usize,
    /// The first of them, shortened.
    pub first_malformed: Option<String>,
    /// How many metrics had a label that stood before.
    pub doubled: usize,
    /// How many metrics came behind the first [`MAX_METRICS`] or had a label longer than [`MAX_LABEL`].
    pub excess: usize,
}

impl Lost {
    /// What was lost, as a sentence for a person; nothing if nothing was.
    pub fn describe(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(first) = &self.first_malformed {
            let first = crate::text::escape_controls(first);
            parts.push(match self.malformed {
                1 => format!("`{first}` is no metric"),
                n => format!("{n} items are no metrics, the first is `{first}`"),
            });
        }
        if self.doubled > 0 {
            parts.push(format!("{} with a label that stood before", self.doubled));
        }
        if self.excess > 0 {
            parts.push(format!(
                "{} beyond the limits of {MAX_METRICS} metrics and {MAX_LABEL} bytes a label",
                self.excess
            ));
        }
        (!parts.is_empty()).then(|| format!("metrics not kept: {}", parts.join("; ")))
    }
}

/// Collects the metrics of one output.
#[derive(Debug, Default)]
pub(super) struct Perfdata {
    metrics: Vec<Metric>,
    lost: Lost,
}

impl Perfdata {
    /// The text before the first `|` with a metric behind it, up to the next `|`. What follows that bar is read; without such a bar, all is text.
    pub(super) fn take_from<'a>(&mut self, line: &'a str, cut: bool) -> &'a str {
        let mut from = 0;
        while let Some(at) = line.get(from..).and_then(|rest| rest.find('|')).map(|at| from + at) {
            let behind = line.get(at + 1..).unwrap_or_default();
            let (has_metric, end) = first_section(behind, cut);
            if has_metric {
                self.read(behind, cut);
                return line.get(..at).unwrap_or_default();
            }
            from = at + 1 + end;
        }
        line
    }

    /// Reads a line of perfdata, unless there is no metric in it. `cut` says that the line is the beginning of a longer one.
    pub(super) fn read(&mut self, text: &str, cut: bool) -> bool {
        let is_metric = |item: &str| item != "|" && split(item).is_some_and(|parts| parts.value().is_some());
        if !(Items { rest: text, cut }).any(is_metric) {
            return false;
        }
        let mut items = Items { rest: text, cut };
        while let Some(item) = items.next() {
            let may_be_half = cut && items.rest.is_empty();
            if item != "|" && !may_be_half {
                self.add(item);
            }
        }
        true
    }

    fn add(&mut self, item: &str) {
        if self.metrics.len() >= MAX_METRICS {
            self.lost.excess += 1;
            return;
        }
        let Some(metric) = split(item).and_then(|parts| parts.metric()) else {
            self.lost.malformed += 1;
            self.lost.first_malformed.get_or_insert_with(|| crate::text::shorten(item, MAX_SHOWN));
            return;
        };
        if metric.label.len() > MAX_LABEL {
            self.lost.excess += 1;
        } else if self.metrics.iter().any(|earlier| earlier.label == metric.label) {
            self.lost.doubled += 1;
        } else {
            self.metrics.push(metric);
        }
    }

    pub(super) fn finish(self) -> (Vec<Metric>, Lost) {
        (self.metrics, self.lost)
    }
}

/// Whether there is a metric before the next bar outside of quotes, and where that bar or the end is.
fn first_section(text: &str, cut: bool) -> (bool, usize) {
    let mut items = Items { rest: text, cut };
    loop {
        match items.next() {
            None => return (false, text.len()),
            Some("|") => return (false, text.len() - items.rest.len() - 1),
            Some(item) if split(item).is_some_and(|parts| parts.value().is_some()) => return (true, text.len()),
            Some(_) => {}
        }
    }
}

/// Items of perfdata: what stands between blanks, with quoted labels as one piece; a bar outside of quotes is an item of its own.
struct Items<'a> {
    rest: &'a str,
    /// Whether the text is the beginning of a longer one: then a quote that is not closed may be closed behind the cut, and nothing
    /// behind it is known.
    cut: bool,
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start_matches([' ', '\t']);
        let end = match text.as_bytes().first()? {
            b'|' => 1,
            b'\'' => match closing_quote(text) {
                Some(close) => close + 1 + end_of_item(text.get(close + 1..).unwrap_or_default()),
                None if self.cut => {
                    self.rest = "";
                    return None;
                }
                None => end_of_item(text),
            },
            _ => end_of_item(text),
        };
        let (item, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        Some(item)
    }
}

fn end_of_item(text: &str) -> usize {
    text.find([' ', '\t', '|']).unwrap_or(text.len())
}

/// Where the quote that the text begins with is closed.
fn closing_quote(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().take(MAX_QUOTED).skip(1).peekable();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\'' && bytes.next_if(|(_, next)| *next == b'\'').is_none() {
            return Some(at);
        }
    }
    None
}

/// An item that may be a metric.
struct Parts<'a> {
    /// The label as it is written, without the quotes around it.
    label: &'a str,
    quoted: bool,
    /// What stands behind the `=`.
    data: &'a str,
}

fn split(item: &str) -> Option<Parts<'_>> {
    if item.starts_with('\'') {
        let close = closing_quote(item)?;
        let data = item.get(close + 1..)?.strip_prefix('=')?;
        return Some(Parts { label: item.get(1..close)?, quoted: true, data });
    }
    let head = item.split(';').next().unwrap_or_default();
    let at = head.rfind('=')?;
    Some(Parts { label: head.get(..at)?, quoted: false, data: item.get(at + 1..)? })
}

impl<'a> Parts<'a> {
    fn value(&self) -> Option<(Option<f64>, &'a str)> {
        if self.label.is_empty() {
            return None;
        }
        let first = self.data.split(';').next().unwrap_or_default();
        number(first.strip_suffix(',').unwrap_or(first))
    }

    fn metric(&self) -> Option<Metric> {
        let (value, unit) = self.value()?;
        let unit = Unit::new(unit);
        let label = if self.quoted && self.label.contains("''") {
            Cow::Owned(self.label.replace("''", "'"))
        } else {
            Cow::Borrowed(self.label)
        };
        let mut fields = self.data.split(';').skip(1).map(|field| field.trim_end_matches(','));
        let warning = range(fields.next(), &unit);
        let bad = range(fields.next(), &unit);
        let min = bound(fields.next(), &unit);
        let max = bound(fields.next(), &unit);
        Some(Metric { label: Box::from(&*label), value, unit, warning, bad, min, max })
    }
}

/// Reads a number with an optional unit as perfdata writes it: `12.5ms`, `-3`, `1e-5`, `0,25`, or `U` for a number that is not known.
pub fn parse_value(text: &str) -> Option<(Option<f64>, Unit)> {
    number(text).map(|(value, unit)| (value, Unit::new(unit)))
}

fn number(text: &str) -> Option<(Option<f64>, &str)> {
    if text == "U" {
        return Some((None, ""));
    }
    let (digits, unit) = text.split_at_checked(end_of_number(text.as_bytes()))?;
    if !is_unit(unit) {
        return None;
    }
    let value: f64 = with_point(digits).parse().ok()?;
    value.is_finite().then_some((Some(value), unit))
}

/// Where a number ends that a text may begin with. A comma belongs to it only between digits; an `e` only if digits follow.
fn end_of_number(text: &[u8]) -> usize {
    let digits = |from: usize| from + text.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let sign = |at: usize| at + usize::from(matches!(text.get(at), Some(b'+' | b'-')));
    let begin = sign(0);
    let mut end = digits(begin);
    match text.get(end) {
        Some(b'.') => end = digits(end + 1),
        Some(b',') if end > begin && text.get(end + 1).is_some_and(u8::is_ascii_digit) => end = digits(end + 1),
        _ => {}
    }
    if end > begin && matches!(text.get(end), Some(b'e' | b'E')) {
        let exponent = sign(end + 1);
        if digits(exponent) > exponent {
            end = digits(exponent);
        }
    }
    end
}

fn with_point(text: &str) -> Cow<'_, str> {
    if text.contains(',') { Cow::Owned(text.replace(',', ".")) } else { Cow::Borrowed(text) }
}

fn is_unit(text: &str) -> bool {
    let fits = |c: char| !(c.is_ascii_digit() || c.is_whitespace() || c.is_control() || ";='\"|,.+-".contains(c));
    text.len() <= MAX_UNIT && text.chars().all(fits)
}

fn range(field: Option<&str>, unit: &Unit) -> Option<Range> {
    let field = field.filter(|field| !field.is_empty())?;
    let range = Range::parse(&with_point(field)).ok()?;
    (range.dimension() == Dimension::Plain || range.dimension() == unit.dimension()).then_some(range)
}

/// A `min` or `max`; the unit may stand behind it once more.
fn bound(field: Option<&str>, unit: &Unit) -> Option<f64> {
    let (value, own) = number(field?)?;
    value.filter(|_| own.is_empty() || own == unit.as_str())
}

/// Metrics as perfdata, without a bar before them; what [`parse`](super::parse) reads back to the same metrics, and writing those once more
/// gives the same text. Ranges are written as plain numbers in the metric's unit. What perfdata cannot hold is made to fit: control
/// characters in labels become blanks, long labels are cut to [`MAX_LABEL`] bytes, an empty label becomes `_`, a number that is not
/// finite becomes `U`, and a unit that is none is left out.
pub fn render(metrics: &[Metric]) -> String {
    let mut out = String::with_capacity(metrics.len() * 32);
    for metric in metrics {
        if !out.is_empty() {
            out.push(' ');
        }
        render_label(&mut out, &metric.label);
        match metric.value.filter(|value| value.is_finite()) {
            Some(value) => {
                let unit = metric.unit.as_str();
                let _ = write!(out, "={value}{}", if is_unit(unit) { unit } else { "" });
            }
            None => out.push_str("=U"),
        }
        // Empty fields at the end are left out.
        let mut used = out.len();
        for field in fields(metric) {
            out.push(';');
            if let Some(field) = field {
                out.push_str(&field);
                used = out.len();
            }
        }
        out.truncate(used);
    }
    out
}

fn render_label(out: &mut String, label: &str) {
    let mut label: String = label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    crate::text::truncate_at_char(&mut label, MAX_LABEL);
    if label.is_empty() {
        label.push('_');
    }
    if label.contains([' ', '=', '\'', '|', ';']) {
        let _ = write!(out, "'{}'", label.replace('\'', "''"));
    } else {
        out.push_str(&label);
    }
}

/// Thresholds, smallest and largest value, in the metric's own unit.
fn fields(metric: &Metric) -> [Option<String>; 4] {
    let range = |range: &Option<Range>| {
        let range = range.as_ref()?;
        let factor = if range.dimension() == Dimension::Plain { 1.0 } else { metric.unit.to_base(1.0) };
        let (start, end, alerts_inside) = range.bounds();
        let (start, end) = (start / factor, end / factor);
        let possible = start <= end && start != f64::INFINITY && end != f64::NEG_INFINITY;
        possible.then(|| if alerts_inside { Range::inside(start, end) } else { Range::outside(start, end) }.to_string())
    };
    let bound = |bound: Option<f64>| bound.filter(|bound| bound.is_finite()).map(|bound| bound.to_string());
    [range(&metric.warning), range(&metric.bad), bound(metric.min), bound(metric.max)]
}
